//! What the server tells systemd, and how it keeps the watchdog quiet.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use super::{AS_PROCESS_1, page, variables};
use crate::support::{DEADLINE, Host, empty_folder, may_unshare, path, plugin, run, scratch};

/// The end of systemd.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    #[track_caller]
    fn at(name: &str) -> Self {
        let path = scratch(name);
        let _ = fs::remove_file(&path);
        Self::of(
            UnixDatagram::bind(&path).expect("the scratch folder can be written"),
            path.display().to_string(),
        )
    }

    fn of(socket: UnixDatagram, name: String) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        Self { socket, name }
    }

    /// The next message that is no sign of life.
    #[track_caller]
    fn told(&self) -> String {
        loop {
            let message = self.next();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    #[track_caller]
    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("the server says something");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// Starts a server that knows this end, with further variables.
    fn start(&self, variables: &[&str], args: &[&str]) -> Host {
        let notify = format!("NOTIFY_SOCKET={}", self.name);
        let program = [&["env", &notify], variables].concat();
        Host::start_through(&program, args)
    }

    /// Asserts that the next message announces a reload that begins now.
    #[track_caller]
    fn reload_begins(&self, earliest_usec: i64) {
        let message = self.told();
        let usec = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|usec| usec.parse().ok());
        let usec: i64 = usec.unwrap_or_else(|| panic!("no reload: {message}"));
        assert!((earliest_usec..=monotonic_usec()).contains(&usec), "{usec}");
    }
}

fn monotonic_usec() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

fn serve(library: &Path) -> [&str; 4] {
    ["serve", path(library), "--route", "/=page"]
}

#[test]
fn the_server_is_ready_when_all_workers_serve_and_says_when_it_stops() {
    let (manager, library) = (Manager::at("ready.sock"), variables());
    let mut host =
        manager.start(&[], &[&serve(&library)[..], &["--workers", "3", "--log", "debug"]].concat());
    let ready = format!("READY=1\nSTATUS=3 workers serve on 127.0.0.1:{}", host.port);
    assert_eq!(manager.told(), ready);
    host.workers_serve(3);
    assert_eq!(page(host.connect()), "variables:", "a plugin cannot speak for the server");
    assert!(host.terminate().success());
    assert_eq!(manager.told(), "STOPPING=1\nSTATUS=stopping");
}

#[test]
fn a_reload_is_announced_and_its_result_shown() {
    let manager = Manager::at("reload.sock");
    let folder = empty_folder("notify-reload");
    let (file, control) = (folder.join("callsign.toml"), folder.join("control.sock"));
    let write = |text: &str| {
        let text = format!("{text}\n[plugin.echo]\npath = {:?}\n", plugin("echo"));
        fs::write(&file, text).expect("the scratch folder can be written");
    };
    write("");
    let host = manager.start(&[], &["serve", "--config", path(&file), "--control", path(&control)]);
    assert!(manager.told().starts_with("READY=1\nSTATUS=1 worker serves on "));

    let hang_up = || {
        let now = monotonic_usec();
        host.process().signal(Signal::HUP);
        manager.reload_begins(now);
        manager.told()
    };
    write("user = 'nobody'");
    let expected = "READY=1\nSTATUS=changed, but needs a restart to take effect: user";
    assert_eq!(hang_up(), expected);

    write("worker = 1");
    let expected =
        format!("READY=1\nSTATUS=nothing was reloaded: {}:1:10: `worker` at the top level", file.display());
    let told = hang_up();
    assert!(told.starts_with(&expected), "{told}");

    let now = monotonic_usec();
    let (code, _, stderr) = run(&["reload", "--force", "--control", path(&control)]);
    assert_eq!(code, 0, "{stderr}");
    manager.reload_begins(now);
    let told = manager.told();
    assert!(told.starts_with("READY=1\nSTATUS=reloaded echo: generation 2; 1 worker, "), "{told}");
}

#[test]
fn a_server_in_one_process_says_so_and_that_it_cannot_reload() {
    let (manager, library) = (Manager::at("alone.sock"), variables());
    let mut host =
        manager.start(&["WATCHDOG_USEC=20000"], &[&serve(&library)[..], &["--workers", "0"]].concat());
    assert_eq!(manager.told(), format!("READY=1\nSTATUS=one process serves on 127.0.0.1:{}", host.port));
    assert_eq!(manager.next(), "WATCHDOG=1");
    let now = monotonic_usec();
    host.process().signal(Signal::HUP);
    manager.reload_begins(now);
    let told = manager.told();
    assert!(told.starts_with("READY=1\nSTATUS=SIGHUP is ignored: with --workers 0 "), "{told}");
    assert_eq!(page(host.connect()), "variables:");
    assert!(host.terminate().success());
    assert_eq!(manager.told(), "STOPPING=1\nSTATUS=stopping");
}

#[test]
fn the_child_of_process_1_speaks_for_the_server() {
    if !may_unshare() {
        return;
    }
    let (manager, library) = (Manager::at("init.sock"), variables());
    let notify = format!("NOTIFY_SOCKET={}", manager.name);
    let program = [&["env", &notify], &AS_PROCESS_1[..]].concat();
    let host = Host::start_through(&program, &[&serve(&library)[..], &["--workers", "0"]].concat());
    assert!(manager.told().starts_with("READY=1\nSTATUS=one process serves on "));
    assert_eq!(page(host.connect()), "variables:");
}

#[test]
fn the_watchdog_gets_signs_of_life_while_the_server_runs() {
    let (manager, library) = (Manager::at("watchdog.sock"), variables());
    let host = manager.start(&["WATCHDOG_USEC=20000"], &serve(&library));
    while manager.next() == "WATCHDOG=1" {}
    for _ in 0..5 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    drop(host);

    // Where the server is exec'd by a shell, its id is that of the shell.
    let ours = ["sh", "-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh"];
    let _host = manager.start(&[&["WATCHDOG_USEC=20000"], &ours[..]].concat(), &serve(&library));
    assert_eq!(manager.next(), "WATCHDOG=1");
}

#[test]
fn the_watchdog_of_another_process_gets_no_signs_of_life() {
    let (manager, library) = (Manager::at("foreign.sock"), variables());
    let mut host = manager.start(&["WATCHDOG_USEC=20000", "WATCHDOG_PID=1"], &serve(&library));
    assert!(manager.next().starts_with("READY=1\n"));
    assert!(host.terminate().success());
    assert!(manager.next().starts_with("STOPPING=1\n"));
}

#[test]
fn the_socket_may_have_an_abstract_name() {
    let name = format!("callsign-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("it is short");
    let socket = UnixDatagram::bind_addr(&address).expect("nobody has the name");
    let (manager, library) = (Manager::of(socket, format!("@{name}")), variables());
    let _host = manager.start(&[], &serve(&library));
    assert!(manager.told().starts_with("READY=1\n"));
}

#[test]
fn a_start_that_fails_is_explained_in_the_status() {
    let (manager, library) = (Manager::at("failed.sock"), variables());
    let notify = format!("NOTIFY_SOCKET={}", manager.name);
    for (options, status) in [
        (
            ["--listen", "192.0.2.1:80"],
            "STATUS=cannot listen on 192.0.2.1:80: this machine has no such address",
        ),
        (["--route", "/a=pgae"], "STOPPING=1\nSTATUS="),
    ] {
        let args = [&serve(&library)[..], &options].concat();
        let args = [&args[..], &["--listen", "127.0.0.1:0"]].concat();
        let mut host = Host::exactly_through(&["env", &notify], &args);
        assert_eq!(host.ended().code(), Some(1));
        let told = manager.told();
        assert!(told.starts_with(status), "{told}");
        if told.starts_with("STOPPING=1") {
            assert!(told.contains("no onrequest handler `pgae`"), "{told}");
        }
    }
}

#[test]
fn a_service_manager_that_is_not_there_is_logged_and_the_server_serves() {
    let (missing, library) = (scratch("missing.sock"), variables());
    let _ = fs::remove_file(&missing);
    let notify = format!("NOTIFY_SOCKET={}", missing.display());
    let mut host = Host::start_through(&["env", &notify], &serve(&library));
    host.log_line("the service manager was not told READY=1: No such file or directory");
    assert_eq!(page(host.connect()), "variables:");
    assert!(host.terminate().success());
}
