//! A WebSocket client for ordinary conversations. Every wait ends with a result or fails the test.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use tungstenite::protocol::{CloseFrame, Role};
use tungstenite::{Error, Message};

use super::frame;

/// An open WebSocket. It answers pings and Closes automatically while it reads.
pub struct WebSocket {
    socket: tungstenite::WebSocket<TcpStream>,
}

impl WebSocket {
    /// Wraps a socket after its 101; `behind` are bytes that followed the 101.
    pub fn new(stream: TcpStream, behind: Vec<u8>) -> Self {
        Self { socket: tungstenite::WebSocket::from_partially_read(stream, behind, Role::Client, None) }
    }

    /// The local address, which the server sees as the peer.
    pub fn address(&self) -> String {
        self.socket.get_ref().local_addr().expect("the socket is connected").to_string()
    }

    pub fn text(&mut self, text: &str) {
        self.send(Message::text(text));
    }

    pub fn binary(&mut self, bytes: &[u8]) {
        self.send(Message::binary(bytes.to_vec()));
    }

    pub fn send(&mut self, message: Message) {
        self.socket.send(message).expect("the server reads it");
    }

    /// Sends raw bytes.
    pub fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.get_mut().write_all(bytes.as_ref()).expect("the server reads it");
    }

    /// Sends a frame as it is. `first` has the FIN and reserved bits and the opcode.
    pub fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.send_raw(frame(first, payload));
    }

    /// Reads the next message of any kind, including pings and pongs.
    pub fn next(&mut self) -> Message {
        self.socket.read().expect("a message comes")
    }

    /// Reads the next message, which must be a text.
    pub fn next_text(&mut self) -> String {
        match self.next() {
            Message::Text(text) => text.to_string(),
            other => panic!("no text: {other:?}"),
        }
    }

    /// Reads the next message, which must be a text; none if the connection ends before.
    pub fn try_next_text(&mut self) -> Option<String> {
        self.socket.read().ok().map(|message| message.into_text().expect("a text").to_string())
    }

    /// Reads the next message, which must be binary.
    pub fn next_binary(&mut self) -> Vec<u8> {
        match self.next() {
            Message::Binary(bytes) => bytes.to_vec(),
            other => panic!("not binary: {other:?}"),
        }
    }

    /// Sends a text and reads the next message, which must be a text too.
    pub fn ask(&mut self, text: &str) -> String {
        self.text(text);
        self.next_text()
    }

    /// Sends a Close.
    pub fn start_close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        self.socket.close(Some(frame)).expect("the server reads it");
    }

    /// Sends a Close, then waits for the server's Close and the end of the stream; returns its code and
    /// reason.
    pub fn close(mut self, code: u16, reason: &str) -> Option<(u16, String)> {
        self.start_close(code, reason);
        self.closed()
    }

    /// Waits for the server's Close as the next message, answers it if the server closed first, and waits for
    /// the end of the stream; returns code and reason.
    pub fn closed(mut self) -> Option<(u16, String)> {
        let close = match self.next() {
            Message::Close(close) => close,
            other => panic!("no Close: {other:?}"),
        };
        self.ended();
        close.map(|close| (close.code.into(), close.reason.to_string()))
    }

    /// After the Close was read: waits for the end of the stream.
    pub fn ended(mut self) {
        match self.socket.read() {
            Err(Error::ConnectionClosed) => {}
            other => panic!("no end of the stream: {other:?}"),
        }
    }

    /// Waits for the server's Close as the next frame without answering it; returns its code.
    pub fn peek_close(&mut self) -> u16 {
        let mut bytes = [0; 4];
        let deadline = std::time::Instant::now() + super::DEADLINE;
        while self.socket.get_ref().peek(&mut bytes).expect("a frame comes") < bytes.len() {
            assert!(std::time::Instant::now() < deadline, "no whole frame comes");
        }
        assert_eq!(bytes[0], 0x88, "no Close");
        u16::from_be_bytes([bytes[2], bytes[3]])
    }

    /// Waits for the end of the stream without a Close.
    pub fn dropped(mut self) {
        match self.socket.read() {
            Err(Error::Io(_) | Error::Protocol(_)) => {}
            other => panic!("no bare end of the stream: {other:?}"),
        }
    }

    /// Shuts down sending without a Close; the server may go on sending.
    pub fn half_close(&self) {
        self.socket.get_ref().shutdown(Shutdown::Write).expect("the socket is connected");
    }

    /// Disconnects with a TCP reset.
    pub fn reset(self) {
        let stream = self.socket.get_ref();
        rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).expect("the option can be set");
    }
}
