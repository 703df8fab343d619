//! Whole conversations through an [`Endpoint`] and through tungstenite's server: messages, Pongs, frames for
//! the client and the ending must be the same.
//!
//! Where tungstenite differs: it reports messages that arrive after its own Close, it sends no Close when it
//! fails a connection, it looks at a payload only when the frame is complete, it rejects code 1014, and it accepts
//! a length that is not in its shortest form.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use tungstenite::protocol::{CloseFrame, Message, Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, error::ProtocolError};

use super::endpoint::{client_close, open};
use super::*;

const LIMIT: usize = 4000;

/// The Close that the server sends, if it closes first.
const ENOUGH: (u16, &str) = (4001, "enough");

#[derive(Debug, PartialEq)]
enum End {
    /// Neither the client's Close nor a violation has arrived.
    Pending,
    /// The client's Close: its code and reason, if it has any.
    Closed(Option<(u16, String)>),
    Violation(u16),
}

#[derive(Debug, PartialEq)]
struct Conversation {
    /// Messages until the server closed; Pongs.
    received: Vec<Seen>,
    /// Without the Close that tells the client of a violation.
    sent: Vec<Seen>,
    end: End,
}

/// `close_after` is the number of messages after which the server closes.
fn through_endpoint(pieces: &[Vec<u8>], close_after: usize) -> Conversation {
    let (endpoint, mut received, mut sent) = (open(), Vec::new(), Vec::new());
    let (mut messages, mut violation) = (0, None);
    for piece in pieces {
        feed(&endpoint, piece, LIMIT, Instant::now, |event| match event {
            Event::Message { .. } => {
                received.push(event.into());
                messages += 1;
                if messages == close_after {
                    let frame = endpoint.close(ENOUGH.0, ENOUGH.1, Instant::now()).unwrap().unwrap();
                    sent.push(server_frame(&frame));
                }
            }
            Event::Compressed { .. } => panic!("no extension was agreed on"),
            Event::Pong(_) => received.push(event.into()),
            Event::Violation(broken) => violation = Some(broken.code),
            Event::Send(_) if violation.is_some() => {}
            Event::Send(frame) => sent.push(server_frame(frame)),
        });
    }
    let end = match (violation, endpoint.state(), endpoint.ending()) {
        (Some(code), ..) => End::Violation(code),
        (None, State::Closed, Some(ending)) if ending.by == Initiator::Client => {
            let reason = ending.reason.to_str().unwrap().to_owned();
            End::Closed((ending.code != NO_CODE).then_some((ending.code, reason)))
        }
        // The client's Close ended the handshake that we began; an endpoint does not report its code.
        (None, State::Closed, _) => End::Closed(None),
        (None, ..) => End::Pending,
    };
    Conversation { received, sent, end }
}

/// A connection in memory: the client's bytes in the pieces in which they arrive, and all that is sent to it.
struct Wire(VecDeque<Vec<u8>>, Vec<u8>);

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut piece = self.0.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        piece.drain(..length);
        if !piece.is_empty() {
            self.0.push_front(piece);
        }
        Ok(length)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn through_tungstenite(pieces: &[Vec<u8>], close_after: usize) -> Conversation {
    let limits = WebSocketConfig::default().max_frame_size(Some(LIMIT)).max_message_size(Some(LIMIT));
    let wire = Wire(pieces.iter().cloned().collect(), Vec::new());
    let mut server = WebSocket::from_raw_socket(wire, Role::Server, Some(limits.read_buffer_size(LIMIT)));
    let (mut received, mut messages, mut end) = (Vec::new(), 0, End::Pending);
    loop {
        let message = match server.read() {
            Ok(Message::Text(text)) => Seen::Message(op::TEXT, text.as_bytes().to_vec()),
            Ok(Message::Binary(data)) => Seen::Message(op::BINARY, data.to_vec()),
            Ok(Message::Pong(data)) => {
                received.push(Seen::Pong(data.to_vec()));
                continue;
            }
            Ok(Message::Close(close)) => {
                end = match close {
                    // What tungstenite makes of a code that may not be sent.
                    Some(CloseFrame { code, reason })
                        if !code.is_allowed() || reason == "Protocol violation" =>
                    {
                        End::Violation(1002)
                    }
                    Some(close) if messages < close_after => {
                        End::Closed(Some((close.code.into(), close.reason.to_string())))
                    }
                    _ => End::Closed(None),
                };
                continue;
            }
            Ok(_) => continue,
            Err(Error::ConnectionClosed) => break,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => {
                assert!(!matches!(error, Error::Protocol(ProtocolError::ReceivedAfterClosing)));
                end = End::Violation(match error {
                    Error::Protocol(_) => 1002,
                    Error::Utf8(_) => 1007,
                    Error::Capacity(_) => 1009,
                    _ => panic!("{error}"),
                });
                break;
            }
        };
        if messages < close_after {
            received.push(message);
            messages += 1;
            if messages == close_after {
                server.close(Some(CloseFrame { code: ENOUGH.0.into(), reason: ENOUGH.1.into() })).unwrap();
            }
        }
    }
    let (mut sent, mut rest) = (Vec::new(), &server.get_ref().1[..]);
    while let [_, length, ..] = rest {
        let (frame, after) = rest.split_at(2 + usize::from(*length));
        sent.push(server_frame(frame));
        rest = after;
    }
    let rejects =
        |frame: &Seen| matches!(frame, Seen::Send(op::CLOSE, payload) if payload.starts_with(b"\x03\xea"));
    if matches!(end, End::Violation(_)) && sent.last().is_some_and(rejects) {
        sent.pop();
    }
    Conversation { received, sent, end }
}

fn pieces(random: &mut Random, mut wire: &[u8]) -> Vec<Vec<u8>> {
    let length = [1, 3, 10, 100, 1000, wire.len()][random.below(6)];
    let mut pieces = Vec::new();
    while !wire.is_empty() {
        let (piece, rest) = wire.split_at((1 + random.below(length)).min(wire.len()));
        pieces.push(piece.to_vec());
        wire = rest;
    }
    pieces
}

/// Messages, fragments and control frames, then one of the ways to end; some frames after that.
fn random_wire(random: &mut Random) -> Vec<u8> {
    let count = random.below(12);
    let (mut wire, _) = conversation(random, count, SHORT);
    wire.truncate(wire.len() - 12); // without the Close
    let code = [1000, 1001, 1003, 1007, 1011, 1013, 3000, 4999][random.below(8)];
    wire.extend(match random.below(16) {
        0..4 => client_close(code, "Grüße"),
        4 => client_close(code, &"r".repeat(123)),
        5 => client(0x88, b""),
        6 => client_close([0, 999, 1004, 1005, 1006, 1015, 2999, 5000][random.below(8)], ""),
        7 => client(0x88, b"\x03"),
        8 => client(0x88, b"\x03\xe8\xff"),
        9 => client([0x83, 0x8b, 0xc1, 0x99, 0x09, 0x80, 0x00][random.below(7)], b"x"),
        10 => [client(0x01, b"x"), client(0x82, b"y")].concat(),
        11 => client(0x81, b"ok\xc3"),
        12 => [client(0x01, b"ok\xc3"), client(0x89, b"!"), client(0x80, b"x")].concat(),
        13 => [client(0x02, &[0; LIMIT - 9]), client(0x80, &[0; 10])].concat(),
        14 => client(0x82, &[0; LIMIT + 1]),
        _ => vec![0x81, 0x01, b'x'],
    });
    wire.extend([client(0x81, b"after"), client(0x89, b"after"), client_close(1000, "")].concat());
    wire
}

#[test]
fn conversations_are_those_of_tungstenite() {
    let mut random = Random(1);
    let mut ends = [0; 3];
    for round in 0..4000 {
        let wire = random_wire(&mut random);
        let pieces = pieces(&mut random, &wire);
        // Most conversations are shorter, and then the client closes.
        let close_after = 1 + random.below(20);
        let ours = through_endpoint(&pieces, close_after);
        assert_eq!(ours, through_tungstenite(&pieces, close_after), "round {round}: {wire:x?}");
        ends[match ours.end {
            End::Pending => 0,
            End::Closed(_) => 1,
            End::Violation(_) => 2,
        }] += 1;
    }
    assert!(ends[0] == 0 && ends[1] > 500 && ends[2] > 500, "{ends:?}");
}

#[test]
fn truncated_conversations_are_those_of_tungstenite() {
    let mut random = Random(2);
    for round in 0..2000 {
        let wire = random_wire(&mut random);
        let wire = &wire[..random.below(wire.len())];
        compare_incomplete(&pieces(&mut random, wire), 1 + random.below(20), round);
    }
}

#[test]
fn corrupted_conversations_are_those_of_tungstenite() {
    let mut random = Random(3);
    for round in 0..6000 {
        let mut wire = random_wire(&mut random);
        for _ in 0..=random.below(4) {
            let at = random.below(wire.len());
            wire[at] = random.below(256) as u8;
        }
        compare_incomplete(&pieces(&mut random, &wire), 1 + random.below(20), round);
    }
}

/// Whether a length is not in its shortest form, which tungstenite accepts.
fn breaks_our_rule(pieces: &[Vec<u8>]) -> bool {
    let (endpoint, mut breaks) = (open(), false);
    for piece in pieces {
        feed(&endpoint, piece, LIMIT, Instant::now, |event| {
            breaks |= matches!(event, Event::Violation(broken) if broken.reason.contains("shortest form"));
        });
    }
    breaks
}

/// A frame that is not complete shows a violation to us already. A frame may break two rules; which is
/// checked first differs.
fn compare_incomplete(pieces: &[Vec<u8>], close_after: usize, round: usize) {
    if breaks_our_rule(pieces) {
        return;
    }
    let ours = through_endpoint(pieces, close_after);
    let theirs = through_tungstenite(pieces, close_after);
    let context = || format!("round {round}: {ours:?}, {theirs:?}, {:x?}", pieces.concat());
    assert_eq!((&ours.received, &ours.sent), (&theirs.received, &theirs.sent), "{}", context());
    match (&ours.end, &theirs.end) {
        (End::Violation(_), End::Pending) | (End::Violation(1002), End::Violation(_)) => {}
        (ours, theirs) => assert_eq!(ours, theirs, "{}", context()),
    }
}
