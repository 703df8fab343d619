//! The connection's data slot, typed: one allocation that knows its type and how to drop itself. It holds what
//! `set_data` was given, or the plugin's state.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr;

use super::RawConnection;
use super::host::HOST_SLOT;
use crate::saved::short_name;

/// What a connection's data slot holds.
pub enum Held {
    /// Nothing.
    Nothing,
    /// Something that this copy of the plugin has not set.
    Foreign,
    /// What `set_data` was given, of a type of that name.
    Data(String),
    /// A state, of a type of that name.
    State(String),
}

/// What `abi::Connection::data` points to when this SDK has set it.
#[repr(C)]
struct Slot<T> {
    kind: &'static Kind,
    value: T,
}

/// A state, in a type of its own, so that no other data is taken for one.
struct State<S>(RefCell<S>);

/// What is in a slot.
struct Kind {
    type_id: fn() -> TypeId,
    /// Drops and frees the whole slot.
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
    // SAFETY: `fill` made it from a Box of this very type, and `release` frees it once.
    drop(unsafe { Box::from_raw(slot.cast::<Slot<T>>()) });
}

/// What `data_tag` is when `slot` was set by this copy of the SDK: another plugin's tag differs, and so does
/// the tag left behind by this one when somebody else has overwritten `data` since.
fn tag(slot: *mut c_void) -> usize {
    slot.addr() ^ HOST_SLOT.addr()
}

impl RawConnection {
    /// The slot, if it is ours, and what is in it.
    fn slot(&self) -> Option<(*mut c_void, &'static Kind)> {
        let c = self.as_ptr();
        // SAFETY: the host hands in a live struct; both sides run on this thread.
        let (data, data_tag) = unsafe { ((*c).data, (*c).data_tag) };
        if data.is_null() || data_tag != tag(data) {
            return None;
        }
        // SAFETY: the tag says that it is a slot of ours, which begins with its kind.
        Some((data, unsafe { *data.cast::<&'static Kind>() }))
    }

    pub fn held(&self) -> Held {
        // SAFETY: the host hands in a live struct; both sides run on this thread.
        let is_empty = unsafe { (*self.as_ptr()).data.is_null() };
        match self.slot() {
            Some((_, kind)) => (kind.held)(),
            None if is_empty => Held::Nothing,
            None => Held::Foreign,
        }
    }

    /// Fills the slot, which must be empty: one that is not ours is not ours to free, and of ours there are
    /// references.
    pub fn set_data<T: Any>(&self, value: T) -> &T {
        assert!(matches!(self.held(), Held::Nothing), "the data slot is empty");
        self.fill(value, const { &Kind::data::<T>() })
    }

    /// As `set_data`.
    pub fn set_state<S: 'static>(&self, state: S) -> &RefCell<S> {
        assert!(matches!(self.held(), Held::Nothing), "the data slot is empty");
        &self.fill(State(RefCell::new(state)), const { &Kind::state::<S>() }).0
    }

    /// `kind` is that of a `T`.
    fn fill<T: Any>(&self, value: T, kind: &'static Kind) -> &T {
        let (c, slot) = (self.as_ptr(), Box::into_raw(Box::new(Slot { kind, value })));
        // SAFETY: the host hands in a live struct; both sides run on this thread. The slot was just made.
        unsafe {
            (*c).data = slot.cast();
            (*c).data_tag = tag(slot.cast());
            &(*slot).value
        }
    }

    pub fn data<T: Any>(&self) -> Option<&T> {
        let (slot, kind) = self.slot()?;
        // SAFETY: its kind says that it is a slot of this type. It is freed by `release` alone, when no
        // callback runs.
        ((kind.type_id)() == TypeId::of::<T>()).then(|| unsafe { &(*slot.cast::<Slot<T>>()).value })
    }

    pub fn state<S: 'static>(&self) -> Option<&RefCell<S>> {
        self.data::<State<S>>().map(|state| &state.0)
    }

    /// Drops the data, if it is ours.
    pub(super) fn free_data(&self) {
        let Some((slot, kind)) = self.slot() else { return };
        let c = self.as_ptr();
        // SAFETY: as in `data`; the slot is taken out of the connection before it is freed.
        unsafe {
            (*c).data = ptr::null_mut();
            (*c).data_tag = 0;
            (kind.free)(slot);
        }
    }
}
