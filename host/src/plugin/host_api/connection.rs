//! What a plugin asks of a connection, and tells it.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use callsign_plugin::abi::{self, closed_by, status};

use super::{bytes, c_string, code, connection, may_speak, write_header};
use crate::http::exchange::Owner;
use crate::http::head::Head;
use crate::worker::Worker;

pub(super) unsafe extern "C" fn send(
    c: *mut abi::Connection,
    op: u8,
    data: *const c_void,
    length: usize,
) -> i32 {
    // SAFETY: the plugin keeps to the ABI.
    code(may_speak().and_then(|()| unsafe {
        let (_, c) = connection(c)?;
        Ok(c.send(op, bytes(data, length)?))
    }))
}

pub(super) unsafe extern "C" fn broadcast(
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

pub(super) unsafe extern "C" fn close(
    c: *mut abi::Connection,
    code_: u16,
    reason: *const c_char,
    length: usize,
) -> i32 {
    // SAFETY: the plugin keeps to the ABI.
    code(may_speak().and_then(|()| unsafe {
        connection(c).and_then(|(_, c)| {
            let reason = std::str::from_utf8(bytes(reason.cast(), length)?).map_err(|_| status::BAD_UTF8)?;
            Ok(c.close(code_, reason))
        })
    }))
}

pub(super) unsafe extern "C" fn find(id: u64) -> *mut abi::Connection {
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

pub(super) unsafe extern "C" fn peer(c: *const abi::Connection) -> *const c_char {
    // SAFETY: the plugin keeps to the ABI.
    let found = unsafe { head_string(c, |head| Some(head.peer())) };
    // SAFETY: the same; what the host hands out without an id is the address of a whole `Owner`, of this thread.
    if found.is_null() && Worker::current().is_some() && !c.is_null() && unsafe { (*c).id } == Owner::ID {
        // SAFETY: just seen.
        return unsafe { &*c.cast::<Owner>() }.head.peer().as_ptr();
    }
    found
}

pub(super) unsafe extern "C" fn path(c: *const abi::Connection) -> *const c_char {
    // SAFETY: the plugin keeps to the ABI.
    unsafe { head_string(c, |head| Some(head.path())) }
}

pub(super) unsafe extern "C" fn query(c: *const abi::Connection) -> *const c_char {
    // SAFETY: the plugin keeps to the ABI.
    unsafe { head_string(c, |head| Some(head.query())) }
}

pub(super) unsafe extern "C" fn header(c: *const abi::Connection, name: *const c_char) -> *const c_char {
    // SAFETY: the plugin keeps to the ABI.
    unsafe { head_string(c, |head| head.header(c_string(name)?)) }
}

pub(super) unsafe extern "C" fn header_at(
    c: *const abi::Connection,
    index: usize,
    name: *mut *const c_char,
    value: *mut *const c_char,
) -> i32 {
    // SAFETY: the plugin keeps to the ABI.
    unsafe { write_header(connection(c).ok().and_then(|(_, c)| c.head.header_at(index)), name, value) }
}

pub(super) unsafe extern "C" fn close_code(c: *const abi::Connection) -> u16 {
    // SAFETY: the plugin keeps to the ABI.
    let ending = unsafe { connection(c) }.ok().and_then(|(_, c)| c.ending());
    ending.map_or(0, |ending| ending.code)
}

pub(super) unsafe extern "C" fn close_reason(c: *const abi::Connection) -> *const c_char {
    // SAFETY: the plugin keeps to the ABI.
    let Ok((_, c)) = (unsafe { connection(c) }) else { return ptr::null() };
    c.ending().map_or(c"".as_ptr(), |ending| ending.reason.as_ptr())
}

pub(super) unsafe extern "C" fn closed_by_(c: *const abi::Connection) -> u32 {
    // SAFETY: the plugin keeps to the ABI.
    let ending = unsafe { connection(c) }.ok().and_then(|(_, c)| c.ending());
    ending.map_or(closed_by::NOBODY, |ending| ending.by)
}
