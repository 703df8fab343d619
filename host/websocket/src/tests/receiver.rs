//! Headers, frames and messages: the examples of RFC 6455 and every rule that a receiver checks.

use std::io::Cursor;

use tungstenite::protocol::frame::{FrameHeader, coding::CloseCode};

use super::*;
use crate::mask::unmask;

/// All items that `receiver` reports for `wire`; `cut` chooses the length of each piece.
fn receive_all(receiver: &mut Receiver, wire: &[u8], mut cut: impl FnMut() -> usize) -> Vec<Item> {
    // The spare byte of a piece is the first of the next one.
    let mut wire = [wire, &[SPARE]].concat();
    let (mut from, mut items) = (0, Vec::new());
    while from < wire.len() - 1 {
        let to = from + cut().clamp(1, wire.len() - 1 - from);
        let mut input = Input::new(&mut wire[from..=to]);
        loop {
            match receiver.next(&mut input, MAX, Extensions::default()) {
                Ok(Some(event)) => items.push(event.into()),
                Ok(None) => break,
                Err(violation) => items.push(Item::Violation(violation.code)),
            }
        }
        assert!(input.is_empty(), "None before all of the input was used");
        from = to;
    }
    items
}

/// The items of `wire`, which must be the same whether it arrives whole or byte by byte.
fn receive_both(wire: &[u8]) -> Vec<Item> {
    let whole = receive_all(&mut Receiver::new(), wire, || wire.len());
    assert_eq!(whole, receive_all(&mut Receiver::new(), wire, || 1), "{wire:x?}");
    whole
}

fn text(data: &str) -> Item {
    Item::Message(op::TEXT, data.into())
}

#[test]
fn reads_the_examples_of_rfc_6455_section_5_7() {
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(receive_both(&hello), [text("Hello")]);
    let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(receive_both(&pong), [Item::Pong(b"Hello".into())]);
    let fragments = [client(0x01, b"Hel"), client(0x80, b"lo")].concat();
    assert_eq!(receive_both(&fragments), [text("Hello")]);
}

#[test]
fn writes_the_examples_of_rfc_6455_section_5_7() {
    let frame = |op, payload: &[u8]| {
        let mut out = Vec::new();
        write_frame(&mut out, op, payload);
        out
    };
    assert_eq!(frame(op::TEXT, b"Hello"), [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    assert_eq!(frame(op::PING, b"Hello"), [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    let (medium, large) = (frame(op::BINARY, &[7; 256]), frame(op::BINARY, &[7; 65536]));
    assert_eq!((&medium[..4], &medium[4..]), (&[0x82, 0x7e, 0x01, 0x00][..], &[7; 256][..]));
    assert_eq!((&large[..10], &large[10..]), (&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 65536][..]));
}

#[test]
fn lengths_at_the_edges_of_the_three_formats_are_written_and_read() {
    for (length, size) in [(0, 2), (1, 2), (125, 2), (126, 4), (127, 4), (65535, 4), (65536, 10), (65537, 10)]
    {
        assert_eq!(frame_header(op::BINARY, length).1, size);
        let payload = vec![b'x'; length];
        assert_eq!(receive_both(&client(0x82, &payload)), [Item::Message(op::BINARY, payload)]);
    }
}

#[test]
fn a_length_that_is_not_in_its_shortest_form_is_closed_with_1002() {
    let header = |length: &[u8]| [&[0x82][..], length, &[0; 4]].concat();
    for length in [0, 1, 125] {
        let wire = header(&[0xfe, 0, length]);
        assert_eq!(receive_both(&wire), [Item::Violation(1002)], "{wire:x?}");
    }
    for length in [0, 125, 126, 0xffff] {
        let wire = header(&[&[0xff][..], &u64::to_be_bytes(length)].concat());
        assert_eq!(receive_both(&wire), [Item::Violation(1002)], "{wire:x?}");
    }
}

#[test]
fn control_frames_come_through_between_fragments() {
    let wire = [
        client(0x01, "Grü".as_bytes()),
        client(0x89, b"are you there?"),
        client(0x00, b""),
        client(0x8a, b""),
        client(0x80, "ße".as_bytes()),
        client(0x88, &[0x03, 0xe8, b'b', b'y', b'e']),
    ]
    .concat();
    let expected = [
        Item::Ping(b"are you there?".into()),
        Item::Pong(vec![]),
        text("Grüße"),
        Item::Close(Some(1000), "bye".into()),
    ];
    assert_eq!(receive_both(&wire), expected);
}

#[test]
fn protocol_violations_are_closed_with_1002() {
    let mut broken = vec![
        vec![0x81, 0x05],                                        // no mask
        vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], // top bit of the length
        vec![0x89, 0xfe, 0, 126, 0, 0, 0, 0],                    // long ping
        client(0x09, b""),                                       // fragmented ping
        client(0x80, b"x"),                                      // nothing to continue
        client(0x00, b"x"),
        [client(0x01, b"x"), client(0x81, b"y")].concat(), // message inside a message
        [client(0x02, b""), client(0x02, b"y")].concat(),
        client(0x88, &[3]), // half a code
    ];
    broken.extend([0xc1, 0xa1, 0x91, 0xc9].map(|reserved_bit| client(reserved_bit, b"")));
    broken.extend([0x83, 0x87, 0x8b, 0x8f].map(|reserved_op| client(reserved_op, b"")));
    broken.extend([0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535].map(|code: u16| {
        client(0x88, &code.to_be_bytes()) // codes that no Close frame may carry
    }));
    for wire in broken {
        assert_eq!(receive_both(&wire), [Item::Violation(1002)], "{wire:x?}");
    }
    let message_after_a_ping_inside_a_message = [client(0x01, b"x"), client(0x89, b""), client(0x81, b"y")];
    let items = receive_both(&message_after_a_ping_inside_a_message.concat());
    assert_eq!(items, [Item::Ping(vec![]), Item::Violation(1002)]);
}

#[test]
fn after_a_violation_or_a_close_nothing_more_is_reported() {
    let more = [client(0x81, b"more"), vec![0xff; 30]].concat();
    for (last, item) in [
        (client(0x81, b"\xff"), Item::Violation(1007)),
        (client(0x83, b""), Item::Violation(1002)),
        (client(0x88, b""), Item::Close(None, String::new())),
    ] {
        assert_eq!(receive_both(&[last, more.clone()].concat()), [item]);
    }
}

#[test]
fn close_carries_every_code_that_may_be_sent() {
    for code in [1000, 1003, 1007, 1011, 1014, 3000, 4999] {
        let frame = client(0x88, &u16::to_be_bytes(code));
        assert_eq!(receive_both(&frame), [Item::Close(Some(code), String::new())]);
    }
    assert_eq!(receive_both(&client(0x88, b"\x03\xe8\xc3")), [Item::Violation(1007)]);
}

#[test]
fn close_codes_are_tungstenites_and_1014() {
    for code in 0..=u16::MAX {
        assert_eq!(close_code_allowed(code), CloseCode::from(code).is_allowed() || code == 1014, "{code}");
    }
}

#[test]
fn invalid_utf8_is_closed_with_1007() {
    for bad in [&b"\xff"[..], b"ok\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"] {
        assert_eq!(receive_both(&client(0x81, bad)), [Item::Violation(1007)]);
        for cut in 0..=bad.len() {
            let wire = [client(0x01, &bad[..cut]), client(0x00, &bad[cut..]), client(0x80, b"")].concat();
            assert_eq!(receive_both(&wire), [Item::Violation(1007)]);
        }
        assert_eq!(receive_both(&client(0x82, bad)), [Item::Message(op::BINARY, bad.into())]);
    }
}

#[test]
fn invalid_utf8_is_reported_before_the_frame_is_complete() {
    // Autobahn 6.4: a code point above U+10FFFF shows in its second byte.
    let wire = client(0x81, "κόσμε\u{10ffff}and more".as_bytes());
    let bad = client(0x81, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited");
    let header = 6;
    let shows = header + 13;
    assert_eq!(receive_all(&mut Receiver::new(), &wire[..shows], || 1), []);
    assert_eq!(receive_all(&mut Receiver::new(), &bad[..shows - 1], || shows), []);
    assert_eq!(receive_all(&mut Receiver::new(), &bad[..shows], || shows), [Item::Violation(1007)]);
}

#[test]
fn a_message_above_the_limit_is_rejected_by_its_header() {
    let header = |first, length: usize| client(first, &vec![0; length])[..14].to_vec();
    assert_eq!(receive_both(&header(0x82, MAX)), []);
    assert_eq!(receive_both(&header(0x82, MAX + 1)), [Item::Violation(1009)]);
    let begun = client(0x02, b"12345");
    assert_eq!(receive_both(&[begun.clone(), header(0x80, MAX - 5)].concat()), []);
    assert_eq!(receive_both(&[begun, header(0x80, MAX - 4)].concat()), [Item::Violation(1009)]);
    for (limit, expected) in [(4, Err(1009)), (5, Ok(()))] {
        let mut wire = [&client(0x82, b"12345")[..], &[SPARE]].concat();
        let result = Receiver::new()
            .next(&mut Input::new(&mut wire), limit, Extensions::default())
            .map(|_| ())
            .map_err(|v| v.code);
        assert_eq!(result, expected);
    }
}

#[test]
fn memory_follows_the_payload_that_arrived_not_the_length_in_the_header() {
    assert!(size_of::<Receiver>() <= 112);
    let mut receiver = Receiver::new();
    let wire = client(0x82, &vec![0; MAX]);
    assert_eq!(receive_all(&mut receiver, &wire[..14], || 3), []);
    assert_eq!(receiver.held_bytes(), 0);
    assert_eq!(receive_all(&mut receiver, &wire[14..114], || 7), []);
    assert!((100..=100 + (16 << 10)).contains(&receiver.held_bytes()), "{}", receiver.held_bytes());
    assert_eq!(receive_all(&mut receiver, &wire[114..], || 4096).len(), 1);
    assert_eq!(receiver.held_bytes(), 0);
    assert_eq!(receive_all(&mut receiver, &client(0x89, &[1; 125]), || 1).len(), 1);
    assert_eq!(receiver.held_bytes(), 0);
    let close_inside_a_message = [client(0x02, b"begun"), client(0x88, b"")].concat();
    assert_eq!(receive_all(&mut receiver, &close_inside_a_message, || 1).len(), 1);
    assert_eq!(receiver.held_bytes(), 0);
}

#[test]
fn a_complete_frame_is_not_copied() {
    for (first, length) in [(0x81, 1), (0x82, 125), (0x89, 125), (0x8a, 1), (0x81, 126), (0x82, 70_000)] {
        let mut wire = [client(first, &vec![b'x'; length]), vec![SPARE]].concat();
        let payload = wire[wire.len() - 1 - length..wire.len() - 1].as_ptr_range();
        let (mut receiver, mut input) = (Receiver::new(), Input::new(&mut wire));
        let received = receiver.next(&mut input, MAX, Extensions::default()).unwrap().unwrap();
        let data = match &received {
            Received::Message { data, .. } => data,
            Received::Ping(data) | Received::Pong(data) => *data,
            Received::Compressed { .. } | Received::Close { .. } => unreachable!(),
        };
        assert_eq!(data.as_ptr_range(), payload);
    }
}

#[test]
fn a_close_reason_is_cut_between_characters() {
    let mut out = Vec::new();
    write_close(&mut out, Some(1008), &"ü".repeat(100));
    assert_eq!((&out[..4], &out[4..]), (&[0x88, 124, 0x03, 0xf0][..], "ü".repeat(61).as_bytes()));
    out.clear();
    write_close(&mut out, None, "not sent");
    assert_eq!(out, [0x88, 0]);
}

#[test]
fn unmasks_any_length_in_any_number_of_pieces() {
    let masked: Vec<u8> = (0..200).map(|i| (i * 7) as u8).collect();
    for length in 0..masked.len() {
        let plain: Vec<u8> = (0..length).map(|i| masked[i] ^ MASK[i % 4]).collect();
        for cut in 0..=length.min(40) {
            let mut data = masked[..length].to_vec();
            let mut mask = MASK;
            unmask(&mut data[..cut], mask);
            mask.rotate_left(cut % 4);
            unmask(&mut data[cut..], mask);
            assert_eq!(data, plain, "{length} bytes cut at {cut}");
        }
    }
}

#[test]
fn headers_are_read_as_tungstenite_reads_them() {
    let tails = [
        [0x00; 12],
        [0x7f; 12],
        [0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        [0, 126, 0, 0, 0, 1, 0, 0, 9, 9, 9, 9],
    ];
    for (first, second) in (0..=255).flat_map(|first| (0..=255).map(move |second| (first, second))) {
        for tail in tails {
            let bytes = [&[first, second][..], &tail].concat();
            for length in [2, 5, 6, 8, 13, 14] {
                let bytes = &bytes[..length];
                let mut cursor = Cursor::new(bytes);
                let theirs = FrameHeader::parse(&mut cursor);
                match Header::parse(bytes, Extensions::default()) {
                    Ok(Some(ours)) => {
                        let (header, length) = theirs.unwrap().unwrap();
                        assert_eq!((ours.fin, ours.op), (header.is_final, header.opcode.into()));
                        assert_eq!((Some(ours.mask), ours.length), (header.mask, length));
                        assert_eq!(ours.size as u64, cursor.position());
                    }
                    Ok(None) => assert!(theirs.unwrap().is_none()),
                    // Rules that tungstenite checks later, if at all.
                    Err(_) => match theirs {
                        Ok(Some((header, length))) => {
                            let reserved = header.rsv1 || header.rsv2 || header.rsv3;
                            let control = u8::from(header.opcode) >= op::CLOSE;
                            let bad_control = control && (!header.is_final || second & 0x7f > 125);
                            let too_wide = match second & 0x7f {
                                126 => length < 126,
                                127 => length < 0x1_0000,
                                _ => false,
                            };
                            let bad_length = too_wide || length >> 63 != 0;
                            assert!(reserved || bad_control || header.mask.is_none() || bad_length);
                        }
                        Ok(None) => assert!(length < 14),
                        Err(_) => {}
                    },
                }
            }
        }
    }
}

#[test]
fn a_conversation_is_received_the_same_however_the_network_cuts_it() {
    let mut random = Random(6455);
    for round in 0..3 {
        let (wire, expected) = conversation(&mut random, 200, ALL_SIZES);
        for limit in [1, 2, 7, 20, 200, 4096, 65536, wire.len()] {
            let mut receiver = Receiver::new();
            let fixed = receive_all(&mut receiver, &wire, || limit);
            assert!(fixed == expected, "round {round}, pieces of {limit}");
            assert_eq!(receiver.held_bytes(), 0);
            let cut = receive_all(&mut Receiver::new(), &wire, || 1 + random.below(limit));
            assert!(cut == expected, "round {round}, pieces of up to {limit}");
        }
    }
}
