//! Everything that plugins can ask of the host: the functions of `struct callsign_host`, timers, background work, and
//! messages between a plugin's instances. Calls of plugins enter; the worker, its clients and the link do the work.
//!
//! Invariant: a host function never calls a plugin. Timers, background work and worker messages call plugins from tasks
//! of their own, which run while no callback is running.

pub mod deferred; // a task of a plugin, with its connection

pub mod timers; // tasks at a later time

pub mod background; // work off the worker's thread

pub mod worker_messages; // messages between a plugin's instances

pub mod exchange; // a request and its response

pub mod identity; // the worker's index, for any thread

#[expect(unsafe_code, reason = "turns pointers of plugins into references")]
pub mod host_api; // the functions that plugins call
