//! TLS as operators set it up: certificates for names, of clients, replaced while the server runs; redirects.

mod messages; // from the handshake to the close_notify

mod reload; // new certificates while clients are connected

mod clients; // certificates of clients

mod redirect; // from http to https

mod files; // files that are wrong

mod unusable; // certificates and keys that no client can use

mod limits; // time, and floods of handshakes

mod secure; // what handlers learn

mod dev; // `callsign dev --tls`

use std::fs;
use std::path::{Path, PathBuf};

use tungstenite::{Message, WebSocket};

use crate::support::{Authority, Files, Host, Trust, empty_folder, needs_root, path, plugin};

/// The port of the server's first listener of that scheme.
pub fn port(host: &Host, scheme: &str) -> u16 {
    let start = format!("listening on {scheme}://127.0.0.1:");
    let line = host.stdout_line(&start);
    let rest = line.strip_prefix(&start).and_then(|rest| rest.split('/').next()?.parse().ok());
    rest.unwrap_or_else(|| panic!("no port: {line}"))
}

/// A `[[listen]]` table with TLS.
pub fn listen(files: &Files, more: &str) -> String {
    let Files { certificate, key } = files;
    format!(
        "[[listen]]\naddress = '127.0.0.1:0'\ntls = {{ certificate = {certificate:?}, key = {key:?} }}\n{more}\n"
    )
}

/// Writes a config file of the plugin `name` with this text before it.
pub fn config(folder: &Path, text: &str, name: &str) -> PathBuf {
    let file = folder.join("callsign.toml");
    let library = plugin(name);
    fs::write(&file, format!("{text}\n[plugin.p]\npath = {library:?}\n"))
        .expect("the scratch folder can be written");
    file
}

pub fn serve(config: &Path, options: &[&str]) -> Host {
    Host::exactly(&[&["serve", "--config", path(config)], options].concat())
}

/// Has the echo plugin answer.
pub fn echo<S: std::io::Read + std::io::Write>(socket: &mut WebSocket<S>, text: &str) {
    socket.send(Message::text(text)).expect("the server reads it");
    assert_eq!(socket.read().expect("it comes back"), Message::text(text));
}

#[test]
fn a_listener_with_a_certificate_serves_wss() {
    let folder = empty_folder("serves");
    let authority = Authority::new("A");
    let issued = authority.issue(&["localhost"]);
    let file = config(&folder, &listen(&issued.write(&folder, "a"), ""), "echo");
    let host = serve(&file, &[]);
    let port = port(&host, "https");
    echo(&mut Trust::of(&authority).open(port, "/"), "over TLS");
    assert_eq!(Trust::of(&authority).certificate(port, "localhost"), issued.der());
    let error = Trust::of(&Authority::new("B")).connect(port, "localhost").map(drop);
    assert!(error.expect_err("another authority").to_string().contains("UnknownIssuer"));
}

#[test]
fn the_name_that_a_client_asks_for_selects_its_certificate() {
    let folder = empty_folder("names");
    let authority = Authority::new("A");
    let issued = [&["a.example"][..], &["b.example", "*.c.example"]].map(|names| authority.issue(names));
    let files = [issued[0].write(&folder, "a"), issued[1].write(&folder, "b")];
    let pair =
        |Files { certificate, key }: &Files| format!("{{ certificate = {certificate:?}, key = {key:?} }}");
    let text =
        format!("[[listen]]\naddress = '127.0.0.1:0'\ntls = [{}, {}]\n", pair(&files[0]), pair(&files[1]));
    let host = serve(&config(&folder, &text, "echo"), &[]);
    let (port, trust) = (port(&host, "https"), Trust::of(&authority));
    for (name, issued) in
        [("a.example", 0), ("b.example", 1), ("x.c.example", 1)].map(|(name, at)| (name, &issued[at]))
    {
        assert_eq!(trust.certificate(port, name), issued.der(), "{name}");
    }
    // Others get the first one.
    let error =
        trust.connect(port, "d.example").map(drop).expect_err("no certificate has the name").to_string();
    assert!(error.contains("a.example"), "{error}");
}

#[test]
fn certificates_of_the_command_line_are_for_its_addresses() {
    let folder = empty_folder("command-line");
    let authority = Authority::new("A");
    let Files { certificate, key } = authority.issue(&["localhost"]).write(&folder, "a");
    let library = plugin("echo");
    let options =
        ["--listen", "127.0.0.1:0", "--tls-certificate", path(&certificate), "--tls-key", path(&key)];
    let host = Host::exactly(&[&["serve", path(&library)], &options[..]].concat());
    echo(&mut Trust::of(&authority).open(port(&host, "https"), "/"), "over TLS");
    // Everything in one process, too.
    let host = Host::exactly(&[&["serve", path(&library), "--workers", "0"], &options[..]].concat());
    echo(&mut Trust::of(&authority).open(port(&host, "https"), "/"), "over TLS");
}

#[test]
fn workers_use_a_key_that_their_user_cannot_read() {
    use std::os::unix::fs::PermissionsExt;

    if !needs_root() {
        return;
    }
    let folder = empty_folder("private-key");
    let authority = Authority::new("A");
    let files = authority.issue(&["localhost"]).write(&folder, "a");
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let file = config(&folder, &format!("user = 'nobody'\n{}", listen(&files, "")), "echo");
    let host = serve(&file, &[]);
    echo(&mut Trust::of(&authority).open(port(&host, "https"), "/"), "over TLS");
    assert!(host.workers()[0].status("Uid").starts_with("65534\t"));
}

#[test]
fn keys_are_neither_in_the_log_nor_in_the_environment_of_a_worker() {
    let folder = empty_folder("secret");
    let authority = Authority::new("A");
    let issued = authority.issue(&["localhost"]);
    let host = serve(&config(&folder, &listen(&issued.write(&folder, "a"), ""), "echo"), &["--log", "debug"]);
    echo(&mut Trust::of(&authority).open(port(&host, "https"), "/"), "over TLS");
    let line = issued.key.lines().nth(1).expect("a key has lines");
    for worker in host.workers() {
        for file in ["environ", "cmdline"] {
            let text = fs::read(format!("/proc/{}/{file}", worker.0)).expect("the worker runs");
            assert!(!String::from_utf8_lossy(&text).contains(line), "{file}");
        }
    }
    assert!(!host.log().contains(line) && !host.stdout().contains(line));
}
