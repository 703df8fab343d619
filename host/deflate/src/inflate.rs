//! Inflates messages (RFC 7692 §7.2.2). One inflater serves all clients of a thread.
//!
//! Its input is untrusted. A message takes no more memory, and little more time, than the largest message that is
//! allowed.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use crate::{FLUSH_END, MAX_WINDOW_BITS};

/// Behind a message and [`FLUSH_END`]: an empty last block. It ends the stream if, and only if, the message is whole.
const STREAM_END: [u8; 5] = [0x01, 0x00, 0x00, 0xFF, 0xFF];
/// Bytes of the largest window.
const WINDOW_MAX: usize = 1 << MAX_WINDOW_BITS;
/// Bytes of a buffer that is kept; a larger one is freed.
const BUFFER_MAX: usize = 256 * 1024;
/// Bytes of the first room for a message.
const FIRST_ROOM: usize = 4 * 1024;

/// Most streams in a message: each costs a copy of the window. Those who end streams end one in each message or frame.
const STREAMS_MAX: usize = 256;

/// Why a message cannot be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// It is larger than allowed.
    TooBig,
    /// It is not DEFLATE, or is incomplete.
    Invalid,
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooBig => "inflated message too big",
            Self::Invalid => "compressed message is not DEFLATE",
        })
    }
}

impl std::error::Error for InflateError {}

/// Inflates one message at a time.
#[derive(Debug, Default)]
pub struct Inflater {
    state: Option<Decompress>,
    pub(crate) buffer: Vec<u8>,
}

impl Inflater {
    /// Inflates a message that may refer to the bytes of a window, which may be empty. Returns its plaintext, at most
    /// `max` bytes, and one more byte, which is 0. [`Inflater::give_back`] takes the buffer.
    pub fn inflate(&mut self, window: &[u8], message: &[u8], max: usize) -> Result<Vec<u8>, InflateError> {
        let mut output = std::mem::take(&mut self.buffer);
        output.clear();
        let result = match message {
            // Some clients send an empty message so, and not as the empty block that RFC 7692 §7.2.3.6 has.
            [] => Ok(()),
            _ => self.inflate_to(&mut output, window, message, max),
        };
        match result {
            Ok(()) => {
                output.reserve_exact(1);
                output.push(0);
                Ok(output)
            }
            Err(error) => {
                self.give_back(output);
                Err(error)
            }
        }
    }

    /// Keeps the buffer for the next message.
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= BUFFER_MAX {
            self.buffer = buffer;
        }
    }

    fn inflate_to(
        &mut self,
        output: &mut Vec<u8>,
        window: &[u8],
        message: &[u8],
        max: usize,
    ) -> Result<(), InflateError> {
        // The client's window may be smaller, also where it was not told so.
        let new = || Decompress::new_with_window_bits(false, MAX_WINDOW_BITS);
        let state = match &mut self.state {
            Some(state) => {
                state.reset(false);
                state
            }
            none => none.insert(new()),
        };
        if !window.is_empty() {
            state.set_dictionary(window).map_err(|_| InflateError::Invalid)?;
        }
        let (mut rest, mut streams) = (message, 1);
        // A block may be the last of a stream (RFC 7692 §7.2.3.4), and others may follow.
        while run(state, &mut rest, output, max)? == Stream::Ended {
            if rest.is_empty() {
                return Ok(());
            }
            if streams == STREAMS_MAX {
                return Err(InflateError::Invalid);
            }
            streams += 1;
            let of_message = &output[output.len().saturating_sub(WINDOW_MAX)..];
            let of_window = &window[window.len().saturating_sub(WINDOW_MAX - of_message.len())..];
            state.reset(false);
            state.set_dictionary(&[of_window, of_message].concat()).map_err(|_| InflateError::Invalid)?;
        }
        let mut end = &[&FLUSH_END[..], &STREAM_END].concat()[..];
        let state_at_end = run(state, &mut end, output, max)?;
        if state_at_end == Stream::Ended && end.is_empty() { Ok(()) } else { Err(InflateError::Invalid) }
    }
}

#[derive(PartialEq)]
enum Stream {
    /// All of the input was used.
    Goes,
    /// Its last block has ended.
    Ended,
}

/// Inflates until the input is used or the stream ends.
fn run(
    state: &mut Decompress,
    input: &mut &[u8],
    output: &mut Vec<u8>,
    max: usize,
) -> Result<Stream, InflateError> {
    loop {
        if output.len() == output.capacity() {
            let room = output.len().max(FIRST_ROOM).max(4 * input.len());
            // One byte more shows that the message is too large; it is also the place for the byte behind it.
            let most = (max + 1).saturating_sub(output.len());
            output.reserve_exact(room.min(most).max(1));
        }
        let (read, written) = (state.total_in(), output.len());
        let status =
            state.decompress_vec(input, output, FlushDecompress::None).map_err(|_| InflateError::Invalid)?;
        let read = (state.total_in() - read) as usize;
        *input = &input[read..];
        if output.len() > max {
            return Err(InflateError::TooBig);
        }
        if status == Status::StreamEnd {
            return Ok(Stream::Ended);
        }
        if output.len() < output.capacity() {
            if input.is_empty() {
                return Ok(Stream::Goes);
            }
            if read == 0 && output.len() == written {
                return Err(InflateError::Invalid);
            }
        }
    }
}
