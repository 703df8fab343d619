//! Background work, which may block. The host runs the work on the worker's background pool and calls the
//! completion closure on the worker thread.
#![forbid(unsafe_code)]

use crate::boundary::add_background;
use crate::connection::Connection;
use crate::message::Status;

impl Connection {
    /// Runs `work` on the background pool, then calls `done` with the result on the worker thread. Other
    /// callbacks run in the meantime. Results arrive in the order in which work completes. If the connection
    /// closes first, `done` is not called, and work that has not started is dropped. Use [`background()`] for
    /// work that must be done even if the client disconnects.
    ///
    /// The pool has few threads and a bounded queue. If the queue is full, the result is [`Status::Busy`] and
    /// nothing is called. A panic in `work` or `done` is logged and closes the connection with 1011, like a
    /// panic in a handler.
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
    /// `work` must be `Send`; `done` need not be.
    ///
    /// ```compile_fail
    /// # use callsign_plugin::prelude::*;
    /// fn question(c: &'static Connection) {
    ///     c.background(move || c.id(), |c, id| ()); // a Connection cannot leave the worker thread
    /// }
    /// ```
    pub fn background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(&Connection, T) + 'static,
    ) -> Status {
        add_background(self.id(), work, move |c, result| {
            // The host passes the connection with this id.
            if let Some(c) = c {
                done(c, result);
            }
        })
    }
}

/// Runs background work like [`Connection::background`], but independent of a connection. A reload drops work
/// that has not started, and does not call `done` for running work. When the server stops, it waits for the
/// work until `drain_timeout` expires.
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
