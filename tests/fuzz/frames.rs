//! Any bytes as a client's frames: nothing panics, what comes out keeps the promises of `Event`, memory follows
//! what arrived, headers are read as tungstenite reads them, and it is all the same however the bytes are cut.
//!
//! Input: a byte whose low half counts the cuts, a byte for each (the piece is one longer, the last cuts
//! repeat), then the client's bytes.
#![no_main]

use std::io::Cursor;

use callsign::websocket::{Event, Header, Receiver, Violation, close_code_allowed, op, write_frame};
use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::frame::FrameHeader;

/// Low, so that the fuzzer finds both sides of it.
const MESSAGE_MAX: usize = 2000;

fuzz_target!(|input: &[u8]| {
    let Some((&count, rest)) = input.split_first() else { return };
    let count = usize::from(count & 0x0F).min(rest.len());
    let (cuts, wire) = rest.split_at(count);
    let mut cuts = cuts.iter().map(|&cut| usize::from(cut) + 1).cycle();

    check_header(wire);
    let whole = hear(wire, || wire.len());
    let cut = hear(wire, || cuts.next().unwrap_or(1));
    assert_eq!(whole, cut);
});

#[derive(Debug, PartialEq)]
enum Heard {
    Payload(u8, Vec<u8>),
    Close(Option<u16>, String),
    Violation(Violation),
}

fn hear(wire: &[u8], mut cut: impl FnMut() -> usize) -> Vec<Heard> {
    let mut receiver = Receiver::new();
    let mut heard = Vec::new();
    let mut arrived = 0;
    let mut wire = wire.to_vec();
    let mut wire = &mut wire[..];
    while !wire.is_empty() {
        let (mut piece, rest) = wire.split_at_mut(cut().min(wire.len()));
        arrived += piece.len();
        wire = rest;
        loop {
            let last = matches!(heard.last(), Some(Heard::Close(..) | Heard::Violation(_)));
            match receiver.next(&mut piece, MESSAGE_MAX) {
                Ok(Some(event)) => heard.push(check_event(event)),
                Ok(None) => break,
                Err(violation) => {
                    assert!(matches!(violation.code, 1002 | 1007 | 1009));
                    heard.push(Heard::Violation(violation));
                }
            }
            assert!(!last, "heard more after the end");
            assert!(receiver.held_bytes() <= 2 * arrived + (16 << 10));
        }
        assert!(piece.is_empty());
    }
    heard
}

/// What [`Event`] promises, and that a message sent back is read as it was.
fn check_event(event: Event<'_>) -> Heard {
    let (op, payload, payload_max) = match event {
        Event::Message { op, data } => (op, data, MESSAGE_MAX),
        Event::Ping(data) => (op::PING, data, 125),
        Event::Pong(data) => (op::PONG, data, 125),
        Event::Close { code, reason } => {
            assert!(code.is_none_or(close_code_allowed) && reason.len() <= 123);
            return Heard::Close(code, reason.to_owned());
        }
    };
    assert!(payload.len() <= payload_max);
    assert!(matches!(op, op::BINARY | op::PING | op::PONG) || str::from_utf8(payload).is_ok());

    let mut frame = Vec::new();
    write_frame(&mut frame, op, payload);
    let mut cursor = Cursor::new(&frame);
    let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
    assert_eq!((u8::from(header.opcode), length), (op, payload.len() as u64));
    assert!(header.is_final && header.mask.is_none());
    assert_eq!(&frame[cursor.position() as usize..], payload);
    Heard::Payload(op, payload.to_vec())
}

/// Our header is tungstenite's, plus the rules that it checks later, if at all.
fn check_header(wire: &[u8]) {
    let mut cursor = Cursor::new(wire);
    let theirs = FrameHeader::parse(&mut cursor);
    match Header::parse(wire) {
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
            assert!(reserved || bad_control || header.mask.is_none() || length >> 63 != 0);
        }
    }
}
