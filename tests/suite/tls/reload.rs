//! New certificates while clients are connected: SIGHUP and `callsign reload` read the files again, in the transaction of
//! a reload.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use super::{config, echo, listen, port, serve};
use crate::support::{Authority, DEADLINE, Files, Host, Issued, Trust, empty_folder, path, run, status};

/// A server with two workers, whose certificate can be replaced.
struct Server {
    host: Host,
    port: u16,
    folder: PathBuf,
    control: PathBuf,
    authority: Authority,
    trust: Trust,
}

impl Server {
    #[track_caller]
    fn start(name: &str, first: impl FnOnce(&Authority) -> Issued) -> (Self, Issued) {
        let folder = empty_folder(name);
        let authority = Authority::new("A");
        let issued = first(&authority);
        let file = config(&folder, &listen(&issued.write(&folder, "a"), ""), "echo");
        // The path of a socket is limited to about 100 bytes.
        let control = std::env::temp_dir().join(format!("callsign-tls-{}-{name}", std::process::id()));
        let host = serve(&file, &["--workers", "2", "--log", "debug", "--control", path(&control)]);
        host.workers_serve(2);
        let (port, trust) = (port(&host, "https"), Trust::of(&authority));
        (Self { host, port, folder, control, authority, trust }, issued)
    }

    /// Issues another certificate and writes it where the server reads it.
    fn renew(&self) -> Issued {
        let issued = self.authority.issue(&["localhost", "renewed.example"]);
        issued.write(&self.folder, "a");
        issued
    }

    fn reload(&self, more: &[&str]) -> (i32, String, String) {
        run(&[&["reload", "--control", path(&self.control)], more].concat())
    }

    fn listeners(&self) -> Value {
        status(&self.control)["listeners"].clone()
    }

    /// Checks that every worker has that certificate for new clients.
    fn presents(&self, issued: &Issued) {
        let mut workers = std::collections::HashSet::new();
        let end = Instant::now() + DEADLINE;
        // A worker with more clients leaves the next ones to the other: sockets that stay open reach both.
        let mut open = Vec::new();
        while workers.len() < 2 {
            assert!(Instant::now() < end, "only the workers {workers:?} have accepted clients");
            assert_eq!(self.trust.certificate(self.port, "localhost"), issued.der());
            open.push(self.trust.open(self.port, "/"));
            let all = status(&self.control)["workers"].clone();
            let busy = all.as_array().into_iter().flatten().filter(|worker| worker["clients"] != 0);
            workers.extend(busy.map(|worker| worker["index"].to_string()));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that is killed does not remove its socket.
        let _ = fs::remove_file(&self.control);
    }
}

#[test]
fn sighup_replaces_a_certificate_and_drops_no_connection() {
    let (server, first) = Server::start("sighup", |authority| authority.issue(&["localhost"]));
    let mut connected: Vec<_> = (0..8).map(|_| server.trust.open(server.port, "/")).collect();
    server.presents(&first);
    let renewed = server.renew();
    server.host.process().signal(Signal::HUP);
    let line = server.host.log_line("SIGHUP: reloaded certificate of localhost, renewed.example until ");
    assert!(line.contains("p: generation 1 (unchanged); 2 workers, "), "{line}");
    server.presents(&renewed);
    connected.iter_mut().for_each(|socket| echo(socket, "still here"));
    // A worker that starts later has it too.
    server.host.workers()[0].signal(Signal::KILL);
    server.host.workers_serve(3);
    server.presents(&renewed);
}

#[test]
fn callsign_reload_reads_certificates_again_and_names_them() {
    let (server, first) = Server::start("command", |authority| authority.issue(&["localhost"]));
    let (code, said, _) = server.reload(&[]);
    assert!(code == 0 && said.contains("nothing has changed"), "{said}");
    let renewed = server.renew();
    // Only the plugin that is named.
    let (code, said, _) = server.reload(&["p"]);
    assert!(code == 0 && said.contains("nothing has changed"), "{said}");
    assert_eq!(server.trust.certificate(server.port, "localhost"), first.der());
    let (code, said, stderr) = server.reload(&[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(said.starts_with("certificate of localhost, renewed.example until 4096-01-01; "), "{said}");
    server.presents(&renewed);
}

#[test]
fn a_certificate_that_cannot_be_used_rejects_the_reload_and_the_old_one_stays() {
    let (server, first) = Server::start("rejected", |authority| authority.issue(&["localhost"]));
    let mut connected = server.trust.open(server.port, "/");
    let other = server.authority.issue(&["localhost"]);
    fs::write(server.folder.join("a.key"), &other.key).expect("the scratch folder can be written");
    let (code, stdout, stderr) = server.reload(&[]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    let expected = format!("the key in {} does not belong", server.folder.join("a.key").display());
    assert!(stderr.contains("callsign.toml:3:23: ") && stderr.contains(&expected), "{stderr}");
    server.presents(&first);
    fs::remove_file(server.folder.join("a.key")).expect("it is there");
    server.host.process().signal(Signal::HUP);
    server.host.log_line("SIGHUP: nothing was reloaded: ");
    server.host.log_line("a.key: there is no such file");
    server.presents(&first);
    echo(&mut connected, "still here");
    // A worker that starts now does not need the files.
    server.host.workers()[0].signal(Signal::KILL);
    server.host.workers_serve(3);
    server.presents(&first);
    other.write(&server.folder, "a");
    assert_eq!(server.reload(&[]).0, 0);
    server.presents(&other);
}

#[test]
fn sighup_reads_which_files_to_use() {
    let (server, first) = Server::start("paths", |authority| authority.issue(&["localhost"]));
    let second = server.authority.issue(&["localhost"]);
    let files = second.write(&server.folder, "b");
    config(&server.folder, &format!("# moved\n{}", listen(&files, "")), "echo");
    server.host.process().signal(Signal::HUP);
    server.host.log_line("SIGHUP: reloaded certificate of localhost until ");
    server.presents(&second);
    assert_ne!(first.der(), second.der());
}

#[test]
fn a_reload_begins_to_ask_clients_for_certificates() {
    let (server, _) = Server::start("ask", |authority| authority.issue(&["localhost"]));
    let ca = server.folder.join("ca.pem");
    fs::write(&ca, server.authority.pem()).expect("the scratch folder can be written");
    let files = Files { certificate: server.folder.join("a.pem"), key: server.folder.join("a.key") };
    config(&server.folder, &listen(&files, &format!("client_certificates = {ca:?}")), "echo");
    let mut connected = server.trust.open(server.port, "/");
    server.host.process().signal(Signal::HUP);
    server.host.log_line("SIGHUP: reloaded ");
    let error = server.trust.get(server.port, "/").expect_err("the client has no certificate");
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
    let identity = server.authority.issue(&["client.example"]);
    echo(&mut server.trust.clone().with(&identity).open(server.port, "/"), "with a certificate");
    echo(&mut connected, "still here");
}

#[test]
fn status_shows_names_and_end_of_each_certificate() {
    let (server, _) = Server::start("status", |authority| {
        authority.issue_between(&["localhost"], [2020, 1, 1], [2999, 2, 28])
    });
    let listener = &server.listeners()[0];
    assert_eq!((&listener["tls"], &listener["redirect"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!(listener["address"], format!("127.0.0.1:{}", server.port));
    let certificate = &listener["certificates"][0];
    assert_eq!(certificate["names"], serde_json::json!(["localhost"]));
    assert_eq!(certificate["not_after"], "2999-02-28T00:00:00Z");
    assert_eq!(certificate["path"], path(&server.folder.join("a.pem")));
    let (_, text, _) = run(&["status", "--control", path(&server.control)]);
    let expected = format!(
        "listening on https://127.0.0.1:{}/\n  certificate of localhost until 2999-02-28 ({})\n",
        server.port,
        server.folder.join("a.pem").display()
    );
    assert!(text.contains(&expected), "{text}");
    let expires = server.authority.issue_between(&["localhost"], [2020, 1, 1], [2020, 2, 28]);
    expires.write(&server.folder, "a");
    let (_, _, stderr) = server.reload(&[]);
    assert_eq!(stderr, "");
    server.host.log_line("a.pem (localhost) expired on 2020-02-28: clients reject it");
    assert_eq!(server.listeners()[0]["certificates"][0]["not_after"], "2020-02-28T00:00:00Z");
}
