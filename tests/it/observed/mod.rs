//! A recorder of metrics, a subscriber of logs, and a run that produces all of both.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub(crate) mod logs;
mod recorder;
mod scenario;

pub use logs::{Line, Logs};
pub use recorder::{Recorder, Value};
pub use scenario::everything;

/// The rows of the tables in a text whose header has these columns.
pub fn table<'a>(text: &'a str, header: &str) -> Vec<Vec<&'a str>> {
    let cells = |line: &'a str| -> Vec<&'a str> {
        let line = line.trim().trim_start_matches('|').trim_end_matches('|');
        line.split('|').map(str::trim).collect()
    };
    let mut lines = text.lines().skip_while(|line| *line != header);
    assert!(lines.next().is_some(), "there is no table {header:?}");
    lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

/// What stands between backticks.
pub fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}
