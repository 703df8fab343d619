//! The record of a connection that has ended, for the access log.

use std::time::{Instant, SystemTime};

use callsign_websocket::Initiator;

use super::Worker;
use crate::client::Client;
use crate::system::access_log::{ClosedConnection, Record};

/// Status of the response that began the connection: switching protocols.
const SWITCHED: u16 = 101;

impl Worker {
    /// Records a connection that has ended, if that is wanted. What is sent to it has been written.
    pub(super) fn record(&self, c: &Client) {
        let (Some(log), Some(recorded), Some(ending)) =
            (self.access_log(), c.recorded(), c.endpoint.ending())
        else {
            return;
        };
        let [received, sent] = recorded.traffic();
        log.record(&Record {
            ended: SystemTime::now(),
            request: &recorded.note,
            status: SWITCHED,
            bytes: sent.bytes,
            duration: recorded.note.elapsed(Instant::now()),
            is_aborted: false,
            connection: Some(ClosedConnection {
                id: c.id(),
                code: ending.code,
                reason: ending.reason.to_bytes(),
                by: match ending.by {
                    Initiator::Client => "client",
                    Initiator::Server => "server",
                },
                received,
                sent,
            }),
        });
    }
}
