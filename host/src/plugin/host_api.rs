//! Plugin to host: the functions of `struct callsign_host`. Each turns pointers into references, and hands on
//! to safe code. What the functions do is written at `abi::Host`.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::RwLock;
use std::time::Duration;

use callsign_plugin::abi::{self, closed_by, level, status};

use super::call;
use super::handler::Kind;
use super::later::{self, Later, Receiver, Task, Work};
use crate::background::Background;
use crate::connection::Connection;
use crate::http::exchange::{Exchange, Handshake, Owner};
use crate::http::head::Head;
use crate::plugin::registry::Registry;
use crate::posts::Posts;
use crate::timers::Timers;
use crate::worker::Worker;

static TABLE: abi::Host = abi::Host {
    struct_size: size_of::<abi::Host>() as u32,
    abi_major: abi::ABI_MAJOR,
    abi_minor: abi::ABI_MINOR,
    send,
    broadcast,
    close,
    find,
    peer,
    path,
    query,
    header,
    header_at,
    close_code,
    close_reason,
    closed_by: closed_by_,
    request_header,
    request_header_at,
    respond_status,
    respond_header,
    respond_body,
    handshake,
    log: log_,
    fail,
    in_callback,
    extension,
    timer_add,
    timer_remove,
    background,
    save,
    worker_index,
    worker_count,
    worker_send,
    worker_receive,
};

/// The table that plugins are given.
pub(super) fn table() -> *const abi::Host {
    &TABLE
}

/// Slot address and name of each plugin, to tell in any thread who calls.
static CALLERS: RwLock<Vec<(usize, String)>> = RwLock::new(Vec::new());

/// Notes which plugin a host slot belongs to.
pub(super) fn remember(slot: *mut *const abi::Host, name: &str) {
    let mut callers = CALLERS.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    callers.push((slot.addr(), name.to_owned()));
}

/// The worker and its connection; Err: the [`status`] to answer.
///
/// # Safety
/// `c` is NULL or what a callback was handed, and still valid.
unsafe fn connection<'c>(c: *const abi::Connection) -> Result<(&'static Worker, &'c Connection), i32> {
    let worker = Worker::current().ok_or(status::WRONG_THREAD)?;
    if c.is_null() {
        return Err(status::BAD_ARGUMENT);
    }
    // SAFETY: what the host hands out begins with what plugins see; it is of this thread.
    if unsafe { (*c).id } == Owner::ID {
        return Err(status::CLOSED);
    }
    // SAFETY: with an id it is the address of a whole `Connection`.
    Ok((worker, unsafe { &*c.cast::<Connection>() }))
}

/// # Safety
/// As for [`connection`].
unsafe fn exchange<'r>(request: *const abi::Request) -> Result<(&'static Worker, &'r Exchange), i32> {
    let worker = Worker::current().ok_or(status::WRONG_THREAD)?;
    // SAFETY: the host only hands out addresses of whole `Exchange`s; they are of this thread.
    let exchange = unsafe { request.cast::<Exchange>().as_ref() }.ok_or(status::BAD_ARGUMENT)?;
    Ok((worker, exchange))
}

/// # Safety
/// `data` is NULL or `length` bytes that stay as they are until the function returns.
unsafe fn bytes<'d>(data: *const c_void, length: usize) -> Result<&'d [u8], i32> {
    match (data.is_null(), length) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(status::BAD_ARGUMENT),
        // SAFETY: the caller's promise.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(data.cast(), length) }),
    }
}

/// # Safety
/// `text` is NULL or NUL-terminated.
unsafe fn c_string<'t>(text: *const c_char) -> Option<&'t [u8]> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

fn code(result: Result<i32, i32>) -> i32 {
    result.unwrap_or_else(|status| status)
}

/// Err while a hook runs that must leave no trace.
fn may_speak() -> Result<(), i32> {
    if call::is_quiet() { Err(status::NOT_NOW) } else { Ok(()) }
}

unsafe extern "C" fn send(c: *mut abi::Connection, op: u8, data: *const c_void, length: usize) -> i32 {
    // SAFETY: the plugin keeps to the ABI.
    code(may_speak().and_then(|()| unsafe {
        let (_, c) = connection(c)?;
        Ok(c.send(op, bytes(data, length)?))
    }))
}

unsafe extern "C" fn broadcast(
    source: *mut abi::Connection,
    op: u8,
    data: *const c_void,
    length: usize,
    scope: u32,
) -> i32 {
    if let Err(status) = may_speak() {
        return status;
    }
    let Some(worker) = Worker::current() else { return status::WRONG_THREAD };
    // SAFETY: the plugin keeps to the ABI.
    unsafe {
        let source = connection(source).map(|(_, c)| c.id).ok();
        code(bytes(data, length).map(|data| worker.broadcast(source, op, data, scope)))
    }
}

unsafe extern "C" fn close(c: *mut abi::Connection, code_: u16, reason: *const c_char, length: usize) -> i32 {
    // SAFETY: the plugin keeps to the ABI.
    code(may_speak().and_then(|()| unsafe {
        connection(c).and_then(|(_, c)| {
            let reason = std::str::from_utf8(bytes(reason.cast(), length)?).map_err(|_| status::BAD_UTF8)?;
            Ok(c.close(code_, reason))
        })
    }))
}

unsafe extern "C" fn find(id: u64) -> *mut abi::Connection {
    // The list keeps it alive at least until the running callback is over.
    Worker::current().and_then(|worker| worker.find(id)).map_or(ptr::null_mut(), |c| c.as_ptr())
}

/// # Safety
/// As for [`connection`].
unsafe fn head_string(c: *const abi::Connection, get: impl FnOnce(&Head) -> Option<&CStr>) -> *const c_char {
    // SAFETY: the plugin keeps to the ABI.
    let found = unsafe { connection(c) }.ok().and_then(|(_, c)| get(&c.head));
    found.map_or(ptr::null(), CStr::as_ptr)
}

unsafe extern "C" fn peer(c: *const abi::Connection) -> *const c_char {
    // SAFETY: the plugin keeps to the ABI.
    let found = unsafe { head_string(c, |head| Some(head.peer())) };
    // SAFETY: the same; what the host hands out without an id is the address of a whole `Owner`, of this thread.
    if found.is_null() && Worker::current().is_some() && !c.is_null() && unsafe { (*c).id } == Owner::ID {
        // SAFETY: just seen.
        return unsafe { &*c.cast::<Owner>() }.head.peer().as_ptr();
    }
    found
}

unsafe extern "C" fn path(c: *const abi::Connection) -> *const c_char {
    // SAFETY: the plugin keeps to the ABI.
    unsafe { head_string(c, |head| Some(head.path())) }
}

unsafe extern "C" fn query(c: *const abi::Connection) -> *const c_char {
    // SAFETY: the plugin keeps to the ABI.
    unsafe { head_string(c, |head| Some(head.query())) }
}

unsafe extern "C" fn header(c: *const abi::Connection, name: *const c_char) -> *const c_char {
    // SAFETY: the plugin keeps to the ABI.
    unsafe { head_string(c, |head| head.header(c_string(name)?)) }
}

/// # Safety
/// `name` and `value` are NULL or can be written.
unsafe fn write_header(
    pair: Option<(&CStr, &CStr)>,
    name: *mut *const c_char,
    value: *mut *const c_char,
) -> i32 {
    match pair {
        Some((found_name, found_value)) if !name.is_null() && !value.is_null() => {
            // SAFETY: the caller's promise.
            unsafe {
                *name = found_name.as_ptr();
                *value = found_value.as_ptr();
            }
            1
        }
        _ => 0,
    }
}

unsafe extern "C" fn header_at(
    c: *const abi::Connection,
    index: usize,
    name: *mut *const c_char,
    value: *mut *const c_char,
) -> i32 {
    // SAFETY: the plugin keeps to the ABI.
    unsafe { write_header(connection(c).ok().and_then(|(_, c)| c.head.header_at(index)), name, value) }
}

unsafe extern "C" fn close_code(c: *const abi::Connection) -> u16 {
    // SAFETY: the plugin keeps to the ABI.
    let ending = unsafe { connection(c) }.ok().and_then(|(_, c)| c.ending());
    ending.map_or(0, |ending| ending.code)
}

unsafe extern "C" fn close_reason(c: *const abi::Connection) -> *const c_char {
    // SAFETY: the plugin keeps to the ABI.
    let Ok((_, c)) = (unsafe { connection(c) }) else { return ptr::null() };
    c.ending().map_or(c"".as_ptr(), |ending| ending.reason.as_ptr())
}

unsafe extern "C" fn closed_by_(c: *const abi::Connection) -> u32 {
    // SAFETY: the plugin keeps to the ABI.
    let ending = unsafe { connection(c) }.ok().and_then(|(_, c)| c.ending());
    ending.map_or(closed_by::NOBODY, |ending| ending.by)
}

unsafe extern "C" fn request_header(request: *const abi::Request, name: *const c_char) -> *const c_char {
    // SAFETY: the plugin keeps to the ABI.
    let value = unsafe {
        exchange(request).ok().and_then(|(_, exchange)| exchange.owner.head.header(c_string(name)?))
    };
    value.map_or(ptr::null(), CStr::as_ptr)
}

unsafe extern "C" fn request_header_at(
    request: *const abi::Request,
    index: usize,
    name: *mut *const c_char,
    value: *mut *const c_char,
) -> i32 {
    // SAFETY: the plugin keeps to the ABI.
    unsafe {
        write_header(
            exchange(request).ok().and_then(|(_, exchange)| exchange.owner.head.header_at(index)),
            name,
            value,
        )
    }
}

unsafe extern "C" fn respond_status(request: *mut abi::Request, status_: u16) -> i32 {
    // SAFETY: the plugin keeps to the ABI.
    code(unsafe { exchange(request) }.and_then(|(_, exchange)| {
        if !(200..600).contains(&status_) {
            return Err(status::BAD_ARGUMENT);
        }
        exchange.answer.borrow_mut().status = status_;
        Ok(status::SENT)
    }))
}

unsafe extern "C" fn respond_header(
    request: *mut abi::Request,
    name: *const c_char,
    value: *const c_char,
) -> i32 {
    // SAFETY: the plugin keeps to the ABI.
    let (exchange, pair) = unsafe { (exchange(request), c_string(name).zip(c_string(value))) };
    code(exchange.and_then(|(_, exchange)| match pair {
        Some((name, value)) if exchange.add_header(name, value) => Ok(status::SENT),
        _ => Err(status::BAD_ARGUMENT),
    }))
}

unsafe extern "C" fn respond_body(request: *mut abi::Request, data: *const c_void, length: usize) -> i32 {
    // SAFETY: the plugin keeps to the ABI.
    let (exchange, data) = unsafe { (exchange(request), bytes(data, length)) };
    code(exchange.and_then(|(_, exchange)| {
        exchange.answer.borrow_mut().body = bytes::Bytes::copy_from_slice(data?);
        Ok(status::SENT)
    }))
}

unsafe extern "C" fn handshake(
    request: *mut abi::Request,
    onconnect: *const c_char,
    onmessage: *const c_char,
    ondisconnect: *const c_char,
) -> i32 {
    // SAFETY: the plugin keeps to the ABI.
    let names = [onconnect, onmessage, ondisconnect].map(|name| unsafe { c_string(name) });
    // SAFETY: the plugin keeps to the ABI.
    code(unsafe { exchange(request) }.map(|(worker, exchange)| {
        let (result, status) = bind(&worker.registry(), exchange.upgrade, names);
        exchange.answer.borrow_mut().handshake = Some(result);
        status
    }))
}

fn bind(registry: &Registry, upgrade: bool, names: [Option<&[u8]>; 3]) -> (Handshake, i32) {
    if !upgrade {
        return (Handshake::NotUpgrade, status::NOT_UPGRADE);
    }
    // A name that is not UTF-8 becomes one that does not exist.
    let names = names.map(|name| name.map(String::from_utf8_lossy));
    let asking = call::running().map(|handler| handler.plugin);
    match registry.resolve_callbacks(asking, [0, 1, 2].map(|i: usize| names[i].as_deref())) {
        Ok(callbacks) => (Handshake::Bound(callbacks), status::SENT),
        Err(unresolved) => {
            let status = if unresolved.missing { status::NOT_FOUND } else { status::WRONG_KIND };
            (Handshake::Unresolved(unresolved), status)
        }
    }
}

unsafe extern "C" fn log_(
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

unsafe extern "C" fn fail(message: *const c_char, length: usize, file: *const c_char, line: u32) -> i32 {
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

unsafe extern "C" fn in_callback() -> i32 {
    i32::from(call::in_callback())
}

unsafe extern "C" fn extension(_name: *const c_char) -> *const c_void {
    ptr::null()
}

unsafe extern "C" fn timer_add(
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

unsafe extern "C" fn timer_remove(id: u64) -> i32 {
    if !later::on_worker_thread() {
        return status::WRONG_THREAD;
    }
    // What is in use goes on as it was, if the load is refused in the end.
    let registry = Worker::current().map(Worker::registry);
    let in_use = |later: &Later| {
        let mut plugins = registry.iter().flat_map(|registry| registry.plugins());
        plugins.any(|plugin| later.is_of(plugin.index, plugin.generation))
    };
    if call::is_quiet() && Timers::current().is(id, in_use) {
        return status::NOT_NOW;
    }
    if Timers::current().remove(id) { status::SENT } else { status::NOT_FOUND }
}

unsafe extern "C" fn background(
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

unsafe extern "C" fn save(data: *const c_void, length: usize) -> i32 {
    if !later::on_worker_thread() {
        return status::WRONG_THREAD;
    }
    // SAFETY: the plugin keeps to the ABI.
    let data = unsafe { bytes(data, length) };
    code(data.map(|data| if call::save(data) { status::SENT } else { status::NOT_NOW }))
}

unsafe extern "C" fn worker_index() -> u32 {
    Worker::place().0
}

unsafe extern "C" fn worker_count() -> u32 {
    Worker::place().1
}

unsafe extern "C" fn worker_send(
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

unsafe extern "C" fn worker_receive(
    caller: *const *const abi::Host,
    id: u32,
    call: Option<abi::OnWorkerMessage>,
) -> i32 {
    if !later::on_worker_thread() {
        return status::WRONG_THREAD;
    }
    code(later::who(caller, Kind::Post).map(|(label, generation)| {
        // SAFETY: the plugin keeps to the ABI.
        let receiver = call.map(|call| unsafe { Receiver::new(call, label) });
        Posts::current().receive(label.plugin, generation, id, receiver);
        status::SENT
    }))
}
