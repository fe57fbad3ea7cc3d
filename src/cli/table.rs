//! Tables of text: columns as wide as their contents. Pure.

use std::fmt::Write as _;

use anstyle::Style;

use super::plan::style::styled;
use super::terminal;

/// A table: a heading, and rows with the style of each.
#[derive(Default)]
pub struct Table {
    rows: Vec<(Style, Vec<String>)>,
}

impl Table {
    /// A table with that heading.
    pub fn new<T: Into<String>>(heading: impl IntoIterator<Item = T>) -> Self {
        let mut table = Self::default();
        table.row(heading);
        table
    }

    /// Adds a row.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.styled_row(Style::new(), cells);
    }

    /// Adds a row in that style. A cell is one line.
    pub fn styled_row<T: Into<String>>(&mut self, style: Style, cells: impl IntoIterator<Item = T>) {
        let cell = |text: T| terminal::one_line(&text.into());
        self.rows.push((style, cells.into_iter().map(cell).collect()));
    }

    /// The text. Each line starts with `indent`.
    pub fn format(&self, indent: &str) -> String {
        let columns = self.rows.iter().map(|(_, cells)| cells.len()).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|(_, cells)| cells.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for (style, cells) in &self.rows {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                let _ = write!(line, "{cell:<width$}   ");
            }
            let _ = writeln!(out, "{indent}{}", styled(*style, line.trim_end()));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_without_trailing_space() {
        let mut table = Table::new(["NAME", "AGE"]);
        table.row(["demo-default", "5d"]);
        table.row(["x", ""]);
        assert_eq!(table.format(" "), " NAME           AGE\n demo-default   5d\n x\n");
    }
}
