//! `redirect = "https"`: a listener that sends its clients to the one with TLS.

use super::{config, echo, listen, port, serve};
use crate::support::{Authority, Raw, Trust, UPGRADE, empty_folder};

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
