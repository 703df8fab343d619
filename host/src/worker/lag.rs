//! How long clients wait for their turn: a probe queues for one like a client. Neither one long callback nor one client
//! that sends without a pause has to be the cause; many that are ready at once are enough.

use tokio::time::{MissedTickBehavior, interval};

use super::hub::Hub;
use crate::system::scoreboard::{HEARTBEAT_INTERVAL, Slot};

/// Notes on the scoreboard each wait that is at least as long as `slow_callback`, for as long as the future is polled. The
/// parent logs it: its samples show which handler ran.
pub async fn run(hub: &Hub, slot: &Slot) {
    let mut interval = interval(HEARTBEAT_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let Some(slow) = hub.limits.get().slow_callback else {
            hub.limits_changed.notified().await;
            interval.reset();
            continue;
        };
        // When the tick was due: the event loop may have been late for it too.
        let due = interval.tick().await;
        hub.schedule.turn_of_probe().await;
        let lag = due.elapsed();
        if lag >= slow {
            slot.note_lag(lag);
        }
    }
}
