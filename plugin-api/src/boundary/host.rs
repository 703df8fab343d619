//! Plugin to host: the host's function table, and safe methods over the structs of the host.

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::abi::{self, status};
use crate::connection::Connection;
use crate::message::Status;
use crate::request::Response;

const NO_HOST: &str = "no host has loaded this library";

static HOST: AtomicPtr<abi::Host> = AtomicPtr::new(ptr::null_mut());

/// Where the host writes the address of its function table; part of the descriptor.
pub const HOST_SLOT: *mut *const abi::Host = HOST.as_ptr().cast();

/// The host's function table; None if no host has loaded the library.
pub(super) fn host() -> Option<&'static abi::Host> {
    // SAFETY: the host writes the slot before it calls the plugin, and the table lives as long as the
    // process.
    unsafe { HOST.load(Ordering::Relaxed).as_ref() }
}

/// The bytes of a string that the host owns; None for NULL. The caller must choose `'a` no longer than the
/// ABI guarantees for that string.
fn bytes<'a>(text: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: strings of the host are NULL or NUL-terminated.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// A string of the host that is UTF-8, or ASCII by its grammar (paths, addresses, methods). "" for NULL.
pub(super) fn text<'a>(text: *const c_char) -> &'a str {
    bytes(text).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Calls a `header_at` function.
fn pair<'a>(get: impl FnOnce(*mut *const c_char, *mut *const c_char) -> i32) -> Option<(&'a str, &'a [u8])> {
    let (mut name, mut value) = (ptr::null(), ptr::null());
    if get(&mut name, &mut value) != 1 {
        return None;
    }
    Some((text(name), bytes(value)?))
}

/// The host, if it has the two functions about a client's certificate. Hosts of ABI 1.0 do not have them.
fn host_with_certificates() -> Option<&'static abi::Host> {
    host().filter(|host| host.struct_size as usize > std::mem::offset_of!(abi::Host, certificate_field))
}

/// The certificate of a client, which has a connection or is the owner of a request. The caller must choose `'a` no longer
/// than the connection or the request.
fn certificate_of<'a>(c: *const abi::Connection) -> Option<&'a [u8]> {
    let mut length = 0;
    // SAFETY: the pointer is one that the host gave, and is live; the host writes `length` before the call returns.
    let der = unsafe { (host_with_certificates()?.certificate)(c, &mut length) };
    // SAFETY: the host returns NULL, or so many bytes that live as long as the connection or the request.
    (!der.is_null()).then(|| unsafe { std::slice::from_raw_parts(der, length) })
}

/// A part of that certificate. The caller must choose `'a` as for [`certificate_of`].
fn certificate_field_of<'a>(c: *const abi::Connection, kind: u32, index: usize) -> Option<&'a str> {
    // SAFETY: as in `certificate_of`.
    let field = bytes(unsafe { (host_with_certificates()?.certificate_field)(c, kind, index) })?;
    std::str::from_utf8(field).ok()
}

/// A parameter in the path of a client's request. The caller must choose `'a` as for [`certificate_of`].
fn param_of<'a>(c: *const abi::Connection, name: &str) -> Option<&'a str> {
    let name = CString::new(name).ok()?;
    // Hosts of ABI 1.0 do not have the function.
    let host = host().filter(|host| host.struct_size as usize > std::mem::offset_of!(abi::Host, param))?;
    // SAFETY: as in `certificate_of`; the host reads `name` before the call returns.
    std::str::from_utf8(bytes(unsafe { (host.param)(c, name.as_ptr()) })?).ok()
}

/// Whether what a client sends is encrypted on its way; `c` is a connection, or the owner of a request.
fn is_secure(c: *const abi::Connection) -> bool {
    // Hosts of ABI 1.0 do not have the function.
    let has = |host: &&abi::Host| host.struct_size as usize > std::mem::offset_of!(abi::Host, is_secure);
    // SAFETY: the pointer is one that the host gave, and is live.
    host().filter(has).is_some_and(|host| unsafe { (host.is_secure)(c) } != 0)
}

/// A connection as the host passes it.
#[repr(transparent)]
pub struct RawConnection(UnsafeCell<abi::Connection>);

impl RawConnection {
    pub(super) fn as_ptr(&self) -> *mut abi::Connection {
        self.0.get()
    }

    pub fn id(&self) -> u64 {
        // SAFETY: the host passes a live struct; host and plugin access it on this thread only.
        unsafe { (*self.as_ptr()).id }
    }

    pub fn send(&self, op: u8, data: &[u8]) -> Status {
        // SAFETY: the connection is live; the host reads `data` before the call returns.
        call(|host| unsafe { (host.send)(self.as_ptr(), op, data.as_ptr().cast(), data.len()) })
    }

    pub fn broadcast(&self, op: u8, data: &[u8], scope: u32) -> Status {
        // SAFETY: as in `send`.
        call(|host| unsafe { (host.broadcast)(self.as_ptr(), op, data.as_ptr().cast(), data.len(), scope) })
    }

    pub fn close(&self, code: u16, reason: &str) -> Status {
        // SAFETY: as in `send`.
        call(|host| unsafe { (host.close)(self.as_ptr(), code, reason.as_ptr().cast(), reason.len()) })
    }

    pub fn peer(&self) -> &str {
        // SAFETY: the connection is live, and the string lives as long as the connection.
        text(host().map_or(ptr::null(), |host| unsafe { (host.peer)(self.as_ptr()) }))
    }

    pub fn path(&self) -> &str {
        // SAFETY: as in `peer`.
        text(host().map_or(ptr::null(), |host| unsafe { (host.path)(self.as_ptr()) }))
    }

    pub fn query(&self) -> &str {
        // SAFETY: as in `peer`.
        text(host().map_or(ptr::null(), |host| unsafe { (host.query)(self.as_ptr()) }))
    }

    pub fn protocol(&self) -> &str {
        // Hosts of ABI 1.0 do not have the function.
        let has = |host: &&abi::Host| host.struct_size as usize > std::mem::offset_of!(abi::Host, protocol);
        // SAFETY: as in `peer`.
        text(host().filter(has).map_or(ptr::null(), |host| unsafe { (host.protocol)(self.as_ptr()) }))
    }

    pub fn certificate(&self) -> Option<&[u8]> {
        certificate_of(self.as_ptr())
    }

    pub fn certificate_field(&self, kind: u32, index: usize) -> Option<&str> {
        certificate_field_of(self.as_ptr(), kind, index)
    }

    pub fn param(&self, name: &str) -> Option<&str> {
        param_of(self.as_ptr(), name)
    }

    pub fn is_secure(&self) -> bool {
        is_secure(self.as_ptr())
    }

    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let name = CString::new(name).ok()?;
        // SAFETY: as in `peer`; the host reads `name` before the call returns.
        bytes(unsafe { (host()?.header)(self.as_ptr(), name.as_ptr()) })
    }

    pub fn header_at(&self, index: usize) -> Option<(&str, &[u8])> {
        let host = host()?;
        // SAFETY: as in `peer`; the host writes both results before the call returns.
        pair(|name, value| unsafe { (host.header_at)(self.as_ptr(), index, name, value) })
    }

    pub fn queued(&self) -> usize {
        // Hosts of ABI 1.0 do not have the function.
        let has = |host: &&abi::Host| host.struct_size as usize > std::mem::offset_of!(abi::Host, queued);
        // SAFETY: the connection is live.
        host().filter(has).map_or(0, |host| unsafe { (host.queued)(self.as_ptr()) })
    }

    pub fn close_code(&self) -> u16 {
        // SAFETY: the connection is live.
        host().map_or(0, |host| unsafe { (host.close_code)(self.as_ptr()) })
    }

    pub fn close_reason(&self) -> &str {
        // SAFETY: as in `peer`.
        text(host().map_or(ptr::null(), |host| unsafe { (host.close_reason)(self.as_ptr()) }))
    }

    pub fn closed_by(&self) -> u32 {
        // SAFETY: the connection is live.
        host().map_or(abi::closed_by::NOBODY, |host| unsafe { (host.closed_by)(self.as_ptr()) })
    }
}

/// A request as the host passes it.
#[repr(transparent)]
pub struct RawRequest(UnsafeCell<abi::Request>);

impl RawRequest {
    fn get(&self) -> &abi::Request {
        // SAFETY: the host passes a live struct and does not change it while the handler runs.
        unsafe { &*self.0.get() }
    }

    pub fn method(&self) -> &str {
        text(self.get().method)
    }

    pub fn path(&self) -> &str {
        text(self.get().path)
    }

    pub fn query(&self) -> &str {
        text(self.get().query)
    }

    pub fn peer(&self) -> &str {
        text(self.get().peer)
    }

    pub fn is_upgrade(&self) -> bool {
        self.get().upgrade != 0
    }

    pub fn certificate(&self) -> Option<&[u8]> {
        certificate_of(self.get().owner)
    }

    pub fn certificate_field(&self, kind: u32, index: usize) -> Option<&str> {
        certificate_field_of(self.get().owner, kind, index)
    }

    pub fn param(&self, name: &str) -> Option<&str> {
        param_of(self.get().owner, name)
    }

    pub fn is_secure(&self) -> bool {
        is_secure(self.get().owner)
    }

    pub fn body(&self) -> &[u8] {
        let request = self.get();
        // SAFETY: `body` is not NULL and has `body_length` bytes, valid while the handler runs.
        unsafe { std::slice::from_raw_parts(request.body, request.body_length) }
    }

    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let name = CString::new(name).ok()?;
        // SAFETY: the request is live, and the string is valid while the handler runs.
        bytes(unsafe { (host()?.request_header)(self.0.get(), name.as_ptr()) })
    }

    pub fn header_at(&self, index: usize) -> Option<(&str, &[u8])> {
        let host = host()?;
        // SAFETY: as in `header`; the host writes both results before the call returns.
        pair(|name, value| unsafe { (host.request_header_at)(self.0.get(), index, name, value) })
    }

    /// Passes the response to the host. Err: what the host rejected.
    pub(super) fn respond(&self, response: Response) -> Result<(), String> {
        let host = host().ok_or(NO_HOST)?;
        let request = self.0.get();
        let string =
            |text: &str| CString::new(text).map_err(|_| format!("`{}` contains a NUL", text.escape_debug()));
        for (name, value) in &response.headers {
            let (c_name, c_value) = (string(name)?, string(value)?);
            // SAFETY: the request is live; the host reads the strings before the call returns.
            if unsafe { (host.respond_header)(request, c_name.as_ptr(), c_value.as_ptr()) } < 0 {
                return Err(format!(
                    "the answer's header `{name}: {value}` is malformed, is a second subprotocol, or is one that only \
                     the host sets"
                ));
            }
        }
        if let Some(names) = response.handshake {
            let names = names.map(|name| name.map(|name| string(&name)).transpose());
            let [onconnect, onmessage, ondisconnect, ondrain] = names;
            let names = [onconnect?, onmessage?, ondisconnect?, ondrain?];
            let pointers =
                names.each_ref().map(|name| name.as_ref().map_or(ptr::null(), |name| name.as_ptr()));
            let [onconnect, onmessage, ondisconnect, ondrain] = pointers;
            if ondrain.is_null() {
                // SAFETY: as above. The status is not checked, because the host itself responds to the client and
                // logs.
                unsafe { (host.handshake)(request, onconnect, onmessage, ondisconnect) };
                return Ok(());
            }
            if host.struct_size as usize <= std::mem::offset_of!(abi::Host, handshake_with) {
                return Err("this server is too old for ondrain handlers".to_owned());
            }
            let struct_size = size_of::<abi::Handshake>() as u32;
            let handlers =
                abi::Handshake { struct_size, reserved: 0, onconnect, onmessage, ondisconnect, ondrain };
            // SAFETY: as above; the host reads the struct before the call returns.
            unsafe { (host.handshake_with)(request, &handlers) };
            return Ok(());
        }
        // SAFETY: as above; the host copies the body before the call returns.
        let (status, body) = unsafe {
            (
                (host.respond_status)(request, response.status),
                (host.respond_body)(request, response.body.as_ptr().cast(), response.body.len()),
            )
        };
        match (status, body) {
            (status::SENT, status::SENT) => Ok(()),
            (status::SENT, _) => Err("the host rejected the body of the response".to_owned()),
            _ => Err(format!("status {} is not one of 200 to 599", response.status)),
        }
    }
}

/// Calls a function of the host that returns a status.
fn call(f: impl FnOnce(&abi::Host) -> i32) -> Status {
    host().map_or(Status::NoHost, |host| Status::from_code(f(host)))
}

pub fn broadcast_to_all(op: u8, data: &[u8], scope: u32) -> Status {
    // SAFETY: the source may be NULL; the host reads `data` before the call returns.
    call(|host| unsafe { (host.broadcast)(ptr::null_mut(), op, data.as_ptr().cast(), data.len(), scope) })
}

pub fn with_connection<R>(id: u64, f: impl FnOnce(&Connection) -> R) -> Option<R> {
    // SAFETY: the host returns NULL or a connection that is live until the running callback returns, and `f`
    // returns before that. `Connection` is transparent over the struct.
    let c = unsafe { (host()?.find)(id).cast::<Connection>().as_ref() }?;
    Some(f(c))
}

pub fn log(level: u32, message: &str) {
    if let Some(host) = host() {
        // SAFETY: the slot belongs to this plugin; the host reads the message before the call returns.
        unsafe { (host.log)(HOST_SLOT, level, message.as_ptr().cast(), message.len()) };
    } else {
        eprintln!("{message}");
    }
}

/// Passes the bytes of a save hook to the host.
pub(super) fn save_bytes(bytes: &[u8]) -> Result<(), String> {
    let host = host().ok_or(NO_HOST)?;
    // SAFETY: the host reads the bytes before the call returns.
    match unsafe { (host.save)(bytes.as_ptr().cast(), bytes.len()) } {
        0.. => Ok(()),
        status => Err(format!("the host rejected the {} bytes of state (status {status})", bytes.len())),
    }
}

/// Whether this thread is known not to be the worker thread. False in a unit test, where no host exists.
pub fn is_off_the_worker() -> bool {
    host().is_some() && !in_callback()
}

pub(super) fn fail(message: &str, place: Option<(&CStr, u32)>) {
    if let Some(host) = host() {
        let (file, line) = place.map_or((ptr::null(), 0), |(file, line)| (file.as_ptr(), line));
        // SAFETY: the host reads message and file before the call returns.
        unsafe { (host.fail)(message.as_ptr().cast(), message.len(), file, line) };
    }
}

pub(super) fn in_callback() -> bool {
    // SAFETY: no arguments; any thread may call it.
    host().is_some_and(|host| unsafe { (host.in_callback)() } == 1)
}
