//! Calls from the host into a plugin. A handler and its arguments enter; its result or its failure leaves.
//!
//! Invariant: all plugin code on the worker's thread, except library constructors, runs inside [`run`], which records
//! the running handler for the scoreboard and for [`running_handler`]. Calls do not nest: the host functions that
//! plugins call never call a plugin.

use std::cell::{Cell, RefCell};

use callsign_plugin::abi;
use callsign_websocket::Payload;

use super::exposed::{ExposedConnection, ExposedRequest};
use super::guard::{self, Guard, MayThrow};
use super::handler::{Handler, HandlerRef, Kind};
use crate::system::process::fork;
use crate::system::scoreboard;

/// The function of a handler, by signature. Only [`library`](super::library) makes one.
#[derive(Clone, Copy, Debug)]
pub enum Function {
    /// [`abi::OnConnect`]; ondisconnect and ondrain handlers have the same signature.
    OnConnection(abi::OnConnect),
    /// [`abi::OnMessage`]
    OnMessage(abi::OnMessage),
    /// [`abi::OnRequest`]
    OnRequest(abi::OnRequest),
    /// [`abi::OnLoad`]
    OnLoad(abi::OnLoad),
    /// [`abi::OnUnload`]
    OnUnload(abi::OnUnload),
    /// No function: the handler was lost in a reload, or stands for unnamed functions.
    None,
}

impl Function {
    /// # Safety
    /// The member of the union that belongs to `kind` is set.
    pub(super) unsafe fn of_union(kind: Kind, function: abi::HandlerFunction) -> Self {
        // SAFETY: the caller guarantees that the member for `kind` is set.
        unsafe {
            match kind {
                Kind::OnConnect => Self::OnConnection(function.onconnect),
                Kind::OnDisconnect => Self::OnConnection(function.ondisconnect),
                Kind::OnDrain => Self::OnConnection(function.ondrain),
                Kind::OnMessage => Self::OnMessage(function.onmessage),
                Kind::OnRequest => Self::OnRequest(function.onrequest),
                Kind::OnLoad => Self::OnLoad(function.onload),
                Kind::OnUnload => Self::OnUnload(function.onunload),
                Kind::Timer | Kind::Background | Kind::WorkerMessage => Self::None,
            }
        }
    }
}

/// Why a handler failed, as the plugin reported it. Untrusted text.
pub type Failure = String;

/// Plugin code that runs on a thread.
#[derive(Clone, Copy)]
enum Running {
    Nothing,
    Handler(HandlerRef),
    /// A hook of the plugin with this index.
    Hook(usize),
}

thread_local! {
    static RUNNING: Cell<Running> = const { Cell::new(Running::Nothing) };
    static FAILED: Cell<bool> = const { Cell::new(false) };
    static FAILURE: RefCell<Failure> = const { RefCell::new(String::new()) };
    static MUTED: Cell<bool> = const { Cell::new(false) };
    static SAVING: Cell<bool> = const { Cell::new(false) };
    static SAVED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Whether plugin code on this thread is muted: it runs in a reload that may be rolled back, so it must not send to
/// clients or other workers, and must not change what the generation in use has set.
pub fn is_muted() -> bool {
    MUTED.get()
}

/// Runs plugin code muted; see [`is_muted`].
pub fn muted<R>(f: impl FnOnce() -> R) -> R {
    let before = MUTED.replace(true);
    let result = f();
    MUTED.set(before);
    result
}

/// Runs a save hook, and returns its result and the state that it saved.
pub(super) fn collect_saved<R>(f: impl FnOnce() -> R) -> (R, Option<Vec<u8>>) {
    SAVING.set(true);
    let result = muted(f);
    SAVING.set(false);
    (result, SAVED.take())
}

/// Stores the state that the running save hook saves. False: no save hook is running.
pub fn store_saved(state: &[u8]) -> bool {
    if SAVING.get() {
        SAVED.set(Some(state.to_vec()));
    }
    SAVING.get()
}

/// The handler that is running on this thread; None for hooks and outside of plugin code.
pub fn running_handler() -> Option<HandlerRef> {
    match RUNNING.get() {
        Running::Handler(handler) => Some(handler),
        _ => None,
    }
}

/// The plugin whose code is running on this thread, by its index.
pub fn running_plugin() -> Option<usize> {
    match RUNNING.get() {
        Running::Handler(handler) => Some(handler.plugin),
        Running::Hook(plugin) => Some(plugin),
        Running::Nothing => None,
    }
}

/// Whether plugin code is running on this thread.
pub fn in_callback() -> bool {
    !matches!(RUNNING.get(), Running::Nothing)
}

/// Records that the running callback failed. False: no callback is running.
pub fn record_failure(reason: Failure) -> bool {
    if !in_callback() {
        return false;
    }
    FAILED.set(true);
    FAILURE.set(reason);
    true
}

/// Runs a hook of a plugin. `index` is the hook's on the scoreboard.
pub(super) fn run_hook<R>(
    plugin: usize,
    index: u32,
    guard: Option<Guard>,
    f: impl FnOnce() -> R,
) -> Result<R, Failure> {
    run(Running::Hook(plugin), index, guard, f)
}

/// Runs plugin code, which has that index on the scoreboard. What it throws is its failure.
// As `on_message`.
#[inline(always)]
fn run<R>(running: Running, index: u32, guard: Option<Guard>, f: impl FnOnce() -> R) -> Result<R, Failure> {
    let slot = scoreboard::current();
    RUNNING.set(running);
    slot.enter(index);
    let result = guard::call(guard, f);
    // Before anything that the worker shares with its children is changed, such as the scoreboard.
    if fork::is_forked() {
        end_returned(running, index);
    }
    slot.leave();
    RUNNING.set(Running::Nothing);
    match result {
        Ok(result) if !FAILED.get() => Ok(result),
        Ok(_) => Err(take_failure()),
        Err(thrown) => {
            take_failure();
            Err(thrown)
        }
    }
}

/// Runs plugin code as that handler.
#[inline(always)]
pub(super) fn run_handler<R>(handler: HandlerRef, f: impl FnOnce() -> R) -> Result<R, Failure> {
    run(Running::Handler(handler), handler.index.get(), handler.guard.get(), f)
}

/// Ends this process: a child that plugin code forked, and that returned.
#[cold]
fn end_returned(running: Running, index: u32) -> ! {
    match running {
        Running::Handler(handler) => fork::end_returned(handler),
        _ => fork::end_returned(&scoreboard::current().label(index.into())),
    }
}

#[cold]
fn take_failure() -> Failure {
    FAILED.set(false);
    FAILURE.take()
}

/// Calls an onconnect, ondisconnect or ondrain handler.
pub fn on_connection(handler: HandlerRef, c: &impl ExposedConnection) -> Result<(), Failure> {
    let Function::OnConnection(function) = handler.function.get() else { return Err(no_function(handler)) };
    // SAFETY: `Library::function` made the variant from a function of this signature. `c` is borrowed during the call,
    // and `ExposedConnection` guarantees its pointer.
    run_handler(handler, || unsafe { function.may_throw()(c.as_ptr()) })
}

/// Calls an onmessage handler with a complete message, which the protocol endpoint has terminated with a NUL.
// The compiler makes a function of it where there are two callers, which costs a short message a twentieth of its instructions.
#[inline(always)]
pub fn on_message(
    handler: HandlerRef,
    c: &impl ExposedConnection,
    op: u8,
    data: Payload<'_>,
) -> Result<(), Failure> {
    let Function::OnMessage(function) = handler.function.get() else { return Err(no_function(handler)) };
    let length = data.len();
    // Mutable, because handlers may change the message in place.
    let data = data.with_byte_behind().as_mut_ptr();
    // SAFETY: as in `on_connection`. `data` is mutably borrowed during the call; the protocol endpoint has checked that
    // it is UTF-8 if `op` is TEXT.
    run_handler(handler, || unsafe { function.may_throw()(c.as_ptr(), op, data.cast(), length) })
}

/// Calls an onrequest handler. True: the handler has handled the request.
pub fn on_request(handler: HandlerRef, request: &mut impl ExposedRequest) -> Result<bool, Failure> {
    let Function::OnRequest(function) = handler.function.get() else { return Err(no_function(handler)) };
    let request = request.as_ptr();
    // SAFETY: as in `on_connection`. The request is mutably borrowed during the call: it does not move, and nothing
    // else refers to it but `request`, from which all references of host functions derive.
    run_handler(handler, || unsafe { function.may_throw()(request) }).map(|answer| answer == 1)
}

/// Calls an onload hook, muted. True: the hook accepts the load.
pub fn on_load(handler: HandlerRef, load: &abi::Load) -> Result<bool, Failure> {
    let Function::OnLoad(function) = handler.function.get() else { return Err(no_function(handler)) };
    // SAFETY: as in `on_connection`. `load`, and the strings that `Generation::start` put into it, outlive the call.
    muted(|| run_handler(handler, || unsafe { function.may_throw()(load) })).map(|answer| answer == 1)
}

/// Calls an onunload hook, muted.
pub fn on_unload(handler: HandlerRef) -> Result<(), Failure> {
    let Function::OnUnload(function) = handler.function.get() else { return Err(no_function(handler)) };
    // SAFETY: `Library::function` made the variant from a function of this signature.
    muted(|| run_handler(handler, || unsafe { function.may_throw()() }))
}

#[cold]
fn no_function(handler: &Handler) -> Failure {
    match handler.function.get() {
        Function::None => "the plugin has no handler of that name any more, since it was reloaded".to_owned(),
        _ => format!("its function is not an {} handler", handler.kind),
    }
}
