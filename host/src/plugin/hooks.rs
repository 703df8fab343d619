//! The hooks in a plugin's descriptor, which save, restore and release data: that of a connection, and that of the
//! plugin as a whole. State enters and leaves as bytes.
//!
//! Invariant: save and restore hooks run muted, because the reload that they are part of may be rolled back.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use callsign_plugin::abi::{self, saved};

use super::call::{self, Failure};
use super::exposed::ExposedConnection;
use super::guard::{Guard, MayThrow};
use crate::system::scoreboard;

/// The hooks of one generation. Only [`library`](super::library) makes one.
#[derive(Debug)]
pub struct Hooks {
    release: Option<unsafe extern "C" fn(*mut abi::Connection)>,
    save: Option<abi::Save>,
    restore: Option<abi::Restore>,
    save_plugin: Option<abi::SavePlugin>,
    restore_plugin: Option<abi::RestorePlugin>,
    /// Version of what `data` points to and of the saved state; 0: none given.
    pub state_version: u32,
    /// Index of the plugin.
    plugin: usize,
    /// Index on the scoreboard.
    index: Cell<u32>,
    guard: Option<Guard>,
}

/// What a plugin has put into a connection: `data` and `data_tag` of the ABI.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionData {
    data: *mut c_void,
    tag: usize,
}

impl ConnectionData {
    pub const NONE: Self = Self { data: ptr::null_mut(), tag: 0 };
}

/// The result of a save hook.
#[derive(Debug)]
pub enum Saved {
    /// State for the next generation.
    State(Vec<u8>),
    /// The data belongs to another plugin.
    NotMine,
    /// The data cannot be carried over: the connection starts again in the new generation.
    Restart,
}

/// Puts `data` into a connection and returns what it replaces.
pub fn swap_data(c: &impl ExposedConnection, data: ConnectionData) -> ConnectionData {
    let shared = c.as_ptr();
    // SAFETY: `c` is borrowed, so the pointer is valid by `ExposedConnection`; it points into an `UnsafeCell`. Only
    // plugin code also accesses the cell, on this thread, and none is running.
    unsafe {
        let old = ConnectionData { data: (*shared).data, tag: (*shared).data_tag };
        (*shared).data = data.data;
        (*shared).data_tag = data.tag;
        old
    }
}

/// Whether a plugin has put data into a connection.
pub fn has_data(c: &impl ExposedConnection) -> bool {
    // SAFETY: as in `swap_data`.
    unsafe { !(*c.as_ptr()).data.is_null() }
}

impl Hooks {
    /// # Safety
    /// The descriptor is that of a library that follows the ABI and is never unloaded.
    pub(super) unsafe fn new(
        descriptor: &abi::Plugin,
        plugin: usize,
        index: u32,
        guard: Option<Guard>,
    ) -> Self {
        let &abi::Plugin { release, save, restore, save_plugin, restore_plugin, state_version, .. } =
            descriptor;
        let index = Cell::new(index);
        Self { release, save, restore, save_plugin, restore_plugin, state_version, plugin, index, guard }
    }

    /// The guard that calls of the library need.
    pub fn guard(&self) -> Option<Guard> {
        self.guard
    }

    /// Index on the scoreboard.
    pub fn index(&self) -> u32 {
        self.index.get()
    }

    /// Frees the scoreboard index. A release hook that runs later has no label there.
    pub fn remove_label(&self) {
        scoreboard::undefine(self.index.replace(0));
    }

    /// Whether there is a save hook for connections.
    pub fn can_save(&self) -> bool {
        self.save.is_some()
    }

    /// Whether there is a restore hook for connections.
    pub fn can_restore(&self) -> bool {
        self.restore.is_some()
    }

    /// Has the plugin free the data that it has put into the connection.
    pub fn release(&self, c: &impl ExposedConnection) -> Result<(), Failure> {
        let Some(release) = self.release else { return Ok(()) };
        // SAFETY: `new` requires a library that follows the ABI. `c` is borrowed during the call, and
        // `ExposedConnection` guarantees its pointer.
        self.run(|| unsafe { release.may_throw()(c.as_ptr()) })
    }

    /// Saves the data that the plugin has put into the connection. The data stays there.
    pub fn save(&self, c: &impl ExposedConnection) -> Result<Saved, Failure> {
        let Some(save) = self.save else { return Ok(Saved::Restart) };
        // SAFETY: as in `release`.
        self.run_save(|| unsafe { save.may_throw()(c.as_ptr()) })
    }

    /// Has the plugin put state that another generation saved into a connection without data.
    pub fn restore(&self, c: &impl ExposedConnection, version: u32, state: &[u8]) -> Result<(), Failure> {
        let Some(restore) = self.restore else { return Err(NO_REASON.to_owned()) };
        // SAFETY: as in `release`. `state` is borrowed during the call.
        self.run_restore(|| unsafe {
            restore.may_throw()(c.as_ptr(), version, state.as_ptr().cast(), state.len())
        })
    }

    /// Saves the state that belongs to no connection; None: there is none.
    pub fn save_plugin(&self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(save) = self.save_plugin else { return Ok(None) };
        // SAFETY: `new` requires a library that follows the ABI.
        match self.run_save(|| unsafe { save.may_throw()() })? {
            Saved::State(state) => Ok(Some(state)),
            Saved::NotMine | Saved::Restart => Ok(None),
        }
    }

    /// Has the plugin restore what another generation saved with [`save_plugin`](Self::save_plugin).
    pub fn restore_plugin(&self, version: u32, state: &[u8]) -> Result<(), Failure> {
        let Some(restore) = self.restore_plugin else { return Ok(()) };
        // SAFETY: `new` requires a library that follows the ABI. `state` is borrowed during the call.
        self.run_restore(|| unsafe { restore.may_throw()(version, state.as_ptr().cast(), state.len()) })
    }

    fn run<R>(&self, f: impl FnOnce() -> R) -> Result<R, Failure> {
        call::run_hook(self.plugin, self.index.get(), self.guard, f)
    }

    fn run_save(&self, f: impl FnOnce() -> i32) -> Result<Saved, Failure> {
        let (result, state) = call::collect_saved(|| self.run(f));
        match result? {
            saved::SAVED => Ok(Saved::State(state.unwrap_or_default())),
            saved::NOT_MINE => Ok(Saved::NotMine),
            saved::RESTART => Ok(Saved::Restart),
            _ => Err(NO_REASON.to_owned()),
        }
    }

    fn run_restore(&self, f: impl FnOnce() -> i32) -> Result<(), Failure> {
        let result = call::muted(|| self.run(f))?;
        if result == 1 { Ok(()) } else { Err(NO_REASON.to_owned()) }
    }
}

const NO_REASON: &str = "the hook gave no reason";

/// A fake plugin whose data in a connection is a number, for the tests of a reload. The hooks multiply by ten: state
/// that was saved as 1 is restored as 10.
#[cfg(test)]
pub mod tests {
    use super::*;

    /// The save hook reports that this belongs to another plugin.
    pub const FOREIGN: usize = 100;
    /// The save hook asks for a restart.
    pub const RESTART: usize = 101;
    /// The save hook fails.
    pub const UNSAVEABLE: usize = 102;
    /// The restore hook puts data into the connection, and then fails.
    pub const UNRESTORABLE: usize = 9;

    unsafe extern "C" fn save(c: *mut abi::Connection) -> i32 {
        // SAFETY: `Hooks::save` passes the pointer of a live connection.
        match unsafe { (*c).data }.addr() {
            FOREIGN => saved::NOT_MINE,
            RESTART => saved::RESTART,
            UNSAVEABLE => saved::FAILED,
            number => {
                call::store_saved(&[number as u8]);
                saved::SAVED
            }
        }
    }

    unsafe extern "C" fn restore(
        c: *mut abi::Connection,
        _version: u32,
        state: *const c_void,
        _length: usize,
    ) -> i32 {
        // SAFETY: `Hooks::restore` passes the pointer of a live connection, and the byte that `save` stored.
        unsafe {
            let number = usize::from(*state.cast::<u8>());
            (*c).data = ptr::without_provenance_mut(number * 10);
            i32::from(number != UNRESTORABLE)
        }
    }

    /// The hooks of a plugin that has these hooks and that state version.
    pub fn fake_hooks(has_hooks: bool, state_version: u32) -> Hooks {
        Hooks {
            release: None,
            save: has_hooks.then_some(save as abi::Save),
            restore: has_hooks.then_some(restore as abi::Restore),
            save_plugin: None,
            restore_plugin: None,
            state_version,
            plugin: 0,
            index: Cell::new(0),
            guard: None,
        }
    }

    /// Puts a number into a connection.
    pub fn put(c: &impl ExposedConnection, number: usize) {
        swap_data(c, ConnectionData { data: ptr::without_provenance_mut(number), tag: 0 });
    }

    /// The number in a connection; 0 if there is none.
    pub fn get(c: &impl ExposedConnection) -> usize {
        let data = swap_data(c, ConnectionData::NONE);
        swap_data(c, data);
        data.number()
    }

    impl ConnectionData {
        /// The number that this data is.
        pub fn number(self) -> usize {
            self.data.addr()
        }
    }
}
