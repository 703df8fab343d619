//! A host that is a table of functions and what they were told, one for each thread; and connections for it. It
//! stands where the real one does: it calls hooks by their C signatures.
// Each test file uses a part of it.
#![allow(dead_code)]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::Once;

use callsign_plugin::{__private as hooks, Connection, Load, Shared, State, abi};

/// What the host was told on this thread.
#[derive(Default)]
struct Told {
    is_worker: bool,
    saved: Option<Vec<u8>>,
    failed: Option<String>,
    timers: Vec<(*mut c_void, Option<abi::Free>)>,
}

thread_local!(static TOLD: RefCell<Told> = RefCell::default());

fn told<R>(f: impl FnOnce(&mut Told) -> R) -> R {
    TOLD.with_borrow_mut(f)
}

/// Makes this thread a worker's.
pub fn start() {
    static ONCE: Once = Once::new();
    // SAFETY: the slot is there for the host to write, and no callback has run yet.
    ONCE.call_once(|| unsafe { *hooks::HOST_SLOT = &HOST });
    told(|told| told.is_worker = true);
}

/// What a hook came to.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// The bytes.
    Saved(Vec<u8>),
    NotMine,
    Restart,
    /// Why.
    Failed(String),
}

impl Answer {
    /// The bytes that it must have.
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::Saved(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    fn of(code: i32) -> Self {
        let (saved, failed) = told(|told| (told.saved.take(), told.failed.take()));
        match (code, saved, failed) {
            (abi::saved::SAVED, Some(bytes), None) => Self::Saved(bytes),
            (abi::saved::NOT_MINE, None, None) => Self::NotMine,
            (abi::saved::RESTART, None, None) => Self::Restart,
            (abi::saved::FAILED, None, Some(reason)) => Self::Failed(reason),
            other => panic!("{other:?}"),
        }
    }
}

fn done(code: i32) -> Result<(), String> {
    match (code, told(|told| told.failed.take())) {
        (1, None) => Ok(()),
        (0, Some(reason)) => Err(reason),
        other => panic!("{other:?}"),
    }
}

/// A connection, released when it is dropped.
pub struct Client(*mut abi::Connection);

impl Client {
    pub fn new(id: u64) -> Self {
        start();
        Self(Box::into_raw(Box::new(abi::Connection { data: ptr::null_mut(), id, data_tag: 0 })))
    }

    /// What a connection has become for the next copy of a plugin.
    pub fn restored<S: State>(bytes: &[u8]) -> Result<Self, String> {
        let new = Self::new(7);
        new.restore::<S>(bytes).map(|()| new)
    }

    pub fn c(&self) -> &Connection {
        // SAFETY: a live struct, over which `Connection` is transparent.
        unsafe { &*self.0.cast::<Connection>() }
    }

    pub fn save<S: State>(&self) -> Answer {
        // SAFETY: a live connection.
        Answer::of(unsafe { hooks::save::<S>(self.0) })
    }

    pub fn save_no_state(&self) -> Answer {
        // SAFETY: a live connection.
        Answer::of(unsafe { hooks::save_no_state(self.0) })
    }

    pub fn restore<S: State>(&self, bytes: &[u8]) -> Result<(), String> {
        // SAFETY: a live connection, and bytes with their length.
        done(unsafe { hooks::restore::<S>(self.0, 0, bytes.as_ptr().cast(), bytes.len()) })
    }

    pub fn restore_no_state(&self, bytes: &[u8]) -> Result<(), String> {
        // SAFETY: as above.
        done(unsafe { hooks::restore_no_state(self.0, 0, bytes.as_ptr().cast(), bytes.len()) })
    }

    /// Calls the release hook; why it failed.
    pub fn release(&self) -> Option<String> {
        // SAFETY: a live connection.
        unsafe { hooks::release(self.0) };
        told(|told| told.failed.take())
    }

    /// What another plugin's code does.
    pub fn set_data_by_hand(&self, data: *mut c_void) {
        // SAFETY: a live connection, of this thread.
        unsafe { (*self.0).data = data };
    }

    pub fn has_data(&self) -> bool {
        // SAFETY: as above.
        unsafe { !(*self.0).data.is_null() }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.release();
        // SAFETY: `new` boxed it, and nobody uses it again.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

pub fn save_plugin<S: Shared>() -> Answer {
    // SAFETY: on the worker's thread.
    Answer::of(unsafe { hooks::save_plugin::<S>() })
}

pub fn restore_plugin<S: Shared>(bytes: &[u8]) -> Result<(), String> {
    // SAFETY: bytes with their length.
    done(unsafe { hooks::restore_plugin::<S>(0, bytes.as_ptr().cast(), bytes.len()) })
}

/// Ends the timers, as at a reload: those of the copy that was replaced.
pub fn end_timers() -> usize {
    let timers = told(|told| std::mem::take(&mut told.timers));
    for &(data, free) in &timers {
        let free = free.expect("the SDK's closures are freed");
        // SAFETY: the timer's own, once.
        unsafe { free(data) };
    }
    timers.len()
}

/// Calls an onunload hook; why it failed.
pub fn unload(handler: &abi::Handler) -> Option<String> {
    start();
    assert_eq!(handler.kind, abi::kind::ONUNLOAD);
    // SAFETY: its kind says which it is.
    unsafe { (handler.function.onunload)() };
    told(|told| told.failed.take())
}

/// What an onload hook is told.
pub fn with_load<R>(generation: u32, probe: bool, state: Option<&[u8]>, f: impl FnOnce(&Load) -> R) -> R {
    let load = abi::Load {
        struct_size: size_of::<abi::Load>() as u32,
        generation,
        plugin: c"test".as_ptr(),
        config: c"{}".as_ptr(),
        state: state.map_or(ptr::null(), |state| state.as_ptr().cast()),
        state_length: state.map_or(0, <[u8]>::len),
        state_version: 3,
        probe: probe.into(),
        function: None,
    };
    // SAFETY: `Load` is transparent over the struct.
    f(unsafe { &*(&raw const load).cast::<Load>() })
}

unsafe extern "C" fn save(data: *const c_void, length: usize) -> i32 {
    // SAFETY: the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) };
    told(|told| told.saved = Some(bytes.to_vec()));
    abi::status::SENT
}

/// Keeps the message and the place that is told: its file, and 1 for whatever line.
unsafe extern "C" fn fail(message: *const c_char, length: usize, file: *const c_char, line: u32) -> i32 {
    // SAFETY: the caller's promise.
    let message = unsafe { std::slice::from_raw_parts(message.cast::<u8>(), length) };
    let mut message = String::from_utf8(message.to_vec()).expect("a message is UTF-8");
    if !file.is_null() {
        // SAFETY: the caller's promise.
        let file = unsafe { CStr::from_ptr(file) }.to_string_lossy();
        message += &format!(" ({}:{})", file.rsplit('/').next().unwrap_or_default(), line.min(1));
    }
    told(|told| told.failed = Some(message));
    abi::status::SENT
}

unsafe extern "C" fn in_callback() -> i32 {
    told(|told| told.is_worker).into()
}

unsafe extern "C" fn timer_add(
    _: *const *const abi::Host,
    _: u64,
    _: u64,
    _: u64,
    _: Option<abi::OnLater>,
    data: *mut c_void,
    free: Option<abi::Free>,
) -> u64 {
    told(|told| {
        if !told.is_worker {
            return 0;
        }
        told.timers.push((data, free));
        told.timers.len() as u64
    })
}

unsafe extern "C" fn log(_: *const *const abi::Host, _: u32, message: *const c_char, length: usize) {
    // SAFETY: the caller's promise.
    let message = unsafe { std::slice::from_raw_parts(message.cast::<u8>(), length) };
    eprintln!("{}", CString::new(message).unwrap_or_default().to_string_lossy());
}

/// The rest does nothing: no hook speaks to clients.
static HOST: abi::Host = {
    unsafe extern "C" fn send(_: *mut abi::Connection, _: u8, _: *const c_void, _: usize) -> i32 {
        abi::status::NOT_NOW
    }
    unsafe extern "C" fn broadcast(
        _: *mut abi::Connection,
        _: u8,
        _: *const c_void,
        _: usize,
        _: u32,
    ) -> i32 {
        abi::status::NOT_NOW
    }
    unsafe extern "C" fn close(_: *mut abi::Connection, _: u16, _: *const c_char, _: usize) -> i32 {
        abi::status::NOT_NOW
    }
    unsafe extern "C" fn find(_: u64) -> *mut abi::Connection {
        ptr::null_mut()
    }
    unsafe extern "C" fn text(_: *const abi::Connection) -> *const c_char {
        c"".as_ptr()
    }
    unsafe extern "C" fn header(_: *const abi::Connection, _: *const c_char) -> *const c_char {
        ptr::null()
    }
    type Out = *mut *const c_char;
    unsafe extern "C" fn header_at(_: *const abi::Connection, _: usize, _: Out, _: Out) -> i32 {
        0
    }
    unsafe extern "C" fn close_code(_: *const abi::Connection) -> u16 {
        0
    }
    unsafe extern "C" fn closed_by(_: *const abi::Connection) -> u32 {
        0
    }
    unsafe extern "C" fn request_header(_: *const abi::Request, _: *const c_char) -> *const c_char {
        ptr::null()
    }
    unsafe extern "C" fn request_header_at(_: *const abi::Request, _: usize, _: Out, _: Out) -> i32 {
        0
    }
    unsafe extern "C" fn respond_status(_: *mut abi::Request, _: u16) -> i32 {
        abi::status::WRONG_THREAD
    }
    unsafe extern "C" fn respond_header(_: *mut abi::Request, _: *const c_char, _: *const c_char) -> i32 {
        abi::status::WRONG_THREAD
    }
    unsafe extern "C" fn respond_body(_: *mut abi::Request, _: *const c_void, _: usize) -> i32 {
        abi::status::WRONG_THREAD
    }
    type Name = *const c_char;
    unsafe extern "C" fn handshake(_: *mut abi::Request, _: Name, _: Name, _: Name) -> i32 {
        abi::status::WRONG_THREAD
    }
    unsafe extern "C" fn extension(_: *const c_char) -> *const c_void {
        ptr::null()
    }
    unsafe extern "C" fn timer_remove(_: u64) -> i32 {
        abi::status::NOT_FOUND
    }
    unsafe extern "C" fn background(
        _: *const *const abi::Host,
        _: u64,
        _: Option<abi::Work>,
        _: Option<abi::OnLater>,
        _: *mut c_void,
        _: Option<abi::Free>,
    ) -> i32 {
        abi::status::BUSY
    }
    unsafe extern "C" fn number() -> u32 {
        0
    }
    unsafe extern "C" fn worker_send(
        _: *const *const abi::Host,
        _: u32,
        _: u32,
        _: *const c_void,
        _: usize,
    ) -> i32 {
        abi::status::NOT_FOUND
    }
    unsafe extern "C" fn worker_receive(
        _: *const *const abi::Host,
        _: u32,
        _: Option<abi::OnWorkerMessage>,
    ) -> i32 {
        abi::status::WRONG_THREAD
    }
    abi::Host {
        struct_size: size_of::<abi::Host>() as u32,
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        send,
        broadcast,
        close,
        find,
        peer: text,
        path: text,
        query: text,
        header,
        header_at,
        close_code,
        close_reason: text,
        closed_by,
        request_header,
        request_header_at,
        respond_status,
        respond_header,
        respond_body,
        handshake,
        log,
        fail,
        in_callback,
        extension,
        timer_add,
        timer_remove,
        background,
        save,
        worker_index: number,
        worker_count: number,
        worker_send,
        worker_receive,
    }
};
