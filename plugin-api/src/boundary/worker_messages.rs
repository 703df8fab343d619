//! Worker messages: messages between the plugin's instances on different workers. The host gets the same
//! function for every id; this module maps ids to closures.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::rc::Rc;

use super::entry::guard;
use super::host::{HOST_SLOT, host};
use super::later::at_end;
use crate::abi::status;
use crate::message::Status;

type Receiver = Rc<RefCell<dyn FnMut(u32, &[u8])>>;

thread_local! {
    /// Receivers by message id. Empty on all threads except the worker thread.
    static RECEIVERS: RefCell<HashMap<u32, Receiver>> = RefCell::default();
    /// Whether `drop_at_end` has registered its callback.
    static DROPPED_AT_END: Cell<bool> = const { Cell::new(false) };
}

pub fn worker_index() -> u32 {
    // SAFETY: no arguments; any thread may call it.
    host().map_or(0, |host| unsafe { (host.worker_index)() })
}

pub fn worker_count() -> u32 {
    // SAFETY: as above.
    host().map_or(1, |host| unsafe { (host.worker_count)() })
}

pub fn send_to_worker(worker: u32, id: u32, data: &[u8]) -> Status {
    let Some(host) = host() else { return Status::NoHost };
    // SAFETY: the slot belongs to this plugin; the host reads `data` before the call returns.
    let status = unsafe { (host.worker_send)(HOST_SLOT, worker, id, data.as_ptr().cast(), data.len()) };
    Status::from_code(status)
}

/// Sets the receiver for an id; None removes it.
pub fn receive(id: u32, receiver: Option<Receiver>) -> Status {
    let Some(host) = host() else { return Status::NoHost };
    let call = receiver.as_ref().map(|_| dispatch as crate::abi::OnWorkerMessage);
    // SAFETY: the slot belongs to this plugin; `dispatch` has the signature and behavior that the ABI
    // requires.
    let status = unsafe { (host.worker_receive)(HOST_SLOT, id, call) };
    if status == status::SENT {
        drop_at_end();
        // Dropped after the borrow ends, because its drop may use the receivers.
        let _replaced = RECEIVERS.with_borrow_mut(|receivers| match receiver {
            Some(receiver) => receivers.insert(id, receiver),
            None => receivers.remove(&id),
        });
    }
    Status::from_code(status)
}

/// Drops the receivers when this generation is replaced or its worker exits. The destructors of thread-locals
/// run too late: the drop of a receiver may still use other thread-locals and the host.
fn drop_at_end() {
    if !DROPPED_AT_END.get() {
        DROPPED_AT_END.set(at_end(|| {
            DROPPED_AT_END.set(false);
            // Dropped after the borrow ends, because their drops may use the receivers.
            drop(RECEIVERS.take());
        }));
    }
}

/// # Safety
/// The arguments must be as [`crate::abi::OnWorkerMessage`] guarantees.
unsafe extern "C" fn dispatch(worker: u32, id: u32, data: *const c_void, length: usize) {
    // SAFETY: `data` is not NULL and has `length` bytes, valid until this returns.
    let data = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) };
    guard(|| {
        let receiver = RECEIVERS.with_borrow(|receivers| receivers.get(&id).cloned());
        // The host never nests callbacks, so the receiver is not borrowed.
        if let Some(receiver) = receiver {
            receiver.borrow_mut()(worker, data);
        }
        Ok(())
    });
}
