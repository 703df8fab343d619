//! Listen addresses: invalid ones, the maximum number, and both address families on one port.

use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::support::{DEADLINE, Raw, free_port, may_unshare};

/// `count` options `--listen`, each with a free port.
fn addresses(count: usize) -> impl Iterator<Item = String> {
    (1..=count).flat_map(|n| ["--listen".to_owned(), format!("127.0.0.{n}:0")])
}

#[test]
fn the_server_listens_on_up_to_63_addresses() {
    let good = good();
    let with = |count| {
        let first = ["serve", path(&good), "--route", "/=page"].map(str::to_owned);
        first.into_iter().chain(addresses(count)).collect::<Vec<_>>()
    };
    // `Host::start` adds one address.
    let host = Host::start(&with(62));
    assert_eq!(host.connect().request("GET", "/", &[], b"").text(), "page");
    let end = Instant::now() + DEADLINE;
    while host.stdout().matches("listening on ").count() != 63 {
        assert!(Instant::now() < end, "{}", host.stdout());
        thread::sleep(Duration::from_millis(1)); // stdout arrives line by line
    }
    assert_eq!(
        run(&with(64)),
        (
            1,
            String::new(),
            "callsign: 64 addresses to listen on, and no more than 63 can be (--listen)\n".to_owned()
        )
    );
}

/// By default a Linux socket on `[::]` would take both families.
#[test]
fn one_port_can_be_listened_on_in_both_families() {
    let port = free_port();
    let good = good();
    let (six, four) = (format!("[::]:{port}"), format!("0.0.0.0:{port}"));
    let args = ["serve", path(&good), "--route", "/=page", "--listen", &six, "--listen", &four];
    if TcpListener::bind("[::1]:0").is_err() {
        let (code, _, stderr) = run(&args);
        assert!(code == 1 && stderr.contains(&format!("cannot listen on {six}: ")), "{stderr}");
        return;
    }
    let _host = Host::start(&args);
    for address in [format!("[::1]:{port}"), format!("127.0.0.1:{port}")] {
        let stream = TcpStream::connect(&address).unwrap_or_else(|error| panic!("{address}: {error}"));
        assert_eq!(Raw::of(stream).request("GET", "/", &[], b"").text(), "page", "{address}");
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_refused() {
    let good = good();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|address| (address, taken)).expect("the socket is bound");
    // 192.0.2.0/24 is reserved for documentation (RFC 5737).
    for (address, what) in [
        (taken.0.to_string(), "another program listens there"),
        ("192.0.2.1:80".to_owned(), "this machine has no such address"),
    ] {
        assert_eq!(
            run(&["serve", path(&good), "--route", "/=page", "--listen", &address]),
            (
                1,
                String::new(),
                format!(
                    "callsign: cannot listen on {address}: {what}; choose another address with --listen\n"
                )
            )
        );
    }
}

/// Starts a server that listens on `localhost`, where `/etc/hosts` has these lines. It has to serve on 127.0.0.1.
/// Returns the port too. None: the test may not change `/etc/hosts`.
fn listen_on_localhost(name: &str, hosts: &str) -> Option<(Host, u16)> {
    if !may_unshare() {
        return None;
    }
    let (good, port) = (good(), free_port());
    let hosts = file(&format!("{name}.hosts"), hosts);
    let script = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
    let through = ["unshare", "--mount", "sh", "-c", &script, "sh"];
    let listen = format!("localhost:{port}");
    let host =
        Host::start_through(&through, &["serve", path(&good), "--route", "/=page", "--listen", &listen]);
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens on that address");
    assert_eq!(Raw::of(stream).request("GET", "/", &[], b"").text(), "page");
    Some((host, port))
}

/// As where IPv6 is off.
#[test]
fn a_name_is_served_on_those_of_its_addresses_that_the_machine_has() {
    let hosts = "192.0.2.1 localhost\n127.0.0.1 localhost\n";
    let Some((host, port)) = listen_on_localhost("missing", hosts) else { return };
    let skipped = format!(
        "localhost:{port} is also 192.0.2.1:{port}, which is skipped: this machine has no such address"
    );
    host.log_line(&skipped);
    assert!(!host.stdout().contains("192.0.2.1"), "{}", host.stdout());
}

#[test]
fn a_name_that_is_listed_twice_is_served_once() {
    for (name, hosts) in [
        ("twice", "127.0.0.1 localhost\n127.0.0.1 localhost\n"),
        ("alias", "127.0.0.1 localhost\n127.0.0.1 vm localhost\n"),
    ] {
        let Some((host, port)) = listen_on_localhost(name, hosts) else { return };
        assert_eq!(host.stdout().matches(&format!(":{port}/")).count(), 1, "{hosts}");
    }
}
