//! The hooks of a loaded copy, and what plugins put into connections: calls to save, restore and free it. When
//! that happens is for `session` and `reload` to say.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use callsign_plugin::abi::{self, saved};

use super::call::{self, Failure};
use crate::board;
use crate::connection::Connection;
use crate::http::exchange::Owner;

/// What a copy's descriptor offers. Only the loader makes one.
#[derive(Debug)]
pub struct Hooks {
    release: Option<unsafe extern "C" fn(*mut abi::Connection)>,
    save: Option<abi::Save>,
    restore: Option<abi::Restore>,
    save_plugin: Option<abi::SavePlugin>,
    restore_plugin: Option<abi::RestorePlugin>,
    /// Of what `data` points to, and of what is saved; 0: not told.
    pub state_version: u32,
    /// On the board.
    index: Cell<u32>,
}

/// What a plugin has put into a connection.
#[derive(Clone, Copy, Debug)]
pub struct Data {
    data: *mut c_void,
    tag: usize,
}

impl Data {
    /// Nothing.
    pub const NONE: Self = Self { data: ptr::null_mut(), tag: 0 };

    /// Whether it is nothing.
    pub fn is_none(self) -> bool {
        self.data.is_null()
    }
}

/// What a save hook has come to.
#[derive(Debug)]
pub enum Saved {
    /// State for the next generation.
    State(Vec<u8>),
    /// What is there is another plugin's.
    NotMine,
    /// What is there cannot be carried over.
    Restart,
}

/// Puts `data` into a connection and answers what was there.
pub fn swap_data(c: &Connection, data: Data) -> Data {
    let shared = c.as_ptr();
    // SAFETY: the connection is alive, and no plugin code, which alone has pointers into it, runs on its thread.
    unsafe {
        let old = Data { data: (*shared).data, tag: (*shared).data_tag };
        (*shared).data = data.data;
        (*shared).data_tag = data.tag;
        old
    }
}

/// Whether a plugin has put something into a connection.
pub fn has_data(c: &Connection) -> bool {
    // SAFETY: as in `swap_data`.
    unsafe { !(*c.as_ptr()).data.is_null() }
}

impl Hooks {
    /// # Safety
    /// The descriptor is that of a library that keeps to the ABI and is never unloaded.
    pub(super) unsafe fn of(descriptor: &abi::Plugin, index: u32) -> Self {
        let &abi::Plugin { release, save, restore, save_plugin, restore_plugin, state_version, .. } =
            descriptor;
        Self { release, save, restore, save_plugin, restore_plugin, state_version, index: Cell::new(index) }
    }

    /// Where on the board stands which hook runs.
    pub fn index(&self) -> u32 {
        self.index.get()
    }

    /// It stands there no more: if it has to free something later, that is nameless.
    pub fn leave_board(&self) {
        board::undefine(self.index.replace(0));
    }

    /// Whether connections' states can be saved.
    pub fn saves(&self) -> bool {
        self.save.is_some()
    }

    /// Whether connections' states can be restored.
    pub fn restores(&self) -> bool {
        self.restore.is_some()
    }

    /// Has the plugin free what it has put into the connection.
    pub fn release(&self, c: &Connection) -> Result<(), Failure> {
        let Some(release) = self.release else { return Ok(()) };
        // SAFETY: by `of`; the connection outlives the call.
        call::call(None, self.index.get(), || unsafe { release(c.as_ptr()) })
    }

    /// The same for what no connection came of.
    pub fn release_owner(&self, owner: &mut Owner) -> Result<(), Failure> {
        let Some(release) = self.release else { return Ok(()) };
        // SAFETY: as above.
        call::call(None, self.index.get(), || unsafe { release(owner.as_ptr()) })
    }

    /// Saves what the plugin has put into the connection, which stays.
    pub fn save(&self, c: &Connection) -> Result<Saved, Failure> {
        let Some(save) = self.save else { return Ok(Saved::Restart) };
        // SAFETY: as in `release`.
        self.saved(|| unsafe { save(c.as_ptr()) })
    }

    /// Has the plugin put what was saved by another generation into the connection, where nothing is.
    pub fn restore(&self, c: &Connection, version: u32, state: &[u8]) -> Result<(), Failure> {
        let Some(restore) = self.restore else { return Err(NO_REASON.to_owned()) };
        // SAFETY: as in `release`; the state outlives the call too.
        self.restored(|| unsafe { restore(c.as_ptr(), version, state.as_ptr().cast(), state.len()) })
    }

    /// Saves what is no connection's; None: there is nothing.
    pub fn save_plugin(&self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(save) = self.save_plugin else { return Ok(None) };
        // SAFETY: by `of`.
        match self.saved(|| unsafe { save() })? {
            Saved::State(state) => Ok(Some(state)),
            Saved::NotMine | Saved::Restart => Ok(None),
        }
    }

    /// Has the plugin take over what another generation has saved.
    pub fn restore_plugin(&self, version: u32, state: &[u8]) -> Result<(), Failure> {
        let Some(restore) = self.restore_plugin else { return Ok(()) };
        // SAFETY: by `of`; the state outlives the call.
        self.restored(|| unsafe { restore(version, state.as_ptr().cast(), state.len()) })
    }

    fn saved(&self, f: impl FnOnce() -> i32) -> Result<Saved, Failure> {
        let (answer, state) = call::collect_saved(|| call::call(None, self.index.get(), f));
        match answer? {
            saved::SAVED => Ok(Saved::State(state.unwrap_or_default())),
            saved::NOT_MINE => Ok(Saved::NotMine),
            saved::RESTART => Ok(Saved::Restart),
            _ => Err(NO_REASON.to_owned()),
        }
    }

    fn restored(&self, f: impl FnOnce() -> i32) -> Result<(), Failure> {
        let answer = call::quietly(|| call::call(None, self.index.get(), f))?;
        if answer == 1 { Ok(()) } else { Err(NO_REASON.to_owned()) }
    }
}

const NO_REASON: &str = "its hook gives no reason";
