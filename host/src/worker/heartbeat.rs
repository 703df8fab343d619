//! The heartbeat of a worker: a task counts on the scoreboard for as long as the event loop runs, so that the parent
//! notices a worker that is stopped or blocked outside of any callback. It costs nothing per message. With each beat, log
//! records that have found no room are written.

use tokio::time::{MissedTickBehavior, interval};

use crate::system::log;
use crate::system::scoreboard::{HEARTBEAT_INTERVAL, Slot};

/// Beats for as long as the future is polled.
pub async fn run(slot: &Slot) {
    let mut interval = interval(HEARTBEAT_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        slot.beat();
        log::flush();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::system::scoreboard::{Scoreboard, StallEvent, StallTimer};

    #[tokio::test(start_paused = true)]
    async fn an_event_loop_that_runs_is_never_stalled() {
        let scoreboard = Scoreboard::private().expect("shared memory");
        let (slot, mut timer) = (scoreboard.slot(0), StallTimer::default());
        let watch = async {
            loop {
                let now = tokio::time::Instant::now().into_std();
                assert_eq!(timer.sample(now, slot, Some(HEARTBEAT_INTERVAL)), None);
                tokio::time::sleep(HEARTBEAT_INTERVAL / 10).await;
            }
        };
        let both = async { tokio::join!(run(slot), watch) };
        timeout(100 * HEARTBEAT_INTERVAL, both).await.expect_err("both run until they are dropped");
        let stalled = (0..100).find_map(|n| {
            let now = tokio::time::Instant::now() + n * HEARTBEAT_INTERVAL;
            timer.sample(now.into_std(), slot, None)
        });
        assert!(matches!(stalled, Some(StallEvent::Stalled { .. })), "without the task: {stalled:?}");
    }
}
