//! Complaints about a request's schema: statuses, words and order as FastAPI has them, with which the
//! real API validates.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use crate::answer;

/// What is wrong with a request, each as the JSON that says so. Written by hand, since the order of
/// the fields is the real one.
#[derive(Debug, Default)]
pub(super) struct Errors(Vec<String>);

/// Where in a request something is, from the outside to the inside.
#[derive(Clone, Debug)]
pub(super) struct Loc(Vec<Value>);

impl Loc {
    /// The body itself.
    pub(super) fn body() -> Self {
        Self(vec!["body".into()])
    }

    /// A parameter of the query.
    pub(super) fn query(name: &str) -> Self {
        Self(vec!["query".into(), name.into()])
    }

    pub(super) fn then(&self, step: impl Into<Value>) -> Self {
        let mut steps = self.0.clone();
        steps.push(step.into());
        Self(steps)
    }

    fn json(&self) -> String {
        Value::from(self.0.clone()).to_string()
    }
}

impl Errors {
    /// Goes on if there is nothing to complain about.
    pub(super) fn none(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    pub(super) fn answer(&self) -> Response<Bytes> {
        let body = format!(r#"{{"detail":[{}]}}"#, self.0.join(","));
        answer::json(StatusCode::UNPROCESSABLE_ENTITY, body)
    }

    pub(super) fn add(&mut self, kind: &str, loc: &Loc, message: &str, input: &Value) {
        self.add_with(kind, loc, message, input, "");
    }

    /// `ctx` is empty, or a JSON object.
    fn add_with(&mut self, kind: &str, loc: &Loc, message: &str, input: &Value, ctx: &str) {
        let message = Value::from(message);
        let loc = loc.json();
        let ctx = match ctx {
            "" => String::new(),
            ctx => format!(r#","ctx":{ctx}"#),
        };
        self.0.push(format!(
            r#"{{"type":"{kind}","loc":{loc},"msg":{message},"input":{input}{ctx}}}"#
        ));
    }

    pub(super) fn missing(&mut self, loc: &Loc) {
        self.add("missing", loc, "Field required", &Value::Null);
    }

    /// The body is no JSON: where, in bytes from its start.
    pub(super) fn no_json(&mut self, body: &[u8], error: &serde_json::Error) {
        let lines = body.split_inclusive(|byte| *byte == b'\n');
        let before: usize = lines
            .take(error.line().saturating_sub(1))
            .map(<[u8]>::len)
            .sum();
        let offset = before + error.column().saturating_sub(1);
        let loc = Loc::body().then(offset);
        let nothing = Value::from(Map::new());
        self.add("json_invalid", &loc, "JSON decode error", &nothing);
    }

    pub(super) fn string<'a>(&mut self, loc: &Loc, value: &'a Value) -> Option<&'a str> {
        if !value.is_string() {
            self.add("string_type", loc, "Input should be a valid string", value);
        }
        value.as_str()
    }

    pub(super) fn object<'a>(
        &mut self,
        loc: &Loc,
        value: &'a Value,
    ) -> Option<&'a Map<String, Value>> {
        if !value.is_object() {
            let message = "Input should be a valid dictionary or object to extract fields from";
            self.add("model_attributes_type", loc, message, value);
        }
        value.as_object()
    }

    /// A list of at most so many items.
    pub(super) fn list<'a>(&mut self, loc: &Loc, value: &'a Value, most: usize) -> &'a [Value] {
        let Some(items) = value.as_array() else {
            self.add("list_type", loc, "Input should be a valid list", value);
            return &[];
        };
        if items.len() > most {
            let n = items.len();
            let message =
                format!("List should have at most {most} items after validation, not {n}");
            let ctx = format!(r#"{{"field_type":"List","max_length":{most},"actual_length":{n}}}"#);
            self.add_with("too_long", loc, &message, value, &ctx);
        }
        items
    }

    pub(super) fn boolean(&mut self, loc: &Loc, value: &Value) -> Option<bool> {
        let message = "Input should be a valid boolean";
        match value {
            Value::Bool(value) => return Some(*value),
            Value::Number(number) if number.as_f64() == Some(0.0) => return Some(false),
            Value::Number(number) if number.as_f64() == Some(1.0) => return Some(true),
            Value::Number(_) => {}
            Value::String(text) => {
                let text = text.to_lowercase();
                if ["true", "t", "yes", "y", "on", "1"].contains(&&*text) {
                    return Some(true);
                }
                if ["false", "f", "no", "n", "off", "0"].contains(&&*text) {
                    return Some(false);
                }
            }
            _ => {
                self.add("bool_type", loc, message, value);
                return None;
            }
        }
        let message = format!("{message}, unable to interpret input");
        self.add("bool_parsing", loc, &message, value);
        None
    }

    pub(super) fn integer(&mut self, loc: &Loc, value: &Value) -> Option<i64> {
        let message = "Input should be a valid integer";
        if let Some(number) = value.as_i64() {
            return Some(number);
        }
        if let Some(number) = value.as_f64() {
            // A whole number in other clothes.
            #[allow(clippy::cast_possible_truncation)] // Compared afterwards.
            let whole = number as i64;
            #[allow(clippy::cast_precision_loss)]
            if (whole as f64).total_cmp(&number).is_eq() {
                return Some(whole);
            }
            let message = format!("{message}, got a number with a fractional part");
            self.add("int_from_float", loc, &message, value);
        } else if let Some(text) = value.as_str() {
            if let Ok(number) = text.trim().parse() {
                return Some(number);
            }
            let message = format!("{message}, unable to parse string as an integer");
            self.add("int_parsing", loc, &message, value);
        } else {
            self.add("int_type", loc, message, value);
        }
        None
    }

    pub(super) fn number(&mut self, loc: &Loc, value: &Value) -> Option<f64> {
        let message = "Input should be a valid number";
        if let Some(number) = value.as_f64() {
            return Some(number);
        }
        if let Some(text) = value.as_str() {
            if let Ok(number) = text.trim().parse() {
                return Some(number);
            }
            let message = format!("{message}, unable to parse string as a number");
            self.add("float_parsing", loc, &message, value);
        } else {
            self.add("float_type", loc, message, value);
        }
        None
    }

    /// An integer from `least` up to `most`.
    pub(super) fn integer_within(
        &mut self,
        loc: &Loc,
        value: &Value,
        least: i64,
        most: i64,
    ) -> Option<i64> {
        let number = self.integer(loc, value)?;
        let (kind, key, words, bound) = if number < least {
            ("greater_than_equal", "ge", "greater than", least)
        } else if number > most {
            ("less_than_equal", "le", "less than", most)
        } else {
            return Some(number);
        };
        let message = format!("Input should be {words} or equal to {bound}");
        self.add_with(
            kind,
            loc,
            &message,
            value,
            &format!(r#"{{"{key}":{bound}}}"#),
        );
        None
    }

    /// A number from 0 up to 1.
    pub(super) fn fraction(&mut self, loc: &Loc, value: &Value) -> Option<f64> {
        let number = self.number(loc, value)?;
        let (kind, key, words, bound) = if number < 0.0 {
            ("greater_than_equal", "ge", "greater than", 0)
        } else if number > 1.0 {
            ("less_than_equal", "le", "less than", 1)
        } else {
            return Some(number);
        };
        let message = format!("Input should be {words} or equal to {bound}");
        // Fractions' bounds are fractions, but not in words.
        self.add_with(
            kind,
            loc,
            &message,
            value,
            &format!(r#"{{"{key}":{bound}.0}}"#),
        );
        None
    }

    /// One of these words.
    pub(super) fn word(&mut self, loc: &Loc, value: &Value, words: &[&str]) {
        if value.as_str().is_some_and(|word| words.contains(&word)) {
            return;
        }
        let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        let expected = match quoted.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
            None => return,
        };
        let message = format!("Input should be {expected}");
        let ctx = format!(r#"{{"expected":{}}}"#, Value::from(expected));
        self.add_with("enum", loc, &message, value, &ctx);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complaint(check: impl FnOnce(&mut Errors, &Loc)) -> String {
        let mut errors = Errors::default();
        check(&mut errors, &Loc::body().then("a"));
        errors.0.join(",")
    }

    #[test]
    fn what_is_right_is_no_complaint() {
        let mut errors = Errors::default();
        let loc = Loc::body();
        assert_eq!(errors.boolean(&loc, &json!("False")), Some(false));
        assert_eq!(errors.boolean(&loc, &json!(1)), Some(true));
        assert_eq!(errors.integer(&loc, &json!("12")), Some(12));
        assert_eq!(errors.integer(&loc, &json!(12.0)), Some(12));
        assert_eq!(errors.number(&loc, &json!("0.5")), Some(0.5));
        assert_eq!(errors.fraction(&loc, &json!(1)), Some(1.0));
        errors.word(&loc, &json!("on"), &["auto", "on"]);
        assert!(errors.none().is_ok());
    }

    #[test]
    fn complaints_are_worded_as_the_real_ones() {
        // As captured.
        let loc = Loc::body().then("voice_settings").then("stability");
        let mut errors = Errors::default();
        errors.fraction(&loc, &json!(2));
        assert_eq!(
            errors.answer().body(),
            r#"{"detail":[{"type":"less_than_equal","loc":["body","voice_settings","stability"],"msg":"Input should be less than or equal to 1","input":2,"ctx":{"le":1.0}}]}"#
        );
        let three = |errors: &mut Errors, loc: &Loc| {
            errors.list(loc, &json!([1, 2, 3, 4]), 3);
        };
        assert_eq!(
            complaint(three),
            r#"{"type":"too_long","loc":["body","a"],"msg":"List should have at most 3 items after validation, not 4","input":[1,2,3,4],"ctx":{"field_type":"List","max_length":3,"actual_length":4}}"#
        );
        assert_eq!(
            complaint(|errors, loc| errors.word(loc, &json!("x"), &["auto", "on", "off"])),
            r#"{"type":"enum","loc":["body","a"],"msg":"Input should be 'auto', 'on' or 'off'","input":"x","ctx":{"expected":"'auto', 'on' or 'off'"}}"#
        );
        let range = |errors: &mut Errors, loc: &Loc| {
            errors.integer_within(loc, &json!(-1), 0, 4);
        };
        assert_eq!(
            complaint(range),
            r#"{"type":"greater_than_equal","loc":["body","a"],"msg":"Input should be greater than or equal to 0","input":-1,"ctx":{"ge":0}}"#
        );
    }

    #[test]
    fn what_has_another_type_is_told_so() {
        type Check = fn(&mut Errors, &Loc) -> bool;
        let kind = |check: Check| {
            let refused = |errors: &mut Errors, loc: &Loc| assert!(!check(errors, loc));
            let complaint: Value = serde_json::from_str(&complaint(refused)).unwrap();
            complaint["type"].as_str().unwrap().to_owned()
        };
        let checks: [(&str, Check); 10] = [
            ("bool_type", |e, l| e.boolean(l, &json!([])).is_some()),
            ("bool_parsing", |e, l| e.boolean(l, &json!(2)).is_some()),
            ("int_from_float", |e, l| e.integer(l, &json!(1.5)).is_some()),
            ("int_parsing", |e, l| e.integer(l, &json!("x")).is_some()),
            ("int_type", |e, l| e.integer(l, &json!(null)).is_some()),
            ("float_parsing", |e, l| e.number(l, &json!("x")).is_some()),
            ("float_type", |e, l| e.number(l, &json!({})).is_some()),
            ("string_type", |e, l| e.string(l, &json!(3)).is_some()),
            ("list_type", |e, l| !e.list(l, &json!({}), 3).is_empty()),
            ("model_attributes_type", |e, l| {
                e.object(l, &json!([])).is_some()
            }),
        ];
        for (expected, check) in checks {
            assert_eq!(kind(check), expected);
        }
    }
}
