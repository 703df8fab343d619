//! The watchdog: looks at each worker's page of the scoreboard many times a second, says which callback is
//! slow, and ends a worker whose callback never returns.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Parent;
use super::child::Place;
use crate::board::{self, Finding};

/// Time for a hung worker to write down where it is, before it is ended by force.
const ABORT_GRACE: Duration = Duration::from_millis(2500);

impl Parent {
    /// Time between two looks; None if nothing is looked for.
    pub fn tick(&self) -> Option<Duration> {
        let (slow, hang) = (self.settings.limits.slow_callback, self.settings.limits.hang_timeout);
        (slow.is_some() || hang.is_some()).then(|| board::tick(slow, hang))
    }

    /// Watches all workers for as long as the parent runs.
    pub async fn watch(&'static self) {
        let (slow, hang) = (self.settings.limits.slow_callback, self.settings.limits.hang_timeout);
        let Some(tick) = self.tick() else { return };
        let mut tick = tokio::time::interval(tick);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for place in self.places.iter().filter(|place| place.pid.get().is_some()) {
                let finding =
                    place.watch.borrow_mut().look(Instant::now(), self.board.slot(place.index), slow, hang);
                match finding {
                    Some(Finding::Slow { label, running_for }) => {
                        log::warn!(
                            "worker {}: {label} has run for {running_for:.0?} and blocks the worker's other clients (--slow-callback)",
                            place.index
                        );
                    }
                    Some(Finding::SlowEnded { label, ran_for }) => {
                        log::warn!("worker {}: {label} has returned after {ran_for:.0?}", place.index);
                    }
                    Some(Finding::Hung { label, running_for }) => {
                        let why = format!(
                            "was ended: {label} had not returned after {running_for:.1?} (--hang-timeout)"
                        );
                        end_hung(place, why);
                    }
                    None => {}
                }
            }
        }
    }
}

/// Ends a hung worker by the signal that makes it write its backtrace, and by force if that does not help.
pub fn end_hung(place: &'static Place, why: String) {
    let pid = place.pid.get();
    place.hung.borrow_mut().get_or_insert(why);
    place.signal(Signal::ABORT);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(ABORT_GRACE).await;
        if place.pid.get() == pid {
            place.kill();
        }
    });
}
