//! Listeners that a reload cannot have: the reload is rejected as a whole, with the place in the file.

use std::net::TcpListener;

use super::{FIRST, Server, connect, is_refused};
use crate::support::{Host, empty_folder, free_port, needs_root, path, plugin};

#[test]
fn a_port_in_use_rejects_the_reload_and_leaves_everything_as_it_was() {
    let server = Server::start("in-use", FIRST);
    let first = server.port("127.0.0.1");
    let other = TcpListener::bind("127.0.0.2:0").expect("a free port");
    let (taken, free) = (other.local_addr().expect("it is bound"), free_port());
    let before = server.descriptors();
    let outcome = server.reload(&format!(
        "listen = [\n'127.0.0.3:{free}',\n'unix:a.sock',\n'{taken}',\n]\n[http]\ntrusted_proxies = ['127.0.0.1']"
    ));
    let expected =
        format!(" cannot listen on {taken}: another program listens there; choose another address");
    assert!(outcome.contains("SIGHUP: nothing was reloaded: "), "{outcome}");
    assert!(outcome.contains(&server.place(4)) && outcome.contains(&expected), "{outcome}");
    assert!(!server.folder.join("a.sock").exists());
    is_refused("127.0.0.3", free);
    assert_eq!(server.addresses(), [format!("127.0.0.1:{first}")]);
    assert_eq!(connect("127.0.0.1", first).upgrade("/", &[]).ask("old"), "old");
    server.has_descriptors(&before);
    drop(other);
    server.reloaded(&format!("listen = ['127.0.0.1:0', '{taken}']"));
    assert_eq!(connect("127.0.0.2", taken.port()).upgrade("/", &[]).ask("now"), "now");
}

/// The plugin is rejected after the sockets are bound.
#[test]
fn another_reason_to_reject_a_reload_closes_its_listeners() {
    let server = Server::start("another", FIRST);
    let first = server.port("127.0.0.1");
    let before = server.descriptors();
    let free = free_port();
    let listen = format!("listen = ['127.0.0.1:0', '127.0.0.2:{free}', 'unix:a.sock']");
    let outcome = server.reload(&format!("{listen}\n[[route]]\npath = '/'\nonmessage = 'nobody'"));
    assert!(outcome.contains("SIGHUP: nothing was reloaded: ") && outcome.contains("nobody"), "{outcome}");
    is_refused("127.0.0.2", free);
    assert!(!server.folder.join("a.sock").exists());
    server.has_descriptors(&before);
    server.reloaded(&listen);
    assert_eq!(connect("127.0.0.2", free).upgrade("/", &[]).ask("new"), "new");
    assert_eq!(server.port("127.0.0.1"), first);
}

#[test]
fn there_are_no_more_listeners_than_a_worker_can_get() {
    let server = Server::start("many", FIRST);
    let listen = |count| format!("listen = [{}]", "\n'127.0.0.1:0',".repeat(count));
    let outcome = server.reload(&listen(64));
    let expected = "64 addresses to listen on, and no more than 63 can be";
    assert!(outcome.contains(&server.place(65)) && outcome.contains(expected), "{outcome}");
    assert_eq!(server.addresses().len(), 1);
    server.reloaded(&listen(63));
    assert_eq!(server.addresses().len(), 63);
    let last = server.addresses()[62].rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    assert_eq!(connect("127.0.0.1", last).upgrade("/", &[]).ask("last"), "last");
}

/// The parent keeps the privileges that it was started with, although its workers have none.
#[test]
fn a_port_below_1024_can_be_added_if_the_parent_is_root() {
    if !needs_root() {
        return;
    }
    let port = (600..1024).find(|port| TcpListener::bind(("127.0.0.9", *port)).is_ok()).expect("a free port");
    let server = Server::start_through(&[], "privileged", FIRST, &["--user", "nobody"]);
    server.reloaded(&format!("listen = ['127.0.0.1:0', '127.0.0.9:{port}']"));
    assert_eq!(connect("127.0.0.9", port).upgrade("/", &[]).ask("low"), "low");

    let folder = empty_folder("listeners-unprivileged");
    let file = folder.join("callsign.toml");
    let write = |listen: &str| {
        let text = format!("{listen}\n[plugin.echo]\npath = {:?}\n", plugin("echo"));
        std::fs::write(&file, text).expect("the scratch folder can be written");
    };
    write(FIRST);
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
    let host = Host::exactly_through(&as_nobody, &["serve", "--config", path(&file)]).served();
    write(&format!("listen = ['127.0.0.1:0', '127.0.0.9:{}']", port + 1));
    host.process().signal(rustix::process::Signal::HUP);
    let line = host.log_line("SIGHUP: nothing was reloaded: ");
    let expected = "a port below 1024 needs a server that was started as root";
    assert!(line.contains("callsign.toml:1:26: ") && line.contains(expected), "{line}");
}
