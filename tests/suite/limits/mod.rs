//! What one client may cost: message sizes, time, memory, descriptors. Each test takes a server with small
//! limits to them and beyond, and checks that other clients are still served.

mod counters; // how often each limit was reached

mod log_lines; // what one client may log

mod memory; // what all clients together may hold

mod pace; // clients that send without a pause

mod pings; // clients that are silent

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    BINARY, BINARY_BEGINS, CLOSE, DEADLINE, ENDS, GOES_ON, Host, PING, PONG, Process, Raw, TEXT, eventually,
    frame, path, plugin,
};

/// A server that echoes and logs how connections end. At `/note` it also logs messages, and the message
/// `close` makes it close.
fn serve(options: &[&str]) -> Host {
    let (echo, requests) = (plugin("echo"), plugin("requests"));
    let routes =
        ["--route", "/=,echo:onmessage,requests:left", "--route", "/note=,requests:note,requests:left"];
    Host::start(&[&["serve", path(&echo), path(&requests), "--workers", "1"], &routes[..], options].concat())
}

#[track_caller]
fn expect_close(client: &mut Raw, code: u16) {
    let (first, payload) = client.read_frame();
    assert_eq!((first, payload.first_chunk()), (CLOSE, Some(&code.to_be_bytes())), "{payload:02x?}");
}

#[test]
fn a_message_of_max_message_bytes_passes_however_it_is_fragmented() {
    let host = serve(&["--max-message", "1000"]);
    let mut client = host.upgraded();
    let message = [b'm'; 1000];
    client.send_frame(BINARY, &message);
    assert_eq!(client.read_frame(), (BINARY, message.to_vec()));
    client.send_frame(BINARY_BEGINS, &message[..1]);
    client.send_frame(GOES_ON, &message[1..999]);
    client.send_frame(GOES_ON, b"");
    client.send_frame(PING, &[b'p'; 125]); // control frames do not count
    client.send_frame(ENDS, &message[999..]);
    assert_eq!(client.read_frame(), (PONG, vec![b'p'; 125]));
    assert_eq!(client.read_frame(), (BINARY, message.to_vec()));
}

/// RFC 6455 §7.4.1. The test sends only the header of the frame that is too long, which is enough.
#[test]
fn a_larger_message_is_closed_with_1009_as_soon_as_its_header_arrives() {
    let host = serve(&["--max-message", "1000"]);
    let mut witness = host.open("/");
    let header = |first: u8, length: u64| match u16::try_from(length) {
        Ok(length @ ..126) => vec![first, 0x80 | length as u8, 0, 0, 0, 0],
        Ok(length) => [&[first, 0x80 | 126][..], &length.to_be_bytes(), &[0; 4]].concat(),
        Err(_) => [&[first, 0x80 | 127][..], &length.to_be_bytes(), &[0; 4]].concat(),
    };
    for bytes in [
        header(TEXT, 1001),
        header(BINARY, (1 << 63) - 1),
        [frame(BINARY_BEGINS, &[0; 600]), header(ENDS, 401)].concat(),
        [frame(BINARY_BEGINS, &[0; 1000]), frame(GOES_ON, b""), header(GOES_ON, 1)].concat(),
    ] {
        let mut client = host.upgraded();
        client.send(&bytes);
        expect_close(&mut client, 1009);
        assert_eq!(client.read_to_eof(), b"");
        assert_eq!(witness.ask("still here"), "still here");
    }
}

#[test]
fn an_incomplete_request_ends_after_the_handshake_timeout() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let (web, echo) = (plugin("web"), plugin("echo"));
    let routes = ["--route", "/echo=web:onrequest", "--route", "/ws=,echo:onmessage,"];
    let host = Host::start(
        &[&["serve", path(&web), path(&echo), "--workers", "1", "--handshake-timeout", "300ms"], &routes[..]]
            .concat(),
    );
    let mut upgraded = host.open("/ws");
    let body = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf";
    let chunk = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    for (sent, status) in [
        ("", None),
        ("GET /echo HT", None),
        ("GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgr", None),
        (body, Some(408)),
        (chunk, Some(408)),
    ] {
        let start = Instant::now();
        let mut client = host.connect();
        client.send(sent);
        if let Some(status) = status {
            assert_eq!(client.read_answer(true).status, status, "{sent}");
        }
        assert_eq!(client.read_to_eof(), b"", "{sent}");
        assert!(start.elapsed() >= TIMEOUT, "{sent}: after {:?}", start.elapsed());
    }
    assert_eq!(upgraded.ask("is unaffected"), "is unaffected");
}

/// The timeout covers the whole request; further bytes do not extend it.
#[test]
fn a_request_that_arrives_byte_by_byte_ends_after_the_handshake_timeout() {
    let host = Host::serve("web", &["--workers", "1", "--handshake-timeout", "300ms"]);
    for head in ["GET / HTTP/1.1\r\nx:", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"] {
        let mut client = host.connect();
        client.send(head);
        let mut drops = 0;
        while client.nothing_for(Duration::from_millis(20)) {
            client.send("x");
            drops += 1;
            assert!(drops < 1000, "{head}: the timeout starts anew with every byte");
        }
    }
}

#[test]
fn a_message_larger_than_the_backlog_reaches_a_client_that_reads() {
    let host = serve(&["--max-backlog", "64KiB", "--max-message", "4MiB"]);
    let mut client = host.open("/");
    let message: Vec<u8> = (0..=255).cycle().take(4 << 20).collect();
    for _ in 0..2 {
        client.binary(&message);
        assert!(client.next_binary() == message);
    }
}

/// The processes of the server: parent and worker.
fn processes(host: &Host) -> Vec<Process> {
    let parent = Process(host.pid());
    [vec![parent], parent.children()].concat()
}

/// The server's resident memory in KiB.
fn resident(host: &Host) -> u64 {
    processes(host).into_iter().map(Process::resident_kib).sum()
}

fn descriptors(host: &Host) -> usize {
    processes(host).into_iter().map(Process::descriptors).sum()
}

const BACKLOG: usize = 64 << 10;
const PAYLOAD: usize = 2048;

/// One message of the flood, which the echo plugin broadcasts.
fn flood_message(number: usize) -> Vec<u8> {
    let mut message = format!("!{number:08}").into_bytes();
    message.resize(PAYLOAD, b'.');
    message
}

const GIVEN_UP: &str = "closing it with 1013";

/// Broadcasts until the server has closed `slow` clients, of which the log has that text. A client that reads must receive
/// everything, and no queue may exceed the backlog by more than one message.
fn flood(host: &Host, slow: usize, closed: &str) {
    const BATCH: usize = 16; // shorter than the backlog, so the reader always keeps up
    const MOST: usize = 64 << 20; // far more than the kernel buffers for the slow clients
    let (mut source, mut reader) = (host.upgraded(), host.upgraded());
    let mut sent = 0;
    while host.log_lines(closed).len() < slow {
        assert!(sent * PAYLOAD < MOST, "no slow client was closed");
        for _ in 0..8 {
            let batch: Vec<_> = (sent..sent + BATCH).map(flood_message).collect();
            source.send(batch.iter().flat_map(|message| frame(TEXT, message)).collect::<Vec<_>>());
            for message in batch {
                assert!(reader.read_frame() == (TEXT, message), "message {sent} or one of the next");
                sent += 1;
            }
        }
    }
    for line in host.log_lines(GIVEN_UP) {
        let (before, _) = line.split_once(" bytes wait").expect("the line has the number of bytes");
        let waited: usize =
            before.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("the value is a number");
        assert!(waited <= BACKLOG + PAYLOAD + 4, "{line}");
    }
}

#[test]
fn clients_that_stop_reading_cost_only_their_backlog() {
    const SLOW: usize = 4;
    let host = serve(&["--max-backlog", "64KiB", "--close-timeout", "500ms"]);
    let mut slow: Vec<_> = (0..SLOW).map(|_| host.upgraded()).collect();
    let before = resident(&host);
    flood(&host, SLOW, GIVEN_UP);
    let grown = resident(&host).saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB for {SLOW} backlogs of 64 KiB");
    assert_eq!(host.open("/").ask("served on"), "served on");
    // These clients never read, so none answers the Close and the server drops them.
    eventually("all of them are dropped", || host.log_lines("left: 1013").len() == SLOW);
    for client in &mut slow {
        assert!(client.read_to_end().starts_with(&[TEXT, 126]));
    }
}

#[test]
fn a_slow_client_that_reads_again_gets_the_queued_messages_and_then_1013() {
    let host = serve(&["--max-backlog", "64KiB", "--close-timeout", "30s"]);
    let mut slow = host.upgraded();
    flood(&host, 1, GIVEN_UP);
    let mut received = 0;
    let close = loop {
        match slow.read_frame() {
            (TEXT, message) => assert!(message == flood_message(received), "message {received}"),
            (first, payload) => break (first, payload),
        }
        received += 1;
    };
    assert!(received * PAYLOAD > BACKLOG, "only {received} messages");
    assert_eq!((close.0, close.1.first_chunk()), (CLOSE, Some(&1013_u16.to_be_bytes())));
    slow.send_frame(CLOSE, &1013_u16.to_be_bytes());
    assert_eq!(slow.read_to_eof(), b"");
    host.log_line("left: 1013 `too slow to receive` by Server");
}

/// The queue of echoes that a client does not read is bounded. A client that is closed cannot stay by sending
/// more.
#[test]
fn a_client_that_only_sends_is_closed() {
    let host = serve(&["--max-backlog", "64KiB", "--close-timeout", "300ms"]);
    let messages = frame(BINARY, &[1; 16 << 10]).repeat(64);
    for (begin, end) in [(frame(BINARY, b""), "left: 1013"), (frame(0xFF, b"a violation"), "left: 1002")] {
        let mut client = host.upgraded();
        client.send(begin);
        let start = Instant::now();
        while client.try_send(&messages) {
            assert!(start.elapsed() < DEADLINE, "the server reads without limit");
        }
        host.log_line(end);
    }
}

#[test]
fn a_client_that_does_not_answer_our_close_is_dropped_after_the_close_timeout() {
    let host = serve(&["--close-timeout", "300ms"]);
    let before = descriptors(&host);
    let mut client = host.connect().upgraded("/note", &[]);
    let start = Instant::now();
    client.send_frame(TEXT, b"close");
    expect_close(&mut client, 4000);
    client.send_frame(TEXT, b"is not an answer");
    client.read_to_end();
    assert!(start.elapsed() >= Duration::from_millis(300), "after {:?}", start.elapsed());
    host.log_line("left: 4000 `as you wish` by Server");
    eventually("its descriptor is closed", || descriptors(&host) == before);
}

/// After a violation the server waits for no Close (RFC 6455 §7.1.7), but gives the client time to read the
/// reason.
#[test]
fn a_client_that_does_not_leave_after_a_violation_is_dropped_after_the_close_timeout() {
    let host = serve(&["--close-timeout", "300ms"]);
    let before = descriptors(&host);
    let mut client = host.upgraded();
    client.send_frame(0xFF, b"?");
    expect_close(&mut client, 1002);
    assert_eq!(client.read_to_eof(), b"");
    host.log_line("left: 1002");
    eventually("its descriptor is closed", || descriptors(&host) == before);
}

#[test]
fn two_hundred_clients_that_vanish_at_any_moment_leave_nothing_behind() {
    let host = serve(&["--close-timeout", "300ms", "--handshake-timeout", "2s"]);
    let mut witness = host.open("/");
    let before = descriptors(&host);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let conversation = [
        request.as_bytes(),
        &frame(TEXT, b"whole"),
        &frame(BINARY_BEGINS, &[2; 300]),
        &frame(PING, b"between"),
        &frame(ENDS, &[2; 5000]),
        &frame(CLOSE, &1000_u16.to_be_bytes()),
    ]
    .concat();
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    for number in 0..200 {
        // xorshift64 with a fixed seed, so every run uses the same moments.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let moment = random as usize % (conversation.len() + 1);
        let mut client = host.connect();
        client.send(&conversation[..moment]);
        if number % 3 == 0 && moment >= request.len() {
            assert_eq!(client.read_answer(false).status, 101);
        }
        match number % 5 {
            0 => drop(client),
            1 => {
                client.half_close();
                client.read_to_end();
            }
            _ => client.reset(),
        }
        assert_eq!(witness.ask("still here"), "still here");
    }
    eventually("all descriptors are closed", || descriptors(&host) == before);
    assert_eq!(witness.ask("done"), "done");
}
