//! The backtrace of a panic in the plugin, in the server's log, if `RUST_BACKTRACE` asks for it as in any program in
//! Rust. The host's own line about the failure names only the place of the panic.
#![forbid(unsafe_code)]

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env;
use std::panic::Location;

use super::host::log;
use crate::abi::level;

/// Logs where the panic happened that runs the panic hook now.
pub(super) fn log_backtrace(location: &Location<'_>) {
    let backtrace = Backtrace::capture();
    if backtrace.status() != BacktraceStatus::Captured {
        return;
    }
    let text = backtrace.to_string();
    let frames = frames(&text);
    let is_full = env::var_os("RUST_BACKTRACE").is_some_and(|value| value == "full");
    let shown = if is_full { &frames[..] } else { own(&frames) };
    log(level::ERROR, &format!("backtrace of the panic at {location}, the innermost call first:"));
    // One record for each frame, because a record is one line.
    shown.iter().for_each(|frame| log(level::ERROR, &format!("  {frame}")));
}

/// The frames, each on one line: `3: name at file:line`.
fn frames(text: &str) -> Vec<String> {
    let mut frames: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim) {
        match frames.last_mut() {
            Some(frame) if line.starts_with("at ") => *frame += &format!(" {line}"),
            _ => frames.push(line.to_owned()),
        }
    }
    frames
}

/// The plugin's own frames: those between the machinery of the panic and the entry point of the callback. All of them if
/// they cannot be told apart, for example without symbols.
fn own(frames: &[String]) -> &[String] {
    let Some(begin) = frames.iter().position(|frame| frame.contains("rust_begin_unwind")) else {
        return frames;
    };
    let of_core = |frame: &&String| {
        ["core::panicking::", "core::option::", "core::result::"].iter().any(|name| frame.contains(name))
    };
    let begin = begin + 1 + frames[begin + 1..].iter().take_while(of_core).count();
    let end = frames[begin..].iter().position(|frame| frame.contains("callsign_plugin::boundary::entry"));
    match end {
        Some(end) if end > 0 => &frames[begin..begin + end],
        _ => &frames[begin..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "   0: std::backtrace::Backtrace::create\n             at /rustc/x/backtrace.rs:331:13\n   \
        1: callsign_plugin::boundary::entry::install_panic_hook::{{closure}}\n   2: __rustc::rust_begin_unwind\n   \
        3: core::panicking::panic_fmt\n   4: core::result::unwrap_failed\n   5: chat::find\n             at \
        ./src/lib.rs:7:5\n   6: chat::message\n   7: callsign_plugin::boundary::entry::call_onmessage::{{closure}}\n   \
        8: std::panicking::catch_unwind\n";

    #[test]
    fn the_plugins_own_frames_are_shown_with_their_places() {
        let frames = frames(TEXT);
        assert_eq!(frames[0], "0: std::backtrace::Backtrace::create at /rustc/x/backtrace.rs:331:13");
        assert_eq!(own(&frames), ["5: chat::find at ./src/lib.rs:7:5", "6: chat::message"]);
    }

    #[test]
    fn all_frames_are_shown_if_no_name_is_known() {
        let unknown = frames("   0: <unknown>\n   1: <unknown>\n");
        assert_eq!(own(&unknown), ["0: <unknown>", "1: <unknown>"]);
    }
}
