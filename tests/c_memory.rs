//! Plugins in C under AddressSanitizer and under valgrind: no report that has to do with them or with what the
//! host does for them. What each checker would say is tried on faults made on purpose.
//!
//! The sanitizer comes with gcc; valgrind is installed by `tests/setup`. Under valgrind the server runs in one
//! process (`--workers 0`): a program cannot start itself through `/proc/self/exe` there.
#![forbid(unsafe_code)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Host, WebSocket, alone, c_plugin_with, made_plugin, path, scratch};
use tungstenite::Message;

/// What looks at memory.
#[derive(Clone, Copy, PartialEq)]
enum Checker {
    Sanitizer,
    Valgrind,
}

use Checker::{Sanitizer, Valgrind};

const SANITIZED: [&str; 2] = ["-fsanitize=address", "-fno-omit-frame-pointer"];

impl Checker {
    fn c_plugin(self, file: &str) -> PathBuf {
        let flags = if self == Sanitizer { &SANITIZED[..] } else { &[] };
        c_plugin_with(file, &[&["-pthread"], flags].concat())
    }

    fn chat(self) -> PathBuf {
        made_plugin("chat-c", "chat.so", &if self == Sanitizer { SANITIZED.join(" ") } else { String::new() })
    }

    /// A server with that plugin, which writes its reports into an empty folder of that name.
    fn start(self, name: &str, library: &Path, options: &[&str]) -> Checked {
        let reports = scratch(&format!("{name}-{}", if self == Sanitizer { "asan" } else { "valgrind" }));
        let _ = fs::remove_dir_all(&reports);
        fs::create_dir_all(&reports).expect("the scratch folder can be made");
        let file = reports.join("report");
        let (program, workers) = match self {
            Sanitizer => {
                let preload = format!("LD_PRELOAD={}", sanitizer().display());
                let log = format!("ASAN_OPTIONS=detect_leaks=1:log_path={}", file.display());
                // What the host leaks on purpose is reported as well; it is sorted out below.
                let leaks = "LSAN_OPTIONS=exitcode=0".to_owned();
                (vec!["env".to_owned(), preload, log, leaks], "1")
            }
            Valgrind => {
                let there = Command::new("valgrind").arg("--version").output();
                assert!(there.is_ok(), "there is no valgrind; run tests/setup");
                let log = format!("--log-file={}.%p", file.display());
                let leaks = ["--leak-check=full", "--show-leak-kinds=definite,indirect"];
                let options = ["valgrind", "--read-inline-info=no", leaks[0], leaks[1], &log];
                (options.map(str::to_owned).to_vec(), "0")
            }
        };
        let program: Vec<_> = program.iter().map(String::as_str).collect();
        let arguments = [&["serve", path(library), "--workers", workers], options].concat();
        let host = Host::start_through(&program, &arguments);
        Checked { checker: self, host, reports, library: library.to_owned() }
    }
}

/// The sanitizer's library, which has to come first into a program that is not made with it.
fn sanitizer() -> PathBuf {
    let output =
        Command::new("cc").arg("-print-file-name=libasan.so").output().expect("there is a C compiler");
    let library = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    assert!(library.is_absolute(), "`cc` has no libasan.so: it is not gcc; run tests/setup");
    fs::canonicalize(library).expect("the compiler knows where it is")
}

/// A server under a checker.
struct Checked {
    checker: Checker,
    host: Host,
    reports: PathBuf,
    library: PathBuf,
}

impl Checked {
    /// Ends the server; what the checker has found.
    fn findings(mut self) -> String {
        self.host.terminate();
        let texts = fs::read_dir(&self.reports).expect("the folder is there").map(|entry| {
            fs::read_to_string(entry.expect("it can be listed").path()).expect("a report can be read")
        });
        let texts: Vec<_> = texts.collect();
        if self.checker == Valgrind {
            assert!(texts.iter().any(|text| text.contains("ERROR SUMMARY")), "it did not come to its end");
        }
        let of_texts = texts.iter().flat_map(|text| self.records(text));
        of_texts.collect::<Vec<_>>().join("\n\n")
    }

    /// Records of errors, and of leaks of memory that the plugin has allocated. The host's are its own: it keeps
    /// some memory for its whole life.
    fn records(&self, report: &str) -> Vec<String> {
        let plain = report.lines().map(|line| match line.strip_prefix("==") {
            Some(rest) => {
                rest.split_once("==").map_or("", |(_, text)| text.strip_prefix(' ').unwrap_or(text))
            }
            None => line,
        });
        let plain = plain.collect::<Vec<_>>().join("\n");
        let library = self.library.file_name().and_then(|name| name.to_str()).expect("it has a name");
        let is_finding = |record: &&str| {
            let is_leak = record.contains("leak of") || record.contains("in loss record");
            let is_error = record.contains("ERROR: AddressSanitizer") || record.contains("   at 0x");
            if is_leak { record.contains(library) || record.contains(".c:") } else { is_error }
        };
        plain
            .split("\n\n")
            .flat_map(|part| part.split("\n \n"))
            .filter(is_finding)
            .map(str::to_owned)
            .collect()
    }
}

/// The next text; pings and pongs may come before.
fn next_text(c: &mut WebSocket) -> String {
    loop {
        match c.next() {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("no text: {other:?}"),
        }
    }
}

fn chat_is_clean(checker: Checker) {
    let _alone = alone();
    let checked = checker.start("chat", &checker.chat(), &[]);
    let host = &checked.host;
    let (mut ann, mut bob) = (host.open("/"), host.open("/"));
    assert!(next_text(&mut bob).starts_with("* you are guest-"));
    for text in ["hello", "", "/name ", "/name Ann", "/names", &"long ".repeat(40_000)] {
        ann.text(text);
    }
    ann.binary(&[1, 2, 3]);
    ann.text(&format!("/name {}", "x".repeat(2000)));
    ann.text("/quit that was it");
    while !matches!(ann.next(), Message::Close(_)) {}
    ann.ended();
    while next_text_or_binary(&mut bob) != "* Ann left (1000 that was it)" {}
    for (method, path) in [("GET", "/"), ("HEAD", "/"), ("GET", "/none"), ("POST", "/")] {
        assert_ne!(host.connect().request(method, path, &[], b"").status, 500);
    }
    host.open("/").reset();
    // The end of the server does not wait for it.
    drop(bob);
    let findings = checked.findings();
    assert!(findings.is_empty(), "{findings}");
}

fn next_text_or_binary(c: &mut WebSocket) -> String {
    match c.next() {
        Message::Text(text) => text.to_string(),
        Message::Binary(_) => String::new(),
        other => panic!("no message: {other:?}"),
    }
}

fn bad_input_is_clean(checker: Checker) {
    let _alone = alone();
    let checked = checker.start("bad", &checker.c_plugin("bad_input.c"), &["--route", "/*=page"]);
    let host = &checked.host;
    for command in ["nulls", "far timer", "thread", "pool", "nobody's timer fails", "after", ""] {
        let mut c = host.open("/ws");
        c.text(command);
        let text = next_text(&mut c);
        // Without a worker of its own there is more that this thread may do: the answers are tested elsewhere.
        assert!(text.contains(" checks, "), "{command}: {text}");
        c.start_close(1000, "");
    }
    for command in ["timer fails", "done fails"] {
        let mut c = host.open("/ws");
        c.text(command);
        while !matches!(c.next(), Message::Close(_)) {}
    }
    for path in ["/answers", "/answer/0", "/answer/2", "/fail", "/no-upgrade"] {
        host.connect().request("GET", path, &[], b"");
    }
    for path in ["/no-utf-8", "/wrong-kind", "/corrected"] {
        host.connect().handshake(path, &[]);
    }
    let wrong = host.log_lines("wrong, line");
    assert!(wrong.is_empty(), "{wrong:#?}");
    let findings = checked.findings();
    assert!(findings.is_empty(), "{findings}");
}

/// Has the plugin make the faults, one after the other in one server; all words are in what is found.
#[track_caller]
fn are_found(checker: Checker, faults: &[(&str, &str)]) {
    let library = checker.c_plugin("memory_bugs.c");
    let checked = checker.start("faults", &library, &["--route", "/=,message,"]);
    for (fault, _) in faults {
        let mut c = checked.host.open("/");
        c.text(fault);
        // The sanitizer ends the worker at an error, in the callback or in what the host does in it.
        if checker == Sanitizer && *fault != "leak" {
            c.dropped();
        } else {
            while !matches!(c.next(), Message::Text(text) if text == "done") {}
        }
    }
    let findings = checked.findings();
    for (fault, words) in faults {
        assert!(findings.contains(words), "{fault}: no `{words}` in {findings}");
    }
    assert!(findings.matches("memory_bugs.c:").count() >= faults.len(), "{findings}");
}

#[test]
fn the_chat_in_c_is_clean_under_the_address_sanitizer() {
    chat_is_clean(Sanitizer);
}

#[test]
fn the_chat_in_c_is_clean_under_valgrind() {
    chat_is_clean(Valgrind);
}

#[test]
fn bad_input_is_clean_under_the_address_sanitizer() {
    bad_input_is_clean(Sanitizer);
}

#[test]
fn bad_input_is_clean_under_valgrind() {
    bad_input_is_clean(Valgrind);
}

#[test]
fn the_address_sanitizer_would_have_found_a_fault() {
    let _alone = alone();
    for fault in [
        ("behind", "heap-buffer-overflow"),
        ("after free", "heap-use-after-free"),
        ("too long", "heap-buffer-overflow"),
        ("leak", "leak of 16 byte(s)"),
    ] {
        are_found(Sanitizer, &[fault]);
    }
}

#[test]
fn valgrind_would_have_found_a_fault() {
    let _alone = alone();
    are_found(
        Valgrind,
        &[
            ("behind", "Invalid write of size 1"),
            ("after free", "Invalid read of size 1"),
            ("too long", ": mem"),
            ("leak", "16 bytes in 1 blocks are definitely lost"),
            ("uninitialised", "depends on uninitialised value"),
        ],
    );
}
