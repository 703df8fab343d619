//! A proxy in a process of its own, which ends with the test.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::{env, thread};

use crate::support::{eventually, scratch, skip};

/// The program of a proxy, which may be where only root looks. None: the test is skipped.
pub fn find(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&folders).collect();
    folders.push("/usr/sbin".into());
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("needs {name}"));
    }
    found
}

/// A running proxy. Dropping it kills it.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it, and waits until it listens on this port.
    pub fn start(mut command: Command, port: u16) -> Self {
        let log = scratch(&format!("proxy-{port}.log"));
        let file = || {
            File::options().append(true).create(true).open(&log).expect("the scratch folder can be written")
        };
        let _ = fs::remove_file(&log);
        command.stdin(Stdio::null()).stdout(file()).stderr(file());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut program = Self { child, log };
        eventually("the proxy listens", || {
            let ended = program.child.try_wait().expect("the test may wait for its child");
            assert!(ended.is_none(), "the proxy has ended: {}", program.log());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        program
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // nginx ends its workers at SIGTERM, and not at SIGKILL.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of the proxy\n{}---", self.log());
        }
    }
}
