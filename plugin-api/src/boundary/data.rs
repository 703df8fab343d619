//! The connection's data slot, typed: one allocation that knows its type and how to drop itself.

use std::any::{Any, TypeId};
use std::ffi::c_void;
use std::ptr;

use super::RawConnection;
use super::host::HOST_SLOT;

/// What `abi::Connection::data` points to when this SDK has set it.
#[repr(C)]
struct Slot<T> {
    type_id: TypeId,
    /// Drops and frees the whole slot.
    free: unsafe fn(*mut c_void),
    value: T,
}

unsafe fn free<T>(slot: *mut c_void) {
    // SAFETY: `set_data` made it from a Box of this very type, and `release` frees it once.
    drop(unsafe { Box::from_raw(slot.cast::<Slot<T>>()) });
}

/// What `data_tag` is when `slot` was set by this copy of the SDK: another plugin's tag differs, and so does
/// the tag left behind by this one when somebody else has overwritten `data` since.
fn tag(slot: *mut c_void) -> usize {
    slot.addr() ^ HOST_SLOT.addr()
}

impl RawConnection {
    /// The slot, if it is ours.
    fn slot(&self) -> Option<*mut c_void> {
        let c = self.as_ptr();
        // SAFETY: the host hands in a live struct; both sides run on this thread.
        let (data, data_tag) = unsafe { ((*c).data, (*c).data_tag) };
        (!data.is_null() && data_tag == tag(data)).then_some(data)
    }

    pub fn set_data<T: Any>(&self, value: T) -> &T {
        let c = self.as_ptr();
        // SAFETY: the host hands in a live struct; both sides run on this thread.
        let taken = unsafe { !(*c).data.is_null() };
        assert!(
            !taken,
            "connection {} has data already: it is set once, put a Cell or RefCell in",
            self.id()
        );
        let slot = Box::into_raw(Box::new(Slot { type_id: TypeId::of::<T>(), free: free::<T>, value }));
        // SAFETY: as above; the slot was just made.
        unsafe {
            (*c).data = slot.cast();
            (*c).data_tag = tag(slot.cast());
            &(*slot).value
        }
    }

    pub fn data<T: Any>(&self) -> Option<&T> {
        let slot = self.slot()?;
        // SAFETY: the tag says that it is a slot of ours, which begins with its type's id; the rest is looked at
        // when the type fits. It is freed by `release` alone, when no callback runs.
        unsafe { (*slot.cast::<TypeId>() == TypeId::of::<T>()).then(|| &(*slot.cast::<Slot<T>>()).value) }
    }

    /// Drops the data, if it is ours.
    pub(super) fn free_data(&self) {
        let Some(slot) = self.slot() else { return };
        let c = self.as_ptr();
        // SAFETY: as in `data`; the slot is taken out of the connection before it is freed.
        unsafe {
            (*c).data = ptr::null_mut();
            (*c).data_tag = 0;
            ((*slot.cast::<Slot<()>>()).free)(slot);
        }
    }
}
