//! Whether handlers learn that what a client sends is encrypted on its way.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use tungstenite::Message;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderName;

use super::{listen, port, serve};
use crate::support::{Authority, DEADLINE, Files, Trust, c_plugin, empty_folder, plugin};

const ROUTES: &str = "[[route]]\npath = '/who'\nhandler = 'page'\n[[route]]\npath = '/ws'\nonmessage = 'message'\n\
                      [[route]]\npath = '/handler'\nhandler = 'upgrade'\n";

/// Names and values.
type Headers<'h> = &'h [(&'h str, &'h str)];

/// A connection to the server, with these bytes before everything else.
fn connect(port: u16, before: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    stream.write_all(before).expect("the server reads it");
    stream
}

/// What `path` responds to a request with these headers.
fn get<S: Read + Write>(mut stream: S, path: &str, headers: Headers) -> String {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).expect("the server reads it");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("it answers");
    let (head, body) = response.split_once("\r\n\r\n").expect("a response has a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{response}");
    body.to_owned()
}

/// What a WebSocket at `path` answers.
fn ask<S: Read + Write>(stream: S, path: &str, headers: Headers) -> String {
    let mut request = format!("ws://localhost{path}").into_client_request().expect("a request");
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("a name");
        request.headers_mut().append(name, value.parse().expect("a value"));
    }
    let socket = tungstenite::client(request, stream).map(|(socket, _)| socket);
    let mut socket = socket.unwrap_or_else(|error| panic!("{path}: {error}"));
    socket.send(Message::text("secure?")).expect("the server reads it");
    socket.read().expect("it answers").into_text().expect("it is text").to_string()
}

/// All handlers of the plugin `secure.c` say this to a client that connects so.
fn assert_told<S: Read + Write>(connect: impl Fn() -> S, headers: Headers, expected: bool) {
    let expected = if expected { "1" } else { "0" };
    assert_eq!(get(connect(), "/who", headers), expected, "{headers:?}");
    for path in ["/ws", "/handler"] {
        assert_eq!(ask(connect(), path, headers), expected, "{path} {headers:?}");
    }
}

#[test]
fn handlers_learn_whether_a_client_uses_tls() {
    let folder = empty_folder("secure");
    let authority = Authority::new("A");
    let tls = listen(&authority.issue(&["localhost"]).write(&folder, "a"), "");
    let file = folder.join("callsign.toml");
    let library = c_plugin("secure.c");
    // With the result for a proxy that speaks TLS with the server, and for one that does not.
    let proxied: [(Headers, [bool; 2]); 8] = [
        (&[], [true, false]),
        (&[("X-Forwarded-Proto", "http")], [false, false]),
        (&[("X-Forwarded-Proto", "https")], [true, true]),
        (&[("X-Forwarded-Proto", "WSS")], [true, true]),
        (&[("X-Forwarded-Proto", "https, http")], [false, false]),
        (&[("X-Forwarded-For", "192.0.2.7")], [false, false]),
        (&[("Forwarded", "for=192.0.2.7;proto=https")], [true, true]),
        (&[("Forwarded", "for=192.0.2.7;proto=http"), ("X-Forwarded-Proto", "https")], [false, false]),
    ];
    for trusted in ["", "'127.0.0.1'"] {
        let text = format!(
            "http.trusted_proxies = [{trusted}]\n[[listen]]\naddress = '127.0.0.1:0'\n{tls}[plugin.p]\npath = \
             {library:?}\n{ROUTES}"
        );
        fs::write(&file, text).expect("the scratch folder can be written");
        let host = serve(&file, &[]);
        let (plain, secure) = (port(&host, "http"), port(&host, "https"));
        let over_tls =
            || Trust::of(&authority).over(connect(secure, b""), "localhost").expect("it has the name");
        for (headers, expected) in proxied {
            // From other clients the headers have no effect.
            let expected = if trusted.is_empty() { [true, false] } else { expected };
            assert_told(over_tls, headers, expected[0]);
            assert_told(|| connect(plain, b""), headers, expected[1]);
        }
    }
}

#[test]
fn a_proxy_header_says_whether_its_client_uses_tls() {
    /// A header of version 2 for 192.0.2.7, or another client, with a field PP2_TYPE_SSL if there are flags.
    fn header(command: u8, client: [u8; 4], flags: Option<u8>) -> Vec<u8> {
        let field = flags.map(|flags| [0x20, 0, 15, flags, 0, 0, 0, 0, 0x21, 0, 7]);
        let field = field.map(|field| [&field[..], b"TLSv1.3"].concat()).unwrap_or_default();
        let addresses = [&client[..], &[10, 0, 0, 1, 0xc8, 0x72, 0, 80]].concat();
        let length = [0, (addresses.len() + field.len()) as u8];
        [b"\r\n\r\n\0\r\nQUIT\n", &[command, 0x11][..], &length, &addresses, &field].concat()
    }
    const CLIENT: [u8; 4] = [192, 0, 2, 7];
    const PROXY: [u8; 4] = [127, 0, 0, 1];
    const NO_HEADERS: Headers = &[];
    const HTTP: Headers = &[("X-Forwarded-Proto", "http")];
    const HTTPS: Headers = &[("X-Forwarded-Proto", "https")];

    let folder = empty_folder("secure-proxied");
    let authority = Authority::new("A");
    let Files { certificate, key } = authority.issue(&["localhost"]).write(&folder, "a");
    let tls = listen(&Files { certificate, key }, "proxy_protocol = true");
    let (file, library) = (folder.join("callsign.toml"), c_plugin("secure.c"));
    let text = format!(
        "http.trusted_proxies = '127.0.0.1'\n[[listen]]\naddress = '127.0.0.1:0'\nproxy_protocol = true\n{tls}\
         [plugin.p]\npath = {library:?}\n{ROUTES}"
    );
    fs::write(&file, text).expect("the scratch folder can be written");
    let host = serve(&file, &[]);
    let (plain, secure) = (port(&host, "http"), port(&host, "https"));
    // With the result behind TLS with the server, and without it.
    for (header, headers, expected) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 51314 80\r\n".to_vec(), HTTPS, [true, false]),
        (header(0x21, CLIENT, None), HTTPS, [true, false]),
        (header(0x21, CLIENT, Some(1)), HTTP, [true, true]),
        (header(0x21, CLIENT, Some(7)), NO_HEADERS, [true, true]),
        // The proxy speaks TLS with the server, and its client does not speak TLS with the proxy.
        (header(0x21, CLIENT, Some(0)), HTTPS, [false, false]),
        (header(0x21, CLIENT, Some(6)), NO_HEADERS, [false, false]),
        // A client that is a proxy tells of its own.
        (header(0x21, PROXY, Some(1)), NO_HEADERS, [true, true]),
        (header(0x21, PROXY, Some(1)), HTTP, [false, false]),
        (header(0x21, PROXY, Some(0)), HTTPS, [true, true]),
        // The connection is the proxy's own.
        (header(0x20, CLIENT, Some(1)), HTTPS, [true, false]),
    ] {
        let over_tls =
            || Trust::of(&authority).over(connect(secure, &header), "localhost").expect("it has the name");
        assert_told(over_tls, headers, expected[0]);
        assert_told(|| connect(plain, &header), headers, expected[1]);
    }
}

#[test]
fn handlers_in_rust_learn_it_too() {
    let folder = empty_folder("secure-rust");
    let authority = Authority::new("A");
    let tls = listen(&authority.issue(&["localhost"]).write(&folder, "a"), "");
    let (file, library) = (folder.join("callsign.toml"), plugin("requests"));
    let text = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\n{tls}[plugin.p]\npath = {library:?}\n[[route]]\npath = '/*'\nhandler = \
         'secure'\n"
    );
    fs::write(&file, text).expect("the scratch folder can be written");
    let host = serve(&file, &[]);
    let (plain, secure) = (port(&host, "http"), port(&host, "https"));
    let over_tls = || Trust::of(&authority).over(connect(secure, b""), "localhost").expect("it has the name");
    assert_eq!([get(over_tls(), "/", &[]), ask(over_tls(), "/", &[])], ["true", "true"]);
    let plainly = || connect(plain, b"");
    assert_eq!([get(plainly(), "/", &[]), ask(plainly(), "/", &[])], ["false", "false"]);
}
