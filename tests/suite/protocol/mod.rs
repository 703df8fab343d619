//! RFC 6455 from outside: clients that keep the protocol and clients that break it send bytes over a real
//! socket to the echo plugin.

mod closing;

use rustix::process::Signal;

use crate::support::{
    BINARY, BINARY_BEGINS, CLOSE, ENDS, GOES_ON, Host, PING, PONG, Raw, TEXT, TEXT_BEGINS, WebSocket, frame,
};

fn echo() -> Host {
    Host::serve("echo", &["--workers", "1"])
}

/// A frame of the server: unmasked, with the shortest length encoding.
fn answer(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(length as u8),
        length @ ..0x1_0000 => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    [frame, payload.to_vec()].concat()
}

#[track_caller]
fn expect(client: &mut Raw, bytes: &[u8]) {
    let found = client.read_exact(bytes.len());
    assert!(found == bytes, "{} instead of {}", short(&found), short(bytes));
}

fn short(bytes: &[u8]) -> String {
    format!("{:02x?} ({} bytes)", &bytes[..bytes.len().min(32)], bytes.len())
}

/// The payload of a Close, §5.5.1.
fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

/// The server sends a Close with this code, then ends the stream.
#[track_caller]
fn expect_closed(client: &mut Raw, code: u16, what: &str) {
    let (first, payload) = client.read_frame();
    assert_eq!(first, CLOSE, "{what}: {}", short(&payload));
    let found = payload.first_chunk().map(|&bytes| u16::from_be_bytes(bytes));
    assert_eq!(found, Some(code), "{what}: {}", String::from_utf8_lossy(&payload));
    assert!(std::str::from_utf8(&payload[2..]).is_ok_and(|reason| reason.len() <= 123), "{what}");
    assert_eq!(client.read_to_eof(), b"", "{what}: after the Close");
}

/// Each case breaks a rule. The server closes that client with `code` and answers nothing that follows.
/// Another client is served all the time.
#[track_caller]
fn each_is_closed_with(code: u16, cases: &[(&str, Vec<u8>)]) {
    let host = echo();
    let mut witness = host.open("/");
    for (what, bytes) in cases {
        let mut client = host.upgraded();
        client.send([&frame(TEXT, b"before")[..], bytes, &frame(TEXT, b"behind")].concat());
        expect(&mut client, &answer(TEXT, b"before"));
        expect_closed(&mut client, code, what);
        assert_eq!(witness.ask(what), *what);
    }
    assert_eq!(witness.close(1000, "done").map(|(code, _)| code), Some(1000));
}

#[test]
fn the_masked_hello_of_section_5_7_is_answered_with_the_unmasked_one() {
    let host = echo();
    let mut client = host.upgraded();
    client.send([0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    expect(&mut client, &[0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
}

/// §5.2: 7, 7+16 or 7+64 bits of length; both sides must use the shortest encoding.
#[test]
fn messages_of_every_length_encoding_are_echoed() {
    let host = echo();
    let mut client = host.upgraded();
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
        let text: Vec<u8> = (b'a'..=b'z').cycle().take(length).collect();
        client.send_frame(TEXT, &text);
        expect(&mut client, &answer(TEXT, &text));
        let binary: Vec<u8> = (0..=255).rev().cycle().take(length).collect();
        client.send_frame(BINARY, &binary);
        expect(&mut client, &answer(BINARY, &binary));
    }
}

/// §5.3: each frame has its own mask, which may be zero.
#[test]
fn any_mask_is_undone() {
    let host = echo();
    let mut client = host.upgraded();
    for mask in [[0; 4], [0xff; 4], [1, 2, 4, 8]] {
        let payload = b"seventeen bytes!!";
        let masked: Vec<u8> =
            payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        client.send([&[TEXT, 0x80 | 17], &mask[..], &masked].concat());
        expect(&mut client, &answer(TEXT, payload));
    }
}

#[test]
fn fragments_become_one_message_as_of_section_5_4() {
    let host = echo();
    let mut client = host.upgraded();
    client.send_frame(TEXT_BEGINS, b"Hel");
    client.send_frame(ENDS, b"lo");
    expect(&mut client, &answer(TEXT, b"Hello"));

    let parts = [&b""[..], b"many", b"", b" small ", b"parts", b""];
    client.send_frame(BINARY_BEGINS, b"");
    parts.iter().for_each(|part| client.send_frame(GOES_ON, part));
    client.send_frame(ENDS, b"");
    expect(&mut client, &answer(BINARY, b"many small parts"));

    let big: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    for (index, part) in big.chunks(40_000).enumerate() {
        client.send_frame(if index == 0 { BINARY_BEGINS } else { GOES_ON }, part);
    }
    client.send_frame(ENDS, b"");
    expect(&mut client, &answer(BINARY, &big));
}

#[test]
fn pings_between_fragments_are_answered_at_once_as_of_section_5_4() {
    let host = echo();
    let mut client = host.upgraded();
    client.send_frame(TEXT_BEGINS, b"one ");
    client.send_frame(PING, b"first");
    expect(&mut client, &answer(PONG, b"first"));
    client.send_frame(GOES_ON, b"two ");
    client.send_frame(PING, b"");
    expect(&mut client, &answer(PONG, b""));
    client.send_frame(ENDS, b"three");
    expect(&mut client, &answer(TEXT, b"one two three"));
}

#[test]
fn a_ping_is_answered_with_its_payload_as_of_section_5_5_3() {
    let host = echo();
    let mut client = host.upgraded();
    for payload in [&b""[..], b"Hello", &[0xff; 125]] {
        client.send_frame(PING, payload);
        expect(&mut client, &answer(PONG, payload));
    }
}

#[test]
fn an_unasked_pong_is_not_answered_as_of_section_5_5_3() {
    let host = echo();
    let mut client = host.upgraded();
    client.send_frame(PONG, b"I am here");
    client.send_frame(TEXT, b"next");
    expect(&mut client, &answer(TEXT, b"next"));
}

/// Waits until the server has read everything that arrived so far. One thread serves all clients, so an
/// answer to `witness` proves it.
fn turn(witness: &mut WebSocket) {
    assert_eq!(witness.ask("turn"), "turn");
}

/// TCP may split the bytes anywhere; the frames of §5.2 stay the same.
#[test]
fn frames_may_be_cut_at_every_byte() {
    let host = echo();
    let mut witness = host.open("/");
    let mut client = host.upgraded();
    let long = [b'x'; 130];
    let sent = [
        frame(TEXT, "größer".as_bytes()),
        frame(BINARY, &long),
        frame(TEXT_BEGINS, "gr\u{fc}".as_bytes()),
        frame(PING, b"ping"),
        frame(ENDS, "\u{df}e".as_bytes()),
    ]
    .concat();
    let wanted = [
        answer(TEXT, "größer".as_bytes()),
        answer(BINARY, &long),
        answer(PONG, b"ping"),
        answer(TEXT, "gr\u{fc}\u{df}e".as_bytes()),
    ]
    .concat();
    for cut in 1..sent.len() {
        client.send(&sent[..cut]);
        turn(&mut witness);
        client.send(&sent[cut..]);
        expect(&mut client, &wanted);
    }
    for byte in &sent {
        client.send([*byte]);
        turn(&mut witness);
    }
    expect(&mut client, &wanted);
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
                       Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Version: 13\r\n";

/// §4.1 requires clients to wait for the 101. The server accepts early frames anyway.
#[test]
fn frames_may_come_in_one_segment_with_the_request() {
    let host = echo();
    let mut witness = host.open("/");
    let early = [frame(TEXT, b"early"), frame(PING, b"?"), frame(BINARY, &[7; 50_000])].concat();
    let wanted = [answer(TEXT, b"early"), answer(PONG, b"?"), answer(BINARY, &[7; 50_000])].concat();
    for cut in [0, 1, 2, 6, 10, 11, 13, early.len()] {
        let mut client = host.connect();
        client.send([UPGRADE.as_bytes(), b"\r\n", &early[..cut]].concat());
        assert_eq!(client.read_answer(false).status, 101);
        turn(&mut witness);
        client.send(&early[cut..]);
        expect(&mut client, &wanted);
    }
}

#[test]
fn an_upgrade_with_a_body_is_refused_so_that_the_body_is_not_taken_for_frames() {
    let host = echo();
    let body = frame(TEXT, b"body");
    let length = format!("Content-Length: {}", body.len());
    for header in [&length, "Transfer-Encoding: chunked"] {
        let mut client = host.connect();
        client.send([format!("{UPGRADE}{header}\r\n\r\n").as_bytes(), &body].concat());
        let refused = client.read_answer(true);
        assert_eq!(
            (refused.status, refused.text()),
            (400, "a WebSocket handshake has no body\n"),
            "{header}"
        );
    }
    let mut client = host.connect();
    client.send(format!("{UPGRADE}Content-Length: 0\r\n\r\n"));
    client.send_frame(TEXT, b"frame");
    assert_eq!(client.read_answer(false).status, 101);
    expect(&mut client, &answer(TEXT, b"frame"));
}

#[test]
fn frames_without_a_mask_are_refused_as_of_section_5_1() {
    let cases = [
        ("text", vec![TEXT, 5, b'H', b'e', b'l', b'l', b'o']),
        ("empty", vec![BINARY, 0]),
        ("ping", vec![PING, 0]),
        ("close", vec![CLOSE, 2, 3, 232]),
        ("in a fragment", [frame(TEXT_BEGINS, b"a"), vec![ENDS, 1, b'b']].concat()),
    ];
    each_is_closed_with(1002, &cases);
}

#[test]
fn reserved_bits_are_refused_as_of_section_5_2() {
    let mut cases = Vec::new();
    for bits in 1..8 {
        cases.push(("in a text", frame(TEXT | bits << 4, b"x")));
        cases.push(("in a ping", frame(PING | bits << 4, b"")));
        cases.push(("in a continuation", [frame(TEXT_BEGINS, b"x"), frame(ENDS | bits << 4, b"")].concat()));
    }
    each_is_closed_with(1002, &cases);
}

#[test]
fn unknown_opcodes_are_refused_as_of_section_5_2() {
    let unknown = [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF];
    let cases: Vec<_> = unknown.map(|op| ("with FIN", frame(0x80 | op, b"x"))).into();
    each_is_closed_with(1002, &cases);
    let cases: Vec<_> = unknown.map(|op| ("without FIN", frame(op, b""))).into();
    each_is_closed_with(1002, &cases);
}

#[test]
fn a_length_of_2_to_the_63_is_refused_as_of_section_5_2() {
    let header = [&[BINARY, 0x80 | 127][..], &(1_u64 << 63).to_be_bytes(), &[0; 4]].concat();
    each_is_closed_with(1002, &[("the highest bit", header)]);
}

#[test]
fn a_length_is_in_its_shortest_form_as_of_section_5_2() {
    let frame = |length: &[u8], payload: usize| [&[BINARY][..], length, &vec![0; 4 + payload]].concat();
    let cases = [
        ("16 bits for 0", frame(&[0x80 | 126, 0, 0], 0)),
        ("16 bits for 125", frame(&[0x80 | 126, 0, 125], 125)),
        ("64 bits for 1", frame(&[0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 1], 1)),
        ("64 bits for 65535", frame(&[0x80 | 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], 0xFFFF)),
    ];
    each_is_closed_with(1002, &cases);
}

#[test]
fn control_frames_are_whole_and_short_as_of_section_5_5() {
    let mut cases = Vec::new();
    for (what, first) in [("close", CLOSE), ("ping", PING), ("pong", PONG)] {
        cases.push((what, frame(first & !0x80, b"")));
        cases.push((what, frame(first, &[b'x'; 126])));
        cases.push((what, frame(first, &[b'x'; 65_536])));
    }
    each_is_closed_with(1002, &cases);
}

#[test]
fn continuations_belong_to_a_message_as_of_section_5_4() {
    let cases = [
        ("nothing to continue", frame(ENDS, b"x")),
        ("nothing to continue, more to come", frame(GOES_ON, b"x")),
        ("text in a text", [frame(TEXT_BEGINS, b"a"), frame(TEXT, b"b")].concat()),
        ("binary in a text", [frame(TEXT_BEGINS, b"a"), frame(BINARY_BEGINS, b"b")].concat()),
    ];
    each_is_closed_with(1002, &cases);

    let host = echo();
    let mut client = host.upgraded();
    client.send([frame(TEXT_BEGINS, b"a"), frame(ENDS, b"b"), frame(ENDS, b"c")].concat());
    expect(&mut client, &answer(TEXT, b"ab"));
    expect_closed(&mut client, 1002, "nothing left to continue");
}

/// A TCP sender can mark a byte as urgent. It belongs to the stream all the same, and no read may end there.
#[test]
fn urgent_data_is_data_like_any_other() {
    let host = echo();
    let (mut client, worker) = (host.upgraded(), host.workers()[0]);
    let bytes = [frame(TEXT, b"one"), frame(TEXT, b"two"), frame(TEXT, b"three")].concat();
    for at in 0..bytes.len() {
        // All of it is there before the worker reads.
        worker.signal(Signal::STOP);
        client.send(&bytes[..at]);
        client.send_urgent(bytes[at]);
        client.send(&bytes[at + 1..]);
        worker.signal(Signal::CONT);
        for word in [&b"one"[..], b"two", b"three"] {
            expect(&mut client, &answer(TEXT, word));
        }
    }
}

/// §8.1 and §5.6: a text that is not UTF-8 is closed with 1007.
#[test]
fn a_text_is_utf_8() {
    let cases = [
        ("no such byte", frame(TEXT, b"a\xffb")),
        ("overlong", frame(TEXT, b"\xc0\xaf")),
        ("surrogate", frame(TEXT, b"\xed\xa0\x80")),
        ("above U+10FFFF", frame(TEXT, b"\xf4\x90\x80\x80")),
        ("ends inside a character", frame(TEXT, b"gr\xc3")),
        ("long", frame(TEXT, &[[b'x'; 70_000].as_slice(), b"\xff"].concat())),
        ("second fragment", [frame(TEXT_BEGINS, b"fine"), frame(ENDS, b"\xff")].concat()),
        ("last fragment ends inside", [frame(TEXT_BEGINS, b"a"), frame(ENDS, b"\xc3")].concat()),
        ("character not gone on with", [frame(TEXT_BEGINS, b"\xc3"), frame(ENDS, b"a")].concat()),
        ("first fragment, before its end", frame(TEXT_BEGINS, b"\xff")),
    ];
    each_is_closed_with(1007, &cases);
}

#[test]
fn a_character_may_be_cut_between_fragments_as_of_section_5_6() {
    let host = echo();
    let mut client = host.upgraded();
    let text = "aß水𝄞".as_bytes();
    for cut in 0..=text.len() {
        client.send_frame(TEXT_BEGINS, &text[..cut]);
        client.send_frame(ENDS, &text[cut..]);
        expect(&mut client, &answer(TEXT, text));
    }
    client.send_frame(BINARY, b"\xff\xc0");
    expect(&mut client, &answer(BINARY, b"\xff\xc0"));
}
