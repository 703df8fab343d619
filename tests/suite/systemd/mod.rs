//! A server that systemd starts: with sockets (sd_listen_fds(3)), with a socket for its state (sd_notify(3)), and with a
//! watchdog.

mod sockets; // LISTEN_FDS

mod notify; // NOTIFY_SOCKET, WATCHDOG_USEC

mod units; // examples/systemd

use std::path::PathBuf;

use crate::support::{Raw, root};

/// The arguments that start a program with sockets, as `NAME=KIND:ADDRESS`.
pub fn with_sockets(sockets: &[&str]) -> Vec<String> {
    let launcher = root().join("tests/suite/systemd/launcher.py");
    let first = ["python3".to_owned(), launcher.display().to_string()];
    first
        .into_iter()
        .chain(sockets.iter().map(|&socket| socket.to_owned()))
        .chain(["--".to_owned()])
        .collect()
}

fn variables() -> PathBuf {
    crate::support::c_plugin("variables.c")
}

/// Starts a program as process 1, as in a container.
const AS_PROCESS_1: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// The answer of the plugin [`variables`], which serves with `--route /=page`.
fn page(mut client: Raw) -> String {
    client.request("GET", "/", &[], b"").text().to_owned()
}
