//! Messages between a plugin's copies on several workers. The host knows one function for all of them; which
//! closure a number means is kept here.

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
    /// By id. On other threads than the worker's it is empty.
    static RECEIVERS: RefCell<HashMap<u32, Receiver>> = RefCell::default();
    /// Whether the host tells when they are to be dropped.
    static KEPT: Cell<bool> = const { Cell::new(false) };
}

pub fn worker_index() -> u32 {
    // SAFETY: no arguments; any thread may ask.
    host().map_or(0, |host| unsafe { (host.worker_index)() })
}

pub fn worker_count() -> u32 {
    // SAFETY: as above.
    host().map_or(1, |host| unsafe { (host.worker_count)() })
}

pub fn send_to_worker(worker: u32, id: u32, data: &[u8]) -> Status {
    let Some(host) = host() else { return Status::NoHost };
    // SAFETY: the slot is this plugin's own; `data` is read before the call returns.
    let status = unsafe { (host.worker_send)(HOST_SLOT, worker, id, data.as_ptr().cast(), data.len()) };
    Status::from_code(status)
}

/// None: no more.
pub fn receive(id: u32, receiver: Option<Receiver>) -> Status {
    let Some(host) = host() else { return Status::NoHost };
    let call = receiver.as_ref().map(|_| dispatch as crate::abi::OnWorkerMessage);
    // SAFETY: the slot is this plugin's own; `dispatch` keeps to the ABI.
    let status = unsafe { (host.worker_receive)(HOST_SLOT, id, call) };
    if status == status::SENT {
        keep();
        // What it replaces may do anything when it is dropped, which is after the borrow.
        let _replaced = RECEIVERS.with_borrow_mut(|receivers| match receiver {
            Some(receiver) => receivers.insert(id, receiver),
            None => receivers.remove(&id),
        });
    }
    Status::from_code(status)
}

/// Has the receivers dropped when this copy of the plugin is replaced, or its worker ends: the end of a thread would
/// be too late for what their drop may do.
fn keep() {
    if !KEPT.get() {
        KEPT.set(at_end(|| {
            KEPT.set(false);
            // They may do anything when they are dropped, which is after the borrow.
            drop(RECEIVERS.take());
        }));
    }
}

/// # Safety
/// The arguments are the host's, as [`crate::abi::OnWorkerMessage`] promises.
unsafe extern "C" fn dispatch(worker: u32, id: u32, data: *const c_void, length: usize) {
    // SAFETY: `data` is `length` bytes and not NULL, until this returns.
    let data = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) };
    guard(|| {
        let receiver = RECEIVERS.with_borrow(|receivers| receivers.get(&id).cloned());
        // The host never calls it inside itself, so it is not borrowed.
        if let Some(receiver) = receiver {
            receiver.borrow_mut()(worker, data);
        }
        Ok(())
    });
}
