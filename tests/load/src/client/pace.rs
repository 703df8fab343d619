//! Clients that send at intervals, and how long the longest of them had to wait. For gaps: clients that send as fast
//! as they are answered would measure the load.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Load, STALL};

/// Between two turns of sending.
const TICK: Duration = Duration::from_millis(1);

impl Load {
    /// As long as `goes_on`, `count` of the connections, evenly spread over all, send one message each `interval`
    /// if their last one was answered, some at each turn. The longest time from a message to its answer.
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
            while let Some(left) = due.checked_duration_since(Instant::now()) {
                self.turn(left)?;
            }
        }
        self.receive_outstanding()?;
        let window = self.finish(due);
        Ok(Duration::from_micros(window.latencies_us.into_iter().max().unwrap_or(0).into()))
    }
}
