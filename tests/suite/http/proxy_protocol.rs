//! `proxy_protocol` of a listener: trusted proxies name their clients in a header, and nobody else is served there. The
//! tests are the proxy. `host/src/http/proxy_protocol` has the tables of headers.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::echoed_request;
use crate::support::{DEADLINE, Host, Raw, free_port, path, plugin, run, scratch};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 51314 80\r\n";
const REQUEST: &[u8] = b"GET /echo HTTP/1.1\r\nHost: test\r\n\r\n";

/// A header of version 2.
fn binary(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
    let length = u16::try_from(fields.len()).expect("it fits").to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, fields].concat()
}

const ADDRESSES: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0xc8, 0x72, 0, 80];

/// One that names 192.0.2.7:51314, with a field of so many bytes behind the addresses; 0: without it.
fn binary_v4(more: usize) -> Vec<u8> {
    let field = match more {
        0 => Vec::new(),
        more => [&[4, ((more - 3) >> 8) as u8, (more - 3) as u8][..], &vec![b'\n'; more - 3]].concat(),
    };
    binary(0x21, 0x11, &[&ADDRESSES[..], &field].concat())
}

/// A config file with the plugin `web` and a listener with `proxy_protocol`.
fn config(name: &str, address: &str, http: &str) -> PathBuf {
    let config = scratch(name);
    let text = format!(
        "[[listen]]\naddress = '{address}'\nproxy_protocol = true\n[http]\n{http}\n[plugin.web]\npath = {:?}\n\
         [plugin.requests]\npath = {:?}\n[[route]]\npath = '/*'\nhandler = 'web:onrequest'\n\
         [[route]]\npath = '/refuses'\nhandler = 'refuses'\n[[route]]\npath = '/ws'\nonmessage = 'note'\n",
        plugin("web"),
        plugin("requests")
    );
    fs::write(&config, text).expect("the scratch folder can be written");
    config
}

fn serve(name: &str, http: &str, options: &[&str]) -> Host {
    let config = config(name, "127.0.0.1:0", http);
    Host::exactly(&[&["serve", "--config", path(&config)], options].concat()).served()
}

fn peer(client: &mut Raw) -> String {
    echoed_request(&client.read_answer(true))["peer"].as_str().expect("the peer is text").to_owned()
}

#[test]
fn a_header_names_the_client_of_all_requests_of_its_connection() {
    let host = serve("proxied.toml", "trusted_proxies = '127.0.0.1'", &["--log", "debug"]);
    let mut v6 = [0; 36];
    (v6[0], v6[1], v6[15], v6[32], v6[33]) = (0xfd, 0x12, 7, 0xc8, 0x72);
    for (header, expected) in [
        (LINE, "192.0.2.7:51314"),
        (b"PROXY TCP6 fd12::7 ::1 51314 80\r\n", "[fd12::7]:51314"),
        (&binary_v4(0), "192.0.2.7:51314"),
        (&binary_v4(4000), "192.0.2.7:51314"),
        (&binary(0x21, 0x21, &v6), "[fd12::7]:51314"),
    ] {
        let mut client = host.connect();
        client.send([header, REQUEST, REQUEST].concat());
        assert_eq!([peer(&mut client), peer(&mut client)], [expected, expected]);
        // From a client that is no proxy, it has no effect.
        let forwarded = [("X-Forwarded-For", "6.6.6.6")];
        assert_eq!(echoed_request(&client.request("GET", "/echo", &forwarded, b""))["peer"], expected);
        assert_eq!(client.request("GET", "/refuses", &[], b"").status, 500);
        host.log_line(&format!("out of paper (500 for GET /refuses from {expected}, route"));
        let mut socket = client.upgraded("/ws", &[]);
        host.log_line(&format!("({expected}): open"));
        socket.send_frame(0x81, expected.as_bytes());
        host.log_line(&format!("note: {expected}"));
    }
    // A client that is a proxy names its own.
    let mut client = host.connect();
    client.send(b"PROXY TCP4 127.0.0.1 10.0.0.1 51314 80\r\n");
    let forwarded = [("X-Forwarded-For", "198.51.100.1")];
    assert_eq!(echoed_request(&client.request("GET", "/echo", &forwarded, b""))["peer"], "198.51.100.1:0");
}

#[test]
fn a_connection_of_the_proxys_own_has_its_address() {
    let host = serve("local.toml", "trusted_proxies = '127.0.0.1'", &[]);
    for header in [
        &b"PROXY UNKNOWN\r\n"[..],
        b"PROXY UNKNOWN 192.0.2.7 10.0.0.1 51314 80\r\n",
        &binary(0x20, 0x00, b""),
        &binary(0x20, 0x11, &[9; 12]),
        &binary(0x21, 0x00, b"\x04\x00\x02.."),
        &binary(0x21, 0x31, &[b'/'; 216]),
    ] {
        let mut client = host.connect();
        client.send([header, REQUEST].concat());
        assert_eq!(peer(&mut client), client.address());
        // The bytes may be those of any client, which the proxy has not named.
        let mut client = host.connect();
        let forged = String::from_utf8_lossy(REQUEST).replacen(
            "\r\n\r\n",
            "\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n",
            1,
        );
        client.send([header, forged.as_bytes()].concat());
        assert_eq!(peer(&mut client), client.address());
    }
}

#[test]
fn a_header_may_arrive_in_pieces() {
    let host = serve("pieces.toml", "trusted_proxies = '127.0.0.1'", &[]);
    for header in [LINE.to_vec(), binary_v4(9)] {
        let mut client = host.connect();
        [&header, REQUEST].concat().chunks(1).for_each(|byte| client.send(byte));
        assert_eq!(peer(&mut client), "192.0.2.7:51314");
        for cut in [1, 6, 15, 17, header.len() - 1, header.len(), header.len() + 1] {
            let mut client = host.connect();
            let whole = [&header, REQUEST].concat();
            client.send(&whole[..cut]);
            std::thread::yield_now();
            client.send(&whole[cut..]);
            assert_eq!(peer(&mut client), "192.0.2.7:51314", "{cut}");
        }
    }
}

#[test]
fn a_client_that_is_no_trusted_proxy_is_disconnected_and_logged_once() {
    let host = serve("untrusted.toml", "trusted_proxies = ['10.0.0.0/8', 'unix:']", &[]);
    for bytes in [LINE, &binary_v4(0), REQUEST] {
        let mut client = host.connect();
        // The server may close before it is sent.
        client.try_send(bytes);
        assert_eq!(client.read_to_end(), b"");
    }
    let line = host.log_line(" is disconnected: ");
    assert!(
        line.ends_with(
            " is disconnected: 127.0.0.1 is not in trusted_proxies, and this listener has proxy_protocol; if it is your \
             proxy, add it"
        ),
        "{line}"
    );
    assert_eq!(host.log_lines("is disconnected").len(), 1, "{}", host.log());
}

#[test]
fn a_trusted_proxy_that_sends_no_valid_header_is_disconnected_and_logged() {
    const MISSING: &str = "no PROXY header, which proxy_protocol of this listener requires: it begins with";
    const MALFORMED: &str = "its PROXY header is malformed:";
    let host = serve("malformed.toml", "trusted_proxies = '127.0.0.1'", &[]);
    for (bytes, what, why) in [
        (REQUEST, MISSING, "`GET /echo HTTP/1`; turn it on in the proxy, such as"),
        (b"\x16\x03\x01\x02\0\x01\0", MISSING, "`\\x16\\x03\\x01\\x02\\x00\\x01\\x00`"),
        (
            b"PROXY TCP4 192.0.2.7 10.0.0.1 51314 80\n\n",
            MALFORMED,
            "its line does not end with CR LF (`PROXY TCP4 192.0`)",
        ),
        (
            b"PROXY TCP4 192.0.2.7 10.0.0.1 99999 80\r\n",
            MALFORMED,
            "an address or port in its line is malformed",
        ),
        (&binary(0x31, 0x11, &[0; 12]), MALFORMED, "its version or command is unknown"),
        (&binary(0x21, 0x11, &[0; 5]), MALFORMED, "it is too short for its addresses"),
        (&binary_v4(5000), MALFORMED, "it is longer than 4096 bytes"),
        (
            &binary(0x21, 0x11, &[&ADDRESSES[..], b"\x04\x00\x09......"].concat()),
            MALFORMED,
            "a field (TLV) in it is longer than the rest of it",
        ),
        (
            &binary(0x21, 0x11, &[&ADDRESSES[..], b"\x03\x00\x04\x12\x34\x56\x78"].concat()),
            MALFORMED,
            "its checksum (CRC32C) is wrong",
        ),
    ] {
        let mut client = host.connect();
        client.try_send(bytes);
        assert_eq!(client.read_to_end(), b"");
        let line = host.log_line(why);
        assert!(line.contains(&format!(" is disconnected: {what} {why}")), "{line}");
    }
    // The checksum was made by another implementation, of the header with zeros in its place.
    let mut client = host.connect();
    let sealed = binary(0x21, 0x11, &[&ADDRESSES[..], b"\x03\x00\x04\xd8\x7b\x68\x70"].concat());
    client.send([&sealed[..], REQUEST].concat());
    assert_eq!(peer(&mut client), "192.0.2.7:51314");
    // One that only looks whether the server is there.
    drop(host.connect());
    let mut client = host.connect();
    client.send([LINE, REQUEST].concat());
    assert_eq!(peer(&mut client), "192.0.2.7:51314");
}

#[test]
fn a_header_has_to_arrive_in_time() {
    let host = serve("late.toml", "trusted_proxies = '127.0.0.1'\nhandshake_timeout = '1s'", &[]);
    let mut clients = [host.connect(), host.connect(), host.connect()];
    clients[1].send(&LINE[..LINE.len() - 1]);
    clients[2].send(&binary_v4(9)[..30]);
    for client in &mut clients {
        assert_eq!(client.read_to_end(), b"");
    }
    host.log_line(" is disconnected: its PROXY header was not complete within handshake_timeout (1s)");
}

#[test]
fn a_server_stops_although_a_header_is_incomplete() {
    let mut host = serve("stop.toml", "trusted_proxies = '127.0.0.1'", &[]);
    let mut waiting = host.connect();
    waiting.send(&LINE[..9]);
    let mut served = host.connect();
    served.send([LINE, REQUEST].concat());
    peer(&mut served);
    assert!(host.terminate().success(), "{}", host.log());
    assert_eq!(waiting.read_to_end(), b"");
}

#[test]
fn other_listeners_of_the_server_do_not_know_the_protocol() {
    let (config, port) = (scratch("beside.toml"), free_port());
    let text = format!(
        "listen = ['127.0.0.1:0', {{ address = '127.0.0.1:{port}', proxy_protocol = true }}]\n\
         http.trusted_proxies = '127.0.0.1'\nplugin.web.path = {:?}\n",
        plugin("web")
    );
    fs::write(&config, text).expect("the scratch folder can be written");
    let host = Host::exactly(&["serve", "--config", path(&config)]).served();
    let mut plain = host.connect();
    plain.send([LINE, REQUEST].concat());
    assert_eq!(plain.read_answer(true).status, 400);
    host.log_line(
        "speaks the PROXY protocol, which is not on for this address: set proxy_protocol = true in its",
    );
    let mut plain = host.connect();
    plain.send(REQUEST);
    assert_eq!(peer(&mut plain), plain.address());
    let mut proxied = Raw::connect(port);
    proxied.send([LINE, REQUEST].concat());
    assert_eq!(peer(&mut proxied), "192.0.2.7:51314");
}

#[test]
fn a_proxy_on_a_unix_socket_names_its_client() {
    let socket = scratch("proxied.sock");
    for (trusted, expected) in [("unix:", Some("192.0.2.7:51314")), ("127.0.0.1", None)] {
        let _ = fs::remove_file(&socket);
        let address = format!("unix:{}", path(&socket));
        let config = config("proxied-unix.toml", &address, &format!("trusted_proxies = '{trusted}'"));
        let host = Host::exactly(&["serve", "--config", path(&config)]);
        host.stdout_line(&address);
        let mut client = UnixStream::connect(&socket).expect("the server listens");
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        // The server may close before it is sent.
        let _ = client.write_all(&[LINE, b"GET /echo HTTP/1.0\r\nHost: a\r\n\r\n"].concat());
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).expect("the answer is text");
        match expected {
            Some(peer) => assert!(answer.contains(&format!(r#""peer":"{peer}""#)), "{answer}"),
            None => {
                assert_eq!(answer, "");
                host.log_line("unix: is disconnected: unix: is not in trusted_proxies");
            }
        }
    }
}

#[test]
fn without_trusted_proxies_the_config_file_is_rejected() {
    for http in ["", "trusted_proxies = []"] {
        let config = config("nobody.toml", "127.0.0.1:0", http);
        for command in ["serve", "check"] {
            let (status, _, stderr) = run(&[command, "--config", path(&config)]);
            let expected = format!(
                "callsign: {}:2:11: proxy_protocol of 127.0.0.1:0 needs trusted_proxies in [http], because only trusted \
                 proxies may name their clients; list the addresses of the proxies there\n",
                path(&config)
            );
            assert_eq!((status, stderr), (1, expected));
        }
    }
}
