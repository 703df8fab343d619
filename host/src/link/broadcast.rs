//! A message for clients of other workers, with its sender and audience. It travels unframed; each worker frames it for
//! its own clients.

use bytes::BufMut;
use callsign_plugin::abi::NAME_SIZE;
use callsign_websocket::op;

use super::{Tag, write_head};
use crate::config::plan::is_plugin_name;

/// Origin, number, audience, source and opcode before the payload.
const HEAD: usize = 2 + 8 + 1 + 8 + 1;
/// The same with the name of a plugin and its length.
pub const HEAD_MAX: usize = HEAD + NAME_SIZE;

/// The recipients of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience<'p> {
    /// Every open connection.
    Everyone,
    /// The connections with a handler of the plugin of that name. The indexes of plugins differ between workers.
    Plugin(&'p str),
}

const EVERYONE: u8 = 0;
const PLUGIN: u8 = 1;

/// A broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broadcast<'p> {
    /// Index of the worker that sent it.
    pub origin: u16,
    /// Counts the broadcasts of that worker process, from 1.
    pub number: u64,
    pub audience: Audience<'p>,
    /// Id of the connection that sends it; 0: none.
    pub source: u64,
    /// Opcode, RFC 6455 §5.2.
    pub op: u8,
    /// The complete message.
    pub payload: &'p [u8],
}

impl<'p> Broadcast<'p> {
    /// Appends the broadcast as one message of the link.
    pub fn write_to(&self, out: &mut impl BufMut) {
        let (code, name) = match self.audience {
            Audience::Everyone => (EVERYONE, None),
            Audience::Plugin(name) => (PLUGIN, Some(name)),
        };
        let name_size = name.map_or(0, |name| 1 + name.len());
        write_head(out, Tag::Broadcast, HEAD + name_size + self.payload.len());
        out.put_u16_le(self.origin);
        out.put_u64_le(self.number);
        out.put_u8(code);
        out.put_u64_le(self.source);
        out.put_u8(self.op);
        if let Some(name) = name {
            // A plugin's name is shorter than NAME_SIZE.
            out.put_u8(name.len() as u8);
            out.put_slice(name.as_bytes());
        }
        out.put_slice(self.payload);
    }

    /// Parses the payload of a [`Tag::Broadcast`] message. None: it is invalid.
    pub fn parse(bytes: &'p [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let u64_at =
            |at: usize| head[at..at + 8].iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        let (audience, payload) = match head[10] {
            EVERYONE => (Audience::Everyone, rest),
            PLUGIN => {
                let (&length, rest) = rest.split_first()?;
                let (name, payload) = rest.split_at_checked(length.into())?;
                let name = std::str::from_utf8(name).ok().filter(|name| is_plugin_name(name))?;
                (Audience::Plugin(name), payload)
            }
            _ => return None,
        };
        Some(Self {
            origin: u16::from_le_bytes([head[0], head[1]]),
            number: u64_at(2),
            audience,
            source: u64_at(11),
            op: head[19],
            payload,
        })
    }
}

/// Validates the broadcasts of one worker process: its own index, consecutive numbers, and messages that a plugin could
/// have sent (RFC 6455 §5.5 and §5.6). Receivers frame what they get without a check of their own.
#[derive(Debug)]
pub struct BroadcastValidator {
    origin: u16,
    last_number: u64,
}

impl BroadcastValidator {
    /// For the broadcasts of a worker process that has sent none.
    pub fn new(origin: u16) -> Self {
        Self { origin, last_number: 0 }
    }

    /// Whether this is the worker's next broadcast.
    pub fn accepts(&mut self, broadcast: &Broadcast<'_>) -> bool {
        let Broadcast { origin, number, op, payload, .. } = *broadcast;
        let is_next = origin == self.origin && self.last_number.checked_add(1) == Some(number);
        self.last_number = number;
        is_next
            && match op {
                op::TEXT => std::str::from_utf8(payload).is_ok(),
                op::BINARY => true,
                op::PING | op::PONG => payload.len() <= op::CONTROL_MAX,
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Decoder;

    #[test]
    fn only_the_workers_own_next_message_that_a_plugin_could_send_is_accepted() {
        let good = Broadcast {
            origin: 3,
            number: 1,
            audience: Audience::Everyone,
            source: 7,
            op: op::TEXT,
            payload: "Grüße".as_bytes(),
        };
        let accepts = |broadcasts: &[Broadcast<'_>]| {
            let mut validator = BroadcastValidator::new(3);
            broadcasts.iter().all(|broadcast| validator.accepts(broadcast))
        };
        let next = Broadcast { number: 2, op: op::BINARY, payload: b"\xff", ..good };
        assert!(accepts(&[good, next]));
        let long = [0; 126];
        for bad in [
            Broadcast { origin: 2, ..good },
            Broadcast { number: 2, ..good },
            Broadcast { number: 0, ..good },
            Broadcast { payload: b"\xff", ..good },
            Broadcast { op: op::CLOSE, payload: b"", ..good },
            Broadcast { op: op::CONTINUATION, ..good },
            Broadcast { op: 0x7F, ..good },
            Broadcast { op: op::PING, payload: &long, ..good },
        ] {
            assert!(!accepts(&[bad]), "{bad:?}");
        }
        assert!(!accepts(&[good, good]), "a number is used once");
    }

    #[test]
    fn a_broadcast_is_read_as_it_was_written_and_never_truncated() {
        let long = "n".repeat(NAME_SIZE - 1);
        for (audience, head) in [
            (Audience::Everyone, HEAD),
            (Audience::Plugin("chat"), HEAD + 5),
            (Audience::Plugin(&long), HEAD_MAX),
        ] {
            let broadcast = Broadcast {
                origin: 300,
                number: u64::MAX - 1,
                audience,
                source: 1 << 40,
                op: 2,
                payload: b"hi",
            };
            let mut decoder = Decoder::new(2);
            broadcast.write_to(&mut decoder.buffer);
            let (tag, bytes) = decoder.take().expect("it is well-formed").expect("it is whole");
            assert_eq!((tag, Broadcast::parse(&bytes)), (Tag::Broadcast, Some(broadcast)));
            assert_eq!(bytes.len(), head + 2);
            (0..head).for_each(|end| assert_eq!(Broadcast::parse(&bytes[..end]), None));
            let unknown_audience = [&bytes[..10], &[9], &bytes[11..]].concat();
            assert_eq!(Broadcast::parse(&unknown_audience), None);
        }
        let mut wire = Vec::new();
        let of_nobody = Audience::Plugin("a/b");
        let broadcast =
            Broadcast { origin: 0, number: 1, audience: of_nobody, source: 0, op: 2, payload: b"hi" };
        broadcast.write_to(&mut wire);
        assert_eq!(Broadcast::parse(&wire[crate::link::HEAD..]), None, "no plugin has that name");
    }
}
