//! A server that stops: what it says about itself, what it leaves to its successor, and what it does not wait for.

use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Host, eventually, path, run, scratch, status};

/// A path for a control socket.
fn socket(name: &str) -> PathBuf {
    let path = scratch(&format!("{name}.sock"));
    // Removes the sockets of an earlier run that was killed.
    let _ = (fs::remove_file(&path), fs::remove_file(path.with_extension("sock.draining")));
    path
}

#[test]
fn a_server_that_drains_says_so_and_leaves_its_control_socket_to_its_successor() {
    let control = socket("successor");
    let serve =
        || Host::serve("echo", &["--control", path(&control), "--drain-timeout", "20s", "--workers", "2"]);
    let mut first = serve();
    assert_eq!(status(&control)["draining_for_ms"], Value::Null);
    let mut client = first.open("/");
    first.ask_to_stop();
    assert_eq!(client.peek_close(), 1001);
    assert!(!control.exists(), "the path is free as soon as clients are told to close");
    let found = status(&control);
    assert_eq!(found["pid"], first.pid());
    assert!(found["draining_for_ms"].is_u64(), "{found}");
    let (_, text, _) = run(&["status", "--control", path(&control)]);
    assert!(text.contains("\ndraining for 0s: it accepts no clients"), "{text}");
    eventually("the worker without clients has ended", || {
        let (_, text, _) = run(&["status", "--control", path(&control)]);
        text.contains("\n        has ended\n") && !text.contains("has died")
    });

    let (code, _, stderr) = run(&["reload", "--control", path(&control)]);
    assert!(code == 1 && stderr.contains("not reloaded: the server stops"), "{code} {stderr}");

    let mut second = serve();
    assert_eq!(status(&control)["pid"], second.pid());
    drop(client);
    assert_eq!(first.ended().code(), Some(0), "{}", first.log());
    assert_eq!(status(&control)["pid"], second.pid(), "the first one removes only its own file");
    assert!(second.terminate().success());
    let left: Vec<_> = fs::read_dir(control.parent().expect("it has one"))
        .expect("the folder can be read")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("successor.sock"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn background_work_that_takes_too_long_is_abandoned_and_no_failure() {
    for workers in ["0", "1"] {
        let options = ["--workers", workers, "--drain-timeout", "100ms"];
        let mut host = Host::serve("offloop", &options);
        let mut client = host.open("/");
        client.text("wait endless");
        host.log_line("begun endless");
        drop(client);
        assert_eq!(host.terminate().code(), Some(0), "{}", host.log());
        host.log_line(
            "background work was abandoned: 1 job of plugin `offloop` had not ended in time (--drain-timeout)",
        );
        host.log_line("stopped: all connections are closed");
    }
}

#[test]
fn a_second_signal_while_only_background_work_runs_is_no_failure() {
    for workers in ["0", "1"] {
        let mut host = Host::serve("offloop", &["--workers", workers, "--drain-timeout", "60s"]);
        let mut client = host.open("/");
        client.text("wait endless");
        host.log_line("begun endless");
        let server = host.workers().first().copied().unwrap_or(host.process());
        let descriptors = server.descriptors();
        drop(client);
        // The work runs on. The client counts until its socket is closed, which follows its last callback.
        host.log_line("left; timer false, work Closed");
        eventually("the client's socket is closed", || server.descriptors() < descriptors);
        host.ask_to_stop();
        host.log_line("stopping");
        host.process().signal(Signal::INT);
        assert_eq!(host.ended().code(), Some(0), "{}", host.log());
        host.log_line("background work was abandoned");
    }
}
