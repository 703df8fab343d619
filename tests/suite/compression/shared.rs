//! What clients with compression share: broadcasts, the memory of a worker, and reloads.

use super::*;
use crate::support::{ROUTE, Reloading, scratch, status, variant};

#[test]
fn a_broadcast_is_compressed_once_for_clients_that_can_share_it() {
    for workers in ["1", "2"] {
        let host = serve("context", &["--workers", workers]);
        let mut source = host.open("/");
        let offers = [
            BROWSER,
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits",
        ];
        let mut clients: Vec<_> =
            (0..12).map(|i| Deflating::open(&host, "/", offers[i % offers.len()])).collect();
        let mut plain = host.upgraded();
        // Each has something else in its window.
        for (number, client) in clients.iter_mut().enumerate() {
            let message = json(number, 900);
            assert!(client.ask(TEXT, &message).0 == message);
        }
        plain.send_frame(TEXT, b"is open");
        assert_eq!(plain.read_frame(), (TEXT, b"is open".to_vec()));
        for round in 0..10 {
            let length = [80, 500, 6000, 60_000, 40][round % 5];
            let mut message = json(round, length);
            message[0] = b'!';
            source.text(std::str::from_utf8(&message).expect("it is JSON"));
            let mut sent = Vec::new();
            for (number, client) in clients.iter_mut().enumerate() {
                let (first, content, length) = client.read();
                assert!((first, &content) == (TEXT, &message), "client {number} in round {round}");
                sent.push(length);
            }
            assert_eq!(plain.read_frame(), (TEXT, message.clone()));
            assert!(length < 500 || sent.iter().all(|sent| *sent < length * 3 / 4), "{sent:?} of {length}");
            assert_eq!(sent[0], sent[4], "the same for clients that have agreed on the same");
            // What follows may refer to the broadcast.
            for (number, client) in clients.iter_mut().enumerate() {
                let message = json(round + number, 700);
                assert!(client.ask(TEXT, &message).0 == message, "client {number} after round {round}");
            }
        }
    }
}

#[test]
fn windows_count_as_memory_and_are_bounded() {
    let control = scratch("compression-memory.sock");
    // Half of the received memory is for windows: 24 of 4 KiB.
    let options = ["--max-message", "64KiB", "--receive-memory", "192KiB"];
    let more = ["--max-backlog", "64KiB", "--send-memory", "64KiB", "--control", path(&control)];
    let host = serve("context", &[&options[..], &more].concat());
    let number = |field: &str| {
        let status = status(&control);
        status["workers"][0][field].as_u64().unwrap_or_else(|| panic!("no {field}: {status}"))
    };
    let mut clients: Vec<_> = (0..30).map(|_| Deflating::open(&host, "/", BROWSER)).collect();
    let with_context = clients.iter().filter(|it| !it.agreed.contains("client_no_context_takeover")).count();
    assert_eq!(with_context, 24);
    assert_eq!(number("compressed"), 30);
    assert_eq!(
        (number("receive_memory_bytes"), number("send_memory_bytes")),
        (0, 0),
        "before the first message"
    );
    for round in 0..20 {
        for (number, client) in clients.iter_mut().enumerate() {
            let message = json(round + number, 1000);
            assert!(client.ask(TEXT, &message).0 == message, "client {number} in round {round}");
        }
    }
    let received = number("receive_memory_bytes");
    assert!((80 << 10..=24 << 12).contains(&received), "{received}");
    // 30 windows of 4 KiB are above the bound: they were dropped, and no client was closed.
    let sent = number("send_memory_bytes");
    assert!((1..=64 << 10).contains(&sent), "{sent}");
    let line = host.log_line("more than --send-memory (64KiB)");
    assert!(line.contains("dropped the windows of"), "{line}");
    assert_eq!(number("shed"), 0);
    // A client that leaves gives its windows back.
    for client in clients {
        let mut raw = client.raw;
        raw.send_frame(CLOSE, &1000_u16.to_be_bytes());
        assert_eq!(closed_with(&mut raw), 1000);
    }
    assert_eq!(number("compressed"), 0);
    assert_eq!((number("receive_memory_bytes"), number("send_memory_bytes")), (0, 0));
    let next = Deflating::open(&host, "/", BROWSER);
    assert!(!next.agreed.contains("client_no_context_takeover"), "there is room again");
}

#[test]
fn clients_keep_their_windows_over_a_reload() {
    let options = ["--compression", "context", "--ping-interval", "0", "--route", ROUTE];
    let reloading = Reloading::serve(&variant("1", &["-DHOOKS", "-DNOTE_SIZE=1024"]), &options);
    let mut client = Deflating::open(&reloading.host, "/", BROWSER);
    assert_eq!(client.read().1, b"join 1");
    let name = String::from_utf8(json(7, 300)).expect("it is JSON");
    let mut ask = |text: &str| String::from_utf8(client.ask(TEXT, text.as_bytes()).0).expect("text");
    assert_eq!(ask(&format!("set {name}")), "set");
    assert!(ask("get").contains(&name));
    for generation in ["2", "3"] {
        reloading
            .reload_with(&variant(generation, &["-DHOOKS", "-DNOTE_SIZE=1024"]))
            .expect("the reload is accepted");
        assert!(ask("get").contains(&name));
    }
}
