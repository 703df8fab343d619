//! Shared state of a plugin: one value per worker, in a thread-local of the plugin. It lives from its first
//! use until this generation is replaced.
#![forbid(unsafe_code)]

use std::cell::{Cell, Ref, RefCell, RefMut};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::boundary::{at_end, is_off_the_worker};
use crate::saved::short_name;

/// The shared state of a plugin, one value per worker. [`plugin!`](crate::plugin)`(shared = Room)` implements
/// the trait for `Room`; do not implement it by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the shared state of this plugin",
    label = "not declared",
    note = "declare it: `callsign_plugin::plugin!(shared = {Self});`"
)]
pub trait Shared: Default + Serialize + DeserializeOwned + 'static {
    #[doc(hidden)]
    fn __place() -> &'static Place<Self>;
}

/// The worker's value of the type that `plugin!(shared = Room)` declares. The first use creates it with
/// `Default`. A reload carries the value over to the new generation, like the state of a connection, and
/// drops the value of the old one.
///
/// ```
/// use callsign_plugin::{prelude::*, shared};
/// use serde::{Deserialize, Serialize};
///
/// callsign_plugin::plugin!(shared = Room);
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Room {
///     topic: String,
///     #[serde(default)] // added later
///     visits: u64,
/// }
///
/// #[onconnect]
/// fn join(c: &Connection) {
///     let mut room = shared::<Room>();
///     room.visits += 1;
///     c.send(&format!("visit {} to {}", room.visits, room.topic));
/// }
/// # fn main() {}
/// ```
///
/// The result is a guard. Only one guard of the shared state may exist at a time.
///
/// # Panics
/// If another guard of the shared state is alive. Also outside the worker thread: background work cannot use
/// it.
#[track_caller]
pub fn shared<S: Shared>() -> RefMut<'static, S> {
    assert!(
        !is_off_the_worker(),
        "the shared state `{0}` is not for other threads: pass background work the data it needs, and use its \
         result in `done`",
        short_name::<S>()
    );
    let place = S::__place();
    let Ok(guard) = place.value.try_borrow_mut() else {
        panic!(
            "the shared state `{0}` is borrowed already: a guard of shared::<{0}>() is alive; end its block or \
             drop() it before you ask for the next",
            short_name::<S>()
        );
    };
    place.drop_at_end();
    RefMut::map(guard, |value| value.get_or_insert_with(S::default))
}

/// Storage of a worker's shared state.
#[doc(hidden)]
pub struct Place<S: 'static> {
    value: RefCell<Option<S>>,
    /// Whether `drop_at_end` has registered its callback.
    dropped_at_end: Cell<bool>,
}

impl<S> Place<S> {
    /// Allocates the storage of a thread and never frees it, because a plugin may keep guards anywhere. The
    /// value inside is dropped earlier, by `drop_at_end`: a destructor must not run plugin code at thread
    /// exit.
    pub fn leaked() -> &'static Self {
        Box::leak(Box::new(Self { value: RefCell::new(None), dropped_at_end: Cell::new(false) }))
    }

    /// Calls `f` with the value, if there is one. Err: the value is borrowed.
    pub(crate) fn look<R>(&self, f: impl FnOnce(&S) -> R) -> Result<Option<R>, String> {
        let value: Ref<'_, Option<S>> = self.value.try_borrow().map_err(|_| borrowed::<S>())?;
        Ok(value.as_ref().map(f))
    }

    /// Stores the restored value. Err: the value is borrowed.
    pub(crate) fn put(&'static self, shared: S) -> Result<(), String> {
        let old = self.value.try_borrow_mut().map_err(|_| borrowed::<S>())?.replace(shared);
        drop(old);
        self.drop_at_end();
        Ok(())
    }

    /// Drops the value when this generation is replaced or its worker exits.
    fn drop_at_end(&'static self) {
        if !self.dropped_at_end.get() {
            self.dropped_at_end.set(at_end(|| {
                self.dropped_at_end.set(false);
                let value = self.value.try_borrow_mut().map(|mut value| value.take());
                drop(value);
            }));
        }
    }
}

fn borrowed<S>() -> String {
    let name = short_name::<S>();
    format!(
        "shared state `{name}`: it is borrowed; a guard of shared::<{name}>() was kept or forgotten, let it go"
    )
}
