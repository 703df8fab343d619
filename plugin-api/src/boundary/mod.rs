//! The plugin's side of the ABI, and the only unsafe code of this crate: the host's function table, the entry
//! points that the macros export, and safe methods over the structs of the host.
//!
//! All unsafe code here relies on the guarantees of [`crate::abi`]: a pointer passed to a callback is valid
//! until the callback returns, strings are NUL-terminated, and all callbacks of a worker run on one thread.
#![expect(unsafe_code, reason = "the ABI is C: raw pointers, function tables and exported symbols")]

mod host; // plugin to host: the host's function table

mod load; // the argument of an onload hook

mod entry; // host to plugin: entry points, which catch panics

mod backtrace; // where a panic happened, in the log

mod data; // the connection's typed data slot

mod later; // closures for timers and background work

mod worker_messages; // messages between the plugin's instances on different workers

mod reload; // save and restore hooks

pub use data::Held;
pub use entry::{
    call_onconnect, call_ondisconnect, call_ondrain, call_onload, call_onmessage, call_onrequest,
    call_onunload, release,
};
pub use host::{HOST_SLOT, broadcast_to_all, is_off_the_worker, log, with_connection};
pub use host::{RawConnection, RawRequest};
pub use later::{add_background, add_timer, at_end, remove_timer};
pub use load::RawLoad;
pub use reload::{restore, restore_no_state, restore_plugin, save, save_no_state, save_plugin};
pub use worker_messages::{receive, send_to_worker, worker_count, worker_index};

// SAFETY: a descriptor is immutable; its pointers refer to an atomic slot and to functions.
unsafe impl Sync for crate::abi::Plugin {}

/// Pads a descriptor's name or version with NULs, at least one. Text that is too long is a compile error.
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
