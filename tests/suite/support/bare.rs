//! A server whose output goes where a test wants it: to a pipe that nobody reads, a full file, a terminal.

use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{Process, Raw, WebSocket, eventually, free_port, isolate};

/// A server that listens on a free port. Dropping it kills it.
pub struct Bare {
    pub child: Child,
    port: u16,
    _copies: TempDir,
}

impl Bare {
    /// Serves with these arguments, which follow `serve`.
    pub fn start(stdout: Stdio, stderr: Stdio, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callsign"));
        command.stdin(Stdio::null());
        Self::start_with(command, stdout, stderr, arguments)
    }

    /// The same with a command that executes the program, and that has its standard input.
    pub fn start_with(mut command: Command, stdout: Stdio, stderr: Stdio, arguments: &[&str]) -> Self {
        let (port, copies) = (free_port(), tempfile::tempdir().expect("a folder can be made"));
        isolate(&mut command);
        command.arg("serve").args(arguments).args(["--listen", &format!("127.0.0.1:{port}")]);
        let child = command.env("TMPDIR", copies.path()).stdout(stdout).stderr(stderr).spawn();
        let server = Self { child: child.expect("the program can be run"), port, _copies: copies };
        eventually("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        server
    }

    pub fn connect(&self) -> Raw {
        Raw::connect(self.port)
    }

    pub fn open(&self) -> WebSocket {
        self.connect().upgrade("/", &[])
    }

    /// Sends SIGTERM.
    pub fn ask_to_stop(&self) {
        Process(self.child.id()).signal(Signal::TERM);
    }

    /// Stops it; it has to end in order.
    pub fn stop(&mut self) {
        self.ask_to_stop();
        let status = exit_of(&mut self.child);
        assert!(status.success(), "{status:?}");
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // The server may already have exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a program has exited.
pub fn exit_of(child: &mut Child) -> ExitStatus {
    let mut status = None;
    eventually("it ends", || {
        status = child.try_wait().expect("it is ours to wait for");
        status.is_some()
    });
    status.expect("it has ended")
}
