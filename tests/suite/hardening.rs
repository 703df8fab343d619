//! What the system refuses a server, and what others do to it: no threads, nobody who reads the log, signals, forged log
//! lines. None of it ends a worker, a shutdown or a connection.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{
    Bare, Host, Process, c_plugin, c_plugin_with, eventually, needs_root, path, plugin, run, serve_crash,
    worker_of,
};

/// Starts a server as a user of its own that may have so many processes and threads.
fn serve_with_tasks(name: &str, user: u32, tasks: usize, options: &[&str]) -> Option<(Host, TempDir)> {
    // Only root can become another user, and root itself has no such limit.
    if !needs_root() {
        return None;
    }
    // That user may not reach the folders of the build and of the tests.
    let folder = tempfile::tempdir_in("/tmp").expect("a folder can be made");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let (program, library) = (folder.path().join("callsign"), folder.path().join("plugin.so"));
    for (from, to) in [(Path::new(env!("CARGO_BIN_EXE_callsign")), &program), (&plugin(name), &library)] {
        // By another process: a fork of this one must not hold the program open for writing when it is executed.
        assert!(Command::new("cp").arg(from).arg(to).status().expect("cp is there").success());
    }
    let (limit, user) = (format!("--nproc={tasks}"), format!("--reuid={user}"));
    let script = format!("shift; exec {} \"$@\"", path(&program));
    let through = ["env", "TMPDIR=/tmp", "setpriv", &user, "--clear-groups", "prlimit", &limit];
    let through = [&through[..], &["sh", "-c", &script, "sh"]].concat();
    let arguments = [&["serve", path(&library), "--log", "debug"], options].concat();
    Some((Host::start_through(&through, &arguments), folder))
}

#[test]
fn without_threads_background_work_waits_and_the_server_still_serves_and_stops() {
    // The parent and one worker.
    let options = ["--workers", "1", "--drain-timeout", "1s"];
    let Some((mut host, _folder)) = serve_with_tasks("slow", 61_234, 2, &options) else { return };
    let mut c = host.open("/");
    c.text("/work 1");
    host.log_line("no thread can be created for background work");
    assert_eq!(c.ask("hi"), "hi");
    host.ask_to_stop();
    assert_eq!(c.closed().map(|(code, _)| code), Some(1001));
    assert_eq!(host.ended().code(), Some(0), "the job ends with its connection");
}

#[test]
fn without_threads_a_crashed_worker_is_replaced_and_a_reload_is_answered() {
    if !needs_root() {
        return;
    }
    // That user cannot write to the folder of the tests.
    let folder = tempfile::tempdir_in("/tmp").expect("a folder can be made");
    std::os::unix::fs::chown(folder.path(), Some(61_235), None).expect("the test runs as root");
    let control = &folder.path().join("control");
    // No task is left for the backtrace, nor for a probe.
    let options = ["--workers", "1", "--control", path(control), "--drain-timeout", "1s"];
    let Some((mut host, _folder)) = serve_with_tasks("test-crash", 61_235, 2, &options) else { return };
    host.workers_serve(1);
    let mut c = host.open("/");
    worker_of(&mut c).signal(Signal::SEGV);
    // The thread that looks up the backtrace and the next worker compete for one task.
    host.log_has("serves", 2);
    assert!(host.open("/").ask("who").contains(' '));
    let (status, _, stderr) = run(&["reload", "--force", "--control", path(control)]);
    assert!(status == 1 && stderr.contains("not reloaded: "), "{stderr}");
    assert!(host.open("/").ask("who").contains(' '));
    assert_eq!(host.terminate().code(), Some(0));
}

/// A pipe holds 64 KiB.
#[test]
fn a_log_that_nobody_reads_blocks_neither_clients_nor_the_shutdown() {
    let library = plugin("test-probe");
    let arguments = [path(&library), "--route", "/*=page", "--workers", "2"];
    let mut server = Bare::start(Stdio::piped(), Stdio::piped(), &arguments);
    let mut client = server.connect();
    for _ in 0..2000 {
        // Each is logged with about 100 bytes.
        assert_eq!(client.request("GET", "/fail", &[], b"").status, 500);
    }
    drop(client);
    server.stop();
    let mut log = String::new();
    server.child.stderr.take().expect("it was asked for").read_to_string(&mut log).expect("it is text");
    assert!(log.len() < 1 << 20, "what was not read was dropped: {} bytes", log.len());
}

#[test]
fn signals_without_a_meaning_are_logged_and_disturb_nobody() {
    let host = serve_crash(1, &[]);
    let mut c = host.open("/");
    let worker = worker_of(&mut c);
    for (signal, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2"), (Signal::ALARM, "SIGALRM")] {
        for (count, process) in [(1, host.process()), (2, worker)] {
            process.signal(signal);
            host.log_has(&format!("{name} is ignored"), count);
        }
    }
    assert!(c.ask("who").contains(' '));
}

/// `pkill -HUP callsign` reaches all processes of a server.
#[test]
fn a_worker_leaves_sighup_to_its_parent() {
    let host = serve_crash(1, &[]);
    let mut c = host.open("/");
    worker_of(&mut c).signal(Signal::HUP);
    host.log_line("a worker ignores SIGHUP");
    assert!(c.ask("who").contains(' '));
}

#[test]
fn a_plugin_has_signals_of_its_own() {
    let library = c_plugin("own_signals.c");
    for workers in ["0", "1"] {
        let arguments = ["serve", path(&library), "--route", "/*=,message,", "--workers", workers];
        let host = Host::start(&arguments);
        let mut c = host.open("/");
        let process = Process(c.ask("who").parse().expect("a process id"));
        for (number, signal) in (1..).zip([Signal::USR1, Signal::USR2, Signal::ALARM]) {
            process.signal(signal);
            eventually("the plugin gets it", || c.ask("count") == number.to_string());
        }
        assert_eq!(host.log_lines("is ignored"), [""; 0]);
    }
}

#[test]
fn where_a_worker_was_that_dies_while_the_server_stops_is_logged() {
    let mut host = serve_crash(1, &[]);
    let mut c = host.open("/");
    let worker = worker_of(&mut c);
    let silent = host.upgraded();
    host.ask_to_stop();
    host.log_line("stopping: ");
    worker.signal(Signal::SEGV);
    assert_eq!(host.ended().code(), Some(1));
    host.log_line(&format!("worker 0 (process {}) was here when it ended", worker.0));
    drop(silent);
}

#[test]
fn a_destructor_that_hangs_does_not_keep_a_server() {
    let library = c_plugin_with("log_lines.c", &["-DHANG_AT_EXIT"]);
    for workers in ["0", "1"] {
        let arguments = ["serve", path(&library), "--route", "/*=,message,", "--workers", workers];
        let mut host = Host::start(&[&arguments[..], &["--drain-timeout", "1s"]].concat());
        assert_eq!(host.open("/").ask("hello"), "logged");
        assert!(!host.terminate().success());
    }
}

/// A config file that has become a pipe, for example by a mistake in a script.
#[test]
fn a_config_that_is_a_pipe_is_rejected_and_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (config, library) = (folder.path().join("callsign.toml"), c_plugin("log_lines.c"));
    let text = format!(
        "[plugin.log-lines]\npath = {:?}\n[[route]]\npath = '/*'\nonmessage = 'message'\n",
        path(&library)
    );
    fs::write(&config, text).expect("it is ours");
    let mut host = Host::start(&["serve", "--config", path(&config)]);
    let mut c = host.open("/");
    fs::remove_file(&config).expect("it is ours");
    let made = Command::new("mkfifo").arg(&config).status();
    assert!(made.expect("mkfifo is there").success());
    host.process().signal(Signal::HUP);
    let line = host.log_line("SIGHUP: nothing was reloaded");
    assert!(line.contains(path(&config)) && line.contains("it is a pipe"), "{line}");
    assert_eq!(c.ask("hello"), "logged");
    let (code, _, stderr) = run(&["check", "--config", path(&config)]);
    assert!(code == 1 && stderr.contains("it is a pipe"), "{stderr}");
    drop(c);
    assert!(host.terminate().success());
}

#[test]
fn sigquit_drains() {
    let mut host = serve_crash(2, &[]);
    let c = host.open("/");
    host.process().signal(Signal::QUIT);
    assert_eq!(c.closed().map(|(code, _)| code), Some(1001));
    assert_eq!(host.ended().code(), Some(0));
}

#[test]
fn a_plugin_cannot_forge_a_log_line() {
    let library = c_plugin("log_lines.c");
    let host = Host::start(&["serve", path(&library), "--route", "/*=,message,"]);
    let forged = "bye\n2026-01-01T00:00:00.000Z ERROR worker 0: forged\r\n\u{1b}[2Jforged";
    assert_eq!(host.open("/").ask(forged), "logged");
    let line = host.log_line("plugin `log-lines`: bye");
    assert!(
        line.contains(r"bye\n2026-01-01T00:00:00.000Z ERROR worker 0: forged\r\n\u{1b}[2Jforged"),
        "{line}"
    );
    let mut c = host.open("/");
    c.text(&format!("fail {forged}"));
    let line = host.log_line("failed: fail bye");
    assert!(line.contains(r"fail bye\n2026"), "{line}");
    assert!(!host.log().lines().any(|line| line.starts_with("2026-01-01")), "{}", host.log());
}
