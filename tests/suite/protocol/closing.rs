//! The end of a connection: valid and invalid Close frames, who closes first, and what is no longer
//! delivered.

use super::{CLOSE, PING, TEXT, answer, close, each_is_closed_with, echo, expect, expect_closed};
use crate::support::{Host, frame, path, plugin};

#[test]
fn a_close_is_answered_with_its_code_as_of_section_5_5_1() {
    let host = echo();
    for code in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    {
        let mut client = host.upgraded();
        client.send_frame(CLOSE, &close(code, "bis später".as_bytes()));
        expect_closed(&mut client, code, "echoed");
    }
    let mut longest = host.upgraded();
    longest.send_frame(CLOSE, &close(1000, &[b'x'; 123]));
    expect_closed(&mut longest, 1000, "the longest reason");
    let mut bare = host.upgraded();
    bare.send_frame(CLOSE, b"");
    expect(&mut bare, &answer(CLOSE, b""));
    assert_eq!(bare.read_to_eof(), b"");
}

#[test]
fn codes_that_must_not_be_sent_are_refused_as_of_section_7_4() {
    let codes = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    let mut cases: Vec<_> = codes.map(|code| ("a reserved code", frame(CLOSE, &close(code, b"")))).into();
    cases.push(("half a code", frame(CLOSE, &[3])));
    each_is_closed_with(1002, &cases);
}

#[test]
fn the_reason_of_a_close_is_utf_8_as_of_section_5_5_1() {
    let cases = [
        ("no such byte", frame(CLOSE, &close(1000, b"\xff"))),
        ("ends inside a character", frame(CLOSE, &close(1000, b"gr\xc3"))),
    ];
    each_is_closed_with(1007, &cases);
}

/// §7.1.1: the server closes the TCP connection first and holds the TIME_WAIT. Here the client never closes
/// its side.
#[test]
fn the_server_ends_the_stream_first() {
    let host = echo();
    let mut client = host.upgraded();
    client.send_frame(CLOSE, &close(1000, b""));
    expect(&mut client, &answer(CLOSE, &close(1000, b"")));
    assert_eq!(client.read_to_eof(), b"");
    // No reset follows: the server reads until the client closes its side.
    client.send_frame(TEXT, b"too late");
    client.half_close();
    assert_eq!(client.read_to_eof(), b"");
}

/// A server whose handlers log their calls.
fn noting() -> Host {
    let library = plugin("requests");
    Host::start(&["serve", path(&library), "--workers", "1", "--route", "/=,note,left"])
}

#[test]
fn nothing_is_delivered_after_the_clients_close_as_of_section_5_5_1() {
    let host = noting();
    let mut client = host.upgraded();
    client.send([frame(TEXT, b"last"), frame(CLOSE, &close(4321, b"gone")), frame(TEXT, b"after")].concat());
    expect_closed(&mut client, 4321, "the client closes");
    host.log_line("left: 4321 `gone` by Client");
    assert_eq!(host.log_lines("note: ").len(), 1, "{}", host.log());
}

#[test]
fn nothing_is_delivered_after_the_servers_close_as_of_section_5_5_1() {
    let host = noting();
    let mut client = host.upgraded();
    client.send([frame(TEXT, b"close"), frame(TEXT, b"behind")].concat());
    expect(&mut client, &answer(CLOSE, &close(4000, b"as you wish")));
    client.send([frame(TEXT, b"after"), frame(PING, b"after"), frame(CLOSE, &close(4000, b""))].concat());
    assert_eq!(client.read_to_eof(), b"");
    host.log_line("left: 4000 `as you wish` by Server");
    assert_eq!(host.log_lines("note: ").len(), 1, "{}", host.log());
}

/// §7.1.5: 1006 means that no Close was received.
#[test]
fn a_client_that_leaves_inside_a_frame_is_gone_without_its_message() {
    let host = noting();
    let mut client = host.upgraded();
    client.send(&frame(TEXT, b"unfinished")[..9]);
    client.half_close();
    client.read_to_eof();
    host.log_line("left: 1006 `` by Client");
    assert_eq!(host.log_lines("note: "), [""; 0]);
}
