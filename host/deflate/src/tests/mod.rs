//! Tests against RFC 7692: its examples, its rules for parameters, and streams of zlib with a memory of their own.

mod negotiate; // section 7.1

mod messages; // section 7.2

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::*;

/// xorshift64: the same messages in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    /// JSON as applications send it: what repeats is in earlier messages more than in the message itself.
    fn json(&mut self, fields: usize) -> Vec<u8> {
        let field = |_| format!("\"price-{}\":0.{:06},", self.below(30), self.below(1_000_000));
        let fields: String = (0..fields).map(field).collect();
        format!("{{\"type\":\"tick\",{fields}\"room\":\"lobby\"}}").into_bytes()
    }
}

/// One side of a connection as others implement it: with a stream of its own that it never resets.
struct Peer {
    compress: Compress,
    decompress: Decompress,
}

impl Peer {
    fn new(window_bits: u8) -> Self {
        Self {
            compress: Compress::new_with_window_bits(Compression::new(6), false, window_bits),
            decompress: Decompress::new_with_window_bits(false, window_bits),
        }
    }

    fn compress(&mut self, message: &[u8]) -> Vec<u8> {
        let mut output = Vec::with_capacity(2 * message.len() + 64);
        self.compress.compress_vec(message, &mut output, FlushCompress::Sync).unwrap();
        output.strip_suffix(&FLUSH_END).expect("it was flushed").to_vec()
    }

    fn inflate(&mut self, message: &[u8], length: usize) -> Vec<u8> {
        let mut output = Vec::with_capacity(length + 64);
        let input = [message, &FLUSH_END].concat();
        self.decompress.decompress_vec(&input, &mut output, FlushDecompress::Sync).unwrap();
        output
    }
}
