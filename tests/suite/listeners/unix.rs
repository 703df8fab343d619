//! The files of Unix sockets that a reload adds, changes and removes.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use tungstenite::{Message, WebSocket};

use super::{FIRST, Server};
use crate::support::{DEADLINE, eventually, is_root};

fn open(socket: &Path) -> WebSocket<UnixStream> {
    let stream = UnixStream::connect(socket).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    tungstenite::client("ws://localhost/", stream).expect("the connection is upgraded").0
}

fn echo(client: &mut WebSocket<impl Read + Write>, text: &str) {
    client.send(Message::text(text)).expect("the server reads it");
    assert_eq!(client.read().expect("the server answers"), Message::text(text));
}

fn mode(socket: &Path) -> u32 {
    fs::metadata(socket).expect("the socket is there").permissions().mode() & 0o777
}

/// The config file with a Unix socket.
fn with_socket(keys: &str) -> String {
    format!("[[listen]]\naddress = '127.0.0.1:0'\n[[listen]]\naddress = 'unix:a.sock'\n{keys}\n")
}

#[test]
fn a_unix_socket_appears_with_its_mode_and_its_file_disappears_with_it() {
    let server = Server::start("unix", FIRST);
    let socket = server.folder.join("a.sock");
    assert!(!socket.exists());
    server.reloaded(&with_socket("mode = '606'"));
    server.host.stdout_line(&format!("listening on unix:{}", socket.display()));
    assert_eq!(mode(&socket), 0o606);
    let mut client = open(&socket);
    echo(&mut client, "new");
    server.reloaded(FIRST);
    assert!(!socket.exists());
    echo(&mut client, "still here");
    // A file that somebody else has put there is not the server's.
    server.reloaded(&with_socket(""));
    fs::remove_file(&socket).expect("the folder can be written");
    fs::write(&socket, "mine").expect("the folder can be written");
    server.reloaded(FIRST);
    assert_eq!(fs::read_to_string(&socket).expect("it stays"), "mine");
}

#[test]
fn mode_and_owner_change_and_the_socket_stays() {
    let server = Server::start("mode", &with_socket(""));
    let socket = server.folder.join("a.sock");
    let mut client = open(&socket);
    let inode = fs::metadata(&socket).expect("the socket is there").ino();
    let outcome = server.reloaded(&with_socket("mode = '600'"));
    assert!(outcome.contains("SIGHUP: reloaded the settings; "), "{outcome}");
    assert_eq!(mode(&socket), 0o600);
    if is_root() {
        server.reloaded(&with_socket("mode = '640'\nowner = '65534:65533'"));
        let about = fs::metadata(&socket).expect("the socket is there");
        assert_eq!((about.uid(), about.gid(), mode(&socket)), (65534, 65533, 0o640));
        server.reloaded(&with_socket("mode = '640'"));
        assert_eq!(fs::metadata(&socket).expect("the socket is there").uid(), 0);
    }
    server.reloaded(&with_socket(""));
    assert_eq!(mode(&socket), 0o660);
    assert_eq!(fs::metadata(&socket).expect("the socket is there").ino(), inode);
    echo(&mut client, "still here");
    echo(&mut open(&socket), "new");
    let outcome = server.reload(&with_socket("mode = '600'\nowner = 'nobdy'"));
    assert!(outcome.contains(&server.place(4)) && outcome.contains("no user `nobdy`"), "{outcome}");
    assert_eq!(mode(&socket), 0o660);
}

#[test]
fn a_socket_whose_file_is_gone_gets_a_new_one() {
    let server = Server::start("gone", &with_socket(""));
    let socket = server.folder.join("a.sock");
    let mut client = open(&socket);
    fs::remove_file(&socket).expect("the folder can be written");
    server.reloaded(&with_socket(""));
    echo(&mut open(&socket), "new");
    echo(&mut client, "still here");
}

#[test]
fn a_stop_removes_the_files_of_added_sockets() {
    let mut server = Server::start("stop", FIRST);
    let socket = server.folder.join("a.sock");
    server.reloaded(&with_socket(""));
    assert!(socket.exists());
    assert!(server.host.terminate().success());
    eventually("the file is removed", || !socket.exists());
}
