//! System calls: a forbidden one ends the worker, and the log says which, in which handler, and what would allow it.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use super::{config, serve};
use crate::support::{Host, c_plugin, path, run};

/// Has a worker do what is forbidden, and returns the line about its end.
#[track_caller]
fn ends(name: &str, sandbox: &str, command: &str) -> String {
    let host = serve(name, sandbox);
    let mut c = host.open("/");
    c.text(command);
    let line = host.log_line("died of");
    assert!(line.contains("died of SIGSYS ("), "{line}");
    assert!(line.contains("in plugin `confined` (generation 1): onmessage handler `message`"), "{line}");
    // The next one serves.
    host.workers_serve(2);
    assert_eq!(host.open("/").ask("ordinary"), "ok");
    line
}

#[test]
fn a_forbidden_call_is_reported_with_the_plugin_and_the_key() {
    let calls =
        ["ptrace", "mount", "unshare", "keyctl", "bpf", "setuid", "socket", "ioctl", "prlimit64", "fchmod"];
    for call in calls {
        let line = ends("forbidden", "", &format!("call {call}"));
        assert!(line.contains(&format!("the sandbox forbids system call `{call}`, number ")), "{line}");
        let key = format!("`system_calls = [\"{call}\"]` in [sandbox] would allow it");
        assert!(line.contains(&key), "{line}");
    }
}

#[test]
fn the_call_stack_leads_to_the_plugin() {
    let host = serve("stack", "");
    host.open("/").text("call keyctl");
    host.log_line("message at ");
}

#[test]
fn a_named_call_is_allowed() {
    let free = Host::start(&["serve", path(&c_plugin("confined.c")), "--route", "/*=,message,"]);
    let host = serve("named", "system_calls = ['keyctl', 'io_uring_setup']");
    let (mut c, mut free) = (host.open("/"), free.open("/"));
    for command in ["call keyctl", "call io_uring_setup"] {
        assert_eq!(c.ask(command), free.ask(command), "the kernel answers");
    }
}

#[test]
fn what_libraries_try_does_not_exist() {
    let host = serve("absent", "");
    let mut c = host.open("/");
    assert_eq!(c.ask("call io_uring_setup"), "ENOSYS");
    assert_eq!(c.ask("call unknown"), "ENOSYS");
}

#[test]
fn programs_are_executed_only_if_they_are_listed() {
    let line = ends("spawn", "", "execute /bin/sh");
    // The C library blocks all signals there, and no handler can tell which call it was.
    assert!(
        line.contains("the start of a process, ") && line.contains("`execute = [\"PROGRAM\"]`, or"),
        "{line}"
    );
    let line = ends("execve", "", "call execve");
    assert!(line.contains("`execve`, ") && line.contains("to execute a program; `execute = "), "{line}");
    let line = ends("fork", "", "fork");
    assert!(line.contains("`system_calls = [\"fork\"]`"), "{line}");
    let host = serve("fork-allowed", "system_calls = 'fork'");
    assert_eq!(host.open("/").ask("fork"), "ok");
    let host = serve("listed", "execute = '/bin/sh'");
    let mut c = host.open("/");
    assert_eq!(c.ask("execute /bin/sh"), "ok");
    assert_eq!(c.ask("execute /bin/cat"), "EACCES");
    // A namespace in which the process would be root.
    let line = ends("namespace", "execute = '/bin/sh'", "call clone");
    assert!(line.contains("`system_calls = [\"clone\"]`"), "{line}");
}

#[test]
fn the_network_is_closed_unless_it_is_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let command = format!("connect {}", listener.local_addr().expect("it is bound").port());
    let line = ends("closed", "", &command);
    assert!(line.contains("to open an IP socket; `network = true` in [sandbox] would allow it"), "{line}");
    let host = serve("open", "network = true");
    assert_eq!(host.open("/").ask(&command), "ok");
    listener.accept().expect("the plugin has connected");
}

#[test]
fn processes_outside_get_no_signals_and_no_connections_by_abstract_sockets() {
    let name = format!("callsign-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a valid name");
    let _listener = UnixListener::bind_addr(&address).expect("the name is free");
    let host = serve("scope", "");
    let mut c = host.open("/");
    // Linux 6.12 restricts both; the log of an older one says that they are not.
    let missing = host.log_lines("does not restrict signals to other processes");
    let expected = if missing.is_empty() { "EPERM" } else { "ok" };
    assert_eq!(c.ask("signal"), expected);
    assert_eq!(c.ask(&format!("abstract {name}")), expected);
}

#[test]
fn a_forbidden_call_on_a_thread_of_a_plugin_is_reported() {
    let host = serve("thread", "");
    host.open("/").text("thread ptrace");
    let line = host.log_line("died of SIGSYS (");
    assert!(line.contains("`ptrace`") && line.contains("on a thread of a plugin's own"), "{line}");
    host.log_line("on_thread_ptrace at ");
}

#[test]
fn a_forbidden_call_in_a_load_hook_is_found_by_the_probe() {
    let file = config("load", "", "config = { do = 'call ptrace' }");
    let (code, _, stderr) = run(&["check", "--config", path(&file)]);
    assert_eq!(code, 1, "{stderr}");
    let expected = "crashes in its onload hook `load`: SIGSYS (the sandbox forbids system call `ptrace`";
    assert!(stderr.contains(expected), "{stderr}");
    let mut host = Host::exactly(&["serve", "--config", path(&file), "--listen", "127.0.0.1:0"]);
    assert_eq!(host.ended().code(), Some(1));
    assert!(host.log().contains("the sandbox forbids system call `ptrace`"), "{}", host.log());
}
