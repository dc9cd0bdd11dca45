//! A table as text.

use std::fmt::{Display, Write as _};

/// Columns as wide as what is in them: the first to the left, the others to the right, but for names.
pub struct Table<'a> {
    title: &'a str,
    rows: Vec<Vec<String>>,
}

impl<'a> Table<'a> {
    pub fn new(title: &'a str, header: &[&str]) -> Self {
        let header = header.iter().map(|&cell| cell.to_owned()).collect();
        let rows = vec![header];
        Self { title, rows }
    }

    pub fn row(&mut self, cells: &[&dyn Display]) {
        self.rows
            .push(cells.iter().map(ToString::to_string).collect());
    }

    pub fn print(self, out: &mut String) {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let _ = writeln!(out, "\n{}", self.title);
        for (at, row) in self.rows.iter().enumerate() {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let _ = match column {
                    0 => write!(out, "  {cell:width$}"),
                    _ if self.rows[0][column] == "who" => write!(out, "  {cell}"),
                    _ => write!(out, "  {cell:>width$}"),
                };
            }
            out.push('\n');
            if at == 0 {
                let line = widths.iter().sum::<usize>() + 2 * columns - 2;
                let _ = writeln!(out, "  {}", "-".repeat(line));
            }
        }
    }
}
