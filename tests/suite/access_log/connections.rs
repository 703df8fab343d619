//! Records of connections, which are written when they end.

use std::fs;

use serde_json::{Value, json};

use super::{Logged, lines};
use crate::support::{
    Authority, Host, PING, Reloading, TEXT, Trust, c_plugin, empty_folder, eventually, path, plugin, scratch,
    serve_crash, worker_of,
};

const ROUTES: &str = "access_log_format = 'json'
[[route]]
path = '/echo'
onmessage = 'echo:onmessage'
[[route]]
path = '/note'
onmessage = 'note'
ondisconnect = 'left'
[[route]]
path = '/socket'
handler = 'socket'
";

/// Bytes of a client's frame with so much payload, and of a server's.
const fn masked(payload: u64) -> u64 {
    payload + if payload > 125 { 8 } else { 6 }
}

const fn framed(payload: u64) -> u64 {
    payload + if payload > 125 { 4 } else { 2 }
}

fn close(record: &Value) -> (u64, &str, &str) {
    let connection = &record["connection"];
    let text = |name: &str| connection[name].as_str().expect("a text");
    (connection["close"].as_u64().expect("a number"), text("by"), text("reason"))
}

fn traffic(record: &Value) -> [u64; 4] {
    ["messages_in", "bytes_in", "messages_out", "bytes_out"]
        .map(|name| record["connection"][name].as_u64().expect("a number"))
}

#[test]
fn a_connection_is_one_record_when_it_ends_with_messages_and_bytes_of_both_directions() {
    let logged = Logged::serve("access-log-connection", ROUTES, &[]);
    let client = logged.host.connect();
    let peer = client.address();
    let mut c = client.upgrade("/echo?room=7", &[("Origin", "http://test")]);
    let large = "x".repeat(1000);
    for text in ["hello", "", &large] {
        assert_eq!(c.ask(text), text);
    }
    // In three frames with a Ping between them: one message.
    c.send_frame(0x01, b"a");
    c.send_frame(PING, b"ping");
    c.send_frame(0x00, b"b");
    c.send_frame(0x80, b"c");
    c.next();
    assert_eq!(c.next_text(), "abc");
    assert_eq!(fs::read_to_string(&logged.file).unwrap_or_default(), "", "it has not ended");
    c.close(4001, "good \"bye\"");
    let record = logged.records(1).remove(0);
    let found = ["status", "method", "target", "route", "handler", "peer"].map(|name| record[name].clone());
    let wanted = [
        json!(101),
        "GET".into(),
        "/echo?room=7".into(),
        "/echo".into(),
        "echo:onmessage".into(),
        peer.into(),
    ];
    assert_eq!(found, wanted, "{record}");
    assert_eq!(close(&record), (4001, "client", "good \"bye\""));
    let closes = [masked(2 + 10), framed(2 + 10)];
    let received = masked(5) + masked(0) + masked(1000) + 3 * masked(1) + masked(4) + closes[0];
    let sent = framed(5) + framed(0) + framed(1000) + framed(3) + framed(4) + closes[1];
    assert_eq!(traffic(&record), [4, received, 4, sent], "{record}");
    assert_eq!(record["bytes"], sent);
    assert_eq!(record["connection"]["id"], 1);
    assert!(record["duration"].as_f64().is_some_and(|duration| duration > 0.0));
}

#[test]
fn every_way_to_end_is_recorded() {
    let logged = Logged::serve("access-log-ends", ROUTES, &[]);
    let mut ended = 0;
    let mut next = || {
        ended += 1;
        logged.records(ended).pop().expect("there is one")
    };
    // The handler closes; of a handshake the record has the onrequest handler.
    let mut c = logged.host.open("/socket");
    c.text("close");
    assert_eq!(c.closed(), Some((4000, "as you wish".to_owned())));
    let record = next();
    assert_eq!(
        (close(&record), &record["handler"]),
        ((4000, "server", "as you wish"), &json!("requests:socket"))
    );
    assert_eq!(traffic(&record)[..1], [1]);
    // The client is gone.
    logged.host.open("/note").reset();
    assert_eq!(close(&next()), (1006, "client", ""));
    // It breaks the protocol.
    let mut raw = logged.host.connect().upgraded("/note", &[]);
    raw.send_frame(TEXT, b"\xff");
    raw.read_to_eof();
    drop(raw);
    let record = next();
    assert_eq!((close(&record).0, close(&record).1), (1007, "server"));
    // Without a message.
    assert_eq!(logged.host.open("/note").close(1000, ""), Some((1000, String::new())));
    let record = next();
    assert_eq!((close(&record), traffic(&record)), ((1000, "client", ""), [0, masked(2), 0, framed(2)]));
}

#[test]
fn bytes_that_come_with_the_request_count() {
    let logged = Logged::serve("access-log-early-bytes", ROUTES, &[]);
    let mut raw = logged.host.connect();
    let request = "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut bytes = request.as_bytes().to_vec();
    bytes.extend(crate::support::frame(TEXT, b"early"));
    raw.send(&bytes);
    assert_eq!(raw.read_answer(false).status, 101);
    assert_eq!(raw.read_frame().1, b"early");
    raw.reset();
    assert_eq!(traffic(&logged.records(1)[0]), [1, masked(5), 1, framed(5)]);
}

#[test]
fn over_tls_bytes_are_those_of_the_frames() {
    let authority = Authority::new("Access log");
    let files = authority.issue(&["localhost"]).write(&empty_folder("access-log-pem"), "server");
    let config = format!(
        "listen = [{{ address = '127.0.0.1:0', tls = {{ certificate = {:?}, key = {:?} }} }}]\n{ROUTES}",
        path(&files.certificate),
        path(&files.key)
    );
    let logged = Logged::serve_as_configured("access-log-wss", &config);
    let before = "listening on https://127.0.0.1:";
    let line = logged.host.stdout_line(before);
    let port = line.strip_prefix(before).and_then(|rest| rest.trim_end_matches('/').parse().ok());
    let mut c = Trust::of(&authority).open(port.expect("a port"), "/echo");
    c.send(tungstenite::Message::text("hello")).expect("it is read");
    assert_eq!(c.read().expect("an echo").into_text().expect("it is text").as_str(), "hello");
    c.close(None).expect("it is read");
    while c.read().is_ok() {}
    assert_eq!(traffic(&logged.records(1)[0]), [1, masked(5) + masked(0), 1, framed(5) + framed(0)]);
}

#[test]
fn a_drain_records_the_connections_that_it_closes() {
    for workers in ["0", "2"] {
        let mut logged =
            Logged::serve(&format!("access-log-drain-{workers}"), ROUTES, &["--workers", workers]);
        let clients: Vec<_> = (0..5).map(|_| logged.host.open("/echo")).collect();
        let closing = clients.into_iter().map(|c| std::thread::spawn(move || c.closed())).collect::<Vec<_>>();
        assert!(logged.host.terminate().success());
        closing
            .into_iter()
            .for_each(|c| assert!(c.join().is_ok_and(|close| close.is_some_and(|it| it.0 == 1001))));
        // The server has ended, so nothing more is written.
        let text = fs::read_to_string(&logged.file).expect("it was created");
        assert_eq!(text.lines().count(), 5, "{text}");
        for line in text.lines() {
            let record: Value = serde_json::from_str(line).expect("it is JSON");
            assert_eq!((close(&record).0, close(&record).1), (1001, "server"));
        }
    }
}

#[test]
fn counters_survive_a_reload() {
    let file = scratch("access-log-reload.log");
    let _ = fs::remove_file(&file);
    let reloading = Reloading::serve(
        &plugin("test-state"),
        &["--access-log", path(&file), "--access-log-format", "json", "--log", "debug"],
    );
    let mut c = reloading.host.open("/");
    let greeting = c.next_text().len() as u64;
    let first = c.ask("print a").len() as u64;
    reloading.reload_again().expect("it is reloaded");
    let second = c.ask("print b").len() as u64;
    c.close(1000, "");
    let record: Value = serde_json::from_str(&lines(&file, 1)[0]).expect("it is JSON");
    let sent = [greeting, first, second].map(framed).iter().sum::<u64>() + framed(2);
    assert_eq!(traffic(&record), [2, 2 * masked(7) + masked(2), 3, sent], "{record}");
}

#[test]
fn a_worker_that_dies_loses_the_lines_of_a_moment_and_no_more() {
    let file = scratch("access-log-crash.log");
    let _ = fs::remove_file(&file);
    let host = serve_crash(2, &["--access-log", path(&file)]);
    let request = |times| {
        let mut client = host.connect();
        (0..times).for_each(|_| _ = client.request("GET", "/", &[], b""));
    };
    request(10);
    lines(&file, 10);
    let mut c = host.open("/");
    worker_of(&mut c).signal(rustix::process::Signal::KILL);
    c.dropped();
    host.workers_serve(3);
    // The next worker records, too.
    eventually("all workers have served", || {
        request(1);
        fs::read_to_string(&file).is_ok_and(|text| text.lines().count() > 20)
    });
    let text = fs::read_to_string(&file).expect("it is there");
    assert!(
        text.lines().all(|line| line.starts_with("127.0.0.1 - - [") && line.contains(" time=")),
        "{text}"
    );
}

#[test]
fn without_an_access_log_nothing_is_recorded() {
    let mut host = Host::start(&["serve", path(&plugin("echo"))]);
    assert_eq!(host.open("/").ask("hello"), "hello");
    assert!(host.terminate().success());
    assert!(!host.stdout().contains("HTTP/1.1"), "{}", host.stdout());
    assert!(!host.log().contains("access log"), "{}", host.log());
}

#[test]
fn stdout_has_the_lines_of_all_workers_and_of_plugins() {
    let library = c_plugin("prints.c");
    let mut host = Host::start(&["serve", path(&library), "--access-log", "-", "--workers", "2"]);
    let mut c = host.open("/");
    for n in 0..50 {
        assert_eq!(c.ask(&format!("{n}")), n.to_string());
        assert_eq!(host.connect().request("GET", "/", &[], b"").status, 426);
    }
    let records = |status: &str| {
        let is_record = |line: &&str| line.starts_with("127.0.0.1 - - [") && line.contains(status);
        host.stdout().lines().filter(is_record).count()
    };
    eventually("all responses are recorded", || records("\" 426 ") == 50);
    assert_eq!(host.stdout().matches("\nprinted ").count(), 50);
    c.close(1000, "");
    eventually("the connection is recorded", || records("\" 101 ") == 1);
    assert!(host.terminate().success());
}
