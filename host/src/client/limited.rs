//! What a connection of a route with limits has used of them. Time enters; what has to be done leaves.
//!
//! Invariant: a message reads no clock. The time of the read that brought it counts.

use std::rc::Rc;
use std::time::{Duration, Instant};

use callsign_websocket::{Source, put_bytes};

use super::frozen::ThawError;
use crate::config::defaults::MAX_MAX_MESSAGE;
use crate::config::route_limits::{MessageRate, RouteLimits};

/// Until the second look at a client whose time is up: what it has sent before is read in between.
const SECOND_LOOK: Duration = Duration::from_millis(1);
/// Clients that came together are sent away over this fraction of their lifetime, and pinged over this fraction of the
/// interval: earlier, and never later.
const SPREAD: u32 = 8;

/// What a connection has used of its route's limits.
#[derive(Debug)]
pub struct Limited {
    /// Shared by the connections of the route.
    pub limits: Rc<RouteLimits>,
    /// Whether messages for the client were dropped.
    pub has_dropped: bool,
    has_begun: bool,
    /// The last read.
    read_at: Instant,
    /// The last read that brought a message, or the 101.
    message_at: Instant,
    /// When all messages so far are paid for by the message rate.
    paid_at: Instant,
    /// When the client is sent away.
    ends_at: Option<Instant>,
    /// The Ping that nothing has followed.
    pinged_at: Option<Instant>,
    /// When to look again.
    next_look: Option<Instant>,
    /// The last look has found that the client's time is up.
    is_doubted: bool,
    /// The part of [`SPREAD`] that is the client's, in 2^32.
    spread: u32,
}

/// What the limits demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    /// A Ping.
    Ping,
    /// The client is silent since the last Ping.
    Silent,
    /// No message for too long.
    Idle,
    /// The end of its lifetime.
    Lifetime,
}

impl Limited {
    /// A client whose 101 is not written yet.
    pub fn new(limits: Rc<RouteLimits>, now: Instant) -> Self {
        Self {
            limits,
            has_dropped: false,
            has_begun: false,
            read_at: now,
            message_at: now,
            paid_at: now,
            ends_at: None,
            pinged_at: None,
            next_look: None,
            is_doubted: false,
            spread: 0,
        }
    }

    /// The client has got its 101, and that id, now or in another process. The first look is due at once.
    pub fn begin(&mut self, id: u64, now: Instant) {
        if !self.has_begun {
            // Fibonacci hashing: ids that follow each other are far apart.
            let spread = (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32;
            *self = Self { has_begun: true, spread, ..Self::new(self.limits.clone(), now) };
            self.ends_at = self.limits.max_lifetime.map(|lifetime| now + self.spread_over(lifetime));
        }
        let is_timed = |time: Option<Duration>| time.is_some_and(|time| !time.is_zero());
        let RouteLimits { ping_interval, idle_timeout, max_lifetime, .. } = *self.limits;
        self.next_look = [ping_interval, idle_timeout, max_lifetime].into_iter().any(is_timed).then_some(now);
    }

    /// The time, up to an eighth shorter.
    fn spread_over(&self, time: Duration) -> Duration {
        let part = ((time / SPREAD).as_nanos() * u128::from(self.spread)) >> 32;
        time - Duration::from_nanos(u64::try_from(part).unwrap_or(0))
    }

    /// Data has come from the client, or it has taken some.
    pub fn note_data(&mut self, now: Instant) {
        self.read_at = now;
    }

    /// A message of the last read. False: it is one too many.
    pub fn admit(&mut self) -> bool {
        self.message_at = self.read_at;
        let Some(rate) = self.limits.message_rate else { return true };
        let paid_at = self.paid_at.max(self.read_at);
        let is_allowed = paid_at <= self.read_at + credit(&rate);
        if is_allowed {
            self.paid_at = paid_at + rate.interval();
        }
        is_allowed
    }

    /// When to look again.
    pub fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// What is due now. `waits`: what the client has sent is not read yet, or not handled.
    pub fn look(&mut self, now: Instant, waits: bool) -> Due {
        if self.ends_at.is_some_and(|end| now >= end) {
            return Due::Lifetime;
        }
        let was_doubted = std::mem::take(&mut self.is_doubted);
        let (mut due, mut next) = (Due::Nothing, self.ends_at);
        let mut look_at = |time: Instant| next = Some(next.map_or(time, |next| next.min(time)));
        if let Some(timeout) = self.limits.idle_timeout {
            let end = self.message_at + timeout;
            match now < end {
                true => look_at(end),
                false if waits => look_at(now + self.shortly(timeout)),
                false if was_doubted => return Due::Idle,
                false => {
                    self.is_doubted = true;
                    look_at(now + SECOND_LOOK);
                }
            }
        }
        if let Some(interval) = self.limits.ping_interval.filter(|interval| !interval.is_zero()) {
            let patience = self.spread_over(interval);
            if now < self.read_at + patience {
                self.pinged_at = None;
                look_at(self.read_at + patience);
            } else if let Some(pinged_at) = self.pinged_at.filter(|pinged_at| *pinged_at >= self.read_at) {
                if now < pinged_at + interval {
                    look_at(pinged_at + interval);
                } else if waits {
                    look_at(now + self.shortly(interval));
                } else if was_doubted {
                    // If the client is on its way to the Ping, it has as long again.
                    self.pinged_at = Some(now);
                    due = Due::Silent;
                    look_at(now + interval);
                } else {
                    self.is_doubted = true;
                    look_at(now + SECOND_LOOK);
                }
            } else {
                self.pinged_at = Some(now);
                due = Due::Ping;
                look_at(now + interval);
            }
        }
        self.next_look = next;
        due
    }

    /// A small part of a time.
    fn shortly(&self, time: Duration) -> Duration {
        (time / 64).max(SECOND_LOOK)
    }

    /// Appends everything to `out`; times are relative to `now`.
    pub(super) fn freeze(&self, out: &mut Vec<u8>, now: Instant) {
        put_bytes(out, &serde_json::to_vec(&*self.limits).unwrap_or_default());
        out.push(u8::from(self.has_dropped));
        let before = |time: Instant| nanoseconds(now.saturating_duration_since(time));
        let after = |time: Instant| nanoseconds(time.saturating_duration_since(now));
        for time in [before(self.read_at), before(self.message_at), after(self.paid_at)] {
            out.extend_from_slice(&time.to_le_bytes());
        }
        out.extend_from_slice(&self.ends_at.map_or(0, after).to_le_bytes());
        out.extend_from_slice(&self.spread.to_le_bytes());
    }

    /// What [`Limited::freeze`] has written down. A Ping may come once more.
    pub(super) fn thaw(source: &mut Source<'_>, now: Instant) -> Result<Self, ThawError> {
        let limits: RouteLimits =
            serde_json::from_slice(source.bytes()?).map_err(|_| ThawError::Format("the limits are none"))?;
        if !is_sane(&limits) {
            return Err(ThawError::Format("the limits exceed what a route may have"));
        }
        let has_dropped = source.bool()?;
        let mut times = [Duration::ZERO; 4];
        for time in &mut times {
            *time = Duration::from_nanos(source.u64()?);
        }
        let [read, message, paid, end] = times;
        let before = |time| now.checked_sub(time).unwrap_or(now);
        let after = |time: Duration| now.checked_add(time).ok_or(ThawError::Format("a time is too long"));
        let spread = source.take(4)?.try_into().map_or(0, u32::from_le_bytes);
        Ok(Self {
            ends_at: limits.max_lifetime.map(|_| after(end)).transpose()?,
            limits: Rc::new(limits),
            has_dropped,
            has_begun: true,
            read_at: before(read),
            message_at: before(message),
            paid_at: after(paid)?,
            pinged_at: None,
            next_look: None,
            is_doubted: false,
            spread,
        })
    }
}

/// How far a client may be ahead of its message rate: so that a burst and no message more comes at once.
fn credit(rate: &MessageRate) -> Duration {
    rate.interval() * (rate.burst - 1)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether a route can have these limits.
fn is_sane(limits: &RouteLimits) -> bool {
    let year = Duration::from_secs(366 * 24 * 60 * 60);
    let is_time = |time: Option<Duration>| time.is_none_or(|time| time <= year);
    let is_end = |time: Option<Duration>| is_time(time) && time != Some(Duration::ZERO);
    let is_rate = |rate: MessageRate| rate.messages > 0 && rate.burst > 0 && is_end(Some(rate.per));
    limits.max_message.is_none_or(|size| size <= MAX_MAX_MESSAGE)
        && is_time(limits.ping_interval)
        && is_end(limits.idle_timeout)
        && is_end(limits.max_lifetime)
        && limits.message_rate.is_none_or(is_rate)
}
