//! A socket that sends exactly what a test says: handmade HTTP and WebSocket frames.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tungstenite::handshake::derive_accept_key;

use super::{DEADLINE, WebSocket};

/// The key of the example in RFC 6455 §1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The headers of a client's handshake besides Host (RFC 6455 §4.1).
pub const UPGRADE: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
];

// First bytes of frames: FIN and the opcode (RFC 6455 §5.2).
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8A;
// The first, middle and last frames of a fragmented message (RFC 6455 §5.4).
pub const TEXT_BEGINS: u8 = 0x01;
pub const BINARY_BEGINS: u8 = 0x02;
pub const GOES_ON: u8 = 0x00;
pub const ENDS: u8 = 0x80;

/// A socket to the server. Every read ends with an answer, with the end of the stream, or fails the test.
pub struct Raw {
    stream: TcpStream,
    /// Bytes that were received after those that the test has read.
    behind: Vec<u8>,
}

/// An HTTP response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of the first header with this name, which must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }
}

impl Raw {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), DEADLINE)
            .expect("the server listens");
        Self::of(stream)
    }

    /// Wraps a connected socket.
    pub fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("the option can be set");
        Self { stream, behind: Vec::new() }
    }

    /// The local address, which the server sees as the peer.
    pub fn address(&self) -> String {
        self.stream.local_addr().expect("the socket is connected").to_string()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server reads it");
    }

    /// Sends a byte as urgent data of TCP.
    pub fn send_urgent(&mut self, byte: u8) {
        let sent = rustix::net::send(&self.stream, &[byte], rustix::net::SendFlags::OOB);
        assert_eq!(sent, Ok(1));
    }

    /// Sends the bytes. False: the connection was closed.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends one frame, masked as RFC 6455 requires. `first` has the FIN and reserved bits and the opcode.
    pub fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.send(frame(first, payload));
    }

    /// The same socket for another thread: one sends, the other receives.
    pub fn other_half(&self) -> Self {
        Self { stream: self.stream.try_clone().expect("there is another descriptor"), behind: Vec::new() }
    }

    /// Shrinks the kernel's receive buffer.
    pub fn buffer_little(&self) {
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.stream, 64 << 10)
            .expect("the option can be set");
    }

    /// Shuts down sending; the server may go on sending.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the socket is connected");
    }

    /// Disconnects with a TCP reset.
    pub fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))
            .expect("the option can be set");
    }

    /// Sends a request with these headers besides Host, and reads the response.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send_request(method, path, headers, body);
        self.read_answer(method != "HEAD")
    }

    /// Sends a request without reading the response. A body gets its Content-Length.
    pub fn send_request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
        headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        if !body.is_empty() {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        text += "\r\n";
        self.send([text.as_bytes(), body].concat());
    }

    /// Reads the head of the next response, as it was sent.
    pub fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.read_exact(1));
        }
        String::from_utf8(head).expect("the server writes ASCII")
    }

    /// Reads the next response, with its body if `body` says that it has one.
    pub fn read_answer(&mut self, body: bool) -> Answer {
        let head = self.read_head();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let header =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let mut answer = Answer {
            status: status.unwrap_or_else(|| panic!("no status: {head}")),
            headers: lines.filter_map(header).collect(),
            body: Vec::new(),
        };
        if let Some(length) = answer.header("content-length").filter(|_| body) {
            answer.body = self.read_exact(length.parse().expect("Content-Length is a number"));
        }
        answer
    }

    /// Requests an upgrade; the socket stays raw.
    pub fn handshake(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("GET", path, &[&UPGRADE, headers].concat(), b"")
    }

    /// Upgrades, or fails the test; the socket stays raw.
    pub fn upgraded(mut self, path: &str, headers: &[(&str, &str)]) -> Self {
        let answer = self.handshake(path, headers);
        assert_eq!(answer.status, 101, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.header("sec-websocket-accept"), Some(&*derive_accept_key(KEY.as_bytes())));
        self
    }

    /// Upgrades to a WebSocket, or fails the test.
    pub fn upgrade(self, path: &str, headers: &[(&str, &str)]) -> WebSocket {
        let Self { stream, behind } = self.upgraded(path, headers);
        WebSocket::new(stream, behind)
    }

    /// Reads one frame of the server: its first byte and its payload.
    pub fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.read_exact(2);
        assert_eq!(head[1] & 0x80, 0, "a server's frames are not masked (RFC 6455 §5.1)");
        let length = match head[1] {
            126 => usize::from(u16::from_be_bytes(self.read_array())),
            127 => {
                usize::try_from(u64::from_be_bytes(self.read_array())).expect("the length fits into usize")
            }
            length => usize::from(length),
        };
        (head[0], self.read_exact(length))
    }

    fn read_array<const N: usize>(&mut self) -> [u8; N] {
        self.read_exact(N).try_into().expect("the slice has N bytes")
    }

    pub fn read_exact(&mut self, length: usize) -> Vec<u8> {
        while self.behind.len() < length {
            let (mut buffer, received) = ([0; 16 * 1024], self.behind.len());
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the stream ended after {received} of the expected {length} bytes"),
                Ok(n) => self.behind.extend(&buffer[..n]),
                Err(error) => panic!("{error} after {received} of the expected {length} bytes"),
            }
        }
        self.behind.drain(..length).collect()
    }

    /// Whether nothing arrives for this long, not even the end of the stream.
    pub fn nothing_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("a timeout can be set");
        let result = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        self.behind.is_empty() && result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Reads to the end of the stream. A reset fails the test, because it could discard what was sent before.
    pub fn read_to_eof(&mut self) -> Vec<u8> {
        let (mut all, mut buffer) = (std::mem::take(&mut self.behind), [0; 16 * 1024]);
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            match self.stream.read(&mut buffer) {
                Ok(0) => return all,
                Ok(n) => all.extend(&buffer[..n]),
                Err(error) => panic!("no proper end: {error}"),
            }
        }
        panic!("no end, {} bytes so far", all.len());
    }

    /// Reads to the end of the stream; a reset counts as the end.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.behind);
        match self.stream.read_to_end(&mut all) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("no end: {error}"),
            _ => all,
        }
    }
}

/// A client's frame: `first` has the FIN and reserved bits and the opcode; the rest is valid.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d]; // the one of RFC 6455 §5.7
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length @ ..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
