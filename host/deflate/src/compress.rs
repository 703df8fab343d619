//! Compresses messages (RFC 7692 §7.2.1). One compressor serves all clients of a thread.

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::{FLUSH_END, MAX_WINDOW_BITS, MIN_WINDOW_BITS};

/// What messages are compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// From 1, the fastest, to 9, the smallest result.
    pub level: u8,
    /// Bits of the window, from [`MIN_WINDOW_BITS`] to [`MAX_WINDOW_BITS`].
    pub window_bits: u8,
}

/// Compresses one message at a time. Each method in use has 140 to 380 KiB of state, whatever the number of clients.
#[derive(Debug, Default)]
pub struct Compressor {
    states: Vec<(Method, Compress)>,
    pub(crate) buffer: Vec<u8>,
}

/// Bytes of a buffer that is kept; a larger one is freed.
const BUFFER_MAX: usize = 256 * 1024;

impl Compressor {
    /// Compresses a message that may refer to the bytes of a window, which may be empty. None: the result would not be
    /// smaller than the message. Such a message is to be sent as it is, and does not enter the window.
    pub fn compress(&mut self, method: Method, window: &[u8], message: &[u8]) -> Option<&[u8]> {
        let Self { states, buffer } = self;
        if buffer.capacity() > BUFFER_MAX {
            *buffer = Vec::new();
        }
        buffer.clear();
        // What does not fit is not smaller. zlib may write its marker twice if it finds no more room than for one.
        let room = message.len() + FLUSH_END.len();
        buffer.reserve_exact(room + MARKER);
        let state = state(states, method);
        if !window.is_empty() {
            // Fails only in a compressor that is in use.
            state.set_dictionary(window).ok()?;
        }
        let mut rest = message;
        loop {
            let (before, length) = (state.total_in(), buffer.len());
            let status = state.compress_vec(rest, buffer, FlushCompress::Sync).ok()?;
            rest = &rest[(state.total_in() - before) as usize..];
            if buffer.len() >= room {
                return None;
            }
            // With room left, all of the input was used and flushed.
            if rest.is_empty() && buffer.len() < buffer.capacity() {
                break;
            }
            if status == Status::BufError || buffer.len() == length {
                return None;
            }
        }
        buffer.strip_suffix(&FLUSH_END).filter(|compressed| compressed.len() < message.len())
    }
}

/// Bytes of a marker that ends a flush.
const MARKER: usize = 6;

/// The state of a method, without a memory of earlier messages.
fn state(states: &mut Vec<(Method, Compress)>, method: Method) -> &mut Compress {
    let at = match states.iter().position(|(its, _)| *its == method) {
        Some(at) => {
            states[at].1.reset();
            at
        }
        None => {
            let level = Compression::new(u32::from(method.level.min(9)));
            let bits = method.window_bits.clamp(MIN_WINDOW_BITS, MAX_WINDOW_BITS);
            states.push((method, Compress::new_with_window_bits(level, false, bits)));
            states.len() - 1
        }
    };
    &mut states[at].1
}
