//! The descriptor's save and restore hooks: the old generation saves state as bytes, the new generation
//! restores it.

use std::ffi::c_void;

use super::RawConnection;
use super::data::Held;
use super::entry::{catch_number, guard};
use super::host::save_bytes;
use crate::abi::{self, saved};
use crate::saved::{decode, encode, short_name};
use crate::shared::Shared;
use crate::state::State;

/// Save hook of a plugin without a declared state. Saves nothing; the new generation's onconnect must set the
/// data again.
///
/// # Safety
/// `c` must be as [`abi::Save`] guarantees.
pub unsafe extern "C" fn save_no_state(c: *mut abi::Connection) -> i32 {
    // SAFETY: `RawConnection` is transparent over the host's struct, which is live until this returns.
    match unsafe { &*c.cast::<RawConnection>() }.held() {
        Held::Nothing | Held::Foreign => saved::NOT_MINE,
        Held::Data(_) | Held::State(_) => saved::RESTART,
    }
}

/// Save hook of a plugin with a declared state.
///
/// # Safety
/// `c` must be as [`abi::Save`] guarantees.
pub unsafe extern "C" fn save<S: State>(c: *mut abi::Connection) -> i32 {
    // SAFETY: as in `save_no_state`.
    let raw = unsafe { &*c.cast::<RawConnection>() };
    let Some(state) = raw.state::<S>() else {
        // SAFETY: guaranteed by the caller.
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

/// Restore hook of a plugin without a declared state. Discards what the old generation saved.
///
/// # Safety
/// No requirements; the signature is that of [`abi::Restore`].
pub unsafe extern "C" fn restore_no_state(
    _: *mut abi::Connection,
    _: u32,
    _: *const c_void,
    _: usize,
) -> i32 {
    1
}

/// Restore hook of a plugin with a declared state.
///
/// # Safety
/// The arguments must be as [`abi::Restore`] guarantees.
pub unsafe extern "C" fn restore<S: State>(
    c: *mut abi::Connection,
    _version: u32,
    bytes: *const c_void,
    length: usize,
) -> i32 {
    // SAFETY: `RawConnection` is transparent over the host's struct, which is live until this returns. So are
    // the bytes.
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

/// Saves the worker's shared state.
///
/// # Safety
/// No requirements; the signature is that of [`abi::SavePlugin`].
pub unsafe extern "C" fn save_plugin<S: Shared>() -> i32 {
    catch_number(saved::FAILED, || {
        let bytes = S::__place().look(|shared| encode("shared state", shared))?;
        let Some(bytes) = bytes else { return Ok(saved::NOT_MINE) };
        save_bytes(&bytes?)?;
        Ok(saved::SAVED)
    })
}

/// Restores the worker's shared state.
///
/// # Safety
/// The arguments must be as [`abi::RestorePlugin`] guarantees.
pub unsafe extern "C" fn restore_plugin<S: Shared>(
    _version: u32,
    bytes: *const c_void,
    length: usize,
) -> i32 {
    // SAFETY: guaranteed by the caller.
    let bytes = unsafe { slice(bytes, length) };
    i32::from(guard(|| S::__place().put(decode::<S>("shared state", bytes)?)).is_some())
}

/// The bytes that the host passes; empty for NULL.
///
/// # Safety
/// `bytes` must be NULL, or have `length` bytes that are valid for `'a`.
pub(super) unsafe fn slice<'a>(bytes: *const c_void, length: usize) -> &'a [u8] {
    if bytes.is_null() {
        return &[];
    }
    // SAFETY: guaranteed by the caller.
    unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) }
}
