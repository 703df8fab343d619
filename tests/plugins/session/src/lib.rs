//! Benchmark plugin: echoes every message, as the example `echo` does, and keeps a small state for each
//! connection that a reload must carry over: a name and two numbers.

use callsign_plugin::prelude::*;
use serde::{Deserialize, Serialize};

callsign_plugin::plugin!(state = Session);

#[derive(Default, Serialize, Deserialize)]
struct Session {
    name: String,
    messages: u64,
    bytes: u64,
}

#[onconnect]
fn onconnect(c: &Connection) {
    c.set_state(Session { name: format!("guest-{}", c.id()), messages: 0, bytes: 0 });
}

#[onmessage]
fn onmessage(c: &Connection, message: Message<'_>) {
    let mut session = c.state::<Session>();
    session.messages += 1;
    session.bytes += message.as_bytes().len() as u64;
    c.send(message);
}
