//! How long clients wait for their turn: a probe queues for one like a client. Neither one long callback nor one client
//! that sends without a pause has to be the cause; many that are ready at once are enough.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::schedule::Schedule;
use crate::system::scoreboard::{HEARTBEAT_INTERVAL, Slot};

/// Notes on the scoreboard each wait that is at least as long as `slow`, for as long as the future is polled. The parent
/// logs it: its samples show which handler ran.
pub async fn run(schedule: &Schedule, slow: Duration, slot: &Slot) {
    let mut interval = interval(HEARTBEAT_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // When the tick was due: the event loop may have been late for it too.
        let due = interval.tick().await;
        schedule.turn_of_probe().await;
        let lag = due.elapsed();
        if lag >= slow {
            slot.note_lag(lag);
        }
    }
}
