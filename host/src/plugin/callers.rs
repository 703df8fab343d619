//! Which plugin calls a host function. Each generation keeps its pointer to the host's table in a slot of its own, and
//! passes the slot's address as `caller`. An address enters, the plugin and its generation leave.
//!
//! Invariant: slot addresses are compared, never dereferenced.

use std::cell::RefCell;
use std::sync::RwLock;

use callsign_plugin::abi::{self, status};

use super::guard::Guard;
use super::handler::{Handler, HandlerRef, Kind};
use crate::system::scoreboard;

/// Slot address and plugin name of every generation, for log lines. Read from any thread.
static NAMES: RwLock<Vec<(usize, String)>> = RwLock::new(Vec::new());

/// One generation of a plugin, with the handlers that stand for its unnamed functions.
struct Caller {
    slot: usize,
    generation: u32,
    timer: HandlerRef,
    background: HandlerRef,
    worker_message: HandlerRef,
}

thread_local! {
    /// The generations that may set timers, start background work and exchange worker messages. Empty on all threads
    /// except the worker's.
    static CALLERS: RefCell<Vec<Caller>> = const { RefCell::new(Vec::new()) };
}

/// Registers a generation under the address of its slot.
pub fn register(
    slot: *mut *const abi::Host,
    plugin: usize,
    name: &str,
    generation: u32,
    guard: Option<Guard>,
) {
    let mut names = NAMES.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    names.push((slot.addr(), name.to_owned()));
    drop(names);
    let label = |kind| -> HandlerRef {
        let label = Box::leak(Box::new(Handler::unnamed(plugin, name, kind)));
        label.guard.set(guard);
        label.index.set(scoreboard::define(&label.label(generation)));
        label
    };
    let (timer, background) = (label(Kind::Timer), label(Kind::Background));
    let (slot, worker_message) = (slot.addr(), label(Kind::WorkerMessage));
    CALLERS.with_borrow_mut(|callers| {
        callers.push(Caller { slot, generation, timer, background, worker_message })
    });
}

/// Removes a retired generation, and frees the scoreboard labels of its unnamed functions. Its name stays known for log
/// lines.
pub fn unregister(slot: *mut *const abi::Host) {
    let removed = CALLERS.with_borrow_mut(|callers| {
        let at = callers.iter().position(|caller| caller.slot == slot.addr())?;
        Some(callers.remove(at))
    });
    for label in removed.iter().flat_map(|caller| [caller.timer, caller.background, caller.worker_message]) {
        scoreboard::undefine(label.index.replace(0));
    }
}

/// Whether this is the worker's thread, which loads the plugins.
pub fn on_worker_thread() -> bool {
    CALLERS.with_borrow(|callers| !callers.is_empty())
}

/// The handler that stands for all unnamed functions of `kind` of the calling generation, and the generation's number.
/// Err: the [`status`] to return.
pub fn identify(caller: *const *const abi::Host, kind: Kind) -> Result<(HandlerRef, u32), i32> {
    CALLERS.with_borrow(|callers| {
        let caller = callers.iter().find(|other| other.slot == caller.addr()).ok_or(status::BAD_ARGUMENT)?;
        let label = match kind {
            Kind::Timer => caller.timer,
            Kind::WorkerMessage => caller.worker_message,
            _ => caller.background,
        };
        Ok((label, caller.generation))
    })
}

/// The name of the calling plugin, `?` for an unknown caller. Works on any thread.
pub fn plugin_name(caller: *const *const abi::Host) -> String {
    let names = NAMES.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    let found = names.iter().find(|(slot, _)| *slot == caller.addr());
    found.map_or_else(|| "?".to_owned(), |(_, name)| name.clone())
}
