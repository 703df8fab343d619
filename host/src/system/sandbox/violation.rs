//! A system call that the sandbox forbids, in words: which, and the key that would allow it.

/// ``the sandbox forbids system call `ptrace`, number 101; `system_calls = ["ptrace"]` in [sandbox] would allow it``
#[cfg(target_os = "linux")]
pub fn describe(number: u64, argument: u64) -> String {
    use super::calls::{self, Group};
    use super::filter::NAMESPACES;

    let found = i64::try_from(number).ok().and_then(calls::find);
    let Some((name, group)) = found else { return format!("the sandbox forbids system call {number}") };
    // The kernel looks at 32 bits of the first argument of these calls.
    let argument = (argument as u32).cast_signed();
    let process = || {
        let keys = "`execute = [\"PROGRAM\"]`, or `system_calls = [\"fork\"]` for one that executes nothing,";
        ("to start a process", keys.to_owned())
    };
    let namespaces = NAMESPACES.iter().fold(0, |all, flag| all | flag);
    let by_name = format!("`system_calls = [\"{name}\"]`");
    let (what, keys) = match (group, number.cast_signed()) {
        (_, libc::SYS_execve | libc::SYS_execveat) => {
            ("to execute a program", "`execute = [\"PROGRAM\"]`".to_owned())
        }
        (_, libc::SYS_clone) if argument & (libc::CLONE_THREAD | namespaces) == 0 => process(),
        (Group::Process, _) => process(),
        (_, libc::SYS_socket) if [libc::AF_INET, libc::AF_INET6].contains(&argument) => {
            ("to open an IP socket", "`network = true`".to_owned())
        }
        (Group::Attributes, _) => {
            ("to change a file's attributes", format!("`write = [\"FOLDER\"]` or {by_name}"))
        }
        _ => ("", by_name),
    };
    let what = if what.is_empty() { String::new() } else { format!(", {what}") };
    format!(
        "the sandbox forbids system call `{name}`, number {number}{what}; {keys} in [sandbox] would allow it"
    )
}

/// Nothing is forbidden here.
#[cfg(not(target_os = "linux"))]
pub fn describe(number: u64, _: u64) -> String {
    format!("system call {number}")
}
