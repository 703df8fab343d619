//! Where the access log goes: files that are rotated, and files that cannot be opened.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;

use super::{Logged, lines, site};
use crate::support::{Host, Process, empty_folder, eventually, free_port, needs_root, path, plugin, run};

const ROUTES: &str = "[[route]]\npath = '/answer'\nhandler = 'answer'\n[[route]]\npath = '/echo'\nonmessage = \
                      'echo:onmessage'\n";

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

/// The numbers in the targets `/answer?200&NUMBER`.
fn numbers(text: &str) -> Vec<u64> {
    let number = |line: &str| line.split_once("/answer?200&")?.1.split(' ').next()?.parse().ok();
    text.lines().map(|line| number(line).unwrap_or_else(|| panic!("torn: {line}"))).collect()
}

/// As logrotate does it, while requests come on all workers.
#[test]
fn after_sighup_a_renamed_file_gets_no_line_and_none_is_lost() {
    for workers in ["0", "2"] {
        let mut logged =
            Logged::serve(&format!("access-log-rotate-{workers}"), ROUTES, &["--workers", workers]);
        let (is_over, file) = (AtomicBool::new(false), &logged.file.clone());
        let old = |n: usize| file.with_extension(format!("log.{n}"));
        let mut asked = 0;
        thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut asked = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let mut client = logged.host.connect();
                    for _ in 0..20 {
                        let target = format!("/answer?200&{asked}");
                        assert_eq!(client.request("GET", &target, &[], b"").status, 200);
                        asked += 1;
                    }
                }
                asked
            });
            for n in 0..5 {
                eventually("lines are written", || read(file).lines().count() > 50);
                fs::rename(file, old(n)).expect("it can be renamed");
                logged.host.process().signal(Signal::HUP);
                logged.host.log_has("was opened again", n + 1);
                let text = read(&old(n));
                eventually("lines are written", || read(file).lines().count() > 50);
                assert_eq!(read(&old(n)), text, "written after it was rotated");
            }
            is_over.store(true, Ordering::Relaxed);
            asked = asking.join().expect("all are answered");
        });
        assert!(logged.host.terminate().success());
        let all = (0..5).map(|n| read(&old(n))).chain([read(file)]).collect::<String>();
        let mut numbers = numbers(&all);
        numbers.sort_unstable();
        assert_eq!(numbers, (0..asked).collect::<Vec<_>>());
    }
}

#[test]
fn a_connection_that_outlives_a_rotation_is_in_the_new_file() {
    let logged = Logged::serve("access-log-outlives", ROUTES, &[]);
    let c = logged.host.open("/echo");
    fs::rename(&logged.file, logged.file.with_extension("old")).expect("it can be renamed");
    logged.host.process().signal(Signal::HUP);
    logged.host.log_line("was opened again");
    c.close(1000, "");
    assert!(logged.lines(1)[0].contains(" 101 "));
    assert_eq!(read(&logged.file.with_extension("old")), "");
}

#[test]
fn a_file_that_cannot_be_opened_again_is_an_error_and_the_old_one_stays() {
    let logged = Logged::serve("access-log-stays", ROUTES, &[]);
    let old = logged.file.with_extension("old");
    fs::rename(&logged.file, &old).expect("it can be renamed");
    fs::create_dir(&logged.file).expect("the name is free");
    logged.host.process().signal(Signal::HUP);
    let line = logged.host.log_line("the file that is open stays in use");
    assert!(line.contains(" ERROR ") && line.contains(path(&logged.file)), "{line}");
    assert!(line.contains("it is a folder; name a file in it"), "{line}");
    assert_eq!(logged.host.connect().request("GET", "/answer", &[], b"").status, 200);
    lines(&old, 1);
}

#[test]
fn a_file_that_cannot_be_opened_stops_the_start_with_a_remedy() {
    let library = plugin("echo");
    let folder = empty_folder("access-log-start");
    let missing = folder.join("missing/access.log");
    for (target, remedy) in [
        (path(&missing), "create its folder, or name another file"),
        (path(&folder), "it is a folder; name a file in it"),
        ("/dev/null", "is no regular file; for stdout, name it `-`"),
    ] {
        for workers in ["0", "1"] {
            let listen = format!("127.0.0.1:{}", free_port());
            let args =
                ["serve", path(&library), "--listen", &listen, "--workers", workers, "--access-log", target];
            let (code, _, stderr) = run(&args);
            assert_eq!(code, 1, "{stderr}");
            assert!(stderr.contains(target) && stderr.contains(remedy), "{stderr}");
        }
    }
    // The config file says where.
    let (_, config) = site("access-log-config", "");
    let text = fs::read_to_string(&config).expect("it is there");
    fs::write(&config, text.replace("'access.log'", "'missing/access.log'")).expect("it can be written");
    for command in ["serve", "check"] {
        let (code, _, stderr) = run(&[command, "--config", path(&config)]);
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains("callsign.toml:1:14: the access log "), "{stderr}");
    }
}

#[test]
fn values_of_another_form_are_rejected() {
    for (line, error) in [
        ("access_log = ''", "found string `''`, expected the path of a file"),
        ("access_log = 1", "found integer `1`, expected the path of a file"),
        ("access_log_format = 'common'", "expected \"combined\" or \"json\""),
        ("[http]\naccess_log = '-'", "it belongs at the top level"),
    ] {
        let folder = empty_folder("access-log-values");
        let config = folder.join("callsign.toml");
        fs::write(&config, line).expect("it can be written");
        let (code, _, stderr) = run(&["check", "--config", path(&config)]);
        assert!(code != 0 && stderr.contains(error), "{line}: {stderr}");
    }
    let (code, _, stderr) = run(&["serve", "none.so", "--access-log-format", "xml"]);
    assert!(code == 2 && stderr.contains("[possible values: combined, json]"), "{stderr}");
}

#[test]
fn options_take_precedence_over_the_config_file() {
    let (folder, config) = site("access-log-precedence", ROUTES);
    let other = folder.join("other.log");
    let config = path(&config);
    let options = ["--access-log", path(&other), "--access-log-format", "json"];
    let host = Host::start(&[&["serve", "--config", config], &options[..]].concat());
    assert_eq!(host.connect().request("GET", "/answer", &[], b"").status, 200);
    assert!(lines(&other, 1)[0].starts_with("{\"time\":"));
    assert!(!folder.join("access.log").exists());
    drop(host);
    let host = Host::start(&["serve", "--config", config, "--access-log", "none"]);
    assert_eq!(host.connect().request("GET", "/answer", &[], b"").status, 200);
    assert!(!folder.join("access.log").exists());
}

#[test]
fn the_file_is_private_and_the_workers_need_no_access() {
    if !needs_root() {
        return;
    }
    let folder = empty_folder("access-log-root");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("it is ours");
    let file = folder.join("access.log");
    let host = Host::serve("echo", &["--user", "nobody", "--access-log", path(&file)]);
    assert_eq!(host.open("/").close(1000, ""), Some((1000, String::new())));
    lines(&file, 1);
    let about = fs::metadata(&file).expect("it was created");
    assert_eq!((about.mode() & 0o777 & !0o640, about.uid()), (0, 0));
    // Workers have no descriptor of it.
    for Process(worker) in host.workers() {
        let descriptors = fs::read_dir(format!("/proc/{worker}/fd")).expect("it runs");
        let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        assert!(links.into_iter().all(|link| link != file));
    }
}
