//! The ABI: everything that crosses the line between host and plugin, and the manual for it.
//!
//! C only: integers, pointers and lengths, NUL-terminated strings. Append-only: a field or a function, once
//! published, keeps its place, type and meaning; new ones go to the end of their struct and raise
//! [`ABI_MINOR`]. A reader knows by `struct_size` how much of a struct the other side has.
//!
//! Threads. **[worker thread]**: the one thread of a worker that runs all callbacks, one at a time. **[any
//! thread]**: whichever. **[pool thread]**: one of the worker's background threads, beside the worker thread
//! and beside others of their kind. Every function of [`Host`] is [worker thread] unless it says otherwise;
//! called from elsewhere it does nothing and answers [`status::WRONG_THREAD`], NULL or 0.
//!
//! Pointers. What a callback is handed belongs to the host and is valid until the callback returns, if
//! nothing else is said. What a function of [`Host`] is handed is only read, before it returns. Strings are
//! NUL-terminated; those from the host that stem from an HTTP request are bytes, not always UTF-8.
//!
//! Wrong arguments end nothing. NULL for a connection, a request or a name, where nothing else is said, and NULL
//! for bytes whose length is not 0, is answered with [`status::BAD_ARGUMENT`], NULL or 0; length 0 is always
//! allowed, with any pointer. What cannot be told from a good pointer is the plugin's to get right: a connection
//! after its ondisconnect, a request after its handler, a length beyond the bytes. Keep an id and ask
//! [`Host::find`], which answers NULL for what has ended.

use std::ffi::{c_char, c_void};

/// First field of a [`Plugin`]: the bytes `callsign`, little-endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"callsign");
/// A host refuses a plugin of another major version.
pub const ABI_MAJOR: u16 = 1;
/// A host serves plugins of its own and of lower minor versions, and of higher ones as far as they ask
/// (by `struct_size`) before they use what is newer.
pub const ABI_MINOR: u16 = 0;
/// The data symbol under which a library exports its [`Plugin`].
pub const PLUGIN_SYMBOL: &str = "callsign_plugin";
/// What stands before a handler's name in the data symbol that exports its [`Handler`].
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

/// How far a broadcast goes.
pub mod scope {
    /// The clients of this worker.
    pub const LOCAL: u32 = 1;
    /// The clients of all workers.
    pub const GLOBAL: u32 = 2;
}

/// What a handler is, and with which signature it is called. 0 is reserved.
pub mod kind {
    /// [`super::OnConnect`]
    pub const ONCONNECT: u32 = 1;
    /// [`super::OnMessage`]
    pub const ONMESSAGE: u32 = 2;
    /// [`super::OnDisconnect`]
    pub const ONDISCONNECT: u32 = 3;
    /// [`super::OnRequest`]
    pub const ONREQUEST: u32 = 4;
    /// [`super::OnLoad`]; at most one in a plugin. It is found by its kind, whatever its name.
    pub const ONLOAD: u32 = 5;
    /// [`super::OnUnload`]; at most one in a plugin, found as an onload hook is.
    pub const ONUNLOAD: u32 = 6;
}

/// Answers of the functions of [`Host`]. Not negative: done. Negative: nothing was done, and why.
pub mod status {
    /// Done; a message leaves with the next write of this turn.
    pub const SENT: i32 = 0;
    /// Done, but more than the high-water mark waits for this client: it reads slower than you send.
    pub const QUEUED: i32 = 1;
    /// The connection is closing or closed (or there is none of that id).
    pub const CLOSED: i32 = -1;
    /// Longer than the host's `max_message`, or a control message longer than 125 bytes.
    pub const TOO_LARGE: i32 = -2;
    /// Not an opcode of [`super::op`].
    pub const BAD_OP: i32 = -3;
    /// TEXT that is not UTF-8.
    pub const BAD_UTF8: i32 = -4;
    /// NULL where something is needed, an unknown scope, a close code that RFC 6455 §7.4 does not let an
    /// endpoint send, a malformed header.
    pub const BAD_ARGUMENT: i32 = -5;
    /// No such handler in any plugin where the name was looked for; no such timer.
    pub const NOT_FOUND: i32 = -6;
    /// There is a handler of that name, of another kind.
    pub const WRONG_KIND: i32 = -7;
    /// The request is not a WebSocket upgrade.
    pub const NOT_UPGRADE: i32 = -8;
    /// Called from another thread than the worker's.
    pub const WRONG_THREAD: i32 = -9;
    /// As much work waits for the background pool as may wait.
    pub const BUSY: i32 = -10;
    /// A load, save or restore hook is running: what it does must be as if it had not been, if the load is
    /// refused in the end, so it can reach nobody.
    pub const NOT_NOW: i32 = -11;
}

/// What a [`Save`] hook answers.
pub mod saved {
    /// It cannot be saved (say why with [`super::Host::fail`]): the reload is refused.
    pub const FAILED: i32 = 0;
    /// The state was given to [`super::Host::save`].
    pub const SAVED: i32 = 1;
    /// `data` is not this plugin's: it stays as it is.
    pub const NOT_MINE: i32 = 2;
    /// `data` is this plugin's and is not to be carried over: the connection sees ondisconnect, by the old
    /// code, and onconnect, by the new, and stays open.
    pub const RESTART: i32 = 3;
}

/// [`Host::worker_send`] to all workers but the one that sends.
pub const ALL_WORKERS: u32 = u32::MAX;

/// Which side closed a connection, for [`Host::closed_by`].
pub mod closed_by {
    /// It is open.
    pub const NOBODY: u32 = 0;
    /// The client: by a Close frame, or by leaving without one.
    pub const CLIENT: u32 = 1;
    /// The server: a plugin, or the host because of a violation, a limit, a failed callback, a shutdown.
    pub const SERVER: u32 = 2;
}

/// Methods of requests, for [`Request::method_code`] (RFC 9110 §9.3, RFC 5789); bits, so that several can be
/// told in one number. They are Kore's; 8 is reserved.
pub mod method {
    /// Any other.
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

/// Levels of [`Host::log`].
pub mod level {
    /// Something failed.
    pub const ERROR: u32 = 1;
    /// Something is wrong and goes on.
    pub const WARN: u32 = 2;
    /// What an operator wants to see.
    pub const INFO: u32 = 3;
    /// What a developer wants to see.
    pub const DEBUG: u32 = 4;
}

/// One WebSocket client, `struct connection` in C. Valid from its onconnect until its ondisconnect returns;
/// keep its `id`, not its address, and ask [`Host::find`].
#[repr(C)]
#[derive(Debug)]
pub struct Connection {
    /// The plugin's own; NULL at first. The host never looks at it.
    pub data: *mut c_void,
    /// Stable and never used twice while the server lives. Read only.
    pub id: u64,
    /// For the SDK: tells whose `data` is. A plugin that sets `data` by hand leaves it alone.
    pub data_tag: usize,
}

/// One HTTP request, `struct callsign_request` in C. Valid until the onrequest handler returns; read only,
/// `data` excepted.
#[repr(C)]
#[derive(Debug)]
pub struct Request {
    /// The handler's own; NULL at first.
    pub data: *mut c_void,
    /// Size of this struct in the host that made it, in bytes.
    pub struct_size: u32,
    /// 1 if the request is a good WebSocket upgrade (RFC 6455 §4.2.1), else 0.
    pub upgrade: u32,
    /// "GET", …
    pub method: *const c_char,
    /// As sent, without the query, percent-encoding kept.
    pub path: *const c_char,
    /// What follows the `?`; "" if there is none.
    pub query: *const c_char,
    /// Address and port of the client.
    pub peer: *const c_char,
    /// `body_length` bytes; never NULL.
    pub body: *const u8,
    /// In bytes; at most the host's `max_body`.
    pub body_length: usize,
    /// The Host header as sent; "" if there is none.
    pub host: *const c_char,
    /// The connection that the request may become. Its `data`, NULL at first, is the connection's own from its
    /// onconnect on; of the functions of [`Host`] only [`Host::peer`] knows it before, the others answer
    /// [`status::CLOSED`], NULL or 0. Its `id` is 0 until then. If the request does not become a connection, and
    /// `data` or `data_tag` is set, [`Plugin::release`] of the handler's plugin is called for it: right after the
    /// handler, when the request is valid still, or later, when the client has left before the 101. The same if the
    /// plugin is reloaded before the 101 is written: the connection then begins with NULL, in the new copy.
    pub owner: *mut Connection,
    /// One of [`method`].
    pub method_code: u32,
}

/// What an [`OnLoad`] hook is told, `struct callsign_load` in C.
#[repr(C)]
#[derive(Debug)]
pub struct Load {
    /// Size of this struct in the host that made it, in bytes.
    pub struct_size: u32,
    /// 1 for the copy of the plugin that the server has started with; each reload counts one up.
    pub generation: u32,
    /// The plugin's name, under which its handlers are called.
    pub plugin: *const c_char,
    /// The plugin's `config` table as a JSON object, UTF-8; "{}" if there is none.
    pub config: *const c_char,
    /// What [`Plugin::save_plugin`] of the generation before has saved on this worker, `state_length` bytes;
    /// NULL if there is nothing. [`Plugin::restore_plugin`] was given the same.
    pub state: *const c_void,
    /// In bytes.
    pub state_length: usize,
    /// The [`Plugin::state_version`] of the generation that has saved it.
    pub state_version: u32,
    /// 1 in the process that tries out a new copy before any worker loads it: it ends right after this hook,
    /// serves nobody, and has nothing carried over. Refuse here what you would refuse there, and leave the
    /// rest of the world as it is.
    pub probe: u32,
    /// The plain function that the config file names as the plugin's `onload`, if the library has one of that
    /// name beside this hook; else NULL. Its signature is the plugin's own business.
    pub function: Option<unsafe extern "C" fn()>,
}

/// A client was upgraded. [worker thread], never beside another callback of the same worker.
pub type OnConnect = unsafe extern "C" fn(c: *mut Connection);

/// One whole message from the client. The host owns `data` until this returns. `op` is TEXT (valid UTF-8)
/// or BINARY (RFC 6455 §5.6). `data` is never NULL. [worker thread]
pub type OnMessage = unsafe extern "C" fn(c: *mut Connection, op: u8, data: *const c_void, length: usize);

/// The connection has ended. Called once for each connection that was upgraded, as the last of its
/// callbacks; [`Host::close_code`] and the like still answer. [worker thread]
pub type OnDisconnect = unsafe extern "C" fn(c: *mut Connection);

/// A request for a route. Answers 1 when the request is handled (by `respond_…` or `handshake`); 0, or any other
/// number, is an error: the client gets a 500. [worker thread]
pub type OnRequest = unsafe extern "C" fn(request: *mut Request) -> i32;

/// The library was loaded; of its functions at most [`Plugin::restore_plugin`] was called before. Answers 1, or
/// 0 to refuse (say why with [`Host::fail`]): then the plugin is not used, and a reload changes nothing. It can
/// set timers and hand over background work, which begins when the copy is in use; to clients and other workers
/// it cannot speak yet ([`status::NOT_NOW`]). What it puts into a connection that has no `data` is there from the time
/// when the copy is in use; if it is refused, [`Plugin::release`] of this copy is called for it. [worker thread]
pub type OnLoad = unsafe extern "C" fn(load: *const Load) -> i32;

/// Another generation has taken over: this copy's handlers, timers and hooks are not called any more. Its code
/// stays in memory: background work of it that was running finishes by itself, and what it has handed over to be
/// called later, or set for a request whose 101 is on its way, is freed after this. Not called when the worker ends,
/// nor for a copy that was refused. [worker thread]
pub type OnUnload = unsafe extern "C" fn();

/// Saves `c->data` for the next generation: gives bytes to [`Host::save`], and answers one of [`saved`]. `data`
/// stays as it is: the reload may still be refused. Called for each connection with a handler of this plugin
/// and `data` that is not NULL. [worker thread]
pub type Save = unsafe extern "C" fn(c: *mut Connection) -> i32;

/// Sets `c->data`, which is NULL, from what the [`Save`] hook of the generation before has saved (`length` bytes
/// at `state`) and that generation's `version`. Answers 1, or 0 if it cannot (say why with [`Host::fail`]): then
/// the reload is refused. If it is refused later, [`Plugin::release`] of this copy is called for what was set.
/// [worker thread]
pub type Restore =
    unsafe extern "C" fn(c: *mut Connection, version: u32, state: *const c_void, length: usize) -> i32;

/// Saves what is not any connection's, as [`Save`] does; [`saved::NOT_MINE`] and [`saved::RESTART`] say that
/// there is nothing. Each worker has its own. [worker thread]
pub type SavePlugin = unsafe extern "C" fn() -> i32;

/// Takes over what [`SavePlugin`] has saved, as [`Restore`] does. Called before the onload hook, not at all if
/// nothing was saved. [worker thread]
pub type RestorePlugin = unsafe extern "C" fn(version: u32, state: *const c_void, length: usize) -> i32;

/// A message of this plugin's from worker number `worker`, sent by [`Host::worker_send`] as number `id`. `data`
/// is never NULL. [worker thread], never beside or inside another callback.
pub type OnWorkerMessage = unsafe extern "C" fn(worker: u32, id: u32, data: *const c_void, length: usize);

/// A timer is due, or work off the loop is done: `data` is what was handed over with it. `c` is the
/// connection that it was handed over for, open; NULL if for none. It may fail by [`Host::fail`]: that is
/// logged, and closes `c` with 1011; a timer for no connection goes on. [worker thread], never beside or
/// inside another callback.
pub type OnLater = unsafe extern "C" fn(data: *mut c_void, c: *mut Connection);

/// Work that may block: `data` is its own until it returns, and nobody else's. Of [`Host`] it may call what
/// is [any thread]. [pool thread]
pub type Work = unsafe extern "C" fn(data: *mut c_void);

/// Nobody will use `data` again; whatever it leads to can be freed. It may fail as [`OnLater`] may, which is
/// only logged. [worker thread], never beside or inside another callback.
pub type Free = unsafe extern "C" fn(data: *mut c_void);

/// A handler's function, as its kind tells.
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
}

/// A handler with its kind, exported as the data symbol `callsign_handler_NAME`.
///
/// A library may instead export a plain function `NAME`: it is taken for what the route or the handshake
/// that names it says. The symbol of its own keeps a handler that is called `connect` or `send` from taking
/// the place of the C library's function of that name inside the plugin.
#[repr(C)]
pub struct Handler {
    /// Size of this struct in the plugin, in bytes.
    pub struct_size: u32,
    /// One of [`kind`].
    pub kind: u32,
    /// Not NULL.
    pub function: HandlerFunction,
}

/// The descriptor that makes a library a plugin, exported as the data symbol `callsign_plugin`.
/// It is read from the file before any of the plugin's code runs.
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
    /// UTF-8, NUL-padded; letters, digits, `-`, `_`, `.`. Empty: the host takes the file's name, without
    /// `lib` and the ending.
    pub name: [u8; NAME_SIZE],
    /// UTF-8, NUL-padded; may be empty.
    pub version: [u8; VERSION_SIZE],
    /// Of what `data` points to, and of what the save hooks write: count it up when that changes. 0: not told.
    pub state_version: u32,
    /// 0
    pub reserved: u32,
    /// Where the host writes the address of its function table before it calls anything. Not NULL.
    pub host: *mut *const Host,
    /// Frees `c->data`, if it is this plugin's. Called after a connection's last callback, if one of its
    /// handlers belongs to this plugin, whether or not there was an ondisconnect handler. At a reload it is
    /// called for what the other generation has taken over, in the copy that has made it: in the old one when
    /// the new one was accepted, in the new one when it was refused. May be NULL. [worker thread]
    pub release: Option<unsafe extern "C" fn(c: *mut Connection)>,
    /// May be NULL. Without `save` in the old generation and `restore` in the new, `data` that is not NULL is
    /// carried over as it is if both have the same `state_version`, not 0; else the connection sees ondisconnect
    /// by the old code and onconnect by the new, and stays open.
    pub save: Option<Save>,
    /// May be NULL.
    pub restore: Option<Restore>,
    /// May be NULL.
    pub save_plugin: Option<SavePlugin>,
    /// May be NULL.
    pub restore_plugin: Option<RestorePlugin>,
}

/// Bytes for a plugin's name, the closing NUL included.
pub const NAME_SIZE: usize = 64;
/// Bytes for a plugin's version, the closing NUL included.
pub const VERSION_SIZE: usize = 32;

/// The host's functions. One table for the process, valid as long as it lives.
#[repr(C)]
pub struct Host {
    /// Size of this struct in the host, in bytes: a function beyond it does not exist.
    pub struct_size: u32,
    /// The host's [`ABI_MAJOR`].
    pub abi_major: u16,
    /// The host's [`ABI_MINOR`].
    pub abi_minor: u16,

    /// Sends one message to one client. `op`: see [`op`]. Answers a [`status`].
    pub send: unsafe extern "C" fn(c: *mut Connection, op: u8, data: *const c_void, length: usize) -> i32,
    /// Sends one message to every open connection of the [`scope`] except `source`, which may be NULL.
    /// Answers a [`status`]; a client that cannot take it does not count.
    pub broadcast: unsafe extern "C" fn(
        source: *mut Connection,
        op: u8,
        data: *const c_void,
        length: usize,
        scope: u32,
    ) -> i32,
    /// Starts the closing handshake (RFC 6455 §7.1.2). `code` 0 sends a Close without code; the reason is
    /// `length` bytes of UTF-8, cut to 123. Messages sent before still arrive; none is received after.
    pub close:
        unsafe extern "C" fn(c: *mut Connection, code: u16, reason: *const c_char, length: usize) -> i32,
    /// The open connection of this worker with that id, or NULL. Valid until the callback returns in which
    /// this was called.
    pub find: unsafe extern "C" fn(id: u64) -> *mut Connection,
    /// Address and port of the client. Valid as long as the connection.
    pub peer: unsafe extern "C" fn(c: *const Connection) -> *const c_char,
    /// The path of the request that was upgraded, as in [`Request`]. Valid as long as the connection.
    pub path: unsafe extern "C" fn(c: *const Connection) -> *const c_char,
    /// Its query, as in [`Request`]. Valid as long as the connection.
    pub query: unsafe extern "C" fn(c: *const Connection) -> *const c_char,
    /// The value of its first header of that name, in any case, or NULL. Valid as long as the connection.
    pub header: unsafe extern "C" fn(c: *const Connection, name: *const c_char) -> *const c_char,
    /// Its header number `index` from 0, names in lower case. Answers 1, or 0 behind the last.
    pub header_at: unsafe extern "C" fn(
        c: *const Connection,
        index: usize,
        name: *mut *const c_char,
        value: *mut *const c_char,
    ) -> i32,
    /// How the connection closed: the code of the first Close frame, sent or received; 1005 if that had none,
    /// 1006 if the connection ended without one (RFC 6455 §7.1.5). 0 while it is open.
    pub close_code: unsafe extern "C" fn(c: *const Connection) -> u16,
    /// The reason that came with that code; "" without one. Valid as long as the connection.
    pub close_reason: unsafe extern "C" fn(c: *const Connection) -> *const c_char,
    /// One of [`closed_by`].
    pub closed_by: unsafe extern "C" fn(c: *const Connection) -> u32,

    /// The value of the request's first header of that name, in any case, or NULL.
    pub request_header: unsafe extern "C" fn(request: *const Request, name: *const c_char) -> *const c_char,
    /// The request's header number `index`, as [`Host::header_at`].
    pub request_header_at: unsafe extern "C" fn(
        request: *const Request,
        index: usize,
        name: *mut *const c_char,
        value: *mut *const c_char,
    ) -> i32,
    /// The answer's status, 200 to 599; 200 if this is not called. Answers a [`status`]: BAD_ARGUMENT for another
    /// number, which changes nothing.
    pub respond_status: unsafe extern "C" fn(request: *mut Request, status: u16) -> i32,
    /// Adds a header to the answer, be it a 101. The host owns Content-Length, Date, Connection,
    /// Transfer-Encoding, Upgrade and Sec-WebSocket-Accept, and refuses them. Answers a [`status`]: BAD_ARGUMENT
    /// for those, for what is no header, and for more than a thousand.
    pub respond_header:
        unsafe extern "C" fn(request: *mut Request, name: *const c_char, value: *const c_char) -> i32,
    /// Sets the answer's body, which is copied. Answers a [`status`].
    pub respond_body: unsafe extern "C" fn(request: *mut Request, data: *const c_void, length: usize) -> i32,
    /// Upgrades the request and binds three handlers, by name, to the connection: `name` is looked for in
    /// the plugin that asks, then in the others in load order; `plugin:name` in that plugin alone. NULL:
    /// that event is ignored. All are looked up before the 101 is sent; if one is missing or of another
    /// kind, the client gets a 500 and the log says which. A name that is not UTF-8 is one that does not exist.
    /// Answers a [`status`]: NOT_FOUND, WRONG_KIND, NOT_UPGRADE; the last call counts, and the handler answers 1
    /// whatever this has answered.
    pub handshake: unsafe extern "C" fn(
        request: *mut Request,
        onconnect: *const c_char,
        onmessage: *const c_char,
        ondisconnect: *const c_char,
    ) -> i32,

    /// Writes `length` bytes of UTF-8 to the server's log, with the plugin's name. `caller` is the plugin's
    /// [`Plugin::host`], which tells the host who calls; an unknown one is logged as `?`. [any thread]
    pub log:
        unsafe extern "C" fn(caller: *const *const Host, level: u32, message: *const c_char, length: usize),
    /// Says that the callback that is running has failed, and why: it is logged with plugin and handler; a
    /// connection closes with 1011, a request is answered 500, a load is refused. `file` may be NULL. The last
    /// call counts. Answers a [`status`]: WRONG_THREAD where no callback runs.
    pub fail:
        unsafe extern "C" fn(message: *const c_char, length: usize, file: *const c_char, line: u32) -> i32,
    /// 1 while a callback runs on the calling thread, else 0. [any thread]
    pub in_callback: unsafe extern "C" fn() -> i32,
    /// An optional ability by name and version ("name/1"): the address of its own table, or NULL. None is
    /// offered yet. [any thread]
    pub extension: unsafe extern "C" fn(name: *const c_char) -> *const c_void,

    /// Has `call` called after `delay_ms` milliseconds, and if `repeat_ms` is not 0 every `repeat_ms`
    /// milliseconds after that. Times are counted from the first, so they do not drift; those that a busy
    /// worker has missed are left out. `caller`: as for [`Host::log`].
    ///
    /// `connection` is the [`Connection::id`] of an open connection of this worker, with which the timer
    /// ends, or 0 for none. While that connection is closing the timer does not run.
    ///
    /// `data` is the timer's until `free`, which may be NULL, is called with it, once: soon after the last
    /// firing, after [`Host::timer_remove`], after the last callback and the release hook of its connection,
    /// or when this copy of the plugin is replaced or its worker stops. Answers the timer's id, never used
    /// twice by a worker, or 0: then there is no timer, `free` is not called and `data` stays the caller's.
    /// It fails if `call` is NULL, `caller` unknown, the connection closing or not there, or the thread
    /// wrong.
    pub timer_add: unsafe extern "C" fn(
        caller: *const *const Host,
        connection: u64,
        delay_ms: u64,
        repeat_ms: u64,
        call: Option<OnLater>,
        data: *mut c_void,
        free: Option<Free>,
    ) -> u64,
    /// Ends a timer; it may be the one whose callback is running. Its `free` is called soon after, when no
    /// callback runs. Answers a [`status`]: NOT_FOUND if it has ended already, NOT_NOW for a timer of a copy in use
    /// while a load, save or restore hook runs.
    pub timer_remove: unsafe extern "C" fn(id: u64) -> i32,
    /// Has `work` called on the background pool, as soon as one of its threads is free, and then `done`,
    /// which may be NULL, on the worker's. Results come in the order in which work ends. `caller`: as for
    /// [`Host::log`].
    ///
    /// `connection` is the id of an open connection of this worker, or 0 for none. When it closes before
    /// `work` has begun, `work` is not called; when it closes before `done`, `done` is not called. So work
    /// that has to be done even if the client leaves is handed over for none.
    ///
    /// `data` is the work's until `free`, which may be NULL, is called with it, once: after `done`, or in its
    /// place. (It is not called for work that still runs when the worker stops and `drain_timeout` is over.)
    /// Answers a [`status`]; if negative, nothing is called and `data` stays the caller's: BUSY if too much
    /// work waits, CLOSED, BAD_ARGUMENT if `work` is NULL or `caller` unknown.
    pub background: unsafe extern "C" fn(
        caller: *const *const Host,
        connection: u64,
        work: Option<Work>,
        done: Option<OnLater>,
        data: *mut c_void,
        free: Option<Free>,
    ) -> i32,

    /// In a save hook: the state, which is copied. The last call counts. Answers a [`status`]: NOT_NOW
    /// elsewhere.
    pub save: unsafe extern "C" fn(data: *const c_void, length: usize) -> i32,
    /// This worker's number, from 0. [any thread]
    pub worker_index: unsafe extern "C" fn() -> u32,
    /// How many workers there are. [any thread]
    pub worker_count: unsafe extern "C" fn() -> u32,
    /// Sends a message to this plugin on another worker, or on all others ([`ALL_WORKERS`]), where it reaches
    /// what [`Host::worker_receive`] was told for `id`. In order per sender; lost if that worker has no receiver
    /// for it, or dies. `caller`: as for [`Host::log`]. Answers a [`status`]: NOT_FOUND if there is no such
    /// worker or it is this one, TOO_LARGE above the host's `max_message`, BAD_ARGUMENT if `caller` is unknown.
    /// All others are none where there is one worker: SENT.
    pub worker_send: unsafe extern "C" fn(
        caller: *const *const Host,
        worker: u32,
        id: u32,
        data: *const c_void,
        length: usize,
    ) -> i32,
    /// Has `call` called with each message of that `id` from this plugin on other workers; NULL: no more. It
    /// ends with this copy of the plugin. Answers a [`status`]: BAD_ARGUMENT if `caller` is unknown, NOT_NOW for a
    /// copy in use while a load, save or restore hook runs.
    pub worker_receive:
        unsafe extern "C" fn(caller: *const *const Host, id: u32, call: Option<OnWorkerMessage>) -> i32,
}
