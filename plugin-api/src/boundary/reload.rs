//! The descriptor's hooks for a reload: state to bytes in the old copy of a plugin, bytes to state in the new.

use std::ffi::c_void;

use super::RawConnection;
use super::data::Held;
use super::entry::{catch_number, guard};
use super::host::save_bytes;
use crate::abi::{self, saved};
use crate::saved::{decode, encode, short_name};
use crate::shared::Shared;
use crate::state::State;

/// What is saved of a connection without a declared state: nothing. What was set by `set_data` has to be made
/// anew.
///
/// # Safety
/// `c` is the host's, as [`abi::Save`] promises.
pub unsafe extern "C" fn save_no_state(c: *mut abi::Connection) -> i32 {
    // SAFETY: transparent over the host's struct, which is live until this returns.
    match unsafe { &*c.cast::<RawConnection>() }.held() {
        Held::Nothing | Held::Foreign => saved::NOT_MINE,
        Held::Data(_) | Held::State(_) => saved::RESTART,
    }
}

/// # Safety
/// `c` is the host's, as [`abi::Save`] promises.
pub unsafe extern "C" fn save<S: State>(c: *mut abi::Connection) -> i32 {
    // SAFETY: as in `save_no_state`.
    let raw = unsafe { &*c.cast::<RawConnection>() };
    let Some(state) = raw.state::<S>() else {
        // SAFETY: the caller's promise.
        return unsafe { save_no_state(c) };
    };
    catch_number(saved::FAILED, || {
        let name = short_name::<S>();
        let state = state.try_borrow().map_err(|_| {
            format!("state `{name}`: it is borrowed; a guard of c.state() was kept or forgotten, let it go")
        })?;
        save_bytes(&encode("state", &*state)?)?;
        Ok(saved::SAVED)
    })
}

/// What was saved goes: this copy of the plugin has no place for it.
///
/// # Safety
/// None; the signature is [`abi::Restore`]'s.
pub unsafe extern "C" fn restore_no_state(
    _: *mut abi::Connection,
    _: u32,
    _: *const c_void,
    _: usize,
) -> i32 {
    1
}

/// # Safety
/// The arguments are the host's, as [`abi::Restore`] promises.
pub unsafe extern "C" fn restore<S: State>(
    c: *mut abi::Connection,
    _version: u32,
    bytes: *const c_void,
    length: usize,
) -> i32 {
    // SAFETY: transparent over the host's struct, which is live until this returns; as are the bytes.
    let (c, bytes) = unsafe { (&*c.cast::<RawConnection>(), slice(bytes, length)) };
    let restored = guard(|| {
        if !matches!(c.held(), Held::Nothing) {
            return Err(format!("state `{}`: the connection has data already", short_name::<S>()));
        }
        c.set_state(decode::<S>("state", bytes)?);
        Ok(())
    });
    i32::from(restored.is_some())
}

/// # Safety
/// None; the signature is [`abi::SavePlugin`]'s.
pub unsafe extern "C" fn save_plugin<S: Shared>() -> i32 {
    catch_number(saved::FAILED, || {
        let bytes = S::__place().look(|shared| encode("shared state", shared))?;
        let Some(bytes) = bytes else { return Ok(saved::NOT_MINE) };
        save_bytes(&bytes?)?;
        Ok(saved::SAVED)
    })
}

/// # Safety
/// The arguments are the host's, as [`abi::RestorePlugin`] promises.
pub unsafe extern "C" fn restore_plugin<S: Shared>(
    _version: u32,
    bytes: *const c_void,
    length: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice(bytes, length) };
    i32::from(guard(|| S::__place().put(decode::<S>("shared state", bytes)?)).is_some())
}

/// # Safety
/// `length` bytes at `bytes`, which may be NULL if there are none, as long as `'a`.
pub(super) unsafe fn slice<'a>(bytes: *const c_void, length: usize) -> &'a [u8] {
    if bytes.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) }
}
