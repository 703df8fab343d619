//! A string of bounded length in shared memory.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

/// At most `N` bytes; longer strings are truncated. Reading while another process writes returns a mixture of both
/// strings, which is harmless.
#[repr(C)]
#[derive(Debug)]
pub struct Text<const N: usize> {
    length: AtomicU32,
    bytes: [AtomicU8; N],
}

impl<const N: usize> Text<N> {
    pub const fn new() -> Self {
        Self { length: AtomicU32::new(0), bytes: [const { AtomicU8::new(0) }; N] }
    }

    pub fn write(&self, text: &str) {
        for (to, from) in self.bytes.iter().zip(text.bytes()) {
            to.store(from, Relaxed);
        }
        self.length.store(text.len().min(N) as u32, Relaxed);
    }

    /// The string, with U+FFFD for invalid UTF-8.
    pub fn read(&self) -> String {
        let length = (self.length.load(Relaxed) as usize).min(N);
        let bytes: Vec<u8> = self.bytes[..length].iter().map(|byte| byte.load(Relaxed)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
