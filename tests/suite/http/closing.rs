//! The end of an HTTP connection: a response arrives whole at a client that has ended its side, and at one that is still
//! sending.

use super::{LARGE, assert_still_serves, echoed_request, serve};
use crate::support::{Answer, Raw, TEXT, UPGRADE, frame};

#[test]
fn a_client_that_ends_its_side_after_its_request_gets_the_whole_response() {
    let host = serve(&[]);
    let mut client = host.connect();
    client.buffer_little();
    client.send_request("GET", &format!("/large?{LARGE}"), &[], b"");
    client.half_close();
    let answer = client.read_answer(true);
    assert_eq!((answer.status, answer.body.len()), (200, LARGE));
    assert_eq!(client.read_to_eof(), b"");

    let mut client = host.connect();
    client.send_request("GET", &format!("/large?{LARGE}"), &[], b"");
    client.send_request("POST", "/echo", &[], b"behind it");
    client.half_close();
    assert_eq!(client.read_answer(true).body.len(), LARGE);
    assert_eq!(echoed_request(&client.read_answer(true))["body"], "behind it");
    assert_eq!(client.read_to_eof(), b"");
}

#[test]
fn a_handshake_may_be_followed_by_frames_and_the_end_of_the_clients_side() {
    let host = serve(&[]);
    let mut client = host.connect();
    client.send_request("GET", "/ws", &UPGRADE, b"");
    client.send(frame(TEXT, b"the last one"));
    client.half_close();
    assert_eq!(client.read_answer(false).status, 101);
    host.log_line("note: the last one");
    client.read_to_end();
}

#[test]
fn a_body_that_ends_too_early_is_answered_400() {
    let host = serve(&[]);
    for head in ["Content-Length: 10\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let mut client = host.connect();
        client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\n{head}"));
        client.half_close();
        assert_eq!(client.read_answer(true).status, 400, "{head}");
        assert_eq!(client.read_to_eof(), b"", "{head}");
    }
}

/// Sends all of it before it reads, as many clients do. A connection that is reset would lose the response.
fn send_then_read(client: &mut Raw, head: &str, body: &[u8]) -> Answer {
    client.send(head);
    client.send(body);
    let answer = client.read_answer(true);
    assert_eq!(client.read_to_eof(), b"", "{head}");
    answer
}

#[test]
fn a_rejection_reaches_a_client_that_is_still_sending() {
    let host = serve(&["--max-head", "8KiB"]);
    let body = vec![b'x'; LARGE];
    let chunked = "Host: a\r\nTransfer-Encoding: chunked\r\n";
    for (head, status) in [
        (format!("POST /answer HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"), 413),
        (format!("POST /answer HTTP/1.1\r\n{chunked}\r\n{LARGE:x}\r\n"), 413),
        (format!("POST /answer HTTP/1.1\r\n{chunked}\r\n1\r\n"), 400),
        (format!("POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"), 404),
        (format!("POST /ws HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"), 426),
        (format!("POST /answer HTTP/1.1\r\nContent-Length: {LARGE}\r\n\r\n"), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nx: ".to_owned(), 431),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), 400),
    ] {
        assert_eq!(send_then_read(&mut host.connect(), &head, &body).status, status, "{head}");
    }
    assert_still_serves(&mut host.connect());
}
