//! Limits on what clients and callbacks may cost.
//!
//! The limits of config file and command line enter, [`Limits`] with a value for everything leave. They never
//! contradict each other.

use std::time::Duration;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::config::defaults::{
    DEFAULT_CLOSE_TIMEOUT, DEFAULT_DRAIN_TIMEOUT, DEFAULT_HANDSHAKE_TIMEOUT, DEFAULT_HANG_TIMEOUT,
    DEFAULT_HIGH_WATER, DEFAULT_KEEPALIVE_TIMEOUT, DEFAULT_MAX_BACKLOG, DEFAULT_MAX_BODY, DEFAULT_MAX_HEAD,
    DEFAULT_MAX_MESSAGE, DEFAULT_MEMORY_FACTOR, DEFAULT_MESSAGE_TIMEOUT, DEFAULT_PING_INTERVAL,
    DEFAULT_RECEIVE_MEMORY, DEFAULT_RELOAD_TIMEOUT, DEFAULT_SEND_MEMORY, DEFAULT_SEND_TIMEOUT,
    DEFAULT_SLOW_CALLBACK, MAX_MAX_MESSAGE, MIN_MAX_HEAD,
};
use crate::config::limit_options::LimitOptions;
use crate::config::rate::Rate;
use crate::config::route::Route;
use crate::config::units::{Size, Time};

/// Limits on what clients and callbacks may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Payload bytes of one message with all its frames. A client that exceeds it is closed with 1009 (RFC 6455
    /// §7.4.1).
    pub max_message: usize,
    /// Bytes of one client's write queue. A client that exceeds it is closed with 1013.
    pub max_backlog: usize,
    /// Bytes of one client's write queue above which `send` returns QUEUED; at most `max_backlog`.
    pub high_water: usize,
    /// Time for a message from its first frame to its last. A client that exceeds it is closed with 1008. None: any.
    pub message_timeout: Option<Duration>,
    /// Bytes of incomplete messages of all clients of a worker. Above it, clients are closed with 1013.
    pub receive_memory: usize,
    /// Bytes of the write queues of all clients of a worker. Above it, clients are closed with 1013.
    pub send_memory: usize,
    /// Bytes of a request body. A larger request gets 413.
    pub max_body: usize,
    /// Bytes of request line and headers, at least [`MIN_MAX_HEAD`]. A larger request gets 431.
    pub max_head: usize,
    /// Time for a client to send a complete request; not zero.
    pub handshake_timeout: Duration,
    /// Time between a response and the client's next request; not zero.
    pub keepalive_timeout: Duration,
    /// Time for which a client may read nothing of a response; not zero.
    pub send_timeout: Duration,
    /// Time for a client to answer a Close frame.
    pub close_timeout: Duration,
    /// Silence after which a client gets a ping. None: no pings.
    pub ping_interval: Option<Duration>,
    /// Time for connections to close when the server stops.
    pub drain_timeout: Duration,
    /// A callback that runs longer is logged, and so are callbacks that together keep clients waiting for as long. None: none
    /// is. At most `hang_timeout`.
    pub slow_callback: Option<Duration>,
    /// A worker whose callback runs longer, or whose event loop does not run for as long, is killed and replaced. None: none
    /// is.
    pub hang_timeout: Option<Duration>,
    /// Time for a reload; not zero.
    pub reload_timeout: Duration,
    /// Connections of all workers together; not zero. None: the limit on open files applies.
    pub max_connections: Option<usize>,
    /// Connections of one client's address, on all workers together; not zero. None: any number.
    pub max_per_address: Option<usize>,
    /// New connections of one address; not zero. None: any number.
    pub connection_rate: Option<Rate>,
    /// Requests of one address; not zero. None: any number.
    pub request_rate: Option<Rate>,
    /// WebSocket handshakes of one address; not zero. None: any number.
    pub handshake_rate: Option<Rate>,
}

impl Limits {
    /// Merges the limits: `flags` from the command line take precedence over the config `file`, and the file over the
    /// defaults. Rejects limits that contradict each other or that nobody can keep.
    pub(super) fn merge(file: LimitOptions, flags: LimitOptions) -> anyhow::Result<Self> {
        let limits = Self::of(&file, &flags);
        limits.check()?;
        Ok(limits)
    }

    fn of(file: &LimitOptions, flags: &LimitOptions) -> Self {
        let max_backlog = flags.max_backlog.or(file.max_backlog).unwrap_or(DEFAULT_MAX_BACKLOG);
        let hang_timeout = nonzero(flags.hang_timeout.or(file.hang_timeout).unwrap_or(DEFAULT_HANG_TIMEOUT));
        // A short `hang_timeout` lowers the default, but contradicts a time that the operator sets.
        let slow_callback = flags.slow_callback.or(file.slow_callback).unwrap_or_else(|| {
            hang_timeout.map_or(DEFAULT_SLOW_CALLBACK, |hang| hang.min(DEFAULT_SLOW_CALLBACK))
        });
        let max_message = flags.max_message.or(file.max_message).unwrap_or(DEFAULT_MAX_MESSAGE);
        Self {
            max_message,
            max_backlog,
            message_timeout: nonzero(
                flags.message_timeout.or(file.message_timeout).unwrap_or(DEFAULT_MESSAGE_TIMEOUT),
            ),
            // Large messages and queues raise the default, but contradict a size that the operator sets.
            receive_memory: flags.receive_memory.or(file.receive_memory).unwrap_or_else(|| {
                DEFAULT_RECEIVE_MEMORY.max(max_message.saturating_mul(DEFAULT_MEMORY_FACTOR))
            }),
            send_memory: flags.send_memory.or(file.send_memory).unwrap_or_else(|| {
                DEFAULT_SEND_MEMORY.max(max_backlog.saturating_mul(DEFAULT_MEMORY_FACTOR))
            }),
            // A small `max_backlog` lowers the default, but contradicts a size that the operator sets.
            high_water: flags
                .high_water
                .or(file.high_water)
                .unwrap_or_else(|| DEFAULT_HIGH_WATER.min(max_backlog)),
            max_body: flags.max_body.or(file.max_body).unwrap_or(DEFAULT_MAX_BODY),
            max_head: flags.max_head.or(file.max_head).unwrap_or(DEFAULT_MAX_HEAD),
            handshake_timeout: flags
                .handshake_timeout
                .or(file.handshake_timeout)
                .unwrap_or(DEFAULT_HANDSHAKE_TIMEOUT),
            keepalive_timeout: flags
                .keepalive_timeout
                .or(file.keepalive_timeout)
                .unwrap_or(DEFAULT_KEEPALIVE_TIMEOUT),
            send_timeout: flags.send_timeout.or(file.send_timeout).unwrap_or(DEFAULT_SEND_TIMEOUT),
            close_timeout: flags.close_timeout.or(file.close_timeout).unwrap_or(DEFAULT_CLOSE_TIMEOUT),
            ping_interval: nonzero(
                flags.ping_interval.or(file.ping_interval).unwrap_or(DEFAULT_PING_INTERVAL),
            ),
            drain_timeout: flags.drain_timeout.or(file.drain_timeout).unwrap_or(DEFAULT_DRAIN_TIMEOUT),
            slow_callback: nonzero(slow_callback),
            hang_timeout,
            reload_timeout: flags.reload_timeout.or(file.reload_timeout).unwrap_or(DEFAULT_RELOAD_TIMEOUT),
            max_connections: flags.max_connections.or(file.max_connections),
            max_per_address: flags.max_per_address.or(file.max_per_address).filter(|max| *max > 0),
            connection_rate: limiting(flags.connection_rate.or(file.connection_rate)),
            request_rate: limiting(flags.request_rate.or(file.request_rate)),
            handshake_rate: limiting(flags.handshake_rate.or(file.handshake_rate)),
        }
    }

    /// Whether any limit holds for each address by itself.
    pub fn are_per_address(&self) -> bool {
        let rates = [self.connection_rate, self.request_rate, self.handshake_rate];
        self.max_per_address.is_some() || rates.iter().any(Option::is_some)
    }

    /// The keys of the limits that differ in `other`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let limits = [self, other].map(|limits| serde_json::to_value(limits).unwrap_or_default());
        let keys = limits[0].as_object().into_iter().flat_map(|limits| limits.keys());
        keys.filter(|key| limits[0][key.as_str()] != limits[1][key.as_str()]).cloned().collect()
    }

    /// Rejects limits of a route that contradict those of the server.
    pub(super) fn check_route(&self, route: &Route) -> anyhow::Result<()> {
        let Some(max_message) = route.limits.max_message else { return Ok(()) };
        if self.receive_memory / 3 < max_message {
            bail!(
                "{}: max_message of route `{}` is {}, and receive_memory is {}, less than three times as much: two clients \
                 with a large message could exceed it; raise receive_memory or lower max_message",
                route.origin,
                route.path,
                Size(max_message),
                Size(self.receive_memory)
            );
        }
        Ok(())
    }

    /// The error names the keys of the limits that it is about.
    fn check(&self) -> anyhow::Result<()> {
        let Self { max_backlog, high_water, max_head, handshake_timeout, .. } = *self;
        if high_water > max_backlog {
            bail!(
                "high_water is {}, above max_backlog, which is {}: no queue could reach it; lower \
                 high_water or raise max_backlog",
                Size(high_water),
                Size(max_backlog)
            );
        }
        if self.max_message > MAX_MAX_MESSAGE {
            bail!("max_message is {}, expected at most {}", Size(self.max_message), Size(MAX_MAX_MESSAGE));
        }
        // Buffers take more than the messages: two may exceed twice their size.
        if self.receive_memory / 3 < self.max_message {
            bail!(
                "receive_memory is {}, less than three times max_message, which is {}: two clients with a large \
                 message could exceed it; raise receive_memory or lower max_message",
                Size(self.receive_memory),
                Size(self.max_message)
            );
        }
        if self.send_memory < max_backlog {
            bail!(
                "send_memory is {}, below max_backlog, which is {}: one client would exceed it; raise \
                 send_memory or lower max_backlog",
                Size(self.send_memory),
                Size(max_backlog)
            );
        }
        if max_head < MIN_MAX_HEAD {
            bail!("max_head is {}, expected at least {}", Size(max_head), Size(MIN_MAX_HEAD));
        }
        for (name, time, default) in [
            ("handshake_timeout", handshake_timeout, DEFAULT_HANDSHAKE_TIMEOUT),
            ("keepalive_timeout", self.keepalive_timeout, DEFAULT_KEEPALIVE_TIMEOUT),
            ("send_timeout", self.send_timeout, DEFAULT_SEND_TIMEOUT),
        ] {
            if time.is_zero() {
                bail!("{name} is 0, which no client can meet; expected more, such as {}", Time(default));
            }
        }
        if self.reload_timeout.is_zero() {
            bail!(
                "reload_timeout is 0, which no worker can meet; expected more, such as {}",
                Time(DEFAULT_RELOAD_TIMEOUT)
            );
        }
        if let (Some(slow), Some(hang)) = (self.slow_callback, self.hang_timeout)
            && hang < slow
        {
            bail!(
                "hang_timeout is {}, below slow_callback, which is {}: a worker would be ended before its \
                 callback counts as slow; raise hang_timeout or lower slow_callback",
                Time(hang),
                Time(slow)
            );
        }
        if self.max_connections == Some(0) {
            bail!("max_connections is 0, so that no client could connect; expected at least 1");
        }
        Ok(())
    }
}

/// The limits of a server for which nobody sets any.
impl Default for Limits {
    fn default() -> Self {
        Self::of(&LimitOptions::default(), &LimitOptions::default())
    }
}

/// Maps a rate of 0 to None, which disables the limit.
fn limiting(rate: Option<Rate>) -> Option<Rate> {
    rate.filter(|rate| rate.count > 0)
}

/// Maps 0 to None, which disables the limit.
fn nonzero(time: Duration) -> Option<Duration> {
    Some(time).filter(|time| !time.is_zero())
}
