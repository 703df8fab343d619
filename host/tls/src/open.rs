//! The receiving half of a session: records in a buffer of the caller become data at its start.

use std::ops::Range;

use crate::alert::{self, Violation};
use crate::session::{HEADER, KEY_UPDATE, PLAINTEXT_MAX, Session, TAG, content, tls12_aad};
use crate::suite::Version;

/// Records without data that a client may send in a row: alerts, key updates, empty records.
const FRUITLESS_MAX: u8 = 32;
/// Records of the client that pay for one of its key updates: deriving a key costs as much as opening several small records.
const UPDATE_COST: u16 = 64;
/// Most records that pay for later key updates, and what a session begins with.
pub(crate) const UPDATE_BUDGET: u16 = 32 * UPDATE_COST;

/// Result of [`Session::open`].
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of data at the start of the buffer.
    pub length: usize,
    /// Where the incomplete record at the end of the buffer is. Its bytes come first in the next call.
    pub rest: Range<usize>,
    /// Set when nothing follows the data.
    pub end: Option<End>,
}

/// Why no more data comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client has sent a close_notify.
    Closed,
    /// The client has ended the session with another alert, of that number.
    Alert(u8),
    /// The client has broken the protocol, or its bytes were changed on their way.
    Violation(Violation),
}

/// What a record is to its session.
enum Received {
    Data(usize),
    Nothing,
    End(End),
}

impl Session {
    /// Opens the records in `buffer`. Their data lies at the start of `buffer` afterwards, in one piece: each record is
    /// decrypted to its place. The byte behind the data is free unless the buffer begins with an incomplete record.
    ///
    /// After an end, every call reports an end and no data.
    pub fn open(&mut self, buffer: &mut [u8]) -> Opened {
        let (mut length, mut at) = (0, 0);
        let end = loop {
            if self.failed {
                break Some(End::Violation(FAILED));
            }
            if self.close_received {
                break Some(End::Closed);
            }
            let Some(header) = buffer[at..].first_chunk::<HEADER>().copied() else { break None };
            let size = match self.check_header(&header) {
                Ok(size) => HEADER + size,
                Err(violation) => break Some(self.fail(violation)),
            };
            if buffer.len() - at < size {
                break None;
            }
            let record = &mut buffer[length..at + size];
            match self.open_record(header, record, at - length) {
                Ok(Received::Data(more)) => length += more,
                Ok(Received::Nothing) => {}
                Ok(Received::End(end)) => break Some(end),
                Err(violation) => break Some(self.fail(violation)),
            }
            at += size;
        };
        let rest = if end.is_some() { buffer.len()..buffer.len() } else { at..buffer.len() };
        Opened { length, rest, end }
    }

    fn fail(&mut self, violation: Violation) -> End {
        self.failed = true;
        End::Violation(violation)
    }

    /// Returns the length of what follows the header. An impossible length is rejected before its bytes are there.
    #[inline]
    fn check_header(&self, header: &[u8; HEADER]) -> Result<usize, Violation> {
        let [kind, major, minor, high, low] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        // The content type of TLS 1.3 is encrypted, RFC 8446 §5.2.
        let (is_known, least, most) = match self.suite.version() {
            Version::Tls13 => (kind == content::DATA, TAG + 1, PLAINTEXT_MAX + 256),
            Version::Tls12 => {
                let extra = self.suite.explicit_nonce() + TAG;
                (matches!(kind, content::ALERT..=content::DATA), extra, PLAINTEXT_MAX + extra)
            }
        };
        if !is_known {
            return Err(Violation::new(alert::UNEXPECTED_MESSAGE, "a record has an unexpected type"));
        }
        if [major, minor] != [3, 3] {
            return Err(Violation::new(alert::PROTOCOL_VERSION, "a record has another version of TLS"));
        }
        if length > most {
            return Err(Violation::new(alert::RECORD_OVERFLOW, "a record is too large"));
        }
        if length < least {
            return Err(Violation::new(alert::BAD_RECORD_MAC, "a record is too short"));
        }
        Ok(length)
    }

    /// Opens the record that begins at `from` and ends `bytes`; its content moves to the start of `bytes`.
    #[inline]
    fn open_record(
        &mut self,
        header: [u8; HEADER],
        bytes: &mut [u8],
        from: usize,
    ) -> Result<Received, Violation> {
        let counter = self.receiving.counter;
        let begin = from + HEADER;
        let (kind, length) = match self.suite.version() {
            Version::Tls13 => {
                let nonce = self.receiving.nonce(counter);
                let inner = self.receiving.open(nonce, &header, bytes, begin).map_err(|_| BAD_MAC)?;
                unpad(&bytes[..inner])?
            }
            Version::Tls12 => {
                let (explicit, mut nonce) = (self.suite.explicit_nonce(), self.receiving.nonce(counter));
                if explicit > 0 {
                    nonce[..4].copy_from_slice(&self.receiving.iv[..4]);
                    nonce[4..].copy_from_slice(&bytes[begin..][..explicit]);
                }
                let aad = tls12_aad(counter, &header, bytes.len() - begin - explicit - TAG);
                let length = self.receiving.open(nonce, &aad, bytes, begin + explicit);
                (header[0], length.map_err(|_| BAD_MAC)?)
            }
        };
        // A counter never wraps: it would take longer than any connection lasts.
        self.receiving.counter = counter.wrapping_add(1);
        if kind == content::DATA && length > 0 && self.fragment.1 == 0 {
            self.fruitless = 0;
            return Ok(Received::Data(length));
        }
        self.receive_control(kind, &bytes[..length])
    }

    #[cold]
    fn receive_control(&mut self, kind: u8, bytes: &[u8]) -> Result<Received, Violation> {
        self.fruitless = self.fruitless.saturating_add(1);
        if self.fruitless > FRUITLESS_MAX {
            return Err(unexpected("too many records without data"));
        }
        if self.fragment.1 > 0 && kind != content::HANDSHAKE {
            return Err(unexpected("a record lies between the parts of a handshake message"));
        }
        match kind {
            content::DATA => Ok(Received::Nothing),
            content::ALERT => self.receive_alert(bytes),
            content::HANDSHAKE => self.receive_handshake(bytes).map(|()| Received::Nothing),
            content::CHANGE_CIPHER_SPEC => Err(unexpected("a ChangeCipherSpec follows the handshake")),
            _ => Err(unexpected("a record has an unexpected type")),
        }
    }

    /// RFC 8446 §6: an alert is one record of its own.
    fn receive_alert(&mut self, bytes: &[u8]) -> Result<Received, Violation> {
        let [level, description] = *bytes else {
            return Err(Violation::new(alert::DECODE_ERROR, "an alert has another length than two bytes"));
        };
        let is_warning = match self.suite.version() {
            Version::Tls13 => description == alert::USER_CANCELED,
            Version::Tls12 => level == alert::WARNING,
        };
        match description {
            alert::CLOSE_NOTIFY => {
                self.close_received = true;
                Ok(Received::End(End::Closed))
            }
            _ if is_warning => Ok(Received::Nothing),
            _ => {
                self.failed = true;
                // The client has ended the session and reads nothing more.
                self.close_sent = true;
                Ok(Received::End(End::Alert(description)))
            }
        }
    }

    /// The only message that a client may send after its handshake is a KeyUpdate, RFC 8446 §4.6.3. It ends its record,
    /// because the next one has another key (RFC 8446 §5.1). It may begin in an earlier record.
    fn receive_handshake(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        if self.suite.version() == Version::Tls12 {
            return Err(Violation::new(alert::NO_RENEGOTIATION, "the client wants to renegotiate"));
        }
        if bytes.is_empty() {
            return Err(unexpected("a handshake record is empty"));
        }
        let (stored, count) = (self.fragment.0, usize::from(self.fragment.1));
        let mut message = [0; 5];
        message[..count].copy_from_slice(&stored[..count]);
        let total = count + bytes.len();
        let Some(place) = message.get_mut(count..total) else {
            return Err(unexpected("a handshake message follows the handshake, or more than a KeyUpdate"));
        };
        place.copy_from_slice(bytes);
        // As far as it has arrived.
        let is_update = message[..total.min(4)] == [KEY_UPDATE, 0, 0, 1][..total.min(4)];
        if !is_update {
            return Err(unexpected("a handshake message follows the handshake that is no KeyUpdate"));
        }
        if total < message.len() {
            let mut part = [0; 4];
            part.copy_from_slice(&message[..4]);
            self.fragment = (part, total as u8);
            return Ok(());
        }
        self.fragment.1 = 0;
        match message[4] {
            0 => {}
            // Several of them get one answer.
            1 => self.update_due = true,
            _ => {
                return Err(Violation::new(
                    alert::ILLEGAL_PARAMETER,
                    "a KeyUpdate asks for something unknown",
                ));
            }
        }
        // Counts on its own, because data between key updates would make any number of them permissible.
        let records = self.receiving.counter.min(u64::from(UPDATE_BUDGET)) as u16;
        let budget = (self.update_budget + records).min(UPDATE_BUDGET);
        self.update_budget = budget.checked_sub(UPDATE_COST).ok_or(unexpected("too many key updates"))?;
        let updated = self.receiving.update(self.suite);
        updated.map_err(|_| Violation::new(alert::INTERNAL_ERROR, "the next key cannot be derived"))
    }
}

const FAILED: Violation = unexpected("the session has failed before");
const BAD_MAC: Violation =
    Violation::new(alert::BAD_RECORD_MAC, "a record was changed on its way, or sealed with another key");

const fn unexpected(reason: &'static str) -> Violation {
    Violation::new(alert::UNEXPECTED_MESSAGE, reason)
}

/// Type and length of the content in a record of TLS 1.3, without its padding (RFC 8446 §5.4).
#[inline]
fn unpad(inner: &[u8]) -> Result<(u8, usize), Violation> {
    if inner.len() > PLAINTEXT_MAX + 1 {
        return Err(Violation::new(alert::RECORD_OVERFLOW, "a record is too large"));
    }
    match inner.iter().rposition(|byte| *byte != 0) {
        Some(length) => Ok((inner[length], length)),
        None => Err(unexpected("a record has no content type")),
    }
}
