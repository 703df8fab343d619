//! Fuzzes the endpoint with arbitrary bytes of a client. Nothing panics, events fulfil the guarantees of `Event`, memory
//! use is bounded by the received bytes, headers are parsed as tungstenite parses them, and the events do not depend on
//! how the bytes are split or on snapshots between the pieces. Arbitrary bytes as a snapshot: `restore` either rejects
//! them or returns an endpoint with the same properties.
//!
//! Input: one byte (low half: number of cuts; high half: number of messages after which the server closes, 0 for
//! never), one byte per cut (the length of a piece minus one; the cuts repeat), then the client's bytes. The whole input
//! is also used as a snapshot followed by the client's bytes.
#![no_main]

use std::io::Cursor;
use std::time::Instant;

use callsign_websocket::{
    Endpoint, Event, Extensions, Header, Initiator, Input, Received, Receiver, Source, State, Violation,
    close_code_allowed, op, write_frame,
};
use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::frame::FrameHeader;

/// Low, so that the fuzzer finds messages on both sides of the limit.
const MESSAGE_MAX: usize = 2000;

fuzz_target!(|input: &[u8]| {
    let Some((&first, rest)) = input.split_first() else { return };
    let count = usize::from(first & 0x0F).min(rest.len());
    let (cuts, wire) = rest.split_at(count);
    let mut cuts = cuts.iter().map(|&cut| usize::from(cut) + 1).cycle();
    let mut cut = || cuts.next().unwrap_or(1);

    check_header(wire);
    let plain = Extensions::default();
    for extensions in [plain, Extensions { deflate: true }] {
        assert_eq!(receive(wire, || wire.len(), extensions), receive(wire, &mut cut, extensions));
    }

    let close_after = usize::from(first >> 4);
    for extensions in [plain, Extensions { deflate: true }] {
        check_endpoint(|| Endpoint::new(extensions), wire, close_after, &mut cut);
    }

    let mut source = Source(input);
    if Endpoint::restore(&mut source, MESSAGE_MAX, Instant::now()).is_ok() {
        let (snapshot, wire) = input.split_at(input.len() - source.0.len());
        let restored = || restore(snapshot);
        check_endpoint(restored, wire, 3, cut);
    }
});

/// The events must be the same if `wire` arrives whole, in pieces, and in pieces with a transfer after each.
fn check_endpoint(
    endpoint: impl Fn() -> Endpoint,
    wire: &[u8],
    close_after: usize,
    mut cut: impl FnMut() -> usize,
) {
    let whole = converse(endpoint(), wire, close_after, || wire.len(), |endpoint| endpoint);
    assert_eq!(whole, converse(endpoint(), wire, close_after, &mut cut, |endpoint| endpoint));
    assert_eq!(whole, converse(endpoint(), wire, close_after, cut, transfer));
}

/// The endpoint of `snapshot`. A new snapshot of this endpoint must equal `snapshot`.
fn restore(snapshot: &[u8]) -> Endpoint {
    let mut source = Source(snapshot);
    let endpoint = Endpoint::restore(&mut source, MESSAGE_MAX, Instant::now()).unwrap();
    let mut again = Vec::new();
    endpoint.snapshot(&mut again);
    assert_eq!((source.0.len(), &again[..]), (0, snapshot));
    endpoint
}

fn transfer(endpoint: Endpoint) -> Endpoint {
    let mut bytes = Vec::new();
    endpoint.snapshot(&mut bytes);
    restore(&bytes)
}

/// Owned events of an [`Endpoint`] or a [`Receiver`].
#[derive(Debug, PartialEq)]
enum Item {
    Payload(u8, Vec<u8>),
    Compressed(u8, Vec<u8>),
    Close(Option<u16>, String),
    Send(Vec<u8>),
    Violation(Violation),
}

type Outcome = (Vec<Item>, State, Option<(u16, Vec<u8>, Initiator)>);

fn converse(
    mut endpoint: Endpoint,
    wire: &[u8],
    close_after: usize,
    mut cut: impl FnMut() -> usize,
    between: impl Fn(Endpoint) -> Endpoint,
) -> Outcome {
    let (mut items, mut messages) = (Vec::new(), 0);
    let (mut wire, mut from) = (with_spare(wire), 0);
    while from < wire.len() - 1 {
        let to = (from + cut()).min(wire.len() - 1);
        let mut piece = Input::new(&mut wire[from..=to]);
        from = to;
        let closed = endpoint.state() == State::Closed;
        let mut open = endpoint.is_open();
        endpoint.receive(&mut piece, MESSAGE_MAX, Instant::now, |event| {
            assert!(!closed);
            let is_message = matches!(event, Event::Message { .. });
            items.push(match event {
                Event::Message { op, data } => {
                    assert!(open);
                    messages += 1;
                    let item = check_payload(op, &data, MESSAGE_MAX);
                    // What a handler may do with it.
                    let bytes = data.with_byte_behind();
                    assert_eq!(bytes.last(), Some(&0));
                    bytes.fill(0xEE);
                    item
                }
                Event::Compressed { op, data } => {
                    assert!(open);
                    check_compressed(op, data)
                }
                Event::Pong(payload) => check_payload(op::PONG, payload, op::CONTROL_MAX),
                Event::Violation(violation) => Item::Violation(violation),
                Event::Send(frame) => {
                    assert!(open);
                    let [0x88 | 0x8A, length, payload @ ..] = frame else { panic!("not a control frame") };
                    assert_eq!(payload.len(), usize::from(*length));
                    open = frame[0] != 0x88;
                    Item::Send(frame.to_vec())
                }
            });
            if messages == close_after && is_message {
                let frame = endpoint.close(4000, "enough", Instant::now()).unwrap().unwrap();
                items.push(Item::Send(frame));
                open = false;
            }
        });
        endpoint = between(endpoint);
    }
    let ending = endpoint.ending();
    assert_eq!(ending.is_none(), endpoint.is_open());
    let ending = ending.map(|ending| (ending.code, ending.reason.as_bytes().to_vec(), ending.by));
    (items, endpoint.state(), ending)
}

fn receive(wire: &[u8], mut cut: impl FnMut() -> usize, extensions: Extensions) -> Vec<Item> {
    let mut receiver = Receiver::new();
    let mut items = Vec::new();
    let (mut wire, mut arrived) = (with_spare(wire), 0);
    while arrived < wire.len() - 1 {
        let to = (arrived + cut()).min(wire.len() - 1);
        let mut piece = Input::new(&mut wire[arrived..=to]);
        arrived = to;
        loop {
            let ended = matches!(items.last(), Some(Item::Close(..) | Item::Violation(_)));
            match receiver.next(&mut piece, MESSAGE_MAX, extensions) {
                Ok(Some(received)) => items.push(check_received(received)),
                Ok(None) => break,
                Err(violation) => {
                    assert!(matches!(violation.code, 1002 | 1007 | 1009));
                    items.push(Item::Violation(violation));
                }
            }
            assert!(!ended, "the receiver reported more after the end");
            assert!(receiver.held_bytes() <= 2 * arrived + (16 << 10));
        }
        assert!(piece.is_empty());
    }
    items
}

/// The bytes and a spare one; that of a piece before the last is the first byte of the next piece.
fn with_spare(wire: &[u8]) -> Vec<u8> {
    [wire, &[0xA5]].concat()
}

fn check_received(received: Received<'_>) -> Item {
    match received {
        Received::Message { op, data } => check_payload(op, &data, MESSAGE_MAX),
        Received::Compressed { op, data } => check_compressed(op, data),
        Received::Ping(data) => check_payload(op::PING, data, op::CONTROL_MAX),
        Received::Pong(data) => check_payload(op::PONG, data, op::CONTROL_MAX),
        Received::Close { code, reason } => {
            assert!(code.is_none_or(close_code_allowed) && reason.len() <= 123);
            Item::Close(code, reason.to_owned())
        }
    }
}

fn check_compressed(op: u8, data: &[u8]) -> Item {
    assert!(data.len() <= MESSAGE_MAX + MESSAGE_MAX / 8 + 64 && matches!(op, op::TEXT | op::BINARY));
    Item::Compressed(op, data.to_vec())
}

/// Checks the guarantees of [`Event`] and [`Received`], and that tungstenite can parse the payload in a frame of ours.
fn check_payload(op: u8, payload: &[u8], payload_max: usize) -> Item {
    assert!(payload.len() <= payload_max);
    assert!(matches!(op, op::BINARY | op::PING | op::PONG) || str::from_utf8(payload).is_ok());

    let mut frame = Vec::new();
    write_frame(&mut frame, op, payload);
    let mut cursor = Cursor::new(&frame);
    let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
    assert_eq!((u8::from(header.opcode), length), (op, payload.len() as u64));
    assert!(header.is_final && header.mask.is_none());
    assert_eq!(&frame[cursor.position() as usize..], payload);
    Item::Payload(op, payload.to_vec())
}

/// Our header must equal tungstenite's. Ours also checks rules that tungstenite checks later or not at all.
fn check_header(wire: &[u8]) {
    let mut cursor = Cursor::new(wire);
    let theirs = FrameHeader::parse(&mut cursor);
    match Header::parse(wire, Extensions::default()) {
        Ok(Some(ours)) => {
            let (header, length) = theirs.unwrap().unwrap();
            assert_eq!((ours.fin, ours.op), (header.is_final, header.opcode.into()));
            assert_eq!((Some(ours.mask), ours.length), (header.mask, length));
            assert_eq!(ours.size as u64, cursor.position());
            assert!(!header.rsv1 && !header.rsv2 && !header.rsv3);
        }
        Ok(None) => assert!(theirs.unwrap().is_none()),
        Err(violation) => {
            assert_eq!(violation.code, 1002);
            let Ok(Some((header, length))) = theirs else { return };
            let control = u8::from(header.opcode) >= op::CLOSE;
            let bad_control = control && (!header.is_final || wire[1] & 0x7F > 125);
            let reserved = header.rsv1 || header.rsv2 || header.rsv3;
            let too_wide = match wire[1] & 0x7F {
                126 => length < 126,
                127 => length < 0x1_0000,
                _ => false,
            };
            let bad_length = too_wide || length >> 63 != 0;
            assert!(reserved || bad_control || header.mask.is_none() || bad_length);
        }
    }
}
