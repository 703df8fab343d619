//! The ABI between host and plugin, and its reference manual.
//!
//! The ABI is plain C: integers, pointers with lengths, NUL-terminated strings. It is append-only: a
//! published field, function or constant keeps its position, type and meaning. New fields and functions go to
//! the end of their struct and raise [`ABI_MINOR`]. `struct_size` tells a reader how much of a struct the
//! other side has.
//!
//! Words. A worker is a process of the host that loads plugins and serves a share of the clients; the probe is
//! a process that loads a new version of a plugin as a trial and serves no clients. A generation is one loaded
//! version of a plugin. A callback is any function of the plugin that the host calls. A turn of the event loop
//! is one round in which a worker reads from all sockets that are ready and runs the callbacks; it ends with
//! writing what the callbacks have sent.
//!
//! Threads. **[worker thread]** is the one thread of a worker that runs all callbacks, one at a time. **[any
//! thread]** is any thread of the process. **[pool thread]** is one of the worker's background threads; it
//! runs in parallel with the worker thread and with other pool threads. A function of [`Host`] without a
//! thread tag is [worker thread]. Called from another thread, it does nothing and returns
//! [`status::WRONG_THREAD`], NULL or 0.
//!
//! Processes. A child that a plugin forks has none of the host's sockets and must call exec or _exit; the host
//! ends it if it returns from the plugin's code. In the child, [`Host::send`], [`Host::broadcast`],
//! [`Host::close`] and [`Host::worker_send`] return [`status::WRONG_THREAD`]. When a worker ends, the host kills
//! the worker's process group; a process that has called setsid is not in it. Programs that a worker starts gain
//! no privileges: setuid programs, such as sudo, and file capabilities have no effect (no_new_privs). Where the
//! host has no worker processes (`--workers 0`), they have.
//!
//! Signals. A plugin may install handlers for SIGUSR1, SIGUSR2, SIGALRM and signals that the host does not
//! mention, in its onload hook; without one, the host logs and ignores these three. In a child that a plugin
//! forks, signals that the host handles have their default effect. SIGINT, SIGTERM, SIGQUIT,
//! SIGHUP and SIGCHLD belong to the host, and so do SIGSEGV, SIGBUS, SIGILL, SIGFPE and SIGABRT, of which it reports
//! the cause.
//!
//! Pointers. The host owns what it passes to a callback; the pointer is valid until the callback returns
//! unless stated otherwise. The host only reads what a plugin passes to a function of [`Host`], and only
//! before that function returns. Strings are NUL-terminated. Strings that come from an HTTP request are bytes
//! and may not be valid UTF-8.
//!
//! Invalid arguments. A function of [`Host`] returns [`status::BAD_ARGUMENT`], NULL or 0 for a connection,
//! request or name that is NULL, unless stated otherwise, and for bytes that are NULL with a length other
//! than 0. Length 0 is allowed with any pointer. The host cannot detect a dangling pointer: the plugin must
//! not use a connection after its ondisconnect, a request after its handler, or a length beyond the end of
//! the bytes. Keep the id of a connection and call [`Host::find`], which returns NULL for a connection that
//! has ended.

use std::ffi::{c_char, c_void};

/// First field of a [`Plugin`]: the bytes `callsign`, read as a little-endian integer.
pub const MAGIC: u64 = u64::from_le_bytes(*b"callsign");
/// The host rejects a plugin with another major version.
pub const ABI_MAJOR: u16 = 1;
/// The host loads plugins with the same or a lower minor version. It also loads plugins with a higher minor
/// version; such a plugin must check `struct_size` before it uses newer fields and functions.
pub const ABI_MINOR: u16 = 1;
/// The data symbol under which a library exports its [`Plugin`].
pub const PLUGIN_SYMBOL: &str = "callsign_plugin";
/// The data symbol under which a library exports its [`Guard`], if it has one.
pub const GUARD_SYMBOL: &str = "callsign_guard";
/// Prefix of the data symbol that exports a [`Handler`]; the handler's name follows.
pub const HANDLER_PREFIX: &str = "callsign_handler_";

/// Message kinds for [`Host::send`] and [`OnMessage`]: the opcodes of RFC 6455 §5.2.
pub mod op {
    /// Valid UTF-8.
    pub const TEXT: u8 = 1;
    /// Any bytes.
    pub const BINARY: u8 = 2;
    /// At most 125 bytes.
    pub const PING: u8 = 9;
    /// At most 125 bytes.
    pub const PONG: u8 = 10;
}

/// Which clients a broadcast reaches.
pub mod scope {
    /// The clients of this worker.
    pub const LOCAL: u32 = 1;
    /// The clients of all workers.
    pub const GLOBAL: u32 = 2;
}

/// Handler kinds. The kind determines the signature of the function. 0 is reserved.
pub mod kind {
    /// [`super::OnConnect`]
    pub const ONCONNECT: u32 = 1;
    /// [`super::OnMessage`]
    pub const ONMESSAGE: u32 = 2;
    /// [`super::OnDisconnect`]
    pub const ONDISCONNECT: u32 = 3;
    /// [`super::OnRequest`]
    pub const ONREQUEST: u32 = 4;
    /// [`super::OnLoad`]. The host finds the hook by its kind; the name does not matter, unless the library has
    /// several: then `onload` in `[plugin.NAME]` of the config file must name one of them.
    pub const ONLOAD: u32 = 5;
    /// [`super::OnUnload`]; at most one per plugin. The host finds it by its kind; the name does not matter.
    pub const ONUNLOAD: u32 = 6;
    /// [`super::OnDrain`]. Since ABI 1.1.
    pub const ONDRAIN: u32 = 7;
}

/// Return values of the functions of [`Host`]. Not negative: success. Negative: nothing was done; the value
/// is the reason.
pub mod status {
    /// Success. For [`super::Host::send`]: the message is queued, and the host begins to write it to the
    /// socket no later than the end of this turn of the event loop, which is after the callback has returned;
    /// at once if more than the host's `high_water` waits.
    pub const SENT: i32 = 0;
    /// Success, but the client's write queue exceeds the host's `high_water`: the client reads more slowly
    /// than the plugin sends. An [`super::OnDrain`] handler of the connection is called when nothing waits any more.
    pub const QUEUED: i32 = 1;
    /// The connection is closing or closed, or no connection has that id.
    pub const CLOSED: i32 = -1;
    /// The message exceeds the host's `max_message`, or a control message exceeds 125 bytes.
    pub const TOO_LARGE: i32 = -2;
    /// Not an opcode of [`super::op`].
    pub const BAD_OP: i32 = -3;
    /// TEXT that is not valid UTF-8.
    pub const BAD_UTF8: i32 = -4;
    /// A required argument is NULL, the scope is unknown, an endpoint must not send the close code (RFC 6455
    /// §7.4), or a header is malformed.
    pub const BAD_ARGUMENT: i32 = -5;
    /// No handler has that name in the plugins that were searched, or several plugins have one, or no timer has
    /// that id.
    pub const NOT_FOUND: i32 = -6;
    /// The handler of that name has another kind.
    pub const WRONG_KIND: i32 = -7;
    /// The request is not a WebSocket upgrade.
    pub const NOT_UPGRADE: i32 = -8;
    /// Called from a thread other than the worker thread, or from a forked child.
    pub const WRONG_THREAD: i32 = -9;
    /// The queue of the background pool is full.
    pub const BUSY: i32 = -10;
    /// A load, save or restore hook is running. The load may still be rejected and must then have no effect,
    /// so these hooks cannot send to clients or to other workers.
    pub const NOT_NOW: i32 = -11;
    /// The message was dropped as a whole: the client's write queue exceeds the host's `high_water`, and its route
    /// has `on_full = "drop"`. Since ABI 1.1.
    pub const DROPPED: i32 = -12;
}

/// Return values of a [`Save`] hook.
pub mod saved {
    /// The state cannot be saved: the reload is rejected. Report the reason with [`super::Host::fail`].
    pub const FAILED: i32 = 0;
    /// The hook passed the state to [`super::Host::save`].
    pub const SAVED: i32 = 1;
    /// `data` does not belong to this plugin; `data` is kept unchanged.
    pub const NOT_MINE: i32 = 2;
    /// `data` belongs to this plugin and is not carried over: the host calls ondisconnect of the old
    /// generation, then onconnect of the new generation. The connection stays open.
    pub const RESTART: i32 = 3;
}

/// Value of `worker` in [`Host::worker_send`] that means all workers except the sender.
pub const ALL_WORKERS: u32 = u32::MAX;

/// Which side closed a connection, returned by [`Host::closed_by`].
pub mod closed_by {
    /// The connection is open.
    pub const NOBODY: u32 = 0;
    /// The client closed the connection with a Close frame, or disconnected without one.
    pub const CLIENT: u32 = 1;
    /// The server closed the connection: a plugin did, or the host did because of a protocol violation, a
    /// limit, a failed callback or a shutdown.
    pub const SERVER: u32 = 2;
}

/// Parts of a client's certificate, for [`Host::certificate_field`]. Since ABI 1.1.
pub mod certificate {
    /// The subject as a string of RFC 4514, such as `CN=sensor 7,O=Example`.
    pub const SUBJECT: u32 = 1;
    /// The issuer, in the same form.
    pub const ISSUER: u32 = 2;
    /// The last common name of the subject.
    pub const COMMON_NAME: u32 = 3;
    /// The serial number in hexadecimal, unique together with the issuer.
    pub const SERIAL: u32 = 4;
    /// The SHA-256 of the whole certificate, in 64 hexadecimal digits.
    pub const FINGERPRINT: u32 = 5;
    /// A DNS name among its alternative names (RFC 5280 §4.2.1.6).
    pub const DNS: u32 = 6;
    /// An email address among them.
    pub const EMAIL: u32 = 7;
    /// A URI among them, such as `spiffe://example.org/sensor`.
    pub const URI: u32 = 8;
    /// An IP address among them.
    pub const ADDRESS: u32 = 9;
}

/// HTTP methods for [`Request::method_code`] (RFC 9110 §9.3, RFC 5789). Each method is one bit, so one
/// integer can hold a set of methods. The values are those of Kore; 8 is reserved.
pub mod method {
    /// Any other method.
    pub const OTHER: u32 = 0;
    /// GET
    pub const GET: u32 = 1;
    /// POST
    pub const POST: u32 = 2;
    /// PUT
    pub const PUT: u32 = 4;
    /// DELETE
    pub const DELETE: u32 = 0x10;
    /// HEAD
    pub const HEAD: u32 = 0x20;
    /// OPTIONS
    pub const OPTIONS: u32 = 0x40;
    /// PATCH
    pub const PATCH: u32 = 0x80;
}

/// Log levels for [`Host::log`].
pub mod level {
    /// An operation failed.
    pub const ERROR: u32 = 1;
    /// A problem that does not stop the operation.
    pub const WARN: u32 = 2;
    /// Information for the operator.
    pub const INFO: u32 = 3;
    /// Information for the developer.
    pub const DEBUG: u32 = 4;
}

/// One WebSocket connection, `struct connection` in C. Valid from its onconnect until its ondisconnect
/// returns. To refer to a connection later, keep its `id`, not its address, and call [`Host::find`].
#[repr(C)]
#[derive(Debug)]
pub struct Connection {
    /// Owned by the plugin; initially NULL. The host never dereferences `data`.
    pub data: *mut c_void,
    /// Never reused while the server runs, and unchanged by a reload. Read only.
    pub id: u64,
    /// Used by the SDK to record which plugin set `data`. A plugin that sets `data` itself must not write
    /// this field.
    pub data_tag: usize,
}

/// One HTTP request, `struct callsign_request` in C. Valid until the onrequest handler returns. Read only,
/// except `data`.
#[repr(C)]
#[derive(Debug)]
pub struct Request {
    /// Owned by the handler; initially NULL.
    pub data: *mut c_void,
    /// Size of this struct in the host, in bytes.
    pub struct_size: u32,
    /// 1 if the request is a valid WebSocket upgrade (RFC 6455 §4.2.1), else 0.
    pub upgrade: u32,
    /// "GET", …
    pub method: *const c_char,
    /// The path as sent, without the query and the `strip_prefix` of its route. Percent-encoding is kept.
    pub path: *const c_char,
    /// The part after the `?`; "" without one.
    pub query: *const c_char,
    /// Address and port of the client: "192.0.2.7:51314", "[2001:db8::7]:51314", or "unix:" for a client of a Unix
    /// socket. Behind a reverse proxy that the operator trusts, it is what the proxy says, with port 0 if it says none.
    pub peer: *const c_char,
    /// `body_length` bytes, then a NUL; never NULL.
    pub body: *const u8,
    /// In bytes; at most the host's `max_body`.
    pub body_length: usize,
    /// The value of the Host header as sent; "" without one.
    pub host: *const c_char,
    /// The connection that the request may become. Its `data` is initially NULL and becomes the connection's
    /// `data` when onconnect is called. Its `id` is 0 until then. Of the functions of [`Host`], only
    /// [`Host::peer`], [`Host::certificate`], [`Host::certificate_field`], [`Host::param`] and [`Host::is_secure`] accept
    /// the pointer before onconnect; the others return [`status::CLOSED`], NULL or 0.
    ///
    /// If `data` or `data_tag` is set and the request does not become a connection, the host calls
    /// [`Plugin::release`] of the handler's plugin with this pointer: right after the handler, while the
    /// request is still valid, or later, if the client disconnects before the 101 is written. The host also
    /// calls [`Plugin::release`] if the plugin is reloaded before the 101 is written; the connection then
    /// starts with NULL in the new generation.
    pub owner: *mut Connection,
    /// One of [`method`].
    pub method_code: u32,
    /// Initially 0. For the plugin: the host neither reads nor changes it. Since ABI 1.1.
    pub status: u32,
}

/// The argument of an [`OnLoad`] hook, `struct callsign_load` in C.
#[repr(C)]
#[derive(Debug)]
pub struct Load {
    /// Size of this struct in the host, in bytes.
    pub struct_size: u32,
    /// 1 for the generation that the server started with; each successful reload of the plugin adds 1.
    pub generation: u32,
    /// The plugin's name, as used in routes and handshakes.
    pub plugin: *const c_char,
    /// The plugin's `config` table as a JSON object in UTF-8; "{}" without one.
    pub config: *const c_char,
    /// What [`Plugin::save_plugin`] of the previous generation saved on this worker: `state_length` bytes, or
    /// NULL if nothing was saved. [`Plugin::restore_plugin`] receives the same bytes.
    pub state: *const c_void,
    /// In bytes.
    pub state_length: usize,
    /// The [`Plugin::state_version`] of the generation that saved `state`.
    pub state_version: u32,
    /// 1 in the probe, a process that loads a new generation as a trial before any worker does. The probe
    /// exits right after this hook, serves no clients, and carries no state over. Reject in the probe what the
    /// hook would reject in a worker, and do not change anything outside the process.
    pub probe: u32,
    /// The plain function that the config file names as the plugin's `onload`, if the library exports one in
    /// addition to this hook; else NULL. The plugin defines its signature.
    pub function: Option<unsafe extern "C" fn()>,
    /// Index of this worker, from 0, as [`Host::worker_index`] returns it. 0 in the probe. Since ABI 1.1.
    pub worker: u32,
    /// The generation of the plugin that still serves while the hook runs, and that this one replaces if the
    /// reload is accepted. It holds its resources until its onunload hook has run, and keeps them if the reload
    /// is rejected. 0: no other copy serves on this worker, because the worker starts. In the probe of a
    /// reload, it is the generation that serves on the workers. Since ABI 1.1.
    pub replaces: u32,
}

/// The client was upgraded. The host never calls it while another callback of the same worker runs. [worker
/// thread]
pub type OnConnect = unsafe extern "C" fn(c: *mut Connection);

/// One complete message from the client. The host owns `data`, valid until this returns; `data` is never
/// NULL. `op` is TEXT (valid UTF-8) or BINARY (RFC 6455 §5.6). A NUL follows the message: the byte at
/// `data + length` is 0, so a text without a NUL in it is a C string. The function may change the message in
/// place and write to that byte; the host uses neither afterwards. [worker thread]
pub type OnMessage = unsafe extern "C" fn(c: *mut Connection, op: u8, data: *const c_void, length: usize);

/// Nothing waits in the connection's write queue any more. The host calls it once after the queue has exceeded the
/// host's `high_water` ([`Host::send`] returned [`status::QUEUED`] or [`status::DROPPED`]), or [`Host::queued`]
/// returned more than 0; then not again until one of these happens again. So a plugin can send much data piece by
/// piece: it stops when [`Host::queued`] exceeds a number of its own, such as 32 KiB, and goes on in this handler. The
/// host never calls it while another callback of the same worker runs, nor for a connection that is closing. Since ABI
/// 1.1. [worker thread]
pub type OnDrain = unsafe extern "C" fn(c: *mut Connection);

/// The connection has ended. The host calls it once for each upgraded connection, as the last callback of the
/// connection. [`Host::close_code`] and the other getters still work. [worker thread]
pub type OnDisconnect = unsafe extern "C" fn(c: *mut Connection);

/// A request for a route. Returns 1 if the request is handled, by the `respond_…` functions or by
/// `handshake`. Any other value is an error: the client gets a 500. [worker thread]
pub type OnRequest = unsafe extern "C" fn(request: *mut Request) -> i32;

/// The library was loaded. The host calls the hook before any other function of the library, except
/// [`Plugin::restore_plugin`]. Returns 1 to accept. Returns 0 to reject (report the reason with
/// [`Host::fail`]): the plugin is then not used, and a reload changes nothing.
///
/// The hook can set timers and submit background work; both start when the generation is in use. It cannot
/// send to clients or to other workers yet ([`status::NOT_NOW`]). `data` that the hook sets in a connection
/// without `data` becomes visible when the generation is in use; if the generation is rejected, the host
/// calls its [`Plugin::release`] for that connection.
///
/// In a reload all workers are paused while the hook runs, and no client is served. Leave slow work to timers
/// and background work: the reload is rejected if the hook takes a second longer than on another worker.
///
/// An exclusive resource, such as a port or a lock file, cannot be opened while another copy of the plugin
/// holds it. Open it on one worker only ([`Load::worker`] is 0), not in the probe, and if [`Load::replaces`]
/// is not 0, not in this hook, but in a timer with the delay 0: it fires after the onunload hook of the old
/// generation, which closes the resource, and never if the reload is rejected. [worker thread]
pub type OnLoad = unsafe extern "C" fn(load: *const Load) -> i32;

/// A new generation has replaced this one: the host no longer calls handlers, timers and hooks of this
/// generation. Its code and its static variables stay in memory until the worker ends, and so does everything
/// that only they refer to. Free tables and caches here, and close exclusive resources. Background work that is running finishes. After this hook, the host
/// frees the data of this generation's timers and background work, and of requests whose 101 is not written
/// yet. The host does not call this hook when the worker exits, or for a generation that was rejected.
/// [worker thread]
pub type OnUnload = unsafe extern "C" fn();

/// Saves `c->data` for the next generation: passes bytes to [`Host::save`] and returns one of [`saved`]. The
/// hook must not change `data`, because the reload may still be rejected. The host calls it for each
/// connection that has a handler of this plugin and `data` that is not NULL. [worker thread]
pub type Save = unsafe extern "C" fn(c: *mut Connection) -> i32;

/// Sets `c->data`, which is NULL, from the bytes that the [`Save`] hook of the previous generation saved:
/// `length` bytes at `state`. `version` is the state version of that generation. Returns 1, or 0 if the state
/// cannot be restored (report the reason with [`Host::fail`]): the reload is then rejected. If the reload is
/// rejected later, the host calls [`Plugin::release`] of this generation for what the hook set. [worker
/// thread]
pub type Restore =
    unsafe extern "C" fn(c: *mut Connection, version: u32, state: *const c_void, length: usize) -> i32;

/// Saves the state of the plugin that belongs to no connection, in the same way as [`Save`].
/// [`saved::NOT_MINE`] and [`saved::RESTART`] mean that there is nothing to save. Each worker has its own
/// state. [worker thread]
pub type SavePlugin = unsafe extern "C" fn() -> i32;

/// Restores what [`SavePlugin`] saved, in the same way as [`Restore`]. The host calls it before the onload
/// hook, and does not call it if nothing was saved. [worker thread]
pub type RestorePlugin = unsafe extern "C" fn(version: u32, state: *const c_void, length: usize) -> i32;

/// A worker message: the plugin's instance on worker number `worker` sent it with [`Host::worker_send`] under
/// the id `id`. `data` is never NULL; as in [`OnMessage`], a NUL follows it, and the function may change both.
/// The host never calls it while another callback of the same worker runs. [worker thread]
pub type OnWorkerMessage = unsafe extern "C" fn(worker: u32, id: u32, data: *const c_void, length: usize);

/// A timer fired, or background work completed. `data` is the pointer that was registered with it. `c` is the
/// connection that it was registered for, which is open, or NULL if it was registered for none. The function
/// may report failure with [`Host::fail`]: the host logs the failure and closes `c` with 1011. A repeating
/// timer without connection keeps running. The host never calls it while another callback of the same worker
/// runs. [worker thread]
pub type OnLater = unsafe extern "C" fn(data: *mut c_void, c: *mut Connection);

/// Background work, which may block. The function has exclusive access to `data` until it returns. Of the
/// functions of [`Host`], it may call those that are [any thread]. [pool thread]
pub type Work = unsafe extern "C" fn(data: *mut c_void);

/// Frees `data` and everything that only `data` refers to; nothing uses `data` afterwards. The function may
/// report failure like [`OnLater`]; the host only logs the failure. The host never calls it while another
/// callback of the same worker runs. [worker thread]
pub type Free = unsafe extern "C" fn(data: *mut c_void);

/// The function of a [`Handler`]; the kind determines which member is valid.
#[repr(C)]
#[derive(Clone, Copy)]
pub union HandlerFunction {
    /// [`kind::ONCONNECT`]
    pub onconnect: OnConnect,
    /// [`kind::ONMESSAGE`]
    pub onmessage: OnMessage,
    /// [`kind::ONDISCONNECT`]
    pub ondisconnect: OnDisconnect,
    /// [`kind::ONREQUEST`]
    pub onrequest: OnRequest,
    /// [`kind::ONLOAD`]
    pub onload: OnLoad,
    /// [`kind::ONUNLOAD`]
    pub onunload: OnUnload,
    /// [`kind::ONDRAIN`]
    pub ondrain: OnDrain,
}

/// A handler with its kind, exported as the data symbol `callsign_handler_NAME`.
///
/// A library may instead export a plain function `NAME`. Its kind is then the one that the route or the
/// handshake expects. The prefix prevents symbol clashes: without it, a handler named `connect` or `send`
/// would replace the C library's function of that name inside the plugin.
#[repr(C)]
pub struct Handler {
    /// Size of this struct in the plugin, in bytes.
    pub struct_size: u32,
    /// One of [`kind`].
    pub kind: u32,
    /// Not NULL.
    pub function: HandlerFunction,
}

/// The names of a connection's handlers, for [`Host::handshake_with`]. Each may be NULL: the event is ignored. Since ABI
/// 1.1.
#[repr(C)]
#[derive(Debug)]
pub struct Handshake {
    /// Size of this struct in the plugin, in bytes. Names beyond this size are NULL.
    pub struct_size: u32,
    /// 0
    pub reserved: u32,
    /// [`OnConnect`]
    pub onconnect: *const c_char,
    /// [`OnMessage`]
    pub onmessage: *const c_char,
    /// [`OnDisconnect`]
    pub ondisconnect: *const c_char,
    /// [`OnDrain`]
    pub ondrain: *const c_char,
}

/// The part of a call that the host makes through a [`Guard`]: it calls one function of the plugin.
pub type Body = unsafe extern "C" fn(argument: *mut c_void);

/// Calls `body` with `argument` once, on this thread, and catches every exception that leaves it. Returns 0 if there was
/// none; otherwise 1, with a description of the exception in `reason`: at most `size` bytes, NUL-terminated. `size` is
/// not 0. [any thread]
pub type Catch =
    unsafe extern "C" fn(body: Body, argument: *mut c_void, reason: *mut c_char, size: usize) -> i32;

/// Catches the exceptions of a library in C++, exported as the data symbol `callsign_guard`. If a library exports a guard,
/// the host calls all its functions through it, and an exception that leaves one is a failure like one that
/// [`Host::fail`] reports. An exception must not leave a function of a library without a guard: it ends the worker.
#[repr(C)]
pub struct Guard {
    /// Size of this struct in the plugin, in bytes.
    pub struct_size: u32,
    /// 0
    pub reserved: u32,
    /// Not NULL.
    pub call: Catch,
}

/// The descriptor that makes a library a plugin, exported as the data symbol `callsign_plugin`. The host
/// reads it from the file before it runs any code of the plugin.
#[repr(C)]
pub struct Plugin {
    /// [`MAGIC`]
    pub magic: u64,
    /// The [`ABI_MAJOR`] that the plugin was built with.
    pub abi_major: u16,
    /// The [`ABI_MINOR`] that the plugin was built with.
    pub abi_minor: u16,
    /// Size of this struct in the plugin, in bytes.
    pub struct_size: u32,
    /// UTF-8, NUL-padded; letters, digits, `-`, `_`, `.`. If empty, the host uses the file name without `lib`
    /// and the extension.
    pub name: [u8; NAME_SIZE],
    /// UTF-8, NUL-padded; may be empty.
    pub version: [u8; VERSION_SIZE],
    /// Version of what `data` points to and of what the save hooks write. Increase it when either changes. 0:
    /// no version.
    pub state_version: u32,
    /// 0
    pub reserved: u32,
    /// Where the host writes the address of its function table before it calls any function of the plugin.
    /// Not NULL.
    pub host: *mut *const Host,
    /// Frees `c->data` if it belongs to this plugin. The host calls it after the connection's last callback
    /// if one of the connection's handlers belongs to this plugin, even without an ondisconnect handler.
    /// After a reload the host also calls it for `data` that was replaced: in the old generation if the new
    /// one was accepted, in the new generation if it was rejected. May be NULL. [worker thread]
    pub release: Option<unsafe extern "C" fn(c: *mut Connection)>,
    /// May be NULL. Unless the old generation has `save` and the new one has `restore`, `data` that is not
    /// NULL is handled by `state_version`. If both generations have the same version, not 0, `data` is kept
    /// unchanged. Otherwise the host calls ondisconnect of the old generation and onconnect of the new one;
    /// the connection stays open.
    pub save: Option<Save>,
    /// May be NULL.
    pub restore: Option<Restore>,
    /// May be NULL.
    pub save_plugin: Option<SavePlugin>,
    /// May be NULL.
    pub restore_plugin: Option<RestorePlugin>,
}

/// Size of a plugin's name in bytes, including the terminating NUL.
pub const NAME_SIZE: usize = 64;
/// Size of a plugin's version in bytes, including the terminating NUL.
pub const VERSION_SIZE: usize = 32;

/// The host's functions. The process has one table, valid until the process exits.
#[repr(C)]
pub struct Host {
    /// Size of this struct in the host, in bytes. A function beyond this size does not exist.
    pub struct_size: u32,
    /// The host's [`ABI_MAJOR`].
    pub abi_major: u16,
    /// The host's [`ABI_MINOR`].
    pub abi_minor: u16,

    /// Sends one message to one client. `op` is one of [`op`]. Returns a [`status`].
    pub send: unsafe extern "C" fn(c: *mut Connection, op: u8, data: *const c_void, length: usize) -> i32,
    /// Sends one message to every open connection of the [`scope`] except `source`, which may be NULL. If the
    /// host has loaded several plugins, only the connections that have a handler of the calling plugin receive
    /// it, unless the host's configuration says `broadcast = "all"` for the plugin. Returns a [`status`];
    /// clients that cannot accept the message do not affect it.
    pub broadcast: unsafe extern "C" fn(
        source: *mut Connection,
        op: u8,
        data: *const c_void,
        length: usize,
        scope: u32,
    ) -> i32,
    /// Starts the closing handshake (RFC 6455 §7.1.2). With `code` 0 the Close frame has no code. The reason
    /// is `length` bytes of UTF-8, truncated to 123. The client still receives messages that were sent
    /// before; the plugin receives no more messages. Returns a [`status`].
    pub close:
        unsafe extern "C" fn(c: *mut Connection, code: u16, reason: *const c_char, length: usize) -> i32,
    /// Returns the open connection of this worker with that id, or NULL. The pointer is valid until the
    /// running callback returns.
    pub find: unsafe extern "C" fn(id: u64) -> *mut Connection,
    /// Address and port of the client, as in [`Request`]. Valid as long as the connection.
    pub peer: unsafe extern "C" fn(c: *const Connection) -> *const c_char,
    /// Path of the upgrade request, as in [`Request`]. Valid as long as the connection.
    pub path: unsafe extern "C" fn(c: *const Connection) -> *const c_char,
    /// Query of the upgrade request, as in [`Request`]. Valid as long as the connection.
    pub query: unsafe extern "C" fn(c: *const Connection) -> *const c_char,
    /// Value of the upgrade request's first header of that name, or NULL. The name is case-insensitive. Several
    /// Cookie lines are one header, joined by `; `. Valid as long as the connection.
    pub header: unsafe extern "C" fn(c: *const Connection, name: *const c_char) -> *const c_char,
    /// Header number `index` of the upgrade request, counted from 0, with the name in lower case. Returns 1,
    /// or 0 beyond the last header.
    pub header_at: unsafe extern "C" fn(
        c: *const Connection,
        index: usize,
        name: *mut *const c_char,
        value: *mut *const c_char,
    ) -> i32,
    /// Code of the first Close frame, sent or received. 1005 if that frame had no code; 1006 if the
    /// connection ended without a Close frame (RFC 6455 §7.1.5); 0 while the connection is open.
    pub close_code: unsafe extern "C" fn(c: *const Connection) -> u16,
    /// The reason that came with that code; "" without one. Valid as long as the connection.
    pub close_reason: unsafe extern "C" fn(c: *const Connection) -> *const c_char,
    /// One of [`closed_by`].
    pub closed_by: unsafe extern "C" fn(c: *const Connection) -> u32,

    /// Value of the request's first header of that name, or NULL, as in [`Host::header`].
    pub request_header: unsafe extern "C" fn(request: *const Request, name: *const c_char) -> *const c_char,
    /// Header number `index` of the request; see [`Host::header_at`].
    pub request_header_at: unsafe extern "C" fn(
        request: *const Request,
        index: usize,
        name: *mut *const c_char,
        value: *mut *const c_char,
    ) -> i32,
    /// Sets the status of the response, 200 to 599; the default is 200. Returns a [`status`]: BAD_ARGUMENT
    /// for any other number, which changes nothing.
    pub respond_status: unsafe extern "C" fn(request: *mut Request, status: u16) -> i32,
    /// Adds a header to the response, including a 101. The host sets Content-Length, Date, Connection,
    /// Transfer-Encoding, Upgrade, Sec-WebSocket-Accept and Sec-WebSocket-Extensions itself.
    /// Returns a [`status`]: BAD_ARGUMENT for one of those, for a malformed header, and after a thousand
    /// headers.
    ///
    /// Sec-WebSocket-Protocol selects the subprotocol of a connection, and takes precedence over `protocols` of
    /// the route. It is one name, set once (BAD_ARGUMENT otherwise). If the client does not offer it, the 101
    /// has no subprotocol and the host logs a warning.
    pub respond_header:
        unsafe extern "C" fn(request: *mut Request, name: *const c_char, value: *const c_char) -> i32,
    /// Sets the body of the response. The host copies the bytes. Returns a [`status`].
    pub respond_body: unsafe extern "C" fn(request: *mut Request, data: *const c_void, length: usize) -> i32,
    /// Upgrades the request and binds three handlers to the connection by name. The host searches `name` in
    /// the calling plugin, then in the other plugins, of which only one may have it; it searches `plugin:name`
    /// in that plugin only. NULL: the event is ignored.
    ///
    /// The host resolves all names before it sends the 101. If a handler does not exist or has another kind,
    /// the client gets a 500 and the log names the handler. A name that is not UTF-8 does not exist. Returns
    /// a [`status`]: NOT_FOUND, WRONG_KIND, NOT_UPGRADE. The last call wins. The handler returns 1, whatever
    /// this function returned.
    pub handshake: unsafe extern "C" fn(
        request: *mut Request,
        onconnect: *const c_char,
        onmessage: *const c_char,
        ondisconnect: *const c_char,
    ) -> i32,

    /// Writes `length` bytes of UTF-8 to the server's log, with the plugin's name. `caller` is the plugin's
    /// [`Plugin::host`], which identifies the plugin; the name of an unknown caller is logged as `?`. [any
    /// thread]
    pub log:
        unsafe extern "C" fn(caller: *const *const Host, level: u32, message: *const c_char, length: usize),
    /// Reports that the running callback failed, with the reason. The host logs plugin, handler and reason.
    /// It then closes the connection with 1011, responds to the request with 500, or rejects the load. `file`
    /// may be NULL. The last call wins. Returns a [`status`]: WRONG_THREAD if no callback is running on this
    /// thread.
    pub fail:
        unsafe extern "C" fn(message: *const c_char, length: usize, file: *const c_char, line: u32) -> i32,
    /// Returns 1 while a callback runs on the calling thread, else 0. [any thread]
    pub in_callback: unsafe extern "C" fn() -> i32,
    /// Returns the function table of an optional extension, identified by name and version ("name/1"), or
    /// NULL. The host has no extensions yet. [any thread]
    pub extension: unsafe extern "C" fn(name: *const c_char) -> *const c_void,

    /// Sets a timer: the host calls `call` after `delay_ms` milliseconds and, if `repeat_ms` is not 0, every
    /// `repeat_ms` milliseconds after that. The times are counted from the first call, so they do not drift.
    /// Calls that a busy worker missed are skipped. `caller`: see [`Host::log`].
    ///
    /// `connection` is the [`Connection::id`] of an open connection of this worker, or 0 for none. The timer
    /// ends with the connection, and does not fire while the connection is closing.
    ///
    /// The timer owns `data` until the host calls `free`, once. `free` may be NULL. The host calls `free`
    /// after the last call, after [`Host::timer_remove`], after the last callback and the release hook of the
    /// connection, or when this generation is replaced or the worker exits. Returns the timer's id, which a
    /// worker never reuses, or 0: then no timer was set, `free` is not called, and the caller keeps `data`.
    /// It returns 0 if `call` is NULL, if `caller` is unknown, if the connection is closing or does not
    /// exist, or on another thread.
    pub timer_add: unsafe extern "C" fn(
        caller: *const *const Host,
        connection: u64,
        delay_ms: u64,
        repeat_ms: u64,
        call: Option<OnLater>,
        data: *mut c_void,
        free: Option<Free>,
    ) -> u64,
    /// Removes a timer; a timer may remove itself in its own callback. The host calls its `free` soon
    /// afterwards, when no callback runs. Returns a [`status`]: NOT_FOUND if the timer has ended, NOT_NOW for
    /// a timer of a generation in use while a load, save or restore hook runs.
    pub timer_remove: unsafe extern "C" fn(id: u64) -> i32,
    /// Submits background work: a thread of the background pool calls `work` as soon as it is free, then the
    /// worker thread calls `done`, which may be NULL. Results arrive in the order in which work completes.
    /// `caller`: see [`Host::log`].
    ///
    /// `connection` is the id of an open connection of this worker, or 0 for none. If the connection closes
    /// before `work` has started, the host calls neither `work` nor `done`. If it closes before `done`, the
    /// host does not call `done`. Submit work that must be done after the client has disconnected with 0.
    ///
    /// The work owns `data` until the host calls `free`, once, after `done` or instead of it. `free` may be
    /// NULL. The host does not call `free` for work that is still running when the worker stops and
    /// `drain_timeout` expires. Returns a [`status`]. If it is negative, nothing is called and the caller
    /// keeps `data`: BUSY if the queue of the pool is full, CLOSED, BAD_ARGUMENT if `work` is NULL or
    /// `caller` is unknown.
    pub background: unsafe extern "C" fn(
        caller: *const *const Host,
        connection: u64,
        work: Option<Work>,
        done: Option<OnLater>,
        data: *mut c_void,
        free: Option<Free>,
    ) -> i32,

    /// Passes the saved state to the host, which copies the bytes. Only a save hook may call it. The last
    /// call wins. Returns a [`status`]: NOT_NOW outside a save hook.
    pub save: unsafe extern "C" fn(data: *const c_void, length: usize) -> i32,
    /// This worker's number, counted from 0. [any thread]
    pub worker_index: unsafe extern "C" fn() -> u32,
    /// Number of workers. [any thread]
    pub worker_count: unsafe extern "C" fn() -> u32,
    /// Sends a worker message to the plugin's instance on another worker, or on all other workers
    /// ([`ALL_WORKERS`]). That instance receives it with the function that it registered for `id` with
    /// [`Host::worker_receive`]. Messages from one sender arrive in order. A message is lost if the other
    /// instance has no receiver for `id`, or if its worker dies. `caller`: see [`Host::log`]. Returns a
    /// [`status`]: NOT_FOUND if no worker has that number or it is this worker, TOO_LARGE above the host's
    /// `max_message`, BAD_ARGUMENT if `caller` is unknown. With a single worker, [`ALL_WORKERS`] reaches no
    /// worker and returns SENT.
    pub worker_send: unsafe extern "C" fn(
        caller: *const *const Host,
        worker: u32,
        id: u32,
        data: *const c_void,
        length: usize,
    ) -> i32,
    /// Registers `call` as the receiver of worker messages with that `id` from this plugin; NULL removes the
    /// receiver. A registration ends with this generation. Returns a [`status`]: BAD_ARGUMENT if `caller` is
    /// unknown, NOT_NOW for a generation in use while a load, save or restore hook runs.
    pub worker_receive:
        unsafe extern "C" fn(caller: *const *const Host, id: u32, call: Option<OnWorkerMessage>) -> i32,

    /// The subprotocol that the 101 selected (RFC 6455 §1.9): a handler did, or `protocols` of the route; ""
    /// without one. Valid as long as the connection. Since ABI 1.1.
    pub protocol: unsafe extern "C" fn(c: *const Connection) -> *const c_char,
    /// The certificate with which the client has proved its identity in the TLS handshake, as DER, with its length in
    /// bytes; NULL and 0 without one. A client has one where the host's configuration has `client_certificates`
    /// for its address, and only if an authority in that file has issued it. Also accepts [`Request::owner`]. Valid as
    /// long as the connection, or the request. Since ABI 1.1.
    pub certificate: unsafe extern "C" fn(c: *const Connection, length: *mut usize) -> *const u8,
    /// A part of that certificate: number `index`, counted from 0, of those of one kind, which is one of
    /// [`certificate`]. NULL beyond the last one, and without a certificate. The string is UTF-8. Also accepts
    /// [`Request::owner`]. Valid as long as the connection, or the request. Since ABI 1.1.
    pub certificate_field:
        unsafe extern "C" fn(c: *const Connection, kind: u32, index: usize) -> *const c_char,
    /// Value of a parameter in the path of the route: `room` of `/room/{room}`. NULL if the route has none of that name. The
    /// value is decoded and is UTF-8 without NULs: for `/room/a%2Fb` it is `a/b`. It comes from the client, so it may contain
    /// `/` and `..`. It may be empty only for a parameter such as `{*path}`. Also accepts [`Request::owner`]. Valid as long as
    /// the connection, or the request. Since ABI 1.1.
    pub param: unsafe extern "C" fn(c: *const Connection, name: *const c_char) -> *const c_char,
    /// Number of bytes in the connection's write queue, frame headers included: what was sent to the client and the
    /// system has not accepted yet. What a callback sends waits at least until it returns, unless it exceeds the host's
    /// `high_water`. If the result is not 0, an [`OnDrain`] handler of the connection is called when nothing waits any
    /// more. Since ABI 1.1.
    pub queued: unsafe extern "C" fn(c: *const Connection) -> usize,
    /// Like [`Host::handshake`], with the names in a struct, and with an [`OnDrain`] handler. Since ABI 1.1.
    pub handshake_with: unsafe extern "C" fn(request: *mut Request, handlers: *const Handshake) -> i32,
    /// 1 if what the client sends is encrypted on its way, to the host or to a reverse proxy that the operator trusts;
    /// else 0. Such a proxy says so, by `proto=` in Forwarded, by X-Forwarded-Proto, or in its PROXY header, and it has to
    /// replace these headers where clients send them. 0 if the proxy names a client and no scheme, or if its headers
    /// contradict each other. Also accepts [`Request::owner`]. Since ABI 1.1.
    pub is_secure: unsafe extern "C" fn(c: *const Connection) -> i32,
}
