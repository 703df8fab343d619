//! The command, its outcomes and its messages.

use rustix::process::Signal;
use serde_json::Value;

use super::*;

#[test]
fn the_command_says_what_is_in_effect_and_what_needs_a_restart() {
    let server = Configured::serve("config-command", "");
    let said = server.reload("group = 'nogroup'\nuser = 'nobody'\n[websocket]\nmax_message = '5KiB'");
    assert!(
        said.starts_with(
            "the settings; echo: generation 1 (unchanged), requests: generation 1 (unchanged); "
        ),
        "{said}"
    );
    assert!(
        said.ends_with("; now in effect: max_message; needs a restart to take effect: user, group\n"),
        "{said}"
    );
    server.host.log_line("`callsign reload --config`: reloaded the settings; ");
    // Nothing is in another line.
    let said = server.reload("user = 'nobody'\n\n[websocket]\nmax_message = '5KiB'");
    assert_eq!(said, "changed, but needs a restart to take effect: user\n");
    let said = server.reload("\n\n[websocket]\nmax_message = '5KiB'");
    assert!(said.starts_with("nothing has changed; "), "{said}");
}

#[test]
fn the_command_prints_json() {
    let server = Configured::serve("config-json", "");
    let text = "user = 'nobody'\n[http]\nmax_body = '1KiB'";
    let said = server.try_reload(text, &["--json", "--force"]).expect("it is accepted");
    let said: Value = serde_json::from_str(&said).expect("it is JSON");
    assert_eq!(said["settings"], serde_json::json!(["max_body"]));
    assert_eq!(said["unchanged"], serde_json::json!(["user"]));
    assert_eq!(said["plugins"], serde_json::json!([["echo", 2], ["requests", 2]]), "--force");
    assert_eq!(said["kept"], serde_json::json!([]));
    assert_eq!(said["workers"], 1);
}

#[test]
fn a_file_that_is_wrong_changes_nothing_and_the_message_has_the_place() {
    let server = Configured::serve("config-wrong", "");
    let mut client = server.host.open("/");
    let place = |position: &str| format!("callsign: not reloaded: {}:{position}: ", server.file.display());
    for (text, position, why) in [
        (
            "[websocket]\nmax_message = 10\nmax_backlog = 'much'",
            "3:15",
            "`max_backlog` in [websocket]: found",
        ),
        (
            "[websocket]\nmax_message = 10\nmax_backlog = '9KiB'\nhigh_water = '1MiB'",
            "4:14",
            "high_water is 1MiB",
        ),
        ("[websocket]\nmax_message = 10\n[worker]\nreload_timeout = 0", "4:18", "reload_timeout is 0"),
        ("[websocket]\nmax_mesage = 10", "2:1", "unknown key `max_mesage`"),
    ] {
        let error = server.try_reload(text, &[]).expect_err(text);
        assert!(error.starts_with(&place(position)) && error.contains(why), "{error}");
        assert_eq!(client.ask("a longer message than that"), "a longer message than that");
    }
    // What the settings say is right, and the plugins do not fit.
    let text = "[websocket]\nmax_message = 10\n[[route]]\npath = '/new'\nhandler = 'requests:nobody'";
    let error = server.try_reload(text, &[]).expect_err("there is no such handler");
    assert!(error.contains("no onrequest handler `nobody`"), "{error}");
    assert_eq!(client.ask("a longer message than that"), "a longer message than that");
    assert_eq!(client.close(1000, ""), Some((1000, String::new())));
}

#[test]
fn who_reloads_is_told_that_the_next_start_will_fail() {
    let server = Configured::serve("config-restart", "");
    let said = server.try_reload("user = 'nobdy'\n[http]\nmax_body = 5", &[]);
    assert!(
        said.is_ok_and(|said| said.contains("now in effect: max_body; needs a restart to take effect: user"))
    );
    let why = format!("the next start of the server will fail: {}:1:8: ", server.file.display());
    let (code, _, stderr) = run(&["reload", "--config", "--control", path(&server.control)]);
    assert_eq!(code, 0);
    assert!(stderr.starts_with(&format!("callsign: warning: {why}")), "{stderr}");
    server.host.log_line(&format!("WARN  `callsign reload --config`: {why}"));
}

#[test]
fn what_is_hardly_meant_is_warned_about_once() {
    let server = Configured::serve("config-implausible", "");
    let text = "[websocket]\nclose_timeout = '20ms'";
    server.write(text);
    let (_, _, stderr) = run(&["reload", "--config", "--control", path(&server.control)]);
    let why = format!("{}:2:17: close_timeout is 20ms: slow networks", server.file.display());
    assert!(stderr.starts_with(&format!("callsign: warning: {why}")), "{stderr}");
    server.host.log_line(&why);
    server.write(&format!("{text}\nmax_message = 5"));
    let (code, _, stderr) = run(&["reload", "--config", "--control", path(&server.control)]);
    assert_eq!((code, stderr.as_str()), (0, ""));
}

#[test]
fn sighup_does_the_same() {
    let server = Configured::serve("config-hangup", "");
    server.write("user = 'nobody'\n[websocket]\nmax_message = 10");
    server.host.process().signal(Signal::HUP);
    let line = server.host.log_line("SIGHUP: reloaded the settings; ");
    assert!(line.ends_with("; now in effect: max_message; needs a restart to take effect: user"), "{line}");
    let mut client = server.host.open("/");
    client.text("more than ten bytes");
    assert_eq!(client.closed().map(|(code, _)| code), Some(1009));
}

#[test]
fn names_of_plugins_and_of_files_are_no_arguments_beside_config() {
    let server = Configured::serve("config-usage", "");
    for argument in ["echo", "callsign.toml"] {
        let (code, _, stderr) = run(&["reload", "--config", argument, "--control", path(&server.control)]);
        assert_eq!(code, 2);
        assert!(
            stderr.starts_with(
                "error: --config takes no file and no names of plugins: the server reads the config file"
            ),
            "{stderr}"
        );
    }
}

#[test]
fn a_server_without_a_config_file_says_so() {
    let folder = empty_folder("config-none");
    let control = folder.join("c.sock");
    let host = Host::serve("echo", &["--control", path(&control)]);
    let (code, _, stderr) = run(&["reload", "--config", "--control", path(&control)]);
    let expected = "callsign: not reloaded: the server has no config file; start it with --config FILE, or reload without \
                    --config\n";
    assert_eq!((code, stderr.as_str()), (1, expected));
    // SIGHUP reloads what has changed.
    host.process().signal(Signal::HUP);
    host.log_line("SIGHUP: nothing has changed; echo: generation 1 (unchanged)");
}

#[test]
fn without_workers_there_is_no_socket_and_the_command_says_why() {
    let folder = empty_folder("config-alone");
    let (file, control) = (folder.join("callsign.toml"), folder.join("c.sock"));
    fs::write(&file, Configured::text("")).expect("the scratch folder can be written");
    let args = ["serve", "--config", path(&file), "--control", path(&control), "--workers", "0"];
    let _host = Host::start(&args);
    let (code, _, stderr) = run(&["reload", "--config", "--control", path(&control)]);
    assert_eq!(code, 1);
    assert!(stderr.ends_with("; a server with --workers 0 has none, and cannot reload\n"), "{stderr}");
}
