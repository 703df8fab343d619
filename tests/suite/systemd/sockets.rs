//! Listening sockets that systemd has bound.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::Signal;

use super::{AS_PROCESS_1, page, variables, with_sockets};
use crate::support::{
    Host, Raw, empty_folder, free_port, may_unshare, needs_root, path, plugin, run, scratch,
};

/// A server with these sockets and options, and the plugin that shows the variables in its environment.
fn start(sockets: &[&str], options: &[&str]) -> Host {
    let launcher = with_sockets(sockets);
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    let library = variables();
    Host::exactly_through(&launcher, &[&["serve", path(&library), "--route", "/=page"], options].concat())
}

/// The error of a server that cannot start with these sockets.
#[track_caller]
fn refusal(sockets: &[&str], options: &[&str]) -> String {
    let mut host = start(sockets, options);
    assert_eq!(host.ended().code(), Some(1));
    let log = host.log();
    log.strip_prefix("callsign: ").unwrap_or_else(|| panic!("not one message: {log}")).trim_end().to_owned()
}

/// Addresses that the server has printed, when all of them are there.
fn addresses(host: &Host, last: &str) -> Vec<String> {
    host.stdout_line(last);
    let stdout = host.stdout();
    let addresses = stdout.lines().filter_map(|line| line.strip_prefix("listening on "));
    addresses.map(str::to_owned).collect()
}

fn socket(name: &str) -> String {
    let socket = scratch(name);
    let _ = fs::remove_file(&socket);
    path(&socket).to_owned()
}

/// Sends a request over a Unix socket.
fn request(socket: &str) -> String {
    use std::io::{Read, Write};
    let mut client = UnixStream::connect(socket).expect("somebody listens");
    client.set_read_timeout(Some(crate::support::DEADLINE)).expect("a timeout can be set");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("the server reads it");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the server answers and closes");
    answer
}

fn config(name: &str, text: &str) -> std::path::PathBuf {
    let file = empty_folder(name).join("callsign.toml");
    fs::write(&file, text).expect("the scratch folder can be written");
    file
}

#[test]
fn without_an_address_the_server_serves_all_sockets_and_binds_none() {
    let unix = socket("all.sock");
    for workers in ["0", "1", "2"] {
        let _ = fs::remove_file(&unix);
        let sockets = ["=tcp:127.0.0.1:0", &format!("=unix:{unix}")];
        let mut host = start(&sockets, &["--workers", workers]);
        let addresses = addresses(&host, "listening on unix:");
        assert_eq!((addresses.len(), addresses[1].as_str()), (2, format!("unix:{unix}").as_str()));
        host = host.served();
        // Neither do programs inherit that a plugin starts.
        assert_eq!(page(host.connect()), "variables:", "{workers} workers");
        assert!(request(&unix).ends_with("variables:"), "{workers} workers");
        assert!(host.terminate().success());
        assert!(Path::new(&unix).exists(), "the file belongs to systemd");
    }
}

#[test]
fn a_socket_with_a_configured_address_is_used_for_it() {
    let (port, unix) = (free_port(), socket("configured.sock"));
    let text = format!(
        "[[listen]]\naddress = '127.0.0.1:{port}'\n[[listen]]\naddress = 'unix:{unix}'\nmode = '600'\n\
         [[listen]]\naddress = '127.0.0.1:0'\n"
    );
    let file = config("configured", &text);
    let sockets = [format!("=unix:{unix}"), format!("=tcp:127.0.0.1:{port}")];
    let host = start(&sockets.each_ref().map(String::as_str), &["--config", path(&file)]).served();
    let addresses = addresses(&host, "listening on unix:");
    assert_eq!(addresses[..2], [format!("http://127.0.0.1:{port}/"), format!("unix:{unix}")]);
    host.log_line("its socket unit decides on mode and owner");
    host.stdout_line("listening on http://127.0.0.1:");
    assert_eq!(page(Raw::connect(port)), "variables:");
    assert!(request(&unix).ends_with("variables:"));
}

/// systemd binds a port for both families, and the configuration may name both.
#[test]
fn one_socket_serves_both_families_and_shows_ipv4_clients_as_such() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let (port, library) = (free_port(), plugin("web"));
    let launcher = with_sockets(&[&format!("=tcp:[::]:{port}")]);
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    for listen in [format!("0.0.0.0:{port},[::]:{port}"), format!("[::]:{port},0.0.0.0:{port}")] {
        let host = Host::exactly_through(&launcher, &["serve", path(&library), "--listen", &listen]);
        assert_eq!(addresses(&host, "listening on"), [format!("http://[::]:{port}/")]);
        for (address, peer) in [("127.0.0.1", "\"127.0.0.1:"), ("::1", "\"[::1]:")] {
            let client = TcpStream::connect((address, port)).expect("the server listens");
            let answer = Raw::of(client).request("GET", "/echo", &[], b"").text().to_owned();
            assert!(answer.contains(&format!("\"peer\":{peer}")), "{answer}");
        }
    }
}

#[test]
fn sockets_are_found_by_their_names() {
    let unix = socket("named.sock");
    let text = "[[listen]]\naddress = 'systemd:web'\n[[listen]]\naddress = 'systemd:admin.socket'\n";
    let file = config("named", text);
    let sockets = [&format!("admin.socket=unix:{unix}"), "web=tcp:127.0.0.1:0", "web=tcp:127.0.0.2:0"];
    let host = start(&sockets, &["--config", path(&file)]).served();
    let addresses = addresses(&host, "listening on unix:");
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    assert!(addresses[0].starts_with("http://127.0.0.1:") && addresses[1].starts_with("http://127.0.0.2:"));
    assert_eq!(page(host.connect()), "variables:");
    assert!(request(&unix).ends_with("variables:"));

    // Whether systemd will pass them cannot be checked.
    let (code, _, stderr) = run(&["check", path(&variables()), "--config", path(&file), "--route", "/=page"]);
    assert_eq!(code, 0, "{stderr}");
    let place = format!("{}:2:11: ", file.display());
    assert_eq!(
        refusal(&["api=tcp:127.0.0.1:0"], &["--config", path(&file)]),
        format!("{place}no socket for systemd:web: systemd has passed `api`; see FileDescriptorName=")
    );
    assert_eq!(
        refusal(&[], &["--config", path(&file)]),
        format!(
            "{place}no socket for systemd:web: systemd has passed none; start the server through its socket unit"
        )
    );
}

#[test]
fn a_socket_that_no_entry_is_for_is_served_unless_names_are_configured() {
    let port = free_port();
    let mut host = start(&[&format!("more=tcp:127.0.0.2:{port}")], &["--listen", "127.0.0.1:0"]).served();
    host.log_line(&format!("127.0.0.2:{port} is served too: systemd has passed it as `more`"));
    let client = TcpStream::connect(("127.0.0.2", port)).expect("somebody listens");
    assert_eq!(page(Raw::of(client)), "variables:");
    assert_eq!(page(host.connect()), "variables:");
    assert!(host.terminate().success());

    let sockets = ["web=tcp:127.0.0.1:0", &format!("more=tcp:127.0.0.2:{port}")];
    assert_eq!(
        refusal(&sockets, &["--listen", "systemd:web"]),
        format!(
            "systemd has passed the socket `more` (127.0.0.2:{port}), and no entry of `listen` says how to serve it; \
             add systemd:more, or remove the socket from the units of the service"
        )
    );
}

#[test]
fn sockets_for_another_process_are_none_of_the_servers() {
    let launcher = with_sockets(&["=tcp:127.0.0.2:0"]);
    let launcher: Vec<&str> =
        ["env", "PID=1"].into_iter().chain(launcher.iter().map(String::as_str)).collect();
    let library = variables();
    let host = Host::start_through(&launcher, &["serve", path(&library), "--route", "/=page"]);
    assert_eq!(addresses(&host, "listening on").len(), 1);
    assert_eq!(page(host.connect()), "variables:");
}

/// systemd binds as root what the server may not: a folder, a port below 1024.
#[test]
fn a_socket_that_the_server_may_not_bind_itself_is_no_obstacle_to_a_restart() {
    if !needs_root() {
        return;
    }
    let folder = empty_folder("restart");
    let (unix, file) = (folder.join("a.sock"), folder.join("callsign.toml"));
    let write = |seconds: usize| {
        let text = format!(
            "listen = 'unix:{}'\ndrain_timeout = {seconds}\n[plugin.echo]\npath = {:?}\n",
            unix.display(),
            plugin("echo")
        );
        fs::write(&file, text).expect("the scratch folder can be written");
    };
    write(1);
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"];
    let launcher = with_sockets(&[&format!("=unix:{}", path(&unix))]);
    let launcher: Vec<&str> =
        launcher.iter().map(String::as_str).chain(["/usr/bin/env"]).chain(as_nobody).collect();
    let host = Host::exactly_through(&launcher, &["serve", "--config", path(&file)]);
    host.stdout_line("listening on unix:");
    for seconds in [2, 3] {
        write(seconds);
        host.process().signal(Signal::HUP);
        host.log_has("now in effect: drain_timeout", seconds - 1);
    }
    // The first check has ended when the second reload is logged.
    assert_eq!(host.log_lines("will fail"), [""; 0]);
}

/// podman passes sockets to the first process of a container.
#[test]
fn process_1_uses_sockets_and_says_where_it_cannot() {
    if !may_unshare() {
        return;
    }
    let launcher = with_sockets(&["=tcp:127.0.0.1:0"]);
    let launcher: Vec<&str> = AS_PROCESS_1.into_iter().chain(launcher.iter().map(String::as_str)).collect();
    let library = variables();
    let start = |workers| {
        let args = ["serve", path(&library), "--route", "/=page", "--workers", workers];
        Host::exactly_through(&launcher, &args)
    };
    assert_eq!(page(start("1").served().connect()), "variables:");
    let mut host = start("0");
    assert_eq!(host.ended().code(), Some(1));
    let expected = "callsign: with --workers 0, process 1 cannot use the sockets of LISTEN_FDS; serve with --workers 1\n";
    assert_eq!(host.log(), expected);
}

#[test]
fn what_is_no_listening_socket_is_rejected() {
    for bad in ["bad=udp:127.0.0.1:0", "bad=tcp-deaf:127.0.0.1:0"] {
        assert_eq!(
            refusal(&["good=tcp:127.0.0.1:0", bad], &[]),
            "`bad`, which the service manager has passed (LISTEN_FDS), is no listening TCP or Unix socket; use \
             ListenStream= and Accept=no in its socket unit",
        );
    }
    let launcher = with_sockets(&["=tcp:127.0.0.1:0"]);
    let launcher: Vec<&str> =
        ["env", "COUNT=2"].into_iter().chain(launcher.iter().map(String::as_str)).collect();
    let library = variables();
    let mut host = Host::exactly_through(&launcher, &["serve", path(&library), "--route", "/=page"]);
    assert_eq!(host.ended().code(), Some(1));
    let log = host.log();
    assert!(log.contains("descriptor 4, which LISTEN_FDS counts as socket `unknown`, is not open"), "{log}");
}
