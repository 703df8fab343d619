//! Processes that plugins start. A child that a plugin forks shares nothing with its worker: it keeps neither the port
//! nor a client, it does not serve, and it ends with its worker. Where the server inherits orphans, it reaps them.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use rustix::process::Signal;

use crate::support::{
    Host, Process, Raw, WebSocket, c_plugin, c_plugin_with, empty_folder, eventually, free_port, may_unshare,
    path,
};

const ROUTE: [&str; 2] = ["--route", "/=,command,"];

/// A server with that many workers and the plugin `forks`.
fn start(workers: usize, options: &[&str]) -> Host {
    start_through(&["env"], &c_plugin("forks.c"), workers, options)
}

/// The same through a program that executes the server, and with this library of the plugin.
fn start_through(program: &[&str], forks: &Path, workers: usize, options: &[&str]) -> Host {
    let count = workers.to_string();
    let first = ["serve", path(forks), "--workers", &count, "--log", "debug"];
    let host = Host::start_through(program, &[&first[..], &ROUTE, options].concat());
    host.workers_serve(workers);
    host
}

/// A server in a process namespace of its own, and its process, which is the first one there. None: not permitted.
fn start_as_process_1(workers: usize) -> Option<(Host, Process)> {
    if !may_unshare() {
        return None;
    }
    let unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let host = start_through(&unshare, &c_plugin("forks.c"), workers, &[]);
    let server = host.workers()[0]; // the child of `unshare`
    Some((host, server))
}

fn ask_process(c: &mut WebSocket, what: &str) -> Process {
    Process(c.ask(what).parse().expect("the answer is a process id"))
}

/// The zombies among its children.
fn zombies(parent: Process) -> Vec<Process> {
    parent.children().into_iter().filter(|child| !child.is_alive()).collect()
}

fn comm(process: Process) -> String {
    fs::read_to_string(format!("/proc/{}/comm", process.0)).expect("it is alive").trim_end().to_owned()
}

#[test]
fn children_end_with_their_worker_however_it_ends() {
    for signal in [Signal::KILL, Signal::SEGV, Signal::TERM] {
        let host = start(1, &[]);
        let mut c = host.open("/");
        let worker = ask_process(&mut c, "who");
        let children = ["stay", "clone"].map(|how| ask_process(&mut c, how));
        assert!(children.iter().all(|child| child.is_alive()));
        worker.signal(signal);
        children.iter().for_each(|child| child.wait_for_end());
        host.workers_serve(2);
        assert_ne!(ask_process(&mut host.open("/"), "who"), worker);
    }
}

#[test]
fn children_end_when_the_server_stops() {
    let mut host = start(2, &[]);
    let children = ["stay", "clone"].map(|how| ask_process(&mut host.open("/"), how));
    assert_eq!(host.terminate().code(), Some(0), "{}", host.log());
    children.iter().for_each(|child| child.wait_for_end());
}

/// Also where nobody is left to kill the child, or where it has left the group.
#[test]
fn a_forked_child_does_not_keep_the_port() {
    for how in ["stay", "leave"] {
        let host = start(2, &[]);
        let child = ask_process(&mut host.open("/"), how);
        host.process().signal(Signal::KILL);
        host.process().wait_for_end();
        eventually("the port is free", || TcpListener::bind(("127.0.0.1", host.port)).is_ok());
        assert!(child.is_alive());
        child.signal(Signal::KILL);
    }
}

#[test]
fn a_forked_child_does_not_keep_the_port_of_a_listener_that_a_reload_has_added() {
    let file = empty_folder("forked-listener").join("callsign.toml");
    let write = |listen: &str| {
        let route = "[[route]]\npath = '/'\nonmessage = 'command'";
        let text =
            format!("listen = [{listen}]\n[plugin.forks]\npath = {:?}\n{route}\n", c_plugin("forks.c"));
        fs::write(&file, text).expect("the scratch folder can be written");
    };
    write("'127.0.0.1:0'");
    let host = Host::exactly(&["serve", "--config", path(&file)]).served();
    let port = free_port();
    write(&format!("'127.0.0.1:0', '127.0.0.2:{port}'"));
    host.process().signal(Signal::HUP);
    host.log_line("SIGHUP: reloaded listening on 127.0.0.2:");
    let client = TcpStream::connect(("127.0.0.2", port)).expect("the server listens");
    let child = ask_process(&mut Raw::of(client).upgrade("/", &[]), "leave");
    host.process().signal(Signal::KILL);
    host.process().wait_for_end();
    eventually("the port is free", || TcpListener::bind(("127.0.0.2", port)).is_ok());
    assert!(child.is_alive());
    child.signal(Signal::KILL);
}

#[test]
fn clients_of_a_worker_that_dies_are_told_although_a_child_lives_on() {
    for how in ["stay", "leave", "clone"] {
        let host = start(1, &[]);
        let (mut c, other, mut idle) = (host.open("/"), host.open("/"), host.connect());
        assert_eq!(idle.request("GET", "/none", &[], b"").status, 404);
        let (worker, child) = (ask_process(&mut c, "who"), ask_process(&mut c, how));
        worker.signal(Signal::KILL);
        c.dropped();
        other.dropped();
        assert_eq!(idle.read_to_end(), b"");
        child.signal(Signal::KILL);
    }
}

#[test]
fn a_connection_ends_for_its_client_although_a_child_lives_on() {
    for how in ["stay", "leave", "clone"] {
        let host = start(1, &["--close-timeout", "1s"]);
        let (mut c, mut other) = (host.open("/"), host.open("/"));
        let (mut half, mut silent) = (host.upgraded(), host.upgraded());
        let child = ask_process(&mut c, how);
        assert_eq!(other.ask("who"), c.ask("who"));
        // One that closes in order, and one that breaks the protocol.
        assert_eq!(c.close(1000, "bye").expect("the server answers").0, 1000);
        other.send_raw([0xff, 0xff]);
        assert_eq!(other.peek_close(), 1002);
        // One that ends its side without a Close, and waits for the server's end.
        half.half_close();
        assert_eq!(half.read_to_end(), b"");
        // One that does not answer the server's Close is dropped when its time is up.
        silent.send_frame(0x81, b"close");
        assert_eq!(silent.read_frame().0, 0x88);
        assert_eq!(silent.read_to_end(), b"");
        assert!(child.is_alive());
        child.signal(Signal::KILL);
    }
}

#[test]
fn a_child_that_returns_from_a_callback_ends_there() {
    let host = start(1, &[]);
    let mut c = host.open("/");
    let worker = ask_process(&mut c, "who");
    for number in 1..=5 {
        let child = ask_process(&mut c, "return");
        child.wait_for_end();
        let line = host.log_line(&format!("forked process {}", child.0));
        assert!(line.contains("plugin `forks`: onmessage handler `command`"), "{line}");
        for _ in 0..20 {
            assert_eq!(ask_process(&mut host.open("/"), "who"), worker, "after {number} forks");
        }
    }
    // Only the worker answers, once.
    assert_eq!(ask_process(&mut c, "who"), worker);
    assert_eq!(host.workers(), [worker]);
}

#[test]
fn children_of_timers_and_background_work_end_there_too() {
    let host = start(1, &[]);
    let mut c = host.open("/");
    let worker = ask_process(&mut c, "who");
    for (how, what) in [("timer", "plugin `forks`: timer"), ("background", "plugin `forks`: background work")]
    {
        c.ask(how);
        host.log_line(&format!("{what} forked process"));
        assert_eq!(ask_process(&mut c, "who"), worker);
    }
    eventually("only zombies are left", || worker.children().iter().all(|child| !child.is_alive()));
}

#[test]
fn a_child_that_is_forked_when_the_library_is_loaded_ends_there() {
    for (option, what) in [
        ("-DFORK_IN_CONSTRUCTOR", "a constructor of"),
        ("-DFORK_IN_ONLOAD", "plugin `forks`: onload hook `load_hook`"),
    ] {
        let forks = c_plugin_with("forks.c", &[option]);
        let host = start_through(&["env"], &forks, 1, &[]);
        let line = host.log_line(" forked process ");
        assert!(line.contains(what), "{line}");
        assert_eq!(ask_process(&mut host.open("/"), "who"), host.workers()[0]);
        assert_eq!(host.log_lines(" serves").len(), 1, "{}", host.log());
    }
}

#[test]
fn without_workers_a_child_that_returns_ends_too() {
    let host = start(0, &[]);
    let mut c = host.open("/");
    let child = ask_process(&mut c, "return");
    child.wait_for_end();
    assert_eq!(ask_process(&mut c, "who"), host.process());
}

#[test]
fn a_child_cannot_send_or_close() {
    let host = start(1, &[]);
    let (mut c, mut other) = (host.open("/"), host.open("/"));
    assert_eq!(c.ask("use"), "0", "the child's calls are rejected");
    assert_eq!(other.ask("who"), c.ask("who"));
}

#[test]
fn a_forked_child_ends_at_a_signal() {
    for workers in [0, 1] {
        let host = start(workers, &[]);
        let mut c = host.open("/");
        for signal in [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP, Signal::USR1, Signal::ALARM] {
            let child = ask_process(&mut c, "stay");
            child.signal(signal);
            child.wait_for_end();
        }
        assert_eq!(c.ask("exit"), "7", "the server has got none of them");
    }
}

/// A daemon forks twice, and opens files in between.
#[test]
fn a_child_of_a_child_keeps_its_own_files() {
    let host = start(1, &[]);
    let (mut c, _others) = (host.open("/"), [host.open("/"), host.connect().upgrade("/", &[])]);
    for _ in 0..3 {
        assert_eq!(c.ask("grandchild"), "0");
    }
}

#[test]
fn a_child_can_log_although_another_thread_logged_when_it_was_forked() {
    let host = start(1, &["--hang-timeout", "0"]);
    assert_eq!(host.open("/").ask("log"), "0", "children that did not end in order");
    assert!(host.log_line("in a child").starts_with("callsign: plugin `forks`: in a child"));
}

#[test]
fn children_that_exit_or_exec_work_as_ever() {
    let host = start(1, &[]);
    let mut c = host.open("/");
    for (how, answer) in [("exit", "7"), ("exec", "8"), ("system", "9"), ("popen", "10")] {
        assert_eq!(c.ask(how), answer, "{how}");
    }
}

/// As process 1 of a container; here it has children that another program has left to it.
#[test]
fn orphans_are_reaped_and_workers_are_waited_for() {
    let shell = ["sh", "-c", "sleep 0.1 & sleep 0.2 & exec \"$0\" \"$@\""];
    let host = start_through(&shell, &c_plugin("forks.c"), 1, &[]);
    eventually("only the worker is left", || host.workers().len() == 1);
    for deaths in 1..=3 {
        let worker = host.workers()[0];
        worker.signal(Signal::KILL);
        host.workers_serve(1 + deaths);
        host.log_line(&format!("(process {}) died of SIGKILL", worker.0));
    }
    assert_eq!(zombies(host.process()), []);
}

#[test]
fn as_process_1_the_server_reaps_what_plugins_leave_to_it() {
    let Some((host, server)) = start_as_process_1(2) else { return };
    let mut c = host.open("/");
    for _ in 0..20 {
        assert_eq!(c.ask("orphan"), "0");
    }
    eventually("the orphans have ended", || server.children().len() == 2);
    let children = server.children();
    // A group that is killed leaves orphans, too.
    c.text("stay");
    let _ = c.next_text();
    children.iter().for_each(|worker| worker.signal(Signal::KILL));
    host.workers_serve(4);
    eventually("only workers are left", || server.children().len() == 2 && zombies(server).is_empty());
}

#[test]
fn as_process_1_without_workers_orphans_are_reaped_and_signals_arrive() {
    let Some((mut host, first)) = start_as_process_1(0) else { return };
    let mut c = host.open("/");
    for _ in 0..20 {
        assert_eq!(c.ask("orphan"), "0");
    }
    eventually("only the server is left", || first.children().len() == 1);
    for (how, answer) in [("exit", "7"), ("system", "9"), ("popen", "10")] {
        assert_eq!(c.ask(how), answer, "the plugin waits for its own children");
    }
    first.signal(Signal::USR1);
    host.log_line("SIGUSR1 is ignored");
    first.signal(Signal::TERM);
    assert_eq!(c.closed().map(|(code, _)| code), Some(1001));
    assert_eq!(host.ended().code(), Some(0));
}

#[test]
fn processes_have_names() {
    let host = start(2, &[]);
    let mut names: Vec<String> = host.workers().into_iter().map(comm).collect();
    names.sort();
    assert_eq!(names, ["callsign-w0", "callsign-w1"]);
    assert_eq!(comm(host.process()), "callsign");
}
