//! What a reload can and cannot change, what `status` shows, and settings that are wrong.

use std::fs;

use rustix::process::Signal;

use super::{config, folder, write};
use crate::support::{Host, c_plugin, path, run, scratch, status};

#[test]
fn a_reload_needs_no_access_that_workers_do_not_have() {
    let outside = folder("change");
    write(&outside.join("page.txt"), "a page");
    let (file, control) = (config("change", "", ""), scratch("change.sock"));
    let host = Host::start(&["serve", "--config", path(&file), "--control", path(&control)]);
    let mut c = host.open("/");
    let old = fs::read_to_string(&file).expect("it is ours");
    let route = format!("[[route]]\npath = '/files/*'\nstrip_prefix = '/files'\nfiles = {outside:?}\n");
    write(&file, &(route + &old));
    host.process().signal(Signal::HUP);
    let line = host.log_line("SIGHUP: nothing was reloaded: ");
    let expected =
        format!("what route `/files/*` serves is in {}, which confined workers cannot read", path(&outside));
    assert!(line.contains(&expected) && line.contains("restart the server"), "{line}");
    assert_eq!(c.ask("ordinary"), "ok", "nothing has changed");

    write(&file, &old.replace("level = 'strict'", "level = 'off'"));
    host.process().signal(Signal::HUP);
    host.log_line("needs a restart to take effect: sandbox");
    assert_eq!(c.ask(&format!("read {}", path(&outside))), "EACCES");
    // New code is loaded into confined workers.
    let (code, stdout, stderr) = run(&["reload", "--force", "--control", path(&control)]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert_eq!(c.ask("ordinary"), "ok");
}

#[test]
fn status_shows_what_workers_may_do() {
    let outside = folder("status");
    let lists = format!("read = [{outside:?}]\nwrite = [{outside:?}]\nsystem_calls = ['keyctl']");
    let (file, control) = (config("status", &lists, ""), scratch("status.sock"));
    let _host = Host::start(&["serve", "--config", path(&file), "--control", path(&control)]);
    let status = status(&control);
    let sandbox = &status["sandbox"];
    assert_eq!((&sandbox["level"], &sandbox["network"]), (&"strict".into(), &false.into()));
    let library = c_plugin("confined.c");
    let plugins = path(library.parent().expect("it is in a folder")).to_owned();
    assert_eq!(sandbox["read"], serde_json::json!([path(&outside), plugins]));
    assert_eq!(sandbox["write"], serde_json::json!([path(&outside)]));
    assert_eq!(sandbox["execute"], serde_json::json!([]));
    let system = sandbox["system"].as_array().expect("a list");
    assert!(system.contains(&"/usr/lib".into()), "{system:?}");
    let (_, text, _) = run(&["status", "--control", path(&control)]);
    for line in ["sandbox strict, without network", &format!("  may write {}", path(&outside))] {
        assert!(text.lines().any(|other| other == line), "{text}");
    }
    assert!(text.contains("  may make the system calls keyctl"), "{text}");
}

#[test]
fn without_a_sandbox_status_shows_none() {
    let control = scratch("off.sock");
    let library = c_plugin("confined.c");
    let _host =
        Host::start(&["serve", path(&library), "--route", "/*=,message,", "--control", path(&control)]);
    assert!(status(&control)["sandbox"].is_null());
}

#[test]
fn wrong_settings_are_found_at_their_place() {
    let cases = [
        ("read = ['/nowhere/at/all']", 8, "`read` in [sandbox]: /nowhere/at/all: No such file or directory"),
        ("system_calls = ['ptrac']", 16, "no system call `ptrac` is known; did you mean `ptrace`?"),
        ("network = 'yes'", 11, "`network` in [sandbox]: found string `'yes'`, expected true or false"),
        ("reed = ['/tmp']", 1, "unknown key `reed` in [sandbox]; did you mean `read`?"),
        ("write = 7", 9, "`write` in [sandbox]: found integer `7`, expected the path of a file or folder"),
    ];
    for (line, column, expected) in cases {
        let file = config("wrong", line, "");
        let text = fs::read_to_string(&file).expect("it is ours");
        let number = text.lines().position(|it| it == line).expect("it is there") + 1;
        for command in [&["check"][..], &["serve", "--listen", "127.0.0.1:0"]] {
            let (code, _, stderr) = run(&[command, &["--config", path(&file)]].concat());
            assert_eq!(code, 1, "{stderr}");
            let place = format!("{}:{number}:{column}: ", path(&file));
            assert!(stderr.contains(&place) && stderr.contains(expected), "{stderr}");
        }
    }
}

#[test]
fn one_process_is_not_confined_and_says_so() {
    let file = config("alone", "", "");
    let arguments = ["serve", "--config", path(&file), "--listen", "127.0.0.1:0", "--workers", "0"];
    let (code, _, stderr) = run(&arguments);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("the sandbox is for worker processes"), "{stderr}");
}
