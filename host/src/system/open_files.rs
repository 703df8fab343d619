//! The limit on open files, which bounds the number of clients.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Descriptors reserved for other purposes than clients: libraries, the host's sockets, files that plugins open.
const RESERVED: u64 = 64;

/// Raises the limit to the hard limit. Processes started afterwards inherit it.
pub fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            log::warn!("the limit on open files cannot be raised: {error}");
        }
    }
}

/// The number of clients that fit into the limit of this process.
pub fn clients_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit.saturating_sub(RESERVED).max(1)).unwrap_or(usize::MAX)
}
