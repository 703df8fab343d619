//! What a route demands of its connections: messages, time, pings. Other routes are not affected.

mod backpressure; // clients that read too slowly

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{BINARY, CLOSE, Host, PING, PONG, Raw, TEXT, empty_folder, isolate, path, plugin};

/// A config file with these keys in a route for `/`, and with a route for `/other` that has none of them. Both echo.
fn config(name: &str, keys: &str) -> PathBuf {
    let file = empty_folder(name).join("callsign.toml");
    let (echo, requests) = (plugin("echo"), plugin("requests"));
    let text = format!(
        "workers = 1\n[plugin.echo]\npath = {echo:?}\n[plugin.requests]\npath = {requests:?}\n[[route]]\npath = '/other'\n\
         onmessage = 'echo:onmessage'\n[[route]]\npath = '/'\nonmessage = 'echo:onmessage'\n\
         ondisconnect = 'requests:left'\n{keys}\n[[route]]\npath = '/handler'\nhandler = 'requests:socket'\n{keys}\n"
    );
    fs::write(&file, text).expect("the scratch folder can be written");
    file
}

fn serve(name: &str, keys: &str, options: &[&str]) -> Host {
    let file = config(name, keys);
    Host::start(&[&["serve", "--config", path(&file)], options].concat())
}

#[track_caller]
fn expect_close(client: &mut Raw, code: u16, reason: &str) {
    let (first, payload) = client.read_frame();
    let expected = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    assert_eq!((first, String::from_utf8_lossy(&payload)), (CLOSE, String::from_utf8_lossy(&expected)));
}

#[test]
fn a_client_without_a_message_is_closed_with_1001_whatever_else_it_sends() {
    const IDLE: Duration = Duration::from_millis(600);
    let host = serve("idle", "idle_timeout = '600ms'", &[]);
    let (mut other, start) = (host.open("/other"), Instant::now());
    let mut client = host.connect().upgraded("/", &[]);
    client.send_frame(TEXT, b"hello");
    assert_eq!(client.read_frame(), (TEXT, b"hello".to_vec()));
    loop {
        client.send_frame(PONG, b"");
        if !client.nothing_for(Duration::from_millis(50)) {
            break;
        }
        assert!(start.elapsed() < 20 * IDLE, "pongs keep it open");
    }
    expect_close(&mut client, 1001, "no message for too long");
    assert!(start.elapsed() >= IDLE, "{:?}", start.elapsed());
    host.log_line("left: 1001 `no message for too long` by Server");
    assert_eq!(other.ask("still here"), "still here");
}

#[test]
fn a_client_is_closed_with_1001_at_the_end_of_its_lifetime_also_while_it_sends() {
    const LIFETIME: Duration = Duration::from_millis(800);
    let host = serve("lifetime", "max_lifetime = '800ms'", &[]);
    let mut other = host.open("/other");
    let start = Instant::now();
    let mut client = host.connect().upgraded("/", &[]);
    let (first, payload) = loop {
        client.send_frame(TEXT, b"on");
        match client.read_frame() {
            (TEXT, echo) => assert_eq!(echo, b"on"),
            close => break close,
        }
        assert!(start.elapsed() < 20 * LIFETIME, "it stays open");
    };
    assert_eq!((first, &payload[..]), (CLOSE, &b"\x03\xe9connected for too long"[..]));
    assert!(start.elapsed() >= LIFETIME * 7 / 8, "{:?}", start.elapsed());
    assert_eq!(other.ask("still here"), "still here");
}

#[test]
fn a_client_that_sends_more_messages_than_its_rate_allows_is_closed_with_1008() {
    let host = serve("rate", "message_rate = { messages = 1, per = '1h', burst = 5 }", &[]);
    let mut other = host.open("/other");
    for number in 0..2 {
        let mut client = host.connect().upgraded("/", &[]);
        // In one read, and in two.
        let messages = [&b"\x81\x81\0\0\0\0m".repeat(5)[..], &b"\x89\x80\0\0\0\0"[..]].concat();
        client.send(&messages[..messages.len() - 8 * number]);
        client.send(&messages[messages.len() - 8 * number..]);
        for _ in 0..5 {
            assert_eq!(client.read_frame(), (TEXT, b"m".to_vec()));
        }
        assert_eq!(client.read_frame(), (PONG, vec![]), "control frames do not count");
        client.send_frame(TEXT, b"one more");
        expect_close(&mut client, 1008, "too many messages");
        host.log_has("more messages than message_rate of its route allows; closing it with 1008", number + 1);
    }
    for _ in 0..50 {
        assert_eq!(other.ask("no limit"), "no limit");
    }
}

#[test]
fn max_message_of_a_route_replaces_that_of_the_server() {
    let host = serve("message", "max_message = 1000", &["--max-message", "2000"]);
    for route in ["/", "/handler"] {
        let mut client = host.connect().upgraded(route, &[]);
        client.send_frame(BINARY, &[7; 1001]);
        expect_close(&mut client, 1009, "message too big");
    }
    let mut other = host.connect().upgraded("/other", &[]);
    other.send_frame(BINARY, &[7; 2000]);
    assert_eq!(other.read_frame(), (BINARY, vec![7; 2000]));

    let host = serve("larger", "max_message = '10KiB'", &["--max-message", "2000"]);
    let mut client = host.connect().upgraded("/", &[]);
    client.send_frame(BINARY, &[7; 10 << 10]);
    assert_eq!(client.read_frame(), (BINARY, vec![7; 10 << 10]), "also in the other direction");
    client.send_frame(BINARY, &[7; (10 << 10) + 1]);
    expect_close(&mut client, 1009, "message too big");
    let mut other = host.connect().upgraded("/other", &[]);
    other.send_frame(BINARY, &[7; 2001]);
    expect_close(&mut other, 1009, "message too big");
}

#[test]
fn ping_interval_of_a_route_replaces_that_of_the_server() {
    let host = serve("pings", "ping_interval = '500ms'", &["--ping-interval", "0"]);
    let (mut other, mut silent) = (host.connect().upgraded("/other", &[]), host.connect().upgraded("/", &[]));
    let mut alive = host.connect().upgraded("/", &[]);
    for _ in 0..4 {
        assert_eq!(alive.read_frame().0, PING);
        alive.send_frame(PONG, b"");
    }
    assert_eq!(silent.read_frame().0, PING);
    assert_eq!(silent.read_to_eof(), b"", "one ping, then the end of the stream");
    host.log_line("left: 1006 `` by Client");
    assert!(other.nothing_for(Duration::from_millis(1)), "no pings there");

    let host = serve("no-pings", "ping_interval = 0", &["--ping-interval", "300ms"]);
    let (mut none, mut other) = (host.connect().upgraded("/", &[]), host.connect().upgraded("/other", &[]));
    for _ in 0..2 {
        assert_eq!(other.read_frame().0, PING);
        other.send_frame(PONG, b"");
    }
    assert!(none.nothing_for(Duration::from_millis(1)), "no pings there");
}

#[test]
fn a_reload_changes_the_limits_of_new_connections_only() {
    let host = serve("reload", "max_message = 1000", &[]);
    let mut before = host.connect().upgraded("/", &[]);
    config_again("reload", "max_message = 500");
    host.process().signal(Signal::HUP);
    host.log_line("SIGHUP: reloaded");
    let mut after = host.connect().upgraded("/", &[]);
    after.send_frame(BINARY, &[7; 501]);
    expect_close(&mut after, 1009, "message too big");
    before.send_frame(BINARY, &[7; 1000]);
    assert_eq!(before.read_frame(), (BINARY, vec![7; 1000]));
    before.send_frame(BINARY, &[7; 1001]);
    expect_close(&mut before, 1009, "message too big");
}

/// Rewrites a config file in place.
fn config_again(name: &str, keys: &str) {
    let other = config(&format!("{name}-next"), keys);
    let folder = other.parent().expect("it is in a folder").with_file_name(name);
    fs::copy(other, folder.join("callsign.toml")).expect("the scratch folder can be written");
}

#[test]
fn nonsense_is_rejected_with_its_place() {
    for (name, key, error) in [
        (
            "zero",
            "message_rate = { messages = 0 }",
            "`messages` in message_rate: found integer `0`, expected a whole number",
        ),
        ("none", "message_rate = {}", "`messages` is missing in message_rate"),
        (
            "text",
            "message_rate = '100/s'",
            "`message_rate` in [[route]]: found string `'100/s'`, expected a table such as",
        ),
        (
            "per",
            "message_rate = { messages = 1, per = 0 }",
            "`per` in message_rate: found integer `0`, expected a duration that is not 0",
        ),
        ("burst", "message_rate = { messages = 1, burst = 0 }", "`burst` in message_rate: found integer `0`"),
        (
            "key",
            "message_rate = { message = 1 }",
            "unknown key `message` in message_rate; did you mean `messages`?",
        ),
        (
            "full",
            "on_full = 'wait'",
            "`on_full` in [[route]]: found string `'wait'`, expected \"close\" or \"drop\"",
        ),
        (
            "large",
            "max_message = '3GiB'",
            "`max_message` in [[route]]: found string `'3GiB'`, expected at most 2GiB",
        ),
        (
            "memory",
            "max_message = '200MiB'",
            "max_message of route `/` is 200MiB, and receive_memory is 256MiB",
        ),
        (
            "idle",
            "idle_timeout = 'soon'",
            "`idle_timeout` in [[route]]: found string `'soon'`, expected a duration",
        ),
        ("life", "max_lifetime = -1", "`max_lifetime` in [[route]]: found integer `-1`, expected a duration"),
        (
            "ping",
            "ping_interval = true",
            "`ping_interval` in [[route]]: found boolean `true`, expected a duration",
        ),
    ] {
        let file = config(&format!("nonsense-{name}"), key);
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_callsign"));
        isolate(&mut program);
        let output =
            program.args(["check", "--config", path(&file)]).output().expect("the program can be run");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let place = format!("{}:", file.display());
        assert_eq!(output.status.code(), Some(1), "{name}: {stderr}");
        assert!(stderr.contains(&place) && stderr.contains(error), "{name}: {stderr}");
    }
}
