//! The filter of system calls (seccomp). A call is allowed, or raises SIGSYS (a trap, which the crash handler reports),
//! or fails with ENOSYS if it is in no list: the C library then does without it, as on an older kernel.
//!
//! Invariant: of the three programs the strictest result counts, so that the first alone bounds what is allowed.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::calls::{self, FORK, Group};
use crate::config::sandbox::SandboxSettings;

/// No conditions: the rule holds for each call with this number.
type Rules = Vec<SeccompRule>;

/// Namespaces in the flags of clone. A process would be root in a user namespace of its own.
pub(super) const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// The families of IP sockets.
const IP: [i32; 2] = [libc::AF_INET, libc::AF_INET6];
/// The flag of a message that connects its socket.
const FAST_OPEN: u64 = libc::MSG_FASTOPEN as u64;
/// The flag of clone for a process with the parent of the worker.
const SIBLING: u64 = libc::CLONE_PARENT as u64;

/// Filters this thread, and those that it starts.
pub fn apply(settings: &SandboxSettings) -> Result<()> {
    for program in programs(settings)? {
        seccompiler::apply_filter(&program).context("the kernel rejects the filter of system calls")?;
    }
    Ok(())
}

/// First what exists, then what fails, if anything does, then what traps.
fn programs(settings: &SandboxSettings) -> Result<Vec<BpfProgram>> {
    let known = [Group::Allowed, Group::Forbidden, Group::Process, Group::Attributes].into_iter();
    let absent = calls::of(Group::Absent).filter(|(name, _)| is_named(settings, name));
    let known = known.flat_map(calls::of).chain(absent);
    let known = known.map(|(_, number)| (number, Rules::new())).collect();
    let absent = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let existing = compile(known, absent, SeccompAction::Allow)?;
    let trapping = compile(trapping(settings)?, SeccompAction::Allow, SeccompAction::Trap)?;
    let denied = SeccompAction::Errno(libc::EACCES.cast_unsigned());
    let failing = failing(settings)?.map(|rules| compile(rules, SeccompAction::Allow, denied)).transpose()?;
    Ok([Some(existing), failing, Some(trapping)].into_iter().flatten().collect())
}

fn compile(
    rules: BTreeMap<i64, Rules>,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram> {
    let filter = SeccompFilter::new(rules, otherwise, matching, std::env::consts::ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}

/// Whether the settings allow the call of that name.
fn is_named(settings: &SandboxSettings, name: &str) -> bool {
    settings.system_calls.iter().any(|other| other == name)
}

/// Whether processes may be started.
fn has_processes(settings: &SandboxSettings) -> bool {
    !settings.execute.is_empty() || is_named(settings, FORK)
}

/// The calls that trap, with the arguments for which they do.
fn trapping(settings: &SandboxSettings) -> Result<BTreeMap<i64, Rules>> {
    let mut rules: BTreeMap<i64, Rules> = BTreeMap::new();
    let mut trap = |group| rules.extend(calls::of(group).map(|(_, number)| (number, Rules::new())));
    trap(Group::Forbidden);
    if settings.write.is_empty() {
        trap(Group::Attributes);
    }
    if !has_processes(settings) {
        trap(Group::Process);
    }
    if settings.execute.is_empty() {
        rules.extend([libc::SYS_execve, libc::SYS_execveat].map(|number| (number, Rules::new())));
    }
    rules.insert(libc::SYS_clone, clone_rules(has_processes(settings))?);
    rules.insert(libc::SYS_socket, socket_rules(settings.network)?);
    if !settings.network {
        // Landlock restricts neither.
        rules.insert(libc::SYS_listen, Rules::new());
        let fast_open = |flags| one(flags, MaskedEq(FAST_OPEN), FAST_OPEN);
        for (number, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
            rules.insert(number, vec![fast_open(flags)?]);
        }
    }
    // They write to a terminal as if its user had typed it, and take the terminal from the processes of its user.
    let terminal = [libc::TIOCSTI, libc::TIOCLINUX, libc::TIOCSPGRP, libc::TIOCSCTTY];
    let terminal = terminal.into_iter().map(|request| one(1, Eq, request));
    rules.insert(libc::SYS_ioctl, terminal.collect::<Result<_>>()?);
    // The limits of another process of the same user.
    let others = [condition(0, Ne, 0_u32)?, condition(0, Ne, std::process::id())?];
    rules.insert(libc::SYS_prlimit64, vec![all(others.into())?]);
    let named = calls::all().filter(|(name, _)| is_named(settings, name));
    named.for_each(|(_, number)| drop(rules.remove(&number)));
    Ok(rules)
}

fn clone_rules(has_processes: bool) -> Result<Rules> {
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    let process = (!has_processes).then(|| one(0, MaskedEq(thread), 0_u32));
    let namespaces = NAMESPACES.iter().map(|flag| {
        let flag = flag.cast_unsigned();
        one(0, MaskedEq(flag.into()), flag)
    });
    // The process would be in no group that ends with the worker.
    let siblings = one(0, MaskedEq(SIBLING), SIBLING);
    process.into_iter().chain(namespaces).chain([siblings]).collect()
}

/// The sockets that trap: all but those between processes, the kernel's answers about addresses, which the C library asks
/// for, and, with `network`, those of IP. Without it a datagram socket fails instead: the C library opens some to sort the
/// addresses of a name.
fn socket_rules(network: bool) -> Result<Rules> {
    let families = [libc::AF_UNIX, libc::AF_NETLINK].into_iter().chain(IP);
    let others = families.map(|family| condition(0, Ne, family.cast_unsigned())).collect::<Result<_>>()?;
    let mut rules = vec![all(others)?];
    if !network {
        // The last is SOCK_PACKET.
        const TYPES: [i32; 5] = [libc::SOCK_STREAM, libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET, 10];
        for (family, kind) in IP.into_iter().flat_map(|family| TYPES.map(|kind| (family, kind))) {
            rules.push(ip_socket(family, kind)?);
        }
    }
    Ok(rules)
}

/// The calls that fail with EACCES. None: no call does.
fn failing(settings: &SandboxSettings) -> Result<Option<BTreeMap<i64, Rules>>> {
    if settings.network || is_named(settings, "socket") {
        return Ok(None);
    }
    let datagrams = IP.into_iter().map(|family| ip_socket(family, libc::SOCK_DGRAM));
    Ok(Some(BTreeMap::from([(libc::SYS_socket, datagrams.collect::<Result<_>>()?)])))
}

/// A socket of that family and type, whatever its flags.
fn ip_socket(family: i32, kind: i32) -> Result<SeccompRule> {
    const TYPE_MASK: u64 = 0xf;
    all(vec![
        condition(0, Eq, family.cast_unsigned())?,
        condition(1, MaskedEq(TYPE_MASK), kind.cast_unsigned())?,
    ])
}

/// A rule for this argument of a call.
fn one(argument: u8, compare: SeccompCmpOp, value: impl Into<u64>) -> Result<SeccompRule> {
    all(vec![condition(argument, compare, value)?])
}

fn all(conditions: Vec<SeccompCondition>) -> Result<SeccompRule> {
    Ok(SeccompRule::new(conditions)?)
}

/// The kernel looks at 32 bits of all these arguments.
fn condition(argument: u8, compare: SeccompCmpOp, value: impl Into<u64>) -> Result<SeccompCondition> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value.into())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traps(settings: &SandboxSettings) -> impl Fn(i64) -> bool {
        let rules = trapping(settings).expect("valid rules");
        move |number| rules.get(&number).is_some_and(Vec::is_empty)
    }

    #[test]
    fn settings_allow_what_would_trap() {
        let strict = SandboxSettings::default();
        let (execute, write) = (vec!["/bin/sh".into()], vec!["/tmp".into()]);
        let system_calls = vec!["ptrace".to_owned(), FORK.to_owned()];
        let free = SandboxSettings { execute, write, network: true, system_calls, ..strict.clone() };
        let (strict, free) = (traps(&strict), traps(&free));
        for number in [libc::SYS_ptrace, libc::SYS_execve, libc::SYS_fchmod] {
            assert!(strict(number) && !free(number), "{number}");
        }
        for number in [libc::SYS_mount, libc::SYS_bpf, libc::SYS_setuid] {
            assert!(strict(number) && free(number), "{number}");
        }
        for number in [libc::SYS_read, libc::SYS_clone, libc::SYS_socket, libc::SYS_ioctl] {
            assert!(!strict(number) && !free(number), "{number}");
        }
    }

    #[test]
    fn all_programs_fit_into_the_kernel() {
        const KERNEL_MAX: usize = 4096;
        for settings in [
            SandboxSettings::default(),
            SandboxSettings { system_calls: vec!["io_uring_setup".to_owned()], ..SandboxSettings::default() },
        ] {
            let programs = programs(&settings).expect("valid programs");
            let sizes: Vec<_> = programs.iter().map(Vec::len).collect();
            let [existing, failing, trapping] = sizes[..] else { panic!("{sizes:?}") };
            let are_long = [existing, trapping].iter().all(|size| (100..KERNEL_MAX).contains(size));
            assert!(are_long && (1..KERNEL_MAX).contains(&failing), "{sizes:?}");
        }
    }
}
