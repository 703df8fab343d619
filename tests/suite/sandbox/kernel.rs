//! Kernels that have no Landlock: a program between the test and the server makes its system calls fail.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{config, folder, write};
use crate::support::{Host, path, root, scratch};

/// A program that executes another one without Landlock.
fn without_landlock() -> PathBuf {
    let program = scratch("older_kernel");
    let source = root().join("tests/plugins/c/older_kernel.c");
    let options = ["-Wall", "-Wextra", "-Werror", "-DWITHOUT=444", "-DCOUNT=3", "-o"];
    let compiled = Command::new("cc").args(options).arg(&program).arg(source).status();
    assert!(compiled.expect("there is a compiler").success());
    program
}

#[test]
fn without_landlock_strict_does_not_start_and_best_effort_says_what_is_missing() {
    let program = without_landlock();
    let outside = folder("older");
    let secret = outside.join("secret");
    write(&secret, "secret");
    let file = config("older", "", "");
    let arguments = ["serve", "--config", path(&file), "--listen", "127.0.0.1:0"];
    let mut host = Host::exactly_through(&[path(&program)], &arguments);
    assert_eq!(host.ended().code(), Some(1));
    let log = host.log();
    let line = fs::read_to_string(&file).expect("it is ours").lines().position(|it| it.starts_with("level"));
    let position =
        format!("{}:{}:9: the sandbox cannot be strict: ", path(&file), line.expect("it is there") + 1);
    assert!(log.contains(&position), "{log}");
    assert!(
        log.contains("does not restrict access to files, and with it to the memory of other processes of the user: that needs Landlock, in Linux \
             since 5.13"),
        "{log}"
    );
    assert!(log.contains("level = \"best-effort\" starts without"), "{log}");

    let text = fs::read_to_string(&file).expect("it is ours").replace("'strict'", "'best-effort'");
    write(&file, &text);
    let host = Host::exactly_through(&[path(&program)], &arguments).served();
    host.log_line(
        "the sandbox does not restrict access to files, and with it to the memory of other processes",
    );
    let mut c = host.open("/");
    assert_eq!(c.ask(&format!("read {}", path(&secret))), "ok", "nothing restricts it");
    // The rest is restricted.
    c.text("call ptrace");
    host.log_line("the sandbox forbids system call `ptrace`");
}
