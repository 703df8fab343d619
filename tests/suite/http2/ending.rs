//! Reloads and drains with open WebSockets, and connections that break.

use std::{fs, io};

use rustix::process::Signal;
use tungstenite::Message;

use super::{ask, closed, next_text, serve, serve_in};
use crate::support::{empty_folder, eventually, path, plugin, run, variant};

pub const PROBE: &str =
    "[[route]]\npath = '/*'\nonconnect = 'join'\nonmessage = 'message'\nondisconnect = 'leave'\n";

#[test]
fn a_drain_closes_every_websocket_and_ends_the_connection() {
    let text = format!("[[route]]\npath = '/page'\nhandler = 'page'\n{PROBE}");
    let mut server = serve("drain", "test-probe", &text, &[]);
    let (mut client, mut idle) = (server.connect(), server.connect());
    assert_eq!(idle.get("/page").status, 200);
    let sockets: Vec<_> = (0..5).map(|_| client.open("/")).collect();
    let mut sockets: Vec<_> =
        sockets.into_iter().map(|mut socket| (next_text(&mut socket), socket)).collect();
    let (_, last) = &mut sockets[4];
    last.send(Message::text("large ".repeat(100_000))).expect("the server reads it");
    assert_eq!(next_text(last).len(), 600_000);
    server.host.ask_to_stop();
    for (_, socket) in sockets {
        let (code, reason) = closed(socket).expect("a Close with a code");
        assert_eq!((code, &*reason), (1001, "server is shutting down"));
    }
    idle.ended().expect("it ends in order");
    client.ended().expect("it ends in order");
    let status = server.host.ended();
    assert_eq!(status.code(), Some(0), "{}", server.host.log());
    assert_eq!(server.host.log_lines("disconnect 1001").len(), 5, "{}", server.host.log());
}

/// Nothing else delays the end of the worker.
#[test]
fn a_drain_of_a_client_without_streams_ends_its_connection_in_order() {
    let mut server = serve("idle-drain", "test-probe", PROBE, &[]);
    let mut client = server.connect();
    assert_eq!(client.get("/").status, 400);
    server.host.ask_to_stop();
    if let Err(error) = client.ended() {
        // The server may have ended when the client writes its last frame.
        let is_late = error.get_io().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        assert!(is_late, "it does not end in order: {error}");
    }
    assert_eq!(server.host.ended().code(), Some(0), "{}", server.host.log());
}

#[test]
fn a_drain_answers_what_was_asked() {
    let folder = empty_folder("http2-drain-answers");
    let public = folder.join("public");
    fs::create_dir_all(&public).expect("the scratch folder can be written");
    fs::write(public.join("l.bin"), vec![7; 5_000_000]).expect("the scratch folder can be written");
    let mut server = serve_in(
        &folder,
        "echo",
        "[[route]]\npath = '/files/*'\nfiles = 'public'\nstrip_prefix = '/files'\n",
        &[],
    );
    let mut client = server.connect();
    let (response, _) = client.begin("GET", "/files/l.bin", &[], true);
    let response = client.wait(response).expect("it begins");
    server.host.ask_to_stop();
    server.host.log_line("stopping");
    let body = client.finish(std::future::ready(Ok(response))).body;
    assert_eq!(body.len(), 5_000_000);
    assert_eq!(server.host.ended().code(), Some(0), "{}", server.host.log());
}

/// A client that does not answer is cut like one of HTTP/1.1.
#[test]
fn a_client_that_does_not_follow_a_drain_is_disconnected() {
    let mut server = serve("no-answer", "test-probe", PROBE, &["--close-timeout", "1s"]);
    let mut client = server.connect();
    let mut socket = client.open("/");
    assert!(next_text(&mut socket).starts_with("id "));
    // Nobody reads it any more.
    assert_eq!(server.host.terminate().code(), Some(0), "{}", server.host.log());
    assert_eq!(
        server.host.log_lines("disconnect 1001").len() + server.host.log_lines("disconnect 1006").len(),
        1
    );
    drop(socket);
}

#[test]
fn a_reload_keeps_websockets_and_their_state() {
    let folder = empty_folder("http2-reload");
    let library = folder.join("libreload.so");
    fs::copy(variant("1", &["-DHOOKS"]), &library).expect("the library was built");
    let control = std::env::temp_dir().join(format!("callsign-http2-{}", std::process::id()));
    let routes = "[[route]]\npath = '/'\nonconnect = 'join'\nonmessage = 'message'\nondisconnect = 'leave'\n";
    let plugins = format!("{routes}[plugin.reload]\npath = {library:?}\n");
    let server = serve_in(&folder, "echo", &plugins, &["--control", path(&control), "--workers", "2"]);
    let mut client = server.connect();
    let mut sockets: Vec<_> = (0..10).map(|_| client.open("/")).collect();
    for socket in &mut sockets {
        assert_eq!(next_text(socket), "join 1");
        assert_eq!(ask(socket, "set ann"), "set");
    }
    let new = folder.join("new.so");
    fs::copy(variant("2", &["-DHOOKS"]), &new).expect("the library was built");
    fs::rename(&new, &library).expect("the scratch folder can be written");
    let (code, out, error) = run(&["reload", "--control", path(&control)]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.contains("10 connections kept"), "{out}");
    for socket in &mut sockets {
        assert_eq!(ask(socket, "get"), "2 ann v0");
    }
    let _ = fs::remove_file(&control);
    assert_eq!(client.upgrade("/nowhere", &[]).map(|_| ()).expect_err("no route").status, 404);
}

#[test]
fn a_connection_that_breaks_ends_all_its_websockets() {
    let server = serve("breaks", "test-probe", PROBE, &[]);
    let mut client = server.connect();
    let sockets: Vec<_> = (0..20).map(|_| client.open("/")).collect();
    let mut other = server.connect();
    let mut stays = other.open("/");
    assert!(next_text(&mut stays).starts_with("id "));
    let descriptors = server.host.workers()[0].descriptors();
    drop(client);
    server.host.log_has("disconnect 1006", 20);
    drop(sockets);
    eventually("its socket is closed", || server.host.workers()[0].descriptors() == descriptors - 1);
    assert_eq!(ask(&mut stays, "still here"), "still here");
}

#[test]
fn a_worker_that_dies_takes_the_connection_with_it_and_the_next_serves() {
    let library = plugin("test-crash");
    let server = serve("dies", "test-crash", "", &[]);
    let mut client = server.connect();
    let mut socket = client.open("/");
    let worker = server.host.workers()[0];
    worker.signal(Signal::KILL);
    assert!(socket.read().is_err(), "the stream ends");
    let mut next = server.connect();
    let mut socket = next.open("/");
    assert!(ask(&mut socket, "who").contains(' '), "{library:?}");
}
