//! A message from one worker's copy of a plugin to another worker's: how it is written on the link. The parent
//! looks at its addresses alone.

use bytes::BufMut;
use callsign_plugin::abi;

/// Target, source and id, four bytes each, and the length of the plugin's name.
const FIXED: usize = 13;
/// Bytes of everything before the data, at most.
pub const POST_HEAD: usize = FIXED + abi::NAME_SIZE;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Post<'p> {
    /// The worker that gets it, or [`abi::ALL_WORKERS`].
    pub target: u32,
    /// The worker that has sent it.
    pub source: u32,
    /// The plugin's own number for what it is.
    pub id: u32,
    /// The plugin's name.
    pub plugin: &'p str,
    /// What it says.
    pub data: &'p [u8],
}

impl<'p> Post<'p> {
    /// As the payload of a message.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + self.plugin.len() + self.data.len());
        out.put_u32_le(self.target);
        out.put_u32_le(self.source);
        out.put_u32_le(self.id);
        // A plugin's name is shorter than `NAME_SIZE`.
        out.put_u8(self.plugin.len() as u8);
        out.put_slice(self.plugin.as_bytes());
        out.put_slice(self.data);
        out
    }

    /// Out of the payload of a message; None if it is none.
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
    fn it_is_read_as_it_was_written_and_never_cut_short() {
        let post = Post { target: abi::ALL_WORKERS, source: 255, id: 1 << 31, plugin: "chat", data: b"hi" };
        let bytes = post.to_bytes();
        assert_eq!(Post::parse(&bytes), Some(post));
        (0..bytes.len() - post.data.len()).for_each(|end| assert_eq!(Post::parse(&bytes[..end]), None));
    }
}
