//! The address that counts is that of the client, wherever a trusted proxy names it, and never the proxy's own.

use super::*;

/// Trusts clients from 127.0.0.1.
fn behind_proxy(name: &str, options: &[&str]) -> (Host, std::path::PathBuf) {
    let control = scratch(name);
    let trusted = ["--workers", "2", "--trusted-proxy", "127.0.0.1"];
    (serve(&control, &[&trusted[..], options].concat()), control)
}

/// The status of a request that the proxy passes on for that client.
fn status_for(proxy: &mut Raw, client: &str) -> u16 {
    proxy.request("GET", "/echo", &[("X-Forwarded-For", client)], b"").status
}

#[test]
fn requests_over_one_socket_of_a_proxy_count_for_their_own_clients() {
    let (host, control) = behind_proxy("forwarded.sock", &["--request-rate", "3/h"]);
    let mut proxy = host.connect();
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8:0:1::1", "2001:db8:0:2::1"] {
        assert_eq!([(); 4].map(|()| status_for(&mut proxy, client)), [200, 200, 200, 429], "{client}");
    }
    assert_eq!(status_for(&mut proxy, "2001:db8:0:1:ffff::7"), 429, "the same network");
    assert_eq!(status_for(&mut proxy, "::ffff:192.0.2.1"), 429, "the same address");
    assert_eq!(status_for(&mut host.connect(), "192.0.2.2"), 429, "over another socket");
    // Requests of the proxy itself, such as health checks.
    (0..10).for_each(|_| assert_eq!(get(&mut proxy).status, 200));
    // What a client has sent itself is before the address that the proxy has added.
    assert_eq!(status_for(&mut proxy, "198.51.100.1, 192.0.2.1"), 429);
    host.log_line("192.0.2.1:0: more requests of its address than --request-rate allows (3/h)");
    assert_eq!(reached(&control, "request_rate"), 8);
    // A client that is no proxy counts under its own address, whatever it sends.
    let mut direct = from(2, host.port);
    let statuses =
        ["192.0.2.7", "192.0.2.8", "192.0.2.9", "192.0.2.10"].map(|it| status_for(&mut direct, it));
    assert_eq!(statuses, [200, 200, 200, 429]);
}

#[test]
fn websockets_over_a_proxy_count_as_connections_of_their_clients() {
    let options = ["--max-per-address", "2", "--connection-rate", "4/h"];
    let (host, control) = behind_proxy("forwarded-sockets.sock", &options);
    let open = |client: &str| host.connect().handshake("/ws", &[("X-Forwarded-For", client)]).status;
    let upgraded = |client: &str| host.connect().upgrade("/ws", &[("X-Forwarded-For", client)]);
    let (one, mut two) = (upgraded("192.0.2.1"), upgraded("192.0.2.1"));
    assert_eq!(open("192.0.2.1"), 429);
    assert_eq!(status_for(&mut host.connect(), "192.0.2.1"), 429);
    let mut other = upgraded("192.0.2.2");
    // Sockets of the proxy have no limit, and no rate.
    (0..10).for_each(|_| assert_eq!(get(&mut host.connect()).status, 200));
    assert_eq!(reached(&control, "max_per_address"), 2);
    assert_eq!(reached(&control, "connection_rate"), 0);
    one.close(1000, "");
    eventually("a connection is given back", || status_for(&mut host.connect(), "192.0.2.1") == 200);
    let _third = upgraded("192.0.2.1");
    assert_eq!(open("192.0.2.1"), 429);
    assert_eq!((two.ask("served on"), other.ask("too")), ("served on".to_owned(), "too".to_owned()));
}

/// A request counts until its response, one after the other over a socket.
#[test]
fn requests_of_one_client_at_the_same_time_count_as_connections() {
    let (host, _) = behind_proxy("in-flight.sock", &["--max-per-address", "1"]);
    let mut slow = host.connect();
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Length: 4\r\n";
    slow.send(format!("{head}Expect: 100-continue\r\n\r\n"));
    assert_eq!(slow.read_answer(false).status, 100);
    let mut quick = host.connect();
    assert_eq!(status_for(&mut quick, "192.0.2.1"), 429);
    assert_eq!(status_for(&mut quick, "192.0.2.2"), 200);
    slow.send("body");
    assert_eq!(slow.read_answer(true).status, 200);
    (0..5).for_each(|_| assert_eq!(status_for(&mut quick, "192.0.2.1"), 200));
}

/// A listener with `proxy_protocol`, and these lines in [worker].
fn proxied(name: &str, limits: &str) -> (Host, std::path::PathBuf) {
    let (config, control) = (scratch(&format!("{name}.toml")), scratch(&format!("{name}.sock")));
    let text = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\nproxy_protocol = true\n[http]\ntrusted_proxies = '127.0.0.1'\n\
         [worker]\n{limits}\n[plugin.web]\npath = {:?}\n",
        plugin("web")
    );
    fs::write(&config, text).expect("the scratch folder can be written");
    let args = ["serve", "--config", path(&config), "--control", path(&control), "--workers", "2"];
    (Host::exactly(&args).served(), control)
}

/// A socket for which the proxy names that client, with a request.
fn requesting(host: &Host, client: &str) -> Raw {
    let mut socket = host.connect();
    socket.send(format!("PROXY {client}\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    socket
}

const ONE: &str = "TCP4 192.0.2.1 10.0.0.1 51314 80";
const OTHER: &str = "TCP6 2001:db8::1 ::1 51314 80";
/// In the network of the other one.
const NEXT: &str = "TCP6 2001:db8::2 ::1 51314 80";

#[test]
fn connections_count_for_the_client_that_a_proxy_header_names() {
    let (host, control) = proxied("proxied", "max_per_address = 2");
    let mut served: Vec<_> = [ONE, ONE, OTHER, NEXT].map(|client| requesting(&host, client)).into();
    assert!(served.iter_mut().all(|socket| socket.read_answer(true).status == 200));
    for client in [ONE, OTHER, NEXT] {
        turned_away(&mut requesting(&host, client));
    }
    assert_eq!(reached(&control, "max_per_address"), 3);
    host.log_line("192.0.2.1:51314: more connections of its address than --max-per-address allows (2)");
    drop(served);
    for client in [ONE, NEXT] {
        eventually("they are given back", || requesting(&host, client).read_answer(true).status == 200);
    }
    // The proxy itself.
    let mut own: Vec<_> = (0..5).map(|_| requesting(&host, "UNKNOWN")).collect();
    assert!(own.iter_mut().all(|socket| socket.read_answer(true).status == 200));
}

#[test]
fn new_connections_have_the_rate_of_the_client_that_a_proxy_header_names() {
    let (host, control) = proxied("proxied-rate", "connection_rate = '2/h'");
    for client in [ONE, OTHER] {
        let statuses = [(); 3].map(|()| requesting(&host, client).read_answer(true).status);
        assert_eq!(statuses, [200, 200, 429], "{client}");
    }
    assert!((1..=1800).contains(&retry_after(&turned_away(&mut requesting(&host, NEXT)))));
    assert_eq!(reached(&control, "connection_rate"), 3);
    let statuses = [(); 5].map(|()| requesting(&host, "UNKNOWN").read_answer(true).status);
    assert_eq!(statuses, [200; 5]);
}
