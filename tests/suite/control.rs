//! The control socket: only its owner can use it, and bad requests disturb neither server nor clients. SIGHUP
//! makes the server read its config again.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{DEADLINE, Host, crash_config, path, plugin, run, scratch, status};

/// A path for a control socket.
fn socket(name: &str) -> PathBuf {
    let path = scratch(&format!("{name}.sock"));
    // Removes the socket of an earlier run that was killed.
    let _ = fs::remove_file(&path);
    path
}

/// A server of the chat example with this control socket.
fn serve(control: &Path, options: &[&str]) -> Host {
    Host::serve("chat", &[&["--control", path(control)], options].concat())
}

/// The error of a start that fails.
#[track_caller]
fn refusal(control: &Path) -> String {
    let chat = plugin("chat");
    let (code, _, stderr) =
        run(&["serve", path(&chat), "--listen", "127.0.0.1:0", "--control", path(control)]);
    assert_eq!(code, 1, "{stderr}");
    stderr
}

fn connect(control: &Path) -> UnixStream {
    let stream = UnixStream::connect(control).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    stream
}

/// The response to one request line.
fn ask(mut stream: &UnixStream, line: &str) -> Value {
    stream.write_all(format!("{line}\n").as_bytes()).expect("the server reads");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("the server answers");
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[test]
fn only_the_owner_can_use_the_socket_and_the_server_removes_it() {
    let control = socket("owner");
    let mut host = serve(&control, &[]);
    let about = fs::symlink_metadata(&control).expect("the path exists");
    assert!(about.file_type().is_socket());
    assert_eq!(about.mode() & 0o777, 0o600);
    assert_eq!(about.uid(), fs::metadata("/proc/self").expect("there is a /proc").uid());
    assert!(host.terminate().success());
    assert!(!control.exists());
}

#[test]
fn a_server_does_not_remove_a_file_that_replaced_its_socket() {
    let control = socket("replaced");
    let mut host = serve(&control, &[]);
    fs::remove_file(&control).expect("the path exists");
    fs::write(&control, "mine").expect("the scratch folder can be written");
    assert!(host.terminate().success());
    assert_eq!(fs::read_to_string(&control).expect("the file was not removed"), "mine");
}

#[test]
fn invalid_requests_get_an_error_and_disturb_nobody() {
    let control = socket("bad");
    let host = Host::serve("echo", &["--control", path(&control)]);
    let mut client = host.open("/");
    // These connections stay silent for the whole test.
    let silent: Vec<UnixStream> = (0..40).map(|_| connect(&control)).collect();
    for (line, why) in [
        ("", "the request is not understood"),
        ("status", "the request is not understood"),
        ("{\"ask\":\"stop\"}", "unknown variant `stop`, expected `reload` or `status`"),
        ("{\"ask\":\"status\",\"more\":1}", "unknown field `more`"),
        ("{\"ask\":\"reload\",\"plugins\":\"chat\"}", "expected a sequence"),
        (&format!("{{\"ask\":\"status\",\"more\":{}", "[".repeat(60_000)), "recursion limit"),
        ("\u{0}\u{1b}[2J", "the request is not understood"),
    ] {
        let answer = ask(&connect(&control), line);
        assert!(answer["refused"].as_str().is_some_and(|text| text.contains(why)), "{line:.60}: {answer}");
    }
    let mut long = connect(&control);
    // The server may close before it has read everything.
    let _ = long.write_all(&[b'x'; 200_000]);
    let mut answer = String::new();
    // Unread data makes the kernel reset the connection, which can discard the response.
    let _ = long.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.contains("longer than 65536 bytes"), "{answer}");
    for _ in 0..100 {
        // This client disconnects before the response.
        let mut gone = connect(&control);
        gone.write_all(b"{\"ask\":\"status\"}\n{\"ask\"").expect("the server reads");
    }
    // Several requests on one connection.
    let stream = connect(&control);
    for _ in 0..3 {
        assert_eq!(ask(&stream, "{\"ask\":\"status\"}")["status"]["pid"], host.pid());
    }
    assert_eq!(status(&control)["pid"], host.pid());
    assert_eq!(client.ask("as ever"), "as ever");
    drop(silent);
}

#[test]
fn silent_clients_only_delay_the_next_one() {
    let control = socket("silent");
    let host = serve(&control, &[]);
    let mut silent: Vec<UnixStream> = (0..70).map(|_| connect(&control)).collect();
    assert_eq!(status(&control)["pid"], host.pid());
    // The server has closed the first connection, which never sent anything.
    assert_eq!(silent[0].read(&mut [0]).expect("the server closes the connection in time"), 0);
}

#[test]
fn a_socket_that_nobody_listens_on_is_replaced() {
    let control = socket("stale");
    let mut host = serve(&control, &[]);
    host.process().signal(Signal::KILL);
    assert!(!host.ended().success());
    assert!(control.exists());
    let host = serve(&control, &[]);
    assert_eq!(status(&control)["pid"], host.pid());
}

#[test]
fn a_configured_socket_that_cannot_be_created_fails_the_start() {
    let control = socket("taken");
    let host = serve(&control, &[]);
    let message = refusal(&control);
    let expected = format!(
        "callsign: control socket {} (--control): a server that runs already (process {}) has it\n",
        control.display(),
        host.pid()
    );
    assert_eq!(message, expected);
    assert_eq!(status(&control)["pid"], host.pid());

    let file = socket("file");
    fs::write(&file, "mine").expect("the scratch folder can be written");
    assert!(refusal(&file).contains("there is a file already, which is no socket"));
    assert_eq!(fs::read_to_string(&file).expect("the file was not removed"), "mine");

    assert!(refusal(Path::new("/nowhere/c.sock")).contains("its folder cannot be opened"));
    assert!(refusal(&scratch(&"x".repeat(120))).contains("control socket"));
}

#[test]
fn two_servers_can_use_the_default_socket_and_the_second_says_who_owns_it() {
    let chat = plugin("chat");
    let start = || Host::start_through(&["env", "-u", "CALLSIGN_CONTROL"], &["serve", path(&chat)]);
    let (first, second) = (start(), start());
    let line = second.log_line("cannot reach this server");
    // Another server on this machine may already have owned the default socket.
    assert!(
        line.contains("a server that runs already (process ") && line.contains("--control PATH"),
        "{line}"
    );
    let had_it = first.log_lines("cannot reach this server").is_empty();
    assert!(!had_it || line.contains(&format!("(process {})", first.pid())), "{line}");
    // Both servers accept clients.
    first.open("/");
    second.open("/");
}

#[test]
fn status_reports_in_text_and_json() {
    let control = socket("status");
    let (config, _) = crash_config("status");
    let host = Host::start(&[
        "serve",
        path(&plugin("chat")),
        "--config",
        path(&config),
        "--control",
        path(&control),
        "--route",
        "/chat=chat:join,chat:message,",
        "--route",
        "/page=chat:onrequest",
        "--workers",
        "2",
        "--log",
        "debug",
    ]);
    host.workers_serve(2);
    let _client = host.open("/chat");
    let found = status(&control);
    assert_eq!(found["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(found["pid"], host.pid());
    assert_eq!(found["config"], path(&config));
    assert_eq!(found["addresses"][0], format!("127.0.0.1:{}", host.port));
    let workers = found["workers"].as_array().expect("the status lists workers");
    let processes: Vec<u64> =
        workers.iter().map(|worker| worker["pid"].as_u64().expect("the worker is alive")).collect();
    let children: Vec<u64> = host.workers().iter().map(|worker| worker.0.into()).collect();
    assert_eq!(processes.len(), 2);
    assert!(processes.iter().all(|pid| children.contains(pid)), "{processes:?} {children:?}");
    let sum =
        |field: &str| workers.iter().map(|worker| worker[field].as_u64().expect("a number")).sum::<u64>();
    assert_eq!((sum("clients"), sum("accepted")), (1, 1));
    assert!(sum("callbacks") >= 2);
    for worker in workers {
        assert_eq!(worker["serves"], true);
        assert_eq!(worker["running"], Value::Null);
        assert_eq!(worker["plugins"][1]["name"], "chat");
        assert_eq!(worker["plugins"][1]["generation"], 1);
        assert_eq!(worker["plugins"][1]["retained"], 0);
    }
    assert_eq!(found["plugins"][0]["name"], "crash");
    assert_eq!(found["plugins"][1]["path"], path(&plugin("chat")));
    assert_eq!(found["routes"][0]["path"], "/chat");
    assert_eq!(found["routes"][0]["handlers"][1]["kind"], "onmessage");
    assert_eq!(found["routes"][0]["handlers"][1]["plugin"], "chat");
    assert_eq!(found["routes"][0]["handlers"][1]["name"], "message");
    assert_eq!(found["routes"][0]["handlers"][1]["generation"], 1);

    let (code, text, _) = run(&["status", "--control", path(&control)]);
    assert_eq!(code, 0);
    for line in [
        format!("callsign {}, process {}, up ", env!("CARGO_PKG_VERSION"), host.pid()),
        format!("config file {}\n", config.display()),
        format!("listening on http://127.0.0.1:{}/\n", host.port),
        "WORKER  PROCESS ".to_owned(),
        format!("     1  {:>7}  ", processes[1]),
        "\n/chat  onconnect  chat:join       1\n       onmessage  chat:message    1\n".to_owned(),
        "\n/page  onrequest  chat:onrequest  1\n".to_owned(),
    ] {
        assert!(text.contains(&line), "no `{line}` in\n{text}");
    }
}

#[test]
fn status_names_the_callback_of_a_worker_that_hangs() {
    let control = socket("hangs");
    let (config, _) = crash_config("hangs");
    let host = Host::start(&[
        "serve",
        "--config",
        path(&config),
        "--control",
        path(&control),
        "--slow-callback",
        "20ms",
        "--hang-timeout",
        "60s",
    ]);
    let mut client = host.open("/");
    client.text("spin");
    host.log_line("has run for");
    let begun = Instant::now();
    loop {
        let running = &status(&control)["workers"][0]["running"];
        assert_eq!(
            (&running["plugin"], &running["name"]),
            (&"crash".into(), &"onmessage".into()),
            "{running}"
        );
        // Tolerates a machine that stalls during the callback.
        if running["running_for_ms"].as_u64().expect("the watchdog has measured it") >= 15 {
            break;
        }
        assert!(begun.elapsed() < DEADLINE, "{running}");
    }
    let (_, text, _) = run(&["status", "--control", path(&control)]);
    assert!(text.contains("\n        in onmessage handler crash:onmessage (generation 1), for "), "{text}");
}

#[test]
fn without_a_server_commands_fail_with_a_clear_error() {
    let control = socket("nobody");
    for arguments in [&["reload"][..], &["reload", "chat"], &["status"], &["status", "--json"]] {
        let (code, stdout, stderr) = run(&[arguments, &["--control", path(&control)]].concat());
        let also = match arguments[0] {
            "reload" => "; a server with --workers 0 has none, and cannot reload",
            _ => "",
        };
        let expected = format!(
            "callsign: no server listens on {}: start one, or name its socket with --control PATH{also}\n",
            control.display()
        );
        assert_eq!((code, stdout.as_str(), stderr), (1, "", expected));
    }
    let (code, _, stderr) = run(&["status", "--control", "none"]);
    assert_eq!((code, stderr.as_str()), (1, "callsign: --control none is no server; name its socket\n"));
}

#[test]
fn a_reload_of_an_unknown_plugin_is_rejected_on_stderr() {
    let control = socket("refused");
    let host = serve(&control, &[]);
    let (code, stdout, stderr) = run(&["reload", "caht", "--control", path(&control)]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("callsign: not reloaded: "), "{stderr}");
    host.open("/");
}

#[test]
fn a_server_without_workers_has_no_control_socket_and_says_so() {
    let control = socket("alone");
    let host = serve(&control, &["--workers", "0"]);
    host.log_line("no control socket");
    assert!(!control.exists());
    host.process().signal(Signal::HUP);
    host.log_line("SIGHUP is ignored: with --workers 0");
    host.open("/");
}

#[test]
fn an_invalid_config_file_at_sighup_changes_nothing() {
    let (config, _) = crash_config("hangup");
    let mut host = Host::start(&["serve", "--config", path(&config)]);
    fs::write(&config, "lisen = 1\n").expect("the scratch folder can be written");
    host.process().signal(Signal::HUP);
    let line = host.log_line("SIGHUP");
    let why = "nothing was reloaded: ";
    assert!(line.contains(why) && line.contains("unknown key `lisen`"), "{line}");
    host.open("/");
    fs::remove_file(&config).expect("the path exists");
    host.process().signal(Signal::HUP);
    host.log_line("cannot read config file");
    assert!(host.terminate().success());
}

#[test]
#[cfg(target_os = "linux")]
fn sighup_ends_a_server_whose_terminal_is_gone() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let terminal =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("there are terminals");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("the test owns it");
    let name = ptsname(&terminal, Vec::new()).expect("the path has a name").into_string().expect("in ASCII");
    let chat = plugin("chat");
    let mut host =
        Host::start_through(&["sh", "-c", &format!("exec \"$0\" \"$@\" <{name}")], &["serve", path(&chat)]);
    // While the terminal exists, SIGHUP means reload.
    host.process().signal(Signal::HUP);
    host.log_line("SIGHUP");
    host.open("/");
    drop(terminal);
    host.process().signal(Signal::HUP);
    assert!(host.ended().success(), "{}", host.log());
    host.log_line("the terminal is gone");
}

#[test]
fn the_config_file_can_name_the_socket_relative_to_itself() {
    let (config, _) = crash_config("named");
    let text = fs::read_to_string(&config).expect("the file exists");
    fs::write(&config, format!("control = 'named.sock'\n{text}")).expect("the scratch folder can be written");
    let control = config.with_file_name("named.sock");
    let _ = fs::remove_file(&control);
    let host = Host::start_through(&["env", "-u", "CALLSIGN_CONTROL"], &["serve", "--config", path(&config)]);
    assert_eq!(status(&control)["pid"], host.pid());
}
