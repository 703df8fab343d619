//! What a client of HTTP/2 may cost: streams, time, memory.

use std::time::{Duration, Instant};

use h2::Reason;
use h2::client::Builder;

use super::ending::PROBE;
use super::{ask, closed, serve};
use crate::support::Http2;

#[test]
fn a_head_has_the_length_that_it_may_have() {
    let server = serve(
        "max-head",
        "requests",
        "[[route]]\npath = '/*'\nhandler = 'lookups'\n",
        &["--max-head", "8KiB"],
    );
    let mut client = server.connect();
    let long = "x".repeat(7000);
    assert_eq!(client.request("GET", "/?1", &[("x-last", &long)], b"").status, 200);
    let too_long = "x".repeat(9000);
    assert_eq!(client.request("GET", "/?1", &[("x-last", &too_long)], b"").status, 431);
    assert_eq!(client.get("/?1").status, 200, "the connection goes on");
}

#[test]
fn a_body_has_the_time_that_it_may_have() {
    let route = "[[route]]\npath = '/*'\nhandler = 'answer'\n";
    let server = serve("slow-body", "requests", route, &["--handshake-timeout", "1s"]);
    let mut client = server.connect();
    // More than are read at once.
    let slow: Vec<_> = (0..12).map(|_| client.begin("POST", "/", &[], false)).collect();
    assert_eq!(client.get("/").status, 200, "those without a body do not wait for them");
    for (response, _send) in slow {
        assert_eq!(client.wait(response).expect("it is told").status(), 408);
    }
    assert_eq!(client.request("POST", "/", &[], b"body").text(), "body", "the connection goes on");
}

/// An idle client gets a GOAWAY; one with a WebSocket is not idle.
#[test]
fn a_client_without_streams_is_disconnected_after_the_keepalive_timeout() {
    let routes =
        "[[route]]\npath = '/page'\nhandler = 'answer'\n[[route]]\npath = '/*'\nhandler = 'speaks'\n";
    let server = serve("idle", "requests", routes, &["--keepalive-timeout", "1s"]);
    let (mut idle, mut busy) = (server.connect(), server.connect());
    let mut socket = busy.open("/");
    assert_eq!(idle.get("/page").status, 200);
    let start = Instant::now();
    idle.ended().expect("it ends in order");
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    assert_eq!(ask(&mut socket, ""), "");
    drop(socket);
    busy.ended().expect("its WebSocket has ended");
}

#[test]
fn a_client_that_sends_no_request_is_disconnected_after_the_handshake_timeout() {
    let server = serve("no-request", "echo", "", &["--handshake-timeout", "1s"]);
    server.connect().ended().expect("it ends in order");
}

/// The client's window is closed for this response alone.
#[test]
fn a_response_that_nobody_reads_is_reset_after_the_send_timeout() {
    let routes =
        "[[route]]\npath = '/large'\nhandler = 'large'\n[[route]]\npath = '/*'\nhandler = 'speaks'\n";
    let server = serve("unread", "requests", routes, &["--send-timeout", "1s"]);
    let mut builder = Builder::new();
    builder.initial_window_size(20_000).initial_connection_window_size(10_000_000);
    let mut client = Http2::connect_with(&server.trust, server.port, &builder);
    let mut socket = client.open("/");
    let (unread, _) = client.begin("GET", "/large?1000000", &[], true);
    let mut body = client.wait(unread).expect("it begins").into_body();
    let error = client.wait(async {
        loop {
            // It reads, and gives nothing back to the window.
            if let Err(error) = body.data().await.expect("no end") {
                return error;
            }
        }
    });
    assert_eq!(error.reason(), Some(Reason::CANCEL), "{error}");
    assert_eq!(ask(&mut socket, ""), "", "its other streams stay");
}

#[test]
fn websockets_count_as_connections() {
    let server = serve("max-connections", "echo", "", &["--max-connections", "3"]);
    let mut client = server.connect();
    let (mut first, second) = (client.open("/"), client.open("/"));
    let rejected = client.upgrade("/", &[]).map(|_| ()).expect_err("there is no room");
    assert_eq!(rejected.status, 503);
    server.host.log_line("503 for a WebSocket over HTTP/2: connection limit reached");
    assert_eq!(ask(&mut first, "still here"), "still here");
    drop(second);
    crate::support::eventually("there is room again", || client.upgrade("/", &[]).is_ok());
}

#[test]
fn a_message_that_is_not_complete_in_time_ends_its_stream_alone() {
    use std::io::Write;

    let server = serve("message-timeout", "echo", "", &["--message-timeout", "1s"]);
    let mut client = server.connect();
    let (mut slow, mut other) = (client.open("/"), client.open("/"));
    slow.get_mut().write_all(&crate::support::frame(0x01, b"begun")).expect("the server reads it");
    assert_eq!(closed(slow).map(|(code, _)| code), Some(1008));
    assert_eq!(ask(&mut other, "still here"), "still here");
}

#[test]
fn a_silent_websocket_gets_pings_and_is_dropped_without_an_answer() {
    let server = serve(
        "pings",
        "test-probe",
        "[[route]]\npath = '/'\nonconnect = 'join'\nondisconnect = 'leave'\n",
        &["--ping-interval", "1s"],
    );
    let mut client = server.connect();
    // Nobody reads it, so nobody answers.
    let _silent = client.open("/");
    server.host.log_line("disconnect 1006");
}

/// Also those that are rejected before their route is looked up.
#[test]
fn every_request_counts_for_the_rate_of_its_address() {
    let server = serve("http2-rate", "test-probe", PROBE, &["--request-rate", "3/h"]);
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(client.request("GET", "/", &[("host", "other.example")], b"").status, 400);
    }
    let rejected = client.get("/");
    assert_eq!(rejected.status, 429);
    assert!(rejected.headers.contains_key("retry-after"));
    assert_eq!(client.upgrade("/", &[]).map(|_| ()).expect_err("no more requests").status, 429);
}

/// Each is a connection besides the one that carries it.
#[test]
fn websockets_count_for_the_connections_of_their_address() {
    let server = serve("http2-per-address", "test-probe", PROBE, &["--max-per-address", "3"]);
    let mut client = server.connect();
    let sockets: Vec<_> = (0..2).map(|_| client.open("/")).collect();
    assert_eq!(client.upgrade("/", &[]).map(|_| ()).expect_err("there is no room").status, 429);
    drop(sockets);
    crate::support::eventually("there is room again", || client.upgrade("/", &[]).is_ok());
}
