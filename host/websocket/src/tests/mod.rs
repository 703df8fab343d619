//! Tests against RFC 6455: its examples, every rule, and long conversations that arrive in arbitrary pieces.
//! tungstenite is the oracle.

mod receiver; // frames to messages, sections 5.2 to 5.6

mod endpoint; // every rule of section 5

mod closing; // every rule of section 7

mod oracle; // whole conversations, through tungstenite too

mod snapshot; // an endpoint as bytes

mod compressed; // messages with RSV1, RFC 7692

use std::time::Instant;

use super::*;

const MAX: usize = 1 << 20;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// [`Received`] or [`Violation`], owned.
#[derive(Debug, Clone, PartialEq)]
enum Item {
    Message(u8, Vec<u8>),
    Compressed(u8, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Violation(u16),
}

impl From<Received<'_>> for Item {
    fn from(event: Received<'_>) -> Self {
        match event {
            Received::Message { op, data } => Item::Message(op, data.to_vec()),
            Received::Compressed { op, data } => Item::Compressed(op, data.to_vec()),
            Received::Ping(data) => Item::Ping(data.to_vec()),
            Received::Pong(data) => Item::Pong(data.to_vec()),
            Received::Close { code, reason } => Item::Close(code, reason.to_owned()),
        }
    }
}

/// A client's frame; `first` is the whole first byte: FIN, reserved bits and opcode.
fn client(first: u8, payload: &[u8]) -> Vec<u8> {
    client_masked(first, payload, MASK)
}

fn client_masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let (mut header, size) = frame_header(first, payload.len());
    header[0] = first;
    header[1] |= 0x80;
    let masked = payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]);
    header[..size].iter().copied().chain(mask).chain(masked).collect()
}

/// SplitMix64: the same conversation in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    fn payload(&mut self, op: u8, limit: usize) -> Vec<u8> {
        let characters = ['a', 'ß', '€', '𝄞'];
        match (op, self.below(limit)) {
            (op::TEXT, n) => (0..n).map(|_| characters[self.below(4)]).collect::<String>().into(),
            (_, n) => (0..n).map(|_| self.below(256) as u8).collect(),
        }
    }

    fn frame(&mut self, first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0; 4].map(|_: u8| self.below(256) as u8);
        client_masked(first, payload, mask)
    }
}

/// Message lengths in characters or bytes: [`conversation`] draws one limit per message.
const ALL_SIZES: &[usize] = &[1, 30, 200, 200, 3000];
const SHORT: &[usize] = &[1, 4, 20, 140];

/// `count` messages, one in three fragmented (anywhere, also inside characters) with control frames in
/// between, then a Close: the bytes, and the items that a receiver must report.
fn conversation(random: &mut Random, count: usize, sizes: &[usize]) -> (Vec<u8>, Vec<Item>) {
    let (mut wire, mut items) = (Vec::new(), Vec::new());
    for i in 0..count {
        let op = [op::TEXT, op::BINARY][random.below(2)];
        let limit = if i % 100 == 99 { 100_000 } else { sizes[random.below(sizes.len())] };
        let message = random.payload(op, limit);
        let fragments = if random.below(3) == 0 { 1 + random.below(4) } else { 0 };
        let mut rest = &message[..];
        for i in 0..fragments {
            let (fragment, after) = rest.split_at(random.below(rest.len() + 1));
            rest = after;
            wire.extend(random.frame(if i == 0 { op } else { op::CONTINUATION }, fragment));
            let control = random.payload(op::BINARY, 126);
            match random.below(3) {
                0 => {
                    wire.extend(random.frame(0x89, &control));
                    items.push(Item::Ping(control));
                }
                1 => {
                    wire.extend(random.frame(0x8a, &control));
                    items.push(Item::Pong(control));
                }
                _ => {}
            }
        }
        wire.extend(random.frame(if fragments == 0 { 0x80 | op } else { 0x80 }, rest));
        items.push(Item::Message(op, message));
    }
    wire.extend(random.frame(0x88, b"\x0f\xa0done"));
    items.push(Item::Close(Some(4000), "done".into()));
    (wire, items)
}

/// [`Event`], owned. A frame for the client is split into opcode and payload.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Message(u8, Vec<u8>),
    Compressed(u8, Vec<u8>),
    Pong(Vec<u8>),
    Send(u8, Vec<u8>),
    Violation(u16),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message { op, data } => Seen::Message(op, data.to_vec()),
            Event::Compressed { op, data } => Seen::Compressed(op, data.to_vec()),
            Event::Pong(data) => Seen::Pong(data.to_vec()),
            Event::Violation(violation) => Seen::Violation(violation.code),
            Event::Send(frame) => server_frame(frame),
        }
    }
}

/// Reads one control frame from the server: final, unmasked, at most 125 bytes (RFC 6455 §5.1, §5.5).
fn server_frame(frame: &[u8]) -> Seen {
    let [first, second, payload @ ..] = frame else { panic!("no header: {frame:x?}") };
    assert_eq!((first & 0xf8, usize::from(*second)), (0x88, payload.len()), "{frame:x?}");
    Seen::Send(first & 0x0f, payload.to_vec())
}

/// What a test puts behind the client's bytes, as the spare byte.
const SPARE: u8 = 0xa5;

/// Gives `piece` to `endpoint`. A NUL follows each message during its event; then the handler overwrites both, as
/// C code may, which must not change what follows.
fn feed(
    endpoint: &Endpoint,
    piece: &[u8],
    max_message: usize,
    now: impl Fn() -> Instant,
    mut handle: impl FnMut(Event<'_>),
) {
    let mut buffer = [piece, &[SPARE]].concat();
    let mut input = Input::new(&mut buffer);
    endpoint.receive(&mut input, max_message, now, |event| match event {
        Event::Message { op, data } => {
            let bytes = data.with_byte_behind();
            assert_eq!(bytes.last(), Some(&0), "a NUL follows the message");
            handle(Event::Message { op, data: Payload::new(bytes) });
            bytes.fill(0xee);
        }
        event => handle(event),
    });
    assert!(input.is_empty(), "all of the input was used");
    assert_eq!(buffer.last(), Some(&SPARE));
}

/// Gives `wire` to `endpoint` in pieces whose lengths `cut` chooses; returns all events.
fn events(endpoint: &Endpoint, mut wire: &[u8], mut cut: impl FnMut() -> usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    while !wire.is_empty() {
        let (piece, rest) = wire.split_at(cut().clamp(1, wire.len()));
        feed(endpoint, piece, MAX, Instant::now, |event| seen.push(event.into()));
        wire = rest;
    }
    seen
}
