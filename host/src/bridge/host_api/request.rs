//! Host functions about a request and its response. The parent module says what a handle is.

use std::ffi::{CStr, c_char, c_void};
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
    // SAFETY: by the ABI each name is NULL or a C string.
    let names = [onconnect, onmessage, ondisconnect].map(|name| unsafe { c_string(name) });
    // SAFETY: by the ABI `request` is NULL or a valid handle.
    code(unsafe { exchange(request) }.map(|(worker, exchange)| {
        let (result, status) = bind(&worker.registry(), exchange.upgrade, names);
        exchange.response.borrow_mut().handshake = Some(result);
        status
    }))
}

/// Resolves the names of a handshake. Returns the result and the [`status`] for the plugin.
fn bind(registry: &Registry, upgrade: bool, names: [Option<&[u8]>; 3]) -> (Handshake, i32) {
    if !upgrade {
        return (Handshake::NotUpgrade, status::NOT_UPGRADE);
    }
    // A name that is not UTF-8 gets replacement characters, and is then not found.
    let names = names.map(|name| name.map(String::from_utf8_lossy));
    let asking = call::running_handler().map(|handler| handler.plugin);
    match registry.resolve_callbacks(asking, [0, 1, 2].map(|i: usize| names[i].as_deref())) {
        Ok(callbacks) => (Handshake::Bound(callbacks), status::SENT),
        Err(unresolved) => {
            let status = if unresolved.missing { status::NOT_FOUND } else { status::WRONG_KIND };
            (Handshake::Unresolved(unresolved), status)
        }
    }
}
