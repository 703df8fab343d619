//! A restored endpoint continues as the original would have. `restore` rejects other bytes, or gives an endpoint
//! that keeps the promises of [`Event`].

use std::time::Duration;

use super::endpoint::*;
use super::*;

fn snapshot(endpoint: &Endpoint) -> Vec<u8> {
    let mut bytes = Vec::new();
    endpoint.snapshot(&mut bytes);
    bytes
}

/// The endpoint of `bytes`, which must be all used.
fn restore(bytes: &[u8], max_message: usize) -> Result<Endpoint, SnapshotError> {
    let mut source = Source(bytes);
    let endpoint = Endpoint::restore(&mut source, max_message, Instant::now())?;
    assert!(source.0.is_empty(), "{} bytes were not read", source.0.len());
    Ok(endpoint)
}

/// The endpoint after a snapshot and back; its own snapshot must be the same.
fn transfer(endpoint: &Endpoint) -> Endpoint {
    let bytes = snapshot(endpoint);
    let restored = restore(&bytes, MAX).unwrap_or_else(|error| panic!("{error}: {bytes:x?}"));
    assert_eq!(snapshot(&restored), bytes);
    restored
}

type Outcome = (State, Option<(u16, String, Initiator)>);

fn outcome(endpoint: &Endpoint) -> Outcome {
    let ending = endpoint.ending().map(|ending| {
        let reason = ending.reason.to_str().unwrap().to_owned();
        (ending.code, reason, ending.by)
    });
    (endpoint.state(), ending)
}

/// The events of `wire`, with a transfer after each piece, and how the connection ended.
fn receive_in_pieces(wire: &[u8], mut cut: impl FnMut() -> usize) -> (Vec<Seen>, Outcome) {
    let (mut endpoint, mut seen, mut rest) = (open(), Vec::new(), wire);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(cut().clamp(1, rest.len()));
        seen.extend(events(&endpoint, piece, || piece.len()));
        endpoint = transfer(&endpoint);
        rest = after;
    }
    (seen, outcome(&endpoint))
}

fn receive_whole(wire: &[u8]) -> (Vec<Seen>, Outcome) {
    let endpoint = open();
    let seen = events(&endpoint, wire, || wire.len());
    (seen, outcome(&endpoint))
}

/// Conversations that end in each way a client can end one.
fn endings() -> impl Iterator<Item = Vec<u8>> {
    let mut random = Random(71);
    let ends = [
        client_close(4000, "Grüße"),
        client(0x88, b""),
        client(0x88, b"\x03"),
        client(0x8f, b""),
        client(0x81, b"ok\xc3"),
        client(0x82, &vec![0; MAX + 1])[..20].to_vec(),
        client(0x01, "Grüße".as_bytes())[..8].to_vec(),
    ];
    ends.into_iter().map(move |end| {
        let (mut wire, items) = conversation(&mut random, 6, SHORT);
        assert_eq!(items.last(), Some(&super::Item::Close(Some(4000), "done".into())));
        wire.truncate(wire.len() - 12); // without the Close
        [wire, end, client(0x81, b"after the end")].concat()
    })
}

#[test]
fn a_conversation_continues_from_a_snapshot_at_every_byte() {
    for wire in endings() {
        let whole = receive_whole(&wire);
        assert_eq!(receive_in_pieces(&wire, || 1), whole);
        for cut in 0..=wire.len() {
            let mut pieces = [cut, wire.len()].into_iter();
            assert_eq!(receive_in_pieces(&wire, || pieces.next().unwrap_or(1)), whole, "cut at {cut}");
        }
    }
}

#[test]
fn a_long_conversation_continues_from_snapshots_anywhere() {
    let mut random = Random(9);
    for length in [100, 3000, 40_000, 400_000] {
        let (wire, _) = conversation(&mut random, 200, ALL_SIZES);
        let cut = receive_in_pieces(&wire, || 1 + random.below(length));
        assert!(cut == receive_whole(&wire), "pieces of up to {length}");
    }
}

#[test]
fn a_closing_handshake_continues_from_a_snapshot_at_every_byte() {
    let wire = [
        client(0x01, "Grüße".as_bytes()),
        client(0x89, b"late"),
        client(0x8a, b"pong"),
        client(0x80, b""),
        client(0x8b, b""),
        client_close(1000, ""),
    ];
    for without_the_violation in [false, true] {
        let wire = wire.iter().filter(|frame| !without_the_violation || frame[0] != 0x8b);
        let wire = wire.flatten().copied().collect::<Vec<u8>>();
        for closed in 0..wire.len() {
            let begin = open();
            events(&begin, &wire[..closed], || 1);
            let _ = begin.close(1001, "restart", Instant::now());
            let (mut seen, mut endpoint) = (Vec::new(), transfer(&begin));
            let expected = (events(&begin, &wire[closed..], || wire.len()), outcome(&begin));
            for byte in &wire[closed..] {
                seen.extend(events(&endpoint, &[*byte], || 1));
                endpoint = transfer(&endpoint);
            }
            assert_eq!((seen, outcome(&endpoint)), expected, "closed at {closed}");
        }
    }
}

#[test]
fn every_way_to_end_survives_a_snapshot() {
    let now = Instant::now();
    let ends: [&dyn Fn(&Endpoint); 5] = [
        &|_| (),
        &|endpoint| drop(endpoint.close(0, "", now)),
        &|endpoint| drop(endpoint.close(4999, &"ü".repeat(99), now)),
        &|endpoint| drop(endpoint.fail(1011, "before\0after", now)),
        &|endpoint| endpoint.abort(now),
    ];
    for end in ends {
        let endpoint = open();
        events(&endpoint, &client(0x02, b"incomplete"), || 3);
        end(&endpoint);
        assert_eq!(outcome(&transfer(&endpoint)), outcome(&endpoint));
    }
}

#[test]
fn the_time_to_close_begins_anew() {
    let (endpoint, start, second) = (open(), Instant::now(), Duration::from_secs(1));
    endpoint.close(1000, "", start).unwrap();
    let restored = Endpoint::restore(&mut Source(&snapshot(&endpoint)), MAX, start + second).unwrap();
    assert_eq!(restored.deadline(second), Some(start + second * 2));
}

#[test]
fn an_endpoint_between_messages_takes_six_bytes() {
    let endpoint = open();
    events(&endpoint, &[client(0x89, &[1; 125]), client(0x82, &[0; 5000])].concat(), || 999);
    assert_eq!(snapshot(&endpoint), [2, 0, 0, 0, 0, 0]);
}

#[test]
fn restore_leaves_the_bytes_that_follow() {
    let mut bytes = snapshot(&open());
    put_bytes(&mut bytes, b"the next connection");
    let mut source = Source(&bytes);
    Endpoint::restore(&mut source, MAX, Instant::now()).unwrap();
    assert_eq!(source.bytes(), Ok(&b"the next connection"[..]));
    assert_eq!(source.u8(), Err(SnapshotError("the snapshot is truncated")));
}

#[test]
fn a_control_frame_inside_a_message_of_the_largest_size_survives_a_snapshot() {
    let message = client(0x02, &vec![7; MAX]);
    let rest = [client(0x89, &[8; 125]), client(0x80, b"")].concat();
    for cut in 0..rest.len() {
        let endpoint = open();
        events(&endpoint, &message, || message.len());
        let mut seen = events(&endpoint, &rest[..cut], || cut);
        seen.extend(events(&transfer(&endpoint), &rest[cut..], || rest.len()));
        assert!(seen == [pong(&[8; 125]), Seen::Message(op::BINARY, vec![7; MAX])], "cut at {cut}");
    }
}

#[test]
fn only_the_current_version_is_read() {
    let mut bytes = snapshot(&open());
    for version in (0..=u8::MAX).filter(|&version| version != 2) {
        bytes[0] = version;
        assert_eq!(restore(&bytes, MAX).unwrap_err().to_string(), "the endpoint has another version");
    }
}

#[test]
fn an_incomplete_message_above_the_limit_is_rejected() {
    for (frames, arrived) in [
        (vec![client(0x02, &[0; 50])], 50),                // between fragments
        (vec![client(0x82, &[0; 50])[..16].to_vec()], 50), // inside a frame
        (vec![client(0x02, &[0; 40]), client(0x00, &[0; 10])[..8].to_vec()], 50),
        (vec![client(0x02, &[0; 50]), client(0x89, b"ping")[..8].to_vec()], 50),
    ] {
        let endpoint = open();
        events(&endpoint, &frames.concat(), || 1);
        let bytes = snapshot(&endpoint);
        assert!(restore(&bytes, arrived).is_ok());
        assert!(restore(&bytes, arrived - 1).is_err());
        assert!(restore(&bytes, 0).is_err());
    }
}

/// A limit that corrupted lengths exceed.
const LIMIT: usize = 600;

/// Snapshots of an endpoint in all its states, and the bytes that come next.
fn snapshots() -> Vec<(Vec<u8>, Vec<u8>)> {
    let wire =
        [client(0x01, "Grüße".as_bytes()), client(0x89, b"ping"), client(0x00, "ü".as_bytes())[..7].to_vec()];
    let long = client(0x82, &[9; 500]);
    let mut found = Vec::new();
    for (wire, rest) in [
        (wire.concat(), [&client(0x00, "ü".as_bytes())[7..], &client(0x80, b"end")].concat()),
        (long[..10].to_vec(), long[10..].to_vec()),
        (long[..400].to_vec(), long[400..].to_vec()),
        (client(0x01, &[b'x'; 550]), client(0x80, &[b'y'; 50])),
    ] {
        for cut in 0..=wire.len().min(30) {
            for end in [false, true] {
                let (endpoint, cut) = (open(), if cut == 30 { wire.len() } else { cut });
                events(&endpoint, &wire[..cut], || 1);
                if end {
                    let _ = endpoint.close(4000, "bye", Instant::now());
                }
                found.push((snapshot(&endpoint), [&wire[cut..], &rest].concat()));
            }
        }
    }
    for end in [client_close(1000, "bye"), client(0x88, b""), client(0x8f, b"")] {
        let endpoint = open();
        events(&endpoint, &end, || 1);
        found.push((snapshot(&endpoint), client(0x81, b"late")));
    }
    found.sort();
    found.dedup();
    found
}

/// Sends `rest` and all kinds of frames to a restored endpoint. What it reports keeps the promises of
/// [`Event`].
fn check_promises(endpoint: &Endpoint, rest: &[u8]) {
    assert!(endpoint.receiver.borrow().held_bytes() <= LIMIT + op::CONTROL_MAX);
    assert_eq!(endpoint.ending().is_some(), !endpoint.is_open());
    let was_open = endpoint.is_open();
    let mut closes = 0;
    let wire = [rest, &client(0x81, "ü".as_bytes()), &client(0x89, b"x"), &client_close(1000, "")].concat();
    for piece in wire.chunks(97) {
        feed(endpoint, piece, LIMIT, Instant::now, |event| match event {
            Event::Message { op, data } => {
                assert!(was_open && data.len() <= LIMIT);
                assert!(op == op::BINARY || (op == op::TEXT && str::from_utf8(&data).is_ok()));
            }
            Event::Compressed { data, .. } => {
                assert!(was_open && data.len() <= LIMIT && endpoint.extensions().deflate);
            }
            Event::Pong(payload) => assert!(payload.len() <= op::CONTROL_MAX),
            Event::Send(frame) => match server_frame(frame) {
                Seen::Send(op::CLOSE, _) => closes += 1,
                _ => assert_eq!(closes, 0),
            },
            Event::Violation(_) => {}
        });
    }
    assert!(closes <= usize::from(was_open));
}

#[test]
fn every_truncation_is_rejected() {
    for (bytes, _) in snapshots() {
        for length in 0..bytes.len() {
            assert!(restore(&bytes[..length], LIMIT).is_err(), "{length} of {bytes:x?}");
        }
    }
}

#[test]
fn every_changed_byte_is_rejected_or_leaves_an_endpoint_that_keeps_its_promises() {
    for (bytes, rest) in snapshots() {
        check_promises(&restore(&bytes, LIMIT).unwrap(), &rest);
        for at in 0..bytes.len() {
            // All fields lie in the first bytes: the rest is payload.
            for change in (1..=u8::MAX).filter(|change| at < 32 || (*change == 1 << (at % 8))) {
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                let restored = Endpoint::restore(&mut Source(&bytes), LIMIT, Instant::now());
                restored.iter().for_each(|endpoint| check_promises(endpoint, &rest));
            }
        }
    }
}

#[test]
fn states_that_no_endpoint_can_reach_are_rejected() {
    let closing = |code: u16, by_client: u8, reason: &[u8]| {
        let mut bytes = [&[2, 0, 1][..], &code.to_le_bytes(), &[by_client]].concat();
        put_bytes(&mut bytes, reason);
        [&bytes[..], &[0, 0, 0]].concat()
    };
    let payload = |fin, op, missing: u64, control: &[u8], message_op: u8, message: &[u8]| {
        let mut bytes = [&[2, 0, 0, 1, fin, op][..], &MASK, &missing.to_le_bytes()].concat();
        put_bytes(&mut bytes, control);
        bytes.push(message_op);
        if message_op != 0 {
            put_bytes(&mut bytes, message);
        }
        bytes
    };
    let with_deflate = |mut bytes: Vec<u8>| {
        bytes[1] = 1;
        bytes
    };
    let header = |head: &[u8]| [&[2, 0, 0, 0, head.len() as u8], head, &[0]].concat();
    let between = |message_op: u8, message: &[u8]| {
        let mut bytes = vec![2, 0, 0, 0, 0, message_op];
        put_bytes(&mut bytes, message);
        bytes
    };
    for possible in [
        closing(1000, 0, &[b'r'; 123]),
        closing(NO_CODE, 0, b""),
        payload(1, op::PING, 5, &[0; 120], op::TEXT, b"x\xc3"),
        payload(0, op::TEXT, LIMIT as u64 - 2, b"", op::TEXT, b"x\xc3"),
        payload(1, op::CONTINUATION, LIMIT as u64 - 1, b"", op::BINARY, b"x"),
        with_deflate(payload(1, op::TEXT | op::COMPRESSED, 5, b"", op::TEXT | op::COMPRESSED, b"\xff")),
        header(b"\x81"),
        header(b"\x82\xff\0\0\0\0\0\0\0\0\0\0\0"),
        between(op::TEXT, b"\xf0\x9d\x84"),
    ] {
        assert!(restore(&possible, LIMIT).is_ok(), "{possible:x?}");
    }
    for impossible in [
        vec![2, 0, 3, 0, 0, 0], // unknown state
        vec![2, 0, 0, 2, 0, 0], // a flag of 2
        vec![2, 2, 0, 0, 0, 0],
        closing(NO_CLOSE, 0, b""), // lost, but closing
        closing(1000, 1, b""),     // closing by the client
        closing(1000, 2, b""),
        closing(1015, 0, b""), // a code that may not be sent
        closing(1000, 0, b"a\0b"),
        closing(1000, 0, b"\xff"),
        closing(1000, 0, &[b'r'; 124]),
        payload(1, op::PING, 6, &[0; 120], 0, b""), // 126 bytes of control payload
        payload(0, op::PING, 5, b"", 0, b""),       // fragmented control frame
        payload(1, 0x3, 5, b"", 0, b""),            // unknown opcode
        payload(1, 0xb, 5, b"", 0, b""),
        payload(1, op::CONTINUATION, 5, b"", 0, b""), // nothing to continue
        payload(1, op::TEXT, 5, b"", 0, b""),
        payload(1, op::TEXT, 5, b"", op::BINARY, b""), // a text frame in a binary message
        with_deflate(payload(1, op::TEXT, 5, b"", op::TEXT | op::COMPRESSED, b"")), // a plain frame begins it
        with_deflate(payload(1, op::TEXT | op::COMPRESSED, 5, b"", op::TEXT, b"")), // and the other way round
        with_deflate(payload(1, op::PING | op::COMPRESSED, 5, b"", 0, b"")),
        payload(1, op::TEXT | op::COMPRESSED, 5, b"", op::TEXT | op::COMPRESSED, b""), // without the extension
        payload(1, op::TEXT, 5, b"x", op::TEXT, b""), // control payload in a data frame
        payload(1, op::TEXT, 0, b"", op::TEXT, b""),  // inside a payload that is complete
        payload(1, op::TEXT, LIMIT as u64, b"", op::TEXT, b"x"),
        payload(1, op::TEXT, u64::MAX, b"", op::TEXT, b"x"),
        header(b"\x81\x80\0\0\0\0"), // complete
        header(b"\x81\x00"),         // not masked
        header(b"\xc1\x80"),
        header(&[0x82; 15]),
        between(op::TEXT, b"\xff"),
        between(op::CONTINUATION + 3, b""),
        between(op::PING, b""),
        between(op::TEXT | op::COMPRESSED, b""), // without the extension
        between(op::BINARY, &[0; LIMIT + 1]),
    ] {
        assert!(restore(&impossible, LIMIT).is_err(), "{impossible:x?}");
    }
}
