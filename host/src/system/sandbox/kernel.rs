//! What this kernel can restrict.

/// What the kernel has of what the sandbox is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// Version of Landlock, up to 6; 0: none.
    pub landlock: u8,
    /// Whether it filters system calls with the actions that the sandbox needs.
    pub seccomp: bool,
}

impl Kernel {
    /// Asks the kernel.
    #[cfg(target_os = "linux")]
    pub fn ask() -> Self {
        let is_known = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
        let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
        let has = |action| actions.split_whitespace().any(|other| other == action);
        let seccomp = is_known && ["trap", "errno", "allow"].into_iter().all(has);
        Self { landlock: super::files::version(), seccomp }
    }

    /// Other systems have neither.
    #[cfg(not(target_os = "linux"))]
    pub fn ask() -> Self {
        Self { landlock: 0, seccomp: false }
    }

    /// What the sandbox does not restrict here, and what it would take.
    pub fn missing(self) -> Vec<&'static str> {
        let versions = [
            (
                1,
                "access to files, and with it to the memory of other processes of the user: that needs Landlock, in Linux since 5.13 and enabled at boot (lsm=landlock,…)",
            ),
            (3, "truncating files that may not be written: that needs Linux 6.2"),
            (4, "new connections of sockets that are open: that needs Linux 6.7"),
            (5, "control of devices that are opened (ioctl): that needs Linux 6.10"),
            (6, "signals to other processes of the user, and abstract Unix sockets: that needs Linux 6.12"),
        ];
        let files = versions.into_iter().filter(|(version, _)| self.landlock < *version);
        // Without any access to files, the details do not matter.
        let files = files.map(|(_, what)| what).take(if self.landlock == 0 { 1 } else { versions.len() });
        let calls = (!self.seccomp).then_some(
            "system calls, the network and processes: that needs filters of system calls (CONFIG_SECCOMP_FILTER, \
             Linux 4.14) on x86_64 or aarch64, and /proc",
        );
        files.chain(calls).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_an_older_kernel_does_not_restrict() {
        let missing = |landlock, seccomp| {
            let missing = Kernel { landlock, seccomp }.missing();
            missing.iter().map(|what| what.split([':', ',']).next().unwrap_or_default()).collect::<Vec<_>>()
        };
        assert_eq!(missing(6, true), [""; 0]);
        let signals = "signals to other processes of the user";
        assert_eq!(missing(5, true), [signals]);
        let (truncating, connections, devices) = (
            "truncating files that may not be written",
            "new connections of sockets that are open",
            "control of devices that are opened (ioctl)",
        );
        assert_eq!(missing(2, true), [truncating, connections, devices, signals]);
        assert_eq!(missing(3, true), [connections, devices, signals]);
        assert_eq!(missing(0, true), ["access to files"]);
        assert_eq!(missing(6, false), ["system calls"]);
        assert_eq!(missing(0, false), ["access to files", "system calls"]);
    }
}
