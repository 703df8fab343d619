//! Plugins: reads a library file, loads it, finds handlers by name, and calls them. This layer knows clients and
//! requests only through the traits in [`exposed`].
//!
//! Invariant: all unsafe code in here relies on one fact. A library that exports a descriptor of this host's ABI
//! major version follows the ABI.

pub mod image; // the contents of a library file, read without running its code

pub mod dynamic; // the ELF dynamic section

pub mod unique; // symbols of which the loader keeps one in the whole process

mod cpp; // names of C++ functions

mod kore; // hooks of Kore

pub mod advice; // what to know about a library that loads

#[expect(unsafe_code, reason = "declares what implementors promise")]
pub mod exposed; // host structures that plugins hold pointers to

#[expect(unsafe_code, reason = "dlopen, and symbols whose types only the ABI guarantees")]
pub mod library; // dlopen: from the file to function addresses

#[expect(unsafe_code, reason = "calls functions of plugins")]
mod guard; // calls that may throw

pub mod handler; // a named function of a plugin, interned

pub mod callers; // which plugin calls a host function

pub mod generation; // one loaded version of a plugin

pub mod registry; // the loaded plugins; names to handlers

pub mod dispatch; // request path to handlers

pub mod describe; // the inventory for the parent

#[expect(unsafe_code, reason = "calls functions of plugins")]
pub mod call; // calls from the host into a plugin

#[expect(unsafe_code, reason = "calls functions of plugins")]
pub mod hooks; // save, restore and release the data of plugins

#[expect(unsafe_code, reason = "calls functions of plugins")]
pub mod deferred; // functions that a plugin passes to the host, to be called later
