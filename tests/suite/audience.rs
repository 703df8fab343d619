//! Whom a broadcast reaches if several plugins are loaded: the connections with a handler of the sending plugin, on all
//! workers; with `broadcast = "all"` those of all plugins.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::support::{Host, WebSocket, c_plugin_with, path, scratch};

/// Every kind of callback that can send. `ondisconnect` and `release` follow from the end of a connection.
const SENDERS: [&str; 6] = ["message", "local", "timer", "background", "worker message", "request"];

fn crowd(name: &str) -> PathBuf {
    c_plugin_with("crowd.c", &[&format!("-DNAME=\"{name}\"")])
}

/// Serves the plugins `a` and `b` at `/a` and `/b`; `/both` has handlers of both, and `of_a` are further keys of `a`.
fn serve(name: &str, of_a: &str, workers: &str) -> Host {
    let config = scratch(name);
    let mut text =
        format!("[plugin.a]\npath = {:?}\n{of_a}\n[plugin.b]\npath = {:?}\n", crowd("a"), crowd("b"));
    for (path, [connect, message, disconnect]) in
        [("/a", ["a", "a", "a"]), ("/b", ["b", "b", "b"]), ("/both", ["a", "b", "b"])]
    {
        text += &format!(
            "[[route]]\npath = '{path}'\nonconnect = '{connect}:join'\nonmessage = '{message}:say'\n\
             ondisconnect = '{disconnect}:leave'\n"
        );
    }
    for plugin in ["a", "b"] {
        text += &format!("[[route]]\npath = '/push/{plugin}'\nhandler = '{plugin}:push'\n");
    }
    fs::write(&config, text).expect("the scratch folder can be written");
    Host::start(&["serve", "--config", path(&config), "--workers", workers])
}

/// A client of that route on that worker.
fn open_on(host: &Host, route: &str, worker: usize) -> WebSocket {
    let mut tried = Vec::new();
    for _ in 0..200 {
        let mut client = host.open(route);
        if client.next_text() == format!("worker {worker}") {
            return client;
        }
        // Kept, so that the next one goes to another worker.
        tried.push(client);
    }
    panic!("no client came to worker {worker}");
}

/// Has plugin `name` send. `client` is one of its own.
fn send(host: &Host, client: &mut WebSocket, name: &str, what: &str) {
    if what == "request" {
        assert_eq!(host.connect().request("GET", &format!("/push/{name}"), &[], b"").status, 200);
    } else {
        client.text(what);
    }
}

#[test]
fn a_broadcast_reaches_the_clients_of_the_sending_plugin_on_all_workers() {
    let host = serve("audience.toml", "", "2");
    let mut of_a = [open_on(&host, "/a", 0), open_on(&host, "/a", 1)];
    let mut of_b = [open_on(&host, "/b", 0), open_on(&host, "/b", 1)];
    let mut of_both = [open_on(&host, "/both", 0), open_on(&host, "/both", 1)];
    let mut sender_a = open_on(&host, "/a", 0);
    let mut sender_b = open_on(&host, "/b", 1);
    for what in SENDERS {
        send(&host, &mut sender_a, "a", what);
        send(&host, &mut sender_b, "b", what);
        // The sender's own worker, and for `both` that of each sender.
        let reached = |worker: usize, home: usize| match what {
            "local" => worker == home,
            _ => true,
        };
        // A worker message reaches the other worker, whose broadcast reaches everyone.
        for (worker, client) in of_a.iter_mut().enumerate().filter(|(worker, _)| reached(*worker, 0)) {
            assert_eq!(client.next_text(), format!("a: {what}"), "worker {worker}");
        }
        for (worker, client) in of_b.iter_mut().enumerate().filter(|(worker, _)| reached(*worker, 1)) {
            assert_eq!(client.next_text(), format!("b: {what}"), "worker {worker}");
        }
        for (worker, client) in of_both.iter_mut().enumerate() {
            let mut found: Vec<String> = [("a", 0), ("b", 1)]
                .iter()
                .filter(|(_, home)| reached(worker, *home))
                .map(|_| client.next_text())
                .collect();
            found.sort();
            let expected: Vec<String> = [("a", 0), ("b", 1)]
                .iter()
                .filter(|(_, home)| reached(worker, *home))
                .map(|(name, _)| format!("{name}: {what}"))
                .collect();
            assert_eq!(found, expected, "worker {worker}");
        }
        // What has no source comes to the sender's client too.
        if matches!(what, "timer" | "background" | "worker message" | "request") {
            assert_eq!(sender_a.next_text(), format!("a: {what}"));
            assert_eq!(sender_b.next_text(), format!("b: {what}"));
        }
    }
    // The end of a connection: ondisconnect, then the release hook.
    sender_a.text("data");
    assert_eq!(sender_a.ask("echo"), "echo");
    sender_a.close(1000, "");
    for client in of_a.iter_mut().chain(&mut of_both) {
        assert_eq!((client.next_text(), client.next_text()), ("a: ondisconnect".into(), "a: release".into()));
    }
    // Nothing else has arrived anywhere: the next message is the echo.
    for client in of_a.iter_mut().chain(&mut of_b).chain(&mut of_both).chain([&mut sender_b]) {
        assert_eq!(client.ask("echo"), "echo");
    }
}

#[test]
fn a_plugin_that_broadcasts_to_all_reaches_the_clients_of_all_plugins() {
    let host = serve("audience-all.toml", "broadcast = 'all'", "2");
    let mut clients = [open_on(&host, "/a", 0), open_on(&host, "/b", 1), open_on(&host, "/both", 1)];
    let mut sender = [open_on(&host, "/a", 1), open_on(&host, "/b", 0)];
    sender[0].text("to all");
    clients.iter_mut().for_each(|client| assert_eq!(client.next_text(), "a: to all"));
    assert_eq!(sender[1].next_text(), "a: to all");
    sender[1].text("to mine");
    clients[1..].iter_mut().for_each(|client| assert_eq!(client.next_text(), "b: to mine"));
    for client in clients.iter_mut().chain(&mut sender) {
        assert_eq!(client.ask("echo"), "echo");
    }
}

/// Also to connections without a handler of the plugin, which has no others beside it.
#[test]
fn with_a_single_plugin_a_broadcast_reaches_every_client() {
    let library = crowd("a");
    let routes = ["--route", "/a=join,say,leave", "--route", "/none=,,leave"];
    let host = Host::start(&[&["serve", path(&library), "--workers", "1"], &routes[..]].concat());
    let (mut a, mut none) = (host.open("/a"), host.open("/none"));
    assert_eq!(a.next_text(), "worker 0");
    a.text("to all");
    assert_eq!(none.next_text(), "a: to all");
}

/// A plugin that a reload adds or removes changes the audience.
#[test]
fn the_audience_follows_the_plugins_that_are_loaded() {
    let config = scratch("audience-reload.toml");
    let write = |with_b: bool| {
        let mut text = format!(
            "[plugin.a]\npath = {:?}\n[[route]]\npath = '/a'\nonconnect = 'a:join'\nonmessage = 'a:say'\n\
             [[route]]\npath = '/push/a'\nhandler = 'a:push'\n",
            crowd("a")
        );
        if with_b {
            text += &format!(
                "[plugin.b]\npath = {:?}\nbroadcast = 'all'\n[[route]]\npath = '/push/b'\nhandler = 'b:push'\n",
                crowd("b")
            );
        }
        fs::write(&config, text).expect("the scratch folder can be written");
    };
    write(false);
    let host = Host::start(&["serve", "--config", path(&config), "--workers", "2"]);
    let mut clients = [open_on(&host, "/a", 0), open_on(&host, "/a", 1)];
    write(true);
    host.process().signal(Signal::HUP);
    host.log_has("SIGHUP: reloaded", 1);
    for name in ["b", "a"] {
        assert_eq!(host.connect().request("GET", &format!("/push/{name}"), &[], b"").status, 200);
        clients.iter_mut().for_each(|client| assert_eq!(client.next_text(), format!("{name}: request")));
    }
    write(false);
    host.process().signal(Signal::HUP);
    host.log_has("SIGHUP: reloaded", 2);
    clients[0].text("alone");
    assert_eq!(clients[1].next_text(), "a: alone");
}
