//! A WebSocket client for ordinary conversations. Whatever it waits for comes, or the test fails.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Error, Message};

use super::frame;

/// An open WebSocket. It answers pings and Closes by itself, while it reads.
pub struct WebSocket {
    socket: tungstenite::WebSocket<TcpStream>,
}

impl WebSocket {
    /// A socket that has its 101; `behind`: what came behind it.
    pub fn new(stream: TcpStream, behind: Vec<u8>) -> Self {
        Self { socket: tungstenite::WebSocket::from_partially_read(stream, behind, Role::Client, None) }
    }

    /// Its own address, which is the server's peer.
    pub fn address(&self) -> String {
        self.socket.get_ref().local_addr().expect("it is connected").to_string()
    }

    pub fn text(&mut self, text: &str) {
        self.send(Message::text(text));
    }

    pub fn binary(&mut self, bytes: &[u8]) {
        self.send(Message::binary(bytes.to_vec()));
    }

    pub fn send(&mut self, message: Message) {
        self.socket.send(message).expect("the server takes it");
    }

    /// Bytes past the protocol.
    pub fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.get_mut().write_all(bytes.as_ref()).expect("the server takes it");
    }

    /// A frame past the protocol. `first`: the FIN and reserved bits, and the opcode.
    pub fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.send_raw(frame(first, payload));
    }

    /// The next message of any kind, pings and pongs among them.
    pub fn next(&mut self) -> Message {
        self.socket.read().expect("a message comes")
    }

    /// The next message, which must be a text.
    pub fn next_text(&mut self) -> String {
        match self.next() {
            Message::Text(text) => text.to_string(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// The next message, if the connection lasts that long, which must be a text.
    pub fn try_next_text(&mut self) -> Option<String> {
        self.socket.read().ok().map(|message| message.into_text().expect("a text").to_string())
    }

    /// The next message, which must be a binary one.
    pub fn next_binary(&mut self) -> Vec<u8> {
        match self.next() {
            Message::Binary(bytes) => bytes.to_vec(),
            other => panic!("not binary: {other:?}"),
        }
    }

    /// Sends a text and awaits the next, which must be a text too.
    pub fn ask(&mut self, text: &str) -> String {
        self.text(text);
        self.next_text()
    }

    /// Sends a Close.
    pub fn start_close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        self.socket.close(Some(frame)).expect("the server takes it");
    }

    /// Sends a Close and awaits the server's, and the end of the stream; the server's code and reason.
    pub fn close(mut self, code: u16, reason: &str) -> Option<(u16, String)> {
        self.start_close(code, reason);
        self.closed()
    }

    /// Awaits the server's Close as the next message, answers it if it came first, and awaits the end of the
    /// stream; code and reason.
    pub fn closed(mut self) -> Option<(u16, String)> {
        let close = match self.next() {
            Message::Close(close) => close,
            other => panic!("no Close: {other:?}"),
        };
        self.ended();
        close.map(|close| (close.code.into(), close.reason.to_string()))
    }

    /// After a Close was read: awaits the end of the stream.
    pub fn ended(mut self) {
        match self.socket.read() {
            Err(Error::ConnectionClosed) => {}
            other => panic!("no end of the stream: {other:?}"),
        }
    }

    /// Awaits the server's Close as the next frame, and does not answer it; its code.
    pub fn peek_close(&mut self) -> u16 {
        let mut bytes = [0; 4];
        let deadline = std::time::Instant::now() + super::DEADLINE;
        while self.socket.get_ref().peek(&mut bytes).expect("a frame comes") < bytes.len() {
            assert!(std::time::Instant::now() < deadline, "no whole frame comes");
        }
        assert_eq!(bytes[0], 0x88, "no Close");
        u16::from_be_bytes([bytes[2], bytes[3]])
    }

    /// Awaits the end of the stream without a Close.
    pub fn dropped(mut self) {
        match self.socket.read() {
            Err(Error::Io(_) | Error::Protocol(_)) => {}
            other => panic!("no bare end of the stream: {other:?}"),
        }
    }

    /// Ends its own side of the stream without a Close; the server may go on sending.
    pub fn half_close(&self) {
        self.socket.get_ref().shutdown(Shutdown::Write).expect("it is connected");
    }

    /// Ends with a TCP reset.
    pub fn reset(self) {
        let stream = self.socket.get_ref();
        rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).expect("the option can be set");
    }
}
