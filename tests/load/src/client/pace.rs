//! Clients that send at intervals, and the longest time that any of them waits. Measures gaps, which clients
//! that send at full speed would hide behind their own load.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Load, STALL};

/// Time between two turns of sending.
const TICK: Duration = Duration::from_millis(1);

impl Load {
    /// While `goes_on`, `count` connections, spread evenly over all, each send one message per `interval` if
    /// their previous one was answered. Returns the longest time from a message to its answer.
    ///
    /// # Errors
    /// As for [`Self::echo`].
    pub fn longest_gap(
        &mut self,
        count: usize,
        interval: Duration,
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<Duration> {
        let mut due = self.start(1, Duration::ZERO);
        let step = self.connections.len() / count;
        let turns = (interval.as_micros() / TICK.as_micros()).max(1) as usize;
        let mut turn = 0;
        while goes_on() {
            for client in (turn % turns..count).step_by(turns) {
                let index = client * step;
                let waits = self.connections[index].expected != self.connections[index].next;
                ensure!(
                    !waits || self.connections[index].sent_at.elapsed() < STALL,
                    "connection {index}: no answer within {STALL:?}"
                );
                if !waits {
                    self.outstanding += 1;
                    self.send(index, 1)?;
                }
            }
            (turn, due) = (turn + 1, due + TICK);
            while let Some(remaining) = due.checked_duration_since(Instant::now()) {
                self.turn(remaining)?;
            }
        }
        self.receive_outstanding()?;
        let window = self.finish(due);
        Ok(Duration::from_micros(window.latencies_us.into_iter().max().unwrap_or(0).into()))
    }
}
