//! What one client may cost: message sizes, time, memory, descriptors. Each test takes a server with small
//! limits to its bounds and past them, and checks that others are served on.
#![forbid(unsafe_code)]

mod support;

use std::fs;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use support::{DEADLINE, Host, Raw, frame, path, plugin};

// First bytes of frames, RFC 6455 §5.2.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
const BINARY_BEGINS: u8 = 0x02;
const GOES_ON: u8 = 0x00;
const ENDS: u8 = 0x80;

fn echo(options: &[&str]) -> Host {
    Host::serve("echo", options)
}

/// A server whose handlers log messages and endings; the message `close` makes it close.
fn noting(options: &[&str]) -> Host {
    let library = plugin("requests");
    Host::start(&[&["serve", path(&library), "--route", "/=,note,left"], options].concat())
}

fn client(host: &Host) -> Raw {
    host.connect().upgraded("/", &[])
}

#[track_caller]
fn expect_close(client: &mut Raw, code: u16) {
    let (first, payload) = client.read_frame();
    assert_eq!((first, payload.first_chunk()), (CLOSE, Some(&code.to_be_bytes())), "{payload:02x?}");
}

/// Asks again and again for what no event tells.
#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not in time");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_message_as_large_as_max_message_passes_however_it_is_cut() {
    let host = echo(&["--max-message", "1000"]);
    let mut client = client(&host);
    let message = [b'm'; 1000];
    client.send_frame(BINARY, &message);
    assert_eq!(client.read_frame(), (BINARY, message.to_vec()));
    client.send_frame(BINARY_BEGINS, &message[..1]);
    client.send_frame(GOES_ON, &message[1..999]);
    client.send_frame(GOES_ON, b"");
    client.send_frame(PING, &[b'p'; 125]); // is no part of it
    client.send_frame(ENDS, &message[999..]);
    assert_eq!(client.read_frame(), (PONG, vec![b'p'; 125]));
    assert_eq!(client.read_frame(), (BINARY, message.to_vec()));
}

/// RFC 6455 §7.4.1. Only the header of the frame that is too much is sent: what it claims is enough.
#[test]
fn a_larger_message_is_closed_with_1009_as_soon_as_its_header_says_so() {
    let host = echo(&["--max-message", "1000"]);
    let mut witness = host.open("/");
    let header = |first: u8, length: u64| [&[first, 0x80 | 127][..], &length.to_be_bytes(), &[0; 4]].concat();
    for bytes in [
        header(TEXT, 1001),
        header(BINARY, (1 << 63) - 1),
        [frame(BINARY_BEGINS, &[0; 600]), header(ENDS, 401)].concat(),
        [frame(BINARY_BEGINS, &[0; 1000]), frame(GOES_ON, b""), header(GOES_ON, 1)].concat(),
    ] {
        let mut client = client(&host);
        client.send(&bytes);
        expect_close(&mut client, 1009);
        assert_eq!(client.read_to_eof(), b"");
        assert_eq!(witness.ask("still here"), "still here");
    }
}

#[test]
fn a_request_that_does_not_come_whole_ends_after_the_handshake_timeout() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let (web, echo) = (plugin("web"), plugin("echo"));
    let routes = ["--route", "/echo=web:onrequest", "--route", "/ws=,echo:onmessage,"];
    let host = Host::start(
        &[&["serve", path(&web), path(&echo), "--handshake-timeout", "300ms"], &routes[..]].concat(),
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
    assert_eq!(upgraded.ask("is not meant"), "is not meant");
}

/// The time is for the whole request, not for its next byte.
#[test]
fn a_request_that_drips_ends_after_the_handshake_timeout() {
    let host = Host::serve("web", &["--handshake-timeout", "300ms"]);
    for head in ["GET / HTTP/1.1\r\nx:", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"] {
        let mut client = host.connect();
        client.send(head);
        let mut drips = 0;
        while let ControlFlow::Continue(()) = client.drip(b'x', Duration::from_millis(20)) {
            drips += 1;
            assert!(drips < 1000, "{head}: it takes drop after drop");
        }
    }
}

#[test]
fn a_message_larger_than_the_backlog_reaches_a_client_that_reads() {
    let host = echo(&["--max-backlog", "64KiB"]);
    let mut client = host.open("/");
    let message: Vec<u8> = (0..=255).cycle().take(4 << 20).collect();
    for _ in 0..2 {
        client.binary(&message);
        assert!(client.next_binary() == message);
    }
}

/// The resident memory of the server in KiB.
fn resident(host: &Host) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
    line.trim_end_matches(" kB").trim().parse().expect("it is a number")
}

const FLOOD_PAYLOAD: usize = 2048;

fn flood_message(number: usize) -> Vec<u8> {
    let mut message = format!("!{number:08}").into_bytes();
    message.resize(FLOOD_PAYLOAD, b'.');
    message
}

/// Broadcasts until the server has given up so many clients, and checks that one which reads gets all of it.
/// The number of messages sent.
fn flood(host: &Host, slow: usize) -> usize {
    const BATCH: usize = 16; // less than the backlog: the reader is never too slow
    const MOST: usize = 64 << 20; // far more than the kernel buffers for the slow ones
    let (mut source, mut reader) = (client(host), client(host));
    let mut sent = 0;
    while host.log_lines("closing it with 1013").len() < slow {
        assert!(sent * FLOOD_PAYLOAD < MOST, "nobody is given up\n{}", host.log());
        for _ in 0..8 {
            let batch: Vec<_> = (sent..sent + BATCH).map(flood_message).collect();
            source.send(batch.iter().map(|message| frame(TEXT, message)).collect::<Vec<_>>().concat());
            for message in batch {
                assert!(reader.read_frame() == (TEXT, message), "message {sent} and on");
            }
            sent += BATCH;
        }
    }
    sent
}

#[test]
fn clients_that_stop_reading_cost_their_backlog_and_nobody_else() {
    const SLOW: usize = 4;
    let host = noting(&["--max-backlog", "64KiB", "--close-timeout", "500ms", "--route", "/flood=,broadcast,"]);
    let mut slow: Vec<_> = (0..SLOW).map(|_| client(&host)).collect();
    let mut witness = host.open("/");
    let before = resident(&host);
    flood_through(&host, SLOW);
    let grown = resident(&host).saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB for {SLOW} backlogs of 64 KiB");
    witness.text("still served");
    host.log_line("note: still served");
    // They do not read now either: the Close is not answered, and the time for that is up.
    eventually("all of them are dropped", || host.log_lines("left: 1013").len() == SLOW);
    for client in &mut slow {
        assert!(client.read_to_end().len() > FLOOD_PAYLOAD);
    }
}
