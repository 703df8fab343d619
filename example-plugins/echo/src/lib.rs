//! Sends every message back to its sender; one that begins with `!` goes to everybody else instead. The
//! smallest plugin there is, and the one that the benchmark and the conformance tests talk to.

use callsign_plugin::prelude::*;

callsign_plugin::plugin!();

#[onmessage]
fn onmessage(c: &Connection, message: Message<'_>) {
    if message.as_bytes().first() == Some(&b'!') {
        c.broadcast(message, Scope::Global);
    } else {
        c.send(message);
    }
}
