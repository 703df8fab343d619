//! Handlers called `connect`, `send` and `close`, beside the C library's functions of those names, which this
//! plugin uses itself.

use std::io::{Read, Write};
use std::net::TcpStream;

use callsign_plugin::prelude::*;

callsign_plugin::plugin!(name = "libc-names");

#[onrequest]
fn connect(request: &mut Request) -> Response {
    request.handshake(None, "send", "close")
}

/// The message is an address: calls there, says `hello`, and sends back what is answered.
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
