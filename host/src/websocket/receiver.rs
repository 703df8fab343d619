//! One connection's receiving side: frames in, whole messages out, and every rule a client can break.
//!
//! A frame that is all there is unmasked where it lies and lent out; only what arrives in pieces is copied and
//! kept. It knows nothing about sockets, nor about what is sent: answering a PING or a CLOSE is the caller's.

use std::{error, fmt, mem, str};

use super::{
    frame::{Header, op},
    mask::unmask,
};

/// What a client sent. Payloads lie in the caller's input or in the [`Receiver`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message, put together again if it was fragmented.
    Message {
        /// [`op::TEXT`] or [`op::BINARY`].
        op: u8,
        /// Valid UTF-8 in a TEXT message.
        data: &'a [u8],
    },
    /// To be answered with a PONG of the same payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// An answer to a PING, or a unidirectional heartbeat.
    Pong(&'a [u8]),
    /// The client's last frame. The receiver ignores all that follows.
    Close {
        /// Absent if the frame was empty; else one that [`super::close_code_allowed`].
        code: Option<u16>,
        /// At most 123 bytes.
        reason: &'a str,
    },
}

/// A client broke the protocol, or a limit of ours. The receiver ignores all that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// What the RFC wants it closed with: 1002 protocol error, 1007 bad UTF-8, 1009 too big.
    pub code: u16,
    /// What was wrong, for the log and the CLOSE frame.
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

/// How much room for payload is made before it arrives. What a header claims costs a client nothing, so the
/// rest of the buffer grows with what was really sent. 16 KiB: one allocation for all but large messages.
const HEADROOM: usize = 16 << 10;

/// The receiving side of one connection.
#[derive(Debug, Default)]
pub struct Receiver {
    stage: Stage,
    /// The beginning of a header that is not whole yet: `head[..head_length]`.
    head: [u8; Header::SIZE_MAX],
    head_length: u8,
    /// The frame whose payload is coming in, its mask turned to the next byte.
    fin: bool,
    op: u8,
    mask: [u8; 4],
    missing: usize,
    /// The control frame's payload, if it comes in pieces. Lent out until the next call.
    control: Vec<u8>,
    /// Opcode of the message that is open, 0 if none is.
    message_op: u8,
    /// What is there of the open message. Lent out, once whole, until the next call.
    message: Vec<u8>,
    /// So many bytes of `message` are known to be UTF-8.
    checked: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before a header, and nothing is kept. (What was lent out may still wait to be freed.)
    #[default]
    Idle,
    /// Before or inside a header.
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

    /// Takes the next event out of `input` and moves `input` past it, unmasking in place. `None`: all of
    /// `input` is used up and more is needed. No heap is held after that unless a frame or a message is
    /// incomplete.
    ///
    /// `max_message` bounds a whole message, in bytes.
    ///
    /// # Errors
    /// The first rule of RFC 6455 that the client breaks, as soon as its bytes show it. Every later call
    /// swallows its input and returns `None`, as it does after [`Event::Close`].
    #[inline]
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i mut [u8],
        max_message: usize,
    ) -> Result<Option<Event<'s>>, Violation> {
        // Nearly all messages: one short frame, all of it here. The rest of the file would do the same.
        if self.stage == Stage::Idle
            && let &mut [first @ (0x81 | 0x82), second @ 0x80..=0xFD, m0, m1, m2, m3, ref rest @ ..] = *input
            && let length = usize::from(second & 0x7F)
            && length <= rest.len().min(max_message)
        {
            let data = &mut take(input, 6 + length)[6..];
            unmask(data, [m0, m1, m2, m3]);
            let op = first & 0x0F;
            if op == op::TEXT && str::from_utf8(data).is_err() {
                self.stage = Stage::Closed;
                return Err(NOT_UTF8);
            }
            return Ok(Some(Event::Message { op, data }));
        }
        self.advance(input, max_message)
    }

    /// Bytes of heap in use: what arrived of an incomplete message or control frame, and room for more.
    pub fn held_bytes(&self) -> usize {
        self.message.capacity() + self.control.capacity()
    }

    /// [`Receiver::next`] for every case.
    fn advance<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i mut [u8],
        max_message: usize,
    ) -> Result<Option<Event<'s>>, Violation> {
        // Each way out sets the stage, except for errors and Close.
        let mut stage = mem::replace(&mut self.stage, Stage::Closed);
        if stage != Stage::Payload {
            self.control = Vec::new();
        }
        if self.message_op == 0 || stage == Stage::Closed {
            self.message = Vec::new();
        }
        if stage == Stage::Closed {
            *input = &mut [];
            return Ok(None);
        }
        loop {
            if stage != Stage::Payload {
                let Some(header) = self.take_header(input)? else {
                    self.stage = self.between_frames();
                    return Ok(None);
                };
                self.begin(header, max_message)?;
            }

            let data = take(input, self.missing);
            unmask(data, self.mask);
            self.mask.rotate_left(data.len() % 4);
            self.missing -= data.len();
            let whole_frame = self.missing == 0;

            if self.op >= op::CLOSE {
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
                let payload = if self.control.is_empty() { &*data } else { &self.control };
                return control(self.op, payload).map(Some);
            }

            let whole_message = whole_frame && self.fin;
            if whole_message && self.message.is_empty() {
                if self.message_op == op::TEXT && str::from_utf8(data).is_err() {
                    return Err(NOT_UTF8);
                }
                let op = mem::take(&mut self.message_op);
                self.stage = self.between_frames();
                return Ok(Some(Event::Message { op, data }));
            }
            self.keep(data, whole_message)?;
            if whole_message {
                let op = mem::take(&mut self.message_op);
                self.stage = self.between_frames();
                return Ok(Some(Event::Message { op, data: &self.message }));
            }
            if !whole_frame {
                self.stage = Stage::Payload;
                return Ok(None);
            }
            stage = Stage::Header;
        }
    }

    /// Moves a header out of what was kept of it and `input`; keeps what there is if that is not all.
    fn take_header(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, Violation> {
        let kept = usize::from(self.head_length);
        let room = &mut self.head[kept..];
        let fresh = room.len().min(input.len());
        room[..fresh].copy_from_slice(&input[..fresh]);
        let header = Header::parse(&self.head[..kept + fresh])?;
        let (used, kept) = match &header {
            Some(header) => (header.size - kept, 0),
            None => (fresh, kept + fresh),
        };
        take(input, used);
        self.head_length = kept as u8;
        Ok(header)
    }

    /// Begins a frame: the rules that need to know what came before, RFC 6455 section 5.4, and the limit.
    fn begin(&mut self, header: Header, max_message: usize) -> Result<(), Violation> {
        if header.op < op::CLOSE {
            let open = self.message_op != 0;
            match header.op {
                op::CONTINUATION if !open => {
                    return Err(Violation::protocol("continuation frame without a message to continue"));
                }
                op::CONTINUATION => {}
                _ if open => return Err(Violation::protocol("new message inside a fragmented one")),
                _ => {
                    self.message_op = header.op;
                    self.checked = 0;
                }
            }
            if header.length > max_message.saturating_sub(self.message.len()) as u64 {
                return Err(Violation { code: 1009, reason: "message too big" });
            }
        }
        self.fin = header.fin;
        self.op = header.op;
        self.mask = header.mask;
        self.missing = header.length as usize; // at most 125 or max_message
        Ok(())
    }

    /// Adds to the open message, and checks its UTF-8 as far as it can be checked.
    fn keep(&mut self, data: &[u8], last: bool) -> Result<(), Violation> {
        if data.len() > self.message.capacity() - self.message.len() {
            self.message.reserve(data.len() + self.missing.min(HEADROOM));
        }
        self.message.extend_from_slice(data);
        if self.message_op == op::TEXT {
            match str::from_utf8(&self.message[self.checked..]) {
                Ok(text) => self.checked += text.len(),
                // A character may end in the next piece, if there is one.
                Err(error) if error.error_len().is_none() && !last => self.checked += error.valid_up_to(),
                Err(_) => return Err(NOT_UTF8),
            }
        }
        Ok(())
    }

    fn between_frames(&self) -> Stage {
        if self.head_length == 0 && self.message_op == 0 { Stage::Idle } else { Stage::Header }
    }
}

const NOT_UTF8: Violation = Violation::utf8("text message is not UTF-8");

/// Splits off as much of the first `length` bytes as there is.
#[inline]
fn take<'i>(input: &mut &'i mut [u8], length: usize) -> &'i mut [u8] {
    let length = length.min(input.len());
    let (taken, rest) = mem::take(input).split_at_mut(length);
    *input = rest;
    taken
}

/// A whole control frame, RFC 6455 section 5.5.
fn control(op: u8, payload: &[u8]) -> Result<Event<'_>, Violation> {
    match (op, payload) {
        (op::PING, _) => Ok(Event::Ping(payload)),
        (op::PONG, _) => Ok(Event::Pong(payload)),
        (_, []) => Ok(Event::Close { code: None, reason: "" }),
        (_, [_]) => Err(Violation::protocol("close frame with half a code")),
        (_, &[high, low, ref reason @ ..]) => {
            let code = u16::from_be_bytes([high, low]);
            if !super::close_code_allowed(code) {
                return Err(Violation::protocol("close code that may not be sent"));
            }
            match str::from_utf8(reason) {
                Ok(reason) => Ok(Event::Close { code: Some(code), reason }),
                Err(_) => Err(Violation::utf8("close reason is not UTF-8")),
            }
        }
    }
}
