//! Figures as JSON, an entry of a list on each line, so that a change is a short diff; and what has changed.

use std::io;

use serde::Serialize;
use serde_json::{Value, ser::Formatter};

use super::figures::Figures;

pub fn to_string(figures: &Figures) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Shallow { depth: 0 });
    figures
        .serialize(&mut serializer)
        .expect("figures have names for keys");
    let mut json = String::from_utf8(bytes).expect("JSON is UTF-8");
    json.push('\n');
    json
}

/// Breaks the lines of what is not deep.
struct Shallow {
    depth: usize,
}

impl Shallow {
    const DEEP: usize = 4;

    fn open<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.depth + 1 < Self::DEEP {
            self.line(writer)?;
        }
        writer.write_all(bracket)
    }

    fn next<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        let shallow = self.depth < Self::DEEP;
        match (first, shallow) {
            (true, false) => Ok(()),
            (true, true) => self.line(writer),
            (false, false) => writer.write_all(b", "),
            (false, true) => {
                writer.write_all(b",")?;
                self.line(writer)
            }
        }
    }

    fn line<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        writer.write_all("  ".repeat(self.depth).as_bytes())
    }
}

impl Formatter for Shallow {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.next(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// What differs between committed and fresh figures, a line each: where, and from what to what. What was
/// measured in real time is left out.
pub fn differences(committed: &Figures, fresh: &Figures) -> Vec<String> {
    let value = |figures: &Figures| {
        let figures = Figures {
            real_time: None,
            ..figures.clone()
        };
        serde_json::to_value(figures).expect("figures have names for keys")
    };
    let mut differences = Vec::new();
    compare("", &value(committed), &value(fresh), &mut differences);
    differences
}

fn compare(path: &str, committed: &Value, fresh: &Value, differences: &mut Vec<String>) {
    match (committed, fresh) {
        (Value::Object(committed), Value::Object(fresh)) => {
            let keys: std::collections::BTreeSet<_> =
                committed.keys().chain(fresh.keys()).collect();
            for key in keys {
                let of =
                    |object: &serde_json::Map<_, _>| object.get(key).cloned().unwrap_or_default();
                compare(
                    &format!("{path}.{key}"),
                    &of(committed),
                    &of(fresh),
                    differences,
                );
            }
        }
        (Value::Array(committed), Value::Array(fresh)) => {
            for i in 0..committed.len().max(fresh.len()) {
                let of = |array: &[Value]| array.get(i).cloned().unwrap_or_default();
                // By name where it has one: an index says nothing.
                let name = ["client", "scenario", "what"]
                    .iter()
                    .find_map(|key| fresh.get(i)?.get(key)?.as_str());
                let name = name.map_or_else(|| i.to_string(), str::to_owned);
                compare(
                    &format!("{path}[{name}]"),
                    &of(committed),
                    &of(fresh),
                    differences,
                );
            }
        }
        _ if committed == fresh => {}
        _ => differences.push(format!(
            "{path}: {committed} is committed, {fresh} is fresh"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed() -> Figures {
        serde_json::from_str(include_str!("../../results/compliance.json")).unwrap()
    }

    #[test]
    fn what_is_written_can_be_read_again() {
        let text = to_string(&committed());
        let read: Figures = serde_json::from_str(&text).unwrap();
        assert_eq!(to_string(&read), text);
    }

    #[test]
    fn a_figure_that_changes_is_named_and_real_time_is_not_compared() {
        let (committed, mut fresh) = (committed(), committed());
        assert_eq!(differences(&committed, &fresh), [""; 0]);
        fresh.real_time = None;
        assert_eq!(differences(&committed, &fresh), [""; 0]);
        fresh.windows.rows[0].edge += 1;
        let differences = differences(&committed, &fresh);
        assert_eq!(
            differences,
            [".windows.rows[tower-throttle].edge: 20 is committed, 21 is fresh"]
        );
    }
}
