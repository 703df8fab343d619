//! Host functions about a request and its response. The parent module says what a handle is.

use std::ffi::{CStr, c_char, c_void};
use std::mem::offset_of;
use std::ptr;

use callsign_plugin::abi::{self, status};

use super::{bytes, c_string, code, exchange, write_header};
use crate::bridge::exchange::Handshake;
use crate::plugin::call;
use crate::plugin::registry::Registry;

pub(super) unsafe extern "C" fn request_header(
    request: *const abi::Request,
    name: *const c_char,
) -> *const c_char {
    // SAFETY: by the ABI `request` is NULL or a valid handle, and `name` NULL or a C string.
    let value = unsafe {
        exchange(request).ok().and_then(|(_, exchange)| exchange.client.head.header(c_string(name)?))
    };
    value.map_or(ptr::null(), CStr::as_ptr)
}

pub(super) unsafe extern "C" fn request_header_at(
    request: *const abi::Request,
    index: usize,
    name: *mut *const c_char,
    value: *mut *const c_char,
) -> i32 {
    // SAFETY: by the ABI `request` is NULL or a valid handle; `name` and `value` are NULL or can be written.
    unsafe {
        write_header(
            exchange(request).ok().and_then(|(_, exchange)| exchange.client.head.header_at(index)),
            name,
            value,
        )
    }
}

pub(super) unsafe extern "C" fn respond_status(request: *mut abi::Request, status_: u16) -> i32 {
    // SAFETY: by the ABI `request` is NULL or a valid handle.
    code(unsafe { exchange(request) }.and_then(|(_, exchange)| {
        if !(200..600).contains(&status_) {
            return Err(status::BAD_ARGUMENT);
        }
        exchange.response.borrow_mut().status = status_;
        Ok(status::SENT)
    }))
}

pub(super) unsafe extern "C" fn respond_header(
    request: *mut abi::Request,
    name: *const c_char,
    value: *const c_char,
) -> i32 {
    // SAFETY: by the ABI `request` is NULL or a valid handle; `name` and `value` are NULL or C strings, which
    // `add_header` copies.
    let (exchange, pair) = unsafe { (exchange(request), c_string(name).zip(c_string(value))) };
    code(exchange.and_then(|(_, exchange)| match pair {
        Some((name, value)) if exchange.add_header(name, value) => Ok(status::SENT),
        _ => Err(status::BAD_ARGUMENT),
    }))
}

pub(super) unsafe extern "C" fn respond_body(
    request: *mut abi::Request,
    data: *const c_void,
    length: usize,
) -> i32 {
    // SAFETY: by the ABI `request` is NULL or a valid handle, and `data` has `length` bytes, which are copied.
    let (exchange, data) = unsafe { (exchange(request), bytes(data, length)) };
    code(exchange.and_then(|(_, exchange)| {
        exchange.response.borrow_mut().body = bytes::Bytes::copy_from_slice(data?);
        Ok(status::SENT)
    }))
}

pub(super) unsafe extern "C" fn handshake(
    request: *mut abi::Request,
    onconnect: *const c_char,
    onmessage: *const c_char,
    ondisconnect: *const c_char,
) -> i32 {
    // SAFETY: by the ABI `request` is NULL or a valid handle, and each name NULL or a C string.
    unsafe { handshake_names(request, [onconnect, onmessage, ondisconnect, ptr::null()]) }
}

pub(super) unsafe extern "C" fn handshake_with(
    request: *mut abi::Request,
    handlers: *const abi::Handshake,
) -> i32 {
    const NAMES: usize = offset_of!(abi::Handshake, onconnect);
    if handlers.is_null() {
        return status::BAD_ARGUMENT;
    }
    let mut names = [ptr::null(); 4];
    // SAFETY: by the ABI the struct begins with its size, in bytes, and has at least that many. The names follow each
    // other from `NAMES` on; each is NULL or a C string. `request` is NULL or a valid handle.
    unsafe {
        let size = (&raw const (*handlers).struct_size).read() as usize;
        let first = handlers.byte_add(NAMES).cast::<*const c_char>();
        let present = size.saturating_sub(NAMES) / size_of::<*const c_char>();
        for (i, name) in names.iter_mut().enumerate().take(present) {
            *name = first.add(i).read();
        }
        handshake_names(request, names)
    }
}

/// # Safety
/// `request` is NULL or a valid handle, and each name NULL or a C string.
unsafe fn handshake_names(request: *mut abi::Request, names: [*const c_char; 4]) -> i32 {
    // SAFETY: guaranteed by the caller.
    let names = names.map(|name| unsafe { c_string(name) });
    // SAFETY: guaranteed by the caller.
    code(unsafe { exchange(request) }.map(|(worker, exchange)| {
        let (result, status) = bind(&worker.registry(), exchange.upgrade, names);
        exchange.response.borrow_mut().handshake = Some(result);
        status
    }))
}

/// Resolves the names of a handshake. Returns the result and the [`status`] for the plugin.
fn bind(registry: &Registry, upgrade: bool, names: [Option<&[u8]>; 4]) -> (Handshake, i32) {
    if !upgrade {
        return (Handshake::NotUpgrade, status::NOT_UPGRADE);
    }
    // A name that is not UTF-8 gets replacement characters, and is then not found.
    let names = names.map(|name| name.map(String::from_utf8_lossy));
    let asking = call::running_handler().map(|handler| handler.plugin);
    match registry.resolve_callbacks(asking, names.each_ref().map(|name| name.as_deref())) {
        Ok(callbacks) => (Handshake::Bound(callbacks), status::SENT),
        Err(unresolved) => {
            let status = if unresolved.missing { status::NOT_FOUND } else { status::WRONG_KIND };
            (Handshake::Unresolved(unresolved), status)
        }
    }
}
