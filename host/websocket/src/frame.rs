//! The frame format, RFC 6455 section 5.2: reads the headers of client frames, writes server frames. Nothing
//! here depends on earlier frames; `receiver` checks the rules between frames.

use super::{Extensions, Violation};

/// Frame opcodes, RFC 6455 section 5.2.
pub mod op {
    /// A later fragment of a message that a TEXT or BINARY frame began.
    pub const CONTINUATION: u8 = 0;
    /// A UTF-8 message, or its first fragment.
    pub const TEXT: u8 = 1;
    /// A message of any bytes, or its first fragment.
    pub const BINARY: u8 = 2;
    /// The last frame that an endpoint sends. The lowest opcode of a control frame.
    pub const CLOSE: u8 = 8;
    /// Requests a PONG with the same payload.
    pub const PING: u8 = 9;
    /// Answers a PING, or is an unsolicited heartbeat.
    pub const PONG: u8 = 10;

    /// Added to TEXT or BINARY: the payload is compressed. It is the bit RSV1 of the frame's first byte, RFC 7692
    /// section 6.
    pub const COMPRESSED: u8 = 0x40;
    /// Set in the opcodes of control frames alone.
    pub(crate) const CONTROL: u8 = 0x08;

    /// Largest payload of a control frame in bytes, RFC 6455 section 5.5.
    pub const CONTROL_MAX: usize = 125;
}

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// Largest payload length that the second header byte can hold. 126 and 127 announce 2 and 8 bytes of length.
const SHORT_MAX: usize = 125;

/// The header of a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Set in the last or only frame of a message.
    pub fin: bool,
    /// One of [`op`], with [`op::COMPRESSED`] if the frame begins a compressed message.
    pub op: u8,
    /// Key that the payload is XORed with.
    pub mask: [u8; 4],
    /// Payload length in bytes.
    pub length: u64,
    /// Length of the header in bytes.
    pub size: usize,
}

impl Header {
    /// Length of the longest header in bytes.
    pub const SIZE_MAX: usize = 14;

    /// Reads the header at the start of `bytes`; `None` if the header is incomplete. `extensions` decides which
    /// reserved bits may be set.
    ///
    /// # Errors
    /// 1002 for a reserved bit that no extension allows in this frame, a reserved opcode, a missing mask, a control frame
    /// that is fragmented or longer than 125 bytes, a length of 2^63 bytes or more, or a length that is not in its
    /// shortest form.
    pub fn parse(bytes: &[u8], extensions: Extensions) -> Result<Option<Self>, Violation> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        let (fin, mut op, length_code) = (first & FIN != 0, first & 0x0F, second & !MASKED);
        let control = op >= op::CLOSE;
        if first & RESERVED != 0 {
            if !extensions.deflate {
                return Err(Violation::protocol("reserved bit set, but no extension was agreed on"));
            }
            if first & RESERVED != op::COMPRESSED || !matches!(op, op::TEXT | op::BINARY) {
                return Err(Violation::protocol(
                    "reserved bit set that the extension does not use in this frame",
                ));
            }
            op |= op::COMPRESSED;
        } else if !matches!(op, op::CONTINUATION..=op::BINARY | op::CLOSE..=op::PONG) {
            return Err(Violation::protocol("unknown opcode"));
        }
        if second & MASKED == 0 {
            return Err(Violation::protocol("client frame without a mask"));
        }
        if control && !fin {
            return Err(Violation::protocol("fragmented control frame"));
        }
        if control && usize::from(length_code) > SHORT_MAX {
            return Err(Violation::protocol("control frame longer than 125 bytes"));
        }
        let length_size = match length_code {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((length, [mask])) = rest.get(..length_size + 4).map(|rest| {
            let (length, mask) = rest.split_at(length_size);
            (length, mask.as_chunks::<4>().0)
        }) else {
            return Ok(None);
        };
        let length = match length_size {
            0 => u64::from(length_code),
            _ => length.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
        };
        if length >> 63 != 0 {
            return Err(Violation::protocol("frame length of 2^63 bytes or more"));
        }
        let shortest = match length_size {
            0 => 0,
            2 => SHORT_MAX as u64 + 1,
            _ => 0x1_0000,
        };
        if length < shortest {
            return Err(Violation::protocol("frame length is not in its shortest form"));
        }
        Ok(Some(Header { fin, op, mask: *mask, length, size: 2 + length_size + 4 }))
    }
}

/// The header of an unfragmented server frame with `length` bytes of payload, and the size of the header.
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

/// Appends one unfragmented server frame to `out`. Servers do not mask, RFC 6455 section 5.1. `op` may have
/// [`op::COMPRESSED`] if `payload` is compressed.
#[inline]
pub fn write_frame(out: &mut Vec<u8>, op: u8, payload: &[u8]) {
    if payload.len() > SHORT_MAX {
        return write_long_frame(out, op, payload);
    }
    out.extend_from_slice(&[FIN | op, payload.len() as u8]);
    out.extend_from_slice(payload);
}

#[inline(never)]
fn write_long_frame(out: &mut Vec<u8>, op: u8, payload: &[u8]) {
    let (header, size) = frame_header(op, payload.len());
    out.reserve(size + payload.len());
    out.extend_from_slice(&header[..size]);
    out.extend_from_slice(payload);
}

/// Length of the server frame at the start of `bytes`, header included, of which not all needs to be there; `None`
/// if the header is incomplete.
pub fn server_frame_length(bytes: &[u8]) -> Option<usize> {
    let &[_, short, ref rest @ ..] = bytes else { return None };
    let (size, payload) = match short & !MASKED {
        126 => (4, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*rest.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    Some(usize::try_from(payload).unwrap_or(usize::MAX).saturating_add(size))
}

/// Appends a CLOSE frame to `out`, RFC 6455 section 5.5.1, with `code` and the truncated `reason`. Without a
/// code the payload is empty, because a reason can only follow a code.
pub fn write_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let Some(code) = code else { return write_frame(out, op::CLOSE, &[]) };
    let reason = truncate_reason(reason);
    out.extend_from_slice(&[FIN | op::CLOSE, 2 + reason.len() as u8]);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Truncates `reason` between characters to the 123 bytes that a CLOSE frame can carry.
pub fn truncate_reason(reason: &str) -> &str {
    let mut length = reason.len().min(SHORT_MAX - 2);
    while !reason.is_char_boundary(length) {
        length -= 1;
    }
    &reason[..length]
}

/// Whether a CLOSE frame may carry `code`, by RFC 6455 section 7.4 and IANA's registry, which added 1012 to
/// 1014. 1004 to 1006 and 1015 are reserved, 1016 to 2999 are unassigned.
///
/// tungstenite's `CloseCode::is_allowed` differs in one code: it rejects the registered 1014 (bad gateway).
pub fn close_code_allowed(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
