//! Limits that a reload changes. Each is read where it is needed, so that most of them hold from then on for all clients.
//! What was derived from a limit is derived again here.

use std::rc::Rc;

use super::Worker;
use super::address_limits::AddressLimits;
use crate::config::settings::Limits;

impl Worker {
    /// Puts limits into use.
    pub fn use_limits(&self, limits: &Limits) {
        let hub = &self.hub;
        let old = hub.limits.replace(*limits);
        if old == *limits {
            return;
        }
        self.admission.set_max(limits.max_connections);
        // Addresses keep what they have used: it is in the table of all workers.
        self.address_limits.replace(AddressLimits::new(self.info, limits).map(Rc::new));
        if old.message_timeout != limits.message_timeout {
            hub.incoming.begin_again();
        }
        if old.ping_interval != limits.ping_interval {
            hub.begin_pings();
        }
        if old.high_water != limits.high_water {
            hub.members().iter().for_each(|c| hub.set_short_path(c));
        }
        if old.close_timeout != limits.close_timeout {
            // The turns at the old deadlines stay, and do nothing.
            for c in hub.all() {
                c.endpoint.deadline(limits.close_timeout).iter().for_each(|at| hub.schedule.push_at(*at, &c));
            }
        }
        hub.limits_changed.notify_waiters();
    }
}
