//! The typed data slot of a connection: one allocation that records the type of its value and how to drop it.
//! The value is the argument of `set_data`, or the plugin's state.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr;

use super::RawConnection;
use super::host::HOST_SLOT;
use crate::saved::short_name;

/// The content of a connection's data slot.
pub enum Held {
    /// The slot is empty.
    Nothing,
    /// A value that another plugin or another generation of this plugin set.
    Foreign,
    /// A value from `set_data`, with the name of its type.
    Data(String),
    /// A state, with the name of its type.
    State(String),
}

/// The allocation that `abi::Connection::data` points to when this SDK sets it.
#[repr(C)]
struct Slot<T> {
    kind: &'static Kind,
    value: T,
}

/// A wrapper type for states, so that `set_data` values of the same type are not mistaken for a state.
struct State<S>(RefCell<S>);

/// Type information of a slot.
struct Kind {
    type_id: fn() -> TypeId,
    /// Drops the value and frees the slot.
    free: unsafe fn(*mut c_void),
    held: fn() -> Held,
}

impl Kind {
    const fn data<T: Any>() -> Self {
        Self { type_id: TypeId::of::<T>, free: free::<T>, held: || Held::Data(short_name::<T>()) }
    }

    const fn state<S: 'static>() -> Self {
        let (type_id, free) = (TypeId::of::<State<S>>, free::<State<S>>);
        Self { type_id, free, held: || Held::State(short_name::<S>()) }
    }
}

unsafe fn free<T>(slot: *mut c_void) {
    // SAFETY: `fill` created the slot from a Box of this type; `free_data` frees it once.
    drop(unsafe { Box::from_raw(slot.cast::<Slot<T>>()) });
}

/// The `data_tag` of a slot that this instance of the SDK set. Another plugin's tag differs. A stale tag also
/// differs, if other code has overwritten `data` since.
fn tag(slot: *mut c_void) -> usize {
    slot.addr() ^ HOST_SLOT.addr()
}

impl RawConnection {
    /// The slot and its type information, if this instance of the SDK set it.
    fn slot(&self) -> Option<(*mut c_void, &'static Kind)> {
        let c = self.as_ptr();
        // SAFETY: the host passes a live struct; host and plugin access it on this thread only.
        let (data, data_tag) = unsafe { ((*c).data, (*c).data_tag) };
        if data.is_null() || data_tag != tag(data) {
            return None;
        }
        // SAFETY: the tag proves that this SDK set the slot, and a slot begins with its kind.
        Some((data, unsafe { *data.cast::<&'static Kind>() }))
    }

    pub fn held(&self) -> Held {
        // SAFETY: the host passes a live struct; host and plugin access it on this thread only.
        let is_empty = unsafe { (*self.as_ptr()).data.is_null() };
        match self.slot() {
            Some((_, kind)) => (kind.held)(),
            None if is_empty => Held::Nothing,
            None => Held::Foreign,
        }
    }

    /// Fills the slot, which must be empty. A foreign value must not be freed here, and references to a value
    /// of this SDK may exist.
    pub fn set_data<T: Any>(&self, value: T) -> &T {
        assert!(matches!(self.held(), Held::Nothing), "the data slot is empty");
        self.fill(value, const { &Kind::data::<T>() })
    }

    /// Fills the slot like `set_data`.
    pub fn set_state<S: 'static>(&self, state: S) -> &RefCell<S> {
        assert!(matches!(self.held(), Held::Nothing), "the data slot is empty");
        &self.fill(State(RefCell::new(state)), const { &Kind::state::<S>() }).0
    }

    /// `kind` must describe `T`.
    fn fill<T: Any>(&self, value: T, kind: &'static Kind) -> &T {
        let (c, slot) = (self.as_ptr(), Box::into_raw(Box::new(Slot { kind, value })));
        // SAFETY: the host passes a live struct; host and plugin access it on this thread only. The slot is a
        // new allocation.
        unsafe {
            (*c).data = slot.cast();
            (*c).data_tag = tag(slot.cast());
            &(*slot).value
        }
    }

    pub fn data<T: Any>(&self) -> Option<&T> {
        let (slot, kind) = self.slot()?;
        // SAFETY: the kind proves that the slot holds a `T`. Only the release hook frees the slot, when no
        // callback of the plugin runs.
        ((kind.type_id)() == TypeId::of::<T>()).then(|| unsafe { &(*slot.cast::<Slot<T>>()).value })
    }

    pub fn state<S: 'static>(&self) -> Option<&RefCell<S>> {
        self.data::<State<S>>().map(|state| &state.0)
    }

    /// Drops the value and empties the slot, if this instance of the SDK set it.
    pub(super) fn free_data(&self) {
        let Some((slot, kind)) = self.slot() else { return };
        let c = self.as_ptr();
        // SAFETY: as in `data`; the slot is removed from the connection before it is freed.
        unsafe {
            (*c).data = ptr::null_mut();
            (*c).data_tag = 0;
            (kind.free)(slot);
        }
    }
}
