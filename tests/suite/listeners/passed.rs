//! Sockets of systemd in a reload.

use std::net::TcpStream;

use super::{Server, connect};
use crate::support::Raw;
use crate::systemd::with_sockets;

/// A server with the sockets `web` and `admin` of systemd.
fn start(name: &str, listen: &str) -> Server {
    let launcher = with_sockets(&["web=tcp:127.0.0.1:0", "admin=tcp:127.0.0.2:0"]);
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    Server::start_through(&launcher, name, listen, &[])
}

#[test]
fn a_socket_of_systemd_keeps_serving_and_a_removed_one_needs_a_restart_to_come_back() {
    let both = "listen = ['systemd:web', 'systemd:admin']";
    let server = start("systemd", both);
    let (web, admin) = (server.port("127.0.0.1"), server.port("127.0.0.2"));
    server.reloaded("listen = ['systemd:admin', 'systemd:web', '127.0.0.3:0']");
    for (ip, port) in [("127.0.0.1", web), ("127.0.0.2", admin), ("127.0.0.3", server.port("127.0.0.3"))] {
        assert_eq!(connect(ip, port).upgrade("/", &[]).ask("served"), "served");
    }
    let mut old = connect("127.0.0.2", admin).upgrade("/", &[]);
    let outcome = server.reloaded("listen = 'systemd:web'");
    assert!(outcome.contains(&format!("no longer on 127.0.0.2:{admin}")), "{outcome}");
    server.host.log_line(&format!(
        "127.0.0.2:{admin} is not served any more, and systemd still listens there (`admin`)"
    ));
    assert_eq!(old.ask("old"), "old");
    let outcome = server.reload(both);
    assert!(
        outcome.contains("changed, but needs a restart to take effect: listen (systemd:admin)"),
        "{outcome}"
    );
    assert_eq!(server.addresses(), [format!("127.0.0.1:{web}")]);
}

#[test]
fn sockets_that_no_entry_names_stay_while_the_entries_are_served_alike() {
    let server = start("rest", "listen = '127.0.0.3:0'");
    let port = server.port("127.0.0.2");
    server.reloaded("listen = ['127.0.0.3:0', '127.0.0.4:0']");
    let client = TcpStream::connect(("127.0.0.2", port)).expect("the server listens");
    assert_eq!(Raw::of(client).upgrade("/", &[]).ask("served"), "served");
    assert_eq!(server.addresses().len(), 4);
    let outcome = server.reload(
        "[[listen]]\naddress = '127.0.0.3:0'\n[[listen]]\naddress = '127.0.0.4:0'\nproxy_protocol = true\n[http]\ntrusted_proxies = ['127.0.0.1']",
    );
    assert!(outcome.contains("no entry of `listen` says how to serve it"), "{outcome}");
}
