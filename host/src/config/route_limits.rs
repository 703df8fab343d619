//! What a route demands of its connections beyond the limits of the server, or instead of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits for the connections of one route. The default changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteLimits {
    /// Payload bytes of a message. None: the limit of the server.
    pub max_message: Option<usize>,
    /// Silence after which a client gets a ping; zero: no pings. None: the interval of the server.
    pub ping_interval: Option<Duration>,
    /// Time without a complete message from the client, after which it is closed with 1001. Not zero.
    pub idle_timeout: Option<Duration>,
    /// Time from the 101, after which a client is closed with 1001. Not zero.
    pub max_lifetime: Option<Duration>,
    /// A client that sends more messages is closed with 1008.
    pub message_rate: Option<MessageRate>,
    /// What happens to messages for a client that reads too slowly.
    pub on_full: OnFull,
}

/// How many messages a client may send: `messages` in each `per`, and `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRate {
    /// Not 0.
    pub messages: u32,
    /// Not zero.
    pub per: Duration,
    /// Not 0.
    pub burst: u32,
}

impl MessageRate {
    /// The time after which one message more is allowed. Not zero, which would be no limit.
    pub fn interval(&self) -> Duration {
        (self.per / self.messages.max(1)).max(Duration::from_nanos(1))
    }
}

/// What happens to messages for a client that reads too slowly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFull {
    /// They are queued up to `max_backlog`, then the client is closed with 1013.
    #[default]
    Close,
    /// They are dropped while its queue is above `high_water`.
    Drop,
}

impl OnFull {
    /// Parses a value of `on_full`. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "close" => Ok(Self::Close),
            "drop" => Ok(Self::Drop),
            _ => Err("expected \"close\" or \"drop\"".to_owned()),
        }
    }
}

impl RouteLimits {
    /// Whether every message from the client has to be looked at.
    pub fn count_messages(&self) -> bool {
        self.message_rate.is_some() || self.idle_timeout.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_takes_some_time_at_any_rate() {
        for (messages, per, interval) in [
            (10, Duration::from_secs(1), Duration::from_millis(100)),
            (1_000_000_000, Duration::from_secs(1), Duration::from_nanos(1)),
            (u32::MAX, Duration::from_secs(1), Duration::from_nanos(1)),
            (1_000_001, Duration::from_millis(1), Duration::from_nanos(1)),
        ] {
            assert_eq!(MessageRate { messages, per, burst: 1 }.interval(), interval, "{messages} in {per:?}");
        }
    }
}
