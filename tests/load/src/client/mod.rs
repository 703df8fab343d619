//! The load: one thread, one epoll, many connections. Implements as much of a client's side of RFC 6455 as
//! the benchmark needs: sends masked binary frames, and expects frames whose every byte is known. Returns
//! message counts and latencies. Does not know which server answers.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::retry_on_intr;
use rustix::net::sockopt::set_socket_linger;

/// The example of RFC 6455, section 1.3: the accept value for this key is in [`ANSWER`].
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
/// A sufficient response for servers that serve only this client.
pub const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// The masking key of the example in RFC 6455, section 5.7.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// After this long without data the server has lost a message.
const STALL: Duration = Duration::from_secs(10);
/// Upgrades in flight while connections are opened; below every listen backlog.
const OPENING: usize = 64;
/// Size of one read; larger than all answers to one batch.
const BUFFER: usize = 256 << 10;
/// Position of the message number. The first byte tells the server what to do; three bytes of text follow it.
const NUMBER: std::ops::Range<usize> = 4..12;

/// What the connections send.
#[derive(Clone, Copy)]
pub enum Message {
    /// Begins with `e`; returned to the sender.
    Echo { size: usize },
    /// Delivered to every client in the scope except the sender.
    Broadcast { scope: Scope, size: usize },
}

/// How far a broadcast goes.
#[derive(Clone, Copy)]
pub enum Scope {
    /// Begins with `.`; for the clients of the sender's worker.
    Local,
    /// Begins with `!`; for the clients of all workers.
    Global,
}

/// Results from the first message to the last answer.
pub struct Window {
    /// Messages received and checked.
    pub messages: u64,
    pub elapsed: Duration,
    /// From writing a batch to its last answer.
    pub latencies_us: Vec<u32>,
}

struct Connection {
    stream: Stream,
    /// An incomplete frame, kept until the rest has arrived.
    partial: Vec<u8>,
    /// Bytes that the kernel has not accepted yet.
    unsent: Vec<u8>,
    /// Number of the next message to send.
    next: u64,
    /// Number of the next message to receive.
    expected: u64,
    sent_at: Instant,
}

/// Open connections to one server.
pub struct Load {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    events: Vec<Event>,
    buffer: Vec<u8>,
    /// The masked frame to send and the frame to receive, complete except for the number.
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    size: usize,
    /// Messages per batch, which is repeated as soon as all are answered; 0 for broadcasts.
    depth: u64,
    until: Instant,
    /// Messages that have not arrived yet.
    outstanding: u64,
    received: u64,
    latencies_us: Vec<u32>,
}

impl Load {
    /// Opens and upgrades `count` connections to the server at a port of the loopback.
    ///
    /// # Errors
    /// The server refuses, disconnects, sends nothing for 10 s, or responds with anything but a valid 101.
    pub fn open(to: impl Into<Target>, count: usize, message: Message) -> Result<Self> {
        let to = to.into();
        let (letter, size) = match message {
            Message::Echo { size } => (b'e', size),
            Message::Broadcast { scope: Scope::Local, size } => (b'.', size),
            Message::Broadcast { scope: Scope::Global, size } => (b'!', size),
        };
        let mut text: Vec<u8> = (b'a'..=b'z').cycle().take(size).collect();
        text[0] = letter;
        let mut load = Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            connections: Vec::with_capacity(count),
            events: Vec::with_capacity(1024),
            buffer: vec![0; BUFFER],
            outgoing: frame(&text, Some(MASK)),
            incoming: frame(&text, None),
            size,
            depth: 0,
            until: Instant::now(),
            outstanding: 0,
            received: 0,
            latencies_us: Vec::new(),
        };
        while load.connections.len() < count {
            let batch = OPENING.min(count - load.connections.len());
            let streams: Vec<_> = (0..batch).map(|_| requested(&to)).collect::<Result<_>>()?;
            for stream in streams {
                load.upgraded(stream, matches!(message, Message::Echo { .. }))?;
            }
        }
        Ok(load)
    }

    /// Reads the response to an upgrade request and adds the connection.
    fn upgraded(&mut self, mut stream: Stream, numbered_apart: bool) -> Result<()> {
        let index = self.connections.len();
        response(&mut stream, &mut self.buffer).with_context(|| format!("connection {index}"))?;
        stream.socket().set_nonblocking(true)?;
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&self.epoll, stream.socket(), EventData::new_u64(index as u64), interest)?;
        // Each connection numbers its echoes differently, so that misdirected ones are detected.
        let first = if numbered_apart { (index as u64) << 32 } else { 0 };
        self.connections.push(Connection {
            stream,
            partial: Vec::new(),
            unsent: Vec::new(),
            next: first,
            expected: first,
            sent_at: Instant::now(),
        });
        Ok(())
    }

    /// For `duration`, every connection sends `depth` messages in one write, waits for all answers, and
    /// repeats. Returns after the last answer.
    ///
    /// # Errors
    /// A wrong answer, a lost connection, or 10 s without any answer.
    pub fn echo(&mut self, depth: u64, duration: Duration) -> Result<Window> {
        let started = self.start(depth, duration);
        for index in 0..self.connections.len() {
            self.outstanding += depth;
            self.send(index, depth)?;
        }
        self.receive_outstanding()?;
        Ok(self.finish(started))
    }

    /// For `duration`, the connections take turns to send `burst` messages in one write, each after all
    /// others have received the previous burst.
    ///
    /// # Errors
    /// As for [`Self::echo`].
    pub fn broadcast(&mut self, burst: u64, duration: Duration) -> Result<Window> {
        let started = self.start(0, duration);
        let count = self.connections.len();
        for source in (0..count).cycle() {
            let sent_at = Instant::now();
            if sent_at >= self.until {
                break;
            }
            // All connections expect the same next number, whichever sends it.
            self.connections[source].next = self.connections[source].expected;
            self.connections[source].expected += burst;
            self.outstanding = burst * (count as u64 - 1);
            self.send(source, burst)?;
            self.receive_outstanding()?;
            self.latencies_us.push(microseconds(sent_at.elapsed()));
        }
        Ok(self.finish(started))
    }

    /// Watches the connections for `duration`, in which nothing may arrive.
    ///
    /// # Errors
    /// Data arrived, or a connection ended.
    pub fn silence(&mut self, duration: Duration) -> Result<()> {
        self.start(0, duration);
        while let Some(remaining) = self.until.checked_duration_since(Instant::now()) {
            self.turn(remaining)?;
        }
        Ok(())
    }

    fn start(&mut self, depth: u64, duration: Duration) -> Instant {
        let now = Instant::now();
        self.depth = depth;
        self.until = now + duration;
        self.received = 0;
        now
    }

    fn finish(&mut self, started: Instant) -> Window {
        let latencies_us = std::mem::take(&mut self.latencies_us);
        Window { messages: self.received, elapsed: started.elapsed(), latencies_us }
    }

    fn receive_outstanding(&mut self) -> Result<()> {
        while self.outstanding > 0 {
            ensure!(self.turn(STALL)? > 0, "{} messages did not arrive within {STALL:?}", self.outstanding);
        }
        Ok(())
    }

    /// Waits for events and handles them; returns their number.
    fn turn(&mut self, patience: Duration) -> Result<usize> {
        let patience = Timespec::try_from(patience)?;
        self.events.clear();
        retry_on_intr(|| epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&patience)))?;
        for position in 0..self.events.len() {
            let Event { flags, data } = self.events[position];
            let index = data.u64() as usize;
            self.flush(index)?;
            if flags != EventFlags::OUT {
                self.read(index)?;
            }
        }
        Ok(self.events.len())
    }

    /// Writes the next `count` messages of a connection in one call.
    fn send(&mut self, index: usize, count: u64) -> Result<()> {
        let connection = &mut self.connections[index];
        let number_at = self.outgoing.len() - self.size + NUMBER.start;
        for _ in 0..count {
            let mut number = connection.next.to_le_bytes();
            number.iter_mut().zip(MASK.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
            self.outgoing[number_at..][..number.len()].copy_from_slice(&number);
            connection.unsent.extend_from_slice(&self.outgoing);
            connection.next += 1;
        }
        connection.sent_at = Instant::now();
        self.flush(index)
    }

    fn flush(&mut self, index: usize) -> Result<()> {
        let Connection { stream, unsent, .. } = &mut self.connections[index];
        let mut result = Ok(());
        while !unsent.is_empty() && result.is_ok() {
            result = stream.write(unsent).map(|n| drop(unsent.drain(..n)));
        }
        match result.and_then(|()| stream.flush()) {
            Err(e) if e.kind() != ErrorKind::WouldBlock => {
                Err(e).with_context(|| format!("connection {index}: write"))
            }
            _ => Ok(()),
        }
    }

    /// Reads and checks everything that has arrived on a connection, and follows a complete batch with the
    /// next.
    fn read(&mut self, index: usize) -> Result<()> {
        loop {
            let connection = &mut self.connections[index];
            let connection_is_tls = connection.stream.is_tls();
            let kept = connection.partial.len();
            self.buffer[..kept].copy_from_slice(&connection.partial);
            let end = match connection.stream.read(&mut self.buffer[kept..]) {
                Ok(0) => bail!("connection {index}: the server disconnected"),
                Ok(n) => kept + n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e).with_context(|| format!("connection {index}: read")),
            };
            let used = self.check(index, end)?;
            let connection = &mut self.connections[index];
            connection.partial.clear();
            connection.partial.extend_from_slice(&self.buffer[used..end]);
            if self.depth > 0 && connection.expected == connection.next {
                let now = Instant::now();
                self.latencies_us.push(microseconds(now - connection.sent_at));
                if now < self.until {
                    self.outstanding += self.depth;
                    self.send(index, self.depth)?;
                }
            }
            if end < self.buffer.len() && !connection_is_tls {
                return Ok(()); // a short read has emptied the socket, epoll(7)
            }
        }
    }

    /// Compares `buffer[..end]` with the expected frames; returns where the last complete frame ends.
    fn check(&mut self, index: usize, end: usize) -> Result<usize> {
        let expected = &mut self.connections[index].expected;
        let number_at = self.incoming.len() - self.size + NUMBER.start;
        for found in self.buffer[..end].chunks(self.incoming.len()) {
            ensure!(self.outstanding > 0, "connection {index}: unexpected answer {}", shown(found));
            self.incoming[number_at..][..NUMBER.len()].copy_from_slice(&expected.to_le_bytes());
            if found.len() == self.incoming.len() && *found == self.incoming {
                *expected += 1;
                self.outstanding -= 1;
                self.received += 1;
            } else if !self.incoming.starts_with(found) {
                bail!(
                    "connection {index}: wrong answer {}, expected {}",
                    shown(found),
                    shown(&self.incoming)
                );
            }
        }
        Ok(end - end % self.incoming.len())
    }
}

/// The beginning of a frame, for an error message.
fn shown(frame: &[u8]) -> String {
    format!("b\"{}\" ({} B)", frame[..frame.len().min(24)].escape_ascii(), frame.len())
}

/// Connects and asks for an upgrade, over TLS if the server speaks it.
fn requested(to: &Target) -> Result<Stream> {
    let mut stream = Stream::new(connect(to.port)?, to)?;
    stream.write_all(REQUEST)?;
    stream.flush()?;
    Ok(stream)
}

/// Connects and asks for an upgrade. `header`: one more line of the request.
fn request(port: u16, header: &str) -> Result<TcpStream> {
    let mut stream = connect(port)?;
    let head = REQUEST.strip_suffix(b"\r\n").unwrap_or(REQUEST);
    stream.write_all(&[head, header.as_bytes(), b"\r\n"].concat())?;
    Ok(stream)
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALL))?;
    // Closing sends a reset, because thousands of sockets in TIME_WAIT would slow down the next measurement.
    set_socket_linger(&stream, Some(Duration::ZERO))?;
    Ok(stream)
}

/// Reads the response to an upgrade request, which has to be a valid 101.
fn response(stream: &mut impl Read, buffer: &mut [u8]) -> Result<String> {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let n = stream.read(buffer).context("no 101")?;
        ensure!(n > 0, "closed before its 101");
        answer.extend_from_slice(&buffer[..n]);
    }
    let answer = String::from_utf8_lossy(&answer);
    ensure!(answer.starts_with("HTTP/1.1 101 ") && answer.contains(ACCEPT), "expected a 101, got {answer:?}");
    Ok(answer.into_owned())
}

/// One unfragmented binary frame, RFC 6455 section 5.2.
fn frame(payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mask_bit = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![0x82];
    match payload.len() {
        n @ ..126 => frame.push(mask_bit | n as u8),
        n => {
            frame.push(mask_bit | 126);
            frame.extend_from_slice(&u16::try_from(n).expect("all payloads are below 64 KiB").to_be_bytes());
        }
    }
    frame.extend(mask.iter().flatten());
    let mask = mask.unwrap_or_default();
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn microseconds(duration: Duration) -> u32 {
    duration.as_micros().try_into().unwrap_or(u32::MAX)
}

mod pace; // sends at intervals instead of as fast as possible

mod deflate; // messages that are compressed

mod stream; // a socket, or TLS over one

pub use deflate::DeflateLoad;
use stream::Stream;
pub use stream::Target;

#[cfg(test)]
mod tests;
