//! Time limits of HTTP clients: for a request to arrive, between two requests, and for a client that does not read.

use std::thread;
use std::time::{Duration, Instant};

use super::{LARGE, assert_still_serves, get, serve};
use crate::support::{Process, eventually};

/// The client of a load balancer may be idle for a minute, and one that sends half a request is not worth that long.
#[test]
fn an_idle_client_has_the_keepalive_timeout_and_not_the_handshake_timeout() {
    const IDLE: Duration = Duration::from_millis(1500);
    let host = serve(&["--handshake-timeout", "200ms", "--keepalive-timeout", "1500ms"]);
    let mut client = host.connect();
    for _ in 0..2 {
        assert_still_serves(&mut client);
        thread::sleep(IDLE / 3); // the client is idle
    }
    let start = Instant::now();
    assert_still_serves(&mut client);
    assert_eq!(client.read_to_eof(), b"");
    assert!(start.elapsed() >= IDLE, "after {:?}", start.elapsed());
}

#[test]
fn the_keepalive_timeout_may_be_shorter_than_the_handshake_timeout() {
    let host = serve(&["--handshake-timeout", "1h", "--keepalive-timeout", "200ms"]);
    let mut client = host.connect();
    assert_still_serves(&mut client);
    assert_eq!(client.read_to_eof(), b"");
}

#[test]
fn a_later_request_has_the_handshake_timeout_from_its_first_byte() {
    let host = serve(&["--handshake-timeout", "200ms", "--keepalive-timeout", "1h"]);
    for begun in ["G", "GET /echo HTTP/1.1\r\nHost: a\r\nx: half"] {
        let mut client = host.connect();
        assert_still_serves(&mut client);
        client.send(begun);
        assert_eq!(client.read_to_eof(), b"", "{begun}");
    }
}

/// Whole requests of each kind of body.
const WHOLE: [&str; 3] = [
    "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\na\n\nb\n\n",
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
];

/// The beginning of the second request comes in one segment with the end of the first, and lies in the server's buffer
/// when the response ends.
#[test]
fn half_a_request_behind_others_has_the_handshake_timeout() {
    let host = serve(&["--handshake-timeout", "300ms", "--keepalive-timeout", "1h"]);
    for whole in WHOLE {
        for half in ["G", "POST /echo HTTP/1.1\r\nHost: a\r\nx: half"] {
            for before in 1..3 {
                let mut client = host.connect();
                client.send(whole.repeat(before) + half);
                (0..before).for_each(|_| assert_eq!(client.read_answer(true).status, 200));
                assert_eq!(client.read_to_eof(), b"", "{half:?} behind {before} times {whole:?}");
            }
        }
    }
}

#[test]
fn a_client_that_has_sent_whole_requests_at_once_is_idle_after_them() {
    let host = serve(&["--handshake-timeout", "300ms", "--keepalive-timeout", "1h"]);
    let mut clients: Vec<_> = WHOLE.iter().map(|whole| (host.connect(), whole)).collect();
    for (client, whole) in &mut clients {
        client.send(whole.repeat(3) + WHOLE[1]);
        (0..4).for_each(|_| assert_eq!(client.read_answer(true).status, 200));
    }
    thread::sleep(Duration::from_secs(1)); // the clients are idle
    clients.iter_mut().for_each(|(client, _)| assert_still_serves(client));
}

#[test]
fn a_client_may_pause_reading_for_longer_than_the_handshake_timeout() {
    let host = serve(&["--handshake-timeout", "300ms"]);
    let mut client = host.connect();
    client.buffer_little();
    client.send_request("GET", &format!("/large?{LARGE}"), &[], b"");
    thread::sleep(Duration::from_secs(2)); // the client pauses
    let answer = client.read_answer(true);
    assert_eq!((answer.status, answer.body.len()), (200, LARGE));
    assert_still_serves(&mut client);
}

#[test]
fn a_client_that_does_not_read_is_dropped_after_the_send_timeout() {
    let host = serve(&["--send-timeout", "500ms"]);
    let descriptors = || host.workers().into_iter().map(Process::descriptors).sum::<usize>();
    let before = descriptors();
    let mut client = host.connect();
    client.buffer_little();
    client.send_request("GET", &format!("/large?{LARGE}"), &[], b"");
    eventually("the server has its request", || descriptors() > before);
    eventually("it is dropped", || descriptors() == before);
    assert!(client.read_to_end().len() < LARGE);
    assert_eq!(get(&mut host.connect(), "/").status, 200);
}
