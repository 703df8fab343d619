//! Write WebSocket handlers that Callsign loads by name.
//!
//! A plugin is a `cdylib` with one [`plugin!`] and functions marked by what they are:
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
//! Handlers are called by these names: in a route (`--route '/chat=join,message,leave'`), in
//! [`Request::handshake`], or by the convention that `onrequest`, `onconnect`, `onmessage` and
//! `ondisconnect` are used where no route is configured.
//!
//! **Threads.** A worker runs all callbacks on one thread, one at a time: no locks are needed, and a callback
//! must not block: what takes longer goes to the background pool ([`Connection::background`],
//! [`background()`]), what is to happen later is a timer ([`Connection::after`], [`Connection::every`]). A
//! [`Connection`] cannot leave that thread; its [`Connection::id`] can.
//!
//! **Failure.** A handler may return `Result<(), E>` (an onrequest handler `Result<Response, E>`). An `Err`
//! and a panic end the same way: the host logs plugin, handler and message, that connection closes with 1011
//! (that request is answered 500), and nothing else is disturbed.
//!
//! # State over a reload
//!
//! A reload replaces the code behind open connections. Give them a state, and it is there afterwards:
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
//!     #[serde(default)] // added later: sessions that were saved without it get 0
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
//! The crate needs `serde = { version = "1", features = ["derive"] }` beside this one. The old copy of the plugin
//! saves each connection's state, the new one restores it, field by field, by name. What the new handlers see:
//!
//! | from the old copy to the new | what happens |
//! | --- | --- |
//! | state type unchanged | the same state |
//! | a field added, with `#[serde(default)]` (or an `Option`) | the field has its default, the others their values |
//! | a field added without default | the reload is refused, and names the field |
//! | a field removed | it is gone, the others have their values |
//! | a field has another type, which its old value does not fit | the reload is refused, and names the field |
//! | saving or restoring fails or panics | the reload is refused, and says why |
//! | the new copy declares no state | the state is dropped; the connection stays, without data |
//! | the old copy used [`Connection::set_data`] | `ondisconnect` by the old code, `onconnect` by the new; the connection stays open |
//! | the old copy, in another language, has saved something | the reload is refused |
//! | nothing was set | nothing: the next [`Connection::state`] makes a default |
//!
//! Refused means that nothing changes: the old code goes on with every connection and its state. The reason stands
//! in the log and in the answer of `callsign reload`. A type that changes its name changes nothing; a field or a
//! variant that does needs `#[serde(alias = "old")]`.
//!
//! What the plugin keeps for all connections of a worker is its shared state, [`shared()`], which is carried over
//! in the same way, before `#[onload]` runs. `plugin!(state = Session, shared = Room)` declares both. Other
//! statics and thread-locals begin anew: they are another library's.
//!
//! A state is saved in a format of its own, which can hold what serde can: maps with any keys, NaN, 128-bit
//! integers, bytes. Two exceptions: `Some(None)` and `Some(())` come back as `None`, and serde has no 128-bit
//! integers inside `#[serde(flatten)]` and untagged enums.
//!
//! **Timers** of the old copy end with the reload, those of connections too, and their closures are dropped: set
//! them anew, in `#[onload]` for all connections ([`every()`]), or at a connection's next message.
//! **Background work** that has not begun is not done any more. What runs finishes, but its `done` is not called.
//!
//! `#[onload]` may refuse the new copy, and [`Load`] tells it what it is. `#[onunload]` runs in the old copy when
//! the new one has taken over:
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
//! [`abi`] is the C interface underneath; `include/callsign.h` is the same for plugins in C and C++.

pub mod abi;

mod message; // what is sent and received, and what became of it

mod connection; // one client

mod request; // one HTTP request and its answer

mod state; // a connection's state, carried over reloads

mod shared; // the plugin's own state, one for each worker

mod saved; // states as bytes

mod timer; // callbacks at a later time

mod background; // work that may block

pub mod worker; // messages between workers

mod load; // what a plugin is told at load, and the log

#[allow(unsafe_code)]
mod boundary; // the only unsafe code: descriptor, entry points, calls into the host

pub use background::background;
pub use callsign_plugin_macros::{onconnect, ondisconnect, onload, onmessage, onrequest, onunload};
pub use connection::{ClosedBy, Connection, broadcast};
pub use load::{Level, Load, log};
pub use message::{Message, Scope, Status};
pub use request::{Request, Response};
pub use shared::{Shared, shared};
pub use state::State;
pub use timer::{Timer, after, every};

/// The text of `callsign.h`, the same ABI for plugins in C: for programs that set up such a plugin.
pub const C_HEADER: &str = include_str!("../include/callsign.h");

/// What a handler file wants in scope.
pub mod prelude {
    pub use crate::{
        ClosedBy, Connection, Level, Load, Message, Request, Response, Scope, Status, Timer, after,
        background, broadcast, every, log, onconnect, ondisconnect, onload, onmessage, onrequest, onunload,
        shared,
    };
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeIsTested;

/// What the macros expand to; not an interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::boundary::{
        HOST_SLOT, call_onconnect, call_ondisconnect, call_onload, call_onmessage, call_onrequest,
        call_onunload, padded, release, restore, restore_no_state, restore_plugin, save, save_no_state,
        save_plugin,
    };
    pub use crate::shared::Place;
}

/// Makes the library a plugin: exports its descriptor. Once in each library, at the top level.
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
/// All of it may be left out, and stand in any order:
///
/// | option | says | without it |
/// | --- | --- | --- |
/// | `name = "chat"` | the name under which its handlers are called | its package's |
/// | `state = Session` | the type of [`Connection::state`], `Serialize + DeserializeOwned`, a type of this crate | none |
/// | `shared = Room` | the type of [`shared()`], `Default + Serialize + DeserializeOwned`, a type of this crate | none |
///
/// What becomes of the two at a reload: [State over a reload](crate#state-over-a-reload).
///
/// ```compile_fail
/// callsign_plugin::plugin!(nmae = "chat"); // plugin!: there is no `nmae`; it takes name, state and shared
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

/// Takes the options one by one, into {name} {state} {shared}.
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

        const _: () = {
            #[cfg(panic = "abort")]
            compile_error!("a plugin needs panic = \"unwind\": with \"abort\" a panic would end the worker");

            // SAFETY: the name is Callsign's own; no other library defines or means another thing by it.
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
            "plugin!: there is no `", stringify!($option), "`; it takes name = \"…\", state = Type and shared = Type"
        ));
    };
    ($name:tt $state:tt $shared:tt $($rest:tt)*) => {
        compile_error!(concat!(
            "plugin!: `", stringify!($($rest)*), "` is not an option; it takes name = \"…\", state = Type and \
             shared = Type"
        ));
    };
}
