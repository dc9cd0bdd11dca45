//! Rows as aligned text.

use std::fmt::Write as _;

use super::row::Row;

const HEADER: [&str; 7] = [
    "",
    "the API allows",
    "accepted",
    "429s",
    "finished in",
    "worst window",
    "most in flight",
];

/// How wide a column is at least, so that tables below each other are aligned.
const WIDTHS: [usize; HEADER.len()] = [19, 19, 8, 4, 11, 12, 14];

/// The columns that are text, from the left; the others are numbers.
const TEXTS: usize = 2;

pub(crate) fn of(rows: &[Row]) -> String {
    let mut lines = vec![HEADER.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.fold(WIDTHS[column], usize::max)
    };
    let widths: [usize; HEADER.len()] = std::array::from_fn(width);
    let mut table = String::new();
    for line in &lines {
        table.push_str(if table.is_empty() { " " } else { "\n " });
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let _ = if column < TEXTS {
                write!(table, " {cell:<width$} ")
            } else {
                write!(table, " {cell:>width$} ")
            };
        }
        table.truncate(table.trim_end().len());
    }
    table
}

fn cells(row: &Row) -> [String; HEADER.len()] {
    let score = &row.score;
    [
        row.label.clone(),
        score.limit.to_string(),
        format!("{} of {}", score.accepted, score.requests()),
        score.refused().to_string(),
        format!("{:.3} s", row.took.as_secs_f64()),
        // All windows here are of one second, and where there is none, a second is what is scored.
        format!("{} in 1 s", score.worst_window),
        format!("{} at once", score.most_in_flight),
    ]
}
