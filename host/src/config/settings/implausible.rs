//! Durations that are allowed and hardly meant: everyday delays exceed them, and the consequences look like faults of
//! the server.

use std::time::Duration;

use super::Limits;
use crate::config::units::Time;

impl Limits {
    /// The key of each implausible duration, and a sentence with its value, what it leads to, and the smallest sensible
    /// value.
    pub fn implausible(&self) -> Vec<(&'static str, String)> {
        const SECOND: Duration = Duration::from_secs(1);
        const MILLISECOND: Duration = Duration::from_millis(1);
        let durations = [
            (
                "handshake_timeout",
                Some(self.handshake_timeout),
                SECOND,
                "slow networks take longer to carry a request",
            ),
            (
                "keepalive_timeout",
                Some(self.keepalive_timeout),
                SECOND,
                "most clients have to connect anew for each request",
            ),
            (
                "send_timeout",
                Some(self.send_timeout),
                SECOND,
                "clients on slow networks pause for longer, and do not get the rest of their response",
            ),
            (
                "close_timeout",
                Some(self.close_timeout),
                SECOND,
                "slow networks take longer to carry a Close and its answer",
            ),
            (
                "message_timeout",
                self.message_timeout,
                SECOND,
                "slow networks take longer to carry a large message, and its client is closed",
            ),
            (
                "ping_interval",
                self.ping_interval,
                SECOND,
                "every idle client gets a ping that often, and is disconnected if its answer takes as long",
            ),
            (
                "drain_timeout",
                Some(self.drain_timeout),
                SECOND,
                "clients on slow networks cannot close in that time, and are cut",
            ),
            (
                "slow_callback",
                self.slow_callback,
                MILLISECOND,
                "ordinary callbacks take longer, and each of them is logged",
            ),
            (
                "hang_timeout",
                self.hang_timeout,
                SECOND,
                "a busy machine interrupts callbacks for longer, and their workers are killed with all clients",
            ),
            (
                "reload_timeout",
                Some(self.reload_timeout),
                SECOND,
                "a busy machine takes longer to load a library, and the reload is rejected",
            ),
        ];
        let warning = |(key, time, least, why): (&'static str, Option<Duration>, Duration, &str)| {
            let time = Time(time.filter(|time| *time < least)?);
            Some((key, format!("{key} is {time}: {why}; the smallest sensible value is {}", Time(least))))
        };
        durations.into_iter().filter_map(warning).collect()
    }
}
