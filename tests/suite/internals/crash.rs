//! A process that dies of a signal leaves its crash report on the scoreboard. Each test runs this program
//! again as a worker that crashes in a given way.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#![expect(unsafe_code, reason = "the worker crashes on purpose")]

use std::env;
use std::fs;
use std::hint::black_box;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use callsign::testing::crash;
use callsign::testing::scoreboard::{self, Crash, Scoreboard};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::support::{c_plugin, scratch};

/// Makes this program a worker; names the function that crashes, of the library or of this file.
const HOW: &str = "CALLSIGN_TEST_CRASH";
const LIBRARY: &str = "CALLSIGN_TEST_LIBRARY";

const SIGILL: i32 = 4;
const SIGABRT: i32 = 6;
const SIGFPE: i32 = 8;
const SIGSEGV: i32 = 11;

#[test]
fn a_write_to_nowhere_names_the_function_and_its_line() {
    let (crash, lines) = crashed("write_nowhere", SIGSEGV);
    assert_eq!(crash.address, Some(16));
    assert_eq!(crash::cause(&crash), "SIGSEGV: no access to address 0x10");
    assert!(lines[0].starts_with("  1  write_nowhere at "), "{lines:#?}");
    assert!(lines[0].contains("crashes.c:"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("the_worker")), "the callers: {lines:#?}");
}

#[test]
fn an_abort_names_the_function_that_called_it() {
    let (crash, lines) = crashed("give_up", SIGABRT);
    assert_eq!(crash.address, None);
    let at = lines.iter().position(|line| line.contains("give_up at ")).expect("the backtrace has it");
    assert!(lines[..at].iter().any(|line| line.contains("abort")), "{lines:#?}");
}

#[test]
#[cfg(target_arch = "x86_64")] // elsewhere its result is 0
fn a_division_by_zero_is_reported_as_such() {
    let (crash, lines) = crashed("divide", SIGFPE);
    assert_eq!(crash::cause(&crash), "SIGFPE: a division by zero or overflow");
    assert!(lines[0].contains("divide at ") && lines[1].contains("the_worker at "), "{lines:#?}");
}

#[test]
fn a_stack_overflow_is_distinguished_from_a_wrong_pointer() {
    for how in ["use_up_the_stack", "rust_recursion"] {
        let (crash, lines) = crashed(how, SIGSEGV);
        assert!(crash.overflow, "{crash:#x?}");
        assert_eq!(crash.frames.len(), scoreboard::FRAMES);
        assert!(lines.iter().any(|line| line.contains(how)), "{lines:#?}");
    }
}

#[test]
fn a_call_to_null_names_the_caller() {
    let (crash, lines) = crashed("call_null", SIGSEGV);
    assert_eq!(crash.pc, 0);
    assert_eq!(crash::cause(&crash), "SIGSEGV: a jump to 0x0, where no code is");
    assert!(lines[1].contains("call_null at "), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("the_worker")), "{lines:#?}");
}

#[test]
fn rust_code_has_readable_names() {
    for (how, signal) in [("rust_write_nowhere", SIGSEGV), ("rust_abort", SIGABRT), ("rust_trap", SIGILL)] {
        let (crash, lines) = crashed(how, signal);
        assert!(!crash.overflow);
        let line = lines.iter().find(|line| line.contains(how)).expect("the backtrace has it");
        assert!(
            line.contains(&format!("crash::{how} at ")) && line.contains("tests/suite/internals/crash.rs:"),
            "{lines:#?}"
        );
    }
}

#[test]
fn a_plugins_own_thread_is_distinguished_from_the_workers() {
    let (crash, lines) = run("start_a_thread", SIGSEGV);
    assert!(!crash.worker_thread);
    assert!(lines[1].contains("on_a_thread at "), "{lines:#?}");
}

#[test]
fn a_crash_in_a_forked_child_is_not_the_workers() {
    let (scoreboard, status) = start("fork_and_exit");
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(scoreboard.slot(0).crash(), None);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_crash_in_the_crash_handler_still_ends_the_process_by_the_signal() {
    for (how, signal) in [("lose_the_stack", SIGSEGV), ("abort_without_a_stack", SIGABRT)] {
        let (_, lines) = crashed(how, signal);
        assert!(lines[0].contains(&format!("{how} at ")), "{lines:#?}");
    }
}

#[test]
fn without_debug_information_there_are_names_and_without_the_file_there_are_numbers() {
    let stripped = scratch("libstripped.so");
    let plain = c_plugin("crashes.c");
    assert!(
        Command::new("strip").arg("-o").args([&stripped, &plain]).status().expect("strip runs").success()
    );
    let (scoreboard, status) = start_with("write_nowhere", &stripped);
    assert_eq!(status.signal(), Some(SIGSEGV));
    let crash = scoreboard.slot(0).crash().expect("the crash was recorded");
    let first = |crash| crash::describe(crash).swap_remove(0);
    assert!(first(&crash).starts_with("  1  write_nowhere (libstripped.so+0x"), "{}", first(&crash));
    fs::remove_file(&stripped).expect("the path exists");
    assert!(first(&crash).starts_with("  1  libstripped.so+0x"), "{}", first(&crash));
}

/// Runs a worker that crashes on its own thread.
fn crashed(how: &str, signal: i32) -> (Crash, Vec<String>) {
    let (crash, lines) = run(how, signal);
    assert!(crash.worker_thread);
    (crash, lines)
}

fn run(how: &str, signal: i32) -> (Crash, Vec<String>) {
    let (scoreboard, status) = start(how);
    assert_eq!(status.signal(), Some(signal), "{how}: {status}");
    let running = scoreboard.slot(0).running().expect("the worker died in a callback");
    assert_eq!(running.label.name, how);
    let crash = scoreboard.slot(0).crash().expect("the crash was recorded");
    assert_eq!(crash.signal, signal);
    let lines = crash::describe(&crash);
    eprintln!("{how}: {}\n{}", crash::cause(&crash), lines.join("\n"));
    (crash, lines)
}

fn start(how: &str) -> (Scoreboard, ExitStatus) {
    start_with(how, &c_plugin("crashes.c"))
}

fn start_with(how: &str, library: &std::path::Path) -> (Scoreboard, ExitStatus) {
    let (scoreboard, fd) = Scoreboard::create(1).expect("the scoreboard can be mapped");
    let worker = concat!(module_path!(), "::the_worker");
    let (_, worker) = worker.split_once("::").expect("the crate's name comes first");
    let output = Command::new(env::current_exe().expect("a test program has a path"))
        .args([worker, "--exact", "--nocapture"])
        .env(HOW, how)
        .env(LIBRARY, library)
        .stdin(fd)
        .output()
        .expect("the program starts");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    (scoreboard, output.status)
}

/// The worker. Without the variable it does nothing.
#[test]
fn the_worker() {
    let Ok(how) = env::var(HOW) else { return };
    let scoreboard = Scoreboard::open(io::stdin().as_fd()).expect("the scoreboard can be mapped");
    let slot = Box::leak(Box::new(scoreboard)).slot(0);
    scoreboard::adopt(slot);
    crash::install(slot).expect("the crash handler can be installed");
    let library = env::var_os(LIBRARY).expect("a path");
    // SAFETY: the library is built from `crashes.c`, which has no constructors.
    let library = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_LOCAL) }.expect("the library loads");
    slot.set_modules(&crash::modules());
    let label = scoreboard::CodeLabel { plugin: "crashes".into(), name: how.clone(), ..Default::default() };
    slot.enter(scoreboard::define(&label));
    match how.as_str() {
        "rust_write_nowhere" => rust_write_nowhere(black_box(16)),
        "rust_abort" => rust_abort(),
        "rust_trap" => rust_trap(),
        "rust_recursion" => _ = rust_recursion(black_box(0)),
        // SAFETY: the functions of `crashes.c` take at most one number, and the result is ignored.
        name => unsafe {
            let function =
                library.get::<unsafe extern "C" fn(i32)>(name.as_bytes()).expect("the path exists");
            function(0);
        },
    }
    panic!("`{how}` has returned");
}

#[inline(never)]
fn rust_write_nowhere(address: usize) {
    // SAFETY: none; the invalid write is the crash.
    unsafe { (address as *mut u32).write_volatile(1) };
}

#[inline(never)]
fn rust_abort() {
    std::process::abort();
}

#[inline(never)]
fn rust_trap() {
    // SAFETY: an invalid instruction, which is the crash.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!("ud2");
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!("udf #0");
    }
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn rust_recursion(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    rust_recursion(depth + 1) + frame[depth as usize % 32]
}
