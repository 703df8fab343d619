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
        self.compress_within(bound(message.len()), method, window, message)
    }

    /// As [`Compressor::compress`], with room for that many bytes of output.
    ///
    /// A state of zlib that still has output to write cannot be used again: `reset` does not forget all of it. Such a
    /// state is dropped.
    pub(crate) fn compress_within(
        &mut self,
        room: usize,
        method: Method,
        window: &[u8],
        message: &[u8],
    ) -> Option<&[u8]> {
        let Self { states, buffer } = self;
        if buffer.capacity() > BUFFER_MAX {
            *buffer = Vec::new();
        }
        buffer.clear();
        buffer.reserve_exact(room);
        let at = state(states, method);
        if write_all(&mut states[at].1, window, message, buffer).is_none() {
            states.swap_remove(at);
            return None;
        }
        buffer.strip_suffix(&FLUSH_END).filter(|compressed| compressed.len() < message.len())
    }

    /// How many methods have a state.
    #[cfg(test)]
    pub(crate) fn methods(&self) -> usize {
        self.states.len()
    }
}

/// More than zlib writes for a message: nine bits for each byte, and the blocks and markers around them.
fn bound(length: usize) -> usize {
    length + length / 8 + length / 256 + 64
}

/// Compresses a message into the spare capacity of `buffer`. None: the state may have output left, or has failed.
fn write_all(state: &mut Compress, window: &[u8], message: &[u8], buffer: &mut Vec<u8>) -> Option<()> {
    if !window.is_empty() {
        // Fails only in a compressor that is in use.
        state.set_dictionary(window).ok()?;
    }
    let mut rest = message;
    loop {
        let (before, length) = (state.total_in(), buffer.len());
        let status = state.compress_vec(rest, buffer, FlushCompress::Sync).ok()?;
        rest = &rest[(state.total_in() - before) as usize..];
        // With room left, all of the input was used and flushed.
        if rest.is_empty() && buffer.len() < buffer.capacity() {
            return Some(());
        }
        if status == Status::BufError || buffer.len() == length || buffer.len() == buffer.capacity() {
            return None;
        }
    }
}

/// The place of a method's state, which has no memory of earlier messages.
fn state(states: &mut Vec<(Method, Compress)>, method: Method) -> usize {
    if let Some(at) = states.iter().position(|(its, _)| *its == method) {
        states[at].1.reset();
        return at;
    }
    let level = Compression::new(u32::from(method.level.min(9)));
    let bits = method.window_bits.clamp(MIN_WINDOW_BITS, MAX_WINDOW_BITS);
    states.push((method, Compress::new_with_window_bits(level, false, bits)));
    states.len() - 1
}
