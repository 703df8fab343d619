//! However a connection ends, ondisconnect runs once, last, and with the close code of that end.

use super::*;

#[test]
fn a_close_without_a_code_is_1005() {
    let host = probe(&[]);
    let (mut c, id) = join(&host);
    c.send(Message::Close(None));
    assert_eq!(c.closed(), None);
    assert_eq!(life(host, id), ["connect", "disconnect 1005 \"\" by Client", "drop"]);
}

#[test]
fn a_reset_is_1006() {
    let host = probe(&[]);
    let (mut c, id) = join(&host);
    assert_eq!(c.ask("one"), "one");
    c.reset();
    assert_eq!(
        life(host, id),
        ["connect", "message Text(\"one\")", "disconnect 1006 \"\" by Client", "drop"]
    );
}

#[test]
fn an_end_of_the_stream_without_a_close_is_1006_after_all_messages() {
    let host = probe(&[]);
    let (mut c, id) = join(&host);
    c.text("last words");
    c.half_close();
    assert_eq!(c.next_text(), "last words");
    c.dropped();
    assert_eq!(
        life(host, id),
        ["connect", "message Text(\"last words\")", "disconnect 1006 \"\" by Client", "drop"]
    );
}

#[test]
fn a_close_by_the_plugin_ends_the_conversation_at_once() {
    let host = probe(&[]);
    let (mut c, id) = join(&host);
    c.send_raw([frame(TEXT, b"close 4002 done"), frame(TEXT, b"late")].concat());
    assert_eq!(c.closed(), Some((4002, "done".to_owned())));
    assert_eq!(
        life(host, id),
        [
            "connect",
            "message Text(\"close 4002 done\")",
            "closing Sent Closed Closed",
            "disconnect 4002 \"done\" by Server",
            "drop"
        ]
    );
}

#[test]
fn a_close_by_the_plugin_may_have_no_code() {
    let host = probe(&[]);
    let (mut c, id) = join(&host);
    c.text("close 0 unsaid");
    assert_eq!(c.closed(), None);
    assert_eq!(life(host, id)[3..], ["disconnect 1005 \"\" by Server", "drop"]);
}

#[test]
fn a_long_close_reason_is_cut_between_characters_and_both_sides_see_the_same() {
    let host = probe(&[]);
    let (mut c, id) = join(&host);
    c.text(&format!("close 4000 {}", "é".repeat(100)));
    let cut = "é".repeat(61);
    assert_eq!(c.closed(), Some((4000, cut.clone())));
    assert_eq!(life(host, id)[3..], [format!("disconnect 4000 {cut:?} by Server"), "drop".to_owned()]);
}

#[test]
fn a_client_that_does_not_answer_a_close_is_dropped_and_the_close_counts() {
    let host = probe(&["--close-timeout", "100ms"]);
    let (mut c, id) = join_raw(&host);
    c.send_frame(TEXT, b"close 4003 leave");
    assert_eq!(c.read_frame(), (CLOSE, b"\x0f\xa3leave".to_vec()));
    assert_eq!(c.read_to_end(), b"");
    assert_eq!(life(host, id)[3..], ["disconnect 4003 \"leave\" by Server", "drop"]);
}

#[test]
fn both_sides_see_the_code_of_a_violation() {
    let host = probe(&["--max-message", "1000"]);
    for (first, payload, code) in [(0xc1, &b"x"[..], 1002), (TEXT, b"\xff", 1007), (BINARY, &[0; 1001], 1009)]
    {
        let (mut c, id) = join(&host);
        c.send_frame(first, payload);
        let (found, reason) = c.closed().expect("a violation has a code");
        assert_eq!(found, code);
        assert_ne!(reason, "");
        host.log_line(&format!("#{id} drop"));
        assert_eq!(seen(&host, id), ["connect", &format!("disconnect {code} {reason:?} by Server"), "drop"]);
    }
}

#[test]
fn a_shutdown_closes_every_connection_with_1001_and_exits_with_0() {
    let mut host = probe(&[]);
    let clients = [join(&host), join(&host), join(&host)];
    host.ask_to_stop();
    let ids = clients.map(|(c, id)| {
        assert_eq!(c.closed(), Some((1001, "server is shutting down".to_owned())));
        id
    });
    assert_eq!(host.ended().code(), Some(0));
    for id in ids {
        assert_eq!(
            seen(&host, id),
            ["connect", "disconnect 1001 \"server is shutting down\" by Server", "drop"]
        );
    }
}

#[test]
fn a_client_that_stops_reading_is_closed_with_1013_and_the_others_go_on() {
    let host = probe(&["--max-backlog", "64KiB", "--high-water", "16KiB", "--close-timeout", "60s"]);
    let (mut slow, slow_id) = join_raw(&host);
    let (mut other, _) = join(&host);
    assert_eq!(other.ask(&format!("flood {slow_id}")), "flooded");
    host.log_line(&format!("connection {slow_id} (127.0.0.1:"));
    assert_eq!(other.ask("still here"), "still here");

    // Reads what is left, to find the Close.
    let close = std::iter::repeat_with(|| slow.read_frame()).find(|(first, _)| *first == CLOSE);
    assert_eq!(close, Some((CLOSE, b"\x03\xf5too slow to receive".to_vec())));
    slow.send_frame(CLOSE, b"\x03\xf5");
    assert_eq!(slow.read_to_end(), b"");
    drop(slow);
    other.close(1000, "");
    assert_eq!(life(host, slow_id), ["connect", "disconnect 1013 \"too slow to receive\" by Server", "drop"]);
}

#[test]
fn a_client_that_never_reads_again_is_dropped() {
    let host = probe(&["--max-backlog", "64KiB", "--high-water", "16KiB", "--close-timeout", "100ms"]);
    let (slow, slow_id) = join_raw(&host);
    let (mut other, _) = join(&host);
    assert_eq!(other.ask(&format!("flood {slow_id}")), "flooded");
    host.log_line(&format!("#{slow_id} drop"));
    other.close(1000, "");
    assert_eq!(life(host, slow_id), ["connect", "disconnect 1013 \"too slow to receive\" by Server", "drop"]);
    drop(slow);
}

#[test]
fn onconnect_may_close() {
    let host = bound("join_closes,message,leave");
    let mut c = host.open("/");
    c.text("never heard");
    assert_eq!(c.closed(), Some((4000, "not you".to_owned())));
    host.log_line("disconnect 4000 \"not you\" by Server, no data");
    let (mut other, other_id) = (host.open("/other"), "id ");
    assert!(other.next_text().starts_with(other_id));
    assert_eq!(host.log_lines("never heard").len(), 0);
}

#[test]
fn ondisconnect_can_still_ask_and_no_longer_send() {
    let host = bound("join,message,leave_tries");
    let (c, id) = join(&host);
    c.close(1000, "");
    assert_eq!(life(host, id), ["connect", "disconnect (Closed, Closed, None) / true", "drop"]);
}
