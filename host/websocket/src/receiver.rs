//! The receiving half of one connection: takes frames in, gives complete messages out, and reports the first
//! rule that the client breaks.
//!
//! The receiver unmasks a complete frame in place and lends its payload out of the caller's input; it copies
//! only what arrives in pieces. It writes nothing: [`super::Endpoint`] answers a PING or a CLOSE.

use std::{error, fmt, mem, str};

use super::{
    Extensions,
    frame::{Header, op},
    input::{Input, Payload},
    mask::unmask,
};

/// A message or control frame from the client. Payloads borrow from the caller's input or from the
/// [`Receiver`].
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A complete message, reassembled if it was fragmented.
    Message {
        /// [`op::TEXT`] or [`op::BINARY`].
        op: u8,
        /// Valid UTF-8 in a TEXT message. The byte behind it may be any.
        data: Payload<'a>,
    },
    /// A complete message, reassembled, whose payload is compressed (RFC 7692 §6.2). Nothing in it is checked but its
    /// size.
    Compressed {
        /// [`op::TEXT`] or [`op::BINARY`].
        op: u8,
        /// As it was sent, without the four bytes that a sender leaves out.
        data: &'a [u8],
    },
    /// The caller answers with a PONG of the same payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// An answer to a PING, or an unsolicited heartbeat; at most 125 bytes.
    Pong(&'a [u8]),
    /// The client's last frame. The receiver ignores all further input.
    Close {
        /// `None` if the frame was empty, else a code that [`super::close_code_allowed`] accepts.
        code: Option<u16>,
        /// At most 123 bytes.
        reason: &'a str,
    },
}

/// The client broke the protocol or exceeded a limit. The receiver ignores all further input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// Close code, RFC 6455 section 7.4.1: 1002 protocol error, 1007 invalid UTF-8, 1009 message too big.
    pub code: u16,
    /// Names the broken rule, for the log and the CLOSE frame.
    pub reason: &'static str,
}

impl Violation {
    pub(super) const fn protocol(reason: &'static str) -> Self {
        Violation { code: 1002, reason }
    }

    const fn utf8(reason: &'static str) -> Self {
        Violation { code: 1007, reason }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.code)
    }
}

impl error::Error for Violation {}

/// Bytes reserved for payload that has not arrived. A client can announce any length for free, so beyond this
/// the buffer grows only with received payload. 16 KiB: one allocation for all but large messages.
const HEADROOM: usize = 16 << 10;

/// The receiving half of one connection.
#[derive(Debug, Default)]
pub struct Receiver {
    pub(super) stage: Stage,
    /// The received part of an incomplete header is `partial_header[..partial_header_length]`.
    pub(super) partial_header: [u8; Header::SIZE_MAX],
    pub(super) partial_header_length: u8,
    /// FIN and opcode of the current frame, the latter with [`op::COMPRESSED`] if it begins a compressed message.
    pub(super) fin: bool,
    pub(super) op: u8,
    /// Mask of the current frame, rotated so that `mask[0]` belongs to the next payload byte.
    pub(super) mask: [u8; 4],
    /// Payload bytes of the current frame that have not arrived.
    pub(super) missing: usize,
    /// Payload of a control frame that arrives in pieces. The last event may borrow it until the next call.
    pub(super) control: Vec<u8>,
    /// Opcode of the incomplete message, with [`op::COMPRESSED`] if it is; 0 if there is none.
    pub(super) message_op: u8,
    /// Received payload of the incomplete message. The last event may borrow it until the next call.
    pub(super) message: Vec<u8>,
    /// `message[..utf8_checked]` is valid UTF-8, in a TEXT message that is not compressed.
    pub(super) utf8_checked: usize,
    /// The incomplete message or control frame has begun since [`Receiver::incomplete`] was called last.
    pub(super) is_new: bool,
}

/// A message or control frame of which a part has been received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incomplete {
    /// The first byte of its first frame has arrived since the last look.
    pub is_new: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before a header, outside a fragmented message. `control` and `message` may hold the last event's
    /// payload.
    #[default]
    Idle,
    /// Inside a header, or before one inside a fragmented message.
    Header,
    /// Before or inside a payload.
    Payload,
    /// A CLOSE or a violation was reported.
    Closed,
}

impl Receiver {
    /// A receiver for a connection whose handshake is done.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next event out of `input` and moves `input` past it, unmasking in place. Returns `None` when
    /// all of `input` is consumed; the receiver then holds heap memory only for an incomplete frame or
    /// message.
    ///
    /// `max_message` bounds a message, and [`max_sent`] one that is compressed. `extensions` are those of the handshake.
    ///
    /// # Errors
    /// The first rule that the client breaks, reported before the frame is complete where possible. After an
    /// error and after [`Received::Close`] every call discards its input and returns `None`.
    #[inline]
    pub fn next<'s>(
        &'s mut self,
        input: &'s mut Input<'_>,
        max_message: usize,
        extensions: Extensions,
    ) -> Result<Option<Received<'s>>, Violation> {
        // Fast path for most messages: one complete, unfragmented frame of at most 125 bytes. `advance` gives
        // the same result.
        if self.stage == Stage::Idle
            && let &[first @ (0x81 | 0x82), second @ 0x80..=0xFD, m0, m1, m2, m3, ref rest @ ..] = input.rest()
            && let length = usize::from(second & 0x7F)
            // `rest` ends with the spare byte.
            && length < rest.len()
            && length <= max_message
        {
            let mut data = input.take_payload(6, length);
            unmask(data.bytes(), [m0, m1, m2, m3]);
            let op = first & 0x0F;
            if op == op::TEXT && str::from_utf8(data.bytes()).is_err() {
                self.stage = Stage::Closed;
                return Err(NOT_UTF8);
            }
            return Ok(Some(Received::Message { op, data }));
        }
        self.advance(input, max_message, extensions)
    }

    /// Frees all buffers; later calls of `next` discard their input.
    pub(super) fn stop(&mut self) {
        *self = Self { stage: Stage::Closed, ..Self::default() };
    }

    /// Bytes of allocated heap memory.
    pub fn held_bytes(&self) -> usize {
        self.message.capacity() + self.control.capacity()
    }

    /// The incomplete message or control frame, if there is one.
    #[inline]
    pub fn incomplete(&mut self) -> Option<Incomplete> {
        match self.stage {
            Stage::Idle | Stage::Closed => None,
            Stage::Header | Stage::Payload => Some(Incomplete { is_new: mem::take(&mut self.is_new) }),
        }
    }

    /// [`Receiver::next`] without the fast path.
    fn advance<'s>(
        &'s mut self,
        input: &'s mut Input<'_>,
        max_message: usize,
        extensions: Extensions,
    ) -> Result<Option<Received<'s>>, Violation> {
        // Errors and Close leave the stage at `Closed`; all other returns set it.
        let mut stage = mem::replace(&mut self.stage, Stage::Closed);
        if stage != Stage::Payload {
            self.control = Vec::new();
        }
        if self.message_op == 0 || stage == Stage::Closed {
            self.message = Vec::new();
        }
        if stage == Stage::Closed {
            input.discard();
            return Ok(None);
        }
        loop {
            if stage != Stage::Payload {
                let Some(header) = self.take_header(input, extensions)? else {
                    self.stage = self.between_frames();
                    return Ok(None);
                };
                self.begin_frame(header, max_message)?;
            }

            let place = input.take(self.missing);
            let data = input.bytes(place.clone());
            unmask(data, self.mask);
            self.mask.rotate_left(data.len() % 4);
            self.missing -= data.len();
            let whole_frame = self.missing == 0;

            if self.op & op::CONTROL != 0 {
                if !whole_frame || !self.control.is_empty() {
                    self.control.extend_from_slice(data);
                }
                if !whole_frame {
                    self.stage = Stage::Payload;
                    return Ok(None);
                }
                if self.op != op::CLOSE {
                    self.stage = self.between_frames();
                }
                let payload = if self.control.is_empty() { &*input.bytes(place) } else { &self.control };
                return parse_control(self.op, payload).map(Some);
            }

            let whole_message = whole_frame && self.fin;
            if whole_message && self.message.is_empty() {
                match self.message_op {
                    op::BINARY => {}
                    op::TEXT => {
                        if str::from_utf8(data).is_err() {
                            return Err(NOT_UTF8);
                        }
                    }
                    compressed => {
                        self.message_op = 0;
                        self.stage = self.between_frames();
                        let op = compressed & !op::COMPRESSED;
                        return Ok(Some(Received::Compressed { op, data: input.bytes(place) }));
                    }
                }
                let op = mem::take(&mut self.message_op);
                self.stage = self.between_frames();
                return Ok(Some(Received::Message { op, data: input.payload(place) }));
            }
            self.append(data, whole_message)?;
            if whole_message {
                let op = mem::take(&mut self.message_op);
                self.stage = self.between_frames();
                if op & op::COMPRESSED != 0 {
                    return Ok(Some(Received::Compressed { op: op & !op::COMPRESSED, data: &self.message }));
                }
                // The byte behind the payload. `append` has made room for it, unless the payload fits exactly.
                self.message.reserve_exact(1);
                self.message.push(0);
                return Ok(Some(Received::Message { op, data: Payload::new(&mut self.message) }));
            }
            if !whole_frame {
                self.stage = Stage::Payload;
                return Ok(None);
            }
            stage = Stage::Header;
        }
    }

    /// Takes a header out of `partial_header` and `input`. If the header is still incomplete, stores all of
    /// `input` in `partial_header`.
    fn take_header(
        &mut self,
        input: &mut Input<'_>,
        extensions: Extensions,
    ) -> Result<Option<Header>, Violation> {
        let stored = usize::from(self.partial_header_length);
        if stored == 0 && self.message_op == 0 {
            self.is_new = true;
        }
        let free = &mut self.partial_header[stored..];
        let copied = free.len().min(input.rest().len() - 1);
        free[..copied].copy_from_slice(&input.rest()[..copied]);
        let header = Header::parse(&self.partial_header[..stored + copied], extensions)?;
        let (consumed, stored) = match &header {
            Some(header) => (header.size - stored, 0),
            None => (copied, stored + copied),
        };
        input.take(consumed);
        self.partial_header_length = stored as u8;
        Ok(header)
    }

    /// Makes `header` the current frame. Checks the order of fragments, RFC 6455 section 5.4, and the limit.
    fn begin_frame(&mut self, header: Header, max_message: usize) -> Result<(), Violation> {
        if header.op & op::CONTROL == 0 {
            let fragmented = self.message_op != 0;
            match header.op {
                op::CONTINUATION if !fragmented => {
                    return Err(Violation::protocol("continuation frame without a message to continue"));
                }
                op::CONTINUATION => {}
                _ if fragmented => return Err(Violation::protocol("new message inside a fragmented one")),
                _ => {
                    self.message_op = header.op;
                    self.utf8_checked = 0;
                }
            }
            let max = max_sent(self.message_op, max_message);
            if header.length > max.saturating_sub(self.message.len()) as u64 {
                return Err(Violation { code: 1009, reason: "message too big" });
            }
        }
        self.fin = header.fin;
        self.op = header.op;
        self.mask = header.mask;
        self.missing = header.length as usize; // at most 125 or max_sent
        Ok(())
    }

    /// Appends payload to the incomplete message. Text that is not compressed is validated up to the last complete
    /// character.
    fn append(&mut self, data: &[u8], last: bool) -> Result<(), Violation> {
        if data.len() > self.message.capacity() - self.message.len() {
            // One more, for the byte behind the complete message.
            let needed = data.len() + self.missing.min(HEADROOM) + 1;
            if self.fin {
                // No more than the complete message takes.
                let most = data.len() + self.missing + 1;
                self.message.reserve_exact(needed.max(self.message.len()).min(most));
            } else {
                self.message.reserve(needed);
            }
        }
        self.message.extend_from_slice(data);
        if self.message_op == op::TEXT {
            match str::from_utf8(&self.message[self.utf8_checked..]) {
                Ok(text) => self.utf8_checked += text.len(),
                // The next piece may complete the last character.
                Err(error) if error.error_len().is_none() && !last => {
                    self.utf8_checked += error.valid_up_to()
                }
                Err(_) => return Err(NOT_UTF8),
            }
        }
        Ok(())
    }

    pub(super) fn between_frames(&self) -> Stage {
        if self.partial_header_length == 0 && self.message_op == 0 { Stage::Idle } else { Stage::Header }
    }
}

/// Payload bytes of a message with that opcode, as they are sent. DEFLATE makes what it cannot compress larger, by up to
/// an eighth and some bytes; the caller bounds what is inflated.
pub(super) fn max_sent(message_op: u8, max_message: usize) -> usize {
    let growth = if message_op & op::COMPRESSED == 0 { 0 } else { max_message / 8 + 64 };
    max_message.saturating_add(growth)
}

const NOT_UTF8: Violation = Violation::utf8("text message is not UTF-8");

/// Reads the payload of a complete control frame, RFC 6455 section 5.5.
fn parse_control(op: u8, payload: &[u8]) -> Result<Received<'_>, Violation> {
    match (op, payload) {
        (op::PING, _) => Ok(Received::Ping(payload)),
        (op::PONG, _) => Ok(Received::Pong(payload)),
        (_, []) => Ok(Received::Close { code: None, reason: "" }),
        (_, [_]) => Err(Violation::protocol("close frame with half a code")),
        (_, &[high, low, ref reason @ ..]) => {
            let code = u16::from_be_bytes([high, low]);
            if !super::close_code_allowed(code) {
                return Err(Violation::protocol("close code that may not be sent"));
            }
            match str::from_utf8(reason) {
                Ok(reason) => Ok(Received::Close { code: Some(code), reason }),
                Err(_) => Err(Violation::utf8("close reason is not UTF-8")),
            }
        }
    }
}
