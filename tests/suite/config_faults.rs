//! Config files that are wrong: `check` says so as `serve` does, with the place in the file. What is allowed and hardly
//! meant is a warning. What a reload cannot change is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::support::{Host, empty_folder, is_root, isolate, path, plugin, run};

/// A config file with this text in front of a plugin.
fn config(name: &str, text: &str) -> PathBuf {
    let file = empty_folder(name).join("callsign.toml");
    write(&file, text);
    file
}

fn write(file: &Path, text: &str) {
    let text = format!("{text}\n[plugin.chat]\npath = {:?}\n", plugin("chat"));
    fs::write(file, text).expect("the scratch folder can be written");
}

/// The error of `serve` or `check`, without the position.
#[track_caller]
fn refusal(command: &str, file: &Path, position: &str) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_callsign"));
    isolate(&mut program);
    // Takes precedence over the file.
    program.env_remove("CALLSIGN_CONTROL").env_remove("CALLSIGN_WORKERS");
    let output = program.args([command, "--config", path(file)]).output().expect("the program can be run");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{stderr}");
    let start = format!("callsign: {}:{position}: ", file.display());
    let error = stderr.lines().find_map(|line| line.strip_prefix(&start));
    error.unwrap_or_else(|| panic!("no {start}in {stderr}")).to_owned()
}

#[test]
fn check_rejects_what_serve_rejects_and_both_name_the_place() {
    let many = format!("listen = [{}]", "'127.0.0.1:0', ".repeat(64));
    for (name, text, position, error) in [
        ("many", many.as_str(), "1:10", "64 addresses to listen on, and no more than 63 can be"),
        ("address", "workers = 1\nlisten = '192.0.2.1:80'", "2:10", "this machine has no such address"),
        ("name", "listen = 'no-such-host.invalid:80'", "1:10", "cannot resolve `no-such-host.invalid:80`"),
        ("unix", "listen = 'unix:nowhere/a.sock'", "1:10", "its folder cannot be opened"),
        ("file", "listen = 'unix:callsign.toml'", "1:10", "there is a file already, which is no socket"),
        (
            "table",
            "[[listen]]\naddress = '127.0.0.1:0'\n[[listen]]\naddress = '192.0.2.1:80'",
            "4:11",
            "cannot listen on 192.0.2.1:80: this machine has no such address; choose another address",
        ),
        (
            "owner",
            "[[listen]]\naddress = 'unix:a.sock'\nowner = 'nobdy'",
            "2:11",
            "/a.sock: no user `nobdy` on this machine",
        ),
        (
            "control",
            "listen = '127.0.0.1:0'\ncontrol = 'nowhere/c.sock'",
            "2:11",
            "its folder cannot be opened",
        ),
        ("alone", "workers = 0\nuser = 'nobody'", "2:8", "with --workers 0 start as that user"),
        ("head", "[http]\nmax_head = '4KiB'", "2:12", "max_head is 4KiB, expected at least 8KiB"),
        ("high", "[websocket]\nhigh_water = '8MiB'", "2:14", "high_water is 8MiB, above max_backlog"),
        (
            "message",
            "[websocket]\nmax_message = '3GiB'",
            "2:15",
            "max_message is 3GiB, expected at most 2GiB",
        ),
    ] {
        let file = config(&format!("check-{name}"), text);
        let check = refusal("check", &file, position);
        assert!(check.contains(error), "{check}");
        assert_eq!(refusal("serve", &file, position), check);
    }
}

#[test]
fn a_user_that_does_not_exist_is_found_by_check() {
    for (key, position) in [("user", "1:8"), ("group", "1:9")] {
        let file = config(&format!("check-{key}"), &format!("{key} = 'nobdy'"));
        let error = refusal("check", &file, position);
        assert_eq!(error, format!("no {key} `nobdy` on this machine"));
        if is_root() {
            assert_eq!(refusal("serve", &file, position), error);
        }
    }
}

#[test]
fn check_leaves_no_trace_and_a_running_server_alone() {
    let file = config("check-traces", "listen = ['127.0.0.1:0', 'unix:a.sock']\ncontrol = 'c.sock'");
    let folder = file.parent().expect("it has one");
    let (code, stdout, stderr) = run(&["check", "--config", path(&file)]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("\ngood: 1 plugin"), "{stdout}");
    assert_eq!(fs::read_dir(folder).expect("it can be read").count(), 1);

    let host = Host::start(&["serve", "--config", path(&file)]);
    write(&file, &format!("listen = '127.0.0.1:{}'", host.port));
    assert_eq!(run(&["check", "--config", path(&file)]).0, 0);
    host.open("/");
}

#[test]
fn what_is_hardly_meant_is_warned_about() {
    let file = config("implausible", "[worker]\nhang_timeout = '1ms'");
    let place = format!("{}:2:16: hang_timeout is 1ms: ", file.display());
    let (code, _, stderr) = run(&["check", "--config", path(&file)]);
    let line = stderr.lines().find(|line| line.contains(&place));
    let line = line.unwrap_or_else(|| panic!("{stderr}"));
    assert!(
        line.starts_with("callsign: warning: ") && line.ends_with("; the smallest sensible value is 1s"),
        "{line}"
    );
    assert_eq!(code, 0, "{stderr}");

    let host = Host::begin(&["serve", "--config", path(&file)]);
    let line = host.log_line(&place);
    assert!(line.contains("WARN"), "{line}");
    if is_root() {
        assert!(
            stderr.contains("callsign: warning: plugins run as root, because --user is not given"),
            "{stderr}"
        );
        host.log_line("plugins run as root, because --user is not given");
    }
}

#[test]
fn a_plugin_that_rejects_its_config_is_shown_where_that_is() {
    let library = plugin("test-probe");
    let file = empty_folder("rejected-config").join("callsign.toml");
    let text = format!("[plugin.mine]\npath = {library:?}\n\n[plugin.mine.config]\nrefuse = true\n");
    fs::write(&file, text).expect("the scratch folder can be written");
    let (code, _, stderr) = run(&["check", "--config", path(&file)]);
    assert_eq!(code, 1);
    let expected =
        format!("refused the load: refusing {{\"refuse\":true}} (its config: {}:4:1)\n", file.display());
    assert!(stderr.ends_with(&expected), "{stderr}");
}

#[test]
fn sighup_warns_of_what_the_next_start_will_reject() {
    let file = config("rejects-restart", "");
    let host = Host::start(&["serve", "--config", path(&file)]);
    for (key, place) in [("user", "1:8"), ("group", "1:9")] {
        write(&file, &format!("{key} = 'nobdy'"));
        host.process().signal(Signal::HUP);
        let error = match is_root() {
            true => format!("no {key} `nobdy` on this machine"),
            false => "--user and --group need a start as root".to_owned(),
        };
        let place = format!("{}:{place}", file.display());
        host.log_line(&format!("WARN  SIGHUP: the next start of the server will fail: {place}: {error}"));
    }
}
