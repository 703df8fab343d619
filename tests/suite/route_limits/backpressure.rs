//! Clients that read more slowly than they are sent to.

use super::*;
use crate::support::{Reloading, c_plugin, c_plugin_with, eventually, frame, scratch, status};

/// What status says about the worker.
fn counter(host_control: &std::path::Path, key: &str) -> u64 {
    status(host_control)["workers"][0][key].as_u64().expect("a number")
}

#[test]
fn a_plugin_streams_more_than_the_queue_holds_and_no_line_is_lost() {
    const LINES: u64 = 100_000;
    let control = scratch("stream.sock");
    let options = ["--workers", "1", "--control", path(&control), "--ping-interval", "0"];
    let host = Host::serve("stream", &options);
    let mut client = host.connect().upgraded("/", &[]);
    client.buffer_little();
    client.send_frame(TEXT, LINES.to_string().as_bytes());
    eventually("the socket is full", || counter(&control, "send_memory_bytes") > 0);
    assert_eq!(client.read_frame().0, TEXT);
    for number in 2..=LINES {
        let (first, line) = client.read_frame();
        assert!(
            first == TEXT && line == format!("line {number:0100}").as_bytes(),
            "{first} instead of line {number}"
        );
        if number % 10_000 == 0 {
            let queued = counter(&control, "send_memory_bytes");
            assert!(queued <= 256 << 10, "{queued} bytes wait");
        }
    }
    assert_eq!(host.log_lines("closing it"), [""; 0]);
}

/// A server with the plugin in C, on whose route `/` the policy is to drop.
fn serve_drain(name: &str) -> (Host, PathBuf) {
    let folder = empty_folder(name);
    let (file, control, library) = (folder.join("callsign.toml"), folder.join("c.sock"), c_plugin("drain.c"));
    let text = format!(
        "workers = 1\n[plugin.drain]\npath = {library:?}\n[[route]]\npath = '/'\nonmessage = 'message'\n\
         ondrain = 'drained'\non_full = 'drop'\n[[route]]\npath = '/close'\nonmessage = 'message'\nondrain = 'drained'\n\
         [[route]]\npath = '/handler'\nhandler = 'connect_'\n[[route]]\npath = '/wrong'\nhandler = 'wrong'\n"
    );
    fs::write(&file, text).expect("the scratch folder can be written");
    let options = ["--control", path(&control), "--ping-interval", "0"];
    (Host::start(&[&["serve", "--config", path(&file)], &options[..]].concat()), control)
}

#[test]
fn a_full_queue_drops_or_closes_as_the_route_says() {
    let (host, control) = serve_drain("full");
    let mut client = host.connect().upgraded("/", &[]);
    client.buffer_little();
    client.send_frame(TEXT, b"fill");
    host.log_line("status -12, much waits");
    host.log_line("dropping messages for it until it has read (on_full = \"drop\")");
    assert_eq!(counter(&control, "dropped"), 1);
    assert_eq!(host.log_lines("drained"), [""; 0]);
    // A control frame is not dropped.
    client.send_frame(PING, b"ping");
    let mut received = 0;
    loop {
        match client.read_frame() {
            (PONG, payload) => break assert_eq!(payload, b"ping"),
            whole => assert!(whole == (BINARY, vec![0; 1000]), "message {received}"),
        }
        received += 1;
    }
    assert!(received > 64, "{received}");
    host.log_line("drained, 0 wait");
    client.send_frame(TEXT, b"1");
    assert_eq!(client.read_frame(), (BINARY, vec![0; 1000]), "messages come again");

    let mut closed = host.connect().upgraded("/close", &[]);
    closed.buffer_little();
    closed.send_frame(TEXT, b"fill");
    host.log_line("status -1, much waits");
    host.log_line("more than --max-backlog; closing it with 1013");
    let last = loop {
        match closed.read_frame() {
            (CLOSE, payload) => break payload,
            whole => assert!(whole == (BINARY, vec![0; 1000])),
        }
    };
    assert_eq!(&last[..], b"\x03\xf5too slow to receive");
    assert_eq!(counter(&control, "dropped"), 1);
}

#[test]
fn a_broadcast_skips_a_client_that_is_full_and_counts_what_it_misses() {
    const PAYLOAD: usize = 2000;
    let control = scratch("broadcast.sock");
    let options = ["--control", path(&control), "--ping-interval", "0"];
    let host = serve("broadcast", "on_full = 'drop'", &options);
    let mut slow = host.connect().upgraded("/", &[]);
    slow.buffer_little();
    let (mut source, mut reader) =
        (host.connect().upgraded("/other", &[]), host.connect().upgraded("/other", &[]));
    let message = |number: u64| {
        let mut message = format!("!{number:08}").into_bytes();
        message.resize(PAYLOAD, b'.');
        message
    };
    let mut sent = 0;
    while counter(&control, "dropped") < 100 {
        assert!(sent * (PAYLOAD as u64) < 64 << 20, "nothing is dropped");
        let batch: Vec<_> = (sent..sent + 64).map(message).collect();
        source.send(batch.iter().flat_map(|message| frame(TEXT, message)).collect::<Vec<_>>());
        for message in batch {
            assert!(reader.read_frame() == (TEXT, message), "a client that reads gets everything");
            sent += 1;
        }
    }
    let dropped = counter(&control, "dropped");
    let mut received = 0;
    for _ in 0..sent - dropped {
        let (first, payload) = slow.read_frame();
        let number = payload.get(1..9).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let number = number.expect("a number");
        assert!(first == TEXT && payload == message(number) && number >= received, "message {number}");
        received = number + 1;
    }
    source.send_frame(TEXT, &message(sent));
    assert!(slow.read_frame() == (TEXT, message(sent)), "messages come again");
    let (_, stdout, _) = crate::support::run(&["status", "--control", path(&control)]);
    assert!(
        stdout.contains(&format!("{dropped} messages dropped for clients that read too slowly")),
        "{stdout}"
    );
}

#[test]
fn a_plugin_in_c_streams_too_and_its_names_are_checked() {
    const LINES: usize = 20_000;
    let (host, _control) = serve_drain("c");
    for route in ["/close", "/handler"] {
        let mut client = host.connect().upgraded(route, &[]);
        client.buffer_little();
        client.send_frame(TEXT, LINES.to_string().as_bytes());
        for number in 0..LINES {
            assert!(client.read_frame() == (BINARY, vec![0; 1000]), "line {number}");
        }
    }
    assert_eq!(host.connect().handshake("/wrong", &[]).status, 500);
    host.log_line("none -5, kind -7, missing -6");
    host.log_line("no ondrain handler `nowhere`");
}

#[test]
fn a_reload_replaces_the_ondrain_handler_that_a_client_waits_for() {
    const LINES: usize = 20_000;
    let drain = |defines: &[&str]| c_plugin_with("drain.c", defines);
    let options = ["--workers", "1", "--ping-interval", "0", "--route", "/=,message,,drained"];
    let server = Reloading::serve(&drain(&[]), &options);
    let mut client = server.host.connect().upgraded("/", &[]);
    client.buffer_little();
    client.send_frame(TEXT, LINES.to_string().as_bytes());
    assert_eq!(client.read_frame(), (BINARY, vec![0; 1000]));
    let reason = server.reload_with(&drain(&["-DDRAINED=empty"])).expect_err("a route needs the handler");
    assert!(reason.contains("no ondrain handler `drained`"), "{reason}");
    server.reload_with(&drain(&["-DGENERATION=\"2\""])).expect("it has the handler");
    for number in 1..LINES {
        assert!(client.read_frame() == (BINARY, vec![0; 1000]), "line {number}");
    }
    server.host.log_line("2: drained, 0 wait");
}
