//! Processes of a server and their resources, from `/proc`; on systems other than Linux the tests that need
//! them fail. Also locks that keep tests of this process from disturbing each other.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::DEADLINE;

/// A process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process(pub u32);

impl Process {
    /// Child processes that were not reaped yet.
    pub fn children(self) -> Vec<Self> {
        let text = self.file(&format!("task/{}/children", self.0));
        text.split_whitespace().map(|pid| Self(pid.parse().expect("a process has a number"))).collect()
    }

    /// Sends a signal. The process may already have exited.
    pub fn signal(self, signal: Signal) {
        let _ = kill_process(Pid::from_raw(self.0.cast_signed()).expect("a process has a number"), signal);
    }

    /// Waits until the process has exited; a zombie counts.
    pub fn wait_for_end(self) {
        let end = Instant::now() + DEADLINE;
        while self.is_alive() {
            assert!(Instant::now() < end, "process {} does not end", self.0);
            std::thread::sleep(Duration::from_millis(1)); // only the parent could wait for its exit
        }
    }

    /// Whether the process has not exited.
    pub fn is_alive(self) -> bool {
        match fs::read_to_string(format!("/proc/{}/stat", self.0)) {
            Ok(stat) => !behind_name(&stat).starts_with(['Z', 'X']),
            Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(3) => false,
            Err(error) => panic!("process {}: {error}", self.0),
        }
    }

    /// A field of `/proc/PID/status`.
    pub fn status(self, field: &str) -> String {
        let status = self.file("status");
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {field}: {status}")).trim().to_owned()
    }

    /// Its name and arguments. Empty: it has ended.
    pub fn command_line(self) -> String {
        let line = fs::read(format!("/proc/{}/cmdline", self.0)).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    }

    /// Resident memory in KiB.
    pub fn resident_kib(self) -> u64 {
        self.status("VmRSS").trim_end_matches(" kB").parse().expect("the value is a number")
    }

    /// Anonymous memory in KiB.
    pub fn anonymous_kib(self) -> u64 {
        kib(&self.file("smaps_rollup"), "Anonymous")
    }

    /// A file below this folder that is mapped with code.
    pub fn mapped(self, folder: &Path) -> Option<PathBuf> {
        let maps = self.file("maps");
        let mut files = maps.lines().filter(|line| line.contains(" r-xp ")).filter_map(|line| {
            let at = line.find(&format!("{}/", folder.display()))?;
            Some(PathBuf::from(&line[at..]))
        });
        files.next_back()
    }

    /// Memory mapped from files below this folder, including deleted files, in KiB. Each process counts its
    /// share of a shared page.
    pub fn mapped_kib(self, folder: &Path) -> u64 {
        let smaps = self.file("smaps");
        // The first line of each mapping ends in its path; fields follow.
        let is_head = |line: &str| line.split_once(' ').is_some_and(|(first, _)| first.contains('-'));
        let (mut is_ours, mut sum) = (false, 0);
        for line in smaps.lines() {
            if is_head(line) {
                is_ours = line.contains(&format!(" {}/", folder.display()));
            } else if is_ours && line.starts_with("Pss:") {
                sum += kib(line, "Pss");
            } else if is_ours && line.starts_with("Anonymous:") {
                sum -= kib(line, "Anonymous"); // part of the Pss before it
            }
        }
        sum
    }

    /// The open files.
    pub fn files(self) -> Vec<PathBuf> {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.0)).expect("the process is alive");
        // A file may be closed between listing and reading.
        descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).collect()
    }

    /// Number of open descriptors.
    pub fn descriptors(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0)).expect("the process is alive").count()
    }

    /// Whether all threads except the first are waiting.
    pub fn other_threads_wait(self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0)).expect("the process is alive").flatten();
        let others = threads.filter(|thread| thread.file_name().to_string_lossy() != self.0.to_string());
        // A thread that has exited since the listing counts as waiting.
        let mut stats = others.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
        stats.all(|stat| behind_name(&stat).starts_with('S'))
    }

    /// Processor time used so far.
    pub fn processor_time(self) -> Duration {
        let stat = self.file("stat");
        let fields: Vec<&str> = behind_name(&stat).split(' ').collect();
        let ticks = |index: usize| fields[index].parse::<u64>().expect("the value is a number");
        // utime and stime, in units of 1/100 s.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    fn file(self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.0))
            .unwrap_or_else(|error| panic!("process {}: {error}", self.0))
    }
}

/// The fields of a stat file from the state on. The name before them may contain any character.
fn behind_name(stat: &str) -> &str {
    stat.rsplit(") ").next().unwrap_or_default()
}

/// A field of a file such as smaps.
fn kib(text: &str, field: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let value = value.unwrap_or_else(|| panic!("no {field}: {text}"));
    value.trim().trim_end_matches(" kB").parse().expect("the value is a number")
}

/// Polls for a condition that no event announces.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that is free on every address, outside the range that the system assigns, so that no server or
/// client of another test gets it.
pub fn free_port() -> u16 {
    // Systems assign ports from 32768 (Linux) or 49152 on.
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two simultaneous runs of the suite start at different ports.
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    let ports = std::iter::repeat_with(|| FIRST + (start + NEXT.fetch_add(1, Relaxed)) % COUNT);
    let is_free = |port: &u16| TcpListener::bind(("0.0.0.0", *port)).is_ok();
    ports.take(COUNT.into()).find(is_free).expect("a port is free")
}

static MACHINE: RwLock<()> = RwLock::new(());

/// Excludes other tests that call this and tests that are [`busy`]. For measurements of time.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    // A test that panicked while it held the lock has already failed.
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Allows other tests, except those that run [`alone`]. For tests that keep the processors busy.
pub fn busy() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The same, for a test that is skipped otherwise.
pub fn needs_root() -> bool {
    is_root() || skip("needs root")
}

/// Notes that this test, or a part of it, cannot be run here, and why. `tests/run` lists what was skipped. Returns false.
pub fn skip(why: &str) -> bool {
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    eprint!("skipped: {line}");
    if let Some(list) = std::env::var_os("CALLSIGN_SKIPPED") {
        let list = fs::File::options().append(true).create(true).open(list);
        list.and_then(|mut list| list.write_all(line.as_bytes()))
            .expect("the list of skipped tests can be written");
    }
    false
}

/// Whether the test may run a program in mount and process namespaces of its own: root may, outside of some containers.
pub fn may_unshare() -> bool {
    may_run(&["unshare", "--mount", "--pid", "--fork", "--mount-proc"])
}

/// Whether the test may run a program through this one, such as `unshare`. Notes it if not.
pub fn may_run(program: &[&str]) -> bool {
    let output = Command::new(program[0]).args(&program[1..]).arg("true").output();
    output.is_ok_and(|output| output.status.success()) || skip(&format!("{} is not permitted", program[0]))
}
