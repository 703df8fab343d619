//! Workers that do not run outside of any callback: stopped, or blocked in a system call. The log and the status show
//! them, nobody else waits for them, and they are replaced.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    Host, Process, WebSocket, alone, eventually, flood, path, run, scratch, serve_crash, status, worker_of,
};

fn with_control(name: &str, options: &[&str]) -> (Host, PathBuf) {
    let control = scratch(&format!("stall-{name}.sock"));
    (serve_crash(2, &[&["--control", path(&control)], options].concat()), control)
}

/// The status of the worker with that process.
fn status_of(control: &Path, worker: Process) -> serde_json::Value {
    let status = status(control);
    let workers = status["workers"].as_array().expect("a list");
    workers.iter().find(|it| it["pid"] == worker.0).unwrap_or_else(|| panic!("{status}")).clone()
}

/// A client and its worker, and two clients of another worker. None is closed, so that no callback runs any more.
fn apart(host: &Host) -> (WebSocket, Process, [WebSocket; 2]) {
    let mut first = host.open("/");
    let worker = worker_of(&mut first);
    let mut others = Vec::new();
    while others.len() < 2 {
        let mut client = host.open("/");
        match worker_of(&mut client) == worker {
            true => std::mem::forget(client),
            false => others.push(client),
        }
    }
    let [source, reader] =
        <[WebSocket; 2]>::try_from(others).unwrap_or_else(|_| unreachable!("there are two"));
    (first, worker, [source, reader])
}

#[test]
fn a_stopped_worker_is_logged_shown_and_logged_when_it_goes_on() {
    let _alone = alone();
    let (host, control) = with_control("shown", &["--hang-timeout", "60s"]);
    let (mut client, worker, _others) = apart(&host);
    assert_eq!(status_of(&control, worker)["stalled_for_ms"], serde_json::Value::Null);
    worker.signal(Signal::STOP);
    let line = host.log_line(" has not run its event loop for ");
    let expected = "s, outside of any callback: is it stopped, or blocked in a system call?";
    assert!(line.contains("WARN") && line.contains(expected) && line.contains("T (stopped)"), "{line}");
    let stalled_for = status_of(&control, worker)["stalled_for_ms"].as_u64().expect("it is stalled");
    assert!((1000..20_000).contains(&stalled_for), "{stalled_for}");
    let (_, text, _) = run(&["status", "--control", path(&control)]);
    assert!(text.contains("\n        has not run its event loop for "), "{text}");

    let begun = Instant::now();
    let (code, _, stderr) = run(&["reload", "--control", path(&control)]);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let index = status_of(&control, worker)["index"].clone();
    assert!(stderr.contains(&format!("worker {index} has not run its event loop for ")), "{stderr}");
    assert_eq!(code, 1);

    worker.signal(Signal::CONT);
    host.log_line(" runs its event loop again, after ");
    assert_eq!(status_of(&control, worker)["stalled_for_ms"], serde_json::Value::Null);
    assert_eq!(client.ask("hello"), "hello");
    let (code, _, stderr) = run(&["reload", "--force", "--control", path(&control)]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(host.log_lines(" has not run its event loop for ").len(), 2, "once, and by the reload");
}

#[test]
fn a_worker_that_stays_stopped_is_ended_and_replaced() {
    let _alone = alone();
    let host = serve_crash(2, &["--hang-timeout", "1500ms"]);
    let (client, worker, [mut other, _]) = apart(&host);
    worker.signal(Signal::STOP);
    let reason = " was ended: it had not run its event loop for ";
    let line = host.log_line(&format!("(process {}){reason}", worker.0));
    assert!(line.contains("s, outside of any callback (--hang-timeout); "), "{line}");
    client.dropped();
    host.workers_serve(3);
    assert_eq!(other.ask("hello"), "hello");
    assert_eq!(host.log_lines("; starting another").len(), 1, "{}", host.log());
}

/// Stopped as early as possible: before it serves, unless the machine is very fast.
#[test]
fn a_worker_that_is_stopped_while_it_starts_is_replaced() {
    let _alone = alone();
    let host = serve_crash(2, &["--hang-timeout", "1500ms"]);
    let before = host.workers();
    before[0].signal(Signal::KILL);
    let mut next = None;
    eventually("another one starts", || {
        // A child that has not executed the program yet is not the worker: the parent waits for it in fork and exec.
        let is_worker = |worker: &Process| worker.command_line().starts_with("callsign: worker ");
        next = host.workers().into_iter().find(|worker| !before.contains(worker) && is_worker(worker));
        next.is_some_and(|worker| {
            worker.signal(Signal::STOP);
            true
        })
    });
    let stopped = next.expect("it was found");
    let line = host.log_line(&format!("(process {}) was ended: it had not ", stopped.0));
    assert!(line.contains("outside of any callback (--hang-timeout)"), "{line}");
    eventually("a third one", || {
        let workers = host.workers();
        workers.len() == 2 && !workers.contains(&stopped)
    });
    assert_eq!(host.open("/").ask("hello"), "hello");
}

#[test]
fn a_hang_timeout_of_0_logs_a_stopped_worker_and_leaves_it() {
    let _alone = alone();
    let host = serve_crash(2, &["--hang-timeout", "0", "--slow-callback", "0"]);
    let (mut client, worker, _others) = apart(&host);
    worker.signal(Signal::STOP);
    host.log_line(" has not run its event loop for ");
    worker.signal(Signal::CONT);
    host.log_line(" runs its event loop again, after ");
    assert_eq!(client.ask("hello"), "hello");
}

/// With the defaults, so that the hang time-out is far away.
#[test]
fn a_sender_does_not_wait_until_a_stopped_worker_is_ended() {
    let _alone = alone();
    let host = serve_crash(2, &[]);
    let (_client, worker, [mut source, mut reader]) = apart(&host);
    worker.signal(Signal::STOP);
    let begun = Instant::now();
    // 20 MB in all, more than the queue that senders wait for.
    flood(&mut source, &mut reader);
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    assert_eq!(host.log_lines(" was ended").len(), 0, "{}", host.log());
    // The worker of the source waits in a callback meanwhile, and is not stalled.
    host.log_line(" has not run its event loop for ");
    assert_eq!(host.log_lines(" has not run its event loop for ").len(), 1, "{}", host.log());
}

/// What was queued for a stopped worker arrives when it runs again.
#[test]
fn a_worker_that_goes_on_has_missed_nothing() {
    let _alone = alone();
    let host = serve_crash(2, &["--max-backlog", "64MiB"]);
    let (mut client, worker, [mut source, mut reader]) = apart(&host);
    worker.signal(Signal::STOP);
    for _ in 0..100 {
        source.text("flood 100 1000");
        for _ in 0..100 {
            reader.next_text();
        }
    }
    source.text("!the last");
    assert_eq!(reader.next_text(), "the last");
    worker.signal(Signal::CONT);
    for _ in 0..10_000 {
        assert_eq!(client.next_text().len(), 1000);
    }
    assert_eq!(client.next_text(), "the last");
}

#[test]
fn a_stopped_worker_that_is_flooded_beyond_the_bound_is_ended() {
    let _alone = alone();
    let host = serve_crash(2, &["--hang-timeout", "60s"]);
    let (_client, worker, [mut source, mut reader]) = apart(&host);
    let kib = host.process().resident_kib();
    worker.signal(Signal::STOP);
    for _ in 0..150 {
        source.text("flood 10 100000");
        for _ in 0..10 {
            assert_eq!(reader.next_text().len(), 100_000);
        }
    }
    let line = host.log_line(&format!("(process {}) was ended: ", worker.0));
    assert!(line.contains("it did not read the messages of other workers (--hang-timeout)"), "{line}");
    let most: u64 = host.process().status("VmHWM").trim_end_matches(" kB").parse().expect("it is a number");
    assert!(most - kib < 96 * 1024, "{} KiB", most - kib);
    host.workers_serve(3);
    assert_eq!(source.ask("done"), "done");
}

/// What a debugger does that attaches, as far as the kernel is concerned: it traces and stops.
#[test]
fn a_traced_worker_is_left_alone() {
    let _alone = alone();
    let (host, control) = with_control("traced", &["--hang-timeout", "1500ms"]);
    let (mut client, worker, _others) = apart(&host);
    for in_callback in [false, true] {
        if in_callback {
            client.text("sleep 100");
        }
        let script = "import ctypes, os, sys, time\n\
                      pid = int(sys.argv[1])\n\
                      ptrace = ctypes.CDLL(None, use_errno=True).ptrace\n\
                      ptrace.argtypes = [ctypes.c_long] * 4\n\
                      assert ptrace(16, pid, 0, 0) == 0, os.strerror(ctypes.get_errno())\n\
                      os.waitpid(pid, 0x40000000)\n\
                      print('attached', flush=True)\n\
                      sys.stdin.readline()\n\
                      assert ptrace(17, pid, 0, 0) == 0\n";
        let mut tracer = Command::new("python3")
            .args(["-c", script, &worker.0.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 can be run");
        eventually("the worker is traced", || worker.status("TracerPid") == tracer.id().to_string());
        let begun = Instant::now();
        eventually("the limit has passed twice", || begun.elapsed() > Duration::from_secs(4));
        assert!(worker.is_alive());
        assert_eq!(status_of(&control, worker)["pid"], worker.0);
        drop(tracer.stdin.take());
        assert!(tracer.wait().expect("it is ours to wait for").success());
        if in_callback {
            eventually("it goes on", || status_of(&control, worker)["running"].is_null());
        }
        assert_eq!(client.ask("hello"), "hello");
    }
    host.log_line(" is traced by process ");
    assert_eq!(host.log_lines(" is traced by process ").len(), 1, "{}", host.log());
    assert_eq!(host.log_lines(" was ended").len(), 0, "{}", host.log());
}
