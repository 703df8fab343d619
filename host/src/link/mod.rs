//! The socket between the parent and a worker: what is said on it, and how. Whole messages go in and come out;
//! what they mean is the business of its two ends.

#![forbid(unsafe_code)]

pub mod orders; // the first message: what a worker is told, with its descriptors

pub mod uplink; // the worker's end

pub mod post; // what plugins say to themselves on other workers

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What stands before each message: its length, then its tag.
const HEAD: usize = 5;
/// Bytes of everything else: what is to be loaded, what was, and why not.
pub const TEXT_MAX: usize = 1024 * 1024;
/// Bytes of the largest frame header.
const FRAME_HEADER: usize = 14;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Worker to parent: it serves. The text says what it has loaded.
    Ready,
    /// Worker to parent: it cannot start. The text says why.
    Failed,
    /// Worker to parent, and parent to all other workers: a WebSocket frame for every client.
    Broadcast,
    /// Worker to parent, and parent to one other worker or all: a [`post::Post`].
    Post,
    /// Parent to worker: stop accepting, close every connection, end.
    Drain,
    /// Parent to worker: an [`orders::Order`] in a reload, as JSON.
    Order,
    /// Worker to parent: a [`orders::Reply`] to it, as JSON.
    Reply,
}

impl Tag {
    fn code(self) -> u8 {
        match self {
            Self::Ready => 1,
            Self::Failed => 2,
            Self::Broadcast => 3,
            Self::Drain => 4,
            Self::Order => 5,
            Self::Reply => 6,
            Self::Post => 7,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Ready, Self::Failed, Self::Broadcast, Self::Post, Self::Drain, Self::Order, Self::Reply]
            .into_iter()
            .find(|tag| tag.code() == code)
    }
}

/// Appends one message.
pub fn write_message(out: &mut impl BufMut, tag: Tag, payload: &[u8]) {
    out.put_u32_le(payload.len() as u32);
    out.put_u8(tag.code());
    out.put_slice(payload);
}

/// As much of a text as a message can carry.
pub fn text(text: &str) -> &[u8] {
    &text.as_bytes()[..text.len().min(TEXT_MAX)]
}

/// One message by itself.
pub fn message(tag: Tag, payload: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    write_message(&mut bytes, tag, payload);
    bytes.into()
}

/// The other side does not keep to the protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct Garbled;

/// Takes messages out of a stream of bytes.
#[derive(Debug)]
pub struct Decoder {
    /// What has arrived and is not taken out yet.
    pub buffer: BytesMut,
    /// Longest message of a client, or of a plugin to itself, that is believed.
    max_message: usize,
}

impl Decoder {
    /// Believes in broadcasts and posts of messages up to `max_message` bytes, at both ends of a link alike.
    pub fn new(max_message: usize) -> Self {
        Self { buffer: BytesMut::new(), max_message }
    }

    fn head(&self, at: usize) -> Result<Option<(Tag, usize)>, Garbled> {
        let Some(head) = self.buffer.get(at..at + HEAD) else { return Ok(None) };
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let max = |tag| match tag {
            Tag::Broadcast => self.max_message + FRAME_HEADER,
            Tag::Post => self.max_message + post::POST_HEAD,
            _ => TEXT_MAX,
        };
        match Tag::from_code(head[4]) {
            Some(tag) if length <= max(tag) => {
                Ok((self.buffer.len() - at - HEAD >= length).then_some((tag, length)))
            }
            _ => Err(Garbled),
        }
    }

    /// The next whole message.
    pub fn take(&mut self) -> Result<Option<(Tag, Bytes)>, Garbled> {
        let Some((tag, length)) = self.head(0)? else { return Ok(None) };
        self.buffer.advance(HEAD);
        Ok(Some((tag, self.buffer.split_to(length).freeze())))
    }

    /// All the broadcasts that come next, as they are on the wire, to be sent on in one piece.
    pub fn take_broadcasts(&mut self) -> Result<Bytes, Garbled> {
        let mut end = 0;
        while let Some((Tag::Broadcast, length)) = self.head(end)? {
            end += HEAD + length;
        }
        Ok(self.buffer.split_to(end).freeze())
    }

    /// The next message if it is a post, as it is on the wire, and its addresses.
    pub fn take_post(&mut self) -> Result<Option<(Bytes, Addresses)>, Garbled> {
        let Some((Tag::Post, length)) = self.head(0)? else { return Ok(None) };
        let wire = self.buffer.split_to(HEAD + length).freeze();
        let post::Post { target, source, .. } = post::Post::parse(&wire[HEAD..]).ok_or(Garbled)?;
        Ok(Some((wire, Addresses { target, source })))
    }
}

/// From whom a post comes, by its own word, and for whom it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// A worker's place, or all: see [`post::Post::target`].
    pub target: u32,
    /// A worker's place.
    pub source: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let mut wire = Vec::new();
        write_message(&mut wire, Tag::Ready, b"loaded");
        write_message(&mut wire, Tag::Broadcast, b"");
        write_message(&mut wire, Tag::Drain, &[7; 300]);
        for step in [1, 4, 6, 1000] {
            let mut decoder = Decoder::new(1000);
            let mut seen = Vec::new();
            for piece in wire.chunks(step) {
                decoder.buffer.extend_from_slice(piece);
                while let Some((tag, payload)) = decoder.take().expect("the wire is clean") {
                    seen.push((tag, payload.len()));
                }
            }
            assert_eq!(seen, [(Tag::Ready, 6), (Tag::Broadcast, 0), (Tag::Drain, 300)]);
        }
    }

    #[test]
    fn broadcasts_are_taken_together_up_to_the_next_other_message() {
        let mut decoder = Decoder::new(1000);
        write_message(&mut decoder.buffer, Tag::Broadcast, b"one");
        write_message(&mut decoder.buffer, Tag::Broadcast, b"two");
        write_message(&mut decoder.buffer, Tag::Ready, b"!");
        let mut expected = Vec::new();
        write_message(&mut expected, Tag::Broadcast, b"one");
        write_message(&mut expected, Tag::Broadcast, b"two");
        assert_eq!(decoder.take_broadcasts(), Ok(expected.into()));
        assert_eq!(decoder.take_broadcasts(), Ok(Bytes::new()));
        assert_eq!(decoder.take(), Ok(Some((Tag::Ready, Bytes::from_static(b"!")))));
    }

    #[test]
    fn an_unknown_tag_and_an_incredible_length_are_refused() {
        let mut decoder = Decoder::new(10);
        decoder.buffer.extend_from_slice(&[0, 0, 0, 0, 99]);
        assert_eq!(decoder.take(), Err(Garbled));
        let mut decoder = Decoder::new(10);
        decoder.buffer.extend_from_slice(&[10 + FRAME_HEADER as u8 + 1, 0, 0, 0, 3]);
        assert_eq!(decoder.take_broadcasts(), Err(Garbled));
    }
}
