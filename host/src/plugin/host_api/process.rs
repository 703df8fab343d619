//! What a plugin wants of the process: log, failure, timers, background work, state, other workers.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::time::Duration;

use callsign_plugin::abi::{self, level, status};

use super::{CALLERS, bytes, c_string, code, may_speak};
use crate::background::Background;
use crate::plugin::call;
use crate::plugin::handler::Kind;
use crate::plugin::later::{self, Later, Receiver, Task, Work};
use crate::posts::Posts;
use crate::timers::Timers;
use crate::worker::Worker;

pub(super) unsafe extern "C" fn log_(
    caller: *const *const abi::Host,
    level_: u32,
    message: *const c_char,
    length: usize,
) {
    // SAFETY: the plugin keeps to the ABI.
    let Ok(message) = (unsafe { bytes(message.cast(), length) }) else { return };
    let callers = CALLERS.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    let name = callers.iter().find(|(slot, _)| *slot == caller.addr()).map_or("?", |(_, name)| name);
    let level_ = match level_ {
        level::ERROR => log::Level::Error,
        level::WARN => log::Level::Warn,
        level::DEBUG => log::Level::Debug,
        _ => log::Level::Info,
    };
    log::log!(target: "plugin", level_, "plugin `{name}`: {}", String::from_utf8_lossy(message));
}

pub(super) unsafe extern "C" fn fail(
    message: *const c_char,
    length: usize,
    file: *const c_char,
    line: u32,
) -> i32 {
    // SAFETY: the plugin keeps to the ABI.
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
    if call::fail(reason) { status::SENT } else { status::WRONG_THREAD }
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
    // SAFETY: the plugin keeps to the ABI.
    let task = unsafe { Task::new(call, data, free) };
    let Ok(later) = Later::new(caller, Kind::Timer, connection, task) else { return 0 };
    let repeat = (repeat_ms > 0).then(|| Duration::from_millis(repeat_ms));
    Timers::current().add(later, Duration::from_millis(delay_ms), repeat)
}

pub(super) unsafe extern "C" fn timer_remove(id: u64) -> i32 {
    if !later::on_worker_thread() {
        return status::WRONG_THREAD;
    }
    if call::is_quiet() && Timers::current().is(id, |timer| is_in_use(timer.whose())) {
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
    // SAFETY: the plugin keeps to the ABI.
    let (work, task) = unsafe { (Work::new(work, data), Task::new(done, data, free)) };
    let done = Later::new(caller, Kind::Background, connection, task);
    code(done.map(|done| Background::current().add(work, done)))
}

pub(super) unsafe extern "C" fn save(data: *const c_void, length: usize) -> i32 {
    if !later::on_worker_thread() {
        return status::WRONG_THREAD;
    }
    // SAFETY: the plugin keeps to the ABI.
    let data = unsafe { bytes(data, length) };
    code(data.map(|data| if call::save(data) { status::SENT } else { status::NOT_NOW }))
}

pub(super) unsafe extern "C" fn worker_index() -> u32 {
    Worker::place().0
}

pub(super) unsafe extern "C" fn worker_count() -> u32 {
    Worker::place().1
}

pub(super) unsafe extern "C" fn worker_send(
    caller: *const *const abi::Host,
    target: u32,
    id: u32,
    data: *const c_void,
    length: usize,
) -> i32 {
    if let Err(status) = may_speak() {
        return status;
    }
    let Some(worker) = Worker::current() else { return status::WRONG_THREAD };
    // SAFETY: the plugin keeps to the ABI.
    let data = unsafe { bytes(data, length) };
    code(data.and_then(|data| {
        let (label, _) = later::who(caller, Kind::Post)?;
        Ok(worker.post(target, id, &label.plugin_name, data))
    }))
}

pub(super) unsafe extern "C" fn worker_receive(
    caller: *const *const abi::Host,
    id: u32,
    call: Option<abi::OnWorkerMessage>,
) -> i32 {
    if !later::on_worker_thread() {
        return status::WRONG_THREAD;
    }
    code(later::who(caller, Kind::Post).and_then(|(label, generation)| {
        if call::is_quiet() && is_in_use((label.plugin, generation)) {
            return Err(status::NOT_NOW);
        }
        // SAFETY: the plugin keeps to the ABI.
        let receiver = call.map(|call| unsafe { Receiver::new(call, label) });
        Posts::current().receive(label.plugin, generation, id, receiver);
        Ok(status::SENT)
    }))
}

/// Whether that copy of a plugin, by index and generation, is in use. While hooks of a load run it stays as it is: the
/// load may be refused in the end.
fn is_in_use((index, generation): (usize, u32)) -> bool {
    let registry = Worker::current().map(Worker::registry);
    registry.is_some_and(|registry| registry.get(index).is_some_and(|plugin| plugin.generation == generation))
}
