//! What a file says, with what the command line says on top.

use std::{
    fmt::Display,
    fs,
    path::Path,
    str::FromStr,
    time::{Duration, SystemTime},
};

use toml::{Table, Value};

use super::limits;

/// The settings of a file.
///
/// # Errors
///
/// If it cannot be read, or is no TOML: with what is wrong, and where.
pub(crate) fn file(path: &Path) -> Result<Table, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    text.parse::<Table>()
        .map_err(|error| error.to_string().trim_end().to_owned())
}

/// What changes with a file.
pub(crate) type Stamp = (SystemTime, u64);

/// When the file was changed, and how long it is. `None` if it is not there.
pub(crate) fn stamp(file: &Path) -> Option<Stamp> {
    let of = fs::metadata(file).ok()?;
    Some((of.modified().ok()?, of.len()))
}

/// Puts `above` on top of `below`: tables are joined key by key, of all else what is above counts.
pub(crate) fn over(above: &Table, below: &mut Table) {
    for (key, value) in above {
        match (value, below.get_mut(key)) {
            (Value::Table(above), Some(Value::Table(below))) => over(above, below),
            _ => {
                below.insert(key.clone(), value.clone());
            }
        }
    }
}

/// How times are written.
const TIME: &str = "a text such as \"250ms\", \"1.5s\" or \"2m\"";

/// A table of which each key is taken once.
#[derive(Debug)]
pub(crate) struct Keys {
    table: Table,
    known: Vec<&'static str>,
}

impl Keys {
    pub(crate) fn new(table: Table) -> Self {
        let known = Vec::new();
        Self { table, known }
    }

    fn take<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        self.known.push(key);
        let value = self.table.remove(key);
        let value = value.as_ref().map(read).transpose();
        value.map_err(|error| format!("{key}: {error}"))
    }

    pub(crate) fn text(&mut self, key: &'static str, what: &str) -> Result<Option<String>, String> {
        self.take(key, |value| text(value, what).map(str::to_owned))
    }

    pub(crate) fn parsed<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        what: &str,
    ) -> Result<Option<T>, String> {
        self.take(key, |value| {
            let text = text(value, what)?;
            text.parse().map_err(|error: T::Err| error.to_string())
        })
    }

    pub(crate) fn bool(&mut self, key: &'static str) -> Result<bool, String> {
        self.bool_or(key, false)
    }

    pub(crate) fn bool_or(&mut self, key: &'static str, default: bool) -> Result<bool, String> {
        let value = self.take(key, |value| {
            value
                .as_bool()
                .ok_or_else(|| expected("true or false", value))
        });
        value.map(|value| value.unwrap_or(default))
    }

    pub(crate) fn whole<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        what: &str,
    ) -> Result<Option<T>, String> {
        self.take(key, |value| {
            let n = value.as_integer().and_then(|n| T::try_from(n).ok());
            n.ok_or_else(|| expected(what, value))
        })
    }

    /// A time that may be zero.
    pub(crate) fn time(
        &mut self,
        key: &'static str,
        default: Duration,
    ) -> Result<Duration, String> {
        self.time_by(key, default, limits::time)
    }

    /// A time longer than zero.
    pub(crate) fn some_time(
        &mut self,
        key: &'static str,
        default: Duration,
    ) -> Result<Duration, String> {
        self.time_by(key, default, limits::some_time)
    }

    /// A time that may be zero, and has no default.
    pub(crate) fn maybe_time(&mut self, key: &'static str) -> Result<Option<Duration>, String> {
        self.take(key, |value| limits::time(text(value, TIME)?))
    }

    fn time_by(
        &mut self,
        key: &'static str,
        default: Duration,
        read: fn(&str) -> Result<Duration, String>,
    ) -> Result<Duration, String> {
        let time = self.take(key, |value| read(text(value, TIME)?));
        time.map(|time| time.unwrap_or(default))
    }

    pub(crate) fn table(&mut self, key: &'static str) -> Result<Table, String> {
        let table = self.take(key, |value| {
            let table = value.as_table().cloned();
            table.ok_or_else(|| expected("a table", value))
        });
        table.map(Option::unwrap_or_default)
    }

    /// Nothing else is expected.
    pub(crate) fn end(self) -> Result<(), String> {
        let Some(key) = self.table.keys().next() else {
            return Ok(());
        };
        let known = self.known.join("`, `");
        Err(format!(
            "{key}: there is no such key: expected one of `{known}`"
        ))
    }
}

fn text<'a>(value: &'a Value, what: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| expected(what, value))
}

fn expected(what: &str, value: &Value) -> String {
    format!("expected {what}, not {value}")
}
