//! Linux capabilities: a process gives up its own, and those that programs would get that it executes.
//!
//! Invariant: only system calls are made, so that a forked child may do this.

use rustix::io::{Errno, Result};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// Capabilities have numbers below this.
const END: u32 = 64;

/// No program that this thread executes will get a capability: empties the ambient, the inheritable and the bounding
/// set. The thread keeps its own, until it executes a program or becomes another user.
pub fn forbid_all() -> Result<()> {
    empty_bounding_set()?;
    let own = rustix::thread::capabilities(None)?;
    set_capabilities(None, CapabilitySets { inheritable: CapabilitySet::empty(), ..own })?;
    clear_ambient()
}

/// This thread has no capability any more, and cannot get one.
pub fn drop_all() -> Result<()> {
    empty_bounding_set()?;
    clear_ambient()?;
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    // A filter of the service manager may forbid the call to a process that has none anyway.
    if rustix::thread::capabilities(None)? == none { Ok(()) } else { set_capabilities(None, none) }
}

/// A process without CAP_SETPCAP cannot change its bounding set, and needs not: with no_new_privs, no program that it
/// executes gets a capability from there.
fn empty_bounding_set() -> Result<()> {
    for number in 0..END {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => match remove_capability_from_bounding_set(capability) {
                Ok(()) => {}
                Err(Errno::PERM) => return Ok(()),
                Err(error) => return Err(error),
            },
            Ok(false) => {}
            // The first number that the kernel does not know.
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

fn clear_ambient() -> Result<()> {
    match clear_ambient_capability_set() {
        // Before Linux 4.3 there is no ambient set.
        Err(Errno::INVAL) => Ok(()),
        result => result,
    }
}
