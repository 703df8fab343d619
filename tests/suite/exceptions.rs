//! C++ exceptions that leave a plugin's code: failures of one call, like a panic of a plugin in Rust.

use std::path::PathBuf;

use crate::support::{Host, cpp_plugin_with, path, run};

fn library(options: &[&str]) -> PathBuf {
    cpp_plugin_with("exceptions.cpp", options)
}

fn serve(options: &[&str]) -> Host {
    let library = library(options);
    let routes = ["--route", "/=onconnect,onmessage,", "--route", "/page=page"];
    Host::start(&[&["serve", path(&library)], &routes[..]].concat())
}

/// The exception's line in the log; newlines are escaped there.
fn failed(what: &str, exception: &str) -> String {
    format!("plugin `exceptions`: {what} failed: C++ exception {exception}")
}

#[test]
fn an_exception_closes_the_connection_of_its_callback_and_no_other() {
    let host = serve(&[]);
    let mut other = host.open("/");
    for (command, what, exception) in [
        ("throw", "onmessage handler `onmessage`", r"std::runtime_error: no such\nroom"),
        ("int", "onmessage handler `onmessage`", "int"),
        ("timer", "timer", "std::out_of_range: later throws"),
        ("work", "background work", "std::logic_error: work throws"),
    ] {
        let mut c = host.open("/");
        c.text(command);
        assert_eq!(c.closed(), Some((1011, "handler failed".to_owned())), "{command}");
        let line = host.log_line(&failed(what, exception));
        assert!(line.contains("; closing connection ") && line.ends_with(" with 1011"), "{line}");
        assert_eq!(other.ask("still here"), "still here");
    }
    // Each message has unwound its frame, and so has this one's predecessor.
    assert_eq!(other.ask("unwound"), "8");
    host.log_line("cannot be dropped: C++ exception std::runtime_error: release throws");
    assert_eq!(host.log_lines(" died of "), [""; 0]);
}

#[test]
fn an_exception_of_an_onrequest_handler_is_a_500() {
    let host = serve(&[]);
    let mut c = host.connect();
    assert_eq!(c.request("GET", "/page", &[], b"").status, 500);
    let line = host.log_line(&failed("onrequest handler `page`", "std::runtime_error: no such page"));
    assert!(line.contains(" (500 for GET /page from "), "{line}");
    assert_eq!(c.request("GET", "/page", &[], b"").status, 500, "the connection can be used on");
}

#[test]
fn an_exception_of_a_load_hook_refuses_the_load() {
    let library = library(&["-DLOAD_THROWS"]);
    let (code, _, stderr) = run(&["check", path(&library)]);
    assert_eq!(code, 1, "{stderr}");
    let expected = "its onload hook `load` refused the load: C++ exception std::runtime_error: not today";
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
fn without_a_guard_an_exception_ends_the_worker_and_the_log_says_what_helps() {
    let host = serve(&["-DUNGUARDED"]);
    host.open("/").text("throw");
    let line = host
        .log_line("an exception has left plugin `exceptions` (generation 1): onmessage handler `onmessage`");
    assert!(line.contains("compile the C++ code with callsign.h"), "{line}");
    host.log_line(" died of SIGABRT");
    assert_eq!(host.open("/").ask("still here"), "still here");
}
