//! `headers` of a route: what all its responses get.

use std::fs;

use super::{LARGE, routed_config};
use crate::support::{Host, path, run, scratch};

/// A config file with the test plugin `requests` and these routes.
fn config(name: &str, routes: &str) -> std::path::PathBuf {
    routed_config(name, ("requests", "requests"), routes)
}

#[test]
fn all_responses_of_the_route_get_its_headers_and_a_handler_decides() {
    let public = scratch("headers-public");
    fs::create_dir_all(&public).expect("the scratch folder can be written");
    fs::write(public.join("a.txt"), "a").expect("the scratch folder can be written");
    let set = "headers = { X-Frame-Options = 'DENY', \"content-security-policy\" = \"default-src 'self'\" }";
    let routes = [
        ("/answer", "handler = 'answer'"),
        ("/room/{room}", "handler = 'params'"),
        ("/refuses", "handler = 'refuses'"),
        ("/socket", "handler = 'socket'"),
        ("/ws", "onmessage = 'note'"),
        ("/files/*", &format!("files = {:?}\nstrip_prefix = '/files'", path(&public))),
    ];
    let routes: String = routes
        .iter()
        .map(|(path, target)| format!("[[route]]\npath = '{path}'\n{target}\n{set}\n"))
        .collect();
    let routes = format!("{routes}[[route]]\npath = '/none'\nhandler = 'answer'\nmethods = 'GET'\n");
    let host = Host::start(&["serve", "--config", path(&config("headers.toml", &routes))]);
    let mut client = host.connect();
    for (path, status) in [
        ("/answer", 200),
        ("/answer?404", 404),
        ("/room/%00", 400),
        ("/refuses", 500),
        ("/ws", 426),
        ("/files/a.txt", 200),
        ("/files/b", 404),
    ] {
        let answer = client.request("GET", path, &[], b"");
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(answer.header("content-security-policy"), Some("default-src 'self'"), "{path}");
    }
    for (name, value, status) in [
        ("If-Modified-Since", "Fri, 31 Dec 2100 23:59:59 GMT", 304),
        ("Range", "bytes=0-0", 206),
        ("Range", "bytes=9-", 416),
    ] {
        client.send_request("GET", "/files/a.txt", &[(name, value)], b"");
        let answer = client.read_answer(status != 304);
        assert_eq!((answer.status, answer.header("x-frame-options")), (status, Some("DENY")));
    }
    let own = client.request("GET", "/answer", &[("answer-x-frame-options", "SAMEORIGIN")], b"");
    let values: Vec<_> = own.headers.iter().filter(|(name, _)| name == "x-frame-options").collect();
    assert_eq!(values, [&("x-frame-options".to_owned(), "SAMEORIGIN".to_owned())]);
    assert_eq!(own.header("content-security-policy"), Some("default-src 'self'"));
    let foreign = client.handshake("/ws", &[("Origin", "https://example.org")]);
    assert_eq!((foreign.status, foreign.header("x-frame-options")), (403, Some("DENY")));
    for path in ["/none", "/nothing"] {
        assert_eq!(client.request("GET", path, &[], b"").header("x-frame-options"), None, "{path}");
        assert_eq!(client.request("PUT", path, &[], b"").header("x-frame-options"), None, "{path}");
    }
    for path in ["/ws", "/socket"] {
        let answer = host.connect().handshake(path, &[]);
        assert_eq!((answer.status, answer.header("x-frame-options")), (101, Some("DENY")), "{path}");
    }
    let long = format!("POST /answer HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n");
    client.send(long);
    let answer = client.read_answer(true);
    assert_eq!((answer.status, answer.header("x-frame-options")), (413, Some("DENY")));
}

#[test]
fn what_is_malformed_or_set_by_the_server_is_refused_with_its_place() {
    const NAME: &str = "expected the name of a header, such as \"X-Content-Type-Options\"";
    const VALUE: &str = "expected the value of a header: text of one line, in ASCII";
    const OWN: &str = "expected a header that the server does not set itself";
    for (headers, message) in [
        ("{ 'a b' = '1' }", format!("5:13: `a b` in `headers` in [[route]]: {NAME}")),
        ("{ Connection = 'close' }", format!("5:13: `Connection` in `headers` in [[route]]: {OWN}")),
        ("{ Keep-Alive = '5' }", format!("5:13: `Keep-Alive` in `headers` in [[route]]: {OWN}")),
        ("{ Content-Length = '5' }", format!("5:13: `Content-Length` in `headers` in [[route]]: {OWN}")),
        ("{ X = \"a\\r\\nb: c\" }", format!("5:17: `X` in [[route]]: found string `\"a\\r\\nb: c\"`, {VALUE}")),
        ("{ X = 7 }", format!("5:17: `X` in [[route]]: found integer `7`, {VALUE}")),
        ("{ X = '1', x = '2' }", "5:22: `x` in `headers` in [[route]]: expected each one once".to_owned()),
        (
            "['X']",
            "5:11: `headers` in [[route]]: found an array, expected a table, such as { X-Content-Type-Options = \
             \"nosniff\" }"
                .to_owned(),
        ),
    ] {
        let config = config("bad-headers.toml", &format!("[[route]]\npath = '/*'\nheaders = {headers}\nhandler = 'answer'\n"));
        let (status, _, stderr) = run(&["check", "--config", path(&config)]);
        assert_eq!((status, stderr), (1, format!("callsign: {}:{message}\n", path(&config))));
    }
    let files = "[[route]]\npath = '/*'\nfiles = '.'\nheaders = { Cache-Control = 'no-store' }\n";
    let (status, _, stderr) = run(&["check", "--config", path(&config("bad-headers.toml", files))]);
    let expected = "6:13: `Cache-Control` in `headers` in [[route]]: expected `cache_control` of the route\n";
    assert!(status == 1 && stderr.ends_with(expected), "{stderr}");
}
