//! An endpoint as bytes, to continue in another process.
//!
//! `restore` trusts none of the bytes: it validates lengths, opcodes, codes and UTF-8 as if the client had
//! sent them, and rejects states that no endpoint can reach. Numbers are little-endian; a byte string is its
//! length in eight bytes, then its bytes. The fields in order:
//!
//! - version 2, 1 if permessage-deflate was negotiated or 0, state 0 to 2 (open, closing, closed);
//! - closing and closed: code in 2 bytes, 1 if the client ended it or 0, reason as a byte string;
//! - open and closing: 1 inside a payload, else 0;
//!   - inside a payload: FIN 0 or 1, opcode (plus 0x40 if the frame begins a compressed message), mask turned to the
//!     next byte in 4 bytes, missing payload in 8 bytes, payload of a control frame as a byte string;
//!   - else: length of an incomplete header in 1 byte, its bytes;
//! - open and closing: opcode of the incomplete message (plus 0x40 if it is compressed) or 0, then, if not 0, its
//!   payload as a byte string.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::CString;
use std::fmt;
use std::time::Instant;

use super::endpoint::{Ending, Endpoint, Extensions, Initiator, NO_CLOSE, NO_CODE, State};
use super::frame::{Header, close_code_allowed, op, truncate_reason};
use super::receiver::{Receiver, Stage, max_sent};

/// Version of the format that [`Endpoint::snapshot`] writes and [`Endpoint::restore`] reads.
const VERSION: u8 = 2;

const COMPRESSED_TEXT: u8 = op::TEXT | op::COMPRESSED;
const COMPRESSED_BINARY: u8 = op::BINARY | op::COMPRESSED;

/// Says why the bytes are not a valid snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotError(pub &'static str);

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for SnapshotError {}

/// Reads numbers and byte strings from the front of a snapshot.
#[derive(Debug)]
pub struct Source<'s>(pub &'s [u8]);

impl<'s> Source<'s> {
    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Result<&'s [u8], SnapshotError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, SnapshotError> {
        self.array().map(u8::from_le_bytes)
    }

    /// The next byte, which must be 0 or 1.
    pub fn bool(&mut self) -> Result<bool, SnapshotError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(SnapshotError("a flag is neither 0 nor 1")),
        }
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Result<u16, SnapshotError> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Result<u64, SnapshotError> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next byte string: its length in eight bytes, then its bytes.
    pub fn bytes(&mut self) -> Result<&'s [u8], SnapshotError> {
        let length = usize::try_from(self.u64()?).map_err(|_| TOO_SHORT)?;
        self.take(length)
    }
}

const TOO_SHORT: SnapshotError = SnapshotError("the snapshot is truncated");

/// Appends a byte string as [`Source::bytes`] reads it.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

impl Endpoint {
    /// Appends all of the endpoint's state to `out`.
    ///
    /// # Panics
    /// [`Endpoint::receive`] is running.
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        let Extensions { deflate } = self.extensions();
        out.extend_from_slice(&[VERSION, u8::from(deflate)]);
        out.push(match self.state() {
            State::Open => 0,
            State::Closing => 1,
            State::Closed => 2,
        });
        if let Some(Ending { code, reason, by, at: _ }) = self.ending() {
            out.extend_from_slice(&code.to_le_bytes());
            out.push(u8::from(*by == Initiator::Client));
            put_bytes(out, reason.as_bytes());
        }
        let receiver = self.receiver.borrow();
        if self.state() != State::Closed {
            receiver.snapshot(out);
        }
    }

    /// Reads an endpoint from the front of `source`. `max_message` bounds the incomplete message, in bytes,
    /// as in [`Endpoint::receive`].
    /// The time to close starts again at `now` if the endpoint is closing.
    ///
    /// # Errors
    /// Says what is wrong with the bytes.
    pub fn restore(source: &mut Source<'_>, max_message: usize, now: Instant) -> Result<Self, SnapshotError> {
        if source.u8()? != VERSION {
            return Err(SnapshotError("the endpoint has another version"));
        }
        let extensions = Extensions { deflate: source.bool()? };
        let state = match source.u8()? {
            0 => State::Open,
            1 => State::Closing,
            2 => State::Closed,
            _ => return Err(SnapshotError("unknown state of an endpoint")),
        };
        let ending = match state {
            State::Open => OnceCell::new(),
            State::Closing | State::Closed => OnceCell::from(Box::new(Ending::restore(source, state, now)?)),
        };
        let receiver = match state {
            State::Open | State::Closing => Receiver::restore(source, max_message, extensions)?,
            State::Closed => Receiver { stage: Stage::Closed, ..Receiver::default() },
        };
        let (receiver, state) = (RefCell::new(receiver), Cell::new(state));
        Ok(Self { receiver, state, extensions: Cell::new(extensions), ending })
    }
}

impl Ending {
    fn restore(source: &mut Source<'_>, state: State, at: Instant) -> Result<Self, SnapshotError> {
        let code = source.u16()?;
        let by = if source.bool()? { Initiator::Client } else { Initiator::Server };
        let possible = match code {
            NO_CODE => true,
            NO_CLOSE => by == Initiator::Client,
            _ => close_code_allowed(code),
        };
        if !possible || (state == State::Closing && by == Initiator::Client) {
            return Err(SnapshotError("impossible ending of an endpoint"));
        }
        let reason = str::from_utf8(source.bytes()?)
            .ok()
            .filter(|&reason| truncate_reason(reason) == reason)
            .and_then(|reason| CString::new(reason).ok())
            .ok_or(SnapshotError("impossible close reason"))?;
        Ok(Self { code, reason, by, at })
    }
}

impl Receiver {
    /// The receiver has not stopped.
    fn snapshot(&self, out: &mut Vec<u8>) {
        let in_payload = self.stage == Stage::Payload;
        out.push(u8::from(in_payload));
        if in_payload {
            out.extend_from_slice(&[u8::from(self.fin), self.op]);
            out.extend_from_slice(&self.mask);
            out.extend_from_slice(&(self.missing as u64).to_le_bytes());
            put_bytes(out, &self.control);
        } else {
            out.push(self.partial_header_length);
            out.extend_from_slice(&self.partial_header[..usize::from(self.partial_header_length)]);
        }
        out.push(self.message_op);
        if self.message_op != 0 {
            put_bytes(out, &self.message);
        }
    }

    fn restore(
        source: &mut Source<'_>,
        max_message: usize,
        extensions: Extensions,
    ) -> Result<Self, SnapshotError> {
        let mut receiver = Self::default();
        let in_payload = source.bool()?;
        if in_payload {
            receiver.fin = source.bool()?;
            receiver.op = source.u8()?;
            receiver.mask = source.array()?;
            receiver.missing = usize::try_from(source.u64()?).unwrap_or(usize::MAX);
            receiver.control = source.bytes()?.to_vec();
        } else {
            receiver.partial_header_length = source.u8()?;
            let head = receiver.partial_header.get_mut(..usize::from(receiver.partial_header_length));
            let head = head.ok_or(SnapshotError("impossible frame header"))?;
            head.copy_from_slice(source.take(head.len())?);
            // The receiver takes a complete header out at once.
            if !matches!(Header::parse(head, extensions), Ok(None)) {
                return Err(SnapshotError("impossible frame header"));
            }
        }
        receiver.message_op = source.u8()?;
        receiver.message = match receiver.message_op {
            0 => Vec::new(),
            op::TEXT | op::BINARY => source.bytes()?.to_vec(),
            COMPRESSED_TEXT | COMPRESSED_BINARY if extensions.deflate => source.bytes()?.to_vec(),
            _ => return Err(SnapshotError("impossible opcode of a message")),
        };
        let max_sent = max_sent(receiver.message_op, max_message);
        if in_payload && !receiver.payload_is_possible(max_sent) {
            return Err(SnapshotError("impossible frame"));
        }
        if receiver.message.len() > max_sent {
            return Err(SnapshotError("a message is larger than allowed"));
        }
        if receiver.message_op == op::TEXT {
            receiver.utf8_checked = match str::from_utf8(&receiver.message) {
                Ok(text) => text.len(),
                // A later fragment may complete the last character.
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(_) => return Err(SnapshotError("a text message is not UTF-8")),
            };
        }
        // The next process measures the time of the message anew.
        receiver.is_new = true;
        receiver.stage = if in_payload { Stage::Payload } else { receiver.between_frames() };
        Ok(receiver)
    }

    /// Whether a receiver inside a payload can reach this state under RFC 6455 §5.4 and §5.5 and the limit.
    fn payload_is_possible(&self, max_sent: usize) -> bool {
        let possible = match self.op {
            op::CONTINUATION | op::TEXT | op::BINARY | COMPRESSED_TEXT | COMPRESSED_BINARY => {
                self.message_op != 0
                    && (self.op == op::CONTINUATION || self.op == self.message_op)
                    && self.control.is_empty()
                    && self.missing <= max_sent.saturating_sub(self.message.len())
            }
            op::CLOSE | op::PING | op::PONG => {
                self.fin && self.missing.saturating_add(self.control.len()) <= op::CONTROL_MAX
            }
            _ => false,
        };
        possible && self.missing > 0
    }
}
