//! Listeners that are added, removed and changed while the server runs, by SIGHUP.

mod removed; // connections and clients of a removed listener

mod unix; // files of Unix sockets

mod changed; // other settings for the same address

mod rejected; // reloads that cannot be

mod passed; // sockets of systemd

use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Host, Process, Raw, empty_folder, eventually, path, plugin, status};

/// A server with two workers, whose config file has other listeners later.
pub struct Server {
    pub host: Host,
    pub folder: PathBuf,
    file: PathBuf,
    control: PathBuf,
}

impl Server {
    /// `listen` is the first part of the config file.
    pub fn start(name: &str, listen: &str) -> Self {
        Self::start_through(&[], name, listen, &[])
    }

    pub fn start_through(program: &[&str], name: &str, listen: &str, options: &[&str]) -> Self {
        let folder = empty_folder(&format!("listeners-{name}"));
        let file = folder.join("callsign.toml");
        write(&file, listen);
        // The path of a socket is limited to about 100 bytes.
        let control = std::env::temp_dir().join(format!("callsign-lis-{}-{name}", std::process::id()));
        let control_option = path(&control).to_owned();
        let args = ["serve", "--config", path(&file), "--log", "debug", "--control", &control_option];
        let args = [&args[..], &["--workers", "2"], options].concat();
        let host = match program {
            [] => Host::exactly(&args),
            program => Host::exactly_through(program, &args),
        };
        host.workers_serve(2);
        Self { host, folder, file, control }
    }

    /// Writes other listeners to the config file and sends SIGHUP. Returns the log line of the outcome.
    #[track_caller]
    pub fn reload(&self, listen: &str) -> String {
        const OUTCOMES: [&str; 3] = ["SIGHUP: reloaded ", "SIGHUP: nothing ", "SIGHUP: changed, but "];
        let outcomes = || {
            let log = self.host.log();
            let lines = log.lines().filter(|line| OUTCOMES.iter().any(|outcome| line.contains(outcome)));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = outcomes().len();
        write(&self.file, listen);
        self.host.process().signal(Signal::HUP);
        eventually("the reload has an outcome", || outcomes().len() > before);
        outcomes().remove(before)
    }

    /// The same for listeners that the server accepts.
    #[track_caller]
    pub fn reloaded(&self, listen: &str) -> String {
        let outcome = self.reload(listen);
        assert!(outcome.contains("SIGHUP: reloaded "), "{outcome}");
        outcome
    }

    /// The port of the server on this address.
    #[track_caller]
    pub fn port(&self, ip: &str) -> u16 {
        let addresses = self.addresses();
        let port =
            addresses.iter().find_map(|address| address.strip_prefix(ip)?.strip_prefix(':')?.parse().ok());
        port.unwrap_or_else(|| panic!("no port of {ip} in {addresses:?}"))
    }

    pub fn status(&self) -> Value {
        status(&self.control)
    }

    pub fn addresses(&self) -> Vec<String> {
        let status = self.status();
        let addresses = status["addresses"].as_array().expect("a list").iter();
        addresses.map(|address| address.as_str().expect("a text").to_owned()).collect()
    }

    /// `file:line` of the config file.
    pub fn place(&self, line: usize) -> String {
        format!("{}:{line}:", self.file.display())
    }

    /// Descriptors of the parent and of each worker.
    pub fn descriptors(&self) -> Vec<usize> {
        let processes = [self.host.process()].into_iter().chain(self.host.workers());
        processes.map(Process::descriptors).collect()
    }

    /// Waits until no process has more descriptors than before.
    #[track_caller]
    pub fn has_descriptors(&self, before: &[usize]) {
        eventually("no descriptor is left", || {
            self.descriptors().iter().zip(before).all(|(now, then)| now <= then)
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that is killed does not remove its socket.
        let _ = fs::remove_file(&self.control);
    }
}

fn write(file: &Path, listen: &str) {
    let text = format!("{listen}\n[plugin.echo]\npath = {:?}\n", plugin("echo"));
    fs::write(file, text).expect("the scratch folder can be written");
}

pub fn connect(ip: &str, port: u16) -> Raw {
    Raw::of(TcpStream::connect((ip, port)).expect("the server listens"))
}

#[track_caller]
pub fn is_refused(ip: &str, port: u16) {
    let refused =
        || TcpStream::connect((ip, port)).is_err_and(|it| it.kind() == ErrorKind::ConnectionRefused);
    eventually("nobody listens there", refused);
}

const FIRST: &str = "listen = '127.0.0.1:0'";
const BOTH: &str = "listen = ['127.0.0.1:0', '127.0.0.2:0']";

#[test]
fn a_listener_that_is_added_serves_and_the_others_stay() {
    let server = Server::start("added", FIRST);
    let mut old = connect("127.0.0.1", server.port("127.0.0.1")).upgrade("/", &[]);
    let outcome = server.reloaded(BOTH);
    let (first, second) = (server.port("127.0.0.1"), server.port("127.0.0.2"));
    let expected = format!(
        "SIGHUP: reloaded listening on 127.0.0.2:{second}; echo: generation 1 (unchanged); 2 workers, "
    );
    assert!(outcome.contains(&expected), "{outcome}");
    server.host.stdout_line(&format!("listening on http://127.0.0.2:{second}/"));
    // Both workers accept there.
    let mut clients: Vec<_> = (0..20).map(|_| connect("127.0.0.2", second).upgrade("/", &[])).collect();
    for client in &mut clients {
        assert_eq!(client.ask("new"), "new");
    }
    let busy = |worker: &Value| worker["clients"].as_u64() > Some(1);
    assert!(server.status()["workers"].as_array().expect("a list").iter().all(busy), "{}", server.status());
    assert_eq!(server.addresses(), [format!("127.0.0.1:{first}"), format!("127.0.0.2:{second}")]);
    assert_eq!(old.ask("old"), "old");
    let outcome = server.reload(BOTH);
    assert!(outcome.contains("SIGHUP: nothing has changed"), "{outcome}");
}

#[test]
fn a_worker_that_starts_later_serves_the_new_listeners() {
    let server = Server::start("later", FIRST);
    let first = server.port("127.0.0.1");
    server.reloaded("listen = '127.0.0.2:0'");
    let second = server.port("127.0.0.2");
    for (killed, serve) in [(0, 3), (1, 4)] {
        server.host.workers()[killed].signal(Signal::KILL);
        server.host.workers_serve(serve);
    }
    for _ in 0..10 {
        assert_eq!(connect("127.0.0.2", second).upgrade("/", &[]).ask("new"), "new");
    }
    is_refused("127.0.0.1", first);
    server.reloaded(BOTH);
    let first = server.port("127.0.0.1");
    assert_eq!(connect("127.0.0.1", first).upgrade("/", &[]).ask("again"), "again");
}

#[test]
fn an_address_can_become_a_part_of_another_one() {
    let server = Server::start("part", FIRST);
    let port = server.port("127.0.0.1");
    let mut old = connect("127.0.0.1", port).upgrade("/", &[]);
    for (address, other) in [("0.0.0.0", true), ("127.0.0.1", false)] {
        server.reloaded(&format!("listen = '{address}:{port}'"));
        assert_eq!(server.addresses(), [format!("{address}:{port}")]);
        assert_eq!(connect("127.0.0.1", port).upgrade("/", &[]).ask("new"), "new");
        match other {
            true => assert_eq!(connect("127.0.0.2", port).upgrade("/", &[]).ask("new"), "new"),
            false => is_refused("127.0.0.2", port),
        }
        assert_eq!(old.ask("old"), "old");
    }
}

#[test]
fn many_reloads_leave_no_descriptor_and_no_connection_is_lost() {
    let server = Server::start("cycles", FIRST);
    let mut old = connect("127.0.0.1", server.port("127.0.0.1")).upgrade("/", &[]);
    assert_eq!(old.ask("old"), "old");
    let before = server.descriptors();
    let mut clients = Vec::new();
    for cycle in 0..50 {
        server.reloaded(&format!("listen = ['127.0.0.1:0', '127.0.0.2:0', 'unix:{cycle}.sock']"));
        let mut client = connect("127.0.0.2", server.port("127.0.0.2")).upgrade("/", &[]);
        assert_eq!(client.ask("new"), "new");
        clients.push(client);
        server.reloaded(FIRST);
    }
    for client in &mut clients {
        assert_eq!(client.ask("still here"), "still here");
    }
    clients.into_iter().for_each(|client| drop(client.close(1000, "")));
    server.has_descriptors(&before);
    assert_eq!(old.ask("old"), "old");
}
