//! Failures around workers: parent and workers are signalled together, a worker loses its link, crashes
//! repeatedly, leaves a child process behind, or loses its parent. The rest keeps serving, and no process
//! remains at the end.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    DEADLINE, End, Host, Load, Plan, Process, WebSocket, alone, c_plugin, crash_config, free_port, isolate,
    path, plugin,
};

/// A server with `workers` workers that serve the plugin `test-crash` at `/`, and at `/break` its commands
/// that break a worker.
fn start(workers: usize, options: &[&str]) -> Host {
    let (crash, processes) = (plugin("test-crash"), c_plugin("processes.c"));
    let routes = ["--route", "/=onconnect,crash:onmessage,ondisconnect", "--route", "/break=,command,"];
    let count = workers.to_string();
    let first = ["serve", path(&crash), path(&processes), "--workers", &count, "--log", "debug"];
    let host = Host::start(&[&first[..], &routes, options].concat());
    host.workers_serve(workers);
    host
}

/// The process whose id comes first in the answer.
fn ask_process(c: &mut WebSocket, what: &str) -> Process {
    let answer = c.ask(what);
    Process(answer.split(' ').next().and_then(|pid| pid.parse().ok()).expect("the process comes first"))
}

/// One client in each worker, with its worker's process, which the plugin names when it receives `who`.
fn one_in_each(host: &Host, workers: usize, path: &str, who: &str) -> Vec<(Process, WebSocket)> {
    let mut found: Vec<(Process, WebSocket)> = Vec::new();
    // Surplus clients stay connected: a worker with fewer clients would accept all new ones.
    let mut others = Vec::new();
    while found.len() < workers {
        let mut c = host.open(path);
        let worker = ask_process(&mut c, who);
        match found.iter().any(|(other, _)| *other == worker) {
            true => others.push(c),
            false => found.push((worker, c)),
        }
        assert!(others.len() < 500, "no client gets to some worker");
    }
    found
}

/// Two clients of different workers, which broadcast to each other.
struct Pair {
    clients: [WebSocket; 2],
    sent: usize,
}

impl Pair {
    /// Each client receives everything that the other one sends, once and in order.
    fn talk(&mut self, messages: usize) {
        let numbers = self.sent..self.sent + messages;
        self.sent += messages;
        for c in &mut self.clients {
            numbers.clone().for_each(|number| c.text(&format!("!{number}")));
        }
        for c in &mut self.clients {
            numbers.clone().for_each(|number| assert_eq!(c.next_text(), number.to_string()));
        }
    }
}

/// What a service manager or Ctrl-C in a container does.
#[test]
fn a_signal_to_parent_and_workers_together_drains() {
    let mut host = start(4, &[]);
    let load = Load::start(host.port, Plan { window: 4, ..Plan::clients(60) });
    let workers = host.workers();
    host.ask_to_stop();
    workers.iter().for_each(|worker| worker.signal(Signal::TERM));
    let status = host.ended();
    load.wait("all clients have seen the end", |state| state.clients.iter().all(|c| c.end.is_some()));
    load.check();
    load.look(|state| assert!(state.clients.iter().all(|c| c.end == Some(End::Closed(1001)))));
    assert_eq!(status.code(), Some(0), "{}", host.log());
    assert_eq!(host.log_lines("ERROR").len(), 0, "{}", host.log());
}

#[test]
fn a_worker_that_has_closed_its_link_is_replaced_and_the_others_hear_each_other() {
    let _alone = alone();
    let host = start(3, &[]);
    let before = host.workers();
    let mut clients = one_in_each(&host, 3, "/", "who");
    let (bad, _client) = clients.pop().expect("there are three");
    let mut pair = Pair { clients: [clients.remove(0).1, clients.remove(0).1], sent: 0 };
    pair.talk(100);
    let mut breaks = one_in_each(&host, 3, "/break", "who");
    let (_, c) = breaks.iter_mut().find(|(worker, _)| *worker == bad).expect("there is one in each");
    // The answer may be lost, because the worker exits when its link fails.
    c.text("unlink");
    while host.log_lines("; starting another").is_empty() {
        pair.talk(20);
    }
    let line = host.log_line("; starting another");
    assert!(line.contains(&format!("(process {}) ", bad.0)), "{line}");
    // Either side may detect the failure and log it first.
    host.log_line("link to the parent");
    host.workers_serve(4);
    pair.talk(100);
    let after = host.workers();
    assert_eq!(after.len(), 3);
    assert!(
        before.iter().all(|worker| after.contains(worker) != (*worker == bad)),
        "no other worker was killed"
    );
    assert!(!bad.is_alive());
}

#[test]
fn a_worker_that_dies_soon_after_each_start_is_started_less_and_less_often() {
    let _alone = alone();
    let (config, at_start) = crash_config("soon");
    fs::write(&at_start, "soon abort").expect("the scratch folder can be written");
    let mut host = Host::start(&["serve", "--config", path(&config), "--workers", "1"]);
    let begun = Instant::now();
    host.log_line("dies soon after every start (6 times now); the next one starts in 3.2s");
    assert!(begun.elapsed() >= Duration::from_millis(800 + 1600), "{:?}", begun.elapsed());
    assert_eq!(host.log_lines(") died of SIGABRT in ").len(), 6, "{}", host.log());

    // The end waits for backtraces.
    host.log_has(") was here when it ended:", 6);
    // During the pause there is no worker to wait for.
    let begun = Instant::now();
    let status = host.terminate();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(status.code(), Some(0), "{}", host.log());
    fs::remove_file(&at_start).expect("the path exists");
}

#[test]
fn an_answer_is_written_to_its_end_and_idle_clients_are_not_waited_for() {
    let library = plugin("requests");
    let args =
        ["serve", path(&library), "--route", "/=answer", "--max-body", "32MiB", "--drain-timeout", "20s"];
    let mut host = Host::start(&args);
    // One client has sent a request, the other has not.
    let (mut idle, mut silent) = (host.connect(), host.connect());
    assert_eq!(idle.request("GET", "/", &[], b"").status, 200);
    let body: Vec<u8> = (0..=255).cycle().take(20_000_000).collect();
    let mut client = host.connect();
    client.send_request("POST", "/", &[], &body);
    let head = client.read_answer(false);
    assert_eq!((head.status, head.header("content-length")), (200, Some("20000000")));
    host.ask_to_stop();
    host.log_line("stopping: ");
    assert_eq!(idle.read_to_eof(), b"");
    let begun = Instant::now();
    assert!(client.read_to_eof() == body, "another body");
    let status = host.ended();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(status.code(), Some(0), "{}", host.log());
    assert_eq!(silent.read_to_end(), b"");
}

/// The worst case is a plugin that hangs while it loads, because the worker does not read its link then.
#[test]
fn workers_end_with_their_parent_however_early_that_is() {
    let (config, at_start) = crash_config("orphans");
    fs::write(&at_start, "hang").expect("the scratch folder can be written");
    let address = format!("127.0.0.1:{}", free_port());
    let mark = format!("TEST_MARK={}", std::process::id());
    let (name, value) = mark.split_once('=').expect("the text has both parts");
    let marked = || -> Vec<Process> {
        let entries = fs::read_dir("/proc").expect("the path exists").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_marked = |pid: &u32| {
            // The process may have exited since the listing.
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
        };
        pids.filter(is_marked).map(Process).collect()
    };
    for number in 0..20 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callsign"));
        isolate(&mut command);
        command.args(["serve", "--config", path(&config), "--workers", "2", "--listen", &address]);
        command.env(name, value).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut parent = command.spawn().expect("the program can be run");
        // At any moment of the server's start and of its first worker's.
        let end = Instant::now() + DEADLINE;
        let moment = match number % 2 {
            0 => Duration::from_millis(number * 3 / 2),
            _ => Duration::from_micros(number * 200),
        };
        while number % 2 == 1 && Process(parent.id()).children().is_empty() {
            assert!(Instant::now() < end, "it starts no worker");
        }
        thread::sleep(moment);
        parent.kill().expect("the test may kill its child");
        parent.wait().expect("the test may wait for its child");
        let end = Instant::now() + DEADLINE;
        loop {
            let remaining: Vec<Process> = marked().into_iter().filter(|process| process.is_alive()).collect();
            // A process that is exiting has no environment any more, but still holds its sockets.
            if remaining.is_empty() && TcpListener::bind(&address).is_ok() {
                break;
            }
            if Instant::now() > end {
                remaining.iter().for_each(|process| process.signal(Signal::KILL));
                panic!("start {number}: {remaining:?} live on, or the port is held");
            }
            thread::sleep(Duration::from_millis(1)); // only the parent could wait for its exit
        }
    }
    fs::remove_file(&at_start).expect("the path exists");
}

/// The child inherits the worker's end of the link, its listening sockets and its clients' sockets.
#[test]
fn a_worker_that_leaves_a_child_behind_is_replaced_at_once() {
    let _alone = alone();
    let host = start(2, &[]);
    let load = Load::start(host.port, Plan::clients(8));
    let mut c = host.open("/break");
    let worker = ask_process(&mut c, "who");
    let child = ask_process(&mut c, "fork");
    assert_ne!(child, worker);
    worker.signal(Signal::KILL);
    let died = Instant::now();
    host.workers_serve(3);
    let (pause, machine) = (died.elapsed(), load.look(|state| state.machine));
    assert!(child.is_alive());
    child.signal(Signal::KILL);
    assert!(pause <= Duration::from_millis(250) + machine, "{pause:?}; the machine: {machine:?}");
    host.log_line(&format!("(process {}) died of SIGKILL", worker.0));
    let mut c = host.open("/");
    assert_ne!(ask_process(&mut c, "who"), worker);
}

#[test]
fn workers_hear_each_other_while_a_third_dies_again_and_again() {
    let _alone = alone();
    let host = start(3, &[]);
    let mut clients = one_in_each(&host, 3, "/", "who");
    let ((one, a), (two, b)) = (clients.remove(0), clients.remove(0));
    let mut pair = Pair { clients: [a, b], sent: 0 };
    // From the fourth crash on the parent pauses before it restarts; after the fifth for 1.6 s.
    for deaths in 1..=6 {
        let third = host.workers().into_iter().find(|worker| ![one, two].contains(worker));
        let third = third.expect("the server answers");
        pair.talk(200);
        third.signal(Signal::KILL);
        while host.log_lines(" serves").len() < 3 + deaths && deaths < 6 {
            pair.talk(50);
        }
        pair.talk(200);
    }
    let left = host.workers();
    assert!(left.contains(&one) && left.contains(&two), "no other worker was killed");
}
