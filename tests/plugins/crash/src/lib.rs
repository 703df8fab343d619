//! Test plugin: echoes, broadcasts, counts, and breaks its worker as a message says, or a file when it is
//! loaded.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};
use std::{fs, process, ptr, thread};

use callsign_plugin::prelude::*;

callsign_plugin::plugin!(name = "crash");

/// With the config `{"start":"FILE"}`, and if the file exists, does what the file says: `refuse`, a
/// [`misfortune`], or `soon` and a misfortune that happens shortly after the worker has started to serve.
#[onload]
fn onload(load: &Load) -> Result<(), String> {
    let file = load.config().strip_prefix(r#"{"start":""#).and_then(|rest| rest.strip_suffix(r#""}"#));
    let Some(what) = file.and_then(|file| fs::read_to_string(file).ok()) else { return Ok(()) };
    if what == "refuse" {
        return Err("not today".to_owned());
    }
    match what.strip_prefix("soon ").map(str::to_owned) {
        Some(what) => _ = after(Duration::from_millis(100), move || _ = misfortune(&what)),
        None => _ = misfortune(&what),
    }
    Ok(())
}

/// Counts the echoed messages.
#[onconnect]
fn onconnect(c: &Connection) {
    c.set_data(Cell::new(0_u64));
}

#[ondisconnect]
fn ondisconnect(c: &Connection) {
    let echoed = c.data::<Cell<u64>>().map_or(0, Cell::get);
    log(Level::Info, format!("#{} left with {} after {echoed} echoes", c.id(), c.close_code()));
}

/// `!TEXT` goes to all others, `.TEXT` to the others of this worker, `*TEXT` to all. `flood N SIZE` sends N
/// messages of this size to all others. `who` returns process and connection. The name of a [`misfortune`]
/// causes it. Everything else is echoed.
#[onmessage]
fn onmessage(c: &Connection, message: Message<'_>) {
    let Message::Text(text) = message else { return };
    if let Some(rest) = text.strip_prefix('!') {
        c.broadcast(rest, Scope::Global);
    } else if let Some(rest) = text.strip_prefix('.') {
        c.broadcast(rest, Scope::Local);
    } else if let Some(rest) = text.strip_prefix('*') {
        broadcast(rest, Scope::Global);
    } else if let Some(rest) = text.strip_prefix("flood ") {
        let (count, size) = rest.split_once(' ').unwrap_or_default();
        let piece = "x".repeat(size.parse().unwrap_or_default());
        for _ in 0..count.parse().unwrap_or_default() {
            c.broadcast(&piece, Scope::Global);
        }
    } else if text == "who" {
        c.send(&format!("{} {}", process::id(), c.id()));
    } else if !misfortune(text) {
        c.send(text);
        c.data::<Cell<u64>>().inspect(|echoed| echoed.set(echoed.get() + 1));
    }
}

/// Does what `what` says; false if it names no misfortune.
fn misfortune(what: &str) -> bool {
    match what.split_once(' ').unwrap_or((what, "")) {
        ("segv", _) => write_nowhere(),
        ("abort", _) => process::abort(),
        ("exit", status) => process::exit(status.parse().unwrap_or_default()),
        ("overflow", _) => _ = recurse(0),
        ("panic", _) => panic!("as asked"),
        ("hang", _) => loop {
            thread::park();
        },
        ("spin", _) => while black_box(true) {},
        // A signal must not wake this worker early when the server stops.
        ("sleep", milliseconds) => {
            let end = Instant::now() + Duration::from_millis(milliseconds.parse().unwrap_or_default());
            while let Some(left) = end.checked_duration_since(Instant::now()) {
                thread::sleep(left);
            }
        }
        _ => return false,
    }
    true
}

#[inline(never)]
fn write_nowhere() {
    let nowhere = black_box(ptr::without_provenance_mut::<u8>(16));
    // SAFETY: none; the worker crashes on purpose.
    #[expect(unsafe_code, reason = "a crash is the purpose of this plugin")]
    unsafe {
        nowhere.write_volatile(1)
    }
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame[1]
}
