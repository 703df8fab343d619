//! State of a connection: data of a type that the plugin declares, which a reload carries over. `boundary`
//! stores, saves and restores it.
#![forbid(unsafe_code)]

use std::cell::{RefCell, RefMut};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::boundary::Held;
use crate::connection::Connection;
use crate::saved::short_name;

/// The state of a plugin's connections. [`plugin!`](crate::plugin)`(state = Session)` implements the trait
/// for `Session`; do not implement it by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the state of this plugin's connections",
    label = "not declared",
    note = "declare it: `callsign_plugin::plugin!(state = {Self});`"
)]
pub trait State: Serialize + DeserializeOwned + 'static {}

impl Connection {
    /// The state of the connection, of the type that [`plugin!`](crate::plugin)`(state = Session)` declares.
    /// The first use creates it with `Default`. A reload carries the state over
    /// ([details](crate#state-over-a-reload)). The state is dropped after `ondisconnect`.
    ///
    /// ```
    /// use callsign_plugin::prelude::*;
    /// use serde::{Deserialize, Serialize};
    ///
    /// callsign_plugin::plugin!(state = Session);
    ///
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Session {
    ///     nick: String,
    ///     said: u32,
    /// }
    ///
    /// #[onmessage]
    /// fn message(c: &Connection, message: Message<'_>) {
    ///     let mut session = c.state::<Session>();
    ///     session.said += 1;
    ///     if let Some(nick) = message.as_text().and_then(|text| text.strip_prefix("/nick ")) {
    ///         session.nick = nick.to_owned();
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    ///
    /// The result is a guard. Only one guard of a connection's state may exist at a time.
    ///
    /// A type other than the declared one does not compile.
    ///
    /// ```compile_fail
    /// use callsign_plugin::prelude::*;
    ///
    /// #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// struct Session;
    ///
    /// fn message(c: &Connection) {
    ///     c.state::<Session>(); // without plugin!(state = Session)
    /// }
    /// ```
    ///
    /// # Panics
    /// If another guard of this connection's state is alive, or if the connection has data of another plugin
    /// or data from [`set_data`](Self::set_data).
    #[track_caller]
    pub fn state<S: State + Default>(&self) -> RefMut<'_, S> {
        if let Some(state) = self.raw.state::<S>() {
            return self.borrow(state);
        }
        self.assert_no_data::<S>();
        self.borrow(self.raw.set_state(S::default()))
    }

    /// The state of the connection; None if it has no state yet. Use it for a state type without default, or
    /// where the state must not be created.
    ///
    /// # Panics
    /// If another guard of this connection's state is alive.
    #[track_caller]
    pub fn try_state<S: State>(&self) -> Option<RefMut<'_, S>> {
        self.raw.state::<S>().map(|state| self.borrow(state))
    }

    /// Sets the state of the connection, and drops a previous state.
    ///
    /// # Panics
    /// Like [`state`](Self::state).
    #[track_caller]
    pub fn set_state<S: State>(&self, state: S) {
        if let Some(place) = self.raw.state::<S>() {
            // Dropped after the borrow ends, because its drop may use the connection.
            let old = std::mem::replace(&mut *self.borrow(place), state);
            drop(old);
            return;
        }
        self.assert_no_data::<S>();
        self.raw.set_state(state);
    }

    #[track_caller]
    fn borrow<'c, S>(&self, state: &'c RefCell<S>) -> RefMut<'c, S> {
        // Not in a closure, because the panic would then name a line of this file.
        let Ok(guard) = state.try_borrow_mut() else {
            panic!(
                "the state `{0}` of connection {1} is borrowed already: a guard of c.state() is alive; end its \
                 block or drop() it before you ask for the next",
                short_name::<S>(),
                self.id()
            )
        };
        guard
    }

    /// Panics if the slot is not empty. Only called if it holds no `S`.
    #[track_caller]
    fn assert_no_data<S>(&self) {
        let (id, name) = (self.id(), short_name::<S>());
        match self.raw.held() {
            Held::Nothing => {}
            Held::Data(data) => panic!(
                "connection {id} has data already, a `{data}`: it has either data or a state; make that a part of \
                 `{name}`"
            ),
            Held::State(other) => {
                panic!("connection {id} has a state already, a `{other}`, not a `{name}`")
            }
            Held::Foreign => {
                panic!(
                    "connection {id} has data already, of another plugin's or of another copy of this one; it has \
                     room for one alone"
                )
            }
        }
    }
}
