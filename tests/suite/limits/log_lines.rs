//! Log lines that one client can cause as often as it likes: the log has a few of each kind.

use super::*;

/// How many lines with that text the log has once the server has stopped.
fn count(mut host: Host, text: &str) -> usize {
    host.terminate();
    host.log_lines(text).len()
}

const MANY: usize = 25;
const FEW: usize = 10;

#[test]
fn messages_that_take_too_long_have_a_few_lines() {
    let host = serve(&["--message-timeout", "100ms"]);
    let mut clients: Vec<_> = (0..MANY).map(|_| host.upgraded()).collect();
    for client in &mut clients {
        client.send(&frame(BINARY, b"message")[..9]);
    }
    clients.iter_mut().for_each(|client| expect_close(client, 1008));
    assert_eq!(count(host, "(--message-timeout); closing it with 1008"), FEW);
}

#[test]
fn clients_that_do_not_read_have_a_few_lines() {
    let host = serve(&["--max-backlog", "64KiB", "--close-timeout", "100ms"]);
    let slow = |_| {
        let client = host.connect();
        client.buffer_little();
        client.upgraded("/", &[])
    };
    let _slow: Vec<_> = (0..MANY).map(slow).collect();
    // All of them have as much to read.
    flood(&host, FEW, GIVEN_UP);
    eventually("more are closed", || host.log_lines("left: 1013").len() > FEW);
    assert_eq!(count(host, GIVEN_UP), FEW);
}

#[test]
fn a_full_memory_has_a_few_lines() {
    let host = serve(&["--max-message", "10KiB", "--receive-memory", "32KiB", "--close-timeout", "100ms"]);
    let mut clients: Vec<_> = (0..MANY + 4).map(|_| host.upgraded()).collect();
    let part = frame(BINARY, &[7; 9 << 10]);
    clients.iter_mut().for_each(|client| client.send(&part[..part.len() - 1]));
    eventually("clients are closed", || host.log_lines("left: 1013").len() >= MANY);
    assert_eq!(count(host, "more than --receive-memory"), FEW);
}

#[test]
fn failures_of_a_handler_have_a_few_lines() {
    let requests = plugin("requests");
    let host = Host::start(&["serve", path(&requests), "--workers", "1", "--route", "/*=requests:refuses"]);
    let mut client = host.connect();
    for _ in 0..MANY {
        assert_eq!(client.request("GET", "/", &[], b"").status, 500);
    }
    assert_eq!(count(host, "onrequest handler `refuses` failed: "), FEW);
}
