//! What the access log will say of a connection: its request, and the messages and bytes of both directions. Messages are
//! counted in the bytes that are read and written, so that a client that is not recorded pays for a look at a flag in each
//! read and each write, and nothing for a message.

use std::cell::Cell;
use std::io::IoSlice;
use std::time::Instant;

use callsign_websocket::{Header, Source, put_bytes};

use super::frozen::ThawError;
use crate::system::access_log::{RequestNote, Traffic};

/// What the access log will say of a connection.
#[derive(Debug)]
pub struct Recorded {
    pub note: RequestNote,
    received: Cell<Frames>,
    sent: Cell<Frames>,
}

impl Recorded {
    /// A connection that begins.
    pub fn new(mut note: RequestNote) -> Self {
        note.shrink();
        Self { note, received: Cell::default(), sent: Cell::default() }
    }

    /// Bytes that the client has sent.
    pub fn note_received(&self, bytes: &[u8]) {
        let mut frames = self.received.get();
        frames.count(bytes);
        self.received.set(frames);
    }

    /// The first `length` bytes of these are written.
    pub fn note_sent(&self, slices: &[IoSlice<'_>], mut length: usize) {
        let mut frames = self.sent.get();
        for slice in slices {
            let bytes = &slice[..slice.len().min(length)];
            frames.count(bytes);
            length -= bytes.len();
        }
        self.sent.set(frames);
    }

    /// From the client, and to it.
    pub fn traffic(&self) -> [Traffic; 2] {
        [&self.received, &self.sent].map(|frames| frames.get().traffic)
    }

    /// All of it, for [`Recorded::thaw`].
    pub(super) fn freeze(&self, now: Instant) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, &self.note.to_bytes(now));
        for frames in [&self.received, &self.sent] {
            let Frames { traffic, header, known, left, ends_message } = frames.get();
            for number in [traffic.messages, traffic.bytes, left] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.extend_from_slice(&[u8::from(ends_message), known]);
            bytes.extend_from_slice(&header);
        }
        bytes
    }

    /// What [`Recorded::freeze`] has given.
    pub(super) fn thaw(bytes: &[u8], now: Instant) -> Result<Self, ThawError> {
        let mut source = Source(bytes);
        let note = RequestNote::from_bytes(source.bytes()?, now);
        let note = note.ok_or(ThawError::Format("the request is none"))?;
        let [received, sent] = [Frames::thaw(&mut source)?, Frames::thaw(&mut source)?];
        if !source.0.is_empty() {
            return Err(ThawError::Format("bytes follow the counters"));
        }
        Ok(Self { note, received: Cell::new(received), sent: Cell::new(sent) })
    }
}

/// Counts the frames in a stream of bytes, of either side (RFC 6455 §5.2). It validates nothing: the endpoint does.
#[derive(Debug, Clone, Copy, Default)]
struct Frames {
    traffic: Traffic,
    /// The beginning of a header, as far as it is known.
    header: [u8; Header::SIZE_MAX],
    known: u8,
    /// Bytes of the payload that have not come.
    left: u64,
    /// Whether a message is complete with this payload.
    ends_message: bool,
}

impl Frames {
    fn count(&mut self, mut bytes: &[u8]) {
        self.traffic.bytes += bytes.len() as u64;
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= taken as u64;
                bytes = &bytes[taken..];
                self.end_payload();
                continue;
            }
            self.header[usize::from(self.known)] = first;
            self.known += 1;
            bytes = rest;
            if self.known >= 2 && usize::from(self.known) == self.header_size() {
                self.begin_payload();
            }
        }
    }

    /// Of the header whose first two bytes are known.
    fn header_size(&self) -> usize {
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.header[1] & 0x80 != 0 { 4 } else { 0 }
    }

    fn begin_payload(&mut self) {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        self.left = match self.header[1] & 0x7f {
            126 => number(&self.header[2..4]),
            127 => number(&self.header[2..10]),
            short => u64::from(short),
        };
        self.known = 0;
        // The last frame, of a message and not of the protocol.
        self.ends_message = self.header[0] & 0x80 != 0 && self.header[0] & 0x08 == 0;
        self.end_payload();
    }

    fn end_payload(&mut self) {
        if self.left == 0 && std::mem::take(&mut self.ends_message) {
            self.traffic.messages += 1;
        }
    }

    fn thaw(source: &mut Source<'_>) -> Result<Self, ThawError> {
        let [messages, bytes, left] = [source.u64()?, source.u64()?, source.u64()?];
        let (ends_message, known) = (source.bool()?, source.u8()?);
        let mut header = [0; Header::SIZE_MAX];
        header.copy_from_slice(source.take(Header::SIZE_MAX)?);
        let frames = Self { traffic: Traffic { messages, bytes }, header, known, left, ends_message };
        let is_whole = known >= 2 && usize::from(known) >= frames.header_size();
        if is_whole || usize::from(known) >= Header::SIZE_MAX || known > 0 && left > 0 {
            return Err(ThawError::Format("a counter is in no header"));
        }
        Ok(frames)
    }
}

#[cfg(test)]
mod tests {
    use callsign_websocket::{op, write_frame};

    use super::*;

    fn recorded() -> Recorded {
        Recorded::new(RequestNote::new([b"p", b"GET", b"/", b"", b"", b"", b""], Instant::now()))
    }

    /// A client's frame, masked with zeros.
    fn masked(first: u8, payload: usize) -> Vec<u8> {
        let mut frame = Vec::new();
        write_frame(&mut frame, 0, &vec![0; payload]);
        let header = frame.len() - payload;
        frame[0] = first;
        frame[1] |= 0x80;
        frame.splice(header..header, [0; 4]);
        frame
    }

    #[test]
    fn messages_are_counted_however_their_bytes_arrive() {
        let sizes = [0, 1, 125, 126, 65_535, 65_536];
        let messages: Vec<_> = sizes.iter().flat_map(|&size| masked(0x82, size)).collect();
        // Two fragments with a Ping between them, an empty last fragment, a compressed message, a Close.
        let others = [(0x01, 3), (0x89, 4), (0x80, 5), (0x02, 1), (0x80, 0), (0xc1, 9), (0x88, 2)];
        let others = others.iter().flat_map(|&(first, size)| masked(first, size));
        let all: Vec<_> = messages.into_iter().chain(others).collect();
        for step in [1, 2, 3, 7, 1000, usize::MAX] {
            let mut recorded = recorded();
            for (n, bytes) in all.chunks(step.min(all.len())).enumerate() {
                recorded.note_received(bytes);
                // Carried over at every place of a header.
                if n % 64 == 0 || n < 100 {
                    let now = Instant::now();
                    recorded = Recorded::thaw(&recorded.freeze(now), now).expect("it was frozen");
                }
            }
            let expected = Traffic { messages: sizes.len() as u64 + 3, bytes: all.len() as u64 };
            assert_eq!(recorded.traffic(), [expected, Traffic::default()], "{step}");
        }
    }

    #[test]
    fn only_what_is_written_counts_as_sent() {
        let mut frames = Vec::new();
        write_frame(&mut frames, op::TEXT, b"hello");
        write_frame(&mut frames, op::PING, b"");
        write_frame(&mut frames, op::BINARY, &[0; 300]);
        let recorded = recorded();
        let (first, second) = frames.split_at(3);
        let slices = [IoSlice::new(first), IoSlice::new(second)];
        recorded.note_sent(&slices, 6);
        assert_eq!(recorded.traffic()[1], Traffic { messages: 0, bytes: 6 });
        recorded.note_sent(&[IoSlice::new(&frames[6..])], 1);
        assert_eq!(recorded.traffic()[1], Traffic { messages: 1, bytes: 7 });
        recorded.note_sent(&[IoSlice::new(&frames[7..])], frames.len() - 7);
        assert_eq!(
            recorded.traffic(),
            [Traffic::default(), Traffic { messages: 2, bytes: frames.len() as u64 }]
        );
    }

    #[test]
    fn damaged_counters_are_rejected() {
        let (recorded, now) = (recorded(), Instant::now());
        recorded.note_received(&masked(0x82, 300)[..3]);
        let bytes = recorded.freeze(now);
        Recorded::thaw(&bytes, now).expect("it was frozen");
        for end in 0..bytes.len() {
            Recorded::thaw(&bytes[..end], now).expect_err("it is incomplete");
        }
        let counter = bytes.len() - 2 * (3 * 8 + 2 + Header::SIZE_MAX);
        for known in [8, 14, 255] {
            let mut damaged = bytes.clone();
            damaged[counter + 25] = known;
            Recorded::thaw(&damaged, now).expect_err("its header would be complete");
        }
    }
}
