//! An established session, and its sending half: data, alerts and key updates become records in a buffer of the caller.

use std::fmt;

use crate::alert::{self, Violation};
use crate::direction::Direction;
use crate::open::UPDATE_BUDGET;
use crate::suite::{Suite, Version};

/// Most bytes of data in one record (RFC 8446 §5.1).
pub const PLAINTEXT_MAX: usize = 1 << 14;
/// Most bytes of a record that a session seals: header, explicit nonce, data, content type and tag.
pub const RECORD_MAX: usize = HEADER + 8 + PLAINTEXT_MAX + 1 + TAG;

/// Length of a record's header.
pub(crate) const HEADER: usize = 5;
/// Length of a record's tag.
pub(crate) const TAG: usize = 16;

/// Content types, RFC 8446 §5.1.
pub(crate) mod content {
    pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(crate) const ALERT: u8 = 21;
    pub(crate) const HANDSHAKE: u8 = 22;
    pub(crate) const DATA: u8 = 23;
}

/// Type of the message KeyUpdate, RFC 8446 §4.6.3.
pub(crate) const KEY_UPDATE: u8 = 24;

/// The keys and counters of an established connection.
///
/// A record is counted before it is sealed, so that no later record has its nonce, whatever becomes of it.
pub struct Session {
    pub(crate) suite: Suite,
    pub(crate) sending: Direction,
    pub(crate) receiving: Direction,
    /// close_notify was sent: no record follows.
    pub(crate) close_sent: bool,
    /// close_notify was received: what follows is ignored.
    pub(crate) close_received: bool,
    /// The client has broken the protocol: nothing more is received.
    pub(crate) failed: bool,
    /// The client waits for a KeyUpdate, which precedes the next data (RFC 8446 §4.6.3).
    pub(crate) update_due: bool,
    /// Records without data since the last one with data.
    pub(crate) fruitless: u8,
    /// Records of the client that pay for its next key updates.
    pub(crate) update_budget: u16,
    /// The first bytes of a KeyUpdate that is split between records, and their number.
    pub(crate) fragment: ([u8; 4], u8),
}

/// A session cannot seal another record: close_notify was sent, or the key of TLS 1.2 has sealed as much as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the TLS session has ended, or its key may protect no more data")
    }
}

impl std::error::Error for Exhausted {}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("suite", &self.suite).finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(suite: Suite, sending: Direction, receiving: Direction) -> Self {
        Self {
            suite,
            sending,
            receiving,
            close_sent: false,
            close_received: false,
            failed: false,
            update_due: false,
            fruitless: 0,
            update_budget: UPDATE_BUDGET,
            fragment: ([0; 4], 0),
        }
    }

    /// The cipher suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Seals data as records of at most [`PLAINTEXT_MAX`] bytes each, and appends them to `out`. The data are the
    /// pieces one after the other, at most `most` bytes. Returns how many bytes of data are sealed: these are never to be
    /// sealed again.
    ///
    /// # Errors
    /// The session cannot seal anything.
    pub fn seal<'p>(
        &mut self,
        pieces: impl IntoIterator<Item = &'p [u8]>,
        most: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, Exhausted> {
        let mut pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
        let (mut piece, mut sealed) = (pieces.next().unwrap_or_default(), 0);
        while !piece.is_empty() && sealed < most {
            match self.prepare_key(out) {
                Err(Exhausted) if sealed > 0 => break,
                prepared => prepared?,
            }
            let at = self.begin(out);
            let mut room = PLAINTEXT_MAX.min(most - sealed);
            while room > 0 && !piece.is_empty() {
                let (taken, rest) = piece.split_at(room.min(piece.len()));
                out.extend_from_slice(taken);
                room -= taken.len();
                sealed += taken.len();
                piece = if rest.is_empty() { pieces.next().unwrap_or_default() } else { rest };
            }
            self.finish(content::DATA, out, at)?;
        }
        Ok(sealed)
    }

    /// How many bytes [`Session::seal`] makes of so much data, if it gets all of it at once.
    pub fn sealed_length(&self, data: usize) -> usize {
        let content_type = usize::from(self.suite.version() == Version::Tls13);
        let more = HEADER + self.suite.explicit_nonce() + content_type + TAG;
        data.saturating_add(data.div_ceil(PLAINTEXT_MAX).saturating_mul(more))
    }

    /// Whether the key has sealed nearly as much as it may, and cannot be replaced: TLS 1.2 has no key updates. The 64th
    /// part that is left is for what is on its way to the client, and a goodbye.
    pub fn is_worn(&self) -> bool {
        let max = self.suite.blocks_max();
        self.suite.version() == Version::Tls12 && self.sending.blocks >= max - max / 64
    }

    /// Appends a close_notify, once.
    pub fn seal_close(&mut self, out: &mut Vec<u8>) {
        self.seal_last([alert::WARNING, alert::CLOSE_NOTIFY], out);
    }

    /// Appends the alert that ends the session for that reason, unless the session has ended.
    pub fn seal_violation(&mut self, violation: Violation, out: &mut Vec<u8>) {
        // RFC 5246 §7.2.2: always a warning.
        let is_warning = violation.alert == alert::NO_RENEGOTIATION;
        let level = if is_warning { alert::WARNING } else { alert::FATAL };
        self.seal_last([level, violation.alert], out);
    }

    /// Whether nothing more can be sealed, because an alert has ended the session.
    pub fn is_closed(&self) -> bool {
        self.close_sent
    }

    fn seal_last(&mut self, alert: [u8; 2], out: &mut Vec<u8>) {
        if !self.close_sent {
            let at = self.begin(out);
            out.extend_from_slice(&alert);
            // An alert that cannot be sealed is not sent.
            let _ = self.finish(content::ALERT, out, at);
            self.close_sent = true;
        }
    }

    /// Sends the KeyUpdate that the client waits for, or that a key needs which has sealed as much as it may.
    #[inline]
    fn prepare_key(&mut self, out: &mut Vec<u8>) -> Result<(), Exhausted> {
        // One record more fits under the limit: the KeyUpdate, or a last alert.
        let is_used = self.sending.counter + 1 >= self.suite.records_max();
        if self.close_sent || self.update_due || is_used || self.sending.blocks >= self.suite.blocks_max() {
            return self.replace_key(out);
        }
        Ok(())
    }

    #[cold]
    fn replace_key(&mut self, out: &mut Vec<u8>) -> Result<(), Exhausted> {
        if self.close_sent || self.suite.version() == Version::Tls12 {
            return Err(Exhausted);
        }
        let at = self.begin(out);
        // KeyUpdate with update_not_requested: the client's key is as old as the client wants it to be.
        out.extend_from_slice(&[KEY_UPDATE, 0, 0, 1, 0]);
        self.finish(content::HANDSHAKE, out, at)?;
        self.update_due = false;
        self.sending.update(self.suite).map_err(|_| {
            self.close_sent = true;
            Exhausted
        })
    }

    /// Leaves room for what precedes the data of a record. Returns where the record begins.
    #[inline]
    pub(crate) fn begin(&self, out: &mut Vec<u8>) -> usize {
        let at = out.len();
        out.extend_from_slice(&[0; HEADER + 8][..HEADER + self.suite.explicit_nonce()]);
        at
    }

    /// Makes a record of what lies behind the room that [`Session::begin`] has left.
    #[inline]
    pub(crate) fn finish(&mut self, content: u8, out: &mut Vec<u8>, at: usize) -> Result<(), Exhausted> {
        let counter = self.sending.counter;
        // Before anything is sealed with it.
        self.sending.counter += 1;
        let nonce = self.sending.nonce(counter);
        let data = at + HEADER + self.suite.explicit_nonce();
        let length = out.len() - data;
        self.sending.blocks += length as u64 / 16 + 2;
        let tag = match self.suite.version() {
            Version::Tls13 => {
                out.push(content);
                let header = header(content::DATA, length + 1 + TAG);
                out[at..at + HEADER].copy_from_slice(&header);
                self.sending.seal(nonce, &header, &mut out[data..])
            }
            Version::Tls12 => {
                let header = header(content, data - at - HEADER + length + TAG);
                out[at..at + HEADER].copy_from_slice(&header);
                out[at + HEADER..data].copy_from_slice(&nonce[4..][..data - at - HEADER]);
                self.sending.seal(nonce, &tls12_aad(counter, &header, length), &mut out[data..])
            }
        };
        match tag {
            Ok(tag) => {
                out.extend_from_slice(tag.as_ref());
                Ok(())
            }
            Err(_) => {
                // Nothing that is not encrypted leaves.
                out.truncate(at);
                self.close_sent = true;
                Err(Exhausted)
            }
        }
    }
}

#[inline]
fn header(content: u8, length: usize) -> [u8; HEADER] {
    let [high, low] = (length as u16).to_be_bytes();
    [content, 3, 3, high, low]
}

/// What a record of TLS 1.2 authenticates besides its data, RFC 5246 §6.2.3.3.
#[inline]
pub(crate) fn tls12_aad(counter: u64, header: &[u8; HEADER], length: usize) -> [u8; 13] {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&counter.to_be_bytes());
    aad[8..11].copy_from_slice(&header[..3]);
    aad[11..].copy_from_slice(&(length as u16).to_be_bytes());
    aad
}
