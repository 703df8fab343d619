//! Heads of requests and responses: their size, their headers, and bytes that are no HTTP/1.1.

use std::time::Instant;

use super::{assert_still_serves, echoed_request, get, serve};
use crate::support::{DEADLINE, Host, UPGRADE};

/// A request for `/` whose head has exactly this many bytes.
fn request_of(bytes: usize) -> String {
    let (begin, end) = ("GET / HTTP/1.1\r\nHost: a\r\nx: ", "\r\n\r\n");
    format!("{begin}{}{end}", "x".repeat(bytes - begin.len() - end.len()))
}

#[test]
fn max_head_is_the_limit_to_the_byte() {
    for (option, max) in [("8KiB", 8 << 10), ("64KiB", 64 << 10), ("100000", 100_000)] {
        let host = serve(&["--max-head", option]);
        let mut client = host.connect();
        for _ in 0..2 {
            client.send(request_of(max));
            assert_eq!(client.read_answer(true).status, 200, "{option}");
        }
        for bytes in [max + 1, max + 2000, 2 * max] {
            let mut client = host.connect();
            client.send(request_of(bytes));
            assert_eq!(client.read_answer(true).status, 431, "{option}, {bytes}");
            assert_eq!(client.read_to_eof(), b"");
        }
    }
}

#[test]
fn a_head_may_have_1000_headers() {
    let host = serve(&["--max-head", "64KiB"]);
    let same = |_| "a:\n".to_owned();
    let distinct = |n| format!("x-{n}:\r\n");
    // Besides Host.
    for (count, status) in [(100, 200), (999, 200), (1000, 431), (5000, 431)] {
        for line in [&same as &dyn Fn(usize) -> String, &distinct] {
            let headers: String = (0..count).map(line).collect();
            let mut client = host.connect();
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
            assert_eq!(client.read_answer(true).status, status, "{count}");
            if status == 200 {
                assert_still_serves(&mut client);
            }
        }
    }
}

/// Some embedded clients compare the names byte by byte.
#[test]
fn responses_spell_their_headers_as_the_standards_do() {
    let host = serve(&[]);
    for (path, headers) in [
        ("/ws", &[][..]),
        (
            "/socket",
            &[("Sec-WebSocket-Protocol", "a"), ("answer-sec-websocket-protocol", "a"), ("answer-x-one", "1")],
        ),
    ] {
        let mut client = host.connect();
        client.send_request("GET", path, &[&UPGRADE, headers].concat(), b"");
        let head = client.read_head();
        for line in [
            "HTTP/1.1 101 Switching Protocols\r\n",
            "\r\nUpgrade: websocket\r\n",
            "\r\nConnection: Upgrade\r\n",
            "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        ] {
            assert!(head.contains(line), "{path}: no {line}: {head}");
        }
        let own = ["\r\nSec-WebSocket-Protocol: a\r\n", "\r\nX-One: 1\r\n"];
        assert!(path == "/ws" || own.iter().all(|line| head.contains(line)), "{head}");
    }
    let mut client = host.connect();
    client.send_request("GET", "/answer", &[("answer-etag", "1"), ("answer-www-authenticate", "x")], b"");
    let head = client.read_head();
    for name in ["ETag", "WWW-Authenticate", "Content-Length", "Date"] {
        assert!(head.contains(&format!("\r\n{name}: ")), "no {name}: {head}");
    }
    client.send_request("GET", "/ws", &[], b"");
    assert!(client.read_head().contains("\r\nSec-WebSocket-Version: 13\r\n"));
}

/// Browsers encode what a URL cannot contain; other clients encode more, or nothing (RFC 3986 §6.2.2).
#[test]
fn a_route_matches_every_spelling_of_its_path() {
    let routes = ["/café=answer", "/my%20room=answer", "/a-b=answer", "/straße/*=web:onrequest"];
    let host = serve(&routes.map(|route| ["--route", route]).concat());
    let mut client = host.connect();
    for (path, status) in [
        ("/caf%C3%A9", 200),
        ("/caf%c3%a9?q=%C3%A9", 200),
        ("/café", 200),
        ("/cafe", 404),
        ("/caf%E9", 404),
        ("/my%20room", 200),
        ("/m%79%20room", 200),
        ("/a%2Db", 200),
        ("/a%2fb", 404),
    ] {
        assert_eq!(get(&mut client, path).status, status, "{path}");
    }
    // The handler gets the path as it was sent.
    assert!(get(&mut client, "/stra%c3%9fe/x").text().contains("nothing at /stra%c3%9fe/x"));
}

/// RFC 6265 §5.4 allows a client one line; HTTP/2 clients split it, and proxies pass the lines on.
#[test]
fn several_cookie_lines_are_read_as_one() {
    let host = serve(&[]);
    let headers =
        [("Cookie", "a=1"), ("x", "first"), ("cookie", "b=2; c=3"), ("X", "second"), ("COOKIE", "d=4")];
    let mut client = host.connect();
    let found = echoed_request(&client.request("GET", "/echo", &headers, b""));
    assert_eq!(found["headers"]["cookie"], "a=1; b=2; c=3; d=4");
    assert_eq!(get(&mut client, "/lookups?1").text(), " 1", "a Host and nothing else");
    assert_eq!(client.request("GET", "/lookups?1", &headers, b"").text(), " 4");
}

#[test]
fn a_host_that_is_none_is_answered_400() {
    let host = serve(&[]);
    for name in ["a/b@c:d", "a@b", "a b", "a:b", "[::1", "a, b", "http://a"] {
        for path in ["/echo", "/ws"] {
            let mut client = host.connect();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n"));
            let answer = client.read_answer(true);
            assert_eq!((answer.status, answer.text().contains("Host")), (400, true), "{name}");
        }
        let mut client = host.connect();
        let upgrade: String = UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        client.send(format!("GET /ws HTTP/1.1\r\nHost: {name}\r\n{upgrade}\r\n"));
        assert_eq!(client.read_answer(true).status, 400, "{name}");
    }
    let mut client = host.connect();
    client.send("GET http://user@a/echo HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_answer(true).status, 400);
    for name in ["", "a", "a:80", "[::1]:80", "127.0.0.1", "a_b.example"] {
        client = host.connect();
        client.send(format!("GET /echo HTTP/1.1\r\nHost: {name}\r\n\r\n"));
        assert_eq!(echoed_request(&client.read_answer(true))["headers"]["host"], name);
    }
}

/// RFC 9112 §6.1. The handler would take the compressed bytes for the body.
#[test]
fn a_transfer_coding_other_than_chunked_is_answered_501_and_closed() {
    let host = serve(&[]);
    for lines in
        ["gzip, chunked", "gzip\r\nTransfer-Encoding: chunked", "chunked, chunked", "identity, chunked"]
    {
        let mut client = host.connect();
        client.send(format!(
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {lines}\r\n\r\n1\r\nx\r\n0\r\n\r\n"
        ));
        let answer = client.read_answer(true);
        assert_eq!((answer.status, answer.header("connection")), (501, Some("close")), "{lines}");
        assert_eq!(client.read_to_eof(), b"");
    }
}

/// RFC 9110 §15.3.6.
#[test]
fn a_205_has_no_body() {
    let host = serve(&[]);
    let mut client = host.connect();
    let answer = client.request("POST", "/answer?205", &[], b"not to be sent");
    assert_eq!((answer.status, answer.header("content-length"), answer.text()), (205, Some("0"), ""));
    assert_still_serves(&mut client);
}

/// The first bytes of a client, and words of the log line about it.
const FOREIGN: [(&[u8], &str, &str); 4] = [
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03random", "speaks TLS", "wss"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "speaks HTTP/2", "HTTP/1.1"),
    (
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n\r\n",
        "speaks the PROXY protocol",
        "proxy_protocol",
    ),
    (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c", "speaks the PROXY protocol", "send-proxy"),
];

#[test]
fn a_client_of_another_protocol_is_logged_with_a_remedy() {
    for (bytes, what, remedy) in FOREIGN {
        let host = Host::serve("web", &["--workers", "1"]);
        let mut client = host.connect();
        client.send(bytes);
        client.read_to_end();
        let line = host.log_line(what);
        let peer = client.address();
        for part in ["WARN", &peer, remedy] {
            assert!(line.contains(part), "no {part}: {line}");
        }
        // A scanner does not fill the log.
        for _ in 0..3 {
            let mut client = host.connect();
            client.send(bytes);
            client.read_to_end();
        }
        assert_still_serves(&mut host.connect());
        assert_eq!(host.log_lines(what).len(), 1);
    }
}

/// Reading the head for every lookup would take minutes here.
#[test]
fn a_lookup_does_not_read_the_whole_head() {
    let host = serve(&["--max-head", "64KiB"]);
    let headers: String = (0..900).map(|n| format!("x{n}: {n:050}\r\n")).collect();
    let start = Instant::now();
    let mut client = host.connect();
    client.send(format!(
        "GET /lookups?20000 HTTP/1.1\r\nHost: a\r\n{headers}X-Last: found\r\nX-Last: not\r\n\r\n"
    ));
    assert_eq!(client.read_answer(true).text(), "found 903");
    assert!(start.elapsed() < DEADLINE, "after {:?}", start.elapsed());
}

/// Each chunk costs more than its bytes.
#[test]
fn a_body_of_many_tiny_chunks_costs_little_memory_and_is_rejected_at_some_number() {
    let host = serve(&["--max-body", "1MiB"]);
    let body = |chunks: usize| "1\r\nx\r\n".repeat(chunks);
    let head = "POST /answer HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = host.connect();
    client.send(format!("{head}{}0\r\n\r\n", body(10_000)));
    assert_eq!(client.read_answer(true).body.len(), 10_000);
    let worker = host.workers()[0];
    let before = worker.resident_kib();
    client.send(format!("{head}{}", body(1_000_000)));
    let answer = client.read_answer(true);
    assert_eq!((answer.status, answer.text().contains("too many small chunks")), (413, true));
    assert_eq!(client.read_to_eof(), b"");
    let grown = worker.resident_kib().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB");
}
