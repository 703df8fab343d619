//! What callbacks are called for, in which order, what they are told and what they can do. The plugin says
//! in the log what it sees, so that a whole life can be compared.
#![forbid(unsafe_code)]

mod support;

use support::{Host, Raw, WebSocket, c_plugin_with, frame, path, plugin};
use tungstenite::Message;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;

/// A server whose route `/` reports everything.
fn probe(options: &[&str]) -> Host {
    Host::serve("test-probe", &[&["--route", "/=join,message,leave"], options].concat())
}

/// A server that binds these handlers of the probe to `/`.
fn bound(handlers: &str) -> Host {
    Host::serve("test-probe", &["--route", &format!("/={handlers}"), "--route", "/other=join,message,leave"])
}

/// A client of a `join` handler, and the id that it was told.
fn join(host: &Host) -> (WebSocket, u64) {
    let mut c = host.open("/");
    let id = id(&c.next_text());
    (c, id)
}

/// The same as a bare socket, which reads no more than it is told to.
fn join_raw(host: &Host) -> (Raw, u64) {
    let mut c = host.connect().upgraded("/", &[]);
    let (first, payload) = c.read_frame();
    assert_eq!(first, TEXT);
    let id = id(&String::from_utf8(payload).expect("a text is UTF-8"));
    (c, id)
}

fn id(greeting: &str) -> u64 {
    greeting.strip_prefix("id ").and_then(|id| id.parse().ok()).expect("`join` greets with the id")
}

/// All that the plugin has seen of that connection. Waits for the last of it, and ends the server, so that
/// anything after the last would be seen too.
#[track_caller]
fn life(mut host: Host, id: u64) -> Vec<String> {
    host.log_line(&format!("#{id} drop"));
    assert!(host.terminate().success());
    seen(&host, id)
}

/// What the plugin has seen of that connection so far.
fn seen(host: &Host, id: u64) -> Vec<String> {
    let mark = format!("plugin `probe`: #{id} ");
    host.log().lines().filter_map(|line| Some(line.split_once(&mark)?.1.to_owned())).collect()
}

/// `file:line` of the probe's source where that text stands.
fn place(text: &str) -> String {
    let source = include_str!("plugins/probe/src/lib.rs");
    let line = source.lines().position(|line| line.contains(text)).expect("the text is in the source") + 1;
    format!("tests/plugins/probe/src/lib.rs:{line}")
}

#[test]
fn a_connection_is_seen_from_onconnect_over_its_messages_to_ondisconnect() {
    let host = probe(&[]);
    let (mut c, id) = join(&host);
    c.text("one");
    c.binary(&[2, 3]);
    c.text("");
    assert_eq!((c.next_text(), c.next_binary(), c.next_text()), ("one".into(), vec![2, 3], "".into()));
    assert_eq!(c.close(4001, "bye"), Some((4001, "bye".to_owned())));
    assert_eq!(
        life(host, id),
        [
            "connect",
            "message Text(\"one\")",
            "message Binary([2, 3])",
            "message Text(\"\")",
            "disconnect 4001 \"bye\" by Client",
            "drop"
        ]
    );
}

#[test]
fn messages_that_come_in_one_write_with_the_request_come_after_onconnect() {
    let host = probe(&[]);
    let mut c = host.connect();
    let request = "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\
                   \r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    c.send([request.as_bytes(), &frame(TEXT, b"early"), &frame(CLOSE, b"")].concat());
    assert_eq!(c.read_answer(false).status, 101);
    let id = id(&String::from_utf8(c.read_frame().1).expect("a text is UTF-8"));
    assert_eq!(c.read_frame(), (TEXT, b"early".to_vec()));
    assert_eq!(c.read_frame(), (CLOSE, Vec::new()));
    assert_eq!(c.read_to_end(), b"");
    drop(c);
    assert_eq!(life(host, id), ["connect", "message Text(\"early\")", "disconnect 1005 \"\" by Client", "drop"]);
}

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
    assert_eq!(life(host, id), ["connect", "message Text(\"one\")", "disconnect 1006 \"\" by Client", "drop"]);
}

#[test]
fn an_end_of_the_stream_without_a_close_is_1006_and_what_came_before_it_is_delivered() {
    let host = probe(&[]);
    let (mut c, id) = join(&host);
    c.text("last words");
    c.half_close();
    assert_eq!(c.next_text(), "last words");
    c.dropped();
    assert_eq!(life(host, id), ["connect", "message Text(\"last words\")", "disconnect 1006 \"\" by Client", "drop"]);
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
fn a_violation_is_told_to_both_sides() {
    let host = probe(&["--max-message", "1000"]);
    for (first, payload, code) in [(0xc1, &b"x"[..], 1002), (TEXT, b"\xff", 1007), (BINARY, &[0; 1001], 1009)] {
        let (mut c, id) = join(&host);
        c.send_frame(first, payload);
        let (told, reason) = c.closed().expect("a violation has a code");
        assert_eq!(told, code);
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
        assert_eq!(seen(&host, id), ["connect", "disconnect 1001 \"server is shutting down\" by Server", "drop"]);
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

    // It reads again, just to see why.
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

#[test]
fn ids_are_never_used_twice() {
    let host = probe(&[]);
    let (first, first_id) = join(&host);
    first.close(1000, "");
    host.log_line(&format!("#{first_id} drop"));
    let clients: Vec<_> = (0..20).map(|_| join(&host)).collect();
    let mut ids: Vec<u64> = clients.iter().map(|(_, id)| *id).chain([first_id]).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 21);
    for (mut c, id) in clients {
        assert_eq!(c.ask("data"), format!("Some({id}), as another type None"));
    }
}

#[test]
fn a_connection_tells_peer_path_query_and_headers_of_its_request() {
    let host = Host::serve("test-probe", &["--route", "/a%20b/*=,message,"]);
    let headers = [("X-Tag", "one"), ("x-tag", "two"), ("X-Empty", "")];
    let mut c = host.connect().upgrade("/a%20b/c?d=e%20f&g?", &headers);
    let peer = c.address();
    assert_eq!(
        c.ask("describe"),
        format!(
            "peer {peer}\npath /a%20b/c\nquery d=e%20f&g?\ncode 0 \"\" by None\nX-TAG Some(\"one\")\nx-none None\n\
             x-tag: one\nx-tag: two\nx-empty: \n"
        )
    );
}

#[test]
fn headers_that_are_not_utf_8_come_as_bytes() {
    let host = Host::serve("test-probe", &["--route", "/=,message,"]);
    let mut c = host.connect();
    c.send(b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
    c.send(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Tag: caf\xe9\r\n\r\n");
    assert_eq!(c.read_answer(false).status, 101);
    c.send_frame(TEXT, b"describe");
    let text = String::from_utf8(c.read_frame().1).expect("a text is UTF-8");
    assert!(text.ends_with("path /\nquery \ncode 0 \"\" by None\nX-TAG None\nx-none None\nx-tag: caf\\xe9\n"), "{text}");
}

#[test]
fn data_is_dropped_once_also_without_an_ondisconnect_handler() {
    let host = bound("join,message,");
    let (mut c, id) = join(&host);
    assert_eq!(c.ask("data"), format!("Some({id}), as another type None"));
    c.close(1000, "");
    assert_eq!(life(host, id), ["connect", "message Text(\"data\")", "drop"]);
}

#[test]
fn data_is_dropped_once_when_handlers_of_several_plugins_are_bound() {
    let (probe, echo) = (plugin("test-probe"), plugin("echo"));
    let host = Host::start(&["serve", path(&echo), path(&probe), "--route", "/=join,echo:onmessage,leave"]);
    let (mut c, id) = join(&host);
    assert_eq!(c.ask("panic"), "panic", "the echo answers");
    c.close(1000, "");
    assert_eq!(life(host, id), ["connect", "disconnect 1000 \"\" by Client", "drop"]);
}

#[test]
fn data_can_be_set_only_once() {
    let host = probe(&[]);
    let (mut c, id) = join(&host);
    c.text("again");
    assert_eq!(c.closed(), Some((1011, "handler failed".to_owned())));
    host.log_line(&format!(
        "onmessage handler `message` failed: panicked: connection {id} has data already: it is set once, put a Cell or \
         RefCell in ("
    ));
    assert_eq!(life(host, id).last().map(String::as_str), Some("drop"));
}

#[test]
fn data_whose_drop_panics_costs_a_log_line() {
    let host = bound("join,message,leave");
    let mut c = host.open("/?fatal");
    let id = id(&c.next_text());
    c.close(1000, "");
    let place = place("drop panics");
    host.log_line(&format!(
        "ERROR worker 0: plugin `probe`: the data of connection {id} cannot be dropped: panicked: drop panics ({place})"
    ));
    assert_eq!(life(host, id), ["connect", "disconnect 1000 \"\" by Client", "drop"]);
}

#[test]
fn a_send_tells_what_became_of_it() {
    let host = probe(&["--max-message", "4096"]);
    let (mut c, _) = join(&host);
    assert_eq!(c.ask("statuses"), "x");
    let bad = ["BadArgument"; 7].join(", ");
    assert_eq!(c.next_text(), format!("Sent TooLarge TooLarge TooLarge [{bad}]"));
}

#[test]
fn a_send_to_a_slow_client_says_that_it_is_queued() {
    let host = probe(&["--high-water", "16KiB", "--max-backlog", "1GiB"]);
    let (mut c, id) = join_raw(&host);
    c.send_frame(TEXT, b"fill");
    host.log_line(&format!("#{id} filled Queued"));
}

#[test]
fn a_plugin_in_c_is_told_what_was_wrong() {
    let library = c_plugin_with("statuses.c", &["-D_POSIX_C_SOURCE=200809L"]);
    let host = Host::start(&["serve", path(&library), "--max-message", "4096", "--route", "/=join,message,"]);
    let mut c = host.open("/?its-data");
    c.text("try");
    for expected in [
        "op 8 -3",
        "bad UTF-8 -4",
        "cut UTF-8 -4",
        "too large -2",
        "large ping -2",
        "no data -5",
        "no connection -5",
        "broadcast op -3",
        "broadcast UTF-8 -4",
        "broadcast large -2",
        "broadcast scope 0 -5",
        "broadcast scope 3 -5",
        "close UTF-8 -4",
        "close code -5",
        "find 1",
        "extension 1",
        "in callback 1",
        "header 1",
        "",
        "empty 0",
        "its-data",
    ] {
        assert_eq!(c.next_text(), expected);
    }
    c.text("fail");
    assert_eq!(c.closed(), Some((1011, "handler failed".to_owned())));
    host.log_line("onmessage handler `message` failed: it fails (statuses.c:7); closing connection");
    host.log_line(": release its-data");
}

#[test]
fn a_broadcast_reaches_everyone_but_its_source() {
    let host = probe(&[]);
    let (mut source, mut others) = (join(&host).0, [join(&host).0, join(&host).0]);
    join(&host).0.close(1000, "");
    for command in ["others", "others-global"] {
        source.text(&format!("{command} news by {command}"));
        others.iter_mut().for_each(|other| assert_eq!(other.next_text(), format!("news by {command}")));
        assert_eq!(source.ask("fence"), "fence", "nothing came before");
    }
    others.iter_mut().for_each(|other| assert_eq!(other.ask("fence"), "fence", "nothing came twice"));
}

#[test]
fn a_broadcast_without_a_source_reaches_everyone() {
    let host = probe(&[]);
    let mut clients = [join(&host).0, join(&host).0, join(&host).0];
    for command in ["all", "all-global"] {
        clients[0].text(&format!("{command} news by {command}"));
        clients.iter_mut().for_each(|client| assert_eq!(client.next_text(), format!("news by {command}")));
    }
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("fence"), "fence", "nothing came twice"));
}

#[test]
fn a_plugin_can_ping_and_pong_and_its_answers_are_no_messages() {
    let host = probe(&[]);
    let (mut c, id) = join(&host);
    c.text("ping are you there");
    assert_eq!(c.next(), Message::Ping("are you there".into()));
    c.text("pong i am");
    assert_eq!(c.next(), Message::Pong("i am".into()));
    c.close(1000, "");
    let life = life(host, id);
    assert_eq!(life[1..3], ["message Text(\"ping are you there\")", "message Text(\"pong i am\")"]);
    assert_eq!(life.len(), 5, "{life:?}");
}

#[test]
fn a_connection_is_found_by_its_id_while_it_is_open() {
    let host = probe(&[]);
    let ((mut a, a_id), (mut b, b_id)) = (join(&host), join(&host));
    assert_eq!(a.ask(&format!("to {b_id} hello")), format!("Some(({b_id}, Sent))"));
    assert_eq!(b.next_text(), "hello");
    assert_eq!(a.ask(&format!("to {a_id} myself")), "myself");
    assert_eq!(a.next_text(), format!("Some(({a_id}, Sent))"));
    b.close(1000, "");
    host.log_line(&format!("#{b_id} drop"));
    for nobody in [b_id, 0, u64::MAX] {
        assert_eq!(a.ask(&format!("to {nobody} hello")), "None");
    }
}

#[test]
fn another_thread_may_log_and_nothing_else() {
    let host = probe(&[]);
    let (mut c, id) = join(&host);
    assert_eq!(c.ask("thread"), "(None, NoHost)");
    host.log_line(&format!("plugin `probe`: #{id} from a thread"));
    assert_eq!(c.ask("fence"), "fence", "nothing was broadcast");
}

#[test]
fn a_failing_onmessage_ends_its_connection_with_1011_and_no_other() {
    let host = probe(&[]);
    let (mut other, other_id) = join(&host);
    for (command, reason) in [
        ("panic", format!("panicked: message panics ({})", place("\"message panics\""))),
        ("fail", "message fails".to_owned()),
    ] {
        let (mut c, id) = join(&host);
        let peer = c.address();
        c.send_raw([frame(TEXT, command.as_bytes()), frame(TEXT, b"late")].concat());
        assert_eq!(c.closed(), Some((1011, "handler failed".to_owned())));
        host.log_line(&format!(
            "ERROR worker 0: plugin `probe`: onmessage handler `message` failed: {reason}; closing connection {id} \
             ({peer}) with 1011"
        ));
        host.log_line(&format!("#{id} drop"));
        let message = format!("message Text({command:?})");
        assert_eq!(seen(&host, id), ["connect", &message, "disconnect 1011 \"handler failed\" by Server", "drop"]);
        assert_eq!(other.ask("still here"), "still here");
    }
    other.close(1000, "");
    assert_eq!(life(host, other_id).len(), 5);
}

#[test]
fn a_failing_onconnect_ends_its_connection_with_1011_and_ondisconnect_is_called() {
    for (handler, reason) in [
        ("join_panics", format!("panicked: connect panics ({})", place("connect panics"))),
        ("join_fails", "connect fails".to_owned()),
    ] {
        let host = bound(&format!("{handler},message,leave"));
        let mut other = host.open("/other");
        assert!(other.next_text().starts_with("id "));
        let c = host.open("/");
        let peer = c.address();
        assert_eq!(c.closed(), Some((1011, "handler failed".to_owned())));
        let line = host.log_line(&format!("ERROR worker 0: plugin `probe`: onconnect handler `{handler}` failed: {reason}"));
        assert!(line.ends_with(&format!(" ({peer}) with 1011")), "{line}");
        host.log_line("disconnect 1011 \"handler failed\" by Server, no data");
        assert_eq!(other.ask("still here"), "still here");
    }
}

#[test]
fn a_failing_ondisconnect_costs_a_log_line() {
    for (handler, reason) in [
        ("leave_panics", format!("panicked: disconnect panics ({})", place("disconnect panics"))),
        ("leave_fails", "disconnect fails".to_owned()),
    ] {
        let host = bound(&format!("join,message,{handler}"));
        let mut other = host.open("/other");
        assert!(other.next_text().starts_with("id "));
        let (c, id) = join(&host);
        let peer = c.address();
        assert_eq!(c.close(1000, "bye"), Some((1000, "bye".to_owned())));
        host.log_line(&format!(
            "ERROR worker 0: plugin `probe`: ondisconnect handler `{handler}` failed: {reason}; connection {id} ({peer}) \
             has ended already"
        ));
        host.log_line(&format!("#{id} drop"));
        assert_eq!(other.ask("still here"), "still here");
        other.close(1000, "");
        assert_eq!(life(host, id), ["connect", "drop"]);
    }
}

#[test]
fn a_failing_onrequest_is_a_500_and_the_connection_can_be_used_on() {
    let host = Host::serve("test-probe", &["--route", "/*=page"]);
    let mut c = host.connect();
    let peer = c.address();
    for (path, reason) in [
        ("/panic", format!("panicked: request panics ({})", place("request panics"))),
        ("/fail", "request fails".to_owned()),
    ] {
        let answer = c.request("GET", path, &[], b"");
        assert_eq!((answer.status, answer.text()), (500, "the handler failed\n"));
        host.log_line(&format!(
            "ERROR worker 0: plugin `probe`: onrequest handler `page` failed: {reason} (500 for GET {path} from {peer}, \
             route `/*`)"
        ));
        assert_eq!(c.request("GET", "/next", &[], b"").text(), "/next");
    }
}
