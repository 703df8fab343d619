//! The log and the access log change while the server runs.

use std::path::Path;

use rustix::process::Signal;

use super::*;
use crate::support::eventually;

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

#[test]
fn the_level_of_the_log_changes_in_all_processes() {
    let server = Configured::serve("log-level", "log = 'warn'");
    assert!(server.host.log_lines(" INFO ").is_empty(), "{}", server.host.log());
    let said = server.reload("log = 'debug'");
    assert!(said.ends_with("; now in effect: log\n"), "{said}");
    server.host.log_line("`callsign reload --config`: reloaded the settings; ");
    let client = server.host.open("/");
    // A worker says this.
    server.host.log_line("connection 1 (127.0.0.1:");
    drop(client);
    server.host.log_line("left: 1006");
    server.reload("log = 'error'");
    let before = server.host.log_lines("connection ").len();
    server.host.open("/").close(1000, "");
    server.host.workers().iter().for_each(|worker| worker.signal(Signal::KILL));
    server.host.log_line("ERROR worker 0");
    assert_eq!(server.host.log_lines("connection ").len(), before);
}

#[test]
fn an_option_decides_the_level_instead_of_the_file() {
    let server = Configured::serve_with("log-option", "log = 'debug'", &["--log", "info"]);
    server.host.open("/").close(1000, "");
    server.host.log_line("left: 1000");
    assert!(server.host.log_lines(" DEBUG ").is_empty());
    let (_, _, stderr) = run(&["check", "--config", path(&server.file)]);
    assert!(!stderr.contains("error"), "{stderr}");
    fs::write(&server.file, "log = 'all'").expect("the scratch folder can be written");
    let (code, _, stderr) = run(&["check", "--config", path(&server.file)]);
    let expected = format!(
        "callsign: {}:1:7: `log` at the top level: found string `'all'`, expected \"error\", \"warn\", \"info\" or \
         \"debug\"\n",
        server.file.display()
    );
    assert_eq!((code, stderr), (1, expected));
}

#[test]
fn the_access_log_can_be_turned_on_moved_and_turned_off() {
    let server = Configured::serve_with("log-access", "", &["--workers", "2"]);
    let (first, second) = (server.file.with_file_name("first.log"), server.file.with_file_name("second.log"));
    let get = |path: &str| assert_eq!(server.host.connect().request("GET", path, &[], b"").status, 200);
    get("/answer?before");
    server.reload("access_log = 'first.log'");
    get("/answer?first");
    // A connection that was opened before ends in the file that is open then.
    let client = server.host.open("/?moved");
    eventually("the request is recorded", || read(&first).contains("/answer?first"));
    server.reload("access_log = 'second.log'\naccess_log_format = 'json'");
    get("/answer?second");
    client.close(1000, "");
    eventually("both are recorded", || {
        let text = read(&second);
        text.contains("/answer?second") && text.contains("/?moved")
    });
    assert!(read(&second).lines().all(|line| line.starts_with('{')), "{}", read(&second));
    // Records that are on their way are written before it is turned off.
    get("/answer?last");
    server.reload("");
    get("/answer?after");
    let mut host = server.host;
    assert!(host.terminate().success());
    assert!(read(&second).contains("/answer?last"), "{}", read(&second));
    for text in [read(&first), read(&second)] {
        assert!(!text.contains("before") && !text.contains("after"), "{text}");
    }
    assert!(!read(&first).contains("second") && !read(&first).contains('{'), "{}", read(&first));
}

#[test]
fn the_format_of_the_access_log_changes_in_the_same_file() {
    let server = Configured::serve("log-format", "access_log = 'a.log'");
    let file = server.file.with_file_name("a.log");
    let get = |path: &str| assert_eq!(server.host.connect().request("GET", path, &[], b"").status, 200);
    get("/answer?combined");
    let said = server.reload("access_log = 'a.log'\naccess_log_format = 'json'");
    assert!(said.ends_with("; now in effect: access_log_format\n"), "{said}");
    get("/answer?json");
    eventually("both are recorded", || read(&file).lines().count() == 2);
    let text = read(&file);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains("GET /answer?combined") && lines[1].starts_with('{'), "{text}");
}

#[test]
fn an_access_log_that_cannot_be_opened_rejects_the_reload() {
    let server = Configured::serve("log-rejected", "access_log = 'a.log'");
    let text = "workers = 1\naccess_log = 'none/a.log'\n[websocket]\nmax_message = 5";
    let error = server.try_reload(text, &[]).expect_err("there is no such folder");
    let expected = format!(
        "callsign: not reloaded: {}:2:14: the access log {} cannot be opened: ",
        server.file.display(),
        server.file.with_file_name("none/a.log").display()
    );
    assert!(error.starts_with(&expected), "{error}");
    assert_eq!(server.host.open("/").ask("six by"), "six by");
    let answer = server.host.connect().request("GET", "/answer?still", &[], b"");
    assert_eq!(answer.status, 200);
    eventually("the old one is in use", || read(&server.file.with_file_name("a.log")).contains("still"));
}
