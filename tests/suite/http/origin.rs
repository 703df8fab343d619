//! Which pages may open WebSockets (RFC 6455 §10.2): by default those of the host that the request is for, else those of
//! `origins` and `--origin`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::support::{Answer, DEADLINE, Host, path, plugin, scratch};

/// The answer to a handshake for `host` with these headers.
fn handshake(server: &Host, path: &str, host: &str, headers: &[(&str, &str)]) -> Answer {
    let mut client = server.connect();
    client.send(request(path, host, headers));
    client.read_answer(true)
}

fn request(path: &str, host: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
    text + "\r\n"
}

/// The status for a page from `origin`.
fn page(server: &Host, path: &str, host: &str, origin: &str) -> u16 {
    handshake(server, path, host, &[("Origin", origin)]).status
}

/// Serves `requests` with routes on the command line: `/ws` for callbacks, `/socket` with a handler that upgrades.
fn serve(options: &[&str]) -> Host {
    let routes = ["--route", "/ws=,note,", "--route", "/socket=socket", "--route", "/upgrades=upgrades"];
    Host::serve("requests", &[&routes, options].concat())
}

/// Serves `requests` with a config file.
fn serve_config(name: &str, text: &str, options: &[&str]) -> Host {
    let config = scratch(name);
    let text = format!("{text}\n[plugin.requests]\npath = {:?}\n", plugin("requests"));
    fs::write(&config, text).expect("the scratch folder can be written");
    Host::start(&[&["serve", "--config", path(&config)], options].concat())
}

#[test]
fn by_default_a_page_must_come_from_the_host_of_the_request() {
    let host = serve(&[]);
    for path in ["/ws", "/socket"] {
        for (name, origin) in [
            ("example.com", "http://example.com"),
            ("example.com", "https://example.com"),
            ("example.com:443", "https://example.com"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("Example.com", "https://EXAMPLE.com"),
        ] {
            assert_eq!(page(&host, path, name, origin), 101, "{path} {name} {origin}");
        }
        for (name, origin) in [
            ("example.com", "https://evil.example"),
            ("example.com", "https://example.com.evil.example"),
            ("example.com", "https://example.com:8443"),
            ("127.0.0.1:8080", "http://127.0.0.1:3000"),
            ("127.0.0.1:8080", "http://localhost:8080"),
            ("example.com", "null"),
            ("example.com", "file://"),
            ("example.com", ""),
            ("example.com", "example.com"),
        ] {
            assert_eq!(page(&host, path, name, origin), 403, "{path} {name} {origin}");
        }
        // No browser.
        assert_eq!(handshake(&host, path, "example.com", &[]).status, 101);
        let two = [("Origin", "http://example.com"), ("Origin", "http://example.com")];
        assert_eq!(handshake(&host, path, "example.com", &two).status, 403);
        host.log_line(&format!("on route `{path}`: it has 2 Origin headers"));
    }
    // The handler of `/socket` was called for the accepted ones alone.
    assert_eq!(host.connect().request("GET", "/upgrades", &[], b"").text(), "7");
    // Requests that are no handshake are the handler's own affair.
    let plain = host.connect().request("GET", "/upgrades", &[("Origin", "http://evil.example")], b"");
    assert_eq!(plain.status, 200);
}

#[test]
fn a_rejected_page_can_try_again_on_the_same_socket() {
    let host = serve(&[]);
    let mut client = host.connect();
    for (origin, status) in [("http://evil.example", 403), ("http://test", 101)] {
        let answer = client.handshake("/ws", &[("Origin", origin)]);
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    client.send_frame(0x81, b"it is open");
    host.log_line("note: it is open");
}

#[test]
fn without_routes_the_rule_is_the_same() {
    let host = Host::serve("echo", &[]);
    assert_eq!(page(&host, "/", "example.com", "http://evil.example"), 403);
    assert_eq!(page(&host, "/", "example.com", "http://example.com"), 101);
    let line = host.log_line("403 for a WebSocket from 127.0.0.1:");
    assert!(
        line.contains(
            " on route `/*`: the page is from http://evil.example, and the request is for host `example.com`. If that \
             page may, start with --origin http://evil.example, or set origins = [\"http://evil.example\"] in [http] of \
             the config file; list the server's own pages too, if there are any."
        ),
        "{line}"
    );
}

#[test]
fn the_list_of_a_route_and_that_of_the_server_replace_the_rule() {
    let text = "[http]\norigins = 'https://server.example'\n\
                [[route]]\npath = '/own'\nonmessage = 'note'\norigins = ['https://a.example', 'http://b.example:8080']\n\
                [[route]]\npath = '/all'\nonmessage = 'note'\norigins = '*'\n\
                [[route]]\npath = '/none'\nonmessage = 'note'\norigins = []\n\
                [[route]]\npath = '/ws'\nonmessage = 'note'\n";
    let host = serve_config("origins.toml", text, &["--route", "/flag=,note,"]);
    const PAGES: [&str; 8] = [
        "https://a.example",
        "https://A.example:443",
        "http://a.example",
        "http://b.example:8080",
        "http://test",
        "https://server.example",
        "null",
        "junk",
    ];
    for (path, allowed) in [
        ("/own", &["https://a.example", "https://A.example:443", "http://b.example:8080"][..]),
        ("/all", &PAGES),
        ("/none", &[]),
        ("/ws", &["https://server.example"]),
        ("/flag", &["https://server.example"]),
    ] {
        for origin in PAGES {
            let status = if allowed.contains(&origin) { 101 } else { 403 };
            assert_eq!(page(&host, path, "test", origin), status, "{path} {origin}");
        }
        assert_eq!(handshake(&host, path, "test", &[]).status, 101, "{path}: no page");
    }
    let line = host.log_line("on route `/own`: the page is from http://test,");
    assert!(line.contains("add \"http://test\" to `origins` in the route ("), "{line}");
    assert!(line.ends_with("origins.toml:3)"), "{line}");
    let line = host.log_line("on route `/ws`: the page is from http://test,");
    assert!(
        line.ends_with("add http://test to --origin, or to `origins` in [http] of the config file"),
        "{line}"
    );
    host.log_line("on route `/own`: its Origin header is malformed: `junk`");
    host.log_line(
        "on route `/own`: the page has no origin (null: a file, or a sandboxed frame of any page), and the",
    );

    // The option replaces the list of the server.
    let options =
        ["--route", "/flag=,note,", "--origin", "http://c.example,http://d.example", "--origin", "null"];
    let host = serve_config("origins.toml", text, &options);
    for (path, origin, status) in [
        ("/ws", "http://c.example", 101),
        ("/flag", "http://d.example", 101),
        ("/flag", "null", 101),
        ("/ws", "https://server.example", 403),
        ("/own", "http://c.example", 403),
    ] {
        assert_eq!(page(&host, path, "test", origin), status, "{path} {origin}");
    }
}

#[test]
fn the_log_names_the_key_and_its_place_once_for_each_page() {
    let text = "[[route]]\npath = '/ws'\nonmessage = 'note'\n";
    let host = serve_config("origin-log.toml", text, &[]);
    (0..10).for_each(|_| assert_eq!(page(&host, "/ws", "test", "http://evil.example"), 403));
    assert_eq!(page(&host, "/ws", "test", &format!("http://{}.example", "a".repeat(300))), 403);
    assert_eq!(page(&host, "/ws", "test", "http://last.example"), 403);
    host.log_line("from http://last.example");
    let lines = host.log_lines("from http://evil.example");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains(" set origins = [\"http://evil.example\"] in the route ("), "{}", lines[0]);
    assert!(lines[0].contains("origin-log.toml:1)"), "{}", lines[0]);
    assert!(host.log_lines("aaaa").iter().all(|line| !line.contains(&"a".repeat(101))), "{}", host.log());

    // A client that invents origins does not fill the log.
    (0..100).for_each(|n| assert_eq!(page(&host, "/ws", "test", &format!("http://{n}.example")), 403));
    assert!(host.log_lines("403 for").len() <= 32, "{}", host.log());
}

#[test]
fn the_forwarded_host_of_a_trusted_proxy_replaces_the_host() {
    let by_proxy = |server: &Host, host: &str, forwarded: &str| {
        let headers = [("Origin", "https://example.com"), ("X-Forwarded-Host", forwarded)];
        handshake(server, "/ws", host, &headers).status
    };
    for proxy in ["127.0.0.1", "10.0.0.0/8,127.0.0.0/8"] {
        let host = serve(&["--trusted-proxy", proxy]);
        assert_eq!(by_proxy(&host, "upstream", "example.com"), 101);
        assert_eq!(by_proxy(&host, "upstream", "example.com, inner.example"), 101);
        assert_eq!(by_proxy(&host, "example.com", "evil.example"), 403);
        assert_eq!(by_proxy(&host, "upstream", "inner.example, example.com"), 403);
        assert_eq!(page(&host, "/ws", "example.com", "https://example.com"), 101, "the proxy keeps the host");
    }
    let untrusted = serve(&["--trusted-proxy", "10.0.0.0/8,unix:"]);
    assert_eq!(by_proxy(&untrusted, "upstream", "example.com"), 403);
    let line = untrusted.log_line("the request is for host `upstream`");
    assert!(
        line.ends_with(
            "If 127.0.0.1 is your reverse proxy, start with --trusted-proxy 127.0.0.1, or set trusted_proxies = \
             [\"127.0.0.1\"] in [http]: it says that the request is for host `example.com`"
        ),
        "{line}"
    );
    assert_eq!(page(&untrusted, "/ws", "upstream", "https://example.com"), 403);
    untrusted.log_line("If a reverse proxy has changed the host, have it pass on the Host header");
}

#[test]
fn a_proxy_on_a_unix_socket_can_be_trusted() {
    for (trusted, status) in [("trusted_proxies = ['unix:']", "101"), ("", "403")] {
        let socket = scratch("origin.sock");
        let _ = fs::remove_file(&socket);
        let text = format!("[http]\n{trusted}\n[[route]]\npath = '/ws'\nonmessage = 'note'\n");
        let host = serve_config("origin-unix.toml", &text, &["--listen", &format!("unix:{}", path(&socket))]);
        let mut client = UnixStream::connect(&socket).expect("the server listens");
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        let headers = [("Origin", "https://example.com"), ("X-Forwarded-Host", "example.com")];
        client.write_all(request("/ws", "upstream", &headers).as_bytes()).expect("the server reads it");
        let mut answer = [0; 12];
        client.read_exact(&mut answer).expect("the server answers");
        assert_eq!(answer, *format!("HTTP/1.1 {status}").as_bytes());
        if status == "403" {
            host.log_line("If unix: is your reverse proxy, start with --trusted-proxy unix:, or set");
        }
    }
}
