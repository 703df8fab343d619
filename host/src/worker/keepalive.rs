//! Keeps connections alive, and finds clients that are gone without a word: a client that is silent for one interval
//! gets a Ping (RFC 6455 §5.5.2), one that is silent for another is dropped.

use std::collections::HashSet;

use callsign_plugin::abi::op;

use super::hub::Hub;

/// The clients that have been sent a Ping and have not answered.
#[derive(Debug, Default)]
pub struct Keepalive {
    pinged: HashSet<u64>,
}

impl Keepalive {
    /// Checks every client. Once per interval.
    pub fn sweep(&mut self, hub: &Hub) {
        let mut pinged = HashSet::new();
        for c in hub.members() {
            if c.active.replace(false) {
                continue;
            }
            if self.pinged.contains(&c.id()) {
                log::debug!("connection {} ({}): no answer to a ping; dropping it", c.id(), c.peer());
                hub.abort(&c);
            } else {
                hub.send(&c, op::PING, b"");
                pinged.insert(c.id());
            }
        }
        self.pinged = pinged;
    }
}
