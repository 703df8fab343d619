//! The service manager that started the server, such as systemd: the sockets that it passes (sd_listen_fds(3)), what it
//! is told (sd_notify(3)), and its watchdog (sd_watchdog_enabled(3)). Without the variables of these protocols in the
//! environment, nothing in here has an effect.
//!
//! Invariant: [`adopt`] removes the variables before there are threads and children, so that no plugin has them.

mod sockets; // LISTEN_FDS

mod report; // READY=1 and the others

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::sanitize::{excerpt, sanitize_line};

pub use report::Service;
pub use sockets::Passed;

const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
const VARIABLES: [&str; 7] = [
    sockets::LISTEN_PID,
    sockets::LISTEN_FDS,
    sockets::LISTEN_FDNAMES,
    "LISTEN_PIDFDID",
    NOTIFY_SOCKET,
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// Time that a message may wait for room in the queue of the service manager.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);
/// Characters of a status. A longer one is cut.
const STATUS_MAX: usize = 500;

static MANAGER: OnceLock<Manager> = OnceLock::new();

struct Manager {
    /// Until they are taken. Err: what was passed cannot be used.
    sockets: Mutex<Result<Vec<Passed>, String>>,
    notify_socket: Option<OsString>,
    watchdog: Option<Duration>,
}

/// Reads the variables and removes them from the environment. The sockets are this process's from here on, and no child
/// inherits them. To be called first of all, before there is a second thread.
pub fn adopt() {
    let variable = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let manager = Manager {
        sockets: Mutex::new(sockets::passed(std::process::id(), variable)),
        notify_socket: env::var_os(NOTIFY_SOCKET).filter(|name| !name.is_empty()),
        watchdog: watchdog_of(std::process::id(), variable),
    };
    if MANAGER.set(manager).is_err() {
        return;
    }
    for name in VARIABLES.iter().filter(|name| env::var_os(name).is_some()) {
        // SAFETY: the process has one thread, so nobody reads the environment meanwhile.
        unsafe { env::remove_var(name) };
    }
}

/// The sockets that were passed; none at the second call. Err: what was passed cannot be used.
pub fn take_sockets() -> Result<Vec<Passed>, String> {
    let Some(manager) = MANAGER.get() else { return Ok(Vec::new()) };
    let mut sockets = manager.sockets.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut *sockets, Ok(Vec::new()))
}

/// Name and value of the variable with which a child that is the real server can tell the service manager.
pub fn notify_variable() -> Option<(&'static str, OsString)> {
    Some((NOTIFY_SOCKET, MANAGER.get()?.notify_socket.clone()?))
}

/// Sends a sign of life again and again, as long as the event loop runs. Does nothing if the service manager does not
/// watch this process.
pub async fn keep_alive() {
    let Some(limit) = MANAGER.get().and_then(|manager| manager.watchdog) else { return };
    loop {
        notify("WATCHDOG=1");
        // As sd_watchdog_enabled(3) recommends.
        tokio::time::sleep(limit / 2).await;
    }
}

/// Shows a text as the state of the service.
pub fn show_status(text: &str) {
    notify(&status(text));
}

/// The assignment for a status, which is one line.
fn status(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    format!("STATUS={}", excerpt(&sanitize_line(first), STATUS_MAX))
}

/// Sends assignments, one for each line.
fn notify(assignments: &str) {
    let Some(name) = MANAGER.get().and_then(|manager| manager.notify_socket.as_ref()) else { return };
    if let Err(error) = address(name.as_bytes()).and_then(|address| send(&address, assignments)) {
        let about = assignments.lines().next().unwrap_or_default();
        log::warn!("the service manager was not told {about}: {error} (NOTIFY_SOCKET={})", name.display());
    }
}

/// The address that NOTIFY_SOCKET stands for: a path, or an abstract name that begins with `@`.
fn address(name: &[u8]) -> io::Result<SocketAddr> {
    match name {
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)
        }
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
    }
}

fn send(to: &SocketAddr, assignments: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // The queue is short and the service manager fast; a stopped one must not stop the server.
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    socket.send_to_addr(assignments.as_bytes(), to).map(drop)
}

/// Time within which the service manager wants a sign of life from this process.
fn watchdog_of(pid: u32, variable: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let is_ours = variable("WATCHDOG_PID").is_none_or(|of| of.parse() == Ok(pid));
    let limit = variable("WATCHDOG_USEC")?.parse().ok().filter(|&usec| is_ours && usec > 0);
    limit.map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names_or_for_any() {
        let limit = |variables: &[(&str, &str)]| {
            let value = |name: &str| {
                variables.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned())
            };
            watchdog_of(7, value)
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(limit(&[("WATCHDOG_USEC", "1000000")]), second);
        assert_eq!(limit(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "7")]), second);
        assert_eq!(limit(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "8")]), None);
        assert_eq!(limit(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(limit(&[("WATCHDOG_USEC", "soon")]), None);
        assert_eq!(limit(&[("WATCHDOG_PID", "7")]), None);
    }

    #[test]
    fn a_status_is_one_line_that_cannot_set_anything_else() {
        assert_eq!(status("no plugin\nREADY=1"), "STATUS=no plugin");
        assert!(!status("a\x1b[31mb\rREADY=1").contains(['\x1b', '\r']));
        assert_eq!(status(&"é".repeat(1000)).chars().count(), "STATUS=…".chars().count() + STATUS_MAX);
    }

    #[test]
    fn the_socket_has_a_path_or_an_abstract_name() {
        assert_eq!(address(b"/run/a").expect("a path").as_pathname(), Some("/run/a".as_ref()));
        for bad in ["run/a", "vsock:2:1234", "@".repeat(200).as_str()] {
            assert!(address(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
