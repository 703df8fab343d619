//! System calls by name, and what the sandbox does with each. The list decides: a call that is in none of the groups
//! does not exist for a confined worker, as on an older kernel.

/// Name with the prefix `SYS_`, and number.
type Call = (&'static str, i64);

macro_rules! calls {
    ($($name:ident)*) => { &[$((stringify!($name), libc::$name)),*] };
}

/// A group of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// They are allowed, some only with certain arguments.
    Allowed,
    /// They trap.
    Forbidden,
    /// They execute programs or start processes: allowed if some program may be executed.
    Process,
    /// They change modes, owners, times and attributes of files, which Landlock does not restrict: allowed if something
    /// may be written.
    Attributes,
    /// They fail with ENOSYS, because libraries try them and have another way.
    Absent,
}

/// Processes may be started that execute nothing: a name for `system_calls` that is no system call everywhere.
pub const FORK: &str = "fork";

/// The calls of a group.
pub fn of(group: Group) -> impl Iterator<Item = (&'static str, i64)> {
    grouped().filter(move |(other, ..)| *other == group).map(|(_, name, number)| (name, number))
}

/// All names that `system_calls` may list.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().map(|(name, _)| name).chain([FORK])
}

/// The calls of all groups.
pub fn all() -> impl Iterator<Item = (&'static str, i64)> {
    grouped().map(|(_, name, number)| (name, number))
}

/// The name and the group of a number.
pub fn find(number: i64) -> Option<(&'static str, Group)> {
    grouped().find(|(.., other)| *other == number).map(|(group, name, _)| (name, group))
}

fn grouped() -> impl Iterator<Item = (Group, &'static str, i64)> {
    GROUPS.iter().flat_map(|(group, calls)| {
        calls.iter().map(|(name, number)| (*group, &name["SYS_".len()..], *number))
    })
}

const GROUPS: &[(Group, &[Call])] = &[
    (Group::Allowed, ALLOWED),
    #[cfg(target_arch = "aarch64")]
    (Group::Allowed, calls! { SYS_renameat SYS_sync_file_range SYS_getrlimit SYS_setrlimit }),
    (Group::Forbidden, FORBIDDEN),
    (Group::Process, calls! { SYS_execve SYS_execveat }),
    (Group::Attributes, ATTRIBUTES),
    (Group::Absent, ABSENT),
    #[cfg(target_arch = "x86_64")]
    (Group::Allowed, X86_64_ALLOWED),
    #[cfg(target_arch = "x86_64")]
    (Group::Forbidden, X86_64_FORBIDDEN),
    #[cfg(target_arch = "x86_64")]
    (Group::Process, calls! { SYS_fork SYS_vfork }),
    #[cfg(target_arch = "x86_64")]
    (Group::Attributes, X86_64_ATTRIBUTES),
];

#[rustfmt::skip]
const ALLOWED: &[Call] = calls! {
    SYS_accept SYS_accept4 SYS_bind SYS_brk SYS_capget SYS_chdir SYS_clock_getres SYS_clock_gettime
    SYS_clock_nanosleep SYS_clone SYS_close SYS_close_range SYS_connect SYS_copy_file_range SYS_dup SYS_dup3
    SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_exit SYS_exit_group
    SYS_faccessat SYS_faccessat2 SYS_fadvise64 SYS_fallocate SYS_fchdir SYS_fcntl SYS_fdatasync
    SYS_fgetxattr SYS_flistxattr SYS_flock SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex
    SYS_futex_waitv SYS_get_mempolicy SYS_get_robust_list SYS_getcpu SYS_getcwd SYS_getdents64 SYS_getegid
    SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid
    SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrusage SYS_getsid SYS_getsockname
    SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid SYS_getxattr SYS_inotify_add_watch
    SYS_inotify_init1 SYS_inotify_rm_watch SYS_io_cancel SYS_io_destroy SYS_io_getevents SYS_io_setup
    SYS_io_submit SYS_ioctl SYS_ioprio_get SYS_ioprio_set SYS_kill SYS_landlock_add_rule
    SYS_landlock_create_ruleset SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat SYS_listen SYS_listxattr
    SYS_llistxattr SYS_lseek SYS_madvise SYS_mbind SYS_membarrier SYS_memfd_create SYS_mincore SYS_mkdirat
    SYS_mknodat SYS_mlock SYS_mlock2 SYS_mlockall SYS_mmap SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open
    SYS_mq_timedreceive SYS_mq_timedsend SYS_mq_unlink SYS_mremap SYS_mseal
    SYS_msync SYS_munlock SYS_munlockall SYS_munmap SYS_nanosleep SYS_newfstatat SYS_openat
    SYS_openat2 SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2 SYS_pkey_alloc SYS_pkey_free
    SYS_pkey_mprotect SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64 SYS_pselect6
    SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead SYS_readlinkat SYS_readv SYS_recvfrom
    SYS_recvmmsg SYS_recvmsg SYS_remap_file_pages SYS_renameat2 SYS_restart_syscall SYS_rseq
    SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn
    SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_sched_get_priority_max
    SYS_sched_get_priority_min SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam
    SYS_sched_getscheduler SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr
    SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_seccomp
    SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_set_mempolicy
    SYS_set_mempolicy_home_node SYS_set_robust_list SYS_set_tid_address SYS_setitimer SYS_setpgid
    SYS_setpriority SYS_setsid SYS_setsockopt SYS_shutdown
    SYS_sigaltstack SYS_signalfd4 SYS_socket SYS_socketpair SYS_splice SYS_statfs SYS_statx SYS_symlinkat
    SYS_sync SYS_syncfs SYS_sysinfo SYS_tee SYS_tgkill SYS_timer_create SYS_timer_delete
    SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_timerfd_create SYS_timerfd_gettime
    SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask SYS_uname SYS_unlinkat SYS_vmsplice
    SYS_wait4 SYS_waitid SYS_write SYS_writev
};

#[rustfmt::skip]
const FORBIDDEN: &[Call] = calls! {
    SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_process_madvise SYS_kcmp SYS_pidfd_getfd
    SYS_mount SYS_umount2 SYS_fsopen SYS_fsmount SYS_fsconfig SYS_fspick SYS_move_mount SYS_open_tree
    SYS_mount_setattr SYS_pivot_root SYS_chroot SYS_unshare SYS_setns SYS_bpf SYS_perf_event_open
    SYS_userfaultfd SYS_keyctl SYS_add_key SYS_request_key SYS_lookup_dcookie SYS_nfsservctl SYS_init_module
    SYS_finit_module SYS_delete_module SYS_kexec_load SYS_kexec_file_load SYS_reboot SYS_swapon SYS_swapoff
    SYS_settimeofday SYS_clock_settime SYS_adjtimex SYS_clock_adjtime SYS_sethostname SYS_setdomainname
    SYS_acct SYS_quotactl SYS_quotactl_fd SYS_personality SYS_vhangup SYS_syslog SYS_open_by_handle_at
    SYS_name_to_handle_at SYS_fanotify_init SYS_fanotify_mark SYS_setuid SYS_setgid SYS_setreuid
    SYS_setregid SYS_setresuid SYS_setresgid SYS_setgroups SYS_setfsuid SYS_setfsgid SYS_capset
    SYS_migrate_pages SYS_move_pages
    SYS_shmget SYS_shmat SYS_shmctl SYS_shmdt SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_semget SYS_semop
    SYS_semctl SYS_semtimedop
};

#[rustfmt::skip]
const ATTRIBUTES: &[Call] = calls! {
    SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_removexattr
    SYS_lremovexattr SYS_fremovexattr SYS_utimensat
};

#[rustfmt::skip]
const ABSENT: &[Call] = calls! {
    SYS_clone3 SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register SYS_memfd_secret
    SYS_process_mrelease
};

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const X86_64_ALLOWED: &[Call] = calls! {
    SYS_access SYS_alarm SYS_arch_prctl SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_ctl_old SYS_epoll_wait
    SYS_epoll_wait_old SYS_eventfd SYS_get_thread_area SYS_getdents SYS_getpgrp SYS_getrlimit
    SYS_inotify_init SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_open SYS_pause SYS_pipe SYS_poll SYS_readlink
    SYS_rename SYS_renameat SYS_rmdir SYS_select SYS_set_thread_area SYS_setrlimit SYS_signalfd SYS_stat
    SYS_symlink SYS_sync_file_range SYS_time SYS_unlink
};

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const X86_64_FORBIDDEN: &[Call] = calls! {
    SYS_iopl SYS_ioperm SYS_modify_ldt SYS_uselib SYS_ustat SYS_sysfs SYS__sysctl
    SYS_getpmsg SYS_putpmsg SYS_afs_syscall
    SYS_tuxcall SYS_security SYS_vserver
};

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const X86_64_ATTRIBUTES: &[Call] = calls! {
    SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat SYS_fchmodat2
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_call_is_in_one_group() {
        let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
        for (name, number) in all() {
            assert!(names.insert(name) && numbers.insert(number), "{name}");
            assert_eq!(find(number).map(|(other, _)| other), Some(name));
        }
        assert_eq!(find(libc::SYS_ptrace), Some(("ptrace", Group::Forbidden)));
        assert_eq!(find(-1), None);
    }
}
