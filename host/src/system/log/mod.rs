//! Log lines go to stderr: time, level, and the worker that wrote them. One record is one line: control characters in a
//! record are escaped, so that text of plugins and clients cannot forge a line. Logging never blocks: see [`stderr`].

mod stderr; // writes that never block

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use env_logger::{Target, WriteStyle};
use log::{Level, LevelFilter};

use stderr::Stderr;

/// Starts logging. `worker` is the index of this process among the workers, None in the parent.
pub fn start(level: LevelFilter, worker: Option<usize>) {
    let mut log = env_logger::Builder::new();
    log.filter_level(level);
    let style = if io::stderr().is_terminal() { WriteStyle::Always } else { WriteStyle::Never };
    log.target(Target::Pipe(Box::new(Stderr::new()))).write_style(style);
    log.format(move |out, record| {
        let level_style = out.default_level_style(record.level());
        let (time, level) = (out.timestamp_millis(), record.level());
        let worker = worker.map(|index| format!(" worker {index}:")).unwrap_or_default();
        let text = escape(&record.args().to_string());
        writeln!(out, "{time} {level_style}{level:<5}{level_style:#}{worker} {text}")
    });
    log.init();
}

/// Logs each line of a text as a record of its own: for text of the host that has several lines, such as a call stack.
pub fn lines(level: Level, text: &str) {
    text.lines().for_each(|line| log::log!(level, "{line}"));
}

/// Escapes control characters, as Rust writes them in a string: `\n`, `\u{1b}`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => _ = write!(escaped, "{}", c.escape_default()),
            false => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_everything_else_stays() {
        assert_eq!(
            escape("left: bye\n2026 ERROR fake\x1b[2J\r\0"),
            r"left: bye\n2026 ERROR fake\u{1b}[2J\r\u{0}"
        );
        assert_eq!(escape("Grüße, `a\\b` \"c\" 🙂"), "Grüße, `a\\b` \"c\" 🙂");
    }
}
