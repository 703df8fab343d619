//! Whether and how messages of a route are compressed (permessage-deflate, RFC 7692).

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::defaults::{
    CONTEXT_THRESHOLD, CONTEXT_WINDOW_BITS, DEFAULT_COMPRESSION, DEFAULT_COMPRESSION_LEVEL, ON_THRESHOLD,
    ON_WINDOW_BITS,
};

/// What a compressed message may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum CompressionMode {
    /// Messages are not compressed
    Off,
    /// Each message is compressed by itself: the server keeps nothing for a client
    On,
    /// Messages may refer to earlier ones: smaller, for up to 4 KiB per client and direction
    Context,
}

impl CompressionMode {
    /// Parses the value of a key. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::from_str(text, false).map_err(|_| EXPECTED.to_owned())
    }
}

/// What the value of `compression` may be.
pub const EXPECTED: &str =
    "expected \"off\", \"on\", \"context\", or a table such as { mode = \"on\", level = 6 }";

/// Whether and how messages of a route are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compression {
    pub mode: CompressionMode,
    /// Bits of the largest window, from 9 to 15.
    pub window_bits: u8,
    /// From 1, the fastest, to 9, the smallest result.
    pub level: u8,
    /// Bytes. Smaller messages of the server are not compressed.
    pub threshold: usize,
}

impl Compression {
    /// The defaults of a mode.
    pub fn of(mode: CompressionMode) -> Self {
        let (window_bits, threshold) = match mode {
            CompressionMode::Context => (CONTEXT_WINDOW_BITS, CONTEXT_THRESHOLD),
            CompressionMode::Off | CompressionMode::On => (ON_WINDOW_BITS, ON_THRESHOLD),
        };
        Self { mode, window_bits, level: DEFAULT_COMPRESSION_LEVEL, threshold }
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::of(DEFAULT_COMPRESSION)
    }
}
