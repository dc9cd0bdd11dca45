//! The fields of a JSON object, read with complaints that say what was expected.

use std::{fmt::Display, time::Duration};

use serde_json::{Map, Value};

/// An object of which every field has to be one that somebody asks for.
#[derive(Debug)]
pub(super) struct Fields {
    fields: Map<String, Value>,
    asked: Vec<&'static str>,
}

pub(super) type Result<T> = std::result::Result<T, String>;

impl Fields {
    pub(super) fn of(value: Value) -> Result<Self> {
        match value {
            Value::Object(fields) => Ok(Self {
                fields,
                asked: Vec::new(),
            }),
            other => Err(format!("the body is {other}: expected an object")),
        }
    }

    /// Takes a field out. One that is null counts as not there.
    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.asked.push(name);
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        expected: impl Display,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match read(&value) {
            Some(read) => Ok(Some(read)),
            None => Err(format!("{name:?} is {value}: expected {expected}")),
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        self.read(name, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool> {
        let flag = self.read(name, "true or false", Value::as_bool)?;
        Ok(flag.unwrap_or(false))
    }

    /// An integer that is `least` or more.
    pub(super) fn count(&mut self, name: &'static str, least: usize) -> Result<Option<usize>> {
        let expected = match least {
            0 => "an integer that is not negative",
            _ => "a positive integer",
        };
        self.read(name, expected, |value| count(value, least))
    }

    /// A positive integer, or `always`.
    pub(super) fn times(&mut self, name: &'static str) -> Result<Option<Times>> {
        self.read(
            name,
            r#"a positive integer or "always""#,
            |value| match value.as_str() {
                Some("always") => Some(Times::Always),
                _ => count(value, 1).map(Times::Count),
            },
        )
    }

    /// So many milliseconds.
    pub(super) fn millis(&mut self, name: &'static str) -> Result<Option<Duration>> {
        self.duration(name, "milliseconds", 1e-3)
    }

    /// So many seconds.
    pub(super) fn seconds(&mut self, name: &'static str) -> Result<Option<Duration>> {
        self.duration(name, "seconds", 1.0)
    }

    fn duration(
        &mut self,
        name: &'static str,
        unit: &str,
        factor: f64,
    ) -> Result<Option<Duration>> {
        let expected = format!("a number of {unit}, up to a day");
        self.read(name, expected, |value| {
            let time = Duration::try_from_secs_f64(value.as_f64()? * factor).ok()?;
            (time <= Duration::from_secs(86_400)).then_some(time)
        })
    }

    /// Texts by name.
    pub(super) fn texts(&mut self, name: &'static str) -> Result<Vec<(String, String)>> {
        let texts = self.read(name, "an object with strings", |value| {
            let texts = value.as_object()?.iter();
            let text =
                |(name, text): (&String, &Value)| Some((name.clone(), text.as_str()?.into()));
            texts.map(text).collect::<Option<Vec<_>>>()
        })?;
        Ok(texts.unwrap_or_default())
    }

    /// Complains about a field that nobody has asked for.
    pub(super) fn finish(self) -> Result<()> {
        let Some(name) = self.fields.keys().next() else {
            return Ok(());
        };
        let known: Vec<_> = self.asked.iter().map(|name| format!("{name:?}")).collect();
        let known = known.join(", ");
        Err(format!(
            "the field {name:?} has no place here: expected {known}"
        ))
    }
}

/// How often.
#[derive(Clone, Copy, Debug)]
pub(super) enum Times {
    Count(usize),
    Always,
}

fn count(value: &Value, least: usize) -> Option<usize> {
    let count = usize::try_from(value.as_u64()?).ok()?;
    (count >= least).then_some(count)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        Fields::of(value).unwrap()
    }

    #[test]
    fn complaints_name_the_value_and_what_was_expected() {
        let error = Fields::of(json!([1])).unwrap_err();
        assert_eq!(error, "the body is [1]: expected an object");
        let error = fields(json!({"n": -1})).count("n", 1).unwrap_err();
        assert_eq!(error, r#""n" is -1: expected a positive integer"#);
        let error = fields(json!({"n": 0})).count("n", 1).unwrap_err();
        assert_eq!(error, r#""n" is 0: expected a positive integer"#);
        let error = fields(json!({"n": "often"})).times("n").unwrap_err();
        assert_eq!(
            error,
            r#""n" is "often": expected a positive integer or "always""#
        );
        let error = fields(json!({"n": "1s"})).millis("n").unwrap_err();
        assert_eq!(
            error,
            r#""n" is "1s": expected a number of milliseconds, up to a day"#
        );
        assert!(fields(json!({"n": 1e300})).seconds("n").is_err());
        assert!(fields(json!({"n": {"a": 1}})).texts("n").is_err());
    }

    #[test]
    fn what_is_null_or_missing_is_not_there() {
        let mut fields = fields(json!({"n": null}));
        assert_eq!(fields.count("n", 1), Ok(None));
        assert_eq!(fields.text("t"), Ok(None));
        assert_eq!(fields.flag("f"), Ok(false));
        assert_eq!(fields.finish(), Ok(()));
    }

    #[test]
    fn a_field_that_nobody_knows_is_an_error() {
        let mut fields = fields(json!({"n": 1, "tims": 2}));
        assert_eq!(fields.count("n", 1), Ok(Some(1)));
        assert_eq!(
            fields.times("times").map(|times| times.is_some()),
            Ok(false)
        );
        assert_eq!(
            fields.finish().unwrap_err(),
            r#"the field "tims" has no place here: expected "n", "times""#
        );
    }
}
