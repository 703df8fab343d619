//! Sends much data without filling the write queue. A client asks for a number of lines, and reads them at its own
//! speed: the plugin stops when 32 KiB wait for the client, and goes on when nothing waits any more.

use std::cell::Cell;

use callsign_plugin::prelude::*;

callsign_plugin::plugin!();

/// Bytes that may wait for one client.
const QUEUED_MAX: usize = 32 * 1024;

/// The numbers of the next line and of the last one.
#[derive(Default)]
struct Lines(Cell<(u64, u64)>);

#[onrequest]
fn onrequest(request: &mut Request) -> Response {
    request.handshake("onconnect", "onmessage", None).ondrain("ondrain")
}

#[onconnect]
fn onconnect(c: &Connection) {
    c.set_data(Lines::default());
}

/// The number of lines that the client wants.
#[onmessage]
fn onmessage(c: &Connection, message: Message<'_>) -> Result<(), String> {
    let wanted = message.as_text().and_then(|text| text.parse().ok()).ok_or("a number was expected")?;
    if let Some(lines) = c.data::<Lines>() {
        lines.0.set((1, wanted));
        go_on(c, lines);
    }
    Ok(())
}

/// Nothing waits for the client any more.
#[ondrain]
fn ondrain(c: &Connection) {
    if let Some(lines) = c.data::<Lines>() {
        go_on(c, lines);
    }
}

fn go_on(c: &Connection, lines: &Lines) {
    let (mut next, last) = lines.0.get();
    while next <= last && c.queued() < QUEUED_MAX {
        c.send(&format!("line {next:0100}"));
        next += 1;
    }
    lines.0.set((next, last));
}
