//! HTTP from outside: what onrequest handlers receive, how their responses are sent, and which requests never
//! reach a handler (RFC 9110, RFC 9112).

mod handshake;

mod origin;

mod forwarded;

mod proxy_protocol;

mod strip_prefix;

mod routes;

mod files;

mod headers;

mod subprotocol;

mod boundary;

mod requests;

mod closing;

mod timeouts;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Answer, Host, Raw, c_plugin_with, path, plugin, scratch};

/// More than the sockets of both sides hold.
const LARGE: usize = 32 << 20;

/// A config file with a test plugin, by its name and that of its library, and these routes.
fn routed_config(name: &str, (plugin_name, library): (&str, &str), routes: &str) -> PathBuf {
    let config = scratch(name);
    let text = format!("[plugin.{plugin_name}]\npath = {:?}\n{routes}", plugin(library));
    fs::write(&config, text).expect("the scratch folder can be written");
    config
}

/// Serves the web example at `/` and `/echo`, handlers of the test plugin `requests` under their names, and
/// handlers in C at `/many`, `/elsewhere` and `/zero`, which returns 0. `/ws` is a WebSocket route without an
/// onrequest handler.
fn serve(options: &[&str]) -> Host {
    let libraries = [plugin("web"), plugin("requests"), c_plugin_with("answers.c", &["-DNAME=\"plain\""])];
    let mut args = vec!["serve", "--workers", "1"];
    args.extend(libraries.iter().map(|library| path(library)));
    for route in [
        "/=web:onrequest",
        "/echo=web:onrequest",
        "/echo/*=web:onrequest",
        "/answer=answer",
        "/large=large",
        "/lookups=lookups",
        "/socket=socket",
        "/upgrades=upgrades",
        "/refuses=refuses",
        "/panics=panics",
        "/zero=plain:zero",
        "/many=plain:many",
        "/elsewhere=plain:elsewhere",
        "/ws=,note,",
    ] {
        args.extend(["--route", route]);
    }
    args.extend(options);
    Host::start(&args)
}

fn get(client: &mut Raw, path: &str) -> Answer {
    client.request("GET", path, &[], b"")
}

/// The request as the web example received it.
#[track_caller]
fn echoed_request(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(answer.text()).expect("the web example answers with JSON")
}

/// The socket still serves requests.
#[track_caller]
fn assert_still_serves(client: &mut Raw) {
    assert_eq!(get(client, "/echo?on").status, 200);
}

#[test]
fn a_handler_receives_the_whole_request() {
    let host = serve(&[]);
    let mut client = host.connect();
    let headers = [("X-Mixed-Case", "As Sent"), ("x-umlaut", "f\u{fc}r")];
    let found = echoed_request(&client.request("POST", "/echo?a=%20b&c", &headers, b"the\nbody"));
    let wanted = json!({
        "method": "POST",
        "path": "/echo",
        "query": "a=%20b&c",
        "peer": client.address(),
        "headers": { "host": "test", "x-mixed-case": "As Sent", "x-umlaut": "f\u{fc}r", "content-length": "8" },
        "body": "the\nbody",
    });
    assert_eq!(found, wanted);
    let bare = echoed_request(&get(&mut client, "/echo"));
    assert_eq!((&bare["query"], &bare["body"]), (&json!(""), &json!("")));
}

#[test]
fn a_target_in_absolute_form_has_the_same_path() {
    let host = serve(&[]);
    let found = echoed_request(&host.connect().request("GET", "http://example.org/echo?q", &[], b""));
    assert_eq!((&found["path"], &found["query"]), (&json!("/echo"), &json!("q")));
}

#[test]
fn an_answer_has_its_status_headers_body_length_and_date() {
    let host = serve(&[]);
    let mut client = host.connect();
    let headers = [("answer-x-one", "1"), ("answer-set-cookie", "a=1"), ("answer-set-cookie", "b=2; Path=/")];
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for (query, status, body) in
        [("", 200, &b"short"[..]), ("201", 201, &body), ("404", 404, b""), ("599", 599, b"?")]
    {
        let answer = client.request("POST", &format!("/answer?{query}"), &headers, body);
        assert_eq!(answer.status, status);
        assert!(answer.body == body);
        assert_eq!(answer.header("content-length"), Some(&*body.len().to_string()));
        assert_eq!(answer.header("x-one"), Some("1"));
        assert_eq!(values(&answer, "set-cookie"), ["a=1", "b=2; Path=/"]);
        // RFC 9110 §5.6.7: Sun, 06 Nov 1994 08:49:37 GMT
        let date = answer.header("date").expect("RFC 9110 §6.6.1");
        assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    }
}

fn values<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    answer.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| &**value).collect()
}

#[test]
fn the_answer_to_head_is_that_to_get_without_its_body() {
    let host = serve(&[]);
    let mut client = host.connect();
    let page = get(&mut client, "/");
    assert!(page.text().starts_with("<!doctype html>"));
    let head = client.request("HEAD", "/", &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, page.header("content-length")));
    assert_eq!(head.header("content-type"), Some("text/html; charset=utf-8"));
    assert_still_serves(&mut client);
}

/// RFC 9110 §15.3.5 and §15.4.5, and §8.6 for the length.
#[test]
fn a_204_and_a_304_have_no_body() {
    let host = serve(&[]);
    let mut client = host.connect();
    for status in [204, 304] {
        client.send_request("POST", &format!("/answer?{status}"), &[], b"not to be sent");
        let answer = client.read_answer(false);
        assert_eq!(answer.status, status);
        assert!(status != 204 || answer.header("content-length").is_none());
        assert_still_serves(&mut client);
    }
}

#[test]
fn a_socket_serves_requests_one_after_the_other_and_in_a_pipeline() {
    let host = serve(&[]);
    let mut client = host.connect();
    for number in 0..5 {
        assert_eq!(
            echoed_request(&get(&mut client, &format!("/echo?{number}")))["query"],
            number.to_string()
        );
    }
    let mut pipeline = String::new();
    for number in 0..20 {
        let body = "x".repeat(number);
        pipeline +=
            &format!("POST /echo?{number} HTTP/1.1\r\nHost: a\r\nContent-Length: {number}\r\n\r\n{body}");
    }
    client.send(pipeline);
    for number in 0..20 {
        let found = echoed_request(&client.read_answer(true));
        assert_eq!(found["query"], number.to_string());
        assert_eq!(found["body"], "x".repeat(number));
    }
}

#[test]
fn connection_close_closes() {
    let host = serve(&[]);
    let mut client = host.connect();
    let answer = client.request("GET", "/echo", &[("Connection", "close")], b"");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(client.read_to_eof(), b"");
}

#[test]
fn http_1_0_closes_unless_the_client_asks_for_keep_alive() {
    let host = serve(&[]);
    let mut client = host.connect();
    client.send("GET /echo?old HTTP/1.0\r\n\r\n");
    let answer = String::from_utf8(client.read_to_eof()).expect("the response is text");
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.contains("\"query\":\"old\""), "{answer}");

    let mut client = host.connect();
    client.send("GET /echo?one HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /echo?two HTTP/1.0\r\n\r\n");
    let answers = String::from_utf8(client.read_to_eof()).expect("the response is text").to_lowercase();
    assert!(answers.contains("\r\nconnection: keep-alive\r\n"), "{answers}");
    assert!(answers.contains("\"query\":\"one\"") && answers.contains("\"query\":\"two\""), "{answers}");
}

#[test]
fn a_chunked_body_arrives_whole() {
    let host = serve(&[]);
    let mut client = host.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("4\r\nWiki\r\n7;name=value\r\npedia i\r\nB\r\nn \r\nchunks.\r\n0\r\nTrailer: x\r\n\r\n");
    assert_eq!(echoed_request(&client.read_answer(true))["body"], "Wikipedia in \r\nchunks.");
    assert_still_serves(&mut client);
}

#[test]
fn a_client_may_expect_100_continue_before_it_sends_its_body() {
    let host = serve(&["--max-body", "100"]);
    let mut client = host.connect();
    let head = |length| {
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
    };
    client.send(head(4));
    assert_eq!(client.read_answer(false).status, 100);
    client.send("sent");
    assert_eq!(echoed_request(&client.read_answer(true))["body"], "sent");
    client.send(head(101));
    assert_eq!(client.read_answer(true).status, 413);
}

#[test]
fn a_body_above_max_body_is_answered_413_and_one_of_that_size_is_not() {
    let host = serve(&["--max-body", "100"]);
    let mut client = host.connect();
    let body = "b".repeat(100);
    assert_eq!(echoed_request(&client.request("POST", "/echo", &[], body.as_bytes()))["body"], body);
    client.send(format!(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{body}\r\n0\r\n\r\n"
    ));
    assert_eq!(echoed_request(&client.read_answer(true))["body"], body);
    for request in [
        // The claimed length alone exceeds the limit.
        "Content-Length: 101\r\n\r\n".to_owned(),
        "Content-Length: 18446744073709551613\r\n\r\n".to_owned(),
        format!("Transfer-Encoding: chunked\r\n\r\n64\r\n{body}\r\n1\r\nb\r\n"),
    ] {
        let mut client = host.connect();
        client.send(format!("POST /answer HTTP/1.1\r\nHost: a\r\n{request}"));
        let answer = client.read_answer(true);
        assert_eq!(answer.status, 413, "{request}");
        assert_eq!(answer.header("connection"), Some("close"));
        client.read_to_end();
    }
}

#[test]
fn a_head_above_max_head_is_answered_431() {
    let host = serve(&["--max-head", "8KiB"]);
    let mut client = host.connect();
    assert_eq!(client.request("GET", "/echo", &[("x", &"h".repeat(7 << 10))], b"").status, 200);
    for head in
        [format!("GET / HTTP/1.1\r\nx: {}", "h".repeat(9 << 10)), format!("GET /{}", "p".repeat(9 << 10))]
    {
        let mut client = host.connect();
        client.send(head);
        assert_eq!(client.read_answer(true).status, 431);
        client.read_to_end();
    }
}

/// RFC 9112 §3.2: no Host, or more than one.
#[test]
fn a_request_without_exactly_one_host_is_answered_400() {
    let host = serve(&[]);
    for headers in ["", "Host: a\r\nHost: b\r\n", "Host: a\r\nHost: a\r\n"] {
        let mut client = host.connect();
        client.send(format!("GET /echo HTTP/1.1\r\n{headers}\r\n"));
        let answer = client.read_answer(true);
        assert_eq!((answer.status, answer.text().contains("Host")), (400, true), "{headers}");
    }
}

/// RFC 9112 §2.2, §5.1, §6.3.
#[test]
fn an_invalid_request_is_answered_400_and_closed() {
    let host = serve(&[]);
    for head in [
        "nonsense",
        "GET",
        "GET / HTTP/1.1\r\nno colon",
        "GET / HTTP/1.1\r\nHost : a",
        "GET / HTTP/1.1\r\nHost: a\r\nx: nul\0",
        "GET / HTTP/one",
        "GET /with space HTTP/1.1\r\nHost: a",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: ten",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2",
    ] {
        let mut client = host.connect();
        client.send(format!("{head}\r\n\r\n"));
        assert_eq!(client.read_answer(true).status, 400, "{head}");
        client.read_to_end();
    }
    let mut client = host.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnot hex\r\n");
    assert_eq!(client.read_answer(true).status, 400);
    client.read_to_end();
    assert_still_serves(&mut host.connect());
}

#[test]
fn a_path_without_a_route_is_answered_404() {
    let host = serve(&[]);
    let mut client = host.connect();
    for path in ["/nowhere", "/answer/", "/Answer", "/answer%2F", "*"] {
        assert_eq!(get(&mut client, path).status, 404, "{path}");
    }
    assert_eq!(client.handshake("/nowhere", &[]).status, 404);
    assert_still_serves(&mut client);
}

#[test]
fn a_header_that_is_the_hosts_own_is_answered_500_and_logged() {
    let host = serve(&[]);
    let mut client = host.connect();
    for name in
        ["Content-Length", "date", "connection", "transfer-encoding", "upgrade", "sec-websocket-accept"]
    {
        let header = [(&*format!("answer-{name}"), "5")];
        let plain = client.request("GET", "/answer", &header, b"");
        let upgrade = client.handshake("/socket", &header);
        assert_eq!((plain.status, upgrade.status), (500, 500), "{name}");
        for handler in ["answer", "socket"] {
            let header = format!("{}: 5", name.to_lowercase());
            host.log_line(&format!(
                "plugin `requests`: onrequest handler `{handler}` failed: the answer's header `{header}`"
            ));
        }
    }
    assert_still_serves(&mut client);
}

#[test]
fn a_failing_handler_is_answered_500_and_logged_and_the_socket_stays_open() {
    let host = serve(&[]);
    let mut client = host.connect();
    for (path, wanted) in [
        ("/refuses", ["plugin `requests`: onrequest handler `refuses`", "out of paper"]),
        ("/panics", ["plugin `requests`: onrequest handler `panics`", "panicked: off the rails"]),
        ("/zero", ["plugin `plain`: onrequest handler `zero`", "POST /zero"]),
        (
            "/answer?199",
            ["plugin `requests`: onrequest handler `answer`", "status 199 is not one of 200 to 599"],
        ),
        (
            "/answer?600",
            ["plugin `requests`: onrequest handler `answer`", "status 600 is not one of 200 to 599"],
        ),
    ] {
        let answer = client.request("POST", path, &[], b"secret");
        assert_eq!((answer.status, answer.text()), (500, "the handler failed\n"), "{path}");
        let line = host.log_line(wanted[1]);
        let peer = client.address();
        let path = path.split('?').next().unwrap_or_default();
        for part in ["ERROR", wanted[0], &peer, &format!("POST {path}"), &format!("route `{path}`")] {
            assert!(line.contains(part), "{line}: no {part}");
        }
        assert_still_serves(&mut client);
    }
    assert!(host.log_line("off the rails").contains("src/lib.rs:"), "the panic's place");
}
