//! The client's bytes of one read, and the payload of a message in them.
//!
//! One byte follows every payload in its buffer, so that a payload can be used as a C string during its event.
//! The byte may be the first of the next frame: it is 0 only during the event.

use std::mem;
use std::ops::{Deref, Range};

/// The client's bytes of one read, and how far they were handled.
#[derive(Debug)]
pub struct Input<'b> {
    /// The client's bytes, then the spare byte.
    buffer: &'b mut [u8],
    at: usize,
}

impl<'b> Input<'b> {
    /// All bytes of `buffer` except the last, which is spare.
    ///
    /// # Panics
    /// `buffer` is empty.
    #[inline]
    pub fn new(buffer: &'b mut [u8]) -> Self {
        assert!(!buffer.is_empty(), "no spare byte");
        Self { buffer, at: 0 }
    }

    /// Whether all bytes were handled.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest().len() == 1
    }

    /// The bytes that were not handled, and the spare byte.
    #[inline]
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Moves past the next `length` bytes, or past all if there are fewer. Returns their place in the buffer.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Range<usize> {
        let from = self.at;
        self.at += length.min(self.rest().len() - 1);
        from..self.at
    }

    /// Moves past a header and a payload of these lengths, which must be there; returns the payload.
    #[inline]
    pub(super) fn take_payload(&mut self, header: usize, length: usize) -> Payload<'_> {
        let payload = &mut self.buffer[self.at..][header..][..length + 1];
        self.at += header + length;
        Payload(payload)
    }

    /// Moves past all bytes.
    pub(super) fn discard(&mut self) {
        self.at = self.buffer.len() - 1;
    }

    /// The bytes of a place that `take` returned.
    pub(super) fn bytes(&mut self, place: Range<usize>) -> &mut [u8] {
        &mut self.buffer[place]
    }

    /// The same, as a payload.
    pub(super) fn payload(&mut self, place: Range<usize>) -> Payload<'_> {
        Payload(&mut self.buffer[place.start..place.end + 1])
    }
}

/// The payload of a message in its buffer, and the byte behind it.
#[derive(Debug, PartialEq, Eq)]
pub struct Payload<'b>(&'b mut [u8]);

impl<'b> Payload<'b> {
    /// All bytes of `buffer` except the last.
    pub(super) fn new(buffer: &'b mut [u8]) -> Self {
        debug_assert!(!buffer.is_empty(), "no byte behind the payload");
        Self(buffer)
    }

    /// The payload.
    #[inline]
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        let length = self.0.len() - 1;
        &mut self.0[..length]
    }

    /// A payload that was not received as it is, such as an inflated one: all bytes of `buffer` except the last, which
    /// is set to 0.
    ///
    /// # Panics
    /// `buffer` is empty.
    pub fn terminate(buffer: &'b mut [u8]) -> Self {
        *buffer.last_mut().expect("no byte behind the payload") = 0;
        Self(buffer)
    }

    /// The payload and the byte behind it. Both may be changed: nothing uses the payload afterwards, and the
    /// byte gets its value back.
    #[inline]
    pub fn with_byte_behind(self) -> &'b mut [u8] {
        self.0
    }

    /// Calls `f` while the byte behind the payload is 0.
    #[inline]
    pub(super) fn terminated(self, f: impl FnOnce(Payload<'_>)) {
        let behind = self.0.len() - 1;
        let byte = mem::replace(&mut self.0[behind], 0);
        f(Payload(self.0));
        self.0[behind] = byte;
    }
}

impl Deref for Payload<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0[..self.0.len() - 1]
    }
}
