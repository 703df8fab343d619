//! `callsign status` tells how often clients have reached each limit. Limits per address are in `address_limits`.

use std::fs;

use serde_json::Value;

use super::*;
use crate::support::{Authority, empty_folder, run, scratch, status};

/// More than the sockets of both sides hold.
const LARGE: usize = 32 << 20;

/// Waits until a limit was reached so often.
#[track_caller]
fn expect(control: &std::path::Path, limit: &str, count: u64) {
    let reached = || status(control)["workers"][0]["limits"][limit].clone();
    eventually(&format!("{limit} was reached {count} times"), || reached() == count);
}

#[test]
fn each_limit_of_http_has_a_counter() {
    let control = scratch("counters.sock");
    let (web, requests) = (plugin("web"), plugin("requests"));
    let limits =
        ["--max-head=8KiB", "--max-body=100", "--handshake-timeout=300ms", "--keepalive-timeout=300ms"];
    let routes = ["--route=/echo=web:onrequest", "--route=/large=requests:large", "--send-timeout=500ms"];
    let options = ["serve", path(&web), path(&requests), "--workers=1", "--control", path(&control)];
    let host = Host::start(&[&options[..], &limits, &routes].concat());
    let answer = |bytes: &str| {
        let mut client = host.connect();
        client.send(bytes);
        let status = client.read_answer(true).status;
        client.read_to_end();
        status
    };
    let counted = status(&control)["workers"][0]["limits"].clone();
    let all_zero = counted.as_object().is_some_and(|limits| limits.values().all(|count| *count == 0));
    assert!(all_zero, "{counted}");

    assert_eq!(answer(&format!("GET /echo HTTP/1.1\r\nx: {}", "h".repeat(9 << 10))), 431);
    assert_eq!(answer(&format!("GET /echo HTTP/1.1\r\nHost: a\r\n{}\r\n", "a:\n".repeat(1000))), 431);
    expect(&control, "max_head", 2);
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\n";
    assert_eq!(answer(&format!("{post}Content-Length: 101\r\n\r\n")), 413);
    let chunk = format!("65\r\n{}\r\n0\r\n\r\n", "b".repeat(0x65));
    assert_eq!(answer(&format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunk}")), 413);
    expect(&control, "max_body", 2);
    for half in ["", "GET /echo HT"] {
        let mut client = host.connect();
        client.send(half);
        assert_eq!(client.read_to_eof(), b"");
    }
    expect(&control, "handshake_timeout", 2);
    assert_eq!(answer(&format!("{post}Content-Length: 10\r\n\r\nhalf")), 408);
    expect(&control, "handshake_timeout", 3);
    assert_eq!(answer("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"), 200);
    expect(&control, "keepalive_timeout", 1);
    let mut client = host.connect();
    client.buffer_little();
    client.send_request("GET", &format!("/large?{LARGE}"), &[], b"");
    expect(&control, "send_timeout", 1);
    assert!(client.read_to_end().len() < LARGE);

    let counted = status(&control)["workers"][0]["limits"].clone();
    let sum: u64 = counted.as_object().expect("a table").values().filter_map(Value::as_u64).sum();
    assert_eq!(sum, 2 + 2 + 3 + 1 + 1, "{counted}");
    let (code, table, _) = run(&["status", "--control", path(&control)]);
    assert_eq!(code, 0);
    assert!(table.contains("limits reached: 3 handshake_timeout, 1 keepalive_timeout\n"), "{table}");
    assert!(table.lines().all(|line| line.len() <= 80 || line.contains('/')), "{table}");
}

#[test]
fn clients_that_have_to_wait_are_counted() {
    let control = scratch("waiting.sock");
    let host = serve(&["--max-connections", "2", "--control", path(&control)]);
    let mut clients: Vec<_> = (0..2).map(|_| host.upgraded()).collect();
    let mut third = host.connect();
    third.send_request("GET", "/note", &[], b"");
    expect(&control, "max_connections", 1);
    assert!(third.nothing_for(Duration::from_millis(100)));
    drop(clients.pop());
    assert_eq!(third.read_answer(true).status, 426);
}

#[test]
fn headers_of_proxies_and_tls_handshakes_that_are_late_are_counted() {
    let (folder, control) = (empty_folder("late"), scratch("late.sock"));
    let files = Authority::new("A").issue(&["localhost"]).write(&folder, "a");
    let config = folder.join("callsign.toml");
    let text = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\nproxy_protocol = true\ntls = {{ certificate = {:?}, key = {:?} }}\n\
         [http]\ntrusted_proxies = '127.0.0.1'\nhandshake_timeout = '300ms'\n[plugin.echo]\npath = {:?}\n",
        files.certificate,
        files.key,
        plugin("echo")
    );
    fs::write(&config, text).expect("the scratch folder can be written");
    let host = Host::exactly(&["serve", "--config", path(&config), "--control", path(&control)]);
    let port = crate::tls::port(&host, "https");
    for (count, sent) in [(1, "PROXY TCP4 192.0"), (2, "PROXY UNKNOWN\r\n")] {
        let mut client = Raw::connect(port);
        client.send(sent);
        client.read_to_end();
        expect(&control, "handshake_timeout", count);
    }
}
