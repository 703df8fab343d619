//! What becomes of the connections of a removed listener, and of clients that wait there.

use std::net::TcpStream;

use rustix::process::Signal;

use super::{BOTH, FIRST, Server, connect, is_refused};
use crate::support::Raw;

#[test]
fn connections_of_a_removed_listener_stay_and_new_ones_are_refused() {
    let server = Server::start("removed", BOTH);
    let (first, second) = (server.port("127.0.0.1"), server.port("127.0.0.2"));
    let mut clients: Vec<_> = (0..10).map(|_| connect("127.0.0.2", second).upgrade("/", &[])).collect();
    let outcome = server.reloaded(FIRST);
    let expected =
        format!("SIGHUP: reloaded no longer on 127.0.0.2:{second}; echo: generation 1 (unchanged); ");
    assert!(outcome.contains(&expected), "{outcome}");
    is_refused("127.0.0.2", second);
    for client in &mut clients {
        assert_eq!(client.ask("still here"), "still here");
    }
    assert_eq!(server.addresses(), [format!("127.0.0.1:{first}")]);
    assert_eq!(connect("127.0.0.1", first).upgrade("/", &[]).ask("first"), "first");
    // The same port again, although connections have it.
    server.reloaded(&format!("listen = ['127.0.0.1:0', '127.0.0.2:{second}']"));
    assert_eq!(connect("127.0.0.2", second).upgrade("/", &[]).ask("again"), "again");
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("still here"), "still here"));
}

/// Stopped workers accept nobody: the clients are in the queue of the listener when the reload comes.
#[test]
fn clients_that_wait_at_a_removed_listener_are_served() {
    let server = Server::start("waiting", BOTH);
    let second = server.port("127.0.0.2");
    let workers = server.host.workers();
    workers.iter().for_each(|worker| worker.signal(Signal::STOP));
    let waiting: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(("127.0.0.2", second)).expect("the kernel accepts")).collect();
    // The workers find the order and the clients at the same time.
    super::write(&server.file, FIRST);
    server.host.process().signal(Signal::HUP);
    workers.iter().for_each(|worker| worker.signal(Signal::CONT));
    server.host.log_line("SIGHUP: reloaded no longer on 127.0.0.2:");
    for client in waiting {
        assert_eq!(Raw::of(client).upgrade("/", &[]).ask("served"), "served");
    }
    is_refused("127.0.0.2", second);
}

#[test]
fn a_client_that_was_silent_until_its_listener_was_removed_is_served() {
    let server = Server::start("silent", BOTH);
    let silent = connect("127.0.0.2", server.port("127.0.0.2"));
    server.reloaded(FIRST);
    assert_eq!(silent.upgrade("/", &[]).ask("late"), "late");
}
