//! Crash reports. In a worker, a signal handler writes the signal, the address and the call stack to the worker's slot
//! on the scoreboard, and lets the process die of that signal. In the parent, the addresses become names and lines.
//! Nothing here starts, waits for or replaces a worker.

use crate::system::sandbox;
use crate::system::scoreboard::Crash;

#[expect(unsafe_code, reason = "a signal handler")]
mod signal; // in the worker: the signal handler

mod symbols; // in the parent: addresses to names

#[cfg(target_os = "linux")]
pub use signal::report_system_calls;
pub use signal::{install, modules};
pub use symbols::describe;

/// The cause in one line: `SIGSEGV: no access to address 0x10`.
pub fn cause(crash: &Crash) -> String {
    let name = signal_name(crash.signal);
    let cause = match (crash.signal, crash.address) {
        _ if crash.overflow => format!("{name}: out of stack"),
        (libc::SIGSEGV | libc::SIGBUS, Some(address)) if address == crash.pc => {
            format!("{name}: a jump to {address:#x}, where no code is")
        }
        (libc::SIGSEGV | libc::SIGBUS, Some(address)) => format!("{name}: no access to address {address:#x}"),
        (libc::SIGFPE, Some(_)) => format!("{name}: a division by zero or overflow"),
        (libc::SIGSYS, Some(call)) => format!("{name} ({})", sandbox::describe(call, crash.argument)),
        (libc::SIGILL, Some(_)) => format!("{name}: an invalid instruction or a trap"),
        _ => name,
    };
    if crash.worker_thread { cause } else { cause + ", on a thread of a plugin's own" }
}

/// The cause of an end by a signal that the process has not recorded. A confined one records each forbidden system call,
/// unless SIGSYS is blocked meanwhile.
pub fn unrecorded_cause(signal: i32, is_confined: bool) -> String {
    let name = signal_name(signal);
    if signal != libc::SIGSYS || !is_confined {
        return name;
    }
    name + " (the sandbox forbids a system call that was made while SIGSYS was blocked or ignored, or a 32-bit one; it may have \
            been the start of a process, which the C library makes with blocked signals, and which `execute = [\"PROGRAM\"]`, or \
            `system_calls = [\"fork\"]` for one that executes nothing, in [sandbox] would allow)"
}

/// `SIGSEGV` for 11.
pub fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGVTALRM => "SIGVTALRM",
        libc::SIGPROF => "SIGPROF",
        libc::SIGSYS => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
