//! Plugin to host: the functions of `struct callsign_host`. Each turns pointers into references, and hands on
//! to safe code. What the functions do is written at `abi::Host`.

mod connection; // what it asks of a connection, and tells it

mod request; // what it asks of a request, and answers

mod process; // log, timers, background work, state, other workers

use std::ffi::{CStr, c_char, c_void};
use std::sync::RwLock;

use callsign_plugin::abi::{self, status};

use self::connection::{
    broadcast, close, close_code, close_reason, closed_by_, find, header, header_at, path, peer, query, send,
};
use self::process::{
    background, extension, fail, in_callback, log_, save, timer_add, timer_remove, worker_count,
    worker_index, worker_receive, worker_send,
};
use self::request::{
    handshake, request_header, request_header_at, respond_body, respond_header, respond_status,
};
use super::call;
use crate::connection::Connection;
use crate::http::exchange::{Exchange, Owner};
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
