//! The log and the output of a server whose reader is slow or gone, or whose file is full. Neither blocks a worker or the
//! parent, and no record is torn.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{
    Bare, DEADLINE, Host, c_plugin, eventually, exit_of, isolate, needs_root, path, scratch,
};

/// A server with the plugin `log-lines`.
fn start(stdout: Stdio, stderr: Stdio, options: &[&str]) -> Bare {
    let library = c_plugin("log_lines.c");
    Bare::start(stdout, stderr, &[&[path(&library), "--route", "/*=,message,"], options].concat())
}

fn pipe() -> (PipeReader, PipeWriter) {
    std::io::pipe().expect("a pipe can be made")
}

/// A pipe that takes no byte.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe();
    let flags = fcntl_getfl(&writer).expect("it is open");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("it is open");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    fcntl_setfl(&writer, flags).expect("it is open");
    (reader, writer)
}

/// The lines of a pipe, as they arrive.
fn lines(reader: PipeReader) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        BufReader::new(reader).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

#[test]
fn what_finds_no_room_is_written_as_soon_as_somebody_reads() {
    let (reader, writer) = pipe();
    let server = start(Stdio::null(), writer.into(), &["--workers", "2"]);
    let mut clients = [server.open(), server.open(), server.open()];
    for n in 0..600 {
        // Text that would pass for a record at the start of a line.
        let text = format!("{n} {}", "2026-01-01T00:00:00.000Z ERROR forged ".repeat(n % 25));
        clients.iter_mut().for_each(|c| assert_eq!(c.ask(&text), "logged"));
    }
    // From here on nothing is logged.
    let (lines, mut all) = (lines(reader), Vec::new());
    while !all.iter().any(|line: &String| line.contains(" log lines were dropped, because ")) {
        all.push(lines.recv_timeout(DEADLINE).expect("the log ends with what was dropped"));
    }
    for line in &all {
        let is_record = line.contains(" INFO ") && line.contains("plugin `log-lines`: ");
        assert!(is_record || line.contains("were dropped") || !line.contains("forged"), "{line}");
    }
    assert!(all.len() > 100, "{}", all.len());
}

#[test]
fn a_record_longer_than_the_pipe_is_continued() {
    let host = Host::start(&["serve", path(&c_plugin("log_lines.c")), "--route", "/*=,message,"]);
    let mut c = host.open("/");
    for length in [10_000, 100_000] {
        assert_eq!(c.ask(&format!("long {length}")), "logged");
    }
    let xs = || host.log().lines().map(|line| line.matches('x').count()).sum::<usize>();
    eventually("all of it arrives", || xs() == 110_000);
    let is_start = |line: &&str| line.contains("plugin `log-lines`: x") || line.starts_with("  x");
    assert!(host.log().lines().filter(|line| line.contains('x')).all(|line| is_start(&line)));
}

#[test]
fn a_long_record_in_a_file_is_whole() {
    let file = scratch("long.log");
    let log = File::create(&file).expect("the scratch folder can be written");
    let mut server = start(Stdio::null(), log.into(), &[]);
    assert_eq!(server.open().ask("long 1000000"), "logged");
    server.stop();
    let text = fs::read_to_string(&file).expect("it is text");
    assert!(text.lines().any(|line| line.ends_with(&"x".repeat(1_000_000))), "{} bytes", text.len());
}

#[test]
fn a_start_that_fails_ends_although_nobody_reads_why() {
    let (_reader, writer) = full_pipe();
    let mut command = Command::new(env!("CARGO_BIN_EXE_callsign"));
    isolate(&mut command);
    let mut child =
        command.args(["serve", "/none.so"]).stderr(writer).spawn().expect("the program can be run");
    assert_eq!(exit_of(&mut child).code(), Some(1));
}

#[test]
fn a_server_whose_output_nobody_reads_serves_and_stops() {
    for workers in ["0", "2"] {
        let ((_reader, stdout), (_log_reader, stderr)) = (full_pipe(), full_pipe());
        let mut server = start(stdout.into(), stderr.into(), &["--workers", workers]);
        let mut c = server.open();
        for _ in 0..10 {
            assert_eq!(c.ask("hello"), "logged");
        }
        drop(c);
        server.stop();
    }
}

/// The two ends of a terminal.
fn terminal() -> (OwnedFd, OwnedFd) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are pseudo-terminals");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("it is ours");
    let name = ptsname(&terminal, Vec::new()).expect("it has a name");
    let screen = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("it is ours");
    (terminal, screen)
}

/// As that of a terminal window that is stopped, or of a connection that has failed.
#[test]
fn a_terminal_that_shows_nothing_blocks_nobody() {
    // Workers of another user cannot open the terminal a second time.
    for options in [&[][..], &["--user", "65534"]] {
        if !options.is_empty() && !needs_root() {
            return;
        }
        let (_terminal, screen) = terminal();
        let mut server = start(Stdio::null(), screen.into(), options);
        let mut c = server.open();
        for n in 0..2000 {
            assert_eq!(c.ask(&format!("{n} {}", "x".repeat(200))), "logged", "{options:?}");
        }
        drop(c);
        server.stop();
    }
}

/// After `stty tostop`, a terminal stops what writes to it in the background, as workers do.
#[test]
fn a_terminal_that_stops_background_jobs_stops_no_worker() {
    let (_terminal, screen) = terminal();
    let input = screen.try_clone().expect("it is open");
    let mut command = Command::new("setsid");
    command.args([
        "--ctty",
        "--wait",
        "sh",
        "-c",
        "stty tostop; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_callsign"),
    ]);
    command.stdin(input);
    let library = c_plugin("log_lines.c");
    let arguments = [path(&library), "--route", "/*=,message,"];
    let mut server = Bare::start_with(command, Stdio::null(), screen.into(), &arguments);
    let mut c = server.open();
    for _ in 0..10 {
        assert_eq!(c.ask("hello"), "logged");
    }
    drop(c);
    server.stop();
}

#[test]
fn a_log_file_that_must_not_grow_ends_nobody() {
    // Shared memory of the workers counts as a file, too.
    const MAX: u64 = 64 << 20;
    let log = scratch("full.log");
    File::create(&log).and_then(|log| log.set_len(MAX - 131_072)).expect("the scratch folder can be written");
    let script = format!("exec \"$0\" \"$@\" 2>>{}", path(&log));
    let limit = format!("--fsize={MAX}");
    let through = ["prlimit", &limit, "sh", "-c", &script];
    let library = c_plugin("log_lines.c");
    let mut host = Host::start_through(&through, &["serve", path(&library), "--route", "/*=,message,"]);
    let (mut c, worker) = (host.open("/"), host.workers());
    for _ in 0..2000 {
        assert_eq!(c.ask(&"x".repeat(200)), "logged");
    }
    assert!(fs::metadata(&log).expect("it is there").len() >= MAX - 72);
    // The parent logs, too.
    host.process().signal(Signal::USR1);
    assert_eq!(c.ask("hello"), "logged");
    assert_eq!(host.workers(), worker);
    drop(c);
    assert_eq!(host.terminate().code(), Some(0));
    let mut text = String::new();
    File::open(&log).and_then(|mut log| log.read_to_string(&mut text)).expect("it is text");
}

#[test]
fn a_limit_on_files_that_leaves_no_room_for_shared_memory_is_named() {
    let library = c_plugin("log_lines.c");
    let mut host = Host::exactly_through(&["prlimit", "--fsize=65536"], &["serve", path(&library)]);
    assert_eq!(host.ended().code(), Some(1));
    assert!(host.log().contains("(ulimit -f, LimitFSIZE=); raise the limit"), "{}", host.log());
}
