//! Other settings for an address that stays: they are for new connections.

use std::net::TcpStream;

use super::{Server, connect};
use crate::support::{Authority, Files, Host, Raw, Trust, empty_folder, path, plugin};
use crate::tls::echo;

fn with_tls(Files { certificate, key }: &Files, address: &str, more: &str) -> String {
    format!(
        "[[listen]]\naddress = '{address}'\ntls = {{ certificate = {certificate:?}, key = {key:?} }}\n{more}\n"
    )
}

const PLAIN: &str = "[[listen]]\naddress = '127.0.0.1:0'\n";

#[test]
fn tls_is_turned_on_and_off_for_an_address_and_connections_go_on() {
    let server = Server::start("tls", PLAIN);
    let port = server.port("127.0.0.1");
    let mut plain = connect("127.0.0.1", port).upgrade("/", &[]);
    let mut kept_alive = connect("127.0.0.1", port);
    kept_alive.request("GET", "/none", &[], b"");
    let authority = Authority::new("A");
    let trust = Trust::of(&authority);
    let issued = authority.issue(&["localhost"]);
    let outcome = server.reloaded(&with_tls(&issued.write(&server.folder, "a"), "127.0.0.1:0", ""));
    assert!(outcome.contains("SIGHUP: reloaded certificate of localhost until "), "{outcome}");
    let mut secure = trust.open(port, "/");
    echo(&mut secure, "over TLS");
    assert_eq!(plain.ask("without"), "without");
    assert_eq!(server.status()["listeners"][0]["tls"], true);
    // It was accepted before.
    assert_eq!(kept_alive.upgrade("/", &[]).ask("without"), "without");
    let outcome = server.reloaded(PLAIN);
    assert!(outcome.contains("SIGHUP: reloaded the settings; "), "{outcome}");
    assert_eq!(connect("127.0.0.1", port).upgrade("/", &[]).ask("without"), "without");
    echo(&mut secure, "still over TLS");
    assert_eq!(server.status()["listeners"][0]["tls"], false);
}

#[test]
fn a_redirect_follows_the_listener_with_tls() {
    let server = Server::start("redirect", PLAIN);
    let http = server.port("127.0.0.1");
    let authority = Authority::new("A");
    let files = authority.issue(&["localhost"]).write(&server.folder, "a");
    let redirects = "[[listen]]\naddress = '127.0.0.1:0'\nredirect = 'https'\n";
    for ip in ["127.0.0.2", "127.0.0.3"] {
        server.reloaded(&format!("{redirects}{}", with_tls(&files, &format!("{ip}:0"), "")));
        let https = server.port(ip);
        server.host.stdout_line(&format!("listening on https://{ip}:{https}/"));
        let answer = connect("127.0.0.1", http).request("GET", "/", &[], b"");
        let location = answer.header("location").expect("it leads somewhere").to_owned();
        assert!(location.ends_with(&format!(":{https}/")), "{location}, not {https}");
    }
    server.reloaded(PLAIN);
    assert_eq!(connect("127.0.0.1", http).upgrade("/", &[]).ask("served"), "served");
}

#[test]
fn the_proxy_protocol_is_turned_on_for_new_connections() {
    let trusted = |proxy_protocol| {
        format!(
            "[[listen]]\naddress = '127.0.0.1:0'\nproxy_protocol = {proxy_protocol}\n[http]\ntrusted_proxies = ['127.0.0.1']\n"
        )
    };
    let server = Server::start("proxy", &trusted(false));
    let port = server.port("127.0.0.1");
    let mut old = connect("127.0.0.1", port).upgrade("/", &[]);
    server.reloaded(&trusted(true));
    let mut client = connect("127.0.0.1", port);
    client.send("PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n");
    assert_eq!(client.upgrade("/", &[]).ask("named"), "named");
    let mut unnamed = connect("127.0.0.1", port);
    unnamed.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(unnamed.read_to_end(), b"");
    assert_eq!(old.ask("old"), "old");
}

#[test]
fn addresses_of_the_command_line_replace_those_of_the_file() {
    let folder = empty_folder("listeners-options");
    let file = folder.join("callsign.toml");
    let write = |listen: &str| {
        let text = format!("listen = '{listen}'\n[plugin.echo]\npath = {:?}\n", plugin("echo"));
        std::fs::write(&file, text).expect("the scratch folder can be written");
    };
    write("127.0.0.2:0");
    let host = Host::start(&["serve", "--config", path(&file)]);
    write("127.0.0.3:0");
    host.process().signal(rustix::process::Signal::HUP);
    host.log_line("SIGHUP: nothing has changed");
    assert_eq!(
        Raw::of(TcpStream::connect(("127.0.0.1", host.port)).expect("it listens")).upgrade("/", &[]).ask("x"),
        "x"
    );
}
