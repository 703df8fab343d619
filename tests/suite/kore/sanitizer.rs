//! The examples under AddressSanitizer, which finds uses after free and leaks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{build, compile, one_in_each, root, use_chat, use_clock, use_visitors};
use crate::support::{Host, path, run, scratch};

/// A server that loads libraries built with the sanitizer. Reports are written to files whose paths begin
/// with the returned path.
fn start(test: &str, arguments: &[&str]) -> (Host, PathBuf) {
    let reports = scratch(&format!("asan-{test}"));
    let _ = fs::remove_dir_all(&reports);
    fs::create_dir_all(&reports).expect("the scratch folder can be written");
    let library =
        Command::new("cc").arg("-print-file-name=libasan.so").output().expect("there is a compiler");
    let library = String::from_utf8(library.stdout).expect("paths are UTF-8");
    // The host leaks its plugins on purpose, so a leak alone is no failure: the test searches the reports for
    // the plugin's library. Symbols are off, because resolving them with the host's debug information takes
    // seconds.
    let options =
        format!("ASAN_OPTIONS=detect_leaks=1:handle_segv=0:symbolize=0:log_path={}/report", path(&reports));
    let program = [
        "env",
        &format!("LD_PRELOAD={}", library.trim()),
        &options,
        "LSAN_OPTIONS=exitcode=0:report_objects=1",
    ];
    (Host::start_through(&program, &[&["serve"], arguments].concat()), reports)
}

const OPTIONS: [&str; 3] = ["-O1", "-fsanitize=address", "-fno-omit-frame-pointer"];

/// Stops the server; no report may mention the plugin.
fn is_clean(mut host: Host, reports: &Path, plugin: &str) {
    assert!(host.terminate().success(), "{}", host.log());
    assert_eq!(host.log_lines("; starting another"), [""; 0]);
    for report in fs::read_dir(reports).expect("the path exists") {
        let text =
            fs::read_to_string(report.expect("the path can be read").path()).expect("a report is text");
        let mine = text.lines().find(|line| line.contains(&format!("{plugin}.so+0x")));
        assert!(mine.is_none() && !text.contains("ERROR: AddressSanitizer"), "{mine:?}: {text}");
    }
}

#[test]
fn chat_is_clean() {
    let config = build("chat", "asan", "gcc", &OPTIONS);
    let (host, reports) = start("chat", &["--config", path(&config), "--workers", "2"]);
    use_chat(&host, 20);
    is_clean(host, &reports, "chat");
}

#[test]
fn visitors_is_clean() {
    let config = build("visitors", "asan", "gcc", &OPTIONS);
    let (host, reports) = start("visitors", &["--config", path(&config), "--workers", "2"]);
    use_visitors(&host, 20);
    is_clean(host, &reports, "visitors");
}

#[test]
fn a_reload_is_clean() {
    let versions = ["-DCALLSIGN_STATE_VERSION=1", "-DCALLSIGN_STATE_VERSION=1", "-DCALLSIGN_STATE_VERSION=2"];
    let config = build("visitors", "asan-reload", "gcc", &[&OPTIONS[..], &versions[..1]].concat());
    let control = std::env::temp_dir().join(format!("callsign-kore-asan-{}", std::process::id()));
    let arguments = ["--config", path(&config), "--workers", "2", "--control", path(&control)];
    let (host, reports) = start("reload", &arguments);
    let mut clients: Vec<_> =
        (0..6).map(|_| host.connect().upgrade("/talk", &[("Cookie", "name=Ann")])).collect();
    for (index, version) in versions.into_iter().enumerate() {
        for c in &mut clients {
            assert_eq!(c.ask("hi"), format!("Ann {}: hi", index + 1));
            assert_eq!(host.connect().request("GET", "/greet?name=A", &[], b"").status, 200);
        }
        let (library, new) = (config.with_file_name("visitors.so"), config.with_file_name("new"));
        let source = root().join("examples/kore/visitors/visitors.c");
        compile("gcc", &[&OPTIONS[..], &[version]].concat(), &source, &new);
        fs::rename(new, library).expect("the scratch folder can be written");
        let (code, _, reason) = run(&["reload", "--force", "--control", path(&control)]);
        assert_eq!((code, &*reason), (0, ""));
    }
    assert!(clients.iter_mut().all(|c| c.ask("hi") == "somebody 1: hi"));
    clients.truncate(3);
    is_clean(host, &reports, "visitors");
}

#[test]
fn clock_is_clean() {
    let config = build("clock", "asan", "gcc", &OPTIONS);
    let (host, reports) = start("clock", &["--config", path(&config), "--workers", "2"]);
    let [mut one, _two] = one_in_each(&host);
    use_clock(&mut one);
    is_clean(host, &reports, "clock");
}

#[test]
fn the_rest_of_the_api_is_clean() {
    let library = scratch("libkoreapi-asan.so");
    compile("gcc", &OPTIONS, &root().join("tests/plugins/c/kore.c"), &library);
    let routes =
        ["/check=check", "/argument=argument", "/cookies=cookies", "/answers=answers", "/socket=open_socket"];
    let routes = routes.iter().flat_map(|route| ["--route", route]);
    let arguments: Vec<&str> =
        [path(&library), "--workers", "1", "--max-message", "1KiB"].into_iter().chain(routes).collect();
    let (host, reports) = start("api", &arguments);
    for _ in 0..5 {
        let answer = host.connect().request("POST", "/check", &[("X-Number", "65535")], b"0123456789");
        assert_eq!((answer.status, answer.text()), (200, ""));
        for target in
            ["/argument?v=%31%&%=%&a=b%", "/cookies", "/answers?error", "/answers?status", "/answers?missing"]
        {
            host.connect().request("GET", target, &[("Cookie", "a=1; =; ;b")], b"");
        }
        assert_eq!(host.connect().handshake("/answers?missing", &[]).status, 500);
        let mut c = host.open("/socket");
        assert_eq!(c.next_text(), "mine");
        assert_eq!(c.ask("t"), "once");
        assert_eq!(c.ask("u"), "unregistered");
        assert_eq!(c.ask("m"), "13 is refused");
        ["b", "l", "p", "c"].into_iter().for_each(|command| c.text(command));
        drop(c);
    }
    // The memory of the last request is freed with the next one.
    host.open("/socket");
    is_clean(host, &reports, "libkoreapi-asan");
}

/// The sanitizer does find such faults.
#[test]
fn a_leak_and_a_use_after_free_would_be_reported() {
    let source = root().join("tests/plugins/c/kore_faulty.c");
    let library = scratch("libfaulty.so");
    compile("gcc", &[&OPTIONS[..], &["-Wno-use-after-free"]].concat(), &source, &library);
    let (mut host, reports) = start("faulty", &[path(&library), "--workers", "1", "--route", "/*=leak"]);
    let all = || {
        let files = fs::read_dir(&reports)
            .expect("the path exists")
            .map(|file| file.expect("the path can be read").path());
        files.map(|file| fs::read_to_string(file).expect("a report is text")).collect::<String>()
    };
    assert_eq!(host.connect().request("GET", "/", &[], b"").status, 200);
    let mut victim = host.connect();
    victim.send_request("GET", "/?use", &[], b"");
    host.log_line("; starting another");
    assert!(all().contains("heap-use-after-free"), "{}", all());
    assert_eq!(host.connect().request("GET", "/", &[], b"").status, 200);
    host.terminate();
    assert!(all().contains("Direct leak of 77 byte(s)") && all().contains("libfaulty.so+0x"), "{}", all());
}
