//! How often clients of a worker have reached each limit, since the worker's start.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A limit on what clients may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Connections of all workers, or the limit on open files: further clients wait.
    Connections,
    /// Connections of one address.
    ConnectionsPerAddress,
    /// New connections of one address.
    ConnectionRate,
    /// Requests of one address.
    RequestRate,
    /// WebSocket handshakes of one address.
    HandshakeRate,
    /// Size of a request head, and number of its headers.
    Head,
    /// Size of a request body, and number of its chunks.
    Body,
    /// Time for a PROXY header, a TLS handshake, a request head or a body.
    HandshakeTimeout,
    /// Time between two requests.
    KeepaliveTimeout,
    /// Time for which a response is not read.
    SendTimeout,
}

impl Limit {
    /// Each limit with the key of its setting, in the order of the type.
    pub const ALL: [(Self, &str); 10] = [
        (Self::Connections, "max_connections"),
        (Self::ConnectionsPerAddress, "max_per_address"),
        (Self::ConnectionRate, "connection_rate"),
        (Self::RequestRate, "request_rate"),
        (Self::HandshakeRate, "handshake_rate"),
        (Self::Head, "max_head"),
        (Self::Body, "max_body"),
        (Self::HandshakeTimeout, "handshake_timeout"),
        (Self::KeepaliveTimeout, "keepalive_timeout"),
        (Self::SendTimeout, "send_timeout"),
    ];

    /// The key of its setting.
    pub fn key(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// A counter for each limit. Only the worker changes it.
#[repr(C)]
#[derive(Debug)]
pub struct LimitCounts([AtomicU64; Limit::ALL.len()]);

impl LimitCounts {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; Limit::ALL.len()])
    }

    /// A client has reached that limit.
    pub fn count(&self, limit: Limit) {
        let counter = &self.0[limit as usize];
        counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// How often clients have reached that limit.
    pub fn get(&self, limit: Limit) -> u64 {
        self.0[limit as usize].load(Relaxed)
    }

    pub(super) fn clear(&self) {
        self.0.iter().for_each(|counter| counter.store(0, Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_own_counter_and_key() {
        let counts = LimitCounts::new();
        for (place, (limit, key)) in Limit::ALL.into_iter().enumerate() {
            assert_eq!((limit as usize, limit.key()), (place, key));
            (0..=place).for_each(|_| counts.count(limit));
        }
        let counted: Vec<_> = Limit::ALL.iter().map(|(limit, _)| counts.get(*limit)).collect();
        assert_eq!(counted, (1..=Limit::ALL.len() as u64).collect::<Vec<_>>());
        counts.clear();
        assert!(Limit::ALL.iter().all(|(limit, _)| counts.get(*limit) == 0));
    }
}
