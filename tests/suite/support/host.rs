//! The real program: starts it, reads its output line by line, stops it. Knows nothing about clients.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, Once};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

use super::{DEADLINE, Process, Raw, WebSocket, path, plugin};

/// A running server, listening on a free port of 127.0.0.1. Dropping it kills it.
pub struct Host {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    pub port: u16,
    _copies: TempDir,
}

impl Host {
    /// Starts the program with these arguments, which include the command, such as `serve`.
    pub fn start<A: AsRef<OsStr>>(args: &[A]) -> Self {
        Self::of(spawn(args, &["--listen", "127.0.0.1:0"]))
    }

    /// Starts the server through a program that executes it, such as `prlimit`.
    pub fn start_through(program: &[&str], args: &[&str]) -> Self {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(env!("CARGO_BIN_EXE_callsign"));
        Self::of(spawn_as(command, args, &["--listen", "127.0.0.1:0"]))
    }

    /// Starts the program without waiting until it serves, which [`Host::served`] does.
    pub fn begin<A: AsRef<OsStr>>(args: &[A]) -> Self {
        Self::spawned(spawn(args, &["--listen", "127.0.0.1:0"]))
    }

    /// Starts the program with no other arguments than these; a config file or the environment says where it listens.
    /// Does not wait.
    pub fn exactly<A: AsRef<OsStr>>(args: &[A]) -> Self {
        Self::spawned(spawn(args, &[]))
    }

    /// The same through a program that executes it, such as `env`.
    pub fn exactly_through(program: &[&str], args: &[&str]) -> Self {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(env!("CARGO_BIN_EXE_callsign"));
        Self::spawned(spawn_as(command, args, &[]))
    }

    fn of(child: (Child, TempDir)) -> Self {
        Self::spawned(child).served()
    }

    fn spawned((mut child, copies): (Child, TempDir)) -> Self {
        let (stdout, stderr) = (Lines::of(child.stdout.take()), Lines::of(child.stderr.take()));
        Self { stdout, stderr, child, port: 0, _copies: copies }
    }

    /// Waits until the server serves.
    pub fn served(mut self) -> Self {
        let host = &mut self;
        const BEFORE_PORT: &str = "listening on http://127.0.0.1:";
        let line = host
            .stdout
            .wait_for(BEFORE_PORT)
            .unwrap_or_else(|why| panic!("no server: {why}\n{}", host.log()));
        let port = line.strip_prefix(BEFORE_PORT).and_then(|rest| rest.strip_suffix('/'));
        host.port = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no port: {line}"));
        self
    }

    /// Starts the server with the workspace's plugin `name` and further options.
    pub fn serve(name: &str, options: &[&str]) -> Self {
        let library = plugin(name);
        Self::start(&[&["serve", path(&library)], options].concat())
    }

    /// Waits until a line of the log contains `text`; earlier lines count.
    pub fn log_line(&self, text: &str) -> String {
        self.stderr.wait_for(text).unwrap_or_else(|why| panic!("{why}, with `{text}`\n{}", self.log()))
    }

    /// Waits until `count` lines of the log contain `text`.
    pub fn log_has(&self, text: &str, count: usize) {
        self.stderr
            .wait_for_lines(text, count)
            .unwrap_or_else(|why| panic!("{why}, {count} times `{text}`\n{}", self.log()));
    }

    /// Waits until a line on stdout contains `text`; earlier lines count.
    pub fn stdout_line(&self, text: &str) -> String {
        self.stdout.wait_for(text).unwrap_or_else(|why| panic!("{why}, with `{text}`\n{}", self.log()))
    }

    /// All lines of the log so far that contain `text`. To test that something is not logged, first wait for
    /// a line that comes later.
    pub fn log_lines(&self, text: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// The log so far: stderr.
    pub fn log(&self) -> String {
        self.stderr.text()
    }

    /// The output on stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// A socket to the server.
    pub fn connect(&self) -> Raw {
        Raw::connect(self.port)
    }

    /// A socket that is upgraded at `/`, for handmade frames.
    pub fn upgraded(&self) -> Raw {
        self.connect().upgraded("/", &[])
    }

    /// A WebSocket to the server.
    pub fn open(&self, path: &str) -> WebSocket {
        self.connect().upgrade(path, &[])
    }

    /// Sends SIGTERM.
    pub fn ask_to_stop(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("the test may signal its child");
    }

    /// Sends SIGTERM and waits for the exit.
    pub fn terminate(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.ended()
    }

    /// Waits until the server has exited, for whatever reason. The log is complete then.
    pub fn ended(&mut self) -> ExitStatus {
        self.stderr.wait_for_end().unwrap_or_else(|why| panic!("{why}\n{}", self.log()));
        self.child.wait().expect("the test may wait for its child")
    }

    /// Id of the server's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The server's process, which is the parent of the workers.
    pub fn process(&self) -> Process {
        Process(self.pid())
    }

    /// The processes of the current workers.
    pub fn workers(&self) -> Vec<Process> {
        self.process().children()
    }

    /// Waits until `count` workers have started to serve since the start. Needs the log level debug.
    pub fn workers_serve(&self, count: usize) {
        self.stderr.wait_for_lines(" serves", count).unwrap_or_else(|why| panic!("{why}\n{}", self.log()));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The server may already have exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of the server\n{}---", self.log());
        }
    }
}

/// A server with this many workers and the plugin `test-crash`, which breaks its worker on request. Waits
/// until all workers serve (with 0 there are none).
pub fn serve_crash(workers: usize, options: &[&str]) -> Host {
    let count = workers.to_string();
    let host = Host::serve("test-crash", &[&["--workers", &count, "--log", "debug"], options].concat());
    host.workers_serve(workers);
    host
}

/// Has one client of `test-crash` broadcast 20 MB in all, which another one reads.
pub fn flood(source: &mut WebSocket, reader: &mut WebSocket) {
    for turn in 0..200 {
        source.text("flood 100 1000");
        for _ in 0..100 {
            assert_eq!(reader.next_text().len(), 1000, "turn {turn}");
        }
    }
    assert_eq!(source.ask("done"), "done");
}

/// The process of the worker that serves this client of `test-crash`.
pub fn worker_of(c: &mut WebSocket) -> Process {
    c.text("who");
    // Broadcasts of other clients may arrive before the answer.
    let who = std::iter::repeat_with(|| c.next_text()).find(|text| text != "noise");
    let pid = who.and_then(|who| who.split(' ').next()?.parse().ok());
    Process(pid.expect("the answer begins with the process id"))
}

/// Runs the program until it exits: exit code, stdout, stderr. For commands that must not start a server.
pub fn run<A: AsRef<OsStr>>(args: &[A]) -> (i32, String, String) {
    let (mut child, _copies) = spawn(args, &[]);
    let (stdout, stderr) = (Lines::of(child.stdout.take()), Lines::of(child.stderr.take()));
    if let Err(why) = stderr.wait_for_end() {
        // The program may have exited in between.
        let _ = child.kill();
        panic!("{why}\n{}{}", stdout.text(), stderr.text());
    }
    let status = child.wait().expect("the test may wait for its child");
    stdout.wait_for_end().expect("the pipe closes when the program exits");
    (status.code().unwrap_or_else(|| panic!("{status}")), stdout.text(), stderr.text())
}

/// The status of the server with this control socket.
#[track_caller]
pub fn status(control: &Path) -> Value {
    let (code, stdout, stderr) = run(&["status", "--json", "--control", path(control)]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    serde_json::from_str(&stdout).expect("the answer is JSON")
}

fn spawn<A: AsRef<OsStr>>(args: &[A], more: &[&str]) -> (Child, TempDir) {
    spawn_as(Command::new(env!("CARGO_BIN_EXE_callsign")), args, more)
}

fn spawn_as<A: AsRef<OsStr>>(mut command: Command, args: &[A], more: &[&str]) -> (Child, TempDir) {
    raise_open_files();
    isolate(&mut command);
    command.args(args).args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // The folder for copied plugins, which a killed server leaves behind.
    let copies = tempfile::tempdir().expect("a folder can be made");
    // Where the workers of `--user` can load them.
    fs::set_permissions(copies.path(), fs::Permissions::from_mode(0o711)).expect("it is ours");
    command.env("TMPDIR", copies.path());
    (command.spawn().expect("the program can be run"), copies)
}

/// Isolates the program from the environment of the tests, so that nothing configures it.
pub fn isolate(command: &mut Command) {
    let variables = env::vars_os().map(|(name, _)| name);
    for name in variables.filter(|name| name.to_string_lossy().starts_with("CALLSIGN_")) {
        command.env_remove(name);
    }
    // It adds lines to the log.
    command.env_remove("RUST_BACKTRACE").env_remove("RUST_LIB_BACKTRACE");
    // One worker by default, so that all clients of a test share it.
    command.env("CALLSIGN_WORKERS", "1");
    // Runs any test with confined workers.
    if let Ok(level) = env::var("CALLSIGN_TEST_SANDBOX") {
        command.env("CALLSIGN_SANDBOX", level);
    }
    // All servers would share the default control socket.
    command.env("CALLSIGN_CONTROL", "none");
    // The tests may run as a service.
    for name in
        ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]
    {
        command.env_remove(name);
    }
}

/// Raises this process's limit on open files, because it holds the clients of all tests that run at the same
/// time. Servers inherit the limit, and would raise it anyway.
fn raise_open_files() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
            .expect("the soft limit may be raised to the hard limit");
    });
}

/// The output of a pipe so far, line by line.
struct Lines {
    shared: Arc<(Mutex<Collected>, Condvar)>,
}

#[derive(Default)]
struct Collected {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let shared = Arc::new((Mutex::new(Collected::default()), Condvar::new()));
        let (writer, mut pipe) = (shared.clone(), BufReader::new(pipe.expect("the pipe was asked for")));
        thread::spawn(move || {
            loop {
                let mut line = Vec::new();
                let n = pipe.read_until(b'\n', &mut line).unwrap_or(0);
                let mut read = writer.0.lock().expect("the lock is not poisoned");
                match n {
                    0 => read.ended = true,
                    _ => read.lines.push(String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned()),
                }
                writer.1.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        Self { shared }
    }

    fn wait_for(&self, text: &str) -> Result<String, String> {
        self.wait(|read| match read.lines.iter().find(|line| line.contains(text)) {
            Some(line) => Some(Ok(line.clone())),
            None => read.ended.then(|| Err("it ended without the line".to_owned())),
        })?
    }

    fn wait_for_lines(&self, text: &str, count: usize) -> Result<(), String> {
        let there = |read: &Collected| read.lines.iter().filter(|line| line.contains(text)).count() >= count;
        self.wait(|read| there(read).then_some(()))
    }

    fn wait_for_end(&self) -> Result<(), String> {
        self.wait(|read| read.ended.then_some(()))
    }

    fn wait<T>(&self, look: impl Fn(&Collected) -> Option<T>) -> Result<T, String> {
        let end = Instant::now() + DEADLINE;
        let mut read = self.shared.0.lock().expect("the lock is not poisoned");
        loop {
            if let Some(found) = look(&read) {
                return Ok(found);
            }
            let remaining = end.checked_duration_since(Instant::now()).ok_or("nothing arrived in time")?;
            read = self.shared.1.wait_timeout(read, remaining).expect("the lock is not poisoned").0;
        }
    }

    fn text(&self) -> String {
        let read = self.shared.0.lock().expect("the lock is not poisoned");
        read.lines.iter().flat_map(|line| [line, "\n"]).collect()
    }
}
