//! Escapes control characters in untrusted text: a plugin's name, a file's name, what a worker reports. Such text
//! must not move a terminal's cursor.

/// The text with its line breaks; every other control character is replaced by U+FFFD.
pub fn sanitize(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { printable(c) }).collect()
}

/// The text on one line; every control character is replaced by U+FFFD.
pub fn sanitize_line(text: &str) -> String {
    text.chars().map(printable).collect()
}

fn printable(c: char) -> char {
    if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
}
