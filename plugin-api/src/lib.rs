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
//! [`abi`] is the C interface underneath; `include/callsign.h` is the same for plugins in C and C++.

pub mod abi;

mod message; // what is sent and received, and what became of it

mod connection; // one client

mod request; // one HTTP request and its answer

mod timer; // callbacks at a later time

mod background; // work that may block

mod load; // what a plugin is told at load, and the log

#[allow(unsafe_code)]
mod boundary; // the only unsafe code: descriptor, entry points, calls into the host

pub use background::background;
pub use callsign_plugin_macros::{onconnect, ondisconnect, onload, onmessage, onrequest};
pub use connection::{ClosedBy, Connection, broadcast};
pub use load::{Level, Load, log};
pub use message::{Message, Scope, Status};
pub use request::{Request, Response};
pub use timer::{Timer, after, every};

/// What a handler file wants in scope.
pub mod prelude {
    pub use crate::{
        ClosedBy, Connection, Level, Load, Message, Request, Response, Scope, Status, Timer, after,
        background, broadcast, every, log, onconnect, ondisconnect, onload, onmessage, onrequest,
    };
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeIsTested;

/// What the macros expand to; not an interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::boundary::{
        HOST_SLOT, call_onconnect, call_ondisconnect, call_onload, call_onmessage, call_onrequest, padded,
        release,
    };
}

/// Makes the library a plugin: exports its descriptor, under the name and version of its package, or
/// under a name of its own: `plugin!(name = "chat")`. Once in each library, at the top level.
#[macro_export]
macro_rules! plugin {
    () => {
        $crate::plugin!(name = env!("CARGO_PKG_NAME"));
    };
    (name = $name:expr) => {
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
                name: $crate::__private::padded($name),
                version: $crate::__private::padded(env!("CARGO_PKG_VERSION")),
                state_version: 0,
                reserved: 0,
                host: $crate::__private::HOST_SLOT,
                release: Some($crate::__private::release),
                save: None,
                restore: None,
                save_plugin: None,
                restore_plugin: None,
            };
        };
    };
}
