//! Room for thread-local data of the initial-exec model, which allocators such as jemalloc and mimalloc use. The C
//! library reserves this room when a process starts, 512 bytes of it by default, and each generation of such a plugin
//! takes its part for good. So worker and probe processes are started with more, by a tunable of the C library.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::privileges;

/// Bytes that worker and probe processes reserve: 20 generations with jemalloc, thousands with mimalloc. Each thread's
/// stack is smaller by this room, and a thread cannot have a stack that is not larger. So it is no megabyte.
pub const ROOM: u64 = 64 << 10;
/// What a process reserves otherwise.
const DEFAULT_ROOM: u64 = 512;

/// The environment's variable for the tunables of the C library, `name=value` with colons between them.
const VARIABLE: &str = "GLIBC_TUNABLES";
const TUNABLE: &str = "glibc.rtld.optional_static_tls";

/// The variable and its value for a process that runs plugins. Keeps what the operator has set.
pub fn environment() -> (&'static str, OsString) {
    (VARIABLE, tunables(&std::env::var_os(VARIABLE).unwrap_or_default(), ROOM))
}

fn tunables(set: &OsStr, room: u64) -> OsString {
    let mut tunables = set.as_bytes().to_vec();
    if value_in(&tunables).is_none() {
        if !tunables.is_empty() {
            tunables.push(b':');
        }
        tunables.extend(format!("{TUNABLE}={room}").bytes());
    }
    OsString::from_vec(tunables)
}

/// The value of [`TUNABLE`].
fn value_in(tunables: &[u8]) -> Option<&[u8]> {
    let mut each = tunables.split(|&byte| byte == b':');
    each.find_map(|tunable| tunable.strip_prefix(TUNABLE.as_bytes())?.strip_prefix(b"="))
}

/// What to do if the room of this process is used up, as sentences.
pub fn remedy() -> String {
    let set = std::env::var_os(VARIABLE).unwrap_or_default();
    let value = value_in(set.as_bytes()).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    let is_ignored = privileges::has_file_capabilities();
    let room = value.filter(|_| !is_ignored).unwrap_or(DEFAULT_ROOM);
    let ignored = match is_ignored {
        true => {
            "; but the C library ignores that, because the program's file has capabilities (setcap): let systemd give \
             the capabilities (AmbientCapabilities=)"
        }
        false => "",
    };
    format!(
        "Restart the server, and compile the plugin so that its thread-local data needs no such room: \
         -ftls-model=global-dynamic in C, the feature `disable_initial_exec_tls` of jemallocator, `local_dynamic_tls` \
         of mimalloc. Or start the server with more room: {VARIABLE}={TUNABLE}=BYTES (now {room}){ignored}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_added_to_the_tunables_of_the_operator_and_replaces_none() {
        let with = |set: &str| tunables(OsStr::new(set), 4096).into_string().expect("ASCII");
        assert_eq!(with(""), "glibc.rtld.optional_static_tls=4096");
        let other = "glibc.malloc.arena_max=2";
        assert_eq!(with(other), format!("{other}:glibc.rtld.optional_static_tls=4096"));
        let own = "glibc.rtld.optional_static_tls=1:glibc.malloc.arena_max=2";
        assert_eq!(with(own), own);
    }
}
