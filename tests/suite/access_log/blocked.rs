//! A disk that is full, and a reader of stdout that does not read. Neither stops a worker or the parent.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::process::Signal;

use super::lines;
use crate::support::{Bare, DEADLINE, Host, empty_folder, path, plugin};

/// The number in `N lines were dropped from the access log`.
fn dropped(line: &str) -> Option<usize> {
    let (start, _) = line.split_once(" dropped from the access log")?;
    start.rsplit(' ').nth(2)?.parse().ok()
}

#[test]
fn a_reader_that_does_not_read_loses_lines_that_are_counted_and_stops_nobody() {
    const REQUESTS: usize = 1000;
    let (out, stdout) = std::io::pipe().expect("a pipe can be made");
    let (log, stderr) = std::io::pipe().expect("a pipe can be made");
    let library = plugin("echo");
    let server = Bare::start_with(
        Command::new(env!("CARGO_BIN_EXE_callsign")),
        stdout.into(),
        stderr.into(),
        &[path(&library), "--access-log", "-", "--workers", "1"],
    );
    let mut c = server.open();
    let mut client = server.connect();
    let target = format!("/{}", "x".repeat(3000));
    for _ in 0..REQUESTS {
        assert_eq!(client.request("GET", &target, &[], b"").status, 426);
        assert_eq!(c.ask("hello"), "hello");
    }
    // The pipes are full: now somebody reads.
    let (sender, counted) = mpsc::channel();
    thread::spawn(move || {
        let mut count = 0;
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let is_request = line.contains("\" 426 ");
            if is_request {
                assert!(line.starts_with("127.0.0.1 ") && line.contains(&"x".repeat(3000)), "{line}");
            }
            count += usize::from(is_request || line.contains("\" 101 "));
        }
        let _ = sender.send(count);
    });
    c.close(1000, "");
    let mut log = BufReader::new(log).lines();
    let mut reported =
        log.by_ref().map_while(Result::ok).find_map(|line| dropped(&line)).expect("it is logged");
    assert!(reported > 0);
    server.ask_to_stop();
    reported += log.map_while(Result::ok).filter_map(|line| dropped(&line)).sum::<usize>();
    let written = counted.recv_timeout(DEADLINE).expect("stdout ends");
    // And the connection.
    assert_eq!(written + reported, REQUESTS + 1);
    assert!(written > 50, "{written}");
}

#[test]
fn a_full_disk_is_logged_and_the_next_file_has_whole_lines() {
    const LIMIT: u64 = 64 << 20;
    let folder = empty_folder("access-log-full");
    let file = folder.join("access.log");
    File::create(&file).and_then(|file| file.set_len(LIMIT - 200)).expect("it can be written");
    let library = plugin("echo");
    let limit = format!("--fsize={LIMIT}");
    let mut host =
        Host::start_through(&["prlimit", &limit], &["serve", path(&library), "--access-log", path(&file)]);
    let mut client = host.connect();
    for _ in 0..3 {
        assert_eq!(client.request("GET", "/a", &[], b"").status, 426);
    }
    let line = host.log_line("the access log cannot be written to ");
    assert!(line.contains(path(&file)) && line.contains("; lines that were dropped: "), "{line}");
    assert_eq!(client.request("GET", "/b", &[], b"").status, 426);
    fs::rename(&file, folder.join("access.log.1")).expect("it can be renamed");
    host.process().signal(Signal::HUP);
    host.log_line("was opened again");
    assert_eq!(client.request("GET", "/c", &[], b"").status, 426);
    let is_whole = |line: &String| line.starts_with("127.0.0.1 - - [") && line.contains("\"GET /");
    let last = || fs::read_to_string(&file).is_ok_and(|text| text.contains("\"GET /c "));
    crate::support::eventually("it is written", last);
    let written = fs::read_to_string(&file).expect("it is text");
    assert!(lines(&file, written.lines().count()).iter().all(is_whole), "{written}");
    assert!(host.terminate().success());
}

#[test]
fn a_reader_of_stdout_that_is_gone_stops_nobody() {
    let (out, stdout) = std::io::pipe().expect("a pipe can be made");
    let library = plugin("echo");
    let mut server = Bare::start(stdout.into(), Stdio::null(), &[path(&library), "--access-log", "-"]);
    drop(out);
    let mut client = server.connect();
    for _ in 0..10 {
        assert_eq!(client.request("GET", "/", &[], b"").status, 426);
    }
    assert_eq!(server.open().ask("hello"), "hello");
    server.stop();
}
