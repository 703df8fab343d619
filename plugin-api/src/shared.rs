//! State of the whole plugin: one for each worker, in a thread-local of the plugin, from its first use until
//! this copy of the plugin has been replaced.
#![forbid(unsafe_code)]

use std::cell::{Cell, Ref, RefCell, RefMut};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::boundary::{at_end, is_off_the_worker};
use crate::saved::short_name;

/// The plugin's own state, one for each worker. [`plugin!`](crate::plugin)`(shared = Room)` makes `Room` it; do
/// not implement it by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the shared state of this plugin",
    label = "not declared",
    note = "declare it: `callsign_plugin::plugin!(shared = {Self});`"
)]
pub trait Shared: Default + Serialize + DeserializeOwned + 'static {
    #[doc(hidden)]
    fn __place() -> &'static Place<Self>;
}

/// This worker's `Room` of `plugin!(shared = Room)`, made by `Default` on first use. Over a reload it is carried
/// to the new copy of the plugin, as a connection's state is; the old copy's is dropped.
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
///     #[serde(default)] // new since yesterday
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
/// It is a guard: while one is alive there cannot be another.
///
/// # Panics
/// If a guard of it is alive, and outside the worker's thread: on the background pool there is none.
#[track_caller]
pub fn shared<S: Shared>() -> RefMut<'static, S> {
    assert!(
        !is_off_the_worker(),
        "the shared state `{0}` is not for other threads: give background work what it needs of it, and take the \
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
    place.keep();
    RefMut::map(guard, |value| value.get_or_insert_with(S::default))
}

/// Where a worker's shared state is.
#[doc(hidden)]
pub struct Place<S: 'static> {
    value: RefCell<Option<S>>,
    /// Whether the host tells when it is to be dropped.
    kept: Cell<bool>,
}

impl<S> Place<S> {
    /// One for a thread, as long as the process: guards may be alive wherever the plugin puts them, and the end
    /// of a thread is no time to run a plugin's code. What is in it is dropped before.
    pub fn leaked() -> &'static Self {
        Box::leak(Box::new(Self { value: RefCell::new(None), kept: Cell::new(false) }))
    }

    /// Calls `f` with what is there.
    pub(crate) fn look<R>(&self, f: impl FnOnce(&S) -> R) -> Result<Option<R>, String> {
        let value: Ref<'_, Option<S>> = self.value.try_borrow().map_err(|_| borrowed::<S>())?;
        Ok(value.as_ref().map(f))
    }

    /// Puts what was restored in.
    pub(crate) fn put(&'static self, shared: S) -> Result<(), String> {
        let old = self.value.try_borrow_mut().map_err(|_| borrowed::<S>())?.replace(shared);
        drop(old);
        self.keep();
        Ok(())
    }

    /// Has it dropped when this copy of the plugin is replaced, or its worker ends.
    fn keep(&'static self) {
        if !self.kept.get() {
            self.kept.set(at_end(|| {
                self.kept.set(false);
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
