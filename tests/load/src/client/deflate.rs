//! The load of the rows with compression: every connection sends a JSON text of 1 KiB, waits for it to come back, and sends
//! the next one, which has the same fields with other values. Messages are compressed as the server has agreed to
//! (RFC 7692), or not at all. Every answer is inflated and compared.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use callsign_deflate::{Compressor, Direction, Inflater, Method, Window as History};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::retry_on_intr;

use super::{BUFFER, MASK, OPENING, STALL, Window, microseconds, request, response};

/// Bytes of a message.
pub const SIZE: usize = 1024;
/// What browsers offer.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
/// zlib's default.
const LEVEL: u8 = 6;
const TEXT: u8 = 0x81;
/// The bit RSV1: the message is compressed.
const COMPRESSED: u8 = 0x40;

/// What both sides do.
#[derive(Clone, Copy)]
struct Agreement {
    client: Direction,
    server: Direction,
}

struct Connection {
    stream: TcpStream,
    /// None: messages are sent as they are.
    agreement: Option<Agreement>,
    /// What the client and the server have sent compressed.
    sent: History,
    received: History,
    /// An incomplete frame.
    partial: Vec<u8>,
    /// The message that is under way, and its number.
    message: String,
    number: u64,
    sent_at: Instant,
}

/// Open connections to one server.
pub struct DeflateLoad {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    events: Vec<Event>,
    buffer: Vec<u8>,
    compressor: Compressor,
    inflater: Inflater,
    until: Instant,
    outstanding: usize,
    latencies_us: Vec<u32>,
    /// Bytes of the payloads of the server since the start of the window.
    payload: u64,
}

impl DeflateLoad {
    /// Opens and upgrades `count` connections, whose messages are compressed if `compressed`.
    ///
    /// # Errors
    /// A connection is not upgraded, or its messages are compressed when they should not be, or the other way round.
    pub fn open(port: u16, count: usize, compressed: bool) -> Result<Self> {
        let mut load = Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            connections: Vec::with_capacity(count),
            events: Vec::with_capacity(1024),
            buffer: vec![0; BUFFER],
            compressor: Compressor::default(),
            inflater: Inflater::default(),
            until: Instant::now(),
            outstanding: 0,
            latencies_us: Vec::new(),
            payload: 0,
        };
        while load.connections.len() < count {
            let batch = OPENING.min(count - load.connections.len());
            let streams: Vec<_> = (0..batch).map(|_| request(port, OFFER)).collect::<Result<_>>()?;
            for stream in streams {
                load.upgraded(stream, compressed)?;
            }
        }
        Ok(load)
    }

    fn upgraded(&mut self, mut stream: TcpStream, compressed: bool) -> Result<()> {
        let index = self.connections.len();
        let answer =
            response(&mut stream, &mut self.buffer).with_context(|| format!("connection {index}"))?;
        let agreement = agreement(&answer)?;
        ensure!(agreement.is_some() == compressed, "connection {index}: unexpected answer {answer:?}");
        stream.set_nonblocking(true)?;
        epoll::add(&self.epoll, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
        self.connections.push(Connection {
            stream,
            agreement,
            sent: History::default(),
            received: History::default(),
            partial: Vec::new(),
            message: String::new(),
            number: 0,
            sent_at: Instant::now(),
        });
        Ok(())
    }

    /// For `duration`, every connection sends a message, waits for its answer, and repeats. Returns after the last answer;
    /// also the payload bytes that the server has sent, divided by those of the messages.
    ///
    /// # Errors
    /// A wrong answer, a lost connection, or 10 s without any answer.
    pub fn echo(&mut self, duration: Duration) -> Result<(Window, f64)> {
        let started = Instant::now();
        (self.until, self.payload) = (started + duration, 0);
        for index in 0..self.connections.len() {
            self.send(index)?;
        }
        while self.outstanding > 0 {
            self.turn()?;
        }
        let latencies_us = std::mem::take(&mut self.latencies_us);
        let messages = latencies_us.len() as u64;
        let ratio = self.payload as f64 / (messages * SIZE as u64) as f64;
        Ok((Window { messages, elapsed: started.elapsed(), latencies_us }, ratio))
    }

    fn turn(&mut self) -> Result<()> {
        let patience = Timespec::try_from(STALL)?;
        self.events.clear();
        retry_on_intr(|| epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&patience)))?;
        ensure!(!self.events.is_empty(), "{} messages did not arrive within {STALL:?}", self.outstanding);
        for position in 0..self.events.len() {
            let Event { data, .. } = self.events[position];
            let index = data.u64() as usize;
            self.read(index).with_context(|| format!("connection {index}"))?;
        }
        Ok(())
    }

    /// Writes the next message of a connection. It is less than any socket's buffer.
    fn send(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        connection.number += 1;
        connection.message = json(index, connection.number);
        let message = connection.message.as_bytes();
        let compressed = connection.agreement.and_then(|Agreement { client, .. }| {
            let method = Method { level: LEVEL, window_bits: client.window_bits };
            let compressed = self.compressor.compress(method, connection.sent.bytes(), message)?;
            connection.sent.push(message, client);
            Some(compressed)
        });
        let (first, payload) = compressed.map_or((TEXT, message), |it| (TEXT | COMPRESSED, it));
        let mut frame = vec![first];
        match payload.len() {
            n @ ..126 => frame.push(0x80 | n as u8),
            n => frame.extend([0x80 | 126, (n >> 8) as u8, n as u8]),
        }
        frame.extend(MASK);
        frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.outstanding += 1;
        connection.sent_at = Instant::now();
        connection.stream.write_all(&frame).with_context(|| format!("connection {index}: write"))
    }

    fn read(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        match connection.stream.read(&mut self.buffer) {
            Ok(0) => bail!("the server disconnected"),
            Ok(n) => connection.partial.extend_from_slice(&self.buffer[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e).context("read"),
        }
        let (first, payload) = match connection.partial[..] {
            [first, 126, high, low, ref rest @ ..] => {
                (first, rest.get(..usize::from(high) << 8 | usize::from(low)))
            }
            [first, length @ ..=125, ref rest @ ..] => (first, rest.get(..usize::from(length))),
            [_, 127..=255, ..] => bail!("the answer is longer than its message, or masked"),
            _ => return Ok(()),
        };
        let Some(payload) = payload else { return Ok(()) };
        let whole = payload.as_ptr_range().end == connection.partial.as_ptr_range().end;
        ensure!(whole && self.outstanding > 0, "an answer without a message");
        self.payload += payload.len() as u64;
        let message = connection.message.as_bytes();
        match (first, connection.agreement) {
            (TEXT, _) => ensure!(payload == message, "another message came back"),
            (first, Some(Agreement { server, .. })) if first == TEXT | COMPRESSED => {
                let plain = self.inflater.inflate(connection.received.bytes(), payload, SIZE)?;
                ensure!(plain.strip_suffix(&[0]) == Some(message), "another message came back");
                connection.received.push(message, server);
                self.inflater.give_back(plain);
            }
            _ => bail!("a frame that begins with {first:#x}"),
        }
        connection.partial.clear();
        let now = Instant::now();
        self.latencies_us.push(microseconds(now - connection.sent_at));
        self.outstanding -= 1;
        if now < self.until { self.send(index) } else { Ok(()) }
    }
}

/// What the server has agreed to in its 101. None: messages are not compressed.
fn agreement(response: &str) -> Result<Option<Agreement>> {
    let mut lines = response.lines().filter_map(|line| line.split_once(": "));
    let Some((_, value)) = lines.find(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Extensions"))
    else {
        return Ok(None);
    };
    let mut parameters = value.split(';').map(str::trim);
    ensure!(parameters.next() == Some("permessage-deflate"), "unknown extension {value:?}");
    let everything = Direction { context: true, window_bits: 15 };
    let mut agreement = Agreement { client: everything, server: everything };
    for parameter in parameters {
        let (name, bits) = parameter.split_once('=').unwrap_or((parameter, "15"));
        let bits = bits.parse().ok().filter(|bits| (9..=15).contains(bits)).context("bits of a window")?;
        match name {
            "server_no_context_takeover" => agreement.server.context = false,
            "client_no_context_takeover" => agreement.client.context = false,
            "server_max_window_bits" => agreement.server.window_bits = bits,
            "client_max_window_bits" => agreement.client.window_bits = bits,
            _ => bail!("unknown parameter {parameter:?}"),
        }
    }
    Ok(Some(agreement))
}

/// A message of [`SIZE`] bytes, such as applications send: a list of records.
fn json(connection: usize, number: u64) -> String {
    let mut state = (connection as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number;
    let mut random = |below: u64| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) % below
    };
    let mut text =
        format!("{{\"type\":\"quotes\",\"channel\":{connection},\"sequence\":{number},\"quotes\":[");
    loop {
        let before = text.len();
        let symbol = SYMBOLS[random(SYMBOLS.len() as u64) as usize];
        let (price, spread, size, time) = (
            random(100_000),
            1 + random(50),
            100 * random(100),
            1_700_000_000_000 + number * 250 + random(250),
        );
        let (bid, ask) = (price as f64 / 100.0, (price + spread) as f64 / 100.0);
        let comma = if text.ends_with('}') { "," } else { "" };
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "{comma}{{\"symbol\":\"{symbol}\",\"bid\":{bid:.2},\"ask\":{ask:.2},\"size\":{size},\"time\":{time}}}"
        );
        if text.len() > SIZE - END.len() {
            text.truncate(before);
            break;
        }
    }
    // JSON may have spaces between its parts.
    let spaces = SIZE - END.len() - text.len();
    text.extend(std::iter::repeat_n(' ', spaces));
    text + END
}

const END: &str = "]}";
const SYMBOLS: [&str; 12] =
    ["ACME", "BLUE", "CORD", "DUNE", "ECHO", "FERN", "GALE", "HIVE", "IRIS", "JADE", "KITE", "LARK"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_json_of_one_size_and_differ() {
        let texts = [json(0, 1), json(0, 2), json(999, 1), json(999, u32::MAX.into())];
        for (number, text) in texts.iter().enumerate() {
            assert_eq!(text.len(), SIZE);
            let value: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
            assert!(value["quotes"].as_array().is_some_and(|quotes| quotes.len() >= 10), "{text}");
            assert!(!texts[..number].contains(text));
        }
        assert_eq!(json(7, 7), json(7, 7));
    }

    #[test]
    fn what_a_server_agrees_to_is_read_from_its_101() {
        let of =
            |value: &str| agreement(&format!("HTTP/1.1 101 x\r\nsec-websocket-extensions: {value}\r\n\r\n"));
        assert!(agreement("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n").unwrap().is_none());
        let Agreement { client, server } = of("permessage-deflate").unwrap().unwrap();
        assert!(client.context && server.context && (client.window_bits, server.window_bits) == (15, 15));
        let value = "permessage-deflate; server_max_window_bits=12;client_no_context_takeover";
        let Agreement { client, server } = of(value).unwrap().unwrap();
        assert!(!client.context && server.context && (client.window_bits, server.window_bits) == (15, 12));
        for bad in ["x", "permessage-deflate; x", "permessage-deflate; server_max_window_bits=8"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
