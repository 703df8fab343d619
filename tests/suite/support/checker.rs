//! A server under AddressSanitizer or valgrind, and the faults that they report.
//!
//! AddressSanitizer comes with gcc; `tests/setup` installs valgrind. Under valgrind the server runs in one
//! process (`--workers 0`), because a program cannot execute itself through `/proc/self/exe` there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Host, root, scratch};
use Checker::{Sanitizer, Valgrind};

/// A memory checker.
#[derive(Clone, Copy, PartialEq)]
pub enum Checker {
    Sanitizer,
    Valgrind,
}

/// Compiler options that the checker needs.
pub const SANITIZED: [&str; 2] = ["-fsanitize=address", "-fno-omit-frame-pointer"];

impl Checker {
    /// Starts a server with these arguments, which writes its reports into an empty folder called `name`.
    /// Only leaks whose backtrace contains `library` count.
    #[track_caller]
    pub fn start(self, name: &str, library: &Path, arguments: &[&str]) -> Checked {
        let reports =
            scratch(&format!("{name}-{}-reports", if self == Sanitizer { "asan" } else { "valgrind" }));
        let _ = fs::remove_dir_all(&reports);
        fs::create_dir_all(&reports).expect("the scratch folder can be made");
        let file = reports.join("report");
        let (program, workers) = match self {
            Sanitizer => {
                let preload = format!("LD_PRELOAD={}", sanitizer().display());
                let log = format!("ASAN_OPTIONS=detect_leaks=1:log_path={}", file.display());
                // Reports include the host's deliberate leaks; `findings` skips them.
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
        let arguments = [&["serve", "--workers", workers], arguments].concat();
        let host = Host::start_through(&program, &arguments);
        Checked { checker: self, host, reports, library: library.to_owned() }
    }
}

/// The sanitizer's runtime, which must be preloaded into a program that is not built with it.
fn sanitizer() -> PathBuf {
    let output =
        Command::new("cc").arg("-print-file-name=libasan.so").output().expect("there is a C compiler");
    let library = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    assert!(library.is_absolute(), "`cc` has no libasan.so: it is not gcc; run tests/setup");
    fs::canonicalize(library).expect("the compiler knows where it is")
}

/// The names of the sources and headers that plugins of the tests are built from. Frames of the C library have names of
/// C files, too, such as `pthread_create.c`.
fn sources() -> Vec<String> {
    let mut folders: Vec<PathBuf> = ["tests/plugins/c", "plugin-api/include", "example-plugins", "examples"]
        .map(|folder| root().join(folder))
        .into();
    let mut names = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("it is there").flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|ending| ["c", "h", "cpp"].iter().any(|source| ending == *source))
            {
                names.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
            }
        }
    }
    names
}

/// Whether a line of a backtrace is in this file: `at f (chat.c:7)` or `in f /src/chat.c:7`.
fn names(record: &str, source: &str) -> bool {
    let before = |at: usize| record[..at].ends_with(['(', '/', ' ']);
    record.match_indices(&format!("{source}:")).any(|(at, _)| before(at))
}

/// A server under a checker.
pub struct Checked {
    checker: Checker,
    pub host: Host,
    reports: PathBuf,
    library: PathBuf,
}

impl Checked {
    /// Stops the server; returns what the checker has found.
    pub fn findings(mut self) -> String {
        self.host.terminate();
        let texts = fs::read_dir(&self.reports).expect("the folder is there").map(|entry| {
            fs::read_to_string(entry.expect("the entry can be read").path()).expect("a report can be read")
        });
        let texts: Vec<_> = texts.collect();
        if self.checker == Valgrind {
            assert!(
                texts.iter().any(|text| text.contains("ERROR SUMMARY")),
                "valgrind did not finish its report"
            );
        }
        let of_texts = texts.iter().flat_map(|text| self.records(text));
        of_texts.collect::<Vec<_>>().join("\n\n")
    }

    /// The reports of errors, and of leaks of memory that the plugin allocated. The host keeps some memory
    /// for its whole life, which is no fault.
    fn records(&self, report: &str) -> Vec<String> {
        let plain = report.lines().map(|line| match line.strip_prefix("==") {
            Some(rest) => {
                rest.split_once("==").map_or("", |(_, text)| text.strip_prefix(' ').unwrap_or(text))
            }
            None => line,
        });
        let plain = plain.collect::<Vec<_>>().join("\n");
        let sources = sources();
        let library = self.library.file_name().and_then(|name| name.to_str()).expect("the path has a name");
        let is_finding = |record: &&str| {
            let is_leak = record.contains("leak of") || record.contains("in loss record");
            let is_error = record.contains("ERROR: AddressSanitizer") || record.contains("   at 0x");
            let is_own = || record.contains(library) || sources.iter().any(|source| names(record, source));
            if is_leak { is_own() } else { is_error }
        };
        plain
            .split("\n\n")
            .flat_map(|part| part.split("\n \n"))
            .filter(is_finding)
            .map(str::to_owned)
            .collect()
    }
}

#[test]
fn only_files_of_plugins_are_own() {
    let sources = sources();
    assert!(sources.len() > 10 && sources.iter().any(|name| name == "memory_bugs.c"), "{sources:?}");
    let is_own = |line: &str| sources.iter().any(|source| names(line, source));
    assert!(
        is_own("by 0x1: leak (memory_bugs.c:12)")
            && is_own("#1 0x1 in leak /a/tests/plugins/c/memory_bugs.c:12")
    );
    assert!(!is_own("by 0x1: allocate_stack (pthread_create.c:650)"));
    assert!(!is_own("#1 0x1 in start ./nptl/pthread_create.c:447"));
}
