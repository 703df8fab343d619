//! `redirect = "https"`: a listener that sends its clients to the one with TLS.

use super::{config, echo, listen, port, serve};
use crate::support::{Authority, Raw, Trust, UPGRADE, empty_folder, eventually};

#[test]
fn a_redirecting_listener_sends_requests_and_handshakes_to_the_port_with_tls() {
    let folder = empty_folder("redirect");
    let authority = Authority::new("A");
    let tls = listen(&authority.issue(&["localhost"]).write(&folder, "a"), "");
    let text = format!("[[listen]]\naddress = '127.0.0.1:0'\nredirect = 'https'\n{tls}");
    let host = serve(&config(&folder, &text, "echo"), &[]);
    let line = host.stdout_line("listening on http://127.0.0.1:");
    assert!(line.ends_with("/, which redirects to https"), "{line}");
    let (plain, https) = (port(&host, "http"), port(&host, "https"));
    let mut raw = Raw::connect(plain);
    // Several requests on one connection.
    for (method, target, location) in [
        ("GET", "/chat?room=7", format!("https://test:{https}/chat?room=7")),
        ("POST", "/%2e/a//b", format!("https://test:{https}/%2e/a//b")),
        ("HEAD", "/", format!("https://test:{https}/")),
    ] {
        let answer = raw.request(method, target, &[], b"");
        assert_eq!((answer.status, answer.header("location")), (308, Some(location.as_str())), "{method}");
    }
    let answer = raw.request("GET", "/chat", &UPGRADE, b"");
    let location = format!("wss://test:{https}/chat");
    assert_eq!((answer.status, answer.header("location")), (308, Some(location.as_str())));
    raw.send("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
    assert_eq!(raw.read_answer(true).status, 400);
    let mut raw = Raw::connect(plain);
    raw.send("GET / HTTP/1.1\r\nHost:\r\n\r\n");
    let answer = raw.read_answer(true);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("names no host"), "{}", answer.text());
    // The plugin is reached where the redirect leads.
    echo(&mut Trust::of(&authority).open(https, "/"), "over TLS");
}

#[test]
fn a_redirect_leads_to_tls_that_its_clients_can_use() {
    let folder = empty_folder("redirect-usable");
    let authority = Authority::new("A");
    let files = authority.issue(&["localhost"]).write(&folder, "a");
    let authorities = folder.join("ca.pem");
    std::fs::write(&authorities, authority.pem()).expect("the scratch folder can be written");
    let tls = |more: &str| listen(&files, more);
    let text = [
        "http.trusted_proxies = '127.0.0.1'\n",
        "[[listen]]\naddress = '127.0.0.1:0'\nredirect = 'https'\n",
        "[[listen]]\naddress = '127.0.0.2:0'\nredirect = 'https:4443'\n",
        "[[listen]]\naddress = '127.0.0.3:0'\nredirect = 'https://chat.example'\n",
        &tls("proxy_protocol = true"),
        &tls(&format!("client_certificates = {authorities:?}")),
        &tls(""),
    ];
    let host = serve(&config(&folder, &text.concat(), "echo"), &[]);
    let lines = || {
        let lines = host.stdout();
        lines
            .lines()
            .filter_map(|line| line.strip_prefix("listening on ").map(str::to_owned))
            .collect::<Vec<_>>()
    };
    eventually("all addresses are shown", || lines().len() == 6);
    let port =
        |line: &str| line.split([':', '/']).nth(4).and_then(|port| port.parse::<u16>().ok()).expect("a port");
    let lines = lines();
    let usable = port(&lines[5]);
    for (line, location) in [
        (0, format!("https://test:{usable}/x?y")),
        (1, "https://test:4443/x?y".to_owned()),
        (2, "https://chat.example/x?y".to_owned()),
    ] {
        let address = lines[line].split('/').nth(2).expect("a URL");
        let stream = std::net::TcpStream::connect(address).expect("the server listens");
        let answer = Raw::of(stream).request("GET", "/x?y", &[], b"");
        assert_eq!((answer.status, answer.header("location")), (308, Some(location.as_str())));
    }
    echo(&mut Trust::of(&authority).open(usable, "/"), "over TLS");
}

#[test]
fn targets_of_every_form_get_a_url_or_a_400() {
    let folder = empty_folder("redirect-targets");
    let authority = Authority::new("A");
    let tls = listen(&authority.issue(&["localhost"]).write(&folder, "a"), "");
    let text = format!("[[listen]]\naddress = '127.0.0.1:0'\nredirect = 'https'\n{tls}");
    let host = serve(&config(&folder, &text, "echo"), &[]);
    let (plain, https) = (port(&host, "http"), port(&host, "https"));
    for (line, host, location) in [
        ("GET http://b.example/x?y", "a", Some(format!("https://b.example:{https}/x?y"))),
        ("GET http://b.example?y=1", "a", Some(format!("https://b.example:{https}/?y=1"))),
        ("OPTIONS *", "a.example:80", Some(format!("https://a.example:{https}"))),
        ("GET /x", "[::1]:80", Some(format!("https://[::1]:{https}/x"))),
        ("GET *", "a.example", None),
        ("CONNECT a.example:443", "a.example:443", None),
        ("GET ftp://a.example/x", "a.example", None),
        ("GET /x", "a,b", None),
        ("GET /x", "a..b", None),
        ("GET /x", "a%2eb", None),
        ("GET http://user@a.example/x", "a.example", None),
    ] {
        let mut raw = Raw::connect(plain);
        raw.send(&format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = raw.read_answer(true);
        let status = if location.is_some() { 308 } else { 400 };
        assert_eq!(
            (answer.status, answer.header("location")),
            (status, location.as_deref()),
            "{line} {host}"
        );
    }
    // What is no handshake anywhere is none here.
    let mut raw = Raw::connect(plain);
    let answer = raw.request("POST", "/chat", &UPGRADE, b"");
    assert_eq!((answer.status, answer.header("location")), (400, None));
}
