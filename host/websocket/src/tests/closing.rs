//! The closing handshake: the rules of RFC 6455 section 7, and those between an endpoint and its handler.

use std::cell::Cell;
use std::time::Duration;

use super::endpoint::*;
use super::*;

#[test]
fn section_7_1_2_our_close_carries_code_and_reason_and_waits_for_the_clients() {
    let (endpoint, now) = (open(), Instant::now());
    let frame = endpoint.close(4001, "Grüße", now).unwrap().unwrap();
    assert_eq!(server_frame(&frame), close(4001, "Grüße"));
    assert_eq!(endpoint.state(), State::Closing);
    assert_eq!(endpoint.close(1000, "again", now), Ok(None));
    assert_eq!(events(&endpoint, &client_close(4001, ""), || 1), []);
    assert_eq!(endpoint.state(), State::Closed);
    assert_ending(&endpoint, 4001, "Grüße", Initiator::Server);
}

#[test]
fn section_7_1_2_our_close_may_have_no_code() {
    let endpoint = open();
    let frame = endpoint.close(0, "ignored", Instant::now()).unwrap().unwrap();
    assert_eq!(frame, [0x88, 0]);
    assert_ending(&endpoint, NO_CODE, "", Initiator::Server);
}

#[test]
fn section_7_1_4_both_sides_may_close_at_once() {
    // The client's Close was sent before ours arrived: it has its own code and is not answered.
    let endpoint = open();
    endpoint.close(1001, "restart", Instant::now()).unwrap().unwrap();
    assert_eq!(events(&endpoint, &client_close(4000, "done"), || 1), []);
    assert_eq!(endpoint.state(), State::Closed);
    assert_ending(&endpoint, 1001, "restart", Initiator::Server);
}

#[test]
fn section_7_1_5_the_close_code_is_the_clients_or_1005_or_1006() {
    for (wire, code, reason) in [
        (client_close(4000, "Grüße"), 4000, "Grüße"),
        (client(0x88, b""), NO_CODE, ""),
        (client(0x81, b"no Close"), NO_CLOSE, ""),
    ] {
        let endpoint = open();
        events(&endpoint, &wire, || 1);
        endpoint.abort(Instant::now());
        assert_ending(&endpoint, code, reason, Initiator::Client);
        assert_eq!(endpoint.state(), State::Closed);
    }
}

#[test]
fn section_7_1_6_a_reason_is_truncated_between_characters_and_ends_before_a_nul() {
    for (reason, sent, kept) in [
        ("ü".repeat(100), "ü".repeat(61), "ü".repeat(61)),
        ("𝄞".repeat(31), "𝄞".repeat(30), "𝄞".repeat(30)),
        ("r".repeat(124), "r".repeat(123), "r".repeat(123)),
        ("a\0b".into(), "a\0b".into(), "a".into()),
        ("\0".into(), "\0".into(), String::new()),
    ] {
        let (ours, failed, theirs) = (open(), open(), open());
        let frame = ours.close(1000, &reason, Instant::now()).unwrap().unwrap();
        assert_eq!(server_frame(&frame), close(1000, &sent));
        assert_ending(&ours, 1000, &kept, Initiator::Server);
        let frame = failed.fail(1011, &reason, Instant::now()).unwrap();
        assert_eq!(server_frame(&frame), close(1011, &sent));
        assert_ending(&failed, 1011, &kept, Initiator::Server);
        assert_eq!(events(&theirs, &client_close(1000, &sent), || 1), [close(1000, &sent)]);
        assert_ending(&theirs, 1000, &kept, Initiator::Client);
    }
}

/// What may arrive after an endpoint has closed: all kinds of frames, and the beginning of one more.
fn all_kinds() -> Vec<u8> {
    let frames = [client(0x81, b"text"), client(0x89, b"ping"), client(0x8a, b"pong"), client(0x01, b"part")];
    let violation = [client(0x81, b"new message inside a fragmented one")];
    [&frames[..], &violation, &[client_close(1000, "")], &frames].concat().concat()
}

#[test]
fn section_7_1_7_a_failed_or_lost_connection_receives_and_sends_nothing() {
    let fail = |endpoint: &Endpoint| assert!(endpoint.fail(1011, "", Instant::now()).is_some());
    let abort = |endpoint: &Endpoint| endpoint.abort(Instant::now());
    let ends: [&dyn Fn(&Endpoint); 2] = [&fail, &abort];
    for end in ends {
        for length in [1, 7, usize::MAX] {
            let endpoint = open();
            events(&endpoint, &client(0x02, &[0; 1000])[..900], || length);
            end(&endpoint);
            assert_eq!(endpoint.receiver.borrow().held_bytes(), 0);
            assert_eq!(events(&endpoint, &all_kinds(), || length), []);
            assert_eq!(endpoint.close(1000, "", Instant::now()), Ok(None));
            assert_eq!(endpoint.fail(1011, "", Instant::now()), None);
            assert_eq!(endpoint.state(), State::Closed);
        }
        // Inside a message, while `receive` runs.
        let (endpoint, mut seen) = (open(), Vec::new());
        let incomplete = &client(0x02, &[0; 1000])[..900];
        let wire = [&client(0x81, b"first"), &client(0x8a, b"pong"), incomplete].concat();
        feed(&endpoint, &wire, MAX, Instant::now, |event| {
            seen.push(Seen::from(event));
            end(&endpoint);
        });
        assert_eq!(seen, [text("first")]);
        assert_eq!(endpoint.receiver.borrow().held_bytes(), 0);
        assert_eq!(events(&endpoint, &all_kinds(), || 3), []);
    }
}

#[test]
fn section_7_1_7_a_violation_frees_what_is_held() {
    for length in [10, usize::MAX] {
        let endpoint = open();
        events(&endpoint, &[client(0x02, &[0; 1000]), client(0x8f, b"")].concat(), || length);
        assert_eq!(endpoint.receiver.borrow().held_bytes(), 0);
    }
}

#[test]
fn section_7_4_close_sends_only_codes_that_may_be_sent() {
    for code in 1..=u16::MAX {
        let endpoint = open();
        match endpoint.close(code, "", Instant::now()) {
            Ok(frame) => assert_eq!(server_frame(&frame.unwrap()), close(code, "")),
            Err(ForbiddenCode) => {
                assert!(endpoint.is_open() && endpoint.ending().is_none());
                assert_eq!(events(&endpoint, &client(0x81, b"x"), || 9), [text("x")]);
            }
        }
        assert_eq!(endpoint.is_open(), !close_code_allowed(code));
    }
}

#[test]
fn section_7_4_a_close_with_a_reserved_code_fails_the_connection() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        assert_violation(&[client_close(code, "")], 1002);
    }
}

#[test]
fn messages_after_our_close_are_discarded_but_violations_are_noticed() {
    let closing = |endpoint: &Endpoint| drop(endpoint.close(1000, "", Instant::now()));
    let messages = [client(0x81, b"x"), client(0x02, b"y"), client(0x80, b"z")];
    assert_eq!(receive_after(closing, &messages), []);
    for (violation, code) in [
        (client(0x83, b""), 1002),
        (client(0x81, b"\xff"), 1007),
        (client(0x82, &vec![0; MAX + 1]), 1009),
        (client_close(1005, ""), 1002),
    ] {
        let endpoint = open();
        closing(&endpoint);
        let wire = [&messages[..], &[violation], &messages].concat().concat();
        assert_eq!(events(&endpoint, &wire, || 1), [Seen::Violation(code)]);
        assert_eq!(endpoint.state(), State::Closed);
        assert_ending(&endpoint, 1000, "", Initiator::Server);
    }
}

#[test]
fn a_handler_that_closes_inside_a_message_gets_none_of_the_messages_that_follow() {
    let wire = [client(0x81, b"1"), client(0x89, b"a"), client(0x81, b"2"), client(0x89, b"b")].concat();
    let wire = [wire, client(0x81, b"3"), client_close(1000, "")].concat();
    for length in [1, 10, usize::MAX] {
        let (endpoint, mut seen) = (open(), Vec::new());
        for piece in wire.chunks(length) {
            feed(&endpoint, piece, MAX, Instant::now, |event| {
                let ours = matches!(&event, Event::Message { data, .. } if **data == *b"2")
                    .then(|| endpoint.close(4000, "enough", Instant::now()).unwrap().unwrap());
                seen.push(Seen::from(event));
                seen.extend(ours.map(|frame| server_frame(&frame)));
            });
        }
        assert_eq!(seen, [text("1"), pong(b"a"), text("2"), close(4000, "enough")]);
        assert_eq!(endpoint.state(), State::Closed);
        assert_ending(&endpoint, 4000, "enough", Initiator::Server);
    }
}

#[test]
fn a_handler_that_closes_while_a_close_is_sent_writes_no_second_close() {
    for (wire, code) in [(client_close(4000, ""), 4000), (client(0x83, b""), 1002)] {
        let endpoint = open();
        let mut sent = 0;
        feed(&endpoint, &wire, MAX, Instant::now, |event| {
            sent += usize::from(matches!(event, Event::Send(_)));
            assert_eq!(endpoint.close(1000, "", Instant::now()), Ok(None));
            assert_eq!(endpoint.fail(1011, "", Instant::now()), None);
            endpoint.abort(Instant::now());
        });
        assert_eq!((sent, endpoint.ending().unwrap().code), (1, code));
    }
}

#[test]
fn the_first_ending_counts() {
    type End<'a> = &'a dyn Fn(&Endpoint, Instant);
    let ends: [(u16, End<'_>); 5] = [
        (4001, &|endpoint, now| drop(endpoint.close(4001, "", now))),
        (1011, &|endpoint, now| drop(endpoint.fail(1011, "", now))),
        (NO_CLOSE, &|endpoint, now| endpoint.abort(now)),
        (4000, &|endpoint, now| feed(endpoint, &client_close(4000, ""), MAX, || now, |_| ())),
        (1002, &|endpoint, now| feed(endpoint, &client(0x83, b""), MAX, || now, |_| ())),
    ];
    let start = Instant::now();
    for (code, first) in ends {
        for (_, second) in ends {
            let endpoint = open();
            assert!(endpoint.ending().is_none() && endpoint.deadline(Duration::ZERO).is_none());
            first(&endpoint, start);
            second(&endpoint, start + Duration::from_secs(1));
            assert_eq!(endpoint.ending().unwrap().code, code);
            assert_eq!(endpoint.deadline(Duration::from_secs(5)), Some(start + Duration::from_secs(5)));
            assert_eq!(endpoint.deadline(Duration::MAX), None);
        }
    }
}

#[test]
fn the_clock_is_read_only_when_the_connection_ends() {
    let (endpoint, reads) = (open(), Cell::new(0));
    let now = || {
        reads.set(reads.get() + 1);
        Instant::now()
    };
    for (wire, expected) in [
        (client(0x81, b"x"), 0),
        (client(0x89, b"x"), 0),
        (client(0x01, b"x"), 0),
        (client_close(1000, ""), 1),
        (client_close(1000, ""), 1),
    ] {
        feed(&endpoint, &wire, MAX, now, |_| ());
        assert_eq!(reads.get(), expected);
    }
}
