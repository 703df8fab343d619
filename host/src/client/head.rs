//! The head of a request, kept for as long as its connection: one allocation of NUL-terminated strings, because
//! plugins get pointers into it.

use std::ffi::CStr;
use std::fmt::Display;

use hyper::http::request::Parts;

/// Peer, path, query and headers of a request.
#[derive(Debug)]
pub struct Head {
    /// peer NUL path NUL query NUL (name NUL value NUL)*
    text: Box<[u8]>,
}

impl Head {
    /// Copies peer, path, query and headers of a request.
    pub fn new(parts: &Parts, peer: impl Display) -> Self {
        let peer = peer.to_string();
        let mut pieces = vec![peer.as_bytes(), parts.uri.path().as_bytes()];
        pieces.push(parts.uri.query().unwrap_or_default().as_bytes());
        for (name, value) in &parts.headers {
            pieces.extend([name.as_str().as_bytes(), value.as_bytes()]);
        }
        // Allocated to the byte: shrinking a larger allocation would leave a hole that stays unused.
        let mut text = Vec::with_capacity(pieces.iter().map(|piece| piece.len() + 1).sum());
        for piece in pieces {
            // HTTP allows no NUL in any of them. A NUL would only truncate its piece.
            text.extend_from_slice(piece.split(|&b| b == 0).next().unwrap_or_default());
            text.push(0);
        }
        Self { text: text.into_boxed_slice() }
    }

    /// All of it as bytes, for [`Head::from_bytes`].
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The head that [`Head::as_bytes`] has given. None: the bytes are no head.
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        let strings = text.iter().filter(|&&byte| byte == 0).count();
        let well_formed = text.ends_with(&[0]) && strings >= 3 && strings % 2 == 1;
        well_formed.then(|| Self { text: text.into() })
    }

    fn strings(&self) -> impl Iterator<Item = &CStr> {
        self.text
            .split_inclusive(|&b| b == 0)
            .map(|piece| CStr::from_bytes_until_nul(piece).unwrap_or_default())
    }

    fn string(&self, index: usize) -> &CStr {
        self.strings().nth(index).unwrap_or_default()
    }

    /// Address and port of the client, or `unix:` for one on a Unix socket.
    pub fn peer(&self) -> &CStr {
        self.string(0)
    }

    /// Path, percent-encoding kept.
    pub fn path(&self) -> &CStr {
        self.string(1)
    }

    /// What followed the `?`, or "".
    pub fn query(&self) -> &CStr {
        self.string(2)
    }

    /// Header number `index`; the name is in lower case.
    pub fn header_at(&self, index: usize) -> Option<(&CStr, &CStr)> {
        let mut rest = self.strings().skip(index.checked_mul(2)?.checked_add(3)?);
        Some((rest.next()?, rest.next()?))
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &[u8]) -> Option<&CStr> {
        let mut pairs = (0..).map_while(|index| self.header_at(index));
        pairs.find(|(other, _)| other.to_bytes().eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}
