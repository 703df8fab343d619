//! One-shot and repeating timers, which the host runs.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::boundary::{add_timer, remove_timer};
use crate::connection::Connection;

/// Identifies a timer. Dropping it does not cancel the timer. If the timer could not be set, because the
/// connection is closing or the thread is not a worker thread, it behaves like a timer that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    id: u64,
}

impl Timer {
    /// Ends the timer. A callback may cancel the timer that called it. The closure is dropped soon
    /// afterwards, when no callback runs. Returns false if the timer has already ended.
    pub fn cancel(&self) -> bool {
        remove_timer(self.id)
    }
}

impl Connection {
    /// Calls `f` once, after `delay`. If the connection closes first, `f` is not called.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use callsign_plugin::prelude::*;
    /// #[onconnect]
    /// fn welcome(c: &Connection) {
    ///     c.after(Duration::from_secs(60), |c| {
    ///         c.close(4000, "one minute is over");
    ///     });
    /// }
    /// ```
    pub fn after(&self, delay: Duration, f: impl FnOnce(&Connection) + 'static) -> Timer {
        let mut f = Some(f);
        self.set(delay, 0, move |c| f.take().into_iter().for_each(|f| f(c)))
    }

    /// Calls `f` after each `period`, the first time after one period, until the timer is cancelled or the
    /// connection closes. The times do not drift. Calls that a busy worker missed are skipped.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use callsign_plugin::prelude::*;
    /// #[onconnect]
    /// fn count(c: &Connection) {
    ///     let mut seconds = 0;
    ///     c.every(Duration::from_secs(1), move |c| {
    ///         seconds += 1;
    ///         c.send(&format!("{seconds} s"));
    ///     });
    /// }
    /// ```
    pub fn every(&self, period: Duration, f: impl FnMut(&Connection) + 'static) -> Timer {
        self.set(period, period_ms(period), f)
    }

    fn set(&self, delay: Duration, repeat_ms: u64, mut f: impl FnMut(&Connection) + 'static) -> Timer {
        // The host passes the connection with this id.
        let id = add_timer(self.id(), ms(delay), repeat_ms, move |c| c.into_iter().for_each(&mut f));
        Timer { id }
    }
}

/// Calls `f` once on this worker, after `delay`. May be called in `#[onload]`. The timer ends when this
/// generation is replaced.
///
/// A panic in `f` is logged. Each worker that calls this function has its own timer.
pub fn after(delay: Duration, f: impl FnOnce() + 'static) -> Timer {
    let mut f = Some(f);
    Timer { id: add_timer(0, ms(delay), 0, move |_| f.take().into_iter().for_each(|f| f())) }
}

/// Calls `f` on this worker after each `period`, like [`Connection::every`]. A panic in `f` is logged and
/// does not end the timer. May be called in `#[onload]`. The timer ends when this generation is replaced.
///
/// ```
/// # use std::time::Duration;
/// # use callsign_plugin::prelude::*;
/// #[onload]
/// fn start(_: &Load) {
///     every(Duration::from_secs(3600), || {
///         broadcast("a full hour", Scope::Local);
///     });
/// }
/// ```
pub fn every(period: Duration, mut f: impl FnMut() + 'static) -> Timer {
    Timer { id: add_timer(0, ms(period), period_ms(period), move |_| f()) }
}

/// Whole milliseconds, rounded up so that a timer never fires early.
fn ms(duration: Duration) -> u64 {
    duration.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX)
}

/// At least 1, because 0 means a one-shot timer to the host.
fn period_ms(period: Duration) -> u64 {
    ms(period).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up_and_a_period_is_never_zero() {
        let times = [0, 1, 999_999, 1_000_000, 1_000_001].map(Duration::from_nanos);
        assert_eq!(times.map(ms), [0, 1, 1, 1, 2]);
        assert_eq!(times.map(period_ms), [1, 1, 1, 1, 2]);
        assert_eq!(ms(Duration::MAX), u64::MAX);
    }

    #[test]
    fn without_a_host_there_is_nothing_to_cancel() {
        assert!(!after(Duration::ZERO, || unreachable!("no host")).cancel());
    }
}
