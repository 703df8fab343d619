//! Messages over TLS, from the handshake to the close_notify.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, StreamOwned, SupportedProtocolVersion};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Bytes, Message, WebSocket};

use super::{config, echo, listen, port, serve};
use crate::support::{Authority, DEADLINE, Host, Trust, empty_folder};

type Socket = WebSocket<StreamOwned<ClientConnection, TcpStream>>;

static VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&TLS12], &[&TLS13]];

/// The echo plugin behind TLS.
fn serve_echo(name: &str, options: &[&str]) -> (Host, u16, Trust) {
    let folder = empty_folder(name);
    let authority = Authority::new("A");
    let files = authority.issue(&["localhost"]).write(&folder, "a");
    let host = serve(&config(&folder, &listen(&files, ""), "echo"), options);
    let port = port(&host, "https");
    (host, port, Trust::of(&authority))
}

fn binary(length: usize) -> Message {
    Message::binary((0..length).map(|index| (index % 251) as u8).collect::<Vec<_>>())
}

/// Reads what follows the end of the WebSocket. Without a close_notify this is an error.
fn read_to_close_notify(socket: &mut Socket) {
    while socket.read().is_ok() {}
    let rest = socket.get_mut().read(&mut [0; 16]).expect("a close_notify");
    assert_eq!(rest, 0);
}

#[test]
fn messages_of_every_size_come_back_over_both_versions() {
    let (_host, port, trust) = serve_echo("sizes", &["--max-message", "2MiB"]);
    for versions in VERSIONS {
        let mut socket = trust.clone().versions(versions).open(port, "/");
        for length in [1, 125, 126, 4096, 16_379, 16_380, 16_384, 16_385, 65_536, 300_000, 1 << 20] {
            socket.send(binary(length)).expect("the server reads it");
            assert!(socket.read().expect("it comes back") == binary(length), "{length} bytes");
        }
        // In fragments, each of which is several records.
        let part = |first: bool, last: bool| {
            let kind = if first { Data::Binary } else { Data::Continue };
            Message::Frame(Frame::message(Bytes::from(vec![7; 40_000]), OpCode::Data(kind), last))
        };
        for message in [part(true, false), part(false, false), part(false, true)] {
            socket.send(message).expect("the server reads it");
        }
        assert!(socket.read().expect("it comes back") == Message::binary(vec![7; 120_000]));
        // Many at once: records and messages end at different places.
        for length in 0..500 {
            socket.write(binary(length)).expect("the server reads it");
        }
        socket.flush().expect("the server reads it");
        for length in 0..500 {
            assert!(socket.read().expect("it comes back") == binary(length), "{length} bytes");
        }
        socket.close(None).expect("the server reads it");
        read_to_close_notify(&mut socket);
    }
}

#[test]
fn both_sides_may_change_their_keys() {
    let (_host, port, trust) = serve_echo("keys", &[]);
    let mut socket = trust.versions(VERSIONS[1]).open(port, "/");
    for _ in 0..3 {
        echo(&mut socket, "before");
        // Asks the server for a new key too.
        socket.get_mut().conn.refresh_traffic_keys().expect("TLS 1.3");
        echo(&mut socket, "after");
        socket.send(binary(100_000)).expect("the server reads it");
        assert!(socket.read().expect("it comes back") == binary(100_000));
    }
}

#[test]
fn bytes_that_were_changed_end_their_connection_and_no_other() {
    let (_host, port, trust) = serve_echo("changed", &[]);
    for versions in VERSIONS {
        let (mut socket, mut other) =
            (trust.clone().versions(versions).open(port, "/"), trust.open(port, "/"));
        echo(&mut socket, "unchanged");
        socket
            .get_mut()
            .sock
            .write_all(b"\x17\x03\x03\0\x20not what the key would have made")
            .expect("it is open");
        let error = socket.read().expect_err("the server ends it").to_string();
        assert!(error.contains("BadRecordMac"), "{error}");
        echo(&mut other, "still there");
    }
}

#[test]
fn a_client_without_tls_is_told_so() {
    let (host, port, trust) = serve_echo("plain", &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is open");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("the server closes its side");
    assert!(response.starts_with("HTTP/1.1 400 ") && response.contains("use https://"), "{response}");
    host.log_line("speaks plain HTTP, and this address is for TLS: use https://");
    echo(&mut trust.open(port, "/"), "others are served");
}

#[test]
fn a_handshake_that_is_not_completed_ends_in_time() {
    let (_host, port, trust) = serve_echo("slow", &["--handshake-timeout", "300ms"]);
    for beginning in [&b""[..], b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time");
        stream.write_all(beginning).expect("it is open");
        assert_eq!(stream.read(&mut [0; 16]).expect("the server closes it"), 0);
    }
    echo(&mut trust.open(port, "/"), "others are served");
}
