//! Worker messages: messages between the plugin's instances on different workers.
//!
//! Each worker is a process with its own instance of the plugin and its own statics. An instance sends bytes
//! to the instances on other workers, under an id that the plugin defines:
//!
//! ```
//! # use callsign_plugin::prelude::*;
//! use std::cell::Cell;
//!
//! use callsign_plugin::worker;
//!
//! const GUESTS: u32 = 1;
//!
//! thread_local! {
//!     static ELSEWHERE: Cell<u64> = const { Cell::new(0) };
//! }
//!
//! #[onload]
//! fn start(_: &Load) {
//!     worker::receive(GUESTS, |_from, _data| ELSEWHERE.set(ELSEWHERE.get() + 1));
//! }
//!
//! #[onconnect]
//! fn join(_: &Connection) {
//!     worker::send_to_all(GUESTS, b"one more");
//! }
//! ```
//!
//! Messages from one worker arrive in the order in which they were sent. A message is lost if the other
//! worker's instance has no receiver for its id, or if that worker dies.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;

use crate::abi;
use crate::boundary;
use crate::message::Status;

/// This worker's number, counted from 0. May be called from any thread.
pub fn index() -> u32 {
    boundary::worker_index()
}

/// Number of workers. May be called from any thread.
pub fn count() -> u32 {
    boundary::worker_count()
}

/// Sends a worker message to the plugin's instance on one other worker. [`Status::NotFound`]: no worker has
/// that number, or it is this worker. [`Status::NotNow`]: called in `#[onload]`.
pub fn send(worker: u32, id: u32, data: &[u8]) -> Status {
    // ALL_WORKERS is not the number of a worker.
    if worker == abi::ALL_WORKERS { Status::NotFound } else { boundary::send_to_worker(worker, id, data) }
}

/// Sends a worker message to the plugin's instances on all other workers. With a single worker it does
/// nothing.
pub fn send_to_all(id: u32, data: &[u8]) -> Status {
    boundary::send_to_worker(abi::ALL_WORKERS, id, data)
}

/// Calls `f` with each worker message of that id: the number of the sending worker, and the data. `f`
/// replaces an earlier receiver for the id. May be called in `#[onload]`. `f` is dropped when this generation
/// is replaced. [`Status::NotNow`]: called while the state of this generation is being saved. A panic in `f`
/// is logged.
pub fn receive(id: u32, f: impl FnMut(u32, &[u8]) + 'static) -> Status {
    boundary::receive(id, Some(Rc::new(RefCell::new(f))))
}

/// Removes the receiver for that id.
pub fn ignore(id: u32) -> Status {
    boundary::receive(id, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_host_there_is_one_worker_and_sending_fails() {
        assert_eq!((index(), count()), (0, 1));
        assert_eq!(send(1, 1, b"hi"), Status::NoHost);
        assert_eq!(send_to_all(1, b"hi"), Status::NoHost);
        assert_eq!(receive(1, |_, _| unreachable!("no host")), Status::NoHost);
    }
}
