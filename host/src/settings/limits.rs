//! What clients and callbacks can cost, and the default of each bound.
//!
//! What the config file and the command line set enters, [`Limits`] with nothing left open leave. Knows
//! nothing about how the bounds are kept.

#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::cli::LimitOptions;
use crate::units::{Size, Time};

/// Bytes of one message, all frames together: enough for a picture, too little to exhaust a worker.
pub const DEFAULT_MAX_MESSAGE: usize = 16 << 20;
/// Largest `max_message`, in bytes: what a worker can pass to the others in one piece.
pub const MAX_MAX_MESSAGE: usize = 1 << 31;
/// Bytes that wait for one slow client before it is given up: seconds of a busy broadcast, and 4 GiB for a
/// thousand clients that all stop reading.
pub const DEFAULT_MAX_BACKLOG: usize = 4 << 20;
/// Waiting bytes above which `send` answers "queued above the high-water mark": about what the kernel's
/// socket buffer takes besides, so a plugin hears of a slow client early.
pub const DEFAULT_HIGH_WATER: usize = 64 << 10;
/// Bytes of a request's body: forms and JSON, not uploads.
pub const DEFAULT_MAX_BODY: usize = 1 << 20;
/// Bytes of a request's line and headers: room for large cookies and tokens.
pub const DEFAULT_MAX_HEAD: usize = 64 << 10;
/// Smallest `max_head`, in bytes: the smallest read buffer that hyper works with.
pub const MIN_MAX_HEAD: usize = 8 << 10;
/// Time for a client to send a whole request: slow mobile networks make it, clients that hold sockets do not.
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a client to answer our close frame: a round trip with retransmissions.
pub const DEFAULT_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which a client is pinged: common proxies and NATs drop a connection idle for longer.
pub const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(60);
/// Time for connections to end when the server stops: as long as Docker grants a container that it stops.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a callback after which it is logged: a pause that people notice, and all clients of its worker
/// have it.
pub const DEFAULT_SLOW_CALLBACK: Duration = Duration::from_millis(100);
/// Time for a callback after which its worker is ended: no honest one takes as long, and its clients are
/// served again before most people give up.
pub const DEFAULT_HANG_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for each step of a reload: no honest callback or load hook takes as long.
pub const DEFAULT_RELOAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Bounds on what clients and callbacks can cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of one message, all frames together; above, the connection closes with 1009 (RFC 6455 §7.4.1).
    pub max_message: usize,
    /// Bytes that may wait for one client; above, it is closed with 1013.
    pub max_backlog: usize,
    /// Waiting bytes above which `send` says so; never above `max_backlog`.
    pub high_water: usize,
    /// Bytes of a request's body; above, the answer is 413.
    pub max_body: usize,
    /// Bytes of a request's line and headers; above, the answer is 431. At least [`MIN_MAX_HEAD`].
    pub max_head: usize,
    /// Time for a client to send a whole request; not zero.
    pub handshake_timeout: Duration,
    /// Time for a client to answer a close frame.
    pub close_timeout: Duration,
    /// Silence after which a client is pinged, or never.
    pub ping_interval: Option<Duration>,
    /// Time for connections to end when the server stops.
    pub drain_timeout: Duration,
    /// Time for a callback after which it is logged, or never; at most `hang_timeout`.
    pub slow_callback: Option<Duration>,
    /// Time for a callback after which its worker is ended and replaced, or never.
    pub hang_timeout: Option<Duration>,
    /// Time for all workers to take a step of a reload; not zero.
    pub reload_timeout: Duration,
    /// Clients of all workers together; not zero. None: as many as the limit on open files allows.
    pub max_connections: Option<usize>,
}

impl Limits {
    /// `flags` from the command line win over those of the config `file`, which win over the defaults.
    ///
    /// # Errors
    /// Limits that contradict each other, or that nobody could keep.
    pub(super) fn merge(file: LimitOptions, flags: LimitOptions) -> anyhow::Result<Self> {
        let max_backlog = flags.max_backlog.or(file.max_backlog).unwrap_or(DEFAULT_MAX_BACKLOG);
        let hang_timeout = switch(flags.hang_timeout.or(file.hang_timeout).unwrap_or(DEFAULT_HANG_TIMEOUT));
        // The default gives way to a short hang; a time that was asked for does not.
        let slow_callback = flags.slow_callback.or(file.slow_callback).unwrap_or_else(|| {
            hang_timeout.map_or(DEFAULT_SLOW_CALLBACK, |hang| hang.min(DEFAULT_SLOW_CALLBACK))
        });
        let limits = Self {
            max_message: flags.max_message.or(file.max_message).unwrap_or(DEFAULT_MAX_MESSAGE),
            max_backlog,
            // The default gives way to a small backlog; a mark that was asked for does not.
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
            close_timeout: flags.close_timeout.or(file.close_timeout).unwrap_or(DEFAULT_CLOSE_TIMEOUT),
            ping_interval: switch(
                flags.ping_interval.or(file.ping_interval).unwrap_or(DEFAULT_PING_INTERVAL),
            ),
            drain_timeout: flags.drain_timeout.or(file.drain_timeout).unwrap_or(DEFAULT_DRAIN_TIMEOUT),
            slow_callback: switch(slow_callback),
            hang_timeout,
            reload_timeout: flags.reload_timeout.or(file.reload_timeout).unwrap_or(DEFAULT_RELOAD_TIMEOUT),
            max_connections: flags.max_connections.or(file.max_connections),
        };
        limits.check()?;
        Ok(limits)
    }

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
        if max_head < MIN_MAX_HEAD {
            bail!("max_head is {}, expected at least {}", Size(max_head), Size(MIN_MAX_HEAD));
        }
        if handshake_timeout.is_zero() {
            bail!(
                "handshake_timeout is 0, which no client can meet; expected more, such as {}",
                Time(DEFAULT_HANDSHAKE_TIMEOUT)
            );
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

/// A time for which 0 means never.
fn switch(time: Duration) -> Option<Duration> {
    Some(time).filter(|time| !time.is_zero())
}
