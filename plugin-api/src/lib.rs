//! Write WebSocket handlers that Callsign loads by name.
//!
//! A plugin is a shared library (`cdylib`) with one [`plugin!`] and handlers: functions that the host calls by
//! their names, marked with their kind. A callback is any function of the plugin that the host calls:
//! handlers, hooks such as `#[onload]`, and the closures of timers and background work.
//!
//! ```
//! use callsign_plugin::prelude::*;
//!
//! callsign_plugin::plugin!();
//!
//! #[onconnect]
//! fn join(c: &Connection) {
//!     c.send("welcome");
//! }
//!
//! #[onmessage]
//! fn message(c: &Connection, message: Message<'_>) {
//!     c.broadcast(message, Scope::Global);
//! }
//!
//! #[ondisconnect]
//! fn leave(c: &Connection) {
//!     log(Level::Info, format!("{} left with {}", c.id(), c.close_code()));
//! }
//!
//! #[onrequest]
//! fn connect(request: &mut Request) -> Response {
//!     request.handshake("join", "message", "leave")
//! }
//! # fn main() {}
//! ```
//!
//! A handler's name is the name of its function. A handler is named in a route, for example with
//! `--route '/chat=join,message,leave'`, or in [`Request::handshake`]. Without any route, the host uses the
//! handler named `onrequest` for every request. If no such handler exists, WebSocket clients use the handlers
//! named `onconnect`, `onmessage` and `ondisconnect`. An `#[ondrain]` handler is a fourth one, for connections to which
//! much is sent; [`Connection::queued`] has an example.
//!
//! **Threads.** A worker runs all callbacks on one thread, one at a time, so a plugin needs no locks. A
//! callback must not block: move slow work to the background pool ([`Connection::background`],
//! [`background()`]), and use a timer for work that is due later ([`Connection::after`],
//! [`Connection::every`]). A [`Connection`] cannot leave the worker thread; its [`Connection::id`] can.
//!
//! **Failure.** A handler may return `Result<(), E>`; an onrequest handler may return `Result<Response, E>`.
//! An `Err` and a panic have the same effect: the host logs plugin, handler and message, for a panic also the
//! source line, and closes the connection with 1011 or responds to the request with 500. Other connections and
//! requests are not affected. An error is formatted with `{:#}`, which shows the causes of an `anyhow::Error`. If
//! `RUST_BACKTRACE=1` is set for the server, the log also has the backtrace of a panic.
//!
//! # State over a reload
//!
//! A reload replaces the code behind open connections: it loads a new generation of the plugin, that is a new
//! version of its library. The host carries the state of a connection over:
//!
//! ```
//! use callsign_plugin::prelude::*;
//! use serde::{Deserialize, Serialize};
//!
//! callsign_plugin::plugin!(state = Session);
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Session {
//!     nick: String,
//!     #[serde(default)] // added later: sessions saved without the field get 0
//!     visits: u32,
//! }
//!
//! #[onmessage]
//! fn message(c: &Connection, message: Message<'_>) {
//!     let mut session = c.state::<Session>();
//!     session.visits += 1;
//!     c.send(&format!("{}: {} messages", session.nick, session.visits));
//! }
//! # fn main() {}
//! ```
//!
//! The crate also needs the dependency `serde = { version = "1", features = ["derive"] }`. The old generation
//! of the plugin saves the state of each connection. The new generation restores the state field by field, by
//! name:
//!
//! | change from the old to the new generation | effect |
//! | --- | --- |
//! | the state type is unchanged | the state is kept |
//! | a field was added, with `#[serde(default)]` or as an `Option` | the field has its default value, the other fields keep their values |
//! | a field was added without a default | the reload is rejected; the error names the field |
//! | a field was removed | its value is dropped, the other fields keep their values |
//! | a field has a new type that does not accept the old value | the reload is rejected; the error names the field |
//! | saving or restoring fails or panics | the reload is rejected with that error |
//! | the new generation declares no state | the state is dropped; the connection stays open without data |
//! | the old generation used [`Connection::set_data`] | the host calls `ondisconnect` of the old and `onconnect` of the new generation; the connection stays open |
//! | the old generation is written in another language and saved bytes | the reload is rejected |
//! | the connection had no state | the next [`Connection::state`] creates the default |
//!
//! When a reload is rejected, the old generation keeps all connections and their state. The reason is in the
//! log and in the output of `callsign reload`. Renaming the state type has no effect. A renamed field or
//! variant needs `#[serde(alias = "old")]`.
//!
//! State that belongs to the worker rather than to a connection is the shared state, [`shared()`]. It is
//! carried over in the same way, before `#[onload]` runs. `plugin!(state = Session, shared = Room)` declares
//! both. Other statics and thread-locals start with their initial values, because each generation is a
//! separate library.
//!
//! **Memory.** The library of an old generation is never unloaded, because a call into it would crash: its
//! code and statics stay in memory until the worker ends, and nothing drops the statics. Free what they hold
//! in `#[onunload]`, such as tables and caches; otherwise each reload adds them once more.
//! `callsign status` shows by how much reloads have grown each worker.
//!
//! **Exclusive resources**, such as a port or a lock file, cannot be opened in `#[onload]` while the old
//! generation, which still serves, or another worker holds them. [`Load::replaces`] shows the pattern.
//!
//! The format of saved state supports all types of serde, including maps with any key type, NaN, 128-bit
//! integers and bytes. Exceptions: `Some(None)` and `Some(())` are restored as `None`, and serde does not
//! support 128-bit integers inside `#[serde(flatten)]` and untagged enums.
//!
//! **Timers** of the old generation end with the reload, including those of connections, and their closures
//! are dropped. Set the plugin's timers again in `#[onload]` ([`every()`]), and those of a connection at its
//! next message.
//!
//! **Background work** that has not started is dropped. Running work finishes, but its `done` is not called.
//!
//! `#[onload]` may reject the new generation; [`Load`] describes the load. `#[onunload]` runs in the old
//! generation after the new generation has replaced it:
//!
//! ```
//! use callsign_plugin::prelude::*;
//!
//! callsign_plugin::plugin!();
//!
//! #[onload]
//! fn load(load: &Load) -> Result<(), String> {
//!     if !load.config().contains("\"topic\"") {
//!         return Err("the config has no `topic`".to_owned());
//!     }
//!     log(Level::Info, format!("this is generation {}", load.generation()));
//!     Ok(())
//! }
//!
//! #[onunload]
//! fn unload() {
//!     log(Level::Info, "replaced");
//! }
//! # fn main() {}
//! ```
//!
//! # Processes and signals
//!
//! A child that a plugin forks must call `exec` or `_exit`. Processes that a plugin starts end with their
//! worker, unless they have called `setsid`. They gain no privileges: setuid programs such as `sudo`, and file
//! capabilities, have no effect in a worker (`no_new_privs`). [`abi`] says which signals a plugin may handle.
//!
//! [`abi`] is the underlying C interface. `include/callsign.h` declares the same interface for plugins in C
//! and C++.

pub mod abi;

mod message; // messages, broadcast scopes, status values

mod connection; // one WebSocket connection

mod request; // one HTTP request and its response

mod certificate; // the certificate of a client

mod state; // connection state, carried over reloads

mod shared; // shared state, one value per worker

mod saved; // encoding of saved state

mod timer; // timers

mod background; // background work

pub mod worker; // worker messages

mod load; // the argument of an onload hook, and the log

mod boundary; // the only unsafe code: descriptor, entry points, calls into the host

pub use background::background;
pub use callsign_plugin_macros::{onconnect, ondisconnect, ondrain, onload, onmessage, onrequest, onunload};
pub use certificate::ClientCertificate;
pub use connection::{ClosedBy, Connection, broadcast};
pub use load::{Level, Load, log};
pub use message::{Message, Scope, Status};
pub use request::{Request, Response};
pub use shared::{Shared, shared};
pub use state::State;
pub use timer::{Timer, after, every};

/// The text of `callsign.h`, for programs that generate plugins in C.
pub const C_HEADER: &str = include_str!("../include/callsign.h");

/// The items that most handlers use.
pub mod prelude {
    pub use crate::{
        ClientCertificate, ClosedBy, Connection, Level, Load, Message, Request, Response, Scope, Status,
        Timer, after, background, broadcast, every, log, onconnect, ondisconnect, ondrain, onload, onmessage,
        onrequest, onunload, shared,
    };
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeIsTested;

/// Used by the macro expansions; not part of the public API.
#[doc(hidden)]
pub mod __private {
    pub use crate::boundary::{
        HOST_SLOT, call_onconnect, call_ondisconnect, call_ondrain, call_onload, call_onmessage,
        call_onrequest, call_onunload, padded, release, restore, restore_no_state, restore_plugin, save,
        save_no_state, save_plugin,
    };
    pub use crate::shared::Place;
}

/// Makes the library a plugin: exports its descriptor. Use it once per library, at the top level.
///
/// ```
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Session;
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Room;
/// callsign_plugin::plugin!(name = "chat", state = Session, shared = Room);
/// # fn main() {}
/// ```
///
/// All options are optional and may be given in any order:
///
/// | option | meaning | default |
/// | --- | --- | --- |
/// | `name = "chat"` | the plugin's name, used in `chat:handler` | the package name |
/// | `state = Session` | the type of [`Connection::state`]: `Serialize + DeserializeOwned`, defined in this crate | no state |
/// | `shared = Room` | the type of [`shared()`]: `Default + Serialize + DeserializeOwned`, defined in this crate | no shared state |
///
/// [State over a reload](crate#state-over-a-reload) describes how a reload carries both over.
///
/// ```compile_fail
/// callsign_plugin::plugin!(nmae = "chat"); // plugin!: unknown option `nmae`
/// ```
///
/// ```compile_fail
/// callsign_plugin::plugin!(name = "chat", name = "room"); // plugin!: `name` is given twice
/// ```
///
/// ```compile_fail
/// struct Session; // no Serialize
/// callsign_plugin::plugin!(state = Session);
/// ```
#[macro_export]
macro_rules! plugin {
    ($($options:tt)*) => {
        $crate::__plugin!({ } { } { } $($options)*);
    };
}

/// Parses the options one by one into {name} {state} {shared}.
#[doc(hidden)]
#[macro_export]
macro_rules! __plugin {
    ({ } $state:tt $shared:tt name = $name:expr $(, $($rest:tt)*)?) => {
        $crate::__plugin!({ $name } $state $shared $($($rest)*)?);
    };
    ($name:tt { } $shared:tt state = $state:ty $(, $($rest:tt)*)?) => {
        $crate::__plugin!($name { $state } $shared $($($rest)*)?);
    };
    ($name:tt $state:tt { } shared = $shared:ty $(, $($rest:tt)*)?) => {
        $crate::__plugin!($name $state { $shared } $($($rest)*)?);
    };
    ($name:tt $state:tt $shared:tt name = $($rest:tt)*) => {
        compile_error!("plugin!: `name` is given twice");
    };
    ($name:tt $state:tt $shared:tt state = $($rest:tt)*) => {
        compile_error!("plugin!: `state` is given twice");
    };
    ($name:tt $state:tt $shared:tt shared = $($rest:tt)*) => {
        compile_error!("plugin!: `shared` is given twice");
    };
    ({ $($name:expr)? } { $($state:ty)? } { $($shared:ty)? }) => {
        $(impl $crate::State for $state {})?

        $(impl $crate::Shared for $shared {
            fn __place() -> &'static $crate::__private::Place<Self> {
                ::std::thread_local! {
                    static PLACE: &'static $crate::__private::Place<$shared> =
                        $crate::__private::Place::leaked();
                }
                PLACE.with(|place| *place)
            }
        })?

        // No `allow(unsafe_code)`: the lint ignores code of external macros, and `allow` would be an error in
        // a crate that forbids the lint.
        const _: () = {
            #[cfg(panic = "abort")]
            compile_error!("a plugin needs panic = \"unwind\": with \"abort\", a panic ends the worker");

            // SAFETY: the symbol name is reserved for Callsign, so no other library defines it.
            #[unsafe(export_name = "callsign_plugin")]
            static DESCRIPTOR: $crate::abi::Plugin = $crate::abi::Plugin {
                magic: $crate::abi::MAGIC,
                abi_major: $crate::abi::ABI_MAJOR,
                abi_minor: $crate::abi::ABI_MINOR,
                struct_size: ::core::mem::size_of::<$crate::abi::Plugin>() as u32,
                name: $crate::__private::padded($crate::__plugin!(@name $($name)?)),
                version: $crate::__private::padded(env!("CARGO_PKG_VERSION")),
                state_version: 0,
                reserved: 0,
                host: $crate::__private::HOST_SLOT,
                release: Some($crate::__private::release),
                save: Some($crate::__plugin!(@save $($state)?)),
                restore: Some($crate::__plugin!(@restore $($state)?)),
                save_plugin: $crate::__plugin!(@save_plugin $($shared)?),
                restore_plugin: $crate::__plugin!(@restore_plugin $($shared)?),
            };
        };
    };
    (@name) => { env!("CARGO_PKG_NAME") };
    (@name $name:expr) => { $name };
    (@save) => { $crate::__private::save_no_state };
    (@save $state:ty) => { $crate::__private::save::<$state> };
    (@restore) => { $crate::__private::restore_no_state };
    (@restore $state:ty) => { $crate::__private::restore::<$state> };
    (@save_plugin) => { None };
    (@save_plugin $shared:ty) => { Some($crate::__private::save_plugin::<$shared>) };
    (@restore_plugin) => { None };
    (@restore_plugin $shared:ty) => { Some($crate::__private::restore_plugin::<$shared>) };
    ($name:tt $state:tt $shared:tt $option:ident $($rest:tt)*) => {
        compile_error!(concat!(
            "plugin!: unknown option `", stringify!($option), "`; the options are name = \"…\", state = Type and \
             shared = Type"
        ));
    };
    ($name:tt $state:tt $shared:tt $($rest:tt)*) => {
        compile_error!(concat!(
            "plugin!: `", stringify!($($rest)*), "` is not an option; the options are name = \"…\", state = Type and \
             shared = Type"
        ));
    };
}
