//! Host functions about a connection. The parent module says what a handle is.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use callsign_plugin::abi::{self, closed_by, status};
use callsign_websocket::Initiator;

use super::{bytes, c_string, check_may_send, client, code, connection, write_header};
use crate::client::Client;
use crate::client::head::Head;
use crate::plugin::exposed::ExposedConnection;
use crate::worker::Worker;

pub(super) unsafe extern "C" fn send(
    c: *mut abi::Connection,
    op: u8,
    data: *const c_void,
    length: usize,
) -> i32 {
    // SAFETY: by the ABI `c` is NULL or a valid handle, and `data` has `length` bytes, which `send` copies.
    code(check_may_send().and_then(|()| unsafe {
        let (worker, c) = connection(c)?;
        Ok(worker.hub.send(c, op, bytes(data, length)?))
    }))
}

pub(super) unsafe extern "C" fn broadcast(
    source: *mut abi::Connection,
    op: u8,
    data: *const c_void,
    length: usize,
    scope: u32,
) -> i32 {
    if let Err(status) = check_may_send() {
        return status;
    }
    let Some(worker) = Worker::current() else { return status::WRONG_THREAD };
    // SAFETY: by the ABI `source` is NULL or a valid handle, and `data` has `length` bytes, which `broadcast` copies.
    unsafe {
        let source = connection(source).map(|(_, c)| c.id()).ok();
        code(bytes(data, length).map(|data| worker.broadcast(source, op, data, scope)))
    }
}

pub(super) unsafe extern "C" fn close(
    c: *mut abi::Connection,
    code_: u16,
    reason: *const c_char,
    length: usize,
) -> i32 {
    // SAFETY: by the ABI `c` is NULL or a valid handle, and `reason` has `length` bytes, which `close` copies.
    code(check_may_send().and_then(|()| unsafe {
        connection(c).and_then(|(worker, c)| {
            let reason = std::str::from_utf8(bytes(reason.cast(), length)?).map_err(|_| status::BAD_UTF8)?;
            Ok(worker.hub.close(c, code_, reason))
        })
    }))
}

pub(super) unsafe extern "C" fn find(id: u64) -> *mut abi::Connection {
    // The hub holds a reference to the client at least until the running callback returns.
    Worker::current().and_then(|worker| worker.hub.find(id)).map_or(ptr::null_mut(), |c| c.as_ptr())
}

/// A string of the request's head; NULL if there is none.
///
/// # Safety
/// As for [`connection`].
unsafe fn head_string(c: *const abi::Connection, get: impl FnOnce(&Head) -> Option<&CStr>) -> *const c_char {
    // SAFETY: the caller guarantees what `connection` requires.
    let found = unsafe { connection(c) }.ok().and_then(|(_, c)| get(&c.head));
    found.map_or(ptr::null(), CStr::as_ptr)
}

pub(super) unsafe extern "C" fn peer(c: *const abi::Connection) -> *const c_char {
    // SAFETY: by the ABI `c` is NULL or a valid handle.
    let found = unsafe { client(c) };
    found.map_or(ptr::null(), |(_, c)| c.head.peer().as_ptr())
}

pub(super) unsafe extern "C" fn path(c: *const abi::Connection) -> *const c_char {
    // SAFETY: by the ABI `c` is NULL or a valid handle.
    unsafe { head_string(c, |head| Some(head.path())) }
}

pub(super) unsafe extern "C" fn query(c: *const abi::Connection) -> *const c_char {
    // SAFETY: by the ABI `c` is NULL or a valid handle.
    unsafe { head_string(c, |head| Some(head.query())) }
}

pub(super) unsafe extern "C" fn protocol(c: *const abi::Connection) -> *const c_char {
    // SAFETY: by the ABI `c` is NULL or a valid handle.
    let found = unsafe { connection(c) };
    found.map_or(ptr::null(), |(_, c)| c.with_subprotocol(CStr::as_ptr))
}

pub(super) unsafe extern "C" fn certificate(c: *const abi::Connection, length: *mut usize) -> *const u8 {
    // SAFETY: by the ABI `c` is NULL or a valid handle.
    let found = unsafe { client(c) };
    let (der, size) = found.map_or((ptr::null(), 0), |(_, c)| {
        c.with_certificate(|it| it.map_or((ptr::null(), 0), |it| (it.der().as_ptr(), it.der().len())))
    });
    if !length.is_null() {
        // SAFETY: not NULL, and by the ABI it can be written.
        unsafe { *length = size };
    }
    der
}

pub(super) unsafe extern "C" fn certificate_field(
    c: *const abi::Connection,
    kind: u32,
    index: usize,
) -> *const c_char {
    // SAFETY: by the ABI `c` is NULL or a valid handle.
    let found = unsafe { client(c) };
    found.map_or(ptr::null(), |(_, c)| {
        c.with_certificate(|it| it.and_then(|it| it.field(kind, index)).map_or(ptr::null(), CStr::as_ptr))
    })
}

pub(super) unsafe extern "C" fn param(c: *const abi::Connection, name: *const c_char) -> *const c_char {
    // SAFETY: by the ABI `c` is NULL or a valid handle, and `name` NULL or a C string.
    let (found, name) = unsafe { (client(c), c_string(name)) };
    let value = |(_, c): (_, &Client)| {
        c.with_params(|it| it.and_then(|it| it.get(name?)).map_or(ptr::null(), CStr::as_ptr))
    };
    found.map_or(ptr::null(), value)
}

pub(super) unsafe extern "C" fn queued(c: *const abi::Connection) -> usize {
    // SAFETY: by the ABI `c` is NULL or a valid handle.
    unsafe { connection(c) }.map_or(0, |(worker, c)| worker.hub.queued(c))
}

pub(super) unsafe extern "C" fn is_secure(c: *const abi::Connection) -> i32 {
    // SAFETY: by the ABI `c` is NULL or a valid handle.
    let found = unsafe { client(c) };
    found.map_or(0, |(_, c)| i32::from(c.is_secure.get()))
}

pub(super) unsafe extern "C" fn header(c: *const abi::Connection, name: *const c_char) -> *const c_char {
    // SAFETY: by the ABI `c` is NULL or a valid handle, and `name` NULL or a C string.
    unsafe { head_string(c, |head| head.header(c_string(name)?)) }
}

pub(super) unsafe extern "C" fn header_at(
    c: *const abi::Connection,
    index: usize,
    name: *mut *const c_char,
    value: *mut *const c_char,
) -> i32 {
    // SAFETY: by the ABI `c` is NULL or a valid handle; `name` and `value` are NULL or can be written.
    unsafe { write_header(connection(c).ok().and_then(|(_, c)| c.head.header_at(index)), name, value) }
}

pub(super) unsafe extern "C" fn close_code(c: *const abi::Connection) -> u16 {
    // SAFETY: by the ABI `c` is NULL or a valid handle.
    let ending = unsafe { connection(c) }.ok().and_then(|(_, c)| c.endpoint.ending());
    ending.map_or(0, |ending| ending.code)
}

pub(super) unsafe extern "C" fn close_reason(c: *const abi::Connection) -> *const c_char {
    // SAFETY: by the ABI `c` is NULL or a valid handle.
    let Ok((_, c)) = (unsafe { connection(c) }) else { return ptr::null() };
    c.endpoint.ending().map_or(c"".as_ptr(), |ending| ending.reason.as_ptr())
}

pub(super) unsafe extern "C" fn closed_by_(c: *const abi::Connection) -> u32 {
    // SAFETY: by the ABI `c` is NULL or a valid handle.
    let ending = unsafe { connection(c) }.ok().and_then(|(_, c)| c.endpoint.ending());
    ending.map_or(closed_by::NOBODY, |ending| match ending.by {
        Initiator::Server => closed_by::SERVER,
        Initiator::Client => closed_by::CLIENT,
    })
}
