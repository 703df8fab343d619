//! Test plugin: handlers called `connect`, `send` and `close`, like functions of the C library that this
//! plugin itself uses.

use std::io::{Read, Write};
use std::net::TcpStream;

use callsign_plugin::prelude::*;

callsign_plugin::plugin!(name = "libc-names");

#[onrequest]
fn connect(request: &mut Request) -> Response {
    request.handshake(None, "send", "close")
}

/// The message is an address: connects there, sends `hello`, and returns the answer to the client.
#[onmessage]
fn send(c: &Connection, message: Message<'_>) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(message.as_text().unwrap_or_default())?;
    stream.write_all(b"hello")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    c.send(&answer);
    Ok(())
}

#[ondisconnect]
fn close(c: &Connection) {
    log(Level::Info, format!("close {}", c.close_code()));
}
