//! RFC 6455 section 5: the rules that a server keeps and the violations that it detects. Each test cites its
//! section.

use std::cell::RefCell;

use super::*;

pub(super) fn open() -> Endpoint {
    Endpoint::new(Extensions::default())
}

/// The events of a new endpoint, which must be the same whether `frames` arrive whole or byte by byte.
pub(super) fn receive(frames: &[Vec<u8>]) -> Vec<Seen> {
    receive_after(|_| (), frames)
}

/// The same, after `begin`.
pub(super) fn receive_after(begin: impl Fn(&Endpoint), frames: &[Vec<u8>]) -> Vec<Seen> {
    let [whole, bytewise] = [usize::MAX, 1].map(|length| {
        let endpoint = open();
        begin(&endpoint);
        let seen = events(&endpoint, &frames.concat(), || length);
        let ending = endpoint.ending().map(|ending| (ending.code, ending.reason.clone(), ending.by));
        (seen, endpoint.state(), ending)
    });
    assert_eq!(whole, bytewise);
    whole.0
}

pub(super) fn text(data: &str) -> Seen {
    Seen::Message(op::TEXT, data.into())
}

pub(super) fn pong(data: &[u8]) -> Seen {
    Seen::Send(op::PONG, data.into())
}

fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

pub(super) fn close(code: u16, reason: &str) -> Seen {
    Seen::Send(op::CLOSE, close_payload(code, reason))
}

pub(super) fn client_close(code: u16, reason: &str) -> Vec<u8> {
    client(0x88, &close_payload(code, reason))
}

/// `frames` are answered with a Close of `code`, and what follows them is ignored.
pub(super) fn assert_violation(frames: &[Vec<u8>], code: u16) {
    let more = [client(0x81, b"more"), client(0x89, b"ping"), client(0x83, b""), client_close(1000, "")];
    let seen = receive(&[frames, &more].concat());
    let [Seen::Violation(violation), Seen::Send(op::CLOSE, payload)] = &seen[..] else {
        panic!("{frames:x?}: {seen:x?}");
    };
    assert_eq!((*violation, &payload[..2]), (code, &code.to_be_bytes()[..]), "{frames:x?}");
    assert!(payload.len() > 2, "a Close that rejects input says why");
}

pub(super) fn assert_ending(endpoint: &Endpoint, code: u16, reason: &str, by: Initiator) {
    let ending = endpoint.ending().unwrap();
    assert_eq!((ending.code, ending.reason.to_str(), ending.by), (code, Ok(reason), by));
}

#[test]
fn section_5_1_a_frame_without_a_mask_fails_the_connection() {
    assert_violation(&[vec![0x81, 0x00]], 1002);
    assert_violation(&[vec![0x88, 0x02, 0x03, 0xe8]], 1002);
}

#[test]
fn section_5_2_reserved_bits_and_opcodes_fail_the_connection() {
    for bits in [0x10, 0x20, 0x40, 0x70] {
        for frame in [0x81, 0x82, 0x01, 0x88, 0x89, 0x8a] {
            assert_violation(&[client(frame | bits, b"")], 1002);
        }
        assert_violation(&[client(0x01, b""), client(0x80 | bits, b"")], 1002);
    }
    for op in (0x3..=0x7).chain(0xb..=0xf) {
        assert_violation(&[client(0x80 | op, b"")], 1002);
    }
}

#[test]
fn section_5_2_a_length_of_2_63_bytes_or_more_fails_the_connection() {
    assert_violation(&[vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]], 1002);
}

#[test]
fn section_5_3_each_frame_is_unmasked_with_its_own_key() {
    let masks = [[0; 4], [0xff; 4], [1, 2, 3, 4], MASK];
    let frames = masks.map(|mask| client_masked(0x81, b"any length but four", mask));
    assert_eq!(receive(&frames), vec![text("any length but four"); 4]);
    let fragments = [client_masked(0x01, b"abcde", masks[2]), client_masked(0x80, b"fghij", masks[3])];
    assert_eq!(receive(&fragments), [text("abcdefghij")]);
}

#[test]
fn section_5_4_fragments_are_one_message_of_the_first_opcode() {
    let one_character = "𝄞".as_bytes();
    let mut frames = vec![client(0x01, b"")];
    frames.extend(one_character.iter().map(|&byte| client(0x00, &[byte])));
    frames.push(client(0x80, b""));
    assert_eq!(receive(&frames), [text("𝄞")]);
    let binary = [client(0x02, b"\xff"), client(0x80, b"\xfe")];
    assert_eq!(receive(&binary), [Seen::Message(op::BINARY, b"\xff\xfe".into())]);
    let empty = [client(0x02, b""), client(0x80, b""), client(0x81, b"next")];
    assert_eq!(receive(&empty), [Seen::Message(op::BINARY, vec![]), text("next")]);
}

#[test]
fn section_5_4_control_frames_between_fragments_are_handled_at_once() {
    let frames = [
        client(0x01, "Grü".as_bytes()),
        client(0x89, b"1"),
        client(0x00, b""),
        client(0x8a, b"2"),
        client(0x89, b"3"),
        client(0x80, "ße".as_bytes()),
    ];
    assert_eq!(receive(&frames), [pong(b"1"), Seen::Pong(b"2".into()), pong(b"3"), text("Grüße")]);
    let close_inside_a_message = [client(0x01, b"begun"), client_close(1001, "")];
    assert_eq!(receive(&close_inside_a_message), [close(1001, "")]);
}

#[test]
fn section_5_4_fragments_of_two_messages_are_not_interleaved() {
    for second in [0x01, 0x02, 0x81, 0x82] {
        assert_violation(&[client(0x01, b"x"), client(second, b"y")], 1002);
        assert_violation(&[client(0x02, b""), client(second, b"")], 1002);
    }
    for continuation in [0x00, 0x80] {
        assert_violation(&[client(continuation, b"x")], 1002);
    }
    let frames = [client(0x01, b"x"), client(0x80, b"y"), client(0x80, b"z")];
    assert_eq!(receive(&frames)[..2], [text("xy"), Seen::Violation(1002)]);
}

#[test]
fn section_5_5_control_frames_are_neither_fragmented_nor_longer_than_125_bytes() {
    for op in [op::CLOSE, op::PING, op::PONG] {
        assert_violation(&[client(op, b"")], 1002);
        for length in [126, 0xffff, 0x1_0000] {
            assert_violation(&[client(0x80 | op, &vec![0; length])], 1002);
        }
    }
}

#[test]
fn section_5_5_1_a_close_is_answered_with_the_same_code() {
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        assert_eq!(receive(&[client_close(code, "Grüße")]), [close(code, "Grüße")]);
        let longest = "r".repeat(123);
        assert_eq!(receive(&[client_close(code, &longest)]), [close(code, &longest)]);
    }
    assert_eq!(receive(&[client(0x88, b"")]), [Seen::Send(op::CLOSE, vec![])]);
}

#[test]
fn section_5_5_1_a_close_has_no_code_or_a_whole_one_and_a_reason_in_utf8() {
    assert_violation(&[client(0x88, b"\x03")], 1002);
    assert_violation(&[client(0x88, b"\x03\xe8\xff")], 1007);
    assert_violation(&[client(0x88, b"\x03\xe8cut off \xc3")], 1007);
}

#[test]
fn section_5_5_1_nothing_is_received_after_the_clients_close() {
    let after = [client(0x81, b"x"), client(0x89, b""), client(0x8a, b""), client(0x83, b""), vec![0; 40]];
    for length in [1, 7, usize::MAX] {
        let endpoint = open();
        let wire = [&[client_close(1000, "bye"), client_close(1001, "")][..], &after].concat().concat();
        assert_eq!(events(&endpoint, &wire, || length), [close(1000, "bye")]);
        assert_eq!(endpoint.state(), State::Closed);
        assert_eq!(endpoint.close(1000, "", Instant::now()), Ok(None));
        assert_eq!(endpoint.fail(1011, "", Instant::now()), None);
        assert_eq!(endpoint.ending().unwrap().code, 1000);
    }
}

#[test]
fn section_5_5_2_a_ping_is_answered_with_a_pong_of_the_same_payload() {
    for length in [0, 1, 4, 124, 125] {
        let payload: Vec<u8> = (0..length).map(|i| 255 - i).collect();
        assert_eq!(receive(&[client(0x89, &payload)]), [pong(&payload)]);
    }
}

#[test]
fn section_5_5_2_pongs_keep_their_order_among_messages() {
    let frames =
        [client(0x89, b"1"), client(0x81, b"2"), client(0x89, b"3"), client(0x89, b"4"), client(0x81, b"5")];
    assert_eq!(receive(&frames), [pong(b"1"), text("2"), pong(b"3"), pong(b"4"), text("5")]);
}

#[test]
fn section_5_5_2_no_pong_is_sent_after_a_close() {
    let close_1000 = |endpoint: &Endpoint| drop(endpoint.close(1000, "", Instant::now()));
    assert_eq!(receive_after(close_1000, &[client(0x89, b"late")]), []);
    let fail = |endpoint: &Endpoint| drop(endpoint.fail(1011, "", Instant::now()));
    assert_eq!(receive_after(fail, &[client(0x89, b"late")]), []);
}

#[test]
fn section_5_5_3_a_pong_is_reported_and_not_answered() {
    assert_eq!(receive(&[client(0x8a, b"unasked")]), [Seen::Pong(b"unasked".into())]);
    let closing = |endpoint: &Endpoint| drop(endpoint.close(1000, "", Instant::now()));
    assert_eq!(receive_after(closing, &[client(0x8a, b"late")]), [Seen::Pong(b"late".into())]);
}

#[test]
fn section_5_6_text_is_utf8_and_binary_is_anything() {
    for bytes in [&b"\xff"[..], b"ok\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
        assert_violation(&[client(0x81, bytes)], 1007); // §8.1
        assert_violation(&[client(0x01, bytes), client(0x80, b"")], 1007);
        assert_eq!(receive(&[client(0x82, bytes)]), [Seen::Message(op::BINARY, bytes.into())]);
    }
}

#[test]
fn section_10_4_a_message_above_the_limit_is_rejected_with_1009() {
    let half = client(0x02, &vec![0; MAX / 2]);
    assert_violation(&[half.clone(), client(0x80, &vec![0; MAX / 2 + 1])], 1009);
    assert_eq!(receive(&[half, client(0x80, &vec![0; MAX / 2])]).len(), 1);
}

#[test]
fn what_is_not_handled_comes_first_in_the_next_call_and_nothing_is_lost() {
    let mut random = Random(9);
    for limit in [1, 2, 7] {
        let (mut wire, _) = conversation(&mut random, 60, SHORT);
        let whole = events(&Endpoint::new(Extensions::default()), &wire, || usize::MAX);
        let (endpoint, seen) = (Endpoint::new(Extensions::default()), RefCell::new(Vec::<Seen>::new()));
        let see = |event: Event<'_>| seen.borrow_mut().push(event.into());
        wire.push(SPARE);
        while wire.len() > 1 {
            let (before, mut asked) = (wire.len(), 0);
            let stop = || {
                asked += 1;
                asked > limit
            };
            let mut input = Input::new(&mut wire);
            let message = |op, data: Payload<'_>| see(Event::Message { op, data });
            endpoint.receive_until(stop, &mut input, MAX, Instant::now, message, see);
            let left = input.rest().len();
            wire.drain(..before - left);
            assert!(left < before && wire.ends_with(&[SPARE]));
        }
        assert_eq!(seen.into_inner(), whole);
    }
}

#[test]
fn the_end_of_the_connection_leaves_nothing_to_handle() {
    let endpoint = Endpoint::new(Extensions::default());
    let mut wire = [client(0x81, b"one"), client(0x81, b"two"), client(0x81, b"three"), vec![SPARE]].concat();
    let mut asked = 0;
    let stop = || {
        asked += 1;
        asked > 2
    };
    let mut input = Input::new(&mut wire);
    let fail = |_, _: Payload<'_>| _ = endpoint.fail(1011, "", Instant::now());
    endpoint.receive_until(stop, &mut input, MAX, Instant::now, fail, |_| ());
    assert!(input.is_empty());
}
