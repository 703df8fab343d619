//! Replaces characters that control a terminal in untrusted text: a plugin's name, a file's name, what a worker reports.
//! Such text must not move a terminal's cursor, or look like a line of its own.

/// The text with its line breaks; every other unsafe character is replaced by U+FFFD.
pub fn sanitize(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { printable(c) }).collect()
}

/// The text on one line; every unsafe character is replaced by U+FFFD.
pub fn sanitize_line(text: &str) -> String {
    text.chars().map(printable).collect()
}

/// The first `max` characters of the text, and an ellipsis if there are more.
pub fn excerpt(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn printable(c: char) -> char {
    if is_unsafe(c) { char::REPLACEMENT_CHARACTER } else { c }
}

/// Whether the character controls a terminal, separates lines or overrides the direction of text.
pub fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
