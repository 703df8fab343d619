//! What all clients of a worker together may hold, and for how long.

use super::*;
use crate::support::{scratch, status};

/// The beginning of a message of 1 MiB.
fn part(length: usize) -> Vec<u8> {
    frame(BINARY, &vec![7; 1 << 20])[..length].to_vec()
}

#[test]
fn incomplete_messages_of_many_clients_are_bounded() {
    const PART: usize = 900 << 10;
    let control = scratch("receive-memory.sock");
    let host = serve(&["--receive-memory", "4MiB", "--control", path(&control)]);
    let mut witness = host.open("/");
    assert_eq!(witness.ask("hello"), "hello");
    let before = resident(&host);
    let mut clients: Vec<_> = (0..40).map(|_| host.upgraded()).collect();
    for client in &mut clients {
        client.send(part(PART));
    }
    // 4 MiB are at most four such parts.
    host.log_has("left: 1013", 36);
    let line = host.log_line("more than --receive-memory (4MiB)");
    assert!(line.contains("closed the") && line.contains("with 1013"), "{line}");
    assert!(!line.contains("the 1 clients"), "{line}");
    let grown = resident(&host).saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB");
    assert_eq!(witness.ask("still here"), "still here");
    let status = status(&control);
    let worker = &status["workers"][0];
    let number = |field: &str| worker[field].as_u64().unwrap_or_else(|| panic!("no {field}: {status}"));
    assert!((36..40).contains(&number("shed")), "{status}");
    assert!((1 << 20..=4 << 20).contains(&number("receive_memory_bytes")), "{status}");
    assert_eq!(number("send_memory_bytes"), 0);
    // Those that are left complete their message.
    let message = vec![7; 1 << 20];
    let mut closed = 0;
    for client in &mut clients {
        if client.nothing_for(Duration::from_millis(1)) {
            client.send(&frame(BINARY, &message)[PART..]);
            assert!(client.read_frame() == (BINARY, message.clone()));
        } else {
            expect_close(client, 1013);
            closed += 1;
        }
    }
    assert!((36..40).contains(&closed), "{closed}");
}

#[test]
fn a_message_that_takes_too_long_is_closed_with_1008() {
    const TIMEOUT: Duration = Duration::from_millis(400);
    let host = serve(&["--message-timeout", "400ms"]);
    let mut witness = host.open("/");
    let byte_by_byte = part(1 << 20);
    let fragments = [frame(BINARY_BEGINS, b"?"), frame(GOES_ON, b"?").repeat(100_000)].concat();
    for (bytes, step) in [(byte_by_byte, 1), (fragments, 7)] {
        let mut client = host.upgraded();
        let begun = Instant::now();
        let mut steps = bytes.chunks(step);
        while client.nothing_for(Duration::from_millis(10)) {
            client.send(steps.next().expect("the server closes long before"));
        }
        assert!(begun.elapsed() >= TIMEOUT, "{:?}", begun.elapsed());
        expect_close(&mut client, 1008);
        host.log_line("a message is not complete after 400ms (--message-timeout); closing it with 1008");
    }
    assert_eq!(witness.ask("still here"), "still here");
}

#[test]
fn write_queues_of_many_clients_are_bounded() {
    const SLOW: usize = 20;
    let host = serve(&["--send-memory", "8MiB", "--close-timeout", "30s"]);
    let mut slow: Vec<_> = (0..SLOW)
        .map(|_| {
            let client = host.connect();
            client.buffer_little();
            client.upgraded("/", &[])
        })
        .collect();
    let (mut source, mut reader) = (host.upgraded(), host.upgraded());
    let before = resident(&host);
    let mut sent = 0;
    while host.log_lines("more than --send-memory (8MiB)").is_empty() {
        assert!(sent * PAYLOAD < 64 << 20, "no client was closed");
        for _ in 0..16 {
            source.send_frame(TEXT, &flood_message(sent));
            assert!(reader.read_frame() == (TEXT, flood_message(sent)), "message {sent}");
            sent += 1;
        }
    }
    let grown = resident(&host).saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");
    // Each slow client gets whole messages in order; those that are closed get a Close behind one.
    let (mut closed, mut open) = (0, 0);
    for client in &mut slow {
        let mut received = 0;
        while received < sent {
            match client.read_frame() {
                (TEXT, message) => assert!(message == flood_message(received), "message {received}"),
                (first, payload) => {
                    assert_eq!((first, payload.first_chunk()), (CLOSE, Some(&1013_u16.to_be_bytes())));
                    break;
                }
            }
            received += 1;
        }
        if received < sent { closed += 1 } else { open += 1 }
    }
    assert!(closed > 0 && open > 0, "{closed} closed, {open} open");
}
