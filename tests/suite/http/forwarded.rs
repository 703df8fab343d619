//! Clients behind reverse proxies: handlers and the log get the address that a trusted proxy tells, and no other client can
//! choose its address. The tests are the proxy. `host/src/http/forwarded` has the tables of headers.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;

use super::{assert_still_serves, echoed_request, serve};
use crate::support::{DEADLINE, Host, Raw, c_plugin, eventually, path, plugin, scratch};

/// The peer that the web example reports for a request with these headers.
fn peer(client: &mut Raw, headers: &[(&str, &str)]) -> String {
    let answer = client.request("GET", "/echo", headers, b"");
    echoed_request(&answer)["peer"].as_str().expect("the peer is text").to_owned()
}

#[test]
fn each_request_of_a_trusted_proxy_has_its_own_client() {
    for proxy in ["127.0.0.1", "unix:,127.0.0.0/8"] {
        let host = serve(&["--trusted-proxy", proxy]);
        // Proxies send requests of many clients over one socket.
        let mut client = host.connect();
        for (headers, expected) in [
            (&[("X-Forwarded-For", "192.0.2.7")][..], "192.0.2.7:0"),
            (&[("X-Forwarded-For", "6.6.6.6, 192.0.2.7:51314")], "192.0.2.7:51314"),
            (&[("X-Forwarded-For", "2001:db8::7"), ("X-Forwarded-For", "127.0.0.1")], "[2001:db8::7]:0"),
            (&[("Forwarded", "for=6.6.6.6, for=\"[2001:db8::7]:80\";proto=https")], "[2001:db8::7]:80"),
            (&[("Forwarded", "for=192.0.2.7"), ("X-Forwarded-For", "192.0.2.7")], "192.0.2.7:0"),
        ] {
            assert_eq!(peer(&mut client, headers), expected, "{headers:?}");
        }
        let own = client.address();
        for headers in [&[][..], &[("Forwarded", "for=unknown")], &[("Forwarded", "host=a;proto=https")]] {
            assert_eq!(peer(&mut client, headers), own, "{headers:?}");
        }
        assert!(!host.log().contains("trusted proxy"), "{}", host.log());
    }
}

#[test]
fn without_trust_the_headers_have_no_effect() {
    for options in [&[][..], &["--trusted-proxy", "10.0.0.0/8,unix:,::1"]] {
        let host = serve(options);
        let mut client = host.connect();
        let own = client.address();
        for name in ["X-Forwarded-For", "Forwarded"] {
            let value = if name == "Forwarded" { "for=192.0.2.7" } else { "192.0.2.7" };
            assert_eq!(peer(&mut client, &[(name, value)]), own);
        }
    }
}

#[test]
fn what_a_proxy_does_not_tell_is_not_guessed_and_the_log_says_why() {
    let host = serve(&["--trusted-proxy", "127.0.0.1"]);
    let mut client = host.connect();
    let own = client.address();
    for _ in 0..3 {
        let both = [("Forwarded", "for=6.6.6.6"), ("X-Forwarded-For", "192.0.2.7")];
        assert_eq!(peer(&mut client, &both), own);
        assert_eq!(peer(&mut client, &[("X-Forwarded-For", "192.0.2.7, nobody")]), own);
    }
    assert_still_serves(&mut client);
    for line in [
        format!(
            "trusted proxy {own}: a request has both Forwarded and X-Forwarded-For, which name different clients, so \
             the proxy counts as the client; have the proxy remove the header that it does not set"
        ),
        "`nobody` in Forwarded or X-Forwarded-For is no address, so the proxy that has sent it counts"
            .to_owned(),
    ] {
        host.log_line(&line);
        assert_eq!(host.log_lines(&line).len(), 1, "{}", host.log());
    }
}

#[test]
fn plugins_in_c_and_for_kore_get_the_client() {
    let (plugin, kore) = (c_plugin("peer.c"), c_plugin("kore_peer.c"));
    let routes = ["--route", "/page=peer:onrequest", "--route", "/ip=ip"];
    let options = ["serve", path(&plugin), path(&kore), "--trusted-proxy", "127.0.0.1"];
    let host = Host::start(&[&options[..], &routes].concat());
    let mut client = host.connect();
    for (address, page, ip) in
        [("192.0.2.7:99", "192.0.2.7:99", "192.0.2.7"), ("2001:db8::7", "[2001:db8::7]:0", "2001:db8::7")]
    {
        let headers = [("X-Forwarded-For", address)];
        assert_eq!(client.request("GET", "/page", &headers, b"").text(), page);
        assert_eq!(client.request("GET", "/ip", &headers, b"").text(), ip);
        let mut socket = host.connect().upgrade("/page", &headers);
        assert_eq!(socket.ask("who am I"), page);
    }
}

#[test]
fn log_lines_about_a_client_have_its_address() {
    let host = serve(&["--trusted-proxy", "127.0.0.1", "--log", "debug"]);
    let mut client = host.connect();
    let headers = [("X-Forwarded-For", "192.0.2.7:51314")];
    assert_eq!(client.request("GET", "/refuses", &headers, b"").status, 500);
    host.log_line("out of paper (500 for GET /refuses from 192.0.2.7:51314, route `/refuses`)");
    let page = [("X-Forwarded-For", "192.0.2.8"), ("Origin", "http://evil.example")];
    assert_eq!(client.handshake("/ws", &page).status, 403);
    host.log_line("403 for a WebSocket from 192.0.2.8:0 on route `/ws`");
    let protocol = [("X-Forwarded-For", "192.0.2.9"), ("Sec-WebSocket-Protocol", "mqtt")];
    let socket = client.upgrade("/ws", &protocol);
    host.log_line("192.0.2.9:0: route `/ws` selects none of the subprotocols");
    host.log_line("(192.0.2.9:0): open");
    socket.close(1000, "");
    host.log_line("(192.0.2.9:0): closed with 1000");
}

#[test]
fn the_origin_of_a_page_is_compared_with_what_the_proxy_was_asked_for() {
    let host = serve(&["--trusted-proxy", "127.0.0.1"]);
    let status = |origin: &str, headers: &[(&str, &str)]| {
        host.connect().handshake("/ws", &[&[("Origin", origin)], headers].concat()).status
    };
    for (origin, headers, expected) in [
        ("https://example.com", &[("Forwarded", "for=192.0.2.7;host=example.com;proto=https")][..], 101),
        ("https://example.com:8443", &[("Forwarded", "for=192.0.2.7;host=\"example.com:8443\"")], 101),
        ("https://example.com", &[("Forwarded", "for=192.0.2.7;host=inner.example")], 403),
        ("https://example.com", &[("X-Forwarded-Host", "example.com"), ("X-Forwarded-Proto", "https")], 101),
        // An inner proxy has replaced the scheme.
        ("https://example.com", &[("X-Forwarded-Host", "example.com"), ("X-Forwarded-Proto", "http")], 101),
        ("http://example.com", &[("X-Forwarded-Host", "example.com"), ("X-Forwarded-Proto", "http")], 101),
        ("http://example.com", &[("X-Forwarded-Host", "example.com"), ("X-Forwarded-Proto", "https")], 403),
        ("http://example.com", &[("Forwarded", "for=192.0.2.7;host=example.com;proto=wss")], 403),
        // The host is `test`.
        ("http://test", &[("X-Forwarded-Proto", "https")], 403),
        ("https://test", &[("X-Forwarded-Proto", "https")], 101),
    ] {
        assert_eq!(status(origin, headers), expected, "{origin} {headers:?}");
    }
    host.log_line(
        "the page is from http://example.com, and the request is for host `example.com` over TLS. If that",
    );
}

#[test]
fn a_proxy_on_a_unix_socket_tells_the_client_if_it_is_trusted() {
    for (trusted, expected) in [("unix:", "192.0.2.7:0"), ("127.0.0.1", "unix:")] {
        let socket = scratch("forwarded.sock");
        let _ = fs::remove_file(&socket);
        let address = format!("unix:{}", path(&socket));
        let _host = Host::serve("web", &["--listen", &address, "--trusted-proxy", trusted]);
        let mut client = UnixStream::connect(&socket).expect("the server listens");
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        client
            .write_all(
                b"GET /echo HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n",
            )
            .expect("the server reads it");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("the server answers and closes");
        assert!(answer.contains(&format!(r#""peer":"{expected}""#)), "{answer}");
    }
}

/// A SIGHUP changes whom the server trusts, for the sockets that are open too.
#[test]
fn a_reload_of_the_config_file_changes_who_is_trusted() {
    let config = scratch("trusted.toml");
    let write = |trusted: &str| {
        let text =
            format!("[http]\ntrusted_proxies = [{trusted}]\n[plugin.web]\npath = {:?}\n", plugin("web"));
        fs::write(&config, text).expect("the scratch folder can be written");
    };
    write("");
    let host = Host::start(&["serve", "--config", path(&config)]);
    let mut client = host.connect();
    let headers = [("X-Forwarded-For", "192.0.2.7")];
    let own = client.address();
    assert_eq!(peer(&mut client, &headers), own);
    write("'127.0.0.1'");
    host.process().signal(Signal::HUP);
    eventually("the proxy is trusted", || peer(&mut client, &headers) == "192.0.2.7:0");
}
