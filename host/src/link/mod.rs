//! The socket between the parent and a worker: the messages on it and their encoding. Whole messages go in and come
//! out; both ends validate what they read.

pub mod setup; // the first message of a worker, with its descriptors

pub mod descriptors; // those that a reload adds

pub mod orders; // the steps of a reload

pub mod inventory; // what a worker has loaded

pub mod broadcast; // messages for clients of other workers

pub mod worker_message; // messages between a plugin's instances

pub mod uplink; // the worker's end

use bytes::{Buf, BufMut, Bytes, BytesMut};
use zeroize::Zeroizing;

use broadcast::{Broadcast, BroadcastValidator};
use worker_message::WorkerMessage;

/// Bytes before each message: its length, then its tag.
const HEAD: usize = 5;
/// Bytes of a message that is neither a broadcast nor a worker message: a plan of a hundred thousand routes, or the
/// longest inventory.
pub const TEXT_MAX: usize = 32 << 20;

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Worker to parent: the worker serves. The text is its [`inventory::Inventory`].
    Ready,
    /// Worker to parent: the worker cannot start. The text says why.
    Failed,
    /// Worker to parent, and parent to all other workers: a [`Broadcast`].
    Broadcast,
    /// Worker to parent, and parent to one other worker or all: a [`WorkerMessage`].
    WorkerMessage,
    /// Parent to worker: stop accepting, close every connection, end.
    Drain,
    /// Parent to worker: an [`orders::Order`] as JSON.
    Order,
    /// Worker to parent: an [`orders::Reply`] as JSON.
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
            Self::WorkerMessage => 7,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [
            Self::Ready,
            Self::Failed,
            Self::Broadcast,
            Self::WorkerMessage,
            Self::Drain,
            Self::Order,
            Self::Reply,
        ]
        .into_iter()
        .find(|tag| tag.code() == code)
    }
}

/// Appends one message.
pub fn write_message(out: &mut impl BufMut, tag: Tag, payload: &[u8]) {
    write_head(out, tag, payload.len());
    out.put_slice(payload);
}

fn write_head(out: &mut impl BufMut, tag: Tag, length: usize) {
    out.put_u32_le(length as u32);
    out.put_u8(tag.code());
}

/// Truncates a text to what a message can carry.
pub fn text(text: &str) -> &[u8] {
    &text.as_bytes()[..text.len().min(TEXT_MAX)]
}

/// One message as bytes.
pub fn message(tag: Tag, payload: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    write_message(&mut bytes, tag, payload);
    bytes.into()
}

/// One message with secrets as bytes, which are overwritten when the last owner drops them.
pub fn secret_message(tag: Tag, payload: &[u8]) -> Bytes {
    let mut bytes = Zeroizing::new(Vec::with_capacity(HEAD + payload.len()));
    write_message(&mut *bytes, tag, payload);
    Bytes::from_owner(bytes)
}

/// The other end has sent bytes that are no valid message.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidMessage;

/// Splits a stream of bytes into messages.
#[derive(Debug)]
pub struct Decoder {
    /// Bytes that have arrived and are not decoded yet.
    pub buffer: BytesMut,
    /// Longest payload of a broadcast or worker message, in bytes. Both ends of a link use the same bound; it grows, because
    /// messages within an earlier one may still be on their way.
    pub max_message: usize,
}

impl Decoder {
    /// Accepts broadcasts and worker messages of up to `max_message` bytes.
    pub fn new(max_message: usize) -> Self {
        Self { buffer: BytesMut::new(), max_message }
    }

    fn head(&self, at: usize) -> Result<Option<(Tag, usize)>, InvalidMessage> {
        let Some(head) = self.buffer.get(at..at + HEAD) else { return Ok(None) };
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let max = |tag| match tag {
            Tag::Broadcast => self.max_message + broadcast::HEAD_MAX,
            Tag::WorkerMessage => self.max_message + worker_message::HEAD_MAX,
            _ => TEXT_MAX,
        };
        match Tag::from_code(head[4]) {
            Some(tag) if length <= max(tag) => {
                Ok((self.buffer.len() - at - HEAD >= length).then_some((tag, length)))
            }
            _ => Err(InvalidMessage),
        }
    }

    /// Takes the next message. None: it is incomplete.
    pub fn take(&mut self) -> Result<Option<(Tag, Bytes)>, InvalidMessage> {
        let Some((tag, length)) = self.head(0)? else { return Ok(None) };
        self.buffer.advance(HEAD);
        Ok(Some((tag, self.buffer.split_to(length).freeze())))
    }

    /// Takes all broadcasts up to the next other message, still encoded, so that the parent relays them in one piece.
    /// The validator must accept each of them.
    pub fn take_broadcasts(&mut self, validator: &mut BroadcastValidator) -> Result<Bytes, InvalidMessage> {
        let mut end = 0;
        while let Some((Tag::Broadcast, length)) = self.head(end)? {
            let payload = &self.buffer[end + HEAD..end + HEAD + length];
            let broadcast = Broadcast::parse(payload).ok_or(InvalidMessage)?;
            if broadcast.payload.len() > self.max_message || !validator.accepts(&broadcast) {
                return Err(InvalidMessage);
            }
            end += HEAD + length;
        }
        Ok(self.buffer.split_to(end).freeze())
    }

    /// Takes the next message if it is a worker message: still encoded, and its addresses.
    pub fn take_worker_message(&mut self) -> Result<Option<(Bytes, Addresses)>, InvalidMessage> {
        let Some((Tag::WorkerMessage, length)) = self.head(0)? else { return Ok(None) };
        let wire = self.buffer.split_to(HEAD + length).freeze();
        let WorkerMessage { target, source, .. } =
            WorkerMessage::parse(&wire[HEAD..]).ok_or(InvalidMessage)?;
        Ok(Some((wire, Addresses { target, source })))
    }
}

/// Sender and recipient of a worker message. The sender's index is untrusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// A worker's index, or all workers: see [`WorkerMessage::target`].
    pub target: u32,
    /// A worker's index.
    pub source: u32,
}

#[cfg(test)]
mod tests {
    use super::broadcast::Audience;
    use super::*;

    fn broadcast(number: u64, payload: &[u8]) -> Broadcast<'_> {
        Broadcast { origin: 1, number, audience: Audience::Everyone, source: 7, op: 1, payload }
    }

    #[test]
    fn messages_are_decoded_however_the_stream_is_split() {
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
        let mut expected = Vec::new();
        for (number, payload) in [(1, &b"one"[..]), (2, b"two")] {
            broadcast(number, payload).write_to(&mut decoder.buffer);
            broadcast(number, payload).write_to(&mut expected);
        }
        write_message(&mut decoder.buffer, Tag::Ready, b"!");
        let mut validator = BroadcastValidator::new(1);
        assert_eq!(decoder.take_broadcasts(&mut validator), Ok(expected.into()));
        assert_eq!(decoder.take_broadcasts(&mut validator), Ok(Bytes::new()));
        assert_eq!(decoder.take(), Ok(Some((Tag::Ready, Bytes::from_static(b"!")))));
    }

    #[test]
    fn an_unknown_tag_an_impossible_length_and_another_workers_name_are_rejected() {
        let mut decoder = Decoder::new(10);
        decoder.buffer.extend_from_slice(&[0, 0, 0, 0, 99]);
        assert_eq!(decoder.take(), Err(InvalidMessage));
        let mut decoder = Decoder::new(10);
        decoder.buffer.extend_from_slice(&[10 + broadcast::HEAD_MAX as u8 + 1, 0, 0, 0, 3]);
        assert_eq!(decoder.take_broadcasts(&mut BroadcastValidator::new(1)), Err(InvalidMessage));
        let mut decoder = Decoder::new(10);
        broadcast(1, &[b'a'; 11]).write_to(&mut decoder.buffer);
        assert_eq!(decoder.take_broadcasts(&mut BroadcastValidator::new(1)), Err(InvalidMessage));
        let mut decoder = Decoder::new(10);
        broadcast(1, b"").write_to(&mut decoder.buffer);
        assert_eq!(decoder.take_broadcasts(&mut BroadcastValidator::new(2)), Err(InvalidMessage));
    }
}
