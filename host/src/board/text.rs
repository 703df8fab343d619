//! A string of bounded length in shared memory.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

/// At most `N` bytes; longer strings are cut. Reading while another process writes gives a mixture of both,
/// and never more than that.
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

    /// What was written, with U+FFFD for what is not UTF-8.
    pub fn read(&self) -> String {
        let length = (self.length.load(Relaxed) as usize).min(N);
        let bytes: Vec<u8> = self.bytes[..length].iter().map(|byte| byte.load(Relaxed)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
