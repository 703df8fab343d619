//! Limits that change while clients are connected.

use std::time::Duration;

use rustix::process::Signal;

use super::*;
use crate::support::{CLOSE, PING, TEXT, TEXT_BEGINS, eventually, serve_crash, status};

#[test]
fn the_size_of_a_message_changes_for_connections_that_exist() {
    let server = Configured::serve("limit-message", "");
    let (mut client, mut other) = (server.host.open("/"), server.host.open("/"));
    let (short, long) = ("s".repeat(10), "l".repeat(2 << 20));
    assert_eq!(client.ask(&short), short);
    server.reload("[websocket]\nmax_message = '4MiB'");
    assert_eq!(client.ask(&long), long, "above the default");
    server.reload("[websocket]\nmax_message = 10");
    assert_eq!(client.ask(&short), short);
    client.text("eleven bytes");
    assert_eq!(client.closed().map(|(code, _)| code), Some(1009));
    assert_eq!(other.ask(&short), short);
}

#[test]
fn workers_relay_the_messages_that_a_new_limit_allows() {
    let server = Configured::serve_with("limit-relay", "", &["--workers", "2", "--log", "debug"]);
    server.host.workers_serve(2);
    let (mut client, mut others) = (server.host.open("/"), Vec::new());
    for _ in 0..8 {
        others.push(server.host.open("/"));
    }
    // A message to the other worker is larger than what its link has accepted at the start.
    let long = format!("!{}", "l".repeat(3 << 20));
    server.reload("[websocket]\nmax_message = '4MiB'");
    client.text(&long);
    assert!(others.iter_mut().all(|other| other.next_text() == long));
    server.reload("[websocket]\nmax_message = 10");
    client.text("!short");
    assert!(others.iter_mut().all(|other| other.next_text() == "!short"));
    // A worker that starts now has the new limits, too.
    server.host.workers().iter().for_each(|worker| worker.signal(Signal::KILL));
    server.host.workers_serve(4);
    let mut client = server.host.open("/");
    client.text("eleven bytes");
    assert_eq!(client.closed().map(|(code, _)| code), Some(1009));
}

#[test]
fn pings_begin_and_end_for_connections_that_exist() {
    let server = Configured::serve("limit-pings", "[websocket]\nping_interval = 0");
    let mut silent = server.host.upgraded();
    server.reload("[websocket]\nping_interval = '300ms'");
    assert_eq!(silent.read_frame().0, PING);
    assert_eq!(silent.read_to_eof(), b"", "it does not answer");
    server.reload("[websocket]\nping_interval = 0");
    let mut alive = server.host.upgraded();
    server.reload("[websocket]\nping_interval = '2s'");
    assert_eq!(alive.read_frame().0, PING);
    // The Ping needs no answer any more, and none follows.
    server.reload("[websocket]\nping_interval = 0");
    assert!(alive.nothing_for(Duration::from_millis(2500)));
    server.reload("[websocket]\nping_interval = '200ms'");
    assert_eq!(alive.read_frame().0, PING);
}

#[test]
fn the_time_to_close_changes_for_connections_that_are_closing() {
    for (before, after) in [("60s", "100ms"), ("1500ms", "2s")] {
        let server = Configured::serve("limit-close", &format!("[websocket]\nclose_timeout = '{before}'"));
        let mut client = server.host.connect().upgraded("/note", &[]);
        client.send_frame(TEXT, b"close");
        assert_eq!(client.read_frame().0, CLOSE);
        server.reload(&format!("[websocket]\nclose_timeout = '{after}'"));
        assert_eq!(client.read_to_eof(), b"", "{after}");
        server.host.log_line("left: 4000 `as you wish` by Server");
    }
}

#[test]
fn the_time_for_a_message_changes_for_messages_that_have_begun() {
    let server = Configured::serve("limit-time", "[websocket]\nmessage_timeout = 0");
    let mut client = server.host.upgraded();
    client.send_frame(TEXT_BEGINS, b"begun");
    client.send_frame(0x89, b"");
    assert_eq!(client.read_frame().0, 0x8a, "the fragment has arrived");
    server.reload("[websocket]\nmessage_timeout = '200ms'");
    let (first, payload) = client.read_frame();
    assert_eq!((first, payload.first_chunk()), (CLOSE, Some(&1008_u16.to_be_bytes())));
}

#[test]
fn the_times_and_sizes_of_requests_change() {
    let server = Configured::serve("limit-requests", "");
    let mut kept = server.host.connect();
    assert_eq!(kept.request("POST", "/answer", &[], b"four").status, 200);
    server.reload("[http]\nmax_body = 3\nkeepalive_timeout = '100ms'\nmax_head = '8KiB'");
    // The time between two requests is that of the connection.
    assert_eq!(kept.request("POST", "/answer", &[], b"four").status, 413);
    let mut new = server.host.connect();
    assert_eq!(new.request("GET", "/answer", &[], b"").status, 200);
    assert_eq!(new.read_to_eof(), b"");
    let answer = server.host.connect().request("GET", "/answer", &[("X-Long", &"x".repeat(12_000))], b"");
    assert_eq!(answer.status, 431);
}

#[test]
fn limits_of_an_address_can_be_turned_on_changed_and_turned_off() {
    let server = Configured::serve_with("limit-address", "", &["--workers", "2"]);
    let get = || server.host.connect().request("GET", "/answer", &[], b"").status;
    assert!((0..20).all(|_| get() == 200));
    let said = server.reload("[http]\nrequest_rate = '3/h'\n[worker]\nmax_per_address = 100");
    assert!(said.ends_with("; now in effect: max_per_address, request_rate\n"), "{said}");
    assert_eq!((0..4).map(|_| get()).collect::<Vec<_>>(), [200, 200, 200, 429]);
    server.reload("[worker]\nmax_per_address = 2");
    let held: Vec<_> = (0..2).map(|_| server.host.upgraded()).collect();
    assert_eq!(server.host.connect().read_answer(true).status, 429);
    server.reload("");
    assert!((0..5).all(|_| get() == 200));
    drop(held);
}

#[test]
fn the_number_of_connections_changes_and_those_that_exist_stay() {
    let server = Configured::serve("limit-connections", "[worker]\nmax_connections = 1");
    let mut first = server.host.open("/");
    let mut second = server.host.connect();
    second.send_request("GET", "/answer", &[], b"");
    server.host.log_line("connection limit reached: 1 in all");
    server.reload("[worker]\nmax_connections = 3");
    assert_eq!(second.read_answer(true).status, 200);
    let mut third = server.host.open("/");
    server.reload("[worker]\nmax_connections = 1");
    assert_eq!((first.ask("one").as_str(), third.ask("three").as_str()), ("one", "three"));
}

#[test]
fn the_limits_on_callbacks_change() {
    let folder = empty_folder("limit-callbacks");
    let (file, control) = (folder.join("callsign.toml"), folder.join("c.sock"));
    let write = |text: &str| fs::write(&file, text).expect("the scratch folder can be written");
    write("[worker]\nslow_callback = 0\nhang_timeout = 0");
    let host = serve_crash(1, &["--config", path(&file), "--control", path(&control)]);
    let reload = || run(&["reload", "--config", "--control", path(&control)]);
    let mut client = host.open("/");
    client.text("sleep 300");
    client.text("who");
    client.next_text();
    assert!(host.log_lines("--slow-callback").is_empty());
    write("[worker]\nslow_callback = '50ms'\nhang_timeout = 0");
    assert_eq!(reload().0, 0);
    client.text("sleep 300");
    host.log_line("has run for ");
    write("[worker]\nslow_callback = '50ms'\nhang_timeout = '1500ms'");
    assert_eq!(reload().0, 0);
    client.text("spin");
    host.log_line("(--hang-timeout)");
    client.dropped();
}

#[test]
fn the_memory_of_a_worker_and_the_high_water_mark_change() {
    let server = Configured::serve("limit-memory", "");
    let mut holder = server.host.upgraded();
    holder.send_frame(TEXT_BEGINS, &vec![b'x'; 600_000]);
    eventually("it is held", || {
        status(&server.control)["workers"][0]["receive_memory_bytes"]
            .as_u64()
            .is_some_and(|held| held >= 600_000)
    });
    let text = "[websocket]\nmax_message = '100KiB'\n[worker]\nreceive_memory = '400KiB'";
    server.reload(text);
    // The next client that holds something exceeds the memory.
    let mut next = server.host.upgraded();
    next.send_frame(TEXT_BEGINS, b"more");
    let (first, payload) = holder.read_frame();
    assert_eq!((first, payload.first_chunk()), (CLOSE, Some(&1013_u16.to_be_bytes())));
    next.send_frame(0x80, b"over");
    assert_eq!(next.read_frame(), (TEXT, b"moreover".to_vec()));
}

#[test]
fn the_time_to_drain_changes() {
    let mut server =
        Configured::serve("limit-drain", "drain_timeout = '60s'\n[websocket]\nclose_timeout = '60s'");
    let mut client = server.host.upgraded();
    server.reload("drain_timeout = '100ms'\n[websocket]\nclose_timeout = '60s'");
    assert!(!server.host.terminate().success());
    server.host.log_line("--drain-timeout");
    assert_eq!(client.read_frame().0, CLOSE);
}
