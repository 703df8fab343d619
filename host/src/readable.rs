//! Texts that somebody else has a word in, a worker or the name of a file, for the terminal: without what could move the
//! cursor.

#![forbid(unsafe_code)]

/// The text, with its lines.
pub fn readable(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { printable(c) }).collect()
}

/// The same on one line, for a cell of a table.
pub fn one_line(text: &str) -> String {
    text.chars().map(printable).collect()
}

fn printable(c: char) -> char {
    if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
}
