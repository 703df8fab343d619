//! What the kernel reports of a worker's process: its state, its size, and who traces it. Linux only; elsewhere nothing is known.

use rustix::process::Pid;

/// What `/proc/PID/status` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ProcStatus {
    /// Such as `T (stopped)`.
    pub state: Option<String>,
    /// The process that traces it, such as gdb or strace.
    pub tracer: Option<u32>,
    /// Memory in use, in KiB. Pages that workers share, such as those of a library, count for each of them.
    pub resident_kib: Option<u64>,
}

impl ProcStatus {
    pub fn read(pid: Pid) -> Self {
        let path = format!("/proc/{}/status", pid.as_raw_nonzero());
        std::fs::read_to_string(path).map(|text| Self::parse(&text)).unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Self {
            state: field("State:").map(str::to_owned),
            tracer: field("TracerPid:").and_then(|pid| pid.parse().ok()).filter(|pid| *pid != 0),
            resident_kib: field("VmRSS:").and_then(|size| size.strip_suffix("kB")?.trim().parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_the_state_the_tracer_and_the_size() {
        let text = "Name:\tcallsign\nState:\tT (stopped)\nPid:\t7\nTracerPid:\t4711\nVmRSS:\t    6204 kB\n";
        let (state, resident_kib) = (Some("T (stopped)".to_owned()), Some(6204));
        let traced = ProcStatus { state: state.clone(), tracer: Some(4711), resident_kib };
        assert_eq!(ProcStatus::parse(text), traced);
        let text = text.replace("4711", "0");
        assert_eq!(ProcStatus::parse(&text), ProcStatus { state, tracer: None, resident_kib });
        assert_eq!(ProcStatus::parse(""), ProcStatus::default());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn it_is_read_of_a_process() {
        let status = ProcStatus::read(rustix::process::getpid());
        assert!(status.state.is_some() && status.resident_kib > Some(0), "{status:?}");
    }
}
