//! Sends every message back to its sender. One that begins with `!` goes to everybody else instead, on all
//! workers; one that begins with `.` goes to everybody else on the sender's own worker. The smallest plugin
//! there is, and the one that the benchmark and the conformance tests talk to.

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
