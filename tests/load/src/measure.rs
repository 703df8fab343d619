//! Measurements from the kernel: CPU time and memory of a process tree (from /proc), the choice of
//! processors, the limit on open files; and simple statistics. Knows nothing about servers.

use std::fs;
use std::io;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A process and its descendants at one moment.
pub struct Tree {
    pids: Vec<u32>,
}

impl Tree {
    /// Finds the descendants of `root`.
    pub fn of(root: u32) -> Result<Self> {
        let mut families = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // A process that has exited since the listing is skipped.
            if let Ok(stat) = Stat::of(pid) {
                families.push((pid, stat.parent));
            }
        }
        let mut pids = vec![root];
        let mut next = 0;
        while let Some(&parent) = pids.get(next) {
            pids.extend(families.iter().filter(|family| family.1 == parent).map(|family| family.0));
            next += 1;
        }
        Ok(Self { pids })
    }

    /// User and system time of all threads so far.
    ///
    /// # Errors
    /// One of the processes has exited.
    pub fn cpu(&self) -> Result<Duration> {
        self.sum(|pid| cpu_of_threads(pid).or_else(|_| Ok(Stat::of(pid)?.cpu)))
    }

    /// Memory in KiB; each process counts its share of shared pages (PSS).
    ///
    /// # Errors
    /// One of the processes has exited, or belongs to another user.
    pub fn memory_kib(&self) -> Result<f64> {
        self.sum(|pid| {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let kib = rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next());
            kib.and_then(|kib| kib.parse().ok()).ok_or_else(|| unreadable("no Pss in smaps_rollup"))
        })
    }

    /// The number of processes with at least `count` open files.
    pub fn with_open_files(&self, count: usize) -> usize {
        let open = |pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        self.pids.iter().filter(|pid| open(**pid) >= count).count()
    }

    fn sum<T: std::iter::Sum>(&self, figure: impl Fn(u32) -> io::Result<T>) -> Result<T> {
        let one = |&pid| figure(pid).with_context(|| format!("process {pid} of the server"));
        self.pids.iter().map(one).sum()
    }
}

/// In nanoseconds; requires a kernel with schedstat.
fn cpu_of_threads(pid: u32) -> io::Result<Duration> {
    let mut total = None;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // The time of a thread that has exited since the listing is lost.
        let Ok(schedstat) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let nanoseconds = schedstat.split(' ').next().and_then(|field| field.parse().ok());
        let time = Duration::from_nanos(nanoseconds.ok_or_else(|| unreadable("schedstat"))?);
        total = Some(total.unwrap_or_default() + time);
    }
    total.ok_or_else(|| unreadable("no schedstat"))
}

/// Fields of /proc/PID/stat, proc_pid_stat(5).
struct Stat {
    parent: u32,
    /// In units of clock ticks.
    cpu: Duration,
}

impl Stat {
    fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Field 2, the name of the program, may contain spaces and parentheses.
        let (_, rest) = stat.rsplit_once(") ").ok_or_else(|| unreadable("stat"))?;
        let fields: Vec<&str> = rest.split(' ').collect(); // starts with field 3, the state
        let field = |number: usize| -> io::Result<u64> {
            fields.get(number - 3).and_then(|f| f.parse().ok()).ok_or_else(|| unreadable("stat"))
        };
        let ticks = field(14)? + field(15)?;
        let seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        Ok(Self { parent: field(4)? as u32, cpu: Duration::from_secs_f64(seconds) })
    }
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The processors of server and load, which differ if the machine has several.
#[derive(Clone, Copy)]
pub struct Processors {
    pub server: usize,
    pub load: usize,
    all: CpuSet,
}

impl Processors {
    /// Chooses the first and the last processor that this process may use.
    pub fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
        let server = usable.next().context("no processor to run on")?;
        Ok(Self { server, load: usable.next_back().unwrap_or(server), all: allowed })
    }

    /// Allows this thread, and processes that it starts later, to use all processors.
    ///
    /// # Errors
    /// Some of the processors are no longer available.
    pub fn use_all(self) -> Result<()> {
        sched_setaffinity(None, &self.all).context("cannot use all processors")
    }
}

/// Pins this thread, and processes that it starts later, to one processor.
pub fn pin(processor: usize) -> Result<()> {
    let mut one = CpuSet::new();
    one.set(processor);
    sched_setaffinity(None, &one).with_context(|| format!("cannot stay on processor {processor}"))
}

/// Raises the limit on open files, also for child processes, to the hard limit; returns it.
pub fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(_) => current,
    }
    .unwrap_or(u64::MAX)
}

/// The load average of the last minute, as the kernel formats it.
pub fn load_average() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().filter(|first| !first.is_empty()).unwrap_or("unknown").into()
}

/// The percentile `part` of a sorted list; 0 for an empty list.
pub fn percentile(sorted: &[u32], part: f64) -> f64 {
    let position = (sorted.len() as f64 * part) as usize;
    sorted.get(position.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0).into()
}

/// The median, which is the mean of the middle two for an even count; none for an empty list.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process};

    #[test]
    fn median_is_the_middle_or_the_mean_of_two() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn percentiles_are_values_of_the_list() {
        let sorted: Vec<u32> = (0..1000).collect();
        assert_eq!(percentile(&sorted, 0.5), 500.0);
        assert_eq!(percentile(&sorted, 0.999), 999.0);
        assert_eq!(percentile(&[7], 0.999), 7.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }

    #[test]
    fn cpu_time_of_descendants_counts_and_both_ways_of_counting_agree() {
        let script = "while :; do :; done & echo $!; wait";
        let mut shell = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let spinning: u32 = line.trim().parse().unwrap();

        let tree = Tree::of(shell.id()).unwrap();
        while tree.cpu().unwrap() < Duration::from_millis(200) {}
        let (threads, ticks) = (cpu_of_threads(spinning), Stat::of(spinning));
        let memory = tree.memory_kib();
        let with_files = [1, 1000].map(|count| tree.with_open_files(count));
        kill_process(Pid::from_raw(spinning as i32).unwrap(), Signal::KILL).unwrap();
        shell.wait().unwrap();

        assert_eq!(tree.pids, [shell.id(), spinning]);
        assert!(memory.unwrap() > 0.0);
        assert_eq!(with_files, [2, 0]);
        let (threads, ticks) = (threads.unwrap(), ticks.unwrap().cpu);
        assert!(threads.abs_diff(ticks) < threads / 2, "{threads:?} and {ticks:?}");
    }
}
