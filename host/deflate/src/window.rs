//! What one side of a connection remembers of its earlier messages: the end of their plaintext.

use crate::{Direction, MAX_WINDOW_BITS, MIN_WINDOW_BITS};

/// The last bytes of the messages of one side that were compressed. Empty, it has no allocation; it never has more than
/// 2^bits bytes.
#[derive(Debug, Default)]
pub struct Window(Vec<u8>);

/// Bytes of the first allocation: a few short messages.
const FIRST: usize = 512;

impl Window {
    /// The bytes, in the order in which they were sent.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.0.capacity()
    }

    /// Frees the memory. Messages cannot refer to earlier ones then.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }

    /// A message was sent compressed. Without context, nothing is remembered.
    pub fn push(&mut self, message: &[u8], direction: Direction) {
        if !direction.context {
            return;
        }
        let most = size(direction);
        let message = &message[message.len().saturating_sub(most)..];
        let old = self.0.len().min(most - message.len());
        self.0.drain(..self.0.len() - old);
        let needed = old + message.len();
        if needed > self.0.capacity() {
            self.0.reserve_exact(needed.max(2 * self.0.capacity()).max(FIRST).min(most) - old);
        }
        self.0.extend_from_slice(message);
    }

    /// The window of [`Window::bytes`]. None: no message of that side can leave so much.
    pub fn from_bytes(bytes: &[u8], direction: Direction) -> Option<Self> {
        let most = if direction.context { size(direction) } else { 0 };
        (bytes.len() <= most).then(|| Self(bytes.to_vec()))
    }
}

fn size(direction: Direction) -> usize {
    1 << direction.window_bits.clamp(MIN_WINDOW_BITS, MAX_WINDOW_BITS)
}
