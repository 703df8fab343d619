//! Where a request ends in what a client sends. A client may send the next request behind it (pipelining, RFC 9112
//! §9.3.2).

/// Looks for the end of a head: the first empty line after the request line. Empty lines before it are skipped (RFC 9112
/// §2.2).
#[derive(Clone, Copy, Debug)]
pub struct HeadEnd {
    is_begun: bool,
    line_is_empty: bool,
}

impl HeadEnd {
    /// Nothing of the head has arrived.
    pub fn new() -> Self {
        Self { is_begun: false, line_is_empty: true }
    }

    /// How many of the next bytes are of the head. Fewer than there are: the head ends with them.
    pub fn length(&mut self, bytes: &[u8]) -> usize {
        for (index, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if self.is_begun && self.line_is_empty => return index + 1,
                b'\n' => self.line_is_empty = true,
                b'\r' => {}
                _ => *self = Self { is_begun: true, line_is_empty: false },
            }
        }
        bytes.len()
    }
}

/// Looks for the end of a body in chunks: the empty line behind the last chunk and its trailers (RFC 9112 §7.1).
#[derive(Clone, Copy, Debug)]
pub enum ChunksEnd {
    /// In the line with a chunk's size; `is_size` until something else follows the digits.
    Size { size: u64, is_size: bool },
    /// In a chunk, and how many bytes of it are left.
    Data(u64),
    /// In the line that ends a chunk.
    DataEnd,
    /// Behind the last chunk.
    Trailers { line_is_empty: bool },
    /// The body has ended.
    Over,
}

impl ChunksEnd {
    /// Nothing of the body has arrived.
    pub fn new() -> Self {
        Self::Size { size: 0, is_size: true }
    }

    /// How many of the next bytes are of the body. Fewer than there are: the body ends with them.
    pub fn length(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let Self::Data(left) = self {
                let length = (bytes.len() - at).min(usize::try_from(*left).unwrap_or(usize::MAX));
                (*left, at) = (*left - length as u64, at + length);
                if *left == 0 {
                    *self = Self::DataEnd;
                }
                continue;
            }
            *self = self.after(byte);
            at += 1;
            if matches!(self, Self::Over) {
                break;
            }
        }
        at
    }

    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Size { size: 0, .. }, b'\n') => Self::Trailers { line_is_empty: true },
            (Self::Size { size, .. }, b'\n') => Self::Data(size),
            (Self::Size { size, is_size: true }, _) => match char::from(byte).to_digit(16) {
                Some(digit) => {
                    let size = size.saturating_mul(16).saturating_add(digit.into());
                    Self::Size { size, is_size: true }
                }
                None => Self::Size { size, is_size: false },
            },
            (Self::DataEnd, b'\n') => Self::new(),
            (Self::Trailers { line_is_empty: true }, b'\n') => Self::Over,
            (Self::Trailers { .. }, b'\n') => Self::Trailers { line_is_empty: true },
            (Self::Trailers { .. }, b'\r') => self,
            (Self::Trailers { .. }, _) => Self::Trailers { line_is_empty: false },
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much of what is sent in pieces of each size is taken.
    #[track_caller]
    fn assert_taken<E>(sent: &str, length: usize, new: fn() -> E, take: fn(&mut E, &[u8]) -> usize) {
        for size in 1..=sent.len() {
            let (mut end, mut taken) = (new(), 0);
            for piece in sent.as_bytes().chunks(size) {
                taken += take(&mut end, piece);
                if taken % size != 0 || taken == length {
                    break;
                }
            }
            assert_eq!(taken, length, "{sent:?} in pieces of {size}");
        }
    }

    #[test]
    fn a_head_ends_with_the_first_empty_line_however_it_arrives() {
        for (sent, length) in [
            ("GET / HTTP/1.1\r\na: b\r\n\r\nGET", 24),
            ("GET / HTTP/1.1\n\nGET", 16),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\nGET", 22),
            ("GET / HTTP/1.1\r\na: b\r\n", 22),
        ] {
            assert_taken(sent, length, HeadEnd::new, HeadEnd::length);
        }
    }

    #[test]
    fn a_body_in_chunks_ends_behind_the_last_one_and_its_trailers_however_it_arrives() {
        for (sent, length) in [
            ("0\r\n\r\nGET", 5),
            ("4\r\n0\r\n\r\r\n0\r\n\r\nGET", 14),
            ("1A; b=c\r\n\n\n0\r\n\r\n...................\r\n0\r\n\r\nGET", 42),
            ("1\r\na\r\n0;b\r\nc: d\r\ne: f\r\n\r\nGET", 25),
            ("1\na\n0\n\nGET", 7),
            ("4\r\nbody\r\n0\r\n", 12),
            ("ffffffffffffffffffffffff\r\n0\r\n\r\n", 31),
        ] {
            assert_taken(sent, length, ChunksEnd::new, ChunksEnd::length);
        }
    }
}
