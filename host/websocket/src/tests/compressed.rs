//! Messages with RSV1 (RFC 7692 §6), which an endpoint with the extension reports as they are.

use super::*;

fn open() -> Endpoint {
    Endpoint::new(Extensions { deflate: true })
}

/// Payloads that nobody could take for UTF-8.
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

fn compressed(op: u8) -> Seen {
    Seen::Compressed(op, HELLO.to_vec())
}

#[test]
fn compressed_messages_are_reported_as_they_are_however_they_are_cut() {
    let long: Vec<u8> = HELLO.iter().copied().cycle().take(300).collect();
    let wire = [
        client(0xc1, &HELLO),
        client(0x81, b"plain"),
        client(0xc2, &HELLO),
        client(0x41, &HELLO[..3]),
        client(0x89, b"ping"),
        client(0x00, b""),
        client(0x80, &HELLO[3..]),
        client(0x01, b"plain "),
        client(0x80, b"again"),
        client(0xc2, &long),
        client(0xc1, b""),
    ];
    let expected = [
        compressed(op::TEXT),
        Seen::Message(op::TEXT, b"plain".to_vec()),
        compressed(op::BINARY),
        Seen::Send(op::PONG, b"ping".to_vec()),
        compressed(op::TEXT),
        Seen::Message(op::TEXT, b"plain again".to_vec()),
        Seen::Compressed(op::BINARY, long),
        Seen::Compressed(op::TEXT, Vec::new()),
    ];
    let wire = wire.concat();
    for piece in [1, 2, 3, 5, 7, 20, 100, wire.len()] {
        assert_eq!(events(&open(), &wire, || piece), expected, "pieces of {piece}");
        // The same with a snapshot between the pieces.
        let (mut endpoint, mut seen) = (open(), Vec::new());
        for piece in wire.chunks(piece) {
            seen.extend(events(&endpoint, piece, || piece.len()));
            let mut bytes = Vec::new();
            endpoint.snapshot(&mut bytes);
            endpoint = Endpoint::restore(&mut Source(&bytes), MAX, Instant::now()).expect("it is valid");
            assert!(endpoint.extensions().deflate);
        }
        assert_eq!(seen, expected, "pieces of {piece} and snapshots");
    }
}

#[test]
fn reserved_bits_that_the_extension_does_not_use_are_violations() {
    for (first, what) in [
        (0xa1, "RSV2"),
        (0x91, "RSV3"),
        (0xe1, "RSV1 and RSV2"),
        (0xd2, "RSV1 and RSV3"),
        (0xc9, "a compressed Ping"),
        (0xca, "a compressed Pong"),
        (0xc8, "a compressed Close"),
    ] {
        let seen = events(&open(), &client(first, b"x"), || 1);
        assert_eq!(seen[0], Seen::Violation(1002), "{what}");
    }
    let fragments = [client(0x41, b"x"), client(0xc0, b"x")].concat();
    assert_eq!(events(&open(), &fragments, || 1)[0], Seen::Violation(1002), "RSV1 in a later fragment");
    let plain = [client(0x01, b"x"), client(0x40, b"x")].concat();
    assert_eq!(events(&open(), &plain, || 1)[0], Seen::Violation(1002), "RSV1 in a message without it");
    for first in [0xc1, 0xc2, 0x41] {
        let seen = events(&Endpoint::new(Extensions::default()), &client(first, b"x"), || 1);
        assert_eq!(seen[0], Seen::Violation(1002), "nothing was agreed on");
    }
}

/// Payload bytes of a compressed message under a limit of 100.
const MAX_OF_100: usize = 100 + 100 / 8 + 64;

#[test]
fn a_compressed_message_may_be_an_eighth_larger_than_a_plain_one() {
    for (op, max) in [(op::BINARY | op::COMPRESSED, MAX_OF_100), (op::BINARY, 100)] {
        for length in [max, max + 1] {
            let whole = vec![client(0x80 | op, &vec![0; length])];
            let parts =
                vec![client(op, &[0; 60]), client(0x00, &[0; 30]), client(0x80, &vec![0; length - 90])];
            for frames in [whole, parts] {
                let (endpoint, mut seen) = (open(), Vec::new());
                for frame in frames {
                    feed(&endpoint, &frame, 100, Instant::now, |event| seen.push(Seen::from(event)));
                }
                let expected = match op {
                    _ if length > max => Seen::Violation(1009),
                    op::BINARY => Seen::Message(op::BINARY, vec![0; length]),
                    _ => Seen::Compressed(op::BINARY, vec![0; length]),
                };
                assert_eq!(seen[0], expected, "opcode {op:#x}, {length} bytes");
            }
        }
    }
    let no_limit = client(0xc2, &HELLO);
    feed(&open(), &no_limit, usize::MAX, Instant::now, |event| {
        assert_eq!(Seen::from(event), compressed(op::BINARY))
    });
}

#[test]
fn a_snapshot_of_a_compressed_message_may_be_an_eighth_larger_too() {
    for (length, fits) in [(MAX_OF_100, true), (MAX_OF_100 + 1, false)] {
        let whole = client(0xc2, &vec![0; length]);
        let later = [client(0x42, &[0; 90]), client(0x80, &vec![0; length - 90])].concat();
        let between = client(0x42, &vec![0; length]);
        for wire in [&whole[..whole.len() - 1], &whole[..20], &later[..later.len() - 1], &between] {
            let (endpoint, mut bytes) = (open(), Vec::new());
            events(&endpoint, wire, || wire.len());
            endpoint.snapshot(&mut bytes);
            let restored = Endpoint::restore(&mut Source(&bytes), 100, Instant::now());
            assert_eq!(restored.is_ok(), fits, "{} of {length} bytes", wire.len());
        }
    }
}

#[test]
fn nothing_is_reported_after_our_close() {
    let endpoint = open();
    endpoint.close(1000, "", Instant::now()).expect("it may be sent");
    assert_eq!(events(&endpoint, &client(0xc1, &HELLO), || 1), []);
}
