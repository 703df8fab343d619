//! Callbacks at a later time, once or again and again. The host keeps the time; this is its face for Rust.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::boundary::{add_timer, remove_timer};
use crate::connection::Connection;

/// A timer that was set. It is a number: dropping it changes nothing, and one that could not be set (because
/// the connection is closing, or because no worker's thread was asked) is as good as one that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    id: u64,
}

impl Timer {
    /// Ends it, if it has not ended; a callback may end the timer that it is called by. The closure is
    /// dropped soon after, when no callback runs. Tells whether there was something to end.
    pub fn cancel(&self) -> bool {
        remove_timer(self.id)
    }
}

impl Connection {
    /// Calls `f` once, after `delay`. If the connection closes first, it is not called.
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

    /// Calls `f` after each `period`, for the first time one period from now, until the timer is cancelled or
    /// the connection closes. Times do not drift, and those that a busy worker has missed are left out.
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
        // The host calls it with the connection that it is set for.
        let id = add_timer(self.id(), ms(delay), repeat_ms, move |c| c.into_iter().for_each(&mut f));
        Timer { id }
    }
}

/// Calls `f` once on this worker, after `delay`. Works from `#[onload]` on; it ends with this copy of the
/// plugin.
///
/// A panic in it is logged. With many workers, each that calls this has a timer of its own.
pub fn after(delay: Duration, f: impl FnOnce() + 'static) -> Timer {
    let mut f = Some(f);
    Timer { id: add_timer(0, ms(delay), 0, move |_| f.take().into_iter().for_each(|f| f())) }
}

/// Calls `f` on this worker after each `period`, as [`Connection::every`] does; a panic in it is logged, and
/// the next time comes nevertheless. Works from `#[onload]` on; it ends with this copy of the plugin.
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

/// Whole milliseconds, never too early.
fn ms(duration: Duration) -> u64 {
    duration.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX)
}

/// To the host 0 means once.
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
