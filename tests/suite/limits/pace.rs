//! Clients that send faster than they take, and clients that take slowly all the time: neither is closed for it,
//! and neither costs more than its backlog.

use super::*;

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
            // Takes longer than to send one.
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
        // Whoever takes nothing for a second does not read.
        assert!(begun.elapsed() >= Duration::from_secs(1), "after {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(10), "after {:?}", begun.elapsed());
        assert!(line.contains("--max-backlog"), "{line}");
        let grown = resident(&host).saturating_sub(before);
        assert!(grown < 16 << 10, "{grown} KiB");
        host.log_line("left: 1013");
    });
}

/// What waits for it is never all sent, and must not be kept once it is.
#[test]
fn a_client_that_is_always_behind_costs_no_more_than_it_is_behind() {
    const AHEAD: usize = 6 << 20; // more than the kernel holds
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
