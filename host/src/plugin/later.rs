//! A function that a plugin has handed over with data of its own, to be called later: a timer's, or that of
//! work off the loop. It knows its plugin, its connection if it has one, and how to be called and freed; when
//! that happens is for `timers` and `background` to say.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr;
use std::rc::Rc;

use callsign_plugin::abi::{self, status};

use super::call::{self, Failure};
use super::handler::{Handler, HandlerRef, Kind};
use crate::board;
use crate::connection::Connection;
use crate::session;
use crate::worker::Worker;

/// One loaded copy of a plugin, as it names itself when it calls.
struct Caller {
    slot: usize,
    generation: u32,
    timer: HandlerRef,
    background: HandlerRef,
    post: HandlerRef,
}

thread_local! {
    /// All loaded copies. On other threads than the worker's it is empty.
    static CALLERS: RefCell<Vec<Caller>> = const { RefCell::new(Vec::new()) };
}

/// Notes which copy of which plugin a host slot belongs to. Libraries are never unloaded, so neither is this.
pub(super) fn remember(slot: *mut *const abi::Host, plugin: usize, name: &str, generation: u32) {
    let label = |kind| -> HandlerRef {
        let label = Box::leak(Box::new(Handler::nameless(plugin, name, kind)));
        label.index.set(board::define(&label.label(generation)));
        label
    };
    let (timer, background) = (label(Kind::Timer), label(Kind::Background));
    let (slot, post) = (slot.addr(), label(Kind::Post));
    CALLERS.with_borrow_mut(|callers| callers.push(Caller { slot, generation, timer, background, post }));
}

/// That copy is not in use any more: it can hand over nothing, and what it has handed over has no name on the board.
pub(super) fn forget(slot: *mut *const abi::Host) {
    let forgotten = CALLERS.with_borrow_mut(|callers| {
        let at = callers.iter().position(|caller| caller.slot == slot.addr())?;
        Some(callers.remove(at))
    });
    for label in forgotten.iter().flat_map(|caller| [caller.timer, caller.background, caller.post]) {
        board::undefine(label.index.replace(0));
    }
}

/// Whether this is a worker's thread: the one that has loaded plugins.
pub(super) fn on_worker_thread() -> bool {
    CALLERS.with_borrow(|callers| !callers.is_empty())
}

/// Which copy of which plugin calls, as what stands for all that it has of that kind; Err: the [`status`] to answer.
pub(super) fn who(caller: *const *const abi::Host, kind: Kind) -> Result<(HandlerRef, u32), i32> {
    CALLERS.with_borrow(|callers| {
        let caller = callers.iter().find(|other| other.slot == caller.addr()).ok_or(status::BAD_ARGUMENT)?;
        let label = match kind {
            Kind::Timer => caller.timer,
            Kind::Post => caller.post,
            _ => caller.background,
        };
        Ok((label, caller.generation))
    })
}

/// What a plugin receives messages of other workers with.
#[derive(Clone, Copy, Debug)]
pub struct Receiver {
    function: abi::OnWorkerMessage,
    label: HandlerRef,
}

impl Receiver {
    /// # Safety
    /// The function keeps to the ABI.
    pub(super) unsafe fn new(function: abi::OnWorkerMessage, label: HandlerRef) -> Self {
        Self { function, label }
    }

    /// Calls it with a message. If it fails, that is logged.
    pub fn call(&self, worker: u32, id: u32, data: &[u8]) {
        // SAFETY: by `new`; `data` outlives the call.
        let result = call::call_handler(self.label, || unsafe {
            (self.function)(worker, id, data.as_ptr().cast(), data.len())
        });
        if let Err(reason) = result {
            log::error!("{} failed: {reason} (message {id} of worker {worker})", self.label);
        }
    }
}

/// A function with its data, to be called and then freed on the worker's thread.
#[derive(Debug)]
pub struct Task {
    function: Option<abi::OnLater>,
    data: *mut c_void,
    free: Option<abi::Free>,
}

impl Task {
    /// # Safety
    /// Both functions take `data`, as the ABI says, until `free` was called.
    pub(super) unsafe fn new(
        function: Option<abi::OnLater>,
        data: *mut c_void,
        free: Option<abi::Free>,
    ) -> Self {
        Self { function, data, free }
    }

    fn call(&self, label: HandlerRef, c: Option<&Connection>) -> Result<(), Failure> {
        let Some(function) = self.function else { return Ok(()) };
        let c = c.map_or(ptr::null_mut(), Connection::as_ptr);
        // SAFETY: by `new`, and it is not freed yet; a pointer keeps it on its thread. The connection
        // outlives the call.
        call::call_handler(label, || unsafe { function(self.data, c) })
    }

    fn free(self, label: HandlerRef) -> Result<(), Failure> {
        let Some(free) = self.free else { return Ok(()) };
        // SAFETY: by `new`; it is given away here, so this happens once and last.
        call::call_handler(label, || unsafe { free(self.data) })
    }
}

/// The part of background work that runs on a pool thread.
#[derive(Debug)]
pub struct Work {
    function: abi::Work,
    data: *mut c_void,
}

// SAFETY: the function is made for another thread, by the ABI, and nobody else uses its data meanwhile.
unsafe impl Send for Work {}

impl Work {
    /// # Safety
    /// The function takes `data` on any thread, as the ABI says.
    pub(super) unsafe fn new(function: abi::Work, data: *mut c_void) -> Self {
        Self { function, data }
    }

    /// Does it.
    pub fn run(self) {
        // SAFETY: by `new`.
        unsafe { (self.function)(self.data) }
    }
}

/// A task with the plugin and the connection that it belongs to. Whoever has one frees it in the end.
#[derive(Debug)]
#[must_use]
pub struct Later {
    task: Task,
    label: HandlerRef,
    generation: u32,
    connection: Option<u64>,
    ended: Cell<bool>,
}

impl Later {
    /// For an open connection, or for none (0). Err: the [`status`] to answer.
    pub(super) fn new(
        caller: *const *const abi::Host,
        kind: Kind,
        connection: u64,
        task: Task,
    ) -> Result<Self, i32> {
        if !on_worker_thread() {
            return Err(status::WRONG_THREAD);
        }
        let connection = (connection != 0).then_some(connection);
        if connection.is_some_and(|id| open(id).is_none()) {
            return Err(status::CLOSED);
        }
        let (label, generation) = who(caller, kind)?;
        Ok(Self { task, label, generation, connection, ended: Cell::new(false) })
    }

    /// The connection that it ends with.
    pub fn connection(&self) -> Option<u64> {
        self.connection
    }

    /// Whether it was handed over by that copy of that plugin.
    pub fn is_of(&self, plugin: usize, generation: u32) -> bool {
        self.whose() == (plugin, generation)
    }

    /// Index and generation of the copy of a plugin that has handed it over.
    pub fn whose(&self) -> (usize, u32) {
        (self.label.plugin, self.generation)
    }

    /// From now on it is void.
    pub fn end(&self) {
        self.ended.set(true);
    }

    /// Whether it was ended, or its connection is closing or gone: then it takes no part any more.
    pub fn is_void(&self) -> bool {
        self.ended.get() || self.connection.is_some_and(|id| open(id).is_none())
    }

    /// Calls it, unless it is void.
    pub fn call(&self) {
        if self.is_void() {
            return;
        }
        let c = self.connection.and_then(open);
        match (self.task.call(self.label, c.as_deref()), c) {
            (Ok(()), _) => {}
            (Err(reason), Some(c)) => session::failed(&c, self.label, &reason),
            (Err(reason), None) => log::error!("{} failed: {reason}", self.label),
        }
    }

    /// The last call.
    pub fn free(self) {
        if let Err(reason) = self.task.free(self.label) {
            log::error!("{}: its data cannot be freed: {reason}", self.label);
        }
    }
}

fn open(id: u64) -> Option<Rc<Connection>> {
    Worker::current().and_then(|worker| worker.find(id))
}

#[cfg(test)]
/// For the tests of what keeps them.
pub mod tests {
    use super::*;

    /// A task of plugin 0 and this generation that runs a closure.
    pub fn of_closure<F: FnMut() + 'static>(generation: u32, f: F) -> Later {
        unsafe extern "C" fn call<F: FnMut()>(data: *mut c_void, _: *mut abi::Connection) {
            // SAFETY: made below from a box of this type.
            unsafe { (*data.cast::<F>())() };
        }
        unsafe extern "C" fn free<F>(data: *mut c_void) {
            // SAFETY: as above, and this is the last use.
            drop(unsafe { Box::from_raw(data.cast::<F>()) });
        }
        let data = Box::into_raw(Box::new(f)).cast();
        // SAFETY: both functions take it for what it is.
        let task = unsafe { Task::new(Some(call::<F>), data, Some(free::<F>)) };
        let label = Box::leak(Box::new(Handler::nameless(0, "test", Kind::Timer)));
        Later { task, label, generation, connection: None, ended: Cell::new(false) }
    }

    thread_local! {
        static RECORDED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    /// A receiver of plugin 0 that records what it gets, as that number.
    pub fn of_recorder(number: u32) -> Receiver {
        fn record(number: u32, worker: u32, id: u32, data: *const c_void, length: usize) {
            // SAFETY: as the ABI promises.
            let data = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) };
            let line = format!("{number}: {worker} {id} {}", String::from_utf8_lossy(data));
            RECORDED.with_borrow_mut(|recorded| recorded.push(line));
        }
        unsafe extern "C" fn first(worker: u32, id: u32, data: *const c_void, length: usize) {
            record(1, worker, id, data, length);
        }
        unsafe extern "C" fn other(worker: u32, id: u32, data: *const c_void, length: usize) {
            record(2, worker, id, data, length);
        }
        let label = Box::leak(Box::new(Handler::nameless(0, "test", Kind::Post)));
        // SAFETY: both take any message.
        unsafe { Receiver::new(if number == 1 { first } else { other }, label) }
    }

    /// What was recorded on this thread since this was asked last.
    pub fn recorded() -> Vec<String> {
        RECORDED.take()
    }

    /// Work that does nothing.
    pub fn no_work() -> Work {
        unsafe extern "C" fn work(_: *mut c_void) {}
        // SAFETY: it takes any data.
        unsafe { Work::new(work, ptr::null_mut()) }
    }
}
