//! Log lines go to stderr: time, level, and the worker that wrote them. Control characters in a record are escaped, and the
//! lines of a report after its first are indented, so that text of plugins and clients cannot forge a record. Logging never
//! blocks: see [`stderr`].

mod queue; // records that wait

mod stderr; // writes that never block

pub mod repeats; // lines that clients cause, held back

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use env_logger::{Target, WriteStyle};
use log::{Level, LevelFilter};

use crate::config::calendar::Milliseconds;
use crate::system::sanitize::is_unsafe;
use stderr::Stderr;

pub use stderr::{flush, open};

/// Time for a reader of stdout or stderr to make room for a last text.
const PATIENCE: Duration = Duration::from_millis(500);

/// Logs records of this level and more important ones from now on.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Starts logging. `worker` is the index of this process among the workers, None in the parent.
pub fn start(level: LevelFilter, worker: Option<usize>) {
    let mut log = env_logger::Builder::new();
    // The level may change.
    log.filter_level(LevelFilter::Debug);
    let style = if io::stderr().is_terminal() { WriteStyle::Always } else { WriteStyle::Never };
    log.target(Target::Pipe(Box::new(Stderr))).write_style(style);
    log.format(move |out, record| {
        let level_style = out.default_level_style(record.level());
        let (time, level) = (Milliseconds(SystemTime::now()), record.level());
        let worker = worker.map(|index| format!(" worker {index}:")).unwrap_or_default();
        let text = record.args().to_string();
        let text = if record.target() == REPORT { escape_lines(&text) } else { escape(&text) };
        writeln!(out, "{time} {level_style}{level:<5}{level_style:#}{worker} {text}")
    });
    log.init();
    set_level(level);
}

/// The target of records with several lines.
const REPORT: &str = "report";

/// Logs one record with several lines, such as a call stack.
pub fn lines(level: Level, text: &str) {
    log::log!(target: REPORT, level, "{text}");
}

/// Writes what waits of the log, before the process ends. Bounded in time.
pub fn finish() {
    stderr::flush_within(PATIENCE);
}

/// Writes a last error, or a text of a process without a log, to stderr. Bounded in time.
pub fn print_error(text: &str) {
    finish();
    stderr::write_within(rustix::stdio::stderr(), text, PATIENCE);
}

/// Logs a line in a child that a plugin forked.
pub fn print_in_child(text: &str) {
    // Not behind the log, whose lock another thread may have held when this process was forked.
    stderr::write_within(rustix::stdio::stderr(), &format!("callsign: {}\n", escape(text)), PATIENCE);
}

/// Writes the text to stdout. Bounded in time: serving does not depend on somebody reading it.
pub fn print(text: &str) {
    stderr::write_within(rustix::stdio::stdout(), text, PATIENCE);
}

/// Escapes control characters in each line, and indents all lines but the first.
fn escape_lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n  ")
}

/// Escapes characters that control a terminal, break a line or change its direction, as Rust writes them in a string:
/// `\n`, `\u{1b}`.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unsafe(c) {
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
        assert_eq!(escape("a\u{2028}2026 b\u{202e}c\u{85}"), r"a\u{2028}2026 b\u{202e}c\u{85}");
        assert_eq!(escape("Grüße, `a\\b` \"c\" 🙂 שלום"), "Grüße, `a\\b` \"c\" 🙂 שלום");
    }

    #[test]
    fn the_lines_of_a_report_are_escaped_and_indented() {
        assert_eq!(
            escape_lines("died\n0: a\x1b[2J\n2026 ERROR fake"),
            "died\n  0: a\\u{1b}[2J\n  2026 ERROR fake"
        );
    }
}
