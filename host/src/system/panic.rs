//! Panics in the host's own code. A panic is a bug, and a task that is gone silently is worse: the process would look
//! healthy while its clients wait for ever. A worker aborts ([`abort_on_panic`]); the parent drains its workers and
//! ends ([`super::task`]).
//!
//! Panics of plugins do not come here: the plugin API catches them inside the plugin's library.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};

use log::Level;

use crate::system::log as logging;
use crate::system::scoreboard;

/// The message of the panic with which the compiler stops an unwinding that would leave a function of the C ABI.
const CANNOT_UNWIND: &str = "panic in a function that cannot unwind";

/// From here on, a panic on any thread of this process is logged and aborts the process. In a worker the crash handler
/// then writes the backtrace to the scoreboard, and the parent logs it and starts another worker.
pub fn abort_on_panic() {
    panic::set_hook(Box::new(|info| {
        let message = message(info.payload());
        if let Some(running) = scoreboard::current().running().filter(|_| message == CANNOT_UNWIND) {
            log::error!(
                "an exception has left {}: catch it there, or compile the C++ code with callsign.h, which does; aborting \
                 this process",
                running.label
            );
            std::process::abort();
        }
        log::error!("bug in callsign: {message}{}; aborting this process", place(info));
        std::process::abort();
    }));
}

/// From here on, a panic on any thread of this process is logged, and not printed: a print may block.
pub fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let message = message(info.payload());
        let backtrace = Backtrace::capture();
        let stack = match backtrace.status() {
            BacktraceStatus::Captured => format!("\n{backtrace}"),
            _ => String::new(),
        };
        logging::lines(Level::Error, &format!("panic: {message}{}{stack}", place(info)));
    }));
}

/// ` (file:line:column)`, or "".
fn place(info: &PanicHookInfo<'_>) -> String {
    info.location().map(|location| format!(" ({location})")).unwrap_or_default()
}

/// The message of a panic.
pub fn message(payload: &(dyn Any + Send)) -> &str {
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    message.unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use log::LevelFilter;
    use rustix::process::{Resource, Rlimit, setrlimit};

    use super::*;

    /// Set for the process that has to abort, so that `cargo test -- --ignored` does not.
    const MAY_ABORT: &str = "CALLSIGN_TEST_MAY_ABORT";

    #[test]
    #[ignore = "aborts its process; the test below starts one for it"]
    fn a_task_that_panics_after_abort_on_panic() {
        if env::var_os(MAY_ABORT).is_none() {
            return;
        }
        let no_core_file = Rlimit { current: Some(0), maximum: Some(0) };
        setrlimit(Resource::Core, no_core_file).expect("a limit can be lowered");
        logging::start(LevelFilter::Error, None);
        abort_on_panic();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let task = tokio::spawn(async { panic!("the test's own {}", "panic") });
            let _ = task.await;
        });
    }

    #[test]
    fn a_panic_in_a_task_aborts_the_process_and_is_logged_with_its_location() {
        let this_program = env::current_exe().expect("the test binary");
        let output = Command::new(this_program)
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("system::panic::tests::a_task_that_panics_after_abort_on_panic")
            .env(MAY_ABORT, "1")
            .output()
            .expect("the test binary can be started again");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{stderr}");
        assert!(stderr.contains("ERROR bug in callsign: the test's own panic ("), "{stderr}");
        assert!(stderr.contains("src/system/panic.rs:"), "{stderr}");
    }
}
