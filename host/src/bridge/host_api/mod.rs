//! The functions of `struct callsign_host`, which plugins call. Each turns pointers into references and calls safe
//! code; a [`status`] leaves. `abi::Host` documents what the functions do.
//!
//! A *handle*, in the safety comments, is a `Connection` or `Request` pointer that the host gave to a plugin. It
//! derives from a whole [`Client`] or [`Exchange`] (see [`exposed`](crate::plugin::exposed)), which stays alive on the
//! worker's thread for as long as the ABI lets the plugin use the pointer.
//!
//! Invariant: the functions make shared references to a `Client` or an `Exchange`, never `&mut`, because callbacks hold
//! pointers to the same memory. Everything that changes is in cells.

mod connection; // functions about a connection

mod request; // functions about a request and its response

mod process; // log, timers, background work, state, other workers

use std::ffi::{CStr, c_char, c_void};

use callsign_plugin::abi::{self, status};

use self::connection::{
    broadcast, certificate, certificate_field, close, close_code, close_reason, closed_by_, find, header,
    header_at, is_secure, param, path, peer, protocol, query, queued, send,
};
use self::process::{
    background, extension, fail, in_callback, log_, save, timer_add, timer_remove, worker_count,
    worker_index, worker_receive, worker_send,
};
use self::request::{
    handshake, handshake_with, request_header, request_header_at, respond_body, respond_header,
    respond_status,
};
use crate::bridge::exchange::Exchange;
use crate::client::Client;
use crate::plugin::call;
use crate::plugin::library::HostTable;
use crate::system::process::fork;
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
    protocol,
    certificate,
    certificate_field,
    param,
    queued,
    handshake_with,
    is_secure,
};

/// The table of host functions, for the loader.
pub fn table() -> HostTable {
    &TABLE
}

/// The worker and its client, whose upgrade request may still be unanswered. Err: the [`status`] to return.
///
/// # Safety
/// `c` is NULL, or a handle that stays valid for `'c`.
unsafe fn client<'c>(c: *const abi::Connection) -> Result<(&'static Worker, &'c Client), i32> {
    let worker = Worker::current().ok_or(status::WRONG_THREAD)?;
    // SAFETY: the caller guarantees a valid handle. This is the worker's thread, because it has a current worker.
    let client = unsafe { c.cast::<Client>().as_ref() }.ok_or(status::BAD_ARGUMENT)?;
    Ok((worker, client))
}

/// The worker and its client, if the client was upgraded. Err: the [`status`] to return.
///
/// # Safety
/// As for [`client`].
unsafe fn connection<'c>(c: *const abi::Connection) -> Result<(&'static Worker, &'c Client), i32> {
    // SAFETY: the caller guarantees what `client` requires.
    match unsafe { client(c)? } {
        (_, client) if client.is_requested() => Err(status::CLOSED),
        found => Ok(found),
    }
}

/// The worker and the exchange of a request. Err: the [`status`] to return.
///
/// # Safety
/// `request` is NULL, or a handle that stays valid for `'r`.
unsafe fn exchange<'r>(request: *const abi::Request) -> Result<(&'static Worker, &'r Exchange), i32> {
    let worker = Worker::current().ok_or(status::WRONG_THREAD)?;
    // SAFETY: the caller guarantees a valid handle. This is the worker's thread, because it has a current worker.
    let exchange = unsafe { request.cast::<Exchange>().as_ref() }.ok_or(status::BAD_ARGUMENT)?;
    Ok((worker, exchange))
}

/// A slice of the plugin's memory. Err: [`status::BAD_ARGUMENT`].
///
/// # Safety
/// `data` is NULL or points to `length` bytes that do not change during `'d`.
unsafe fn bytes<'d>(data: *const c_void, length: usize) -> Result<&'d [u8], i32> {
    match (data.is_null(), length) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(status::BAD_ARGUMENT),
        // SAFETY: `data` is not NULL, and the caller guarantees the rest.
        (false, _) => Ok(unsafe { std::slice::from_raw_parts(data.cast(), length) }),
    }
}

/// The bytes of a C string; None for NULL.
///
/// # Safety
/// `text` is NULL, or NUL-terminated and does not change during `'t`.
unsafe fn c_string<'t>(text: *const c_char) -> Option<&'t [u8]> {
    // SAFETY: `text` is not NULL, and the caller guarantees the rest.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// The [`status`] of a result, from either side.
fn code(result: Result<i32, i32>) -> i32 {
    result.unwrap_or_else(|status| status)
}

/// Err if the plugin is muted, see [`call::is_muted`], or if this is a child that it forked, which must not use the
/// sockets of the worker.
fn check_may_send() -> Result<(), i32> {
    if call::is_muted() {
        Err(status::NOT_NOW)
    } else if fork::is_forked() {
        Err(status::WRONG_THREAD)
    } else {
        Ok(())
    }
}

/// Stores a header's name and value for the plugin. Returns 1 if there is a header, 0 if not.
///
/// # Safety
/// `name` and `value` are NULL or valid for a write.
unsafe fn write_header(
    pair: Option<(&CStr, &CStr)>,
    name: *mut *const c_char,
    value: *mut *const c_char,
) -> i32 {
    match pair {
        Some((found_name, found_value)) if !name.is_null() && !value.is_null() => {
            // SAFETY: neither pointer is NULL, and the caller guarantees the rest.
            unsafe {
                *name = found_name.as_ptr();
                *value = found_value.as_ptr();
            }
            1
        }
        _ => 0,
    }
}
