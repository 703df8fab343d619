//! Graceful shutdown: the server accepts no more clients, answers what it has received, closes every
//! connection with 1001, runs every ondisconnect, and exits within the drain timeout.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tungstenite::Message;

use crate::support::{End, Load, Plan, State, busy, serve_crash};

/// Whether a connection to this port is refused.
fn is_refused(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(1)).is_err()
}

fn all_ended(state: &State) -> bool {
    state.clients.iter().all(|client| client.end.is_some())
}

/// Stops the server while clients have messages in flight. Every message that the plugin echoed arrives
/// before the Close: the plugin's count in ondisconnect equals the client's count.
fn drain_accounts_for_every_echo(workers: usize, signal: Signal) {
    let mut host = serve_crash(workers, &[]);
    let load = Load::start(host.port, Plan { window: 16, ..Plan::clients(60) });
    load.wait_for_echoes(5000);
    host.process().signal(signal);
    let status = host.ended();
    load.wait("all clients have seen the end", all_ended);
    load.check();
    assert_eq!(status.code(), Some(0), "{}", host.log());
    load.look(|state| {
        for client in &state.clients {
            assert_eq!(client.end, Some(End::Closed(1001)));
            let line = format!("#{} left with 1001 after {} echoes", client.id, client.echoes);
            assert_eq!(
                host.log_lines(&line).len(),
                1,
                "{line}: {:?}",
                host.log_lines(&format!("#{} left", client.id))
            );
        }
        assert_eq!(host.log_lines(" left with ").len(), state.clients.len());
    });
    assert!(is_refused(host.port));
    assert_eq!(host.log_lines("ERROR").len(), 0, "{}", host.log());
}

#[test]
fn sigterm_drains_under_load() {
    drain_accounts_for_every_echo(4, Signal::TERM);
}

#[test]
fn sigint_drains_under_load() {
    drain_accounts_for_every_echo(4, Signal::INT);
}

#[test]
fn one_worker_drains_under_load() {
    drain_accounts_for_every_echo(1, Signal::TERM);
}

#[test]
fn one_process_for_everything_serves_and_drains_under_load() {
    let host = serve_crash(0, &[]);
    assert_eq!(host.workers(), []);
    let who = host.open("/").ask("who");
    assert!(who.starts_with(&format!("{} ", host.pid())), "{who}");
    drop(host);
    drain_accounts_for_every_echo(0, Signal::TERM);
}

#[test]
fn messages_sent_before_the_close_arrive_before_the_close() {
    // One worker, because a broadcast from another worker's client may arrive after the Close.
    let mut host = serve_crash(1, &[]);
    let (mut source, mut c) = (host.open("/"), host.open("/"));
    let big = "x".repeat((1 << 20) - 1);
    source.ask("hello");
    c.ask("hello");
    source.text(&format!("*{big}"));
    assert_eq!(source.next_text(), big, "the broadcast was sent");
    host.ask_to_stop();
    host.log_line("stopping: 2 clients are told to close");
    // Far more than the socket buffers hold; the client starts to read only now.
    drop(source);
    match c.next() {
        Message::Text(text) => {
            assert!(text == big.as_str(), "a different text arrived");
            assert_eq!(c.closed(), Some((1001, "server is shutting down".to_owned())));
        }
        other => panic!("no text: {other:?}"),
    }
    host.ended();
}

#[test]
fn workers_that_flood_each_other_drain() {
    let _busy = busy();
    let mut host = serve_crash(2, &["--max-backlog", "64MiB"]);
    let mut clients: Vec<_> = (0..24).map(|_| host.open("/")).collect();
    clients.iter_mut().for_each(|c| (0..4).for_each(|_| c.text("flood 100 1000")));
    assert_eq!(clients[0].next_text().len(), 1000, "the flood has begun");
    thread::scope(|scope| {
        for mut c in clients {
            scope.spawn(move || {
                loop {
                    match c.next() {
                        Message::Text(text) => assert_eq!(text.len(), 1000),
                        Message::Close(close) => {
                            assert_eq!(close.map(|close| close.code.into()), Some(1001_u16));
                            return c.ended();
                        }
                        other => panic!("no text: {other:?}"),
                    }
                }
            });
        }
        host.ask_to_stop();
    });
    assert_eq!(host.ended().code(), Some(0), "{}", host.log());
}

#[test]
fn while_the_server_drains_new_connections_are_refused() {
    for workers in [0, 3] {
        let mut host = serve_crash(workers, &[]);
        let mut open = host.open("/");
        open.ask("hello");
        host.ask_to_stop();
        // This client does not answer the Close yet.
        assert_eq!(open.peek_close(), 1001);
        let end = Instant::now() + Duration::from_secs(2);
        while !is_refused(host.port) {
            assert!(Instant::now() < end, "the server still listens");
        }
        assert!(host.process().is_alive());
        drop(open);
        assert_eq!(host.ended().code(), Some(0), "{}", host.log());
    }
}

#[test]
fn a_client_that_connects_during_the_drain_is_refused_or_closed_with_1001() {
    let mut host = serve_crash(2, &[]);
    let load = Load::start(host.port, Plan { replace: true, ..Plan::clients(30) });
    let one_leaves = |state: &mut State| {
        // The most recent client may or may not have received its 101.
        if let Some(client) = state.clients.iter_mut().rev().find(|client| client.end.is_none()) {
            client.leave();
        }
    };
    while load.look(|state| state.clients.len()) < 500 {
        load.look(one_leaves);
    }
    host.ask_to_stop();
    while host.process().is_alive() {
        load.look(one_leaves);
    }
    assert_eq!(host.ended().code(), Some(0), "{}", host.log());
    load.wait("the last ones are refused", |state| state.clients.iter().any(|c| c.end == Some(End::Refused)));
    load.check();
    load.look(|state| {
        let bare = state.clients.iter().filter(|client| client.end == Some(End::Socket)).count();
        assert_eq!(bare, 0, "clients got a 101 but no Close");
    });
}

#[test]
fn a_client_that_never_answers_is_dropped_at_the_drain_timeout() {
    for workers in [0, 2] {
        let mut host = serve_crash(workers, &["--drain-timeout", "1s"]);
        let load = Load::start(host.port, Plan { answer_close: false, ..Plan::clients(5) });
        let begun = Instant::now();
        host.ask_to_stop();
        let status = host.ended();
        let took = begun.elapsed();
        assert_eq!(status.code(), Some(1), "{}", host.log());
        assert!((Duration::from_millis(950)..Duration::from_secs(3)).contains(&took), "{took:?}");
        load.wait("all clients have seen the end", all_ended);
        load.look(|state| assert!(state.clients.iter().all(|client| client.close == Some(1001))));
        host.log_line("--drain-timeout");
        assert_eq!(host.log_lines(" left with 1001 after ").len(), 5, "{}", host.log());
    }
}

#[test]
fn a_worker_that_hangs_does_not_stop_the_server_from_stopping() {
    let mut host = serve_crash(2, &["--drain-timeout", "1s"]);
    let mut c = host.open("/");
    c.text("hang");
    host.log_line("has run for");
    let begun = Instant::now();
    host.ask_to_stop();
    let status = host.ended();
    assert_eq!(status.code(), Some(1), "{}", host.log());
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    c.dropped();
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    for workers in [0, 2] {
        let mut host = serve_crash(workers, &["--drain-timeout", "20s", "--close-timeout", "20s"]);
        let mut c = host.open("/");
        c.ask("hello");
        host.ask_to_stop();
        assert_eq!(c.peek_close(), 1001);
        let begun = Instant::now();
        host.process().signal(Signal::INT);
        let status = host.ended();
        assert_eq!(status.code(), Some(1), "{}", host.log());
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        drop(c);
    }
}

#[test]
fn workers_that_die_while_they_drain_do_not_disturb_the_parent() {
    let mut host = serve_crash(4, &["--drain-timeout", "5s"]);
    let mut clients: Vec<_> = (0..40).map(|_| host.open("/")).collect();
    clients.iter_mut().for_each(|c| _ = c.ask("hello"));
    let workers = host.workers();
    host.ask_to_stop();
    clients.iter_mut().for_each(|c| assert_eq!(c.peek_close(), 1001));
    workers.iter().for_each(|worker| worker.signal(Signal::KILL));
    let status = host.ended();
    assert_eq!(status.code(), Some(1), "{}", host.log());
    assert_eq!(host.log_lines("starting another").len(), 0, "{}", host.log());
}
