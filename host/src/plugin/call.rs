//! Host to plugin: calls a handler, knows which one is running, and learns whether it failed.

use std::cell::{Cell, RefCell};

use callsign_plugin::abi;

use super::handler::{Handler, HandlerRef, Kind};
use crate::board;
use crate::connection::Connection;
use crate::http::exchange::Exchange;

/// The code of a handler, by kind. Only the loader makes one.
#[derive(Clone, Copy, Debug)]
pub enum Function {
    /// [`abi::OnConnect`]; an ondisconnect handler has the same signature.
    OnConnection(abi::OnConnect),
    /// [`abi::OnMessage`]
    OnMessage(abi::OnMessage),
    /// [`abi::OnRequest`]
    OnRequest(abi::OnRequest),
    /// [`abi::OnLoad`]
    OnLoad(abi::OnLoad),
    /// [`abi::OnUnload`]
    OnUnload(abi::OnUnload),
    /// Timers and work off the loop bring their own, each time.
    None,
}

impl Function {
    /// # Safety
    /// `kind` says which member of the union is set.
    pub(super) unsafe fn of_union(kind: Kind, function: abi::HandlerFunction) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            match kind {
                Kind::OnConnect => Self::OnConnection(function.onconnect),
                Kind::OnDisconnect => Self::OnConnection(function.ondisconnect),
                Kind::OnMessage => Self::OnMessage(function.onmessage),
                Kind::OnRequest => Self::OnRequest(function.onrequest),
                Kind::OnLoad => Self::OnLoad(function.onload),
                Kind::OnUnload => Self::OnUnload(function.onunload),
                Kind::Timer | Kind::Background | Kind::Post => Self::None,
            }
        }
    }
}

/// Why a handler failed, in its own words.
pub type Failure = String;

thread_local! {
    static RUNNING: Cell<Option<HandlerRef>> = const { Cell::new(None) };
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
    static FAILED: Cell<bool> = const { Cell::new(false) };
    static FAILURE: RefCell<Failure> = const { RefCell::new(String::new()) };
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static SAVING: Cell<bool> = const { Cell::new(false) };
    static SAVED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Whether a hook runs on this thread whose effects may have to be undone: it can reach nobody.
pub(super) fn is_quiet() -> bool {
    QUIET.get()
}

/// Runs hooks whose effects may have to be undone.
pub fn quietly<R>(f: impl FnOnce() -> R) -> R {
    let before = QUIET.replace(true);
    let result = f();
    QUIET.set(before);
    result
}

/// Runs a save hook; its answer, and what it has saved.
pub(super) fn collect_saved<R>(f: impl FnOnce() -> R) -> (R, Option<Vec<u8>>) {
    SAVING.set(true);
    let answer = quietly(f);
    SAVING.set(false);
    (answer, SAVED.take())
}

/// The running save hook hands over what it has saved. False: none is running.
pub(super) fn save(state: &[u8]) -> bool {
    if SAVING.get() {
        SAVED.set(Some(state.to_vec()));
    }
    SAVING.get()
}

/// The handler that runs on this thread now.
pub fn running() -> Option<HandlerRef> {
    RUNNING.get()
}

/// Whether plugin code runs on this thread now.
pub fn in_callback() -> bool {
    IN_CALLBACK.get()
}

/// The running callback says that it has failed. False: none is running.
pub(super) fn fail(reason: Failure) -> bool {
    if !in_callback() {
        return false;
    }
    FAILED.set(true);
    FAILURE.set(reason);
    true
}

#[inline]
pub(super) fn call<R>(handler: Option<HandlerRef>, index: u32, f: impl FnOnce() -> R) -> Result<R, Failure> {
    let slot = board::current();
    RUNNING.set(handler);
    IN_CALLBACK.set(true);
    slot.enter(index);
    let result = f();
    slot.leave();
    IN_CALLBACK.set(false);
    RUNNING.set(None);
    if FAILED.get() { Err(take_failure()) } else { Ok(result) }
}

/// Runs code in the name of a handler.
#[inline]
pub(super) fn call_handler<R>(handler: HandlerRef, f: impl FnOnce() -> R) -> Result<R, Failure> {
    call(Some(handler), handler.index.get(), f)
}

#[cold]
fn take_failure() -> Failure {
    FAILED.set(false);
    FAILURE.take()
}

/// Calls an onconnect or ondisconnect handler.
pub fn on_connection(handler: HandlerRef, c: &Connection) -> Result<(), Failure> {
    let Function::OnConnection(function) = handler.function.get() else { return Err(misfit(handler)) };
    // SAFETY: the loader made the function for this signature; the connection outlives the call.
    call_handler(handler, || unsafe { function(c.as_ptr()) })
}

/// Calls an onmessage handler with a whole message.
#[inline]
pub fn on_message(handler: HandlerRef, c: &Connection, op: u8, data: &[u8]) -> Result<(), Failure> {
    let Function::OnMessage(function) = handler.function.get() else { return Err(misfit(handler)) };
    // SAFETY: as above; `data` outlives the call and is UTF-8 if `op` is TEXT, which the engine has checked.
    call_handler(handler, || unsafe { function(c.as_ptr(), op, data.as_ptr().cast(), data.len()) })
}

/// Calls an onrequest handler. True: it says that it has handled the request.
pub fn on_request(handler: HandlerRef, exchange: &mut Exchange) -> Result<bool, Failure> {
    let Function::OnRequest(function) = handler.function.get() else { return Err(misfit(handler)) };
    let request = exchange.as_ptr();
    // SAFETY: as above; the exchange does not move meanwhile.
    call_handler(handler, || unsafe { function(request) }).map(|answer| answer == 1)
}

/// Calls an onload hook.
pub fn on_load(handler: HandlerRef, load: &abi::Load) -> Result<bool, Failure> {
    let Function::OnLoad(function) = handler.function.get() else { return Err(misfit(handler)) };
    // SAFETY: as above.
    quietly(|| call_handler(handler, || unsafe { function(load) })).map(|answer| answer == 1)
}

/// Calls an onunload hook.
pub fn on_unload(handler: HandlerRef) -> Result<(), Failure> {
    let Function::OnUnload(function) = handler.function.get() else { return Err(misfit(handler)) };
    // SAFETY: as above.
    quietly(|| call_handler(handler, || unsafe { function() }))
}

#[cold]
fn misfit(handler: &Handler) -> Failure {
    match handler.function.get() {
        Function::None => "the plugin has no handler of that name any more, since it was reloaded".to_owned(),
        _ => format!("its code is not of kind {}", handler.kind),
    }
}
