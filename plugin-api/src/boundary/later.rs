//! Closures for timers and background work. Each closure is boxed; the host gets its address and functions
//! that know its type, which call and drop the closure. These functions catch panics like those in `entry`.

use std::cell::Cell;
use std::ffi::c_void;
use std::rc::Rc;

use super::entry::{Failed, catch_at_work, guard};
use super::host::{HOST_SLOT, host, log};
use crate::abi::{self, level, status};
use crate::connection::Connection;
use crate::message::Status;

/// Sets a timer for the connection with that id, or for none (0). Returns the timer's id, or 0 if no timer
/// was set; `f` is then already dropped.
pub fn add_timer<F: FnMut(Option<&Connection>) + 'static>(
    connection: u64,
    delay_ms: u64,
    repeat_ms: u64,
    f: F,
) -> u64 {
    let Some(host) = host() else { return 0 };
    let data = Box::into_raw(Box::new(f)).cast();
    let (fire, free) = (Some(fire::<F> as abi::OnLater), Some(free::<F> as abi::Free));
    // SAFETY: `data` is a boxed `F`, as both functions require. `F` need not be Send: the host accepts a
    // timer on the worker thread only, and calls both functions there.
    let id = unsafe { (host.timer_add)(HOST_SLOT, connection, delay_ms, repeat_ms, fire, data, free) };
    if id == 0 {
        // SAFETY: boxed above; the host did not accept it.
        drop(unsafe { Box::from_raw(data.cast::<F>()) });
    }
    id
}

/// Calls `f` when this generation is replaced or its worker exits. The ABI has no callback for both events,
/// but the host frees the closures of timers then; so this sets a timer that never fires. Returns false if
/// the host did not accept the timer; `f` is then already dropped.
pub fn at_end(f: impl FnOnce() + 'static) -> bool {
    let is_accepted = Rc::new(Cell::new(false));
    let end = AtEnd { is_accepted: is_accepted.clone(), f: Some(f) };
    is_accepted.set(add_timer(0, u64::MAX, 0, move |_| _ = &end) != 0);
    is_accepted.get()
}

/// Calls `f` when dropped, unless the host did not accept the timer.
struct AtEnd<F: FnOnce()> {
    is_accepted: Rc<Cell<bool>>,
    f: Option<F>,
}

impl<F: FnOnce()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        if self.is_accepted.get() {
            self.f.take().into_iter().for_each(|f| f());
        }
    }
}

/// Returns whether the timer existed.
pub fn remove_timer(id: u64) -> bool {
    // SAFETY: the host validates the id.
    host().is_some_and(|host| unsafe { (host.timer_remove)(id) } == status::SENT)
}

/// # Safety
/// `data` must be a boxed `F`, on the thread that created it; `c` must be as [`abi::OnLater`] guarantees.
unsafe extern "C" fn fire<F: FnMut(Option<&Connection>)>(data: *mut c_void, c: *mut abi::Connection) {
    // SAFETY: the host never nests callbacks, so no other reference to the closure exists. `Connection` is
    // transparent over the host's struct, which is NULL or live until the callback returns.
    let (f, c) = unsafe { (&mut *data.cast::<F>(), c.cast::<Connection>().as_ref()) };
    guard(|| {
        f(c);
        Ok(())
    });
}

/// # Safety
/// `data` must be a boxed `T`, on the thread that created it; nothing uses `data` afterwards.
unsafe extern "C" fn free<T>(data: *mut c_void) {
    guard(|| {
        // SAFETY: guaranteed by the caller.
        drop(unsafe { Box::from_raw(data.cast::<T>()) });
        Ok(())
    });
}

/// Background work with its result and completion closure. While the work runs, the pool thread has exclusive
/// access to `work` and `result`. Only the worker thread accesses `done`.
struct Job<W, T, D> {
    work: Option<W>,
    result: Option<Result<T, Failed>>,
    done: Option<D>,
}

/// Submits background work for the connection with that id, or for none (0). If the status is an error,
/// `work` and `done` are already dropped.
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
    // SAFETY: `data` is a boxed job, as the functions require. `W` and `T`, which `run` accesses on a pool
    // thread, are Send. `D` need not be Send: the host accepts a job on the worker thread only, and calls
    // `finish` and `free_job` there.
    let status = unsafe { (host.background)(HOST_SLOT, connection, work, done, data, free) };
    if status < 0 {
        // SAFETY: boxed above; the host did not accept it.
        drop(unsafe { Box::from_raw(data.cast::<Job<W, T, D>>()) });
    }
    Status::from_code(status)
}

/// # Safety
/// `data` must be a boxed job of this type, which no other thread accesses until this returns.
unsafe extern "C" fn run<W: FnOnce() -> T, T, D>(data: *mut c_void) {
    let job = data.cast::<Job<W, T, D>>();
    // SAFETY: guaranteed by the caller. Only these two fields are borrowed, because this thread must not
    // access `done`.
    let (work, result) = unsafe { (&mut (*job).work, &mut (*job).result) };
    *result = work.take().map(catch_at_work);
}

/// # Safety
/// `data` must be a boxed job of this type that has run, on the thread that created it; `c` must be as
/// [`abi::OnLater`] guarantees.
unsafe extern "C" fn finish<W, T, D: FnOnce(Option<&Connection>, T)>(
    data: *mut c_void,
    c: *mut abi::Connection,
) {
    // SAFETY: the work has completed, so this thread has exclusive access to the job. For `c` see `fire`.
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
        // `free_job` drops `done`, and catches a panic of its drop.
        Some(Err(failed)) => failed.report(),
        None => {}
    }
}

/// # Safety
/// As for [`free`]; the work of the job must not be running.
unsafe extern "C" fn free_job<W, T, D>(data: *mut c_void) {
    // SAFETY: guaranteed by the caller.
    let result = unsafe { (*data.cast::<Job<W, T, D>>()).result.as_ref() };
    // The result is still here: the connection has closed, so the host did not call `finish`.
    if let Some(Err(failed)) = result {
        log(level::ERROR, &format!("background work {failed}; its connection has already closed"));
    }
    // SAFETY: as above.
    unsafe { free::<Job<W, T, D>>(data) };
}
