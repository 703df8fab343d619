//! `--listen unix:PATH`: clients on a Unix socket, as a reverse proxy on the same machine connects.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::{Signal, getegid, geteuid};
use tungstenite::{Message, WebSocket};

use crate::support::{DEADLINE, Host, empty_folder, is_root, path, plugin, run, scratch};

/// A path for a socket that does not exist yet.
fn socket(name: &str) -> PathBuf {
    let socket = scratch(name);
    let _ = fs::remove_file(&socket);
    socket
}

fn address(socket: &Path) -> String {
    format!("unix:{}", path(socket))
}

fn serve(name: &str, address: &str, options: &[&str]) -> Host {
    Host::serve(name, &[&["--listen", address], options].concat())
}

fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    stream.set_write_timeout(Some(DEADLINE)).expect("a timeout can be set");
    stream
}

fn open(socket: &Path) -> WebSocket<UnixStream> {
    tungstenite::client("ws://localhost/", connect(socket)).expect("the connection is upgraded").0
}

fn echo(client: &mut WebSocket<UnixStream>, payload: &[u8]) {
    client.send(Message::binary(payload.to_vec())).expect("the server reads it");
    assert_eq!(client.read().expect("the server answers"), Message::binary(payload.to_vec()));
}

/// All workers accept from one listening socket, so each of them may get any of the clients.
#[test]
fn http_and_websocket_are_served_on_a_unix_socket_by_every_worker() {
    let socket = socket("served");
    let host = serve("echo", &address(&socket), &["--workers", "2"]);
    assert!(host.stdout().contains(&format!("listening on {}\n", address(&socket))), "{}", host.stdout());
    let mut clients: Vec<_> = (0..20).map(|_| open(&socket)).collect();
    for client in &mut clients {
        echo(client, b"over a file");
        echo(client, &vec![7; 1 << 20]);
    }
    for mut client in clients {
        client.close(None).expect("the server answers");
        while client.read().is_ok() {}
    }
}

#[test]
fn a_client_on_a_unix_socket_has_the_peer_unix() {
    let socket = socket("peer");
    let _host = serve("web", &address(&socket), &[]);
    let mut client = connect(&socket);
    client
        .write_all(b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .expect("the server reads it");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the server answers and closes");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains(r#""peer":"unix:""#), "{answer}");
}

#[test]
fn connections_on_a_unix_socket_stay_open_over_a_reload_and_drain_with_the_server() {
    let socket = socket("reload");
    let control = scratch("reload-control");
    let mut host = serve("echo", &address(&socket), &["--control", path(&control)]);
    let mut client = open(&socket);
    echo(&mut client, b"before");
    let (status, stdout, stderr) = run(&["reload", "--force", "--control", path(&control)]);
    assert_eq!(status, 0, "{stdout}{stderr}");
    assert!(stdout.contains("1 connection kept"), "{stdout}");
    echo(&mut client, b"after");
    host.ask_to_stop();
    match client.read().expect("the server sends a Close") {
        Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1001),
        other => panic!("{other:?}"),
    }
    while client.read().is_ok() {}
    assert!(host.ended().success());
    assert!(!socket.exists(), "the server removes its socket");
}

#[test]
fn the_socket_has_the_configured_mode_or_0660() {
    for (name, suffix, mode) in [("default", "", 0o660), ("mode", "?mode=600", 0o600)] {
        let socket = socket(name);
        let _host = serve("echo", &format!("{}{suffix}", address(&socket)), &[]);
        let about = fs::symlink_metadata(&socket).expect("the path exists");
        assert!(about.file_type().is_socket());
        assert_eq!(about.permissions().mode() & 0o777, mode, "{name}");
    }
}

#[test]
fn a_listen_table_sets_mode_and_owner_of_its_socket() {
    let folder = empty_folder("listen-table");
    let file = folder.join("callsign.toml");
    // Only root can give a file away.
    let (user, group) = match is_root() {
        true => (65534, 65533),
        false => (geteuid().as_raw(), getegid().as_raw()),
    };
    let text = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\n\n[[listen]]\naddress = 'unix:a.sock'\nmode = '606'\n\
         owner = '{user}:{group}'\n\n[plugin.echo]\npath = {:?}\n",
        plugin("echo")
    );
    fs::write(&file, text).expect("the scratch folder can be written");
    let mut host = Host::exactly(&["serve", "--config", path(&file)]);
    host.stdout_line("listening on http://127.0.0.1:");
    let socket = folder.join("a.sock");
    host.stdout_line(&format!("listening on {}", address(&socket)));
    echo(&mut open(&socket), b"over a file");
    let about = fs::symlink_metadata(&socket).expect("the path exists");
    assert_eq!(about.permissions().mode() & 0o777, 0o606);
    assert_eq!((about.uid(), about.gid()), (user, group));
    assert!(host.terminate().success());
    assert!(!socket.exists(), "the server removes its socket");
}

#[test]
fn a_stale_socket_is_replaced_and_one_that_is_listened_on_is_not() {
    let socket = socket("stale");
    let mut host = serve("echo", &address(&socket), &[]);
    host.process().signal(Signal::KILL);
    assert!(!host.ended().success());
    assert!(socket.exists(), "a killed server leaves its socket");
    let host = serve("echo", &address(&socket), &[]);
    echo(&mut open(&socket), b"again");

    let library = plugin("echo");
    let start = |address: &str| run(&["serve", path(&library), "--listen", address]);
    let (status, _, stderr) = start(&address(&socket));
    let expected = format!(
        "callsign: cannot listen on unix:{}; choose another address with --listen: a server that runs already \
         (process {}) has it\n",
        socket.display(),
        host.pid()
    );
    assert_eq!((status, stderr), (1, expected));
    echo(&mut open(&socket), b"still there");

    let file = scratch("file");
    fs::write(&file, "mine").expect("the scratch folder can be written");
    let (status, _, stderr) = start(&address(&file));
    assert!(status == 1 && stderr.contains("there is a file already, which is no socket"), "{stderr}");
    assert_eq!(fs::read_to_string(&file).expect("the file was not removed"), "mine");
}

#[test]
fn an_address_that_is_no_path_is_wrong_usage() {
    for bad in ["unix:", "unix:/a?mode=9", "unix:/a?owner=me"] {
        let (status, _, stderr) = run(&["serve", "a.so", "--listen", bad]);
        assert!(status == 2 && stderr.contains("expected unix:PATH"), "{stderr}");
    }
}

#[test]
fn a_path_that_no_socket_can_have_is_explained() {
    let library = plugin("echo");
    let start = |address: &str| {
        let (status, _, stderr) = run(&["serve", path(&library), "--listen", address]);
        assert_eq!(status, 1, "{stderr}");
        stderr
    };
    let long = scratch(&"x".repeat(120));
    assert!(start(&address(&long)).contains("and the path of a socket has at most 107"));
    let datagram = socket("datagram");
    let _datagram =
        std::os::unix::net::UnixDatagram::bind(&datagram).expect("the scratch folder can be written");
    assert!(start(&address(&datagram)).contains("there is a socket of another type already"));
    let twice = address(&socket("twice"));
    let error = start(&format!("{twice},{twice}"));
    assert!(error.contains(&format!("{twice} is also the address of another --listen")), "{error}");
    let both = socket("both");
    let control = ["serve", path(&library), "--listen", &address(&both), "--control", path(&both)];
    let (status, _, stderr) = run(&control);
    assert!(
        status == 1 && stderr.contains("a server that runs already (this one, for another purpose) has it")
    );
}

#[test]
fn a_start_that_fails_leaves_no_socket_behind() {
    let (socket, library) = (socket("failed"), plugin("echo"));
    let control = ["--control", "/nowhere/control.sock"];
    let (status, _, stderr) =
        run(&[&["serve", path(&library), "--listen", &address(&socket)], &control[..]].concat());
    assert!(status == 1 && stderr.contains("/nowhere/control.sock"), "{stderr}");
    assert!(!socket.exists());
}

/// A read on a Unix socket ends where a descriptor was passed, though more bytes follow.
#[test]
fn bytes_behind_a_passed_descriptor_are_read() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::os::fd::AsFd;

    let socket = socket("descriptor");
    let _host = serve("echo", &address(&socket), &[]);
    let mut client = open(&socket);
    for _ in 0..50 {
        let nothing = fs::File::open("/dev/null").expect("it is there");
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [nothing.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let pong = crate::support::frame(crate::support::PONG, b"");
        let stream = client.get_mut();
        sendmsg(&*stream, &[std::io::IoSlice::new(&pong)], &mut ancillary, SendFlags::empty())
            .expect("it fits");
        stream.write_all(&crate::support::frame(crate::support::BINARY, b"behind")).expect("it fits");
        assert_eq!(client.read().expect("the server answers"), Message::binary(b"behind".to_vec()));
    }
}

/// As over TCP, where the kernel has the limit.
#[test]
fn a_client_that_does_not_read_its_response_is_dropped() {
    let socket = socket("unread");
    let mut host = serve("web", &address(&socket), &["--send-timeout", "1s"]);
    let mut client = connect(&socket);
    let requests = "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    // More responses than the socket holds; the server stops to read when it cannot write.
    while client.write_all(requests.as_bytes()).is_ok() {}
    assert!(host.terminate().success(), "the drain does not wait for it");
}
