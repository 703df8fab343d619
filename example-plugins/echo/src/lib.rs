//! Sends every message back to its sender. A message that begins with `!` is instead broadcast to the other
//! clients of all workers, and a message that begins with `.` to the other clients of the sender's worker.
//! The benchmark and the conformance tests use this plugin. Its other handler, `plain`, sends every message back.

use callsign_plugin::prelude::*;

callsign_plugin::plugin!();

#[onmessage]
fn onmessage(c: &Connection, message: Message<'_>) {
    match message.as_bytes().first() {
        Some(b'!') => c.broadcast(message, Scope::Global),
        Some(b'.') => c.broadcast(message, Scope::Local),
        _ => c.send(message),
    };
}

#[onmessage]
fn plain(c: &Connection, message: Message<'_>) {
    c.send(message);
}
