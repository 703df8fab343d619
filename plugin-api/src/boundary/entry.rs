//! Host to plugin: the entry points behind the macros. They catch panics and report them to the host with
//! file and line. They report an `Err` in the same way.

use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_void};
use std::fmt::{self, Display};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use super::RawConnection;
use super::backtrace;
use super::host::{fail, in_callback};
use super::load::RawLoad;
use crate::abi;
use crate::connection::Connection;
use crate::load::Load;
use crate::message::Message;
use crate::request::{Request, Response};

/// The return type of a handler: a value, or a `Result` with that value.
pub trait Outcome<T> {
    /// The value, or the reason of the failure.
    fn into_result(self) -> Result<T, String>;
}

impl<T> Outcome<T> for T {
    fn into_result(self) -> Result<T, String> {
        Ok(self)
    }
}

impl<T, E: Display> Outcome<T> for Result<T, E> {
    fn into_result(self) -> Result<T, String> {
        // With its causes, if it is an error such as that of the crate `anyhow`.
        self.map_err(|error| format!("{error:#}"))
    }
}

/// Source location of a panic.
struct Place {
    file: CString,
    line: u32,
}

/// The reason why a callback failed.
pub(super) struct Failed {
    message: String,
    place: Option<Place>,
}

impl Failed {
    /// Reports to the host that the running callback failed.
    pub(super) fn report(self) {
        fail(&self.message, self.place.as_ref().map(|place| (place.file.as_c_str(), place.line)));
    }
}

impl Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.place {
            Some(Place { file, line }) => write!(f, " ({}:{line})", file.to_string_lossy()),
            None => Ok(()),
        }
    }
}

thread_local! {
    /// Set by the panic hook, taken by `catch`.
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
    /// Whether this thread is running background work.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// Installs a panic hook that records the location of panics in callbacks and in background work, which the
/// host logs. The previous hook prints panics of other threads.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| match info.location() {
            Some(location) if in_callback() || AT_WORK.get() => {
                backtrace::log_backtrace(location);
                let file = CString::new(location.file()).unwrap_or_default();
                PLACE.set(Some(Place { file, line: location.line() }));
            }
            _ => previous(info),
        }));
    });
}

/// Runs a callback. Reports a failure to the host and returns None.
pub(super) fn guard<T>(f: impl FnOnce() -> Result<T, String>) -> Option<T> {
    catch(f).map_err(Failed::report).ok()
}

/// Runs a hook that returns an integer. Reports a failure to the host and returns `failed`.
pub(super) fn catch_number(failed: i32, f: impl FnOnce() -> Result<i32, String>) -> i32 {
    guard(f).unwrap_or(failed)
}

/// Runs background work, on a pool thread.
pub(super) fn catch_at_work<T>(work: impl FnOnce() -> T) -> Result<T, Failed> {
    AT_WORK.set(true);
    let result = catch(|| Ok(work()));
    AT_WORK.set(false);
    result
}

fn catch<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, Failed> {
    install_panic_hook();
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result.map_err(|message| Failed { message, place: None }),
        Err(payload) => {
            let message = (payload.downcast_ref::<&str>().copied())
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("(no message)");
            let failed = Failed { message: format!("panicked: {message}"), place: PLACE.take() };
            // Forgotten, because dropping the payload could panic and unwind into the host.
            std::mem::forget(payload);
            Err(failed)
        }
    }
}

/// # Safety
/// `c` must be as [`abi::OnConnect`] guarantees.
#[inline]
pub unsafe fn call_onconnect<R: Outcome<()>>(c: *mut abi::Connection, f: impl FnOnce(&Connection) -> R) {
    // SAFETY: `Connection` is transparent over the host's struct, which is live until the callback returns.
    let c = unsafe { &*c.cast::<Connection>() };
    guard(|| f(c).into_result());
}

/// # Safety
/// The arguments must be as [`abi::OnMessage`] guarantees.
#[inline]
pub unsafe fn call_onmessage<R: Outcome<()>>(
    c: *mut abi::Connection,
    op: u8,
    data: *const c_void,
    length: usize,
    f: impl FnOnce(&Connection, Message<'_>) -> R,
) {
    // SAFETY: as in `call_onconnect`; `data` is `length` bytes, and UTF-8 when `op` is TEXT.
    let (c, message) = unsafe {
        let bytes = std::slice::from_raw_parts(data.cast::<u8>(), length);
        let message = match op {
            abi::op::TEXT => Message::Text(std::str::from_utf8_unchecked(bytes)),
            _ => Message::Binary(bytes),
        };
        (&*c.cast::<Connection>(), message)
    };
    guard(|| f(c, message).into_result());
}

/// # Safety
/// `c` must be as [`abi::OnDisconnect`] guarantees.
#[inline]
pub unsafe fn call_ondisconnect<R: Outcome<()>>(c: *mut abi::Connection, f: impl FnOnce(&Connection) -> R) {
    // SAFETY: guaranteed by the caller.
    unsafe { call_onconnect(c, f) }
}

/// # Safety
/// `c` must be as [`abi::OnDrain`] guarantees.
#[inline]
pub unsafe fn call_ondrain<R: Outcome<()>>(c: *mut abi::Connection, f: impl FnOnce(&Connection) -> R) {
    // SAFETY: guaranteed by the caller.
    unsafe { call_onconnect(c, f) }
}

/// # Safety
/// `request` must be as [`abi::OnRequest`] guarantees.
pub unsafe fn call_onrequest<R: Outcome<Response>>(
    request: *mut abi::Request,
    f: impl FnOnce(&mut Request) -> R,
) -> i32 {
    // SAFETY: `Request` is transparent over the host's struct; the handler has exclusive access to it until
    // it returns.
    let request = unsafe { &mut *request.cast::<Request>() };
    let handled = guard(|| {
        let response = f(request).into_result()?;
        request.raw.respond(response)
    });
    i32::from(handled.is_some())
}

/// # Safety
/// `load` must be as [`abi::OnLoad`] guarantees.
pub unsafe fn call_onload<R: Outcome<()>>(load: *const abi::Load, f: impl FnOnce(&Load) -> R) -> i32 {
    // SAFETY: the host's struct is live until the hook returns.
    let load = unsafe { RawLoad::of_host(load) };
    i32::from(guard(|| f(&Load { raw: load }).into_result()).is_some())
}

/// # Safety
/// Only the host may call it, as [`abi::OnUnload`] describes.
pub unsafe fn call_onunload<R: Outcome<()>>(f: impl FnOnce() -> R) {
    guard(|| f().into_result());
}

/// The descriptor's release hook: drops the connection's data.
///
/// # Safety
/// `c` must be a live connection of the host, and no other reference to its data may exist.
pub unsafe extern "C" fn release(c: *mut abi::Connection) {
    // SAFETY: `RawConnection` is transparent over the host's struct, which is live until this returns.
    let c = unsafe { &*c.cast::<RawConnection>() };
    guard(|| {
        c.free_data();
        Ok(())
    });
}
