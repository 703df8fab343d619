//! The examples under valgrind, which also finds uses of uninitialized memory; in one process.

use super::{build, compile, root, use_chat, use_clock, use_visitors};
use crate::support::{Checked, Checker, alone, path, scratch};

/// An example, served under valgrind, with its library.
fn start(name: &str) -> Checked {
    let config = build(name, "valgrind", "gcc", &["-O1"]);
    let library = config.with_file_name(format!("{name}.so"));
    Checker::Valgrind.start(name, &library, &["--config", path(&config)])
}

#[track_caller]
fn is_clean(checked: Checked) {
    assert_eq!(checked.host.log_lines("ERROR"), [""; 0]);
    let findings = checked.findings();
    assert!(findings.is_empty(), "{findings}");
}

#[test]
fn chat_is_clean() {
    let _alone = alone();
    let checked = start("chat");
    use_chat(&checked.host, 4);
    is_clean(checked);
}

#[test]
fn visitors_is_clean() {
    let _alone = alone();
    let checked = start("visitors");
    use_visitors(&checked.host, 4);
    is_clean(checked);
}

#[test]
fn clock_is_clean() {
    let _alone = alone();
    let checked = start("clock");
    let mut c = checked.host.open("/");
    use_clock(&mut c);
    is_clean(checked);
}

#[test]
fn a_leak_and_a_use_after_free_would_be_reported() {
    let (source, library) = (root().join("tests/plugins/c/kore_faulty.c"), scratch("libfaulty-valgrind.so"));
    compile("gcc", &["-Wno-use-after-free"], &source, &library);
    let _alone = alone();
    let checked = Checker::Valgrind.start("faulty", &library, &[path(&library), "--route", "/*=leak"]);
    for target in ["/", "/?use"] {
        assert_eq!(checked.host.connect().request("GET", target, &[], b"").status, 200);
    }
    let findings = checked.findings();
    for words in ["Invalid write of size 1", "154 bytes in 2 blocks are definitely lost", "kore_faulty.c:"] {
        assert!(findings.contains(words), "no `{words}` in {findings}");
    }
}
