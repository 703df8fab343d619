//! Host structures that plugins hold pointers to. Each begins with the part that plugins see.
//!
//! Invariant: a pointer for plugins derives from the whole structure, because the host functions that get it back turn
//! it into a reference to the whole structure.

use callsign_plugin::abi;

/// A connection that plugins get a pointer to.
///
/// # Safety
/// [`as_ptr`](Self::as_ptr) returns the address of an [`abi::Connection`] in an `UnsafeCell`. The pointer is valid as
/// long as `self` exists, may be used to access all of `self`, and is used on one thread only.
pub unsafe trait ExposedConnection {
    /// The pointer for plugins.
    fn as_ptr(&self) -> *mut abi::Connection;
}

/// A request that plugins get a pointer to.
///
/// # Safety
/// [`as_ptr`](Self::as_ptr) returns the address of an [`abi::Request`] in an `UnsafeCell`. The pointer is valid until
/// `self` moves or is borrowed again, may be used to access all of `self`, and is used on one thread only.
pub unsafe trait ExposedRequest {
    /// The pointer for plugins.
    fn as_ptr(&mut self) -> *mut abi::Request;
}
