//! Plugins: reading a library, loading it, finding handlers in it by name, calling them, and being called.
//!
//! Unsafe code lives in `library`, `call`, `hooks`, `later` and `host_api`; the rest of the host's is at the edge to the
//! system, in `board::map` and `crash::signal`. It rests on one trust: a library that exports a fitting
//! descriptor keeps to the ABI.

pub mod image; // what a library file says of itself, without running it

mod dynamic; // what it says to the loader

pub mod inspect; // the same, for people and programs to read

#[allow(unsafe_code)]
mod library; // dlopen: from the file to function addresses

pub mod handler; // a named function of a plugin, interned

pub mod loaded; // one loaded copy of a plugin

pub mod registry; // the loaded plugins; names to handlers

#[allow(unsafe_code)]
pub mod call; // host to plugin

#[allow(unsafe_code)]
pub mod hooks; // what plugins keep, from one generation to the next

#[allow(unsafe_code)]
pub mod later; // a function that a plugin has handed over, to be called later

#[allow(unsafe_code)]
pub mod host_api; // plugin to host
