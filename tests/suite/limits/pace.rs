//! Clients that send faster than they read, and clients that are always behind. Neither is closed for it, and
//! neither costs more than its backlog.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::*;
use crate::support::PONG;

#[test]
fn a_client_that_sends_at_full_speed_and_reads_gets_everything_back() {
    const MESSAGES: usize = 200;
    let host = serve(&[]);
    let mut client = host.upgraded();
    let mut sender = client.other_half();
    let message: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let framed = frame(BINARY, &message);
    thread::scope(|scope| {
        scope.spawn(|| (0..MESSAGES).for_each(|_| sender.send(&framed)));
        for number in 0..MESSAGES {
            // Longer than it takes to send one message.
            thread::sleep(Duration::from_millis(5));
            let (first, payload) = client.read_frame();
            assert!(first == BINARY && payload == message, "message {number}: {first:#x}");
        }
    });
    client.send_frame(CLOSE, &1000_u16.to_be_bytes());
    expect_close(&mut client, 1000);
}

#[test]
fn a_client_that_floods_and_never_reads_is_closed_with_1013_and_costs_its_backlog() {
    let host = serve(&["--close-timeout", "300ms"]);
    assert_eq!(host.open("/").ask("hello"), "hello");
    let before = resident(&host);
    let mut client = host.upgraded();
    let messages = frame(BINARY, &[1; 64 << 10]).repeat(16);
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || while client.try_send(&messages) {});
        let line = host.log_line("closing it with 1013");
        // A client that reads nothing for a second counts as not reading.
        assert!(begun.elapsed() >= Duration::from_secs(1), "after {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(10), "after {:?}", begun.elapsed());
        assert!(line.contains("--max-backlog"), "{line}");
        let grown = resident(&host).saturating_sub(before);
        assert!(grown < 16 << 10, "{grown} KiB");
        host.log_line("left: 1013");
    });
}

/// The queue never becomes empty; sent messages must still be freed.
#[test]
fn a_client_that_is_always_behind_costs_no_more_than_its_queue() {
    const AHEAD: usize = 6 << 20; // more than the kernel buffers
    const ALL: usize = 64 << 20;
    let host = serve(&["--max-backlog", "8MiB"]);
    let (mut source, reader) = (host.upgraded(), host.connect());
    reader.buffer_little();
    let mut reader = reader.upgraded("/", &[]);
    let mut read = 0;
    let mut before = 0;
    for sent in 0..ALL / PAYLOAD {
        source.send_frame(TEXT, &flood_message(sent));
        if sent * PAYLOAD >= AHEAD {
            if before == 0 {
                before = resident(&host);
            }
            assert!(reader.read_frame() == (TEXT, flood_message(read)), "message {read}");
            read += 1;
        }
    }
    let grown = resident(&host).saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB, {before} KiB before");
    assert_eq!(host.log_lines("1013").len(), 0);
}

/// Two clients on one worker: one sends frames as fast as the server reads them, the other waits for each answer. The
/// server may handle a bounded part of the flood before it looks for anything else: other clients, new ones, signals.
#[test]
fn a_client_that_floods_lets_others_and_new_ones_have_their_turn() {
    const ROUND_TRIPS: usize = 20;
    /// Some turns of the flooding client, and what the kernel holds for it.
    const PART: usize = 40 << 20;
    // On a busy machine the other client is idle for longer than a ping takes to come.
    let mut host = serve(&["--drain-timeout", "2s", "--close-timeout", "1s", "--ping-interval", "0"]);
    let mut flood = host.upgraded();
    let mut other = host.open("/");
    // A Pong runs no handler and has no answer (RFC 6455 §5.5.3).
    let pongs = frame(PONG, b"").repeat(10_000);
    let (sent, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        // Also when an assertion fails: the scope waits for the other thread.
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| {
            while !stop.load(Relaxed) && flood.try_send(&pongs) {
                sent.fetch_add(pongs.len(), Relaxed);
            }
        });
        while sent.load(Relaxed) < PART {
            thread::yield_now();
        }
        let during = |work: &mut dyn FnMut()| {
            let before = sent.load(Relaxed);
            work();
            sent.load(Relaxed) - before
        };
        let mut parts: Vec<usize> =
            (0..ROUND_TRIPS).map(|_| during(&mut || assert_eq!(other.ask("hi"), "hi"))).collect();
        parts.extend((0..ROUND_TRIPS).map(|_| during(&mut || drop(host.open("/")))));
        parts.sort_unstable();
        let median = parts[parts.len() / 2];
        assert!(median < PART, "{median} bytes of the flood were handled in between: {parts:?}");
        host.ask_to_stop();
        host.log_line("stopping");
    });
    drop(flood);
    drop(other);
    host.ended();
}

/// One worker, one client whose messages take 10 ms each and arrive together. The other client waits for one turn, not
/// for all of them.
#[test]
fn a_client_whose_messages_take_long_lets_others_have_their_turn() {
    const MESSAGES: usize = 1000;
    let host = Host::serve("test-crash", &[]);
    let (mut busy, mut other) = (host.upgraded(), host.open("/"));
    busy.send([frame(TEXT, b"sleep 10").repeat(MESSAGES), frame(TEXT, b"done")].concat());
    for _ in 0..10 {
        assert_eq!(other.ask("hi"), "hi");
    }
    drop(host.open("/"));
    assert!(busy.nothing_for(Duration::from_millis(1)), "10 s of work were done before");
}

#[test]
fn many_short_callbacks_that_keep_clients_waiting_are_logged_with_their_handler() {
    const CLIENTS: usize = 50;
    let host = Host::serve("test-crash", &["--slow-callback", "250ms"]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| host.upgraded()).collect();
    // Half a second for a turn of each.
    clients.iter_mut().for_each(|c| c.send(frame(TEXT, b"sleep 10").repeat(100)));
    let line = host.log_line("blocked the event loop for");
    assert!(line.contains("worker 0: onmessage handler crash:onmessage "), "{line}");
    assert!(line.contains("(slow_callback = 250ms)"), "{line}");
    assert_eq!(host.log_lines("(--slow-callback)").len(), 0, "no single one is slow: {}", host.log());
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A client whose queue waits, with `count` messages of the flood in it or read by the kernel, and the server.
fn behind(count: usize, options: &[&str]) -> (Host, Raw) {
    let host = serve(&[&["--max-backlog", "64MiB", "--high-water", "32MiB"], options].concat());
    let (mut source, reader) = (host.upgraded(), host.connect());
    reader.buffer_little();
    let reader = reader.upgraded("/", &[]);
    (0..count).for_each(|number| source.send_frame(TEXT, &flood_message(number)));
    // Behind all of them.
    source.send_frame(PING, b"");
    assert_eq!(source.read_frame(), (PONG, Vec::new()));
    (host, reader)
}

#[test]
fn a_client_that_ends_its_side_gets_what_waits_for_it() {
    const COUNT: usize = 4096;
    let (host, mut client) = behind(COUNT, &["--close-timeout", "60s"]);
    client.half_close();
    // The worker has seen that when it has answered others.
    (0..3).for_each(|_| assert_eq!(host.open("/").ask("hello"), "hello"));
    for number in 0..COUNT {
        assert!(client.read_frame() == (TEXT, flood_message(number)), "message {number}");
    }
    assert_eq!(client.read_to_eof(), b"");
    // It, and the source.
    host.log_has("left: 1006", 2);
}

#[test]
fn a_client_that_ends_its_side_and_does_not_read_is_dropped_in_time() {
    let (host, mut client) = behind(4096, &["--close-timeout", "300ms"]);
    client.half_close();
    // It, and the source.
    host.log_has("left: 1006", 2);
    assert!(client.read_to_end().len() < 4096 * PAYLOAD);
}
