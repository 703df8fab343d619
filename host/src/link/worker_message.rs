//! A message from a plugin's instance on one worker to its instance on another worker, or on all others. The parent
//! reads only the addresses.

use bytes::BufMut;
use callsign_plugin::abi;

/// Target, source and id, four bytes each, and the length of the plugin's name.
const FIXED: usize = 13;
/// The most bytes before the data.
pub const HEAD_MAX: usize = FIXED + abi::NAME_SIZE;

/// A worker message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerMessage<'p> {
    /// Index of the recipient, or [`abi::ALL_WORKERS`].
    pub target: u32,
    /// Index of the sender.
    pub source: u32,
    /// The kind of message, as the plugin numbers it.
    pub id: u32,
    /// Name of the plugin.
    pub plugin: &'p str,
    pub data: &'p [u8],
}

impl<'p> WorkerMessage<'p> {
    /// The payload of a `Tag::WorkerMessage` message.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + self.plugin.len() + self.data.len());
        out.put_u32_le(self.target);
        out.put_u32_le(self.source);
        out.put_u32_le(self.id);
        // Fits, because a plugin's name is shorter than `NAME_SIZE`.
        out.put_u8(self.plugin.len() as u8);
        out.put_slice(self.plugin.as_bytes());
        out.put_slice(self.data);
        out
    }

    /// Parses that payload. None: it is invalid.
    pub fn parse(payload: &'p [u8]) -> Option<Self> {
        let (fixed, rest) = payload.split_at_checked(FIXED)?;
        let number = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let (plugin, data) = rest.split_at_checked(usize::from(fixed[12]))?;
        let plugin = std::str::from_utf8(plugin).ok()?;
        Some(Self { target: number(0), source: number(4), id: number(8), plugin, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_message_is_read_as_it_was_written_and_never_truncated() {
        let message =
            WorkerMessage { target: abi::ALL_WORKERS, source: 255, id: 1 << 31, plugin: "chat", data: b"hi" };
        let bytes = message.to_bytes();
        assert_eq!(WorkerMessage::parse(&bytes), Some(message));
        (0..bytes.len() - message.data.len())
            .for_each(|end| assert_eq!(WorkerMessage::parse(&bytes[..end]), None));
    }
}
