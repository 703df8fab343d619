//! Closures that the host calls later: each is boxed, goes to the host as an address with the functions that
//! know its type, and comes back to be called and dropped. Panics stop here, as in `entry`.

use std::cell::Cell;
use std::ffi::c_void;
use std::rc::Rc;

use super::entry::{Failed, catch_at_work, guard};
use super::host::{HOST_SLOT, host, log};
use crate::abi::{self, level, status};
use crate::connection::Connection;
use crate::message::Status;

/// Sets a timer, for the connection of that id or for none (0). Answers its id, or 0: then `f` is dropped
/// already.
pub fn add_timer<F: FnMut(Option<&Connection>) + 'static>(
    connection: u64,
    delay_ms: u64,
    repeat_ms: u64,
    f: F,
) -> u64 {
    let Some(host) = host() else { return 0 };
    let data = Box::into_raw(Box::new(f)).cast();
    let (fire, free) = (Some(fire::<F> as abi::OnLater), Some(free::<F> as abi::Free));
    // SAFETY: `data` is what both functions take it for. `F` need not be Send: the host takes it on the
    // worker's thread alone, and calls both there.
    let id = unsafe { (host.timer_add)(HOST_SLOT, connection, delay_ms, repeat_ms, fire, data, free) };
    if id == 0 {
        // SAFETY: just boxed, and not taken by the host.
        drop(unsafe { Box::from_raw(data.cast::<F>()) });
    }
    id
}

/// Has `f` called when this copy of the plugin is replaced, or its worker ends. The host tells that to nobody but
/// timers, whose closures it frees; so this sets one that will not fire. False: the host does not take it, and `f` is
/// dropped already.
pub fn at_end(f: impl FnOnce() + 'static) -> bool {
    let is_taken = Rc::new(Cell::new(false));
    let end = AtEnd { is_taken: is_taken.clone(), f: Some(f) };
    is_taken.set(add_timer(0, u64::MAX, 0, move |_| _ = &end) != 0);
    is_taken.get()
}

/// Calls `f` when it is dropped, unless that is because the host has not taken it.
struct AtEnd<F: FnOnce()> {
    is_taken: Rc<Cell<bool>>,
    f: Option<F>,
}

impl<F: FnOnce()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        if self.is_taken.get() {
            self.f.take().into_iter().for_each(|f| f());
        }
    }
}

/// Whether there was such a timer.
pub fn remove_timer(id: u64) -> bool {
    // SAFETY: a number; the host knows whether it means anything.
    host().is_some_and(|host| unsafe { (host.timer_remove)(id) } == status::SENT)
}

/// # Safety
/// `data` is a boxed `F` on its own thread; `c` is the host's, as [`abi::OnLater`] promises.
unsafe extern "C" fn fire<F: FnMut(Option<&Connection>)>(data: *mut c_void, c: *mut abi::Connection) {
    // SAFETY: the host never calls it inside itself. `Connection` is transparent over the host's struct,
    // which is live, if not NULL, until the callback returns.
    let (f, c) = unsafe { (&mut *data.cast::<F>(), c.cast::<Connection>().as_ref()) };
    guard(|| {
        f(c);
        Ok(())
    });
}

/// # Safety
/// `data` is a boxed `T` on its own thread, and this is the last use of it.
unsafe extern "C" fn free<T>(data: *mut c_void) {
    guard(|| {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(data.cast::<T>()) });
        Ok(())
    });
}

/// Work and what to do with its result. `work` and `result` travel: they are the pool thread's while the work
/// runs, and nobody looks at them meanwhile. `done` stays with the worker's thread.
struct Job<W, T, D> {
    work: Option<W>,
    result: Option<Result<T, Failed>>,
    done: Option<D>,
}

/// Hands work to the pool, for the connection of that id or for none (0). If the status is an error, `work`
/// and `done` are dropped already.
pub fn add_background<W, T, D>(connection: u64, work: W, done: D) -> Status
where
    W: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
    D: FnOnce(Option<&Connection>, T) + 'static,
{
    let Some(host) = host() else { return Status::NoHost };
    let job: Job<W, T, D> = Job { work: Some(work), result: None, done: Some(done) };
    let data = Box::into_raw(Box::new(job)).cast();
    let work = Some(run::<W, T, D> as abi::Work);
    let (done, free) = (Some(finish::<W, T, D> as abi::OnLater), Some(free_job::<W, T, D> as abi::Free));
    // SAFETY: `data` is what the functions take it for. `W` and `T`, which `run` touches on a pool thread,
    // are Send; `D` need not be: the host takes the job on the worker's thread alone, and calls `finish` and
    // `free_job` there.
    let status = unsafe { (host.background)(HOST_SLOT, connection, work, done, data, free) };
    if status < 0 {
        // SAFETY: just boxed, and not taken by the host.
        drop(unsafe { Box::from_raw(data.cast::<Job<W, T, D>>()) });
    }
    Status::from_code(status)
}

/// # Safety
/// `data` is a boxed job of this type, which no other thread looks at until this returns.
unsafe extern "C" fn run<W: FnOnce() -> T, T, D>(data: *mut c_void) {
    let job = data.cast::<Job<W, T, D>>();
    // SAFETY: the caller's promise. These two fields alone are borrowed; `done` is not this thread's to
    // touch.
    let (work, result) = unsafe { (&mut (*job).work, &mut (*job).result) };
    *result = work.take().map(catch_at_work);
}

/// # Safety
/// `data` is a boxed job of this type that has run, on the thread that made it; `c` is the host's, as
/// [`abi::OnLater`] promises.
unsafe extern "C" fn finish<W, T, D: FnOnce(Option<&Connection>, T)>(
    data: *mut c_void,
    c: *mut abi::Connection,
) {
    // SAFETY: the work is over, so the whole job is this thread's. For `c` see `fire`.
    let (job, c) = unsafe { (&mut *data.cast::<Job<W, T, D>>(), c.cast::<Connection>().as_ref()) };
    match job.result.take() {
        Some(Ok(result)) => {
            _ = guard(|| {
                if let Some(done) = job.done.take() {
                    done(c, result);
                }
                Ok(())
            })
        }
        // `done` stays for `free_job`, where a panic of its drop stops.
        Some(Err(failed)) => failed.report(),
        None => {}
    }
}

/// # Safety
/// As for [`free`]; the job's work does not run.
unsafe extern "C" fn free_job<W, T, D>(data: *mut c_void) {
    // SAFETY: the caller's promise.
    let result = unsafe { (*data.cast::<Job<W, T, D>>()).result.as_ref() };
    // Its connection has left, so `finish` was not called; a panic is worth a line nevertheless.
    if let Some(Err(failed)) = result {
        log(level::ERROR, &format!("background work {failed}; its connection has ended already"));
    }
    // SAFETY: as above.
    unsafe { free::<Job<W, T, D>>(data) };
}
