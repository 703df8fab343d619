//! When callbacks are called, in which order, with which arguments, and what they can do. The plugin logs
//! every call, so a test can compare a connection's whole life.

mod ending; // how a connection ends

mod sending; // what a plugin can do with connections

mod failing; // handlers that panic or return an Err

use tungstenite::Message;

use crate::support::{BINARY, CLOSE, Host, Raw, TEXT, WebSocket, c_plugin_with, frame, path, plugin, root};

/// A server whose route `/` logs every callback.
fn probe(options: &[&str]) -> Host {
    Host::serve("test-probe", &[&["--route", "/=join,message,leave"], options].concat())
}

/// A server that binds these handlers of the probe to `/`.
fn bound(handlers: &str) -> Host {
    Host::serve("test-probe", &["--route", &format!("/={handlers}"), "--route", "/other=join,message,leave"])
}

/// A client of a `join` handler, and the id in its greeting.
fn join(host: &Host) -> (WebSocket, u64) {
    let mut c = host.open("/");
    let id = id(&c.next_text());
    (c, id)
}

/// The same over a bare socket, which reads only on request.
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

/// Everything that the plugin logged about this connection. Waits for the last entry, then stops the server,
/// so that later entries would be included.
#[track_caller]
fn life(mut host: Host, id: u64) -> Vec<String> {
    host.log_line(&format!("#{id} drop"));
    assert!(host.terminate().success());
    seen(&host, id)
}

/// What the plugin has logged about this connection so far.
fn seen(host: &Host, id: u64) -> Vec<String> {
    let mark = format!("plugin `probe`: #{id} ");
    host.log().lines().filter_map(|line| Some(line.split_once(&mark)?.1.to_owned())).collect()
}

/// `file:line` of this text in the probe's source.
fn place(text: &str) -> String {
    let source = include_str!("../../plugins/probe/src/lib.rs");
    let line = source.lines().position(|line| line.contains(text)).expect("the text is in the source") + 1;
    format!("tests/plugins/probe/src/lib.rs:{line}")
}

#[test]
fn a_connection_calls_onconnect_then_onmessage_then_ondisconnect() {
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
fn messages_sent_together_with_the_request_come_after_onconnect() {
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
    assert_eq!(
        life(host, id),
        ["connect", "message Text(\"early\")", "disconnect 1005 \"\" by Client", "drop"]
    );
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
    assert!(
        text.ends_with("path /\nquery \ncode 0 \"\" by None\nX-TAG None\nx-none None\nx-tag: caf\\xe9\n"),
        "{text}"
    );
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
