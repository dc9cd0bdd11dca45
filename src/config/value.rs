//! What a format holds, before anything is made of it: so that each error can name its key.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
    ser::SerializeMap,
};

use super::error::{InvalidConfig, Path};
use crate::quota::read_duration;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Nothing,
    Bool(bool),
    Whole(u64),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    /// In the order in which they were written.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// As an error shows it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Bool(value) => format!("{value}"),
            Self::Whole(value) => format!("the number {value}"),
            Self::Number(value) => format!("the number {value}"),
            Self::Text(text) => format!("the text {text:?}"),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a table".to_owned(),
        }
    }
}

/// A value, and where it stands.
pub(super) struct At {
    pub(super) path: Path,
    pub(super) value: Value,
}

impl At {
    pub(super) fn expected(&self, what: &str) -> InvalidConfig {
        let found = self.value.shown();
        self.path.is(format_args!("expected {what}, found {found}"))
    }

    pub(super) fn text(self, what: &str) -> Result<(Path, String), InvalidConfig> {
        match self.value {
            Value::Text(text) => Ok((self.path, text)),
            _ => Err(self.expected(what)),
        }
    }

    pub(super) fn bool(self) -> Result<bool, InvalidConfig> {
        match self.value {
            Value::Bool(value) => Ok(value),
            _ => Err(self.expected("true or false")),
        }
    }

    pub(super) fn whole<N: TryFrom<u64>>(self, what: &str) -> Result<N, InvalidConfig> {
        let number = match self.value {
            Value::Whole(number) => N::try_from(number).ok(),
            _ => None,
        };
        number.ok_or_else(|| self.expected(what))
    }

    pub(super) fn number(self, what: &str) -> Result<f64, InvalidConfig> {
        match self.value {
            #[expect(clippy::cast_precision_loss, reason = "it was written as a number")]
            Value::Whole(number) => Ok(number as f64),
            Value::Number(number) => Ok(number),
            _ => Err(self.expected(what)),
        }
    }

    pub(super) fn time(self) -> Result<Duration, InvalidConfig> {
        let (path, text) = self.text("a time such as \"500ms\"")?;
        let expected = |problem| format!("{problem} (a time is a text such as \"500ms\")");
        read_duration(&text).map_err(|problem| path.is(expected(problem)))
    }

    pub(super) fn list(self, what: &str) -> Result<Vec<Self>, InvalidConfig> {
        let Value::List(values) = self.value else {
            return Err(self.expected(what));
        };
        let at = |(index, value)| Self {
            path: self.path.index(index),
            value,
        };
        Ok(values.into_iter().enumerate().map(at).collect())
    }

    pub(super) fn section(self, what: &str) -> Result<Section, InvalidConfig> {
        let Value::Map(fields) = self.value else {
            return Err(self.expected(what));
        };
        let mut seen = std::collections::BTreeSet::new();
        for (key, _) in &fields {
            if !seen.insert(key) {
                return Err(self.path.key(key).is("it is there twice"));
            }
        }
        Ok(Section {
            path: self.path,
            fields,
            known: Vec::new(),
        })
    }
}

/// A table of which each key is taken once.
pub(super) struct Section {
    pub(super) path: Path,
    fields: Vec<(String, Value)>,
    known: Vec<&'static str>,
}

impl Section {
    /// The value of a key that may be there. Nothing is as good as none.
    pub(super) fn take(&mut self, key: &'static str) -> Option<At> {
        self.known.push(key);
        let at = self.fields.iter().position(|(field, _)| field == key)?;
        let (_, value) = self.fields.remove(at);
        let path = self.path.key(key);
        (value != Value::Nothing).then_some(At { path, value })
    }

    /// The value of a key that has to be there.
    pub(super) fn need(&mut self, key: &'static str, what: &str) -> Result<At, InvalidConfig> {
        let taken = self.take(key);
        taken.ok_or_else(|| {
            self.path
                .key(key)
                .is(format_args!("it is missing: expected {what}"))
        })
    }

    /// All of a table whose keys are the user's.
    pub(super) fn all(self) -> impl Iterator<Item = (String, At)> {
        let path = self.path;
        self.fields.into_iter().map(move |(key, value)| {
            let path = path.key(&key);
            (key, At { path, value })
        })
    }

    /// Nothing else is expected.
    pub(super) fn end(self) -> Result<(), InvalidConfig> {
        let Some((key, _)) = self.fields.first() else {
            return Ok(());
        };
        let known = self.known.join("`, `");
        Err(self.path.key(key).is(format_args!(
            "there is no such key: expected one of `{known}`"
        )))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table, a list, a text, a number, true or false")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "no key wants a number below zero"
        )]
        let negative = || Value::Number(value as f64);
        Ok(u64::try_from(value).map_or_else(|_| negative(), Value::Whole))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Whole(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Value::Map(fields))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Whole(value) => serializer.serialize_u64(*value),
            Self::Number(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(values) => serializer.collect_seq(values),
            Self::Map(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}
