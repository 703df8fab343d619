//! Tables for people: rows of cells enter, lines of text leave.

use std::fmt;

/// A table. Each column is as wide as its widest cell.
pub struct Table<const N: usize> {
    rows: Vec<Line<N>>,
    /// The number of columns, from the left, that are aligned to the right.
    numbers: usize,
}

enum Line<const N: usize> {
    Cells([String; N]),
    Note(String),
}

impl<const N: usize> Table<N> {
    pub fn new(head: [&str; N], numbers: usize) -> Self {
        Self { rows: vec![Line::Cells(head.map(str::to_owned))], numbers }
    }

    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(Line::Cells(cells));
    }

    /// A line below the last row.
    pub fn note(&mut self, text: String) {
        self.rows.push(Line::Note(text));
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = [0; N];
        for line in &self.rows {
            if let Line::Cells(cells) = line {
                widths
                    .iter_mut()
                    .zip(cells)
                    .for_each(|(width, cell)| *width = cell.chars().count().max(*width));
            }
        }
        for line in &self.rows {
            let text = match line {
                Line::Note(text) => format!("        {text}"),
                Line::Cells(cells) => {
                    let cells = cells.iter().zip(widths).enumerate().map(|(i, (cell, width))| {
                        if i < self.numbers { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
                    });
                    cells.collect::<Vec<_>>().join("  ")
                }
            };
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}
