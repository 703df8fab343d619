//! The workers, and messages between a plugin's copies on them.
//!
//! Each worker is a process with a copy of its own of the plugin and all its statics. What another worker's copy
//! has to know is sent to it, as bytes, under a number of the plugin's own:
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
//! Messages arrive in the order in which one worker has sent them. They are lost if the other worker's copy has
//! no receiver for them, or if that worker dies.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;

use crate::abi;
use crate::boundary;
use crate::message::Status;

/// This worker's number, from 0. From any thread.
pub fn index() -> u32 {
    boundary::worker_index()
}

/// How many workers there are. From any thread.
pub fn count() -> u32 {
    boundary::worker_count()
}

/// Sends a message to this plugin on one other worker. [`Status::NotFound`]: there is no worker of that number,
/// or it is this one. In `#[onload]` it is too early ([`Status::NotNow`]).
pub fn send(worker: u32, id: u32, data: &[u8]) -> Status {
    // The number that means all of them is no worker's.
    if worker == abi::ALL_WORKERS { Status::NotFound } else { boundary::send_to_worker(worker, id, data) }
}

/// Sends a message to this plugin on all other workers; if there are none, to nobody.
pub fn send_to_all(id: u32, data: &[u8]) -> Status {
    boundary::send_to_worker(abi::ALL_WORKERS, id, data)
}

/// Has `f` called with each message of that number: the worker that has sent it, and what it says. It takes the
/// place of an earlier one for that number. Works from `#[onload]` on; it ends with this copy of the plugin, and is
/// dropped then. [`Status::NotNow`] while the state of this copy is saved for the next. A panic in it is logged.
pub fn receive(id: u32, f: impl FnMut(u32, &[u8]) + 'static) -> Status {
    boundary::receive(id, Some(Rc::new(RefCell::new(f))))
}

/// Messages of that number are received no more.
pub fn ignore(id: u32) -> Status {
    boundary::receive(id, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_host_there_is_one_worker_and_nobody_to_talk_to() {
        assert_eq!((index(), count()), (0, 1));
        assert_eq!(send(1, 1, b"hi"), Status::NoHost);
        assert_eq!(send_to_all(1, b"hi"), Status::NoHost);
        assert_eq!(receive(1, |_, _| unreachable!("no host")), Status::NoHost);
    }
}
