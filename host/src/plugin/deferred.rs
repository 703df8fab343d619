//! Functions that a plugin passes to the host, to be called later, with data of the plugin. Pointers enter once, in
//! `new`; safe calls leave.
//!
//! Invariant: a [`Task`] and its data stay on the worker's thread; only [`Work`] runs on another thread. The callers
//! in `bridge` decide when a function is called, and free each task once.

use std::ffi::c_void;
use std::ptr;

use callsign_plugin::abi;

use super::call::{self, Failure};
use super::exposed::ExposedConnection;
use super::guard::{self, Guard, MayThrow};
use super::handler::HandlerRef;
use crate::system::process::fork;

/// A plugin's function that receives messages from its instances on other workers.
#[derive(Clone, Copy, Debug)]
pub struct MessageHandler {
    function: abi::OnWorkerMessage,
    label: HandlerRef,
}

impl MessageHandler {
    /// # Safety
    /// The function follows the ABI and is never unloaded.
    pub unsafe fn new(function: abi::OnWorkerMessage, label: HandlerRef) -> Self {
        Self { function, label }
    }

    /// Calls the function with a message of that worker, and logs a failure.
    pub fn call(&self, worker: u32, id: u32, mut data: Vec<u8>) {
        let length = data.len();
        data.push(0);
        // SAFETY: `new` requires a function that follows the ABI. `data` is mutably borrowed during the call.
        let result = call::run_handler(self.label, || unsafe {
            self.function.may_throw()(worker, id, data.as_mut_ptr().cast(), length)
        });
        if let Err(reason) = result {
            log::error!("{} failed: {reason} (message {id} of worker {worker})", self.label);
        }
    }
}

/// A function with its data, called and freed on the worker's thread.
#[derive(Debug)]
pub struct Task {
    function: Option<abi::OnLater>,
    data: *mut c_void,
    free: Option<abi::Free>,
}

impl Task {
    /// # Safety
    /// Both functions follow the ABI and are never unloaded. They accept `data` on this thread until `free` was called.
    pub unsafe fn new(function: Option<abi::OnLater>, data: *mut c_void, free: Option<abi::Free>) -> Self {
        Self { function, data, free }
    }

    /// Calls the function, with the connection that it belongs to.
    pub fn call(&self, label: HandlerRef, c: Option<&impl ExposedConnection>) -> Result<(), Failure> {
        let Some(function) = self.function else { return Ok(()) };
        let c = c.map_or(ptr::null_mut(), ExposedConnection::as_ptr);
        // SAFETY: `new` requires functions that accept `data` on this thread, and the pointer in `self` keeps the task
        // here. `free` takes the task by value, so the data is not freed yet. `c` is borrowed during the call, and
        // `ExposedConnection` guarantees its pointer.
        call::run_handler(label, || unsafe { function.may_throw()(self.data, c) })
    }

    /// Has the plugin free the data.
    pub fn free(self, label: HandlerRef) -> Result<(), Failure> {
        let Some(free) = self.free else { return Ok(()) };
        // SAFETY: as in `call`. This method takes the task by value, so nothing uses or frees the data afterwards.
        call::run_handler(label, || unsafe { free.may_throw()(self.data) })
    }
}

/// Background work: the part that runs on a thread of the pool.
#[derive(Debug)]
pub struct Work {
    function: abi::Work,
    data: *mut c_void,
    /// Name of the plugin.
    plugin: &'static str,
    guard: Option<Guard>,
}

// SAFETY: `new` requires a function that accepts `data` on any thread. By the ABI the plugin does not use the data
// until the work is done, and the host frees it only afterwards.
unsafe impl Send for Work {}

impl Work {
    /// # Safety
    /// The function follows the ABI, is never unloaded, and accepts `data` on any thread.
    pub unsafe fn new(function: abi::Work, data: *mut c_void) -> Self {
        Self { function, data, plugin: "", guard: None }
    }

    /// Says what the work belongs to: the handler that stands for the plugin's background work.
    pub fn of(self, label: HandlerRef) -> Self {
        Self { plugin: &label.plugin_name, guard: label.guard.get(), ..self }
    }

    /// Runs the work. Err: what it threw.
    pub fn run(self) -> Result<(), Failure> {
        // SAFETY: `new` requires a function that accepts `data` on any thread.
        let result = guard::call(self.guard, || unsafe { self.function.may_throw()(self.data) });
        if fork::is_forked() {
            fork::end_returned(&format_args!("plugin `{}`: background work", self.plugin));
        }
        result
    }
}

/// Functions of a fake plugin, for the tests of the modules that store them.
#[cfg(test)]
pub mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::plugin::handler::{Handler, Kind};

    /// Stands for the functions of plugin 0.
    pub fn label(kind: Kind) -> HandlerRef {
        Box::leak(Box::new(Handler::unnamed(0, "test", kind)))
    }

    /// A task that runs a closure.
    pub fn of_closure<F: FnMut() + 'static>(f: F) -> Task {
        unsafe extern "C" fn call<F: FnMut()>(data: *mut c_void, _: *mut abi::Connection) {
            // SAFETY: `data` was made below from a box of this type, and is not freed yet.
            unsafe { (*data.cast::<F>())() };
        }
        unsafe extern "C" fn free<F>(data: *mut c_void) {
            // SAFETY: as in `call`, and `Task::free` calls this once.
            drop(unsafe { Box::from_raw(data.cast::<F>()) });
        }
        let data = Box::into_raw(Box::new(f)).cast();
        // SAFETY: both functions take `data` for a box of `F`, which it is.
        unsafe { Task::new(Some(call::<F>), data, Some(free::<F>)) }
    }

    thread_local! {
        static RECORDED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    /// A message handler of plugin 0 that records messages with that number before them, 1 or 2.
    pub fn of_recorder(number: u32) -> MessageHandler {
        fn record(number: u32, worker: u32, id: u32, data: *const c_void, length: usize) {
            // SAFETY: `MessageHandler::call` passes a slice's pointer and length.
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
        let label = label(Kind::WorkerMessage);
        // SAFETY: both functions accept any message.
        unsafe { MessageHandler::new(if number == 1 { first } else { other }, label) }
    }

    /// Takes what was recorded on this thread.
    pub fn recorded() -> Vec<String> {
        RECORDED.take()
    }

    /// Work that does nothing.
    pub fn no_work() -> Work {
        unsafe extern "C" fn work(_: *mut c_void) {}
        // SAFETY: the function does not use its data.
        unsafe { Work::new(work, ptr::null_mut()) }
    }
}
