//! A fake host: a function table that records the calls of each thread, and connections for it. Like the real
//! host, it calls hooks by their C signatures.
#![allow(dead_code, reason = "each test file uses a part of the fake host")]
#![expect(unsafe_code, reason = "the fake host implements the C side of the ABI")]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::Once;

use callsign_plugin::{__private as hooks, Connection, Load, Shared, State, abi};

/// What plugin code on this thread passed to the host.
#[derive(Default)]
struct Recorded {
    is_worker: bool,
    saved: Option<Vec<u8>>,
    failed: Option<String>,
    timers: Vec<(*mut c_void, Option<abi::Free>)>,
}

thread_local!(static RECORDED: RefCell<Recorded> = RefCell::default());

fn recorded<R>(f: impl FnOnce(&mut Recorded) -> R) -> R {
    RECORDED.with_borrow_mut(f)
}

/// Makes this thread a worker thread.
pub fn start() {
    static ONCE: Once = Once::new();
    // SAFETY: the host writes the slot before any callback runs.
    ONCE.call_once(|| unsafe { *hooks::HOST_SLOT = &HOST });
    recorded(|recorded| recorded.is_worker = true);
}

/// The result of a save hook.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The saved bytes.
    Saved(Vec<u8>),
    NotMine,
    Restart,
    /// The reason.
    Failed(String),
}

impl Outcome {
    /// The saved bytes; panics if the hook did not save.
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::Saved(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    fn of(code: i32) -> Self {
        let (saved, failed) = recorded(|recorded| (recorded.saved.take(), recorded.failed.take()));
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
    match (code, recorded(|recorded| recorded.failed.take())) {
        (1, None) => Ok(()),
        (0, Some(reason)) => Err(reason),
        other => panic!("{other:?}"),
    }
}

/// A connection, released on drop.
pub struct Client(*mut abi::Connection);

impl Client {
    pub fn new(id: u64) -> Self {
        start();
        Self(Box::into_raw(Box::new(abi::Connection { data: ptr::null_mut(), id, data_tag: 0 })))
    }

    /// A connection of the new generation, restored from the bytes that the old generation saved.
    pub fn restored<S: State>(bytes: &[u8]) -> Result<Self, String> {
        let new = Self::new(7);
        new.restore::<S>(bytes).map(|()| new)
    }

    pub fn c(&self) -> &Connection {
        // SAFETY: the struct is live, and `Connection` is transparent over it.
        unsafe { &*self.0.cast::<Connection>() }
    }

    pub fn save<S: State>(&self) -> Outcome {
        // SAFETY: the connection is live.
        Outcome::of(unsafe { hooks::save::<S>(self.0) })
    }

    pub fn save_no_state(&self) -> Outcome {
        // SAFETY: the connection is live.
        Outcome::of(unsafe { hooks::save_no_state(self.0) })
    }

    pub fn restore<S: State>(&self, bytes: &[u8]) -> Result<(), String> {
        // SAFETY: the connection is live; pointer and length are those of a slice.
        done(unsafe { hooks::restore::<S>(self.0, 0, bytes.as_ptr().cast(), bytes.len()) })
    }

    pub fn restore_no_state(&self, bytes: &[u8]) -> Result<(), String> {
        // SAFETY: as above.
        done(unsafe { hooks::restore_no_state(self.0, 0, bytes.as_ptr().cast(), bytes.len()) })
    }

    /// Calls the release hook. Returns the reason if the hook failed.
    pub fn release(&self) -> Option<String> {
        // SAFETY: the connection is live.
        unsafe { hooks::release(self.0) };
        recorded(|recorded| recorded.failed.take())
    }

    /// Sets `data` like code of another plugin.
    pub fn set_data_by_hand(&self, data: *mut c_void) {
        // SAFETY: the connection is live and used by this thread only.
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
        // SAFETY: `new` boxed the struct, and nothing uses it afterwards.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

pub fn save_plugin<S: Shared>() -> Outcome {
    // SAFETY: the hook has no requirements.
    Outcome::of(unsafe { hooks::save_plugin::<S>() })
}

pub fn restore_plugin<S: Shared>(bytes: &[u8]) -> Result<(), String> {
    // SAFETY: pointer and length are those of a slice.
    done(unsafe { hooks::restore_plugin::<S>(0, bytes.as_ptr().cast(), bytes.len()) })
}

/// Ends the timers, like the reload that replaces their generation. Returns their number.
pub fn end_timers() -> usize {
    let timers = recorded(|recorded| std::mem::take(&mut recorded.timers));
    for &(data, free) in &timers {
        let free = free.expect("the SDK sets a free function");
        // SAFETY: `data` belongs to the timer, and is freed once.
        unsafe { free(data) };
    }
    timers.len()
}

/// Calls an onunload hook. Returns the reason if the hook failed.
pub fn unload(handler: &abi::Handler) -> Option<String> {
    start();
    assert_eq!(handler.kind, abi::kind::ONUNLOAD);
    // SAFETY: the kind determines the function's type.
    unsafe { (handler.function.onunload)() };
    recorded(|recorded| recorded.failed.take())
}

/// Calls `f` with the argument of an onload hook.
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
        worker: 5,
        replaces: generation - 1,
    };
    // SAFETY: `Load` is transparent over the struct.
    f(unsafe { &*(&raw const load).cast::<Load>() })
}

unsafe extern "C" fn save(data: *const c_void, length: usize) -> i32 {
    // SAFETY: guaranteed by the caller.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) };
    recorded(|recorded| recorded.saved = Some(bytes.to_vec()));
    abi::status::SENT
}

/// Records the message with the file name, and 1 in place of any line number.
unsafe extern "C" fn fail(message: *const c_char, length: usize, file: *const c_char, line: u32) -> i32 {
    // SAFETY: guaranteed by the caller.
    let message = unsafe { std::slice::from_raw_parts(message.cast::<u8>(), length) };
    let mut message = String::from_utf8(message.to_vec()).expect("a message is UTF-8");
    if !file.is_null() {
        // SAFETY: guaranteed by the caller.
        let file = unsafe { CStr::from_ptr(file) }.to_string_lossy();
        message += &format!(" ({}:{})", file.rsplit('/').next().unwrap_or_default(), line.min(1));
    }
    recorded(|recorded| recorded.failed = Some(message));
    abi::status::SENT
}

unsafe extern "C" fn in_callback() -> i32 {
    recorded(|recorded| recorded.is_worker).into()
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
    recorded(|recorded| {
        if !recorded.is_worker {
            return 0;
        }
        recorded.timers.push((data, free));
        recorded.timers.len() as u64
    })
}

unsafe extern "C" fn log(_: *const *const abi::Host, _: u32, message: *const c_char, length: usize) {
    // SAFETY: guaranteed by the caller.
    let message = unsafe { std::slice::from_raw_parts(message.cast::<u8>(), length) };
    eprintln!("{}", CString::new(message).unwrap_or_default().to_string_lossy());
}

/// All other functions do nothing, because hooks do not send to clients.
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
    unsafe extern "C" fn certificate(_: *const abi::Connection, _: *mut usize) -> *const u8 {
        ptr::null()
    }
    unsafe extern "C" fn certificate_field(_: *const abi::Connection, _: u32, _: usize) -> *const c_char {
        ptr::null()
    }
    unsafe extern "C" fn param(_: *const abi::Connection, _: *const c_char) -> *const c_char {
        ptr::null()
    }
    unsafe extern "C" fn queued(_: *const abi::Connection) -> usize {
        0
    }
    unsafe extern "C" fn handshake_with(_: *mut abi::Request, _: *const abi::Handshake) -> i32 {
        abi::status::NOT_UPGRADE
    }
    unsafe extern "C" fn is_secure(_: *const abi::Connection) -> i32 {
        1
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
        protocol: text,
        certificate,
        certificate_field,
        param,
        queued,
        handshake_with,
        is_secure,
    }
};
