//! Records of responses.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::Logged;
use crate::support::{Authority, Raw, Trust, empty_folder, path};

const ROUTES: &str = "access_log_format = 'json'
http = { max_body = 1000, max_head = '8KiB', origins = 'https://a.example', trusted_proxies = '127.0.0.1' }
[[route]]
path = '/answer/{name}'
handler = 'answer'
[[route]]
path = '/post'
methods = ['POST']
handler = 'answer'
[[route]]
path = '/large'
handler = 'large'
[[route]]
path = '/refuses'
handler = 'refuses'
[[route]]
path = '/ws'
onmessage = 'note'
ondisconnect = 'left'
[[route]]
path = '/static/*'
strip_prefix = '/static'
files = 'public'
";

fn serve(name: &str) -> Logged {
    Logged::serve(name, ROUTES, &[])
}

fn field<'r>(record: &'r Value, name: &str) -> &'r Value {
    record.get(name).unwrap_or(&Value::Null)
}

#[test]
fn each_response_is_a_record_with_route_handler_status_bytes_and_time() {
    let logged = serve("access-log-responses");
    let mut client = logged.host.connect();
    let peer = client.address();
    let mut expected = Vec::new();
    let mut ask = |method: &str, target: &str, body: &[u8], route: Value, handler: Value| {
        let answer = client.request(method, target, &[], body);
        expected.push((
            method.to_owned(),
            target.to_owned(),
            answer.status,
            answer.body.len(),
            route,
            handler,
        ));
    };
    let (answer, none) = ("requests:answer", Value::Null);
    ask("POST", "/answer/a%20b?201", b"hello", json!("/answer/{name}"), json!(answer));
    ask("HEAD", "/answer/x", b"", json!("/answer/{name}"), json!(answer));
    ask("GET", "/answer/x?204", b"", json!("/answer/{name}"), json!(answer));
    ask("GET", "/large?300000", b"", json!("/large"), json!("requests:large"));
    ask("GET", "/refuses", b"", json!("/refuses"), json!("requests:refuses"));
    ask("GET", "/nothing?a=b", b"", none.clone(), none.clone());
    ask("GET", "/post", b"", none.clone(), none.clone());
    ask("GET", "/ws", b"", json!("/ws"), json!("requests:note,requests:left"));
    ask("GET", "/static/a.txt", b"", json!("/static/*"), json!("files"));
    ask("GET", "/static/none", b"", json!("/static/*"), json!("files"));
    let records = logged.records(expected.len());
    for (record, (method, target, status, bytes, route, handler)) in records.iter().zip(expected) {
        let found = ["method", "target", "status", "bytes", "route", "handler", "peer", "version", "host"]
            .map(|name| field(record, name).clone());
        let wanted = [
            json!(method),
            json!(target),
            json!(status),
            json!(bytes),
            route,
            handler,
            json!(peer),
            json!("HTTP/1.1"),
            json!("test"),
        ];
        assert_eq!(found, wanted, "{record}");
        let duration = record["duration"].as_f64().expect("a number");
        assert!((0.0..30.0).contains(&duration), "{record}");
        let time = record["time"].as_str().expect("a text");
        assert!(time.starts_with("20") && time.ends_with('Z') && time.len() == 24, "{record}");
        assert_eq!((record.get("aborted"), record.get("connection")), (None, None), "{record}");
    }
    let statuses: Vec<_> = records.iter().map(|record| record["status"].as_u64().unwrap_or(0)).collect();
    assert_eq!(statuses, [201, 200, 204, 200, 500, 404, 405, 426, 200, 404]);
}

#[test]
fn responses_before_routing_are_recorded_too() {
    let logged = serve("access-log-early");
    for (request, status) in [
        ("GARBAGE\r\n\r\n".to_owned(), 400),
        ("GET /answer/x HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(20_000)), 431),
        ("POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n".to_owned(), 413),
        ("GET /answer/%ff HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n".to_owned(), 400),
    ] {
        let mut client = logged.host.connect();
        let peer = client.address();
        let before = fs::read_to_string(&logged.file).unwrap_or_default().lines().count();
        client.send(&request);
        assert_eq!(client.read_answer(true).status, status);
        client.half_close();
        client.read_to_end();
        let records = logged.records(before + 1);
        let record = &records[before];
        assert_eq!((&record["status"], &record["peer"]), (&json!(status), &json!(peer)), "{request:.100}");
    }
    // A page that may not open a WebSocket.
    let mut client = logged.host.connect();
    assert_eq!(client.handshake("/ws", &[("Origin", "https://b.example")]).status, 403);
    let record = logged.records(7).remove(6);
    assert_eq!((&record["status"], &record["route"]), (&json!(403), &json!("/ws")));
    assert_eq!(record.get("connection"), None);
}

#[test]
fn the_client_is_that_of_the_trusted_proxy_on_every_response() {
    let logged = serve("access-log-proxy");
    let mut client = logged.host.connect();
    for target in ["/answer/x", "/nothing"] {
        client.request("GET", target, &[("X-Forwarded-For", "6.6.6.6, 192.0.2.7")], b"");
    }
    for record in logged.records(2) {
        assert_eq!(record["peer"], "192.0.2.7:0");
    }
}

#[test]
fn a_client_that_leaves_gets_a_record_of_what_was_written() {
    const SIZE: u64 = 64 << 20;
    let logged = serve("access-log-aborted");
    let mut client = logged.host.connect();
    client.buffer_little();
    client.send_request("GET", &format!("/large?{SIZE}"), &[], b"");
    let head = client.read_head();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    client.read_exact(100_000);
    client.reset();
    let record = logged.records(1).remove(0);
    let bytes = record["bytes"].as_u64().expect("a number");
    assert!((100_000..SIZE).contains(&bytes), "{record}");
    assert_eq!(record["aborted"], true);
}

#[test]
fn a_slow_response_takes_until_its_last_byte_is_written() {
    let logged = serve("access-log-slow");
    let mut client = logged.host.connect();
    client.buffer_little();
    client.send_request("GET", "/large?67108864", &[], b"");
    client.read_head();
    // The client does not read, so the response is not written.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(fs::read_to_string(&logged.file).unwrap_or_default(), "");
    client.read_exact(64 << 20);
    let record = logged.records(1).remove(0);
    assert_eq!((&record["bytes"], record.get("aborted")), (&json!(64 << 20), None));
    assert!(record["duration"].as_f64().is_some_and(|duration| duration >= 0.3), "{record}");
}

#[test]
fn the_combined_format_is_that_of_other_servers_with_fields_behind_it() {
    let config = "[[route]]\npath = '/answer'\nhandler = 'answer'\n";
    let logged = Logged::serve("access-log-combined", config, &[]);
    let mut client = logged.host.connect();
    let headers = [("Referer", "http://a.example/\"x\""), ("User-Agent", "a\\b \u{e4}")];
    client.request("POST", "/answer?201", &headers, b"hello");
    let line = logged.lines(1).remove(0);
    let (start, rest) = line.split_once(" [").expect("a date");
    let (date, rest) = rest.split_once("] ").expect("a date");
    assert_eq!(start, "127.0.0.1 - -");
    assert!(date.len() == 26 && date.ends_with(" +0000"), "{date}");
    let (rest, time) = rest.split_once(" time=").expect("a time");
    assert_eq!(
        rest,
        r#""POST /answer?201 HTTP/1.1" 201 5 "http://a.example/\x22x\x22" "a\x5Cb \xC3\xA4" route="/answer" handler="requests:answer""#
    );
    assert!(time.parse::<f64>().is_ok_and(|time| time < 30.0), "{line}");
}

#[test]
fn text_of_clients_is_one_line_of_valid_json() {
    let logged = serve("access-log-hostile");
    let mut client = logged.host.connect();
    let request =
        b"GET /answer/x?a HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\xc2\x9b31m\xe2\x80\xae\"}\t{\r\n\r\n";
    client.send(request);
    assert_eq!(client.read_answer(true).status, 200);
    let line = logged.lines(1).remove(0);
    assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
    let record: Value = serde_json::from_str(&line).expect("it is JSON");
    assert_eq!(record["user_agent"], "\u{fffd}\u{9b}31m\u{202e}\"}\t{");
    assert_eq!(record["target"], "/answer/x?a");
}

#[test]
fn redirects_and_clients_without_tls_are_recorded() {
    let authority = Authority::new("Access log");
    let folder = empty_folder("access-log-certificates");
    let files = authority.issue(&["localhost"]).write(&folder, "server");
    let config = format!(
        "access_log_format = 'json'\nlisten = [{{ address = '127.0.0.1:0', redirect = 'https' }}, \
         {{ address = '127.0.0.1:0', tls = {{ certificate = {:?}, key = {:?} }} }}]\n\
         [[route]]\npath = '/answer'\nhandler = 'answer'\n",
        path(&files.certificate),
        path(&files.key)
    );
    let logged = Logged::serve_as_configured("access-log-tls", &config);
    let port = |before: &str| -> u16 {
        let line = logged.host.stdout_line(before);
        let port = line.strip_prefix(before).and_then(|rest| rest.split('/').next()?.parse().ok());
        port.unwrap_or_else(|| panic!("no port: {line}"))
    };
    let plain = port("listening on http://127.0.0.1:");
    let secure = port("listening on https://127.0.0.1:");
    assert_eq!(Raw::connect(plain).request("GET", "/answer", &[], b"").status, 308);
    let records = logged.records(1);
    assert_eq!((&records[0]["status"], &records[0]["target"]), (&json!(308), &json!("/answer")));
    Trust::of(&authority).get(secure, "/answer").expect("it serves");
    assert_eq!(logged.records(2)[1]["status"], 200);
    let mut plain = Raw::connect(secure);
    plain.send_request("GET", "/", &[], b"");
    assert_eq!(plain.read_answer(true).status, 400);
    assert_eq!(logged.records(3)[2]["status"], 400);
}
