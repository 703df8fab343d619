//! A WebSocket client that never blocks, for tests with many clients on one thread. Queues frames to send and
//! parses received ones. The owner polls and decides when to read and write.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::frame;
use super::raw::KEY;

/// One client. It sends its upgrade request as soon as it is connected.
pub struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
    /// Number of parsed bytes in `input`.
    taken: usize,
    output: Vec<u8>,
}

impl Peer {
    /// Starts to connect, and registers with the poll under this token.
    pub fn connect(port: u16, registry: &Registry, token: Token) -> Self {
        let mut stream =
            TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).expect("a socket can be made");
        registry
            .register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)
            .expect("the socket can be polled");
        let request = format!(
            "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        Self { stream, input: Vec::new(), taken: 0, output: request.into_bytes() }
    }

    /// Queues one frame. `first` has the FIN and reserved bits and the opcode.
    pub fn send(&mut self, first: u8, payload: &[u8]) {
        self.output.extend(frame(first, payload));
    }

    /// Writes what the socket takes; the rest waits for the next call.
    pub fn write(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what has arrived. False: the stream has ended.
    pub fn read(&mut self) -> io::Result<bool> {
        self.input.drain(..self.taken);
        self.taken = 0;
        let mut piece = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(false),
                Ok(n) => self.input.extend_from_slice(&piece[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Parses the head of the response; returns whether it is a 101.
    pub fn answer(&mut self) -> Option<bool> {
        let end = self.input.windows(4).position(|four| four == b"\r\n\r\n")?;
        self.taken = end + 4;
        Some(self.input.starts_with(b"HTTP/1.1 101 "))
    }

    /// Parses the next frame: its first byte and its payload.
    pub fn frame(&mut self) -> Option<(u8, &[u8])> {
        let rest = &self.input[self.taken..];
        let (head, length) = match *rest {
            [_, length @ ..=125, ..] => (2, usize::from(length)),
            [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
            [_, 127, ..] if rest.len() >= 10 => {
                (10, usize::try_from(u64::from_be_bytes(rest[2..10].try_into().ok()?)).ok()?)
            }
            _ => return None,
        };
        let payload = rest.get(head..head + length)?;
        self.taken += head + length;
        Some((rest[0], payload))
    }

    /// Whether everything received has been parsed.
    pub fn is_empty(&self) -> bool {
        self.taken == self.input.len()
    }
}
