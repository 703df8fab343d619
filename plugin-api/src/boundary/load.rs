//! The argument of an onload hook: safe methods over the host's struct.

use std::mem::MaybeUninit;

use super::host::text;
use super::reload::slice;
use crate::abi;

/// The argument of an onload hook as the host passes it.
#[repr(transparent)]
pub struct RawLoad(abi::Load);

impl RawLoad {
    /// Copies the host's struct. Fields that an older host does not have are 0.
    ///
    /// # Safety
    /// `load` must be as [`abi::OnLoad`] guarantees.
    pub(super) unsafe fn of_host(load: *const abi::Load) -> Self {
        let mut copy = MaybeUninit::<abi::Load>::zeroed();
        // SAFETY: the host's struct begins with its size, in bytes, and has at least that many. All fields are numbers
        // or pointers that may be NULL, so zeros are valid.
        unsafe {
            let size = (&raw const (*load).struct_size).read() as usize;
            let size = size.min(size_of::<abi::Load>());
            load.cast::<u8>().copy_to_nonoverlapping(copy.as_mut_ptr().cast(), size);
            Self(copy.assume_init())
        }
    }

    pub fn plugin(&self) -> &str {
        text(self.0.plugin)
    }

    pub fn config(&self) -> &str {
        text(self.0.config)
    }

    pub fn generation(&self) -> u32 {
        self.0.generation
    }

    pub fn is_probe(&self) -> bool {
        self.0.probe != 0
    }

    pub fn carried(&self) -> Option<&[u8]> {
        // SAFETY: `state` is NULL or has `state_length` bytes, valid while the hook runs.
        (!self.0.state.is_null()).then(|| unsafe { slice(self.0.state, self.0.state_length) })
    }

    pub fn carried_version(&self) -> u32 {
        self.0.state_version
    }

    pub fn worker(&self) -> u32 {
        self.0.worker
    }

    pub fn replaces(&self) -> Option<u32> {
        Some(self.0.replaces).filter(|generation| *generation != 0)
    }
}
