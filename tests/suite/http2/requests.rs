//! Requests and responses: the same rules as over HTTP/1.1.

use super::{Server, serve};
use crate::support::Raw;

const ROUTES: &str = "[[route]]\npath = '/answer'\nhandler = 'answer'\n\
    [[route]]\npath = '/large'\nhandler = 'large'\n\
    [[route]]\npath = '/fails'\nhandler = 'refuses'\n\
    [[route]]\npath = '/panics'\nhandler = 'panics'\n\
    [[route]]\npath = '/posts'\nmethods = ['POST']\nhandler = 'answer'\n\
    [[route]]\npath = '/socket'\nonmessage = 'note'\nheaders = { X-Frame-Options = 'DENY' }\n\
    [[route]]\npath = '/of-host/{name}'\nhost = 'localhost'\nhandler = 'params'\n\
    [[route]]\npath = '/of-host/{name}'\nhost = 'other.example'\nhandler = 'refuses'\n";

fn requests(name: &str) -> Server {
    serve(name, "requests", ROUTES, &[])
}

#[test]
fn a_handler_gets_the_request_as_over_http_1_1() {
    let server = serve("as-http-1", "web", "", &[]);
    let mut client = server.connect();
    let headers = [("x-tag", "1"), ("cookie", "a=1"), ("cookie", "b=2"), ("x-tag", "2"), ("te", "trailers")];
    let response = client.request("POST", "/echo?x=%2F", &headers, "körper".as_bytes());
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    let told: serde_json::Value = serde_json::from_slice(&response.body).expect("it is JSON");
    assert_eq!(
        (&told["method"], &told["path"], &told["query"]),
        (&"POST".into(), &"/echo".into(), &"x=%2F".into())
    );
    assert_eq!(told["body"], "körper");
    assert_eq!(told["headers"]["cookie"], "a=1; b=2");
    assert_eq!(told["headers"]["host"], format!("localhost:{}", server.port));
    assert!(told["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{told}");
    assert!(response.header("date").is_some());
    let length = response.body.len().to_string();
    assert_eq!(response.header("content-length"), Some(&*length));
}

#[test]
fn methods_hosts_and_parameters_select_a_route() {
    let server = requests("routes");
    let mut client = server.connect();
    assert_eq!(client.get("/nowhere").status, 404);
    let response = client.get("/posts");
    assert_eq!((response.status, response.header("allow")), (405, Some("POST, OPTIONS")));
    assert_eq!(client.request("POST", "/posts?201", &[], b"made").status, 201);
    assert_eq!(client.get("/of-host/a%2Fb?name").text(), "GET /of-host/a%2Fb Some(\"a/b\")");
    assert_eq!(client.get("/of-host/%FF").status, 400);
    let response = client.get("/socket");
    assert_eq!(
        (response.status, response.header("x-frame-options")),
        (400, Some("DENY")),
        "426 is for HTTP/1.1"
    );
    assert_eq!(response.text(), "this path is for WebSocket clients\n");
}

#[test]
fn failures_are_those_of_http_1_1() {
    let server = requests("failures");
    let mut client = server.connect();
    assert_eq!((client.get("/fails").status, client.get("/panics").status), (500, 500));
    assert_eq!(client.get("/answer?200").status, 200, "the connection goes on");
}

#[test]
fn a_response_without_a_body_has_none() {
    let server = requests("no-body");
    let mut client = server.connect();
    let head = client.request("HEAD", "/large?5000", &[], b"");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("5000"), 0));
    for (status, length) in [(204, None), (304, None), (205, None)] {
        let response = client.request("POST", &format!("/answer?{status}"), &[], b"ignored");
        assert_eq!((response.status, response.body.len()), (status, 0));
        assert_eq!(response.header("content-length"), length, "{status}");
    }
    let empty = client.get("/answer?200");
    assert_eq!((empty.status, empty.body.len()), (200, 0));
}

#[test]
fn headers_of_a_connection_are_not_sent() {
    let server = requests("hop-by-hop");
    let mut client = server.connect();
    let headers = [("answer-x-own", "1"), ("answer-keep-alive", "5"), ("answer-proxy-connection", "x")];
    let response = client.request("GET", "/answer", &headers, b"");
    assert_eq!((response.status, response.header("x-own")), (200, Some("1")));
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        assert_eq!(response.header(name), None, "{name}");
    }
}

#[test]
fn statuses_that_http_2_does_not_have_are_a_failure() {
    let server = requests("informational");
    let mut client = server.connect();
    for status in [101, 103] {
        assert_eq!(client.get(&format!("/answer?{status}")).status, 500, "{status}");
    }
}

#[test]
fn large_bodies_go_both_ways_beside_small_ones() {
    let server = requests("large");
    let mut client = server.connect();
    let body: Vec<u8> = (0..1_000_000_u32).map(|n| (n * 7) as u8).collect();
    let response = client.request("POST", "/answer", &[], &body);
    assert_eq!(response.status, 200);
    assert!(response.body == body, "the body comes back");
    assert_eq!(client.get("/large?3000000").body.len(), 3_000_000);
    // A response that nobody reads stops no other one.
    let (unread, _) = client.begin("GET", "/large?3000000", &[], true);
    let unread = client.wait(unread).expect("it begins");
    for _ in 0..20 {
        assert_eq!(client.get("/large?100000").body.len(), 100_000);
    }
    drop(unread);
    let announced = [("content-length", "1000001")];
    let (response, _send) = client.begin("POST", "/answer", &[("content-length", "99999999")], false);
    assert_eq!(client.wait(response).expect("it is rejected").status(), 413);
    let mut more = body;
    more.push(0);
    assert_eq!(client.request("POST", "/answer", &announced, &more).status, 200, "the connection goes on");
}

#[test]
fn many_requests_are_answered_beside_each_other() {
    let server = requests("beside");
    let mut client = server.connect();
    assert_eq!(client.streams_max(), 100);
    let begun: Vec<_> =
        (0..100).map(|n| (n, client.begin("GET", &format!("/large?{}", n * 1000), &[], true).0)).collect();
    // The last one first: no response waits for another one.
    for (n, response) in begun.into_iter().rev() {
        assert_eq!(client.finish(response).body.len(), n * 1000);
    }
}

#[test]
fn http_1_1_is_served_on_the_same_address() {
    let server = requests("same-address");
    let response = server.trust.get(server.port, "/large?3").expect("the server responds");
    assert_eq!(response, "xxx");
    let mut client = server.connect();
    assert_eq!(client.get("/large?3").text(), "xxx");
}

#[test]
fn a_client_without_tls_gets_a_hint() {
    let server = serve("no-tls", "echo", "[[listen]]\naddress = '127.0.0.1:0'\n", &[]);
    let mut raw = Raw::connect(crate::tls::port(&server.host, "http"));
    raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    server.host.log_line("speaks HTTP/2 where HTTP/1.1 is spoken: set the proxy or client to HTTP/1.1");
}
