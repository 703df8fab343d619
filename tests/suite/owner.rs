//! A value that a handler attaches to a request before the 101 becomes the connection's value. It is freed if
//! the request does not become a connection.

use std::fs;

use crate::support::{Host, UPGRADE, c_plugin, path, scratch};

fn serve() -> Host {
    Host::start(&["serve", path(&c_plugin("owner.c")), "--route", "/*=ask"])
}

#[test]
fn a_value_that_the_handler_sets_belongs_to_the_connection_after_the_101() {
    let host = serve();
    let mut c = host.open("/?mine");
    assert_eq!(c.next_text(), "mine");
    c.close(1000, "");
    host.log_line("connection released: mine");
    assert_eq!(host.log_lines("request released"), [""; 0]);
}

#[test]
fn it_is_freed_after_a_request_that_becomes_no_connection() {
    let host = serve();
    for (path, status) in [("/page", 200), ("/zero", 500), ("/missing", 500), ("/join", 426)] {
        let answer = host.connect().request("GET", &format!("{path}?of{path}"), &[], b"");
        assert_eq!(answer.status, if path == "/missing" { 426 } else { status }, "{path}");
        host.log_line(&format!("request released: of{path}"));
    }
    assert_eq!(host.connect().handshake("/missing?name", &[]).status, 500);
    host.log_line("request released: name");
    // No value was attached, so nothing is freed or logged.
    assert_eq!(host.connect().request("GET", "/page", &[], b"").status, 200);
    assert_eq!(host.connect().request("GET", "/page?last", &[], b"").status, 200);
    host.log_line("request released: last");
    assert_eq!(host.log_lines("released").len(), 6, "{}", host.log());
}

#[test]
fn it_is_freed_when_the_client_leaves_before_the_101() {
    let host = serve();
    let gone = scratch("gone");
    let _ = fs::remove_file(&gone);
    let mut client = host.connect();
    client.send_request("GET", &format!("/gone?{}", path(&gone)), &UPGRADE, b"");
    host.log_line("waits for");
    client.reset();
    fs::write(&gone, "").expect("the scratch folder can be written");
    host.log_line(&format!("request released: {}", path(&gone)));
    assert_eq!(host.log_lines("connection released"), [""; 0]);
}
