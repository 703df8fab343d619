//! The frame format, RFC 6455 section 5.2: reads the headers of client frames, writes server frames.
//! Bytes enter and leave; it knows nothing about messages, fragments or what came before.

use super::Violation;

/// Frame opcodes, RFC 6455 section 5.2.
pub mod op {
    /// A further fragment of the message that a TEXT or BINARY frame began.
    pub const CONTINUATION: u8 = 0;
    /// A message, or its first fragment, in UTF-8.
    pub const TEXT: u8 = 1;
    /// A message, or its first fragment, of any bytes.
    pub const BINARY: u8 = 2;
    /// The last frame of a side. From here on opcodes are control frames.
    pub const CLOSE: u8 = 8;
    /// Asks for a PONG with the same payload.
    pub const PING: u8 = 9;
    /// Answers a PING, or says unasked that its sender lives.
    pub const PONG: u8 = 10;
}

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// The most payload bytes of a control frame, and of a frame whose length fits its second byte.
const SHORT_MAX: usize = 125;

/// The header of a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The last, or only, frame of its message.
    pub fin: bool,
    /// One of [`op`].
    pub op: u8,
    /// What the payload is XORed with.
    pub mask: [u8; 4],
    /// Payload bytes.
    pub length: u64,
    /// Bytes of the header itself.
    pub size: usize,
}

impl Header {
    /// The most bytes that a header takes.
    pub const SIZE_MAX: usize = 14;

    /// Reads the header that `bytes` begin with; `None` if they end inside it.
    ///
    /// # Errors
    /// 1002 for all that is wrong whatever came before: a reserved bit or opcode, no mask, a control frame
    /// that is fragmented or longer than 125 bytes, a length of 2^63 bytes or more.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let (fin, op, short) = (first & FIN != 0, first & 0x0F, second & !MASKED);
        let control = op >= op::CLOSE;
        if first & RESERVED != 0 {
            return Err(Violation::protocol("reserved bit set, but no extension was agreed on"));
        }
        if !matches!(op, op::CONTINUATION..=op::BINARY | op::CLOSE..=op::PONG) {
            return Err(Violation::protocol("unknown opcode"));
        }
        if second & MASKED == 0 {
            return Err(Violation::protocol("client frame without a mask"));
        }
        if control && !fin {
            return Err(Violation::protocol("fragmented control frame"));
        }
        if control && usize::from(short) > SHORT_MAX {
            return Err(Violation::protocol("control frame longer than 125 bytes"));
        }
        let wide = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((length, [mask])) = rest.get(..wide + 4).map(|rest| {
            let (length, mask) = rest.split_at(wide);
            (length, mask.as_chunks::<4>().0)
        }) else {
            return Ok(None);
        };
        let length = match wide {
            0 => u64::from(short),
            _ => length.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
        };
        if length >> 63 != 0 {
            return Err(Violation::protocol("frame length of 2^63 bytes or more"));
        }
        Ok(Some(Header { fin, op, mask: *mask, length, size: 2 + wide + 4 }))
    }
}

/// The header of an unfragmented server frame with `length` bytes of payload: its bytes, and how many of
/// them count.
#[inline]
pub fn frame_header(op: u8, length: usize) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = FIN | op;
    let size = match length {
        0..=SHORT_MAX => {
            header[1] = length as u8;
            2
        }
        126..=0xFFFF => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    };
    (header, size)
}

/// Appends one unfragmented server frame to `out`. Servers do not mask, RFC 6455 section 5.1.
#[inline]
pub fn write_frame(out: &mut Vec<u8>, op: u8, payload: &[u8]) {
    out.reserve(10 + payload.len());
    if payload.len() <= SHORT_MAX {
        out.extend_from_slice(&[FIN | op, payload.len() as u8]);
    } else {
        let (header, size) = frame_header(op, payload.len());
        out.extend_from_slice(&header[..size]);
    }
    out.extend_from_slice(payload);
}

/// Appends a CLOSE frame to `out`, RFC 6455 section 5.5.1: `code`, then as many whole characters of `reason`
/// as fit in 123 bytes. Without a code the payload is empty, as a reason cannot stand alone.
pub fn write_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let Some(code) = code else { return write_frame(out, op::CLOSE, &[]) };
    let reason = cut_reason(reason);
    out.extend_from_slice(&[FIN | op::CLOSE, 2 + reason.len() as u8]);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// What a CLOSE frame can carry of a reason: as many whole characters as fit in 123 bytes.
pub fn cut_reason(reason: &str) -> &str {
    let mut length = reason.len().min(SHORT_MAX - 2);
    while !reason.is_char_boundary(length) {
        length -= 1;
    }
    &reason[..length]
}

/// Whether an endpoint may put this code into a CLOSE frame: RFC 6455 section 7.4 and IANA's registry, which
/// added 1012 to 1014. 1004 to 1006 and 1015 are reserved, 1016 to 2999 not given out yet.
///
/// tungstenite's `CloseCode::is_allowed` differs in one code: it refuses the registered 1014 (bad gateway).
pub fn close_code_allowed(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
