//! Compression of WebSocket messages, permessage-deflate (RFC 7692), server side, without I/O.
//!
//! [`negotiate`] reads what a client offers in its handshake and answers it. A client needs no compressor of its own:
//! what a compressor remembers between two messages is the end of the plaintext, a [`Window`]. One [`Compressor`] and
//! one [`Inflater`] serve all clients of a thread, and are given the window of the client before each message.

mod offers; // the header Sec-WebSocket-Extensions, RFC 6455 section 9.1

mod negotiate; // the parameters, RFC 7692 section 7.1

mod window; // the end of the plaintext

mod compress; // section 7.2.1

mod inflate; // section 7.2.2

pub use compress::{Compressor, Method};
pub use inflate::{InflateError, Inflater};
pub use negotiate::{Agreement, Direction, Policy, negotiate};
pub use offers::Malformed;
pub use window::Window;

/// Smallest window that can be negotiated, in bits. RFC 7692 also has 8, which zlib does not implement.
pub const MIN_WINDOW_BITS: u8 = 9;
/// Largest window of DEFLATE, in bits.
pub const MAX_WINDOW_BITS: u8 = 15;

/// What a sender leaves out at the end of each message (RFC 7692 §7.2.1): the end of an empty block without compression.
const FLUSH_END: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

#[cfg(test)]
mod tests;
