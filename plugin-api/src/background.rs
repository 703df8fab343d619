//! Work that may block, off the loop: it runs on the worker's background pool, and its result comes back to
//! the worker's thread. The host has the threads; this is its face for Rust.
#![forbid(unsafe_code)]

use crate::boundary::add_background;
use crate::connection::Connection;
use crate::message::Status;

impl Connection {
    /// Runs `work` on the background pool and calls `done` with its result on this thread, while other
    /// callbacks run. Results come in the order in which work ends. If the connection closes first, `done` is
    /// not called, and work that has not begun is not done; what has to be done even if the client leaves
    /// goes through [`background()`].
    ///
    /// The pool has few threads. [`Status::Busy`]: too much waits for them already, so nothing will be
    /// called. A panic in `work` or `done` is logged and closes the connection with 1011, as in any handler.
    ///
    /// ```
    /// # use callsign_plugin::prelude::*;
    /// # fn look_up(name: &str) -> String { name.to_owned() }
    /// #[onmessage]
    /// fn question(c: &Connection, message: Message<'_>) {
    ///     let name = message.as_text().unwrap_or_default().to_owned();
    ///     let status = c.background(move || look_up(&name), |c, found| _ = c.send(&found));
    ///     if status == Status::Busy {
    ///         c.send("too many questions, ask again later");
    ///     }
    /// }
    /// ```
    ///
    /// What `work` takes along has to be able to travel; what `done` keeps need not be.
    ///
    /// ```compile_fail
    /// # use callsign_plugin::prelude::*;
    /// fn question(c: &'static Connection) {
    ///     c.background(move || c.id(), |c, id| ()); // a Connection cannot leave its thread
    /// }
    /// ```
    pub fn background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(&Connection, T) + 'static,
    ) -> Status {
        add_background(self.id(), work, move |c, result| {
            // The host calls it with the connection that it was handed over for.
            if let Some(c) = c {
                done(c, result);
            }
        })
    }
}

/// As [`Connection::background`], for no connection: `work` is done in any case, and then `done` called,
/// unless this copy of the plugin is replaced first. When the server stops, it waits for such work until its
/// `drain_timeout` is over.
///
/// ```
/// # use callsign_plugin::prelude::*;
/// #[ondisconnect]
/// fn save(c: &Connection) {
///     let line = format!("{} {}\n", c.id(), c.close_code());
///     background(move || std::fs::write("last-guest", line), |written| {
///         if let Err(error) = written {
///             log(Level::Error, format!("last-guest: {error}"));
///         }
///     });
/// }
/// ```
pub fn background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    done: impl FnOnce(T) + 'static,
) -> Status {
    add_background(0, work, move |_, result| done(result))
}
