//! The plugin's side of the ABI, and the only unsafe code of this crate: the host's table, the entry points
//! that the macros export, and the structs that the host hands in, behind safe methods.
//!
//! Everything here rests on what [`crate::abi`] promises of the host: pointers handed to a callback are good
//! until it returns, strings are NUL-terminated, and callbacks of a worker run on one thread.

mod data; // the connection's data slot, typed

mod entry; // host to plugin: where callbacks arrive and panics stop

mod host; // plugin to host: its function table

mod reload; // state to bytes and back

mod later; // closures that the host calls later: timers, background work

mod posts; // messages between workers

pub use data::Held;
pub use entry::{
    call_onconnect, call_ondisconnect, call_onload, call_onmessage, call_onrequest, call_onunload, release,
};
pub use host::{HOST_SLOT, broadcast_to_all, is_off_the_worker, log, with_connection};
pub use host::{RawConnection, RawLoad, RawRequest};
pub use later::{add_background, add_timer, at_end, remove_timer};
pub use posts::{receive, send_to_worker, worker_count, worker_index};
pub use reload::{restore, restore_no_state, restore_plugin, save, save_no_state, save_plugin};

// SAFETY: a descriptor never changes; what its pointers lead to is an atomic slot and functions.
unsafe impl Sync for crate::abi::Plugin {}

/// A name as a descriptor holds it: NUL-padded, at least one NUL. Too long is a compile error.
pub const fn padded<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    assert!(bytes.len() < N, "the plugin's name or version is too long");
    let mut padded = [0; N];
    let mut i = 0;
    while i < bytes.len() {
        padded[i] = bytes[i];
        i += 1;
    }
    padded
}
