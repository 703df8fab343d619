//! HTTP/2 over TLS, and WebSockets over it (RFC 8441), with the client of the `h2` crate and with handmade frames.

mod requests; // requests and responses

mod sockets; // WebSockets on one connection

mod files; // static files

mod limits; // what a client may cost

mod records; // what the access log says

mod ending; // reloads, drains, connections that break

mod malformed; // frames and heads that break the protocol

use std::path::Path;

use tungstenite::{Message, WebSocket};

use crate::support::{Authority, Files, Host, Http2, Trust, Tunnel, empty_folder, run};
use crate::tls::{config, listen, port, serve as serve_file};

/// A server with HTTP/2, and the port of its listener with TLS.
pub struct Server {
    pub host: Host,
    pub port: u16,
    pub trust: Trust,
}

impl Server {
    pub fn connect(&self) -> Http2 {
        Http2::connect(&self.trust, self.port)
    }
}

/// Serves a plugin with this text in its config file.
pub fn serve(name: &str, library: &str, text: &str, options: &[&str]) -> Server {
    serve_in(&empty_folder(name), library, text, options)
}

/// The same with a config file in that folder.
pub fn serve_in(folder: &Path, library: &str, text: &str, options: &[&str]) -> Server {
    let authority = Authority::new("A");
    let files = authority.issue(&["localhost"]).write(folder, "a");
    let text = format!("{}{text}", listen(&files, "http2 = true"));
    let host = serve_file(&config(folder, &text, library), options);
    let port = port(&host, "https");
    Server { host, port, trust: Trust::of(&authority) }
}

/// Sends a text and reads the next message, which has to be a text too.
pub fn ask(socket: &mut WebSocket<Tunnel>, text: &str) -> String {
    socket.send(Message::text(text)).expect("the server reads it");
    next_text(socket)
}

pub fn next_text(socket: &mut WebSocket<Tunnel>) -> String {
    next(socket).into_text().expect("a text").to_string()
}

/// The next message. A test that takes long gets pings in between.
pub fn next(socket: &mut WebSocket<Tunnel>) -> Message {
    loop {
        match socket.read().expect("a message comes") {
            Message::Ping(_) => {}
            message => return message,
        }
    }
}

/// The code and reason of the Close that is the next message, and the end of the stream behind it.
pub fn closed(mut socket: WebSocket<Tunnel>) -> Option<(u16, String)> {
    let close = match next(&mut socket) {
        Message::Close(close) => close,
        other => panic!("no Close: {other:?}"),
    };
    match socket.read() {
        Err(tungstenite::Error::ConnectionClosed) => {}
        other => panic!("no end of the stream: {other:?}"),
    }
    close.map(|close| (close.code.into(), close.reason.to_string()))
}

#[test]
fn a_client_chooses_the_protocol() {
    let server = serve("chooses", "echo", "", &[]);
    let protocol = |offer: &'static [&'static [u8]]| {
        let trust = server.trust.clone().offering(offer);
        let stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).expect("the server listens");
        trust.over(stream, "localhost").map(|stream| stream.conn.alpn_protocol().map(<[u8]>::to_vec))
    };
    let chosen = |offer| protocol(offer).expect("the handshake succeeds");
    assert_eq!(chosen(&[b"h2", b"http/1.1"]).as_deref(), Some(&b"h2"[..]));
    assert_eq!(chosen(&[b"http/1.1", b"h2"]).as_deref(), Some(&b"h2"[..]));
    assert_eq!(chosen(&[b"http/1.1"]).as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(chosen(&[]), None);
    let error = protocol(&[b"spdy/3"]).expect_err("nobody speaks it").to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
    // Without a protocol, the client speaks HTTP/1.1.
    assert_eq!(server.trust.open(server.port, "/").get_ref().conn.alpn_protocol(), None);
}

#[test]
fn it_is_off_unless_the_operator_turns_it_on() {
    let folder = empty_folder("off");
    let authority = Authority::new("A");
    let files = authority.issue(&["localhost"]).write(&folder, "a");
    let file = config(&folder, &listen(&files, ""), "echo");
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    let chosen = |host: &Host| {
        let stream = std::net::TcpStream::connect(("127.0.0.1", port(host, "https"))).expect("it listens");
        let stream = Trust::of(&authority).offering(both).over(stream, "localhost").expect("it speaks TLS");
        stream.conn.alpn_protocol().map(<[u8]>::to_vec)
    };
    assert_eq!(chosen(&serve_file(&file, &[])).as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(chosen(&serve_file(&file, &["--http2"])).as_deref(), Some(&b"h2"[..]));
    assert_eq!(chosen(&serve_file(&file, &["--http2", "--workers", "0"])).as_deref(), Some(&b"h2"[..]));
}

#[test]
fn it_needs_tls() {
    let folder = empty_folder("needs-tls");
    let file = config(&folder, "[[listen]]\naddress = '127.0.0.1:0'\nhttp2 = true", "echo");
    let (code, _, stderr) = run(&["serve", "--config", crate::support::path(&file)]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("callsign.toml:3:9: `http2` in [[listen]]"), "{stderr}");
    assert!(stderr.contains("the key needs `tls`"), "{stderr}");
    let library = crate::support::plugin("echo");
    let (code, _, stderr) =
        run(&["serve", crate::support::path(&library), "--http2", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("--http2 needs an address with TLS"), "{stderr}");
}

#[test]
fn a_reload_turns_it_on_and_off_for_new_clients() {
    let folder = empty_folder("reload");
    let authority = Authority::new("A");
    let files: Files = authority.issue(&["localhost"]).write(&folder, "a");
    let host = serve_file(&config(&folder, &listen(&files, "http2 = true"), "echo"), &[]);
    let (port, trust) = (port(&host, "https"), Trust::of(&authority));
    let mut client = Http2::connect(&trust, port);
    let mut socket = client.open("/");
    assert_eq!(ask(&mut socket, "before"), "before");
    config(&folder, &listen(&files, ""), "echo");
    host.process().signal(rustix::process::Signal::HUP);
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    crate::support::eventually("HTTP/2 is off", || {
        let stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let stream = trust.clone().offering(both).over(stream, "localhost").expect("it speaks TLS");
        stream.conn.alpn_protocol() == Some(b"http/1.1")
    });
    assert_eq!(ask(&mut socket, "after"), "after", "open connections stay");
    assert_eq!(host.log_lines("restart").len(), 0, "{}", host.log());
}
