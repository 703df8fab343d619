//! Host functions about the process: log, failures, timers, background work, saved state, other workers.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::time::Duration;

use callsign_plugin::abi::{self, level, status};

use super::{bytes, c_string, check_may_send, code};
use crate::bridge::background::Background;
use crate::bridge::deferred::DeferredTask;
use crate::bridge::identity;
use crate::bridge::timers::Timers;
use crate::bridge::worker_messages::WorkerMessages;
use crate::plugin::call;
use crate::plugin::callers;
use crate::plugin::deferred::{MessageHandler, Task, Work};
use crate::plugin::handler::Kind;
use crate::system::log as logging;
use crate::system::process::fork;
use crate::worker::Worker;

pub(super) unsafe extern "C" fn log_(
    caller: *const *const abi::Host,
    level_: u32,
    message: *const c_char,
    length: usize,
) {
    // SAFETY: by the ABI `message` has `length` bytes.
    let Ok(message) = (unsafe { bytes(message.cast(), length) }) else { return };
    let name = callers::plugin_name(caller);
    let level_ = match level_ {
        level::ERROR => log::Level::Error,
        level::WARN => log::Level::Warn,
        level::DEBUG => log::Level::Debug,
        _ => log::Level::Info,
    };
    let message = String::from_utf8_lossy(message);
    if fork::is_forked() {
        return logging::print_in_child(&format!("plugin `{name}`: {message}"));
    }
    log::log!(target: "plugin", level_, "plugin `{name}`: {message}");
}

pub(super) unsafe extern "C" fn fail(
    message: *const c_char,
    length: usize,
    file: *const c_char,
    line: u32,
) -> i32 {
    // SAFETY: by the ABI `message` has `length` bytes, and `file` is NULL or a C string.
    let (message, file) = unsafe { (bytes(message.cast(), length), c_string(file)) };
    let Ok(message) = message else { return status::BAD_ARGUMENT };
    let message = match message {
        [] => "it gave no reason".into(),
        _ => String::from_utf8_lossy(message),
    };
    let reason = match file {
        Some(file) => format!("{message} ({}:{line})", String::from_utf8_lossy(file)),
        None => message.into_owned(),
    };
    if call::record_failure(reason) { status::SENT } else { status::WRONG_THREAD }
}

pub(super) unsafe extern "C" fn in_callback() -> i32 {
    i32::from(call::in_callback())
}

pub(super) unsafe extern "C" fn extension(_name: *const c_char) -> *const c_void {
    ptr::null()
}

pub(super) unsafe extern "C" fn timer_add(
    caller: *const *const abi::Host,
    connection: u64,
    delay_ms: u64,
    repeat_ms: u64,
    call: Option<abi::OnLater>,
    data: *mut c_void,
    free: Option<abi::Free>,
) -> u64 {
    if call.is_none() {
        return 0;
    }
    // SAFETY: by the ABI both functions accept `data` on this thread until `free` is called.
    let task = unsafe { Task::new(call, data, free) };
    let Ok(task) = DeferredTask::new(caller, Kind::Timer, connection, task) else { return 0 };
    let repeat = (repeat_ms > 0).then(|| Duration::from_millis(repeat_ms));
    Timers::current().add(task, Duration::from_millis(delay_ms), repeat)
}

pub(super) unsafe extern "C" fn timer_remove(id: u64) -> i32 {
    if !callers::on_worker_thread() {
        return status::WRONG_THREAD;
    }
    if call::is_muted() && Timers::current().owner(id).is_some_and(is_in_use) {
        return status::NOT_NOW;
    }
    if Timers::current().remove(id) { status::SENT } else { status::NOT_FOUND }
}

pub(super) unsafe extern "C" fn background(
    caller: *const *const abi::Host,
    connection: u64,
    work: Option<abi::Work>,
    done: Option<abi::OnLater>,
    data: *mut c_void,
    free: Option<abi::Free>,
) -> i32 {
    let Some(work) = work else { return status::BAD_ARGUMENT };
    // SAFETY: by the ABI `work` accepts `data` on any thread, `done` and `free` on this one until `free` is called.
    let (work, task) = unsafe { (Work::new(work, data), Task::new(done, data, free)) };
    let done = DeferredTask::new(caller, Kind::Background, connection, task);
    code(done.map(|done| Background::current().add(work.of(done.label()), done)))
}

pub(super) unsafe extern "C" fn save(data: *const c_void, length: usize) -> i32 {
    if !callers::on_worker_thread() {
        return status::WRONG_THREAD;
    }
    // SAFETY: by the ABI `data` has `length` bytes.
    let data = unsafe { bytes(data, length) };
    code(data.map(|data| if call::store_saved(data) { status::SENT } else { status::NOT_NOW }))
}

pub(super) unsafe extern "C" fn worker_index() -> u32 {
    identity::get().0
}

pub(super) unsafe extern "C" fn worker_count() -> u32 {
    identity::get().1
}

pub(super) unsafe extern "C" fn worker_send(
    caller: *const *const abi::Host,
    target: u32,
    id: u32,
    data: *const c_void,
    length: usize,
) -> i32 {
    if let Err(status) = check_may_send() {
        return status;
    }
    let Some(worker) = Worker::current() else { return status::WRONG_THREAD };
    // SAFETY: by the ABI `data` has `length` bytes.
    let data = unsafe { bytes(data, length) };
    code(data.and_then(|data| {
        let (label, _) = callers::identify(caller, Kind::WorkerMessage)?;
        Ok(worker.send_worker_message(target, id, &label.plugin_name, data))
    }))
}

pub(super) unsafe extern "C" fn worker_receive(
    caller: *const *const abi::Host,
    id: u32,
    call: Option<abi::OnWorkerMessage>,
) -> i32 {
    if !callers::on_worker_thread() {
        return status::WRONG_THREAD;
    }
    code(callers::identify(caller, Kind::WorkerMessage).and_then(|(label, generation)| {
        if call::is_muted() && is_in_use((label.plugin, generation)) {
            return Err(status::NOT_NOW);
        }
        // SAFETY: by the ABI `call` is a function of that signature, and plugins are never unloaded.
        let handler = call.map(|call| unsafe { MessageHandler::new(call, label) });
        WorkerMessages::current().set_handler(label.plugin, generation, id, handler);
        Ok(status::SENT)
    }))
}

/// Whether that generation of a plugin, by plugin index and generation, is in use. Muted plugin code must not change
/// its timers and message handlers, because the reload may be rejected.
fn is_in_use((index, generation): (usize, u32)) -> bool {
    let registry = Worker::current().map(Worker::registry);
    registry.is_some_and(|registry| registry.get(index).is_some_and(|plugin| plugin.generation == generation))
}
