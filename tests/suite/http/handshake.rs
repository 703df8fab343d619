//! Which requests become WebSockets, what the 101 contains, and how other requests are answered (RFC 6455
//! §4).

use super::{assert_still_serves, get, serve, values};

/// RFC 9110 §15.5.22.
#[test]
fn a_plain_request_for_a_websocket_is_answered_426() {
    let host = serve(&[]);
    let mut client = host.connect();
    for path in ["/ws", "/socket"] {
        let answer = get(&mut client, path);
        assert_eq!(answer.status, 426, "{path}");
        assert_eq!(answer.header("upgrade"), Some("websocket"));
        assert_eq!(answer.header("connection"), Some("Upgrade"));
    }
    assert_still_serves(&mut client);
}

#[test]
fn the_handshake_of_rfc_6455_section_1_3_gets_its_accept_value() {
    let host = serve(&[]);
    for path in ["/ws", "/socket"] {
        let answer = host.connect().handshake(path, &[]);
        assert_eq!(answer.status, 101);
        assert_eq!(values(&answer, "upgrade"), ["websocket"]);
        assert_eq!(values(&answer, "connection"), ["Upgrade"]);
        assert_eq!(values(&answer, "sec-websocket-accept"), ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
        assert_eq!(answer.header("content-length").or(answer.header("sec-websocket-protocol")), None);
    }
}

/// RFC 6455 §4.2.1, and for the version §4.2.2 and §4.4. The handler is not called.
#[test]
fn a_bad_handshake_is_answered_400_or_426_by_the_host() {
    const GOOD: [(&str, &str); 5] = [
        ("Host", "a"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    let host = serve(&[]);
    let mut client = host.connect();
    let mut ask = |method: &str, path: &str, version: &str, name: &str, value: Option<&str>| {
        let others =
            GOOD.into_iter().filter(|header| header.0 != name).chain(value.map(|value| (name, value)));
        let headers: String = others.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        if version == "1.0" {
            let mut client = host.connect();
            client.send(format!("{method} {path} HTTP/1.0\r\n{headers}\r\n"));
            let answer = String::from_utf8(client.read_to_eof()).expect("the response is text");
            assert!(answer.starts_with("HTTP/1.0 400 "), "{answer}");
            return;
        }
        client.send(format!("{method} {path} HTTP/1.1\r\n{headers}\r\n"));
        let answer = client.read_answer(method != "HEAD");
        let wanted = if name == "Sec-WebSocket-Version" { 426 } else { 400 };
        assert_eq!(answer.status, wanted, "{method} {path} {name}: {value:?}");
        assert_eq!(answer.header("sec-websocket-version"), (wanted == 426).then_some("13"));
        assert!(method == "HEAD" || answer.text().contains(name), "{name}: {value:?}: {}", answer.text());
    };
    for path in ["/ws", "/socket"] {
        GOOD.iter().for_each(|(name, _)| ask("GET", path, "1.1", name, None));
        for key in
            ["", "c2hvcnQ=", "dGhlIHNhbXBsZSBub25jZWVl", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBs*SBub25jZQ=="]
        {
            ask("GET", path, "1.1", "Sec-WebSocket-Key", Some(key));
        }
        for version in ["8", "13x", "", "0", "130"] {
            ask("GET", path, "1.1", "Sec-WebSocket-Version", Some(version));
        }
        ask("GET", path, "1.1", "Connection", Some("keep-alive"));
        for method in ["POST", "HEAD", "PUT"] {
            ask(method, path, "1.1", "", None);
        }
        ask("GET", path, "1.0", "", None);
        for body in [("Content-Length", "4"), ("Transfer-Encoding", "chunked")] {
            let refused = host.connect().handshake(path, &[body]);
            assert_eq!((refused.status, refused.text()), (400, "a WebSocket handshake has no body\n"));
        }
    }
    assert_eq!(get(&mut client, "/upgrades").text(), "0");
    assert_eq!(client.handshake("/socket", &[("Content-Length", "0")]).status, 101);
    assert_eq!(get(&mut host.connect(), "/upgrades").text(), "1");
}

#[test]
fn a_handler_adds_headers_to_the_101() {
    let host = serve(&[]);
    let mut client = host.connect();
    let headers = [
        ("Sec-WebSocket-Protocol", "soap, wamp"),
        ("answer-sec-websocket-protocol", "wamp"),
        ("answer-set-cookie", "a=1"),
        ("answer-set-cookie", "b=2"),
    ];
    let answer = client.handshake("/socket", &headers);
    assert_eq!(answer.status, 101);
    assert_eq!(values(&answer, "sec-websocket-protocol"), ["wamp"]);
    assert_eq!(values(&answer, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!(values(&answer, "upgrade"), ["websocket"]);
    client.send_frame(0x81, b"it is open");
    host.log_line("note: it is open");
}
