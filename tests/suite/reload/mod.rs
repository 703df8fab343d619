//! Reload as clients and operators see it: either new code runs under the same names on the same connections,
//! or nothing changes at all.

mod rejections; // reloads that are rejected

mod steps; // events between and beside the steps

mod pause; // how long clients wait for other workers

mod copies; // the copied libraries

mod exclusive; // a port that only one copy can have

mod unchanged; // plugins that stay in their generation

mod memory; // what reloads leave in memory and on disk

mod files; // files that are broken, large, or still being written

mod two; // two plugins at once

mod state; // the state of plugins in C

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    Answer, Host, Process, ROUTE, Reloading, WebSocket, c_plugin_with, compile_c, path, run, scratch, variant,
};

/// Clients on both workers, which have read their greeting.
pub fn clients(reloading: &Reloading, count: usize) -> Vec<WebSocket> {
    let open = || {
        let mut client = reloading.host.open("/");
        assert_eq!(client.next_text(), "join 1");
        client
    };
    (0..count).map(|_| open()).collect()
}

/// The processes of the workers, after all of them serve.
fn workers(reloading: &Reloading) -> Vec<Process> {
    let end = Instant::now() + Duration::from_secs(10);
    while find(&reloading.status()["workers"], "serves") != BTreeSet::from(["true".to_owned()]) {
        assert!(Instant::now() < end, "{}", reloading.status());
        thread::sleep(Duration::from_millis(1)); // no event announces this
    }
    reloading.host.workers()
}

/// Keeps worker 1 in the library's constructor until it is opened.
struct Gate(PathBuf);

impl Gate {
    #[track_caller]
    fn new(name: &str) -> Self {
        let file = scratch(&format!("gate-{name}"));
        // Of an earlier run.
        let _ = fs::remove_file(&file);
        Self(file)
    }

    /// The option that builds such a library.
    fn define(&self) -> String {
        format!("-DGATE=\"{}\"", path(&self.0))
    }

    fn open(&self) {
        fs::write(&self.0, "").expect("the scratch folder can be written");
    }
}

fn get(host: &Host, path: &str) -> Answer {
    host.connect().request("GET", path, &[], b"")
}

#[test]
fn a_live_connection_has_its_next_message_handled_by_the_new_code() {
    let reloading = Reloading::serve_c(&[]);
    let mut clients = clients(&reloading, 8);
    assert!(clients.iter_mut().all(|client| client.ask("who") == "1"));
    let said = reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
    assert!(said.starts_with("reload: generation 2; 2 workers, 8 connections kept; paused "), "{said}");
    for client in &mut clients {
        assert_eq!(client.ask("who"), "2");
    }
    // No connection ended or began.
    assert!(reloading.host.log_lines("left with").is_empty());
    assert_eq!(get(&reloading.host, "/page").text(), "page 2");
    assert_eq!(reloading.host.open("/").next_text(), "join 2");
    let client = clients.pop().expect("there are eight");
    assert_eq!(client.close(1000, ""), Some((1000, String::new())));
    reloading.host.log_line("2: connection ");
}

#[test]
fn a_fragmented_message_is_handled_by_the_new_code() {
    let reloading = Reloading::serve_c(&[]);
    let mut clients = clients(&reloading, 2);
    for client in &mut clients {
        client.send_frame(0x01, b"half ");
        // The answer to a ping between the fragments proves that the first one has arrived.
        client.send_frame(0x89, b"there?");
        assert_eq!(client.next(), tungstenite::Message::Pong(b"there?".to_vec().into()));
    }
    reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
    for client in &mut clients {
        client.send_frame(0x80, b"and half");
        assert_eq!(client.next_text(), "2:half and half");
    }
}

#[test]
fn a_full_write_queue_survives() {
    const SIZE: usize = 1 << 20;
    let options = ["--workers", "2", "--route", ROUTE, "--max-backlog", "64MiB", "--max-message", "8MiB"];
    let reloading = Reloading::serve(&variant("1", &[]), &options);
    let mut client = clients(&reloading, 1).remove(0);
    // Far more than the socket buffers hold: most of the echo waits in the worker.
    for byte in b'a'..b'e' {
        client.binary(&vec![byte; SIZE * 4]);
    }
    let mut neighbour = reloading.host.open("/");
    assert_eq!(neighbour.next_text(), "join 1");
    reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
    let mut generations = Vec::new();
    for byte in b'a'..b'e' {
        let echo = client.next_binary();
        assert_eq!(echo.len(), SIZE * 4 + 2);
        assert!(echo[2..].iter().all(|&other| other == byte));
        generations.push(echo[0]);
    }
    assert!(generations.is_sorted(), "{generations:?}");
    assert_eq!(client.ask("who"), "2");
}

#[test]
fn a_reload_can_name_a_plugin_or_use_sighup() {
    let reloading = Reloading::serve_c(&[]);
    let mut client = clients(&reloading, 1).remove(0);
    reloading.put(&variant("2", &[]));
    reloading.ask("reload", &["reload"]).expect("the reload is accepted");
    assert_eq!(client.ask("who"), "2");
    reloading.put(&variant("3", &[]));
    reloading.host.process().signal(Signal::HUP);
    reloading.host.log_line("SIGHUP: reloaded reload: generation 3");
    assert_eq!(client.ask("who"), "3");
}

#[test]
fn sighup_rereads_the_configuration() {
    let library = variant("1", &[]);
    let config = scratch("sighup.toml");
    let write = |text: &str| {
        let plugin = format!("workers = 2\n[plugin.reload]\npath = {library:?}\n{text}");
        fs::write(&config, plugin).expect("the scratch folder can be written");
    };
    write("[[route]]\npath = '/old'\nhandler = 'page'\n");
    let host = Host::start(&["serve", "--config", path(&config), "--workers", "2"]);
    assert_eq!(get(&host, "/old").status, 200);
    write("[[route]]\npath = '/new'\nhandler = 'page'\n[worker]\nhang_timeout = '7s'\n");
    host.process().signal(Signal::HUP);
    host.log_line("SIGHUP: reloaded the settings; reload: generation 1 (unchanged)");
    host.log_line("; now in effect: hang_timeout");
    assert_eq!((get(&host, "/old").status, get(&host, "/new").status), (404, 200));
    write("[[route]]\npath = '/newer'\nhandler = 'pge'\n");
    host.process().signal(Signal::HUP);
    let line = host.log_line("SIGHUP: nothing was reloaded: ");
    assert!(line.contains("no onrequest handler `pge`; did you mean `page`?"), "{line}");
    write("[[route]]\npath = 'newer'\n");
    host.process().signal(Signal::HUP);
    host.log_has("SIGHUP: nothing was reloaded: ", 2);
    assert_eq!(get(&host, "/new").status, 200);
}

#[test]
fn load_and_unload_hooks_run_once_per_worker() {
    let reloading = Reloading::serve_c(&[]);
    reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
    reloading.host.log_line("reloaded reload: generation 2");
    for line in ["2: loaded as generation 2", "1: unloaded"] {
        assert_eq!(reloading.host.log_lines(line).len(), 2, "once in each worker: {line}");
    }
    // Output of a plugin that runs in a probe is not logged.
    assert!(reloading.host.log_lines("in a probe").is_empty());
}

#[test]
fn a_restarted_worker_has_the_newest_code() {
    let reloading = Reloading::serve_c(&[]);
    reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
    let worker = reloading.host.workers().remove(0);
    worker.signal(Signal::KILL);
    reloading.host.log_line("starting another");
    for _ in 0..8 {
        assert_eq!(reloading.host.open("/").next_text(), "join 2");
    }
    // The replaced worker takes part in the next reload.
    let said = reloading.reload_with(&variant("3", &[])).expect("the reload is accepted");
    assert!(said.starts_with("reload: generation 3; 2 workers"), "{said}");
}

#[test]
fn status_reports_generations_and_retained_libraries() {
    let reloading = Reloading::serve_c(&[]);
    reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
    reloading.reload_with(&variant("3", &["-DREFUSE_IN_WORKER"])).expect_err("the reload must be rejected");
    reloading.reload_with(&variant("3", &[])).expect("the reload is accepted");
    let status = reloading.status();
    let found = |key: &str| find(&status, key);
    assert!(found("generation").contains("3"), "{status}");
    assert!(found("retained").contains("3"), "two earlier ones, and the rejected one: {status}");
}

/// All values of this key, at any depth.
fn find(value: &serde_json::Value, key: &str) -> BTreeSet<String> {
    match value {
        serde_json::Value::Object(map) => {
            let here = map.get(key).map(ToString::to_string);
            map.values().flat_map(|value| find(value, key)).chain(here).collect()
        }
        serde_json::Value::Array(list) => list.iter().flat_map(|value| find(value, key)).collect(),
        _ => BTreeSet::new(),
    }
}

#[test]
fn a_file_that_is_being_written_is_waited_for() {
    let reloading = Reloading::serve_c(&[]);
    let whole = fs::read(variant("2", &[])).expect("the library was built");
    fs::write(&reloading.library, &whole[..whole.len() / 2]).expect("the file can be written");
    thread::scope(|scope| {
        let reload = scope.spawn(|| reloading.reload());
        thread::sleep(Duration::from_millis(100));
        fs::write(&reloading.library, &whole).expect("the file can be written");
        let said = reload.join().expect("the thread does not panic").expect("the reload is accepted");
        assert!(said.starts_with("reload: generation 2"), "{said}");
    });
}

#[test]
fn the_server_removes_its_copies_when_it_ends() {
    let folder = scratch("copies");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the scratch folder can be written");
    let library = variant("1", &[]);
    let mut host = Host::start_through(
        &["env", &format!("TMPDIR={}", path(&folder))],
        &["serve", path(&library), "--route", ROUTE, "--workers", "2"],
    );
    let copies = || fs::read_dir(Path::new(&folder)).expect("the path exists").count();
    assert_eq!(copies(), 1);
    assert!(host.terminate().success());
    assert_eq!(copies(), 0);
}

#[test]
fn a_plain_function_is_replaced_as_a_handler_with_a_kind_is() {
    let old = c_plugin_with("convention.c", &["-DNAME=\"convention\""]);
    let reloading = Reloading::serve(&old, &["--workers", "1"]);
    reloading.reload_again().expect("the reload is accepted");
}
