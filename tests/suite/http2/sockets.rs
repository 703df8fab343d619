//! WebSockets over one connection (RFC 8441).

use std::io::Write;

use h2::Reason;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use super::{Server, ask, closed, next, next_text, serve};
use crate::support::{Http2, Tunnel, frame};

const PROBE: &str =
    "[[route]]\npath = '/*'\nonconnect = 'join'\nonmessage = 'message'\nondisconnect = 'leave'\n";

fn probe(name: &str) -> Server {
    serve(name, "test-probe", PROBE, &[])
}

/// A WebSocket of the probe, and its id.
fn join(client: &mut Http2, path: &str) -> (WebSocket<Tunnel>, String) {
    let mut socket = client.open(path);
    let id = next_text(&mut socket).strip_prefix("id ").expect("an id").to_owned();
    (socket, id)
}

fn close(socket: &mut WebSocket<Tunnel>, code: u16, reason: &str) {
    let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
    socket.close(Some(frame)).expect("the server reads it");
}

#[test]
fn one_connection_carries_many_of_them() {
    let server = probe("many");
    let mut client = server.connect();
    assert!(client.has_websockets());
    let mut sockets = vec![join(&mut client, "/0?room=0")];
    let descriptors = server.host.workers()[0].descriptors();
    sockets.extend((1..100).map(|n| join(&mut client, &format!("/{n}?room={n}"))));
    for (n, (socket, _)) in sockets.iter_mut().enumerate() {
        assert_eq!(ask(socket, &format!("hello {n}")), format!("hello {n}"));
    }
    let described = ask(&mut sockets[7].0, "describe");
    assert!(
        described.contains("peer 127.0.0.1:") && described.contains("path /7\nquery room=7\n"),
        "{described}"
    );
    assert_eq!(server.host.workers()[0].descriptors(), descriptors, "they have one socket of the system");
    let (socket, id) = sockets.pop().expect("there are some");
    socket.into_inner().reset(Reason::CANCEL);
    assert_eq!(ask(&mut sockets[0].0, "still here"), "still here");
    server.host.log_line(&format!("#{id} disconnect 1006"));
    // Its place is free.
    join(&mut client, "/again");
}

#[test]
fn messages_of_every_size_and_in_fragments_come_back() {
    let server = serve("sizes", "echo", "", &[]);
    let mut client = server.connect();
    let mut socket = client.open("/");
    for size in [0, 1, 125, 126, 16_384, 65_535, 65_536, 200_000, 1 << 20] {
        let message = Message::binary((0..size).map(|n| ((n * 31) >> 3) as u8).collect::<Vec<_>>());
        socket.send(message.clone()).expect("the server reads it");
        assert!(next(&mut socket) == message, "{size} bytes");
    }
    // Fragments of WebSocket messages, in frames of HTTP/2 that do not end where they do.
    let text = "ä€𝄞".repeat(1000);
    let (first, rest) = text.as_bytes().split_at(1001);
    let fragments = [frame(0x01, first), frame(0x89, b"between"), frame(0x80, rest)].concat();
    socket.get_mut().send_in_frames(&fragments, 7);
    assert_eq!(next(&mut socket), Message::Pong(b"between".to_vec().into()));
    assert_eq!(next(&mut socket), Message::text(text));
    // Many messages in one frame of HTTP/2.
    let text = |n: u32| format!("message {n}");
    let many: Vec<u8> = (0..1000).flat_map(|n| frame(0x81, text(n).as_bytes())).collect();
    socket.get_mut().write_all(&many).expect("the server reads it");
    for n in 0..1000 {
        assert_eq!(next_text(&mut socket), text(n));
    }
}

#[test]
fn close_codes_go_both_ways() {
    let server = probe("codes");
    let mut client = server.connect();
    let (mut socket, id) = join(&mut client, "/");
    close(&mut socket, 4001, "bye");
    assert_eq!(closed(socket), Some((4001, "bye".to_owned())));
    server.host.log_line(&format!("#{id} disconnect 4001 \"bye\" by Client"));
    let (mut socket, id) = join(&mut client, "/");
    socket.send(Message::text("close 4002 so long")).expect("the server reads it");
    assert_eq!(closed(socket), Some((4002, "so long".to_owned())));
    server.host.log_line(&format!("#{id} disconnect 4002 \"so long\" by Server"));
    let (mut socket, id) = join(&mut client, "/");
    // Not masked.
    socket.get_mut().write_all(&[0x81, 1, b'x']).expect("the server reads it");
    assert_eq!(closed(socket).map(|(code, _)| code), Some(1002));
    server.host.log_line(&format!("#{id} disconnect 1002"));
}

#[test]
fn a_stream_that_is_reset_or_ended_ends_its_connection_alone() {
    let server = probe("reset");
    let mut client = server.connect();
    let (mut other, _) = join(&mut client, "/");
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let (mut socket, id) = join(&mut client, "/");
        assert_eq!(ask(&mut socket, "hello"), "hello");
        // In the middle of a message.
        socket.get_mut().write_all(&frame(0x81, b"whole")[..4]).expect("the server reads it");
        let tunnel = socket.into_inner();
        tunnel.reset(reason);
        server.host.log_line(&format!("#{id} disconnect 1006"));
        server.host.log_line(&format!("#{id} drop"));
    }
    let (mut socket, id) = join(&mut client, "/");
    socket.get_mut().end();
    server.host.log_line(&format!("#{id} disconnect 1006"));
    assert!(socket.read().is_err(), "the server ends its side");
    assert_eq!(ask(&mut other, "still here"), "still here");
}

#[test]
fn broadcasts_reach_clients_of_both_protocols() {
    let text = format!("[[listen]]\naddress = '127.0.0.1:0'\n{PROBE}");
    let server = serve("broadcast", "test-probe", &text, &["--workers", "2"]);
    let port = crate::tls::port(&server.host, "http");
    let mut clients = [server.connect(), server.connect()];
    let mut multiplexed: Vec<_> = (0..6).map(|n| join(&mut clients[n % 2], "/").0).collect();
    let mut plain: Vec<_> = (0..4).map(|_| crate::support::Raw::connect(port).upgrade("/", &[])).collect();
    for socket in &mut plain {
        assert!(socket.next_text().starts_with("id "));
    }
    let large = "x".repeat(50_000);
    for text in ["small", &large] {
        multiplexed[0].send(Message::text(format!("others-global {text}"))).expect("the server reads it");
        plain.iter_mut().for_each(|socket| assert_eq!(socket.next_text(), text));
        multiplexed[1..].iter_mut().for_each(|socket| assert_eq!(next_text(socket), text));
        plain[0].text(&format!("others-global {text}"));
        plain[1..].iter_mut().for_each(|socket| assert_eq!(socket.next_text(), text));
        multiplexed.iter_mut().for_each(|socket| assert_eq!(next_text(socket), text));
    }
}

#[test]
fn what_is_no_websocket_is_no_tunnel() {
    let routes = "[[route]]\npath = '/page'\nhandler = 'answer'\n\
        [[route]]\npath = '/fails'\nhandler = 'refuses'\n\
        [[route]]\npath = '/socket'\nhandler = 'socket'\n\
        [[route]]\npath = '/posts'\nmethods = ['POST']\nhandler = 'socket'\n";
    let server = serve("no-tunnel", "requests", routes, &[]);
    let mut client = server.connect();
    let mut status = |path: &str, headers: &[(&str, &str)]| match client.upgrade(path, headers) {
        Ok(_) => 200,
        Err(response) => response.status,
    };
    assert_eq!(status("/page", &[]), 400, "200 would open a tunnel");
    assert_eq!(status("/page?403", &[]), 403);
    assert_eq!((status("/fails", &[]), status("/nowhere", &[])), (500, 404));
    assert_eq!(status("/posts", &[]), 405, "the handshake counts as GET");
    assert_eq!(status("/socket", &[("sec-websocket-version", "8")]), 400);
    assert_eq!(status("/socket", &[]), 200);
    // Pages of other hosts.
    assert_eq!(status("/socket", &[("origin", "https://evil.example")]), 403);
    let own = format!("https://localhost:{}", server.port);
    assert_eq!(status("/socket", &[("origin", &own)]), 200);
    assert_eq!(status("/socket", &[("origin", &own.replace("https", "http"))]), 403, "a page without TLS");
}

#[test]
fn a_handler_answers_with_headers_and_a_subprotocol() {
    let routes = "[[route]]\npath = '/socket'\nhandler = 'socket'\nheaders = { X-Frame-Options = 'DENY' }\n\
        [[route]]\npath = '/speaks'\nhandler = 'chooses'\nprotocols = ['v2']\n";
    let server = serve("headers", "requests", routes, &[]);
    let mut client = server.connect();
    let (_, headers) = client.upgrade("/socket", &[("answer-x-own", "1")]).ok().expect("it is one");
    assert!(headers["x-own"] == "1" && headers["x-frame-options"] == "DENY", "{headers:?}");
    for name in ["sec-websocket-accept", "upgrade", "connection", "content-length"] {
        assert!(!headers.contains_key(name), "{name}");
    }
    for (offer, chosen) in [("v1, v2", "v1"), ("v2", "v2"), ("v3, v2", "v3")] {
        let (tunnel, headers) =
            client.upgrade("/speaks", &[("sec-websocket-protocol", offer)]).ok().expect("it is one");
        assert_eq!(headers["sec-websocket-protocol"], chosen);
        let mut socket = WebSocket::from_raw_socket(tunnel, tungstenite::protocol::Role::Client, None);
        assert_eq!(ask(&mut socket, "which?"), chosen);
    }
}

#[test]
fn a_certificate_of_the_client_is_that_of_all_its_websockets() {
    use crate::support::{Authority, Trust, empty_folder};
    use crate::tls::{config, listen, port, serve as serve_file};

    let folder = empty_folder("http2-certificate");
    let (authority, people) = (Authority::new("A"), Authority::new("people"));
    let files = authority.issue(&["localhost"]).write(&folder, "a");
    std::fs::write(folder.join("people.pem"), people.pem()).expect("the scratch folder can be written");
    let table = listen(&files, "http2 = true\nclient_certificates = 'people.pem'");
    let routes =
        "[[route]]\npath = '/'\nhandler = 'identified'\n[[route]]\npath = '/page'\nhandler = 'identity'\n";
    let host = serve_file(&config(&folder, &format!("{table}{routes}"), "requests"), &[]);
    let trust = Trust::of(&authority).with(&people.issue(&["ann.example"]));
    let mut client = Http2::connect(&trust, port(&host, "https"));
    let page = client.get("/page").text().to_owned();
    assert!(page.contains("ann.example"), "{page}");
    for _ in 0..2 {
        assert_eq!(ask(&mut client.open("/"), "who am I?"), page);
    }
}

/// A client that reads nothing of one stream gets the messages of the others, and is closed on that stream.
#[test]
fn a_stream_that_nobody_reads_has_its_own_backlog() {
    let server = serve("backlog", "test-probe", PROBE, &["--max-backlog", "1MiB", "--high-water", "64KiB"]);
    let mut client = server.connect();
    let (slow, slow_id) = join(&mut client, "/");
    let (mut source, _) = join(&mut client, "/");
    source.send(Message::text(format!("flood {slow_id}"))).expect("the server reads it");
    server.host.log_line("reads slower than it is sent to");
    assert_eq!(next_text(&mut source), "flooded");
    server.host.log_line(&format!("#{slow_id} disconnect 1013"));
    drop(slow);
    assert_eq!(ask(&mut source, "still here"), "still here");
}

#[test]
fn a_client_that_reads_later_gets_all_of_a_long_queue() {
    let server = serve("later", "test-probe", PROBE, &[]);
    let mut client = server.connect();
    let (mut socket, id) = join(&mut client, "/");
    // It sends until the queue is long, and much more than the windows has been sent.
    socket.send(Message::text("fill")).expect("the server reads it");
    server.host.log_line(&format!("#{id} filled"));
    assert_eq!(ask_through(&mut socket, "done"), "done");
}

/// Sends a text, and reads binary messages until a text comes.
fn ask_through(socket: &mut WebSocket<Tunnel>, text: &str) -> String {
    socket.send(Message::text(text)).expect("the server reads it");
    loop {
        if let Message::Text(text) = next(socket) {
            return text.to_string();
        }
    }
}
