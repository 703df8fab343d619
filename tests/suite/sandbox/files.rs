//! Files: what the config names, what any process needs, and nothing else.

use std::fs;

use super::{config, folder, serve, write};
use crate::support::{Host, needs_root, path, run};

#[test]
fn only_what_is_allowed_is_read_and_written() {
    let outside = folder("files");
    let [readable, writable, secret] = ["readable", "writable", "secret"].map(|name| outside.join(name));
    for folder in [&readable, &writable] {
        fs::create_dir(folder).expect("it is new");
    }
    write(&readable.join("file"), "text");
    write(&writable.join("old"), "text");
    write(&secret, "secret");
    let lists = format!("read = [{readable:?}]\nwrite = [{writable:?}]");
    let host = serve("files", &lists);
    let mut c = host.open("/");
    let mut ask = |what: &str, file: &std::path::Path| c.ask(&format!("{what} {}", path(file)));
    assert_eq!(ask("read", &secret), "EACCES");
    assert_eq!(ask("read", &outside), "EACCES");
    assert_eq!(ask("truncate", &secret), "EACCES");
    assert_eq!(fs::read_to_string(&secret).expect("it is ours"), "secret");
    assert_eq!(ask("write", &secret), "EACCES");
    assert_eq!(ask("write", &outside.join("new")), "EACCES");
    assert_eq!(ask("read", &readable), "ok");
    assert_eq!(ask("read", &readable.join("file")), "ok");
    assert_eq!(ask("write", &readable.join("file")), "EACCES");
    assert_eq!(ask("read", &writable.join("old")), "ok");
    assert_eq!(ask("write", &writable.join("old")), "ok");
    assert_eq!(ask("write", &writable.join("new")), "ok");
    assert_eq!(ask("chmod", &writable.join("new")), "ok");
    assert!(!outside.join("new").exists());
    assert_eq!(fs::read_to_string(writable.join("new")).expect("it was written"), "x");
}

#[test]
fn any_process_reads_what_it_needs() {
    let host = serve("ordinary", "");
    let mut c = host.open("/");
    assert_eq!(c.ask("ordinary"), "ok");
    assert_eq!(c.ask("thread"), "ok");
    assert_eq!(
        c.ask("read /etc/hostname"),
        if fs::exists("/etc/hostname").is_ok_and(|it| it) { "EACCES" } else { "ENOENT" }
    );
}

#[test]
fn a_worker_has_no_capabilities_even_as_root() {
    if !needs_root() {
        return;
    }
    let host = serve("root", "");
    for worker in host.workers() {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(worker.status(set).trim_start_matches('0'), "", "{set}");
        }
        assert_eq!(worker.status("NoNewPrivs"), "1");
        assert_eq!((worker.status("Seccomp"), worker.status("Seccomp_filters")), ("2".into(), "3".into()));
    }
    assert_eq!(host.process().status("Seccomp"), "0", "the parent is not confined");
}

#[test]
fn a_refused_load_says_what_is_allowed() {
    let outside = folder("onload");
    let secret = outside.join("secret");
    write(&secret, "secret");
    let command = format!("config = {{ do = 'read {}' }}", path(&secret));
    let file = config("onload", &format!("read = [{outside:?}]"), &command);
    let (code, _, stderr) = run(&["check", "--config", path(&file)]);
    assert_eq!(code, 0, "{stderr}");
    let file = config("onload", "", &command);
    let refused = format!("refused the load: Permission denied (its config: {}:", path(&file));
    let allowed =
        ", files of the system, to write nothing, to execute nothing, and no network (see [sandbox])";
    for (command, more) in [("check", &[][..]), ("serve", &["--listen", "127.0.0.1:0"])] {
        let (code, _, stderr) = run(&[&[command, "--config", path(&file)], more].concat());
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains(&refused), "{stderr}");
        assert!(stderr.contains("; the sandbox allows to read ") && stderr.contains(allowed), "{stderr}");
    }
}

#[test]
fn static_files_of_a_route_are_served() {
    let public = folder("public");
    write(&public.join("page.txt"), "a page");
    let file = config("static", "", "");
    let route = format!("[[route]]\npath = '/files/*'\nstrip_prefix = '/files'\nfiles = {public:?}\n");
    write(&file, &(route + &fs::read_to_string(&file).expect("it is ours")));
    let host = Host::start(&["serve", "--config", path(&file)]);
    let answer = host.connect().request("GET", "/files/page.txt", &[], b"");
    assert_eq!((answer.status, answer.text()), (200, "a page"));
}
