//! The head of a request, kept for as long as its connection: one allocation of NUL-terminated strings, because
//! plugins get pointers into it. Lookups use an index ([`index`]) that no connection keeps.

mod index; // where the headers of one head are

use std::ffi::CStr;
use std::fmt::Display;

use hyper::header::COOKIE;
use hyper::http::request::Parts;

use crate::config::c_strings;

/// Bytes of a head whose headers are found by index. A shorter one is read through in about a microsecond.
const INDEXED: usize = 2048;

/// Peer, path, query and headers of a request.
#[derive(Debug)]
pub struct Head {
    /// peer NUL path NUL query NUL (name NUL value NUL)*
    text: Box<[u8]>,
}

impl Head {
    /// Copies query and headers of a request. Several Cookie lines become one (RFC 6265 §5.4).
    pub fn new(parts: &Parts, path: &str, peer: impl Display) -> Self {
        const END: &[u8] = &[0];
        let (peer, uri) = (peer.to_string(), &parts.uri);
        // Each with what follows it.
        let mut pieces = vec![(peer.as_bytes(), END), (path.as_bytes(), END)];
        pieces.push((uri.query().unwrap_or_default().as_bytes(), END));
        for name in parts.headers.keys() {
            let mut values = parts.headers.get_all(name).iter().peekable();
            pieces.push((name.as_str().as_bytes(), END));
            while let Some(value) = values.next() {
                let is_last = values.peek().is_none();
                if name != COOKIE || is_last {
                    pieces.push((value.as_bytes(), END));
                } else {
                    pieces.push((value.as_bytes(), b"; "));
                }
                if name != COOKIE && !is_last {
                    pieces.push((name.as_str().as_bytes(), END));
                }
            }
        }
        // Allocated to the byte: shrinking a larger allocation would leave a hole that stays unused.
        let length = pieces.iter().map(|(piece, end)| piece.len() + end.len()).sum();
        let mut text = Vec::with_capacity(length);
        for (piece, end) in pieces {
            // HTTP allows no NUL in any of them. A NUL would only truncate its piece.
            text.extend_from_slice(piece.split(|&b| b == 0).next().unwrap_or_default());
            text.extend_from_slice(end);
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
        c_strings::split(&self.text)
    }

    fn string(&self, index: usize) -> &CStr {
        self.strings().nth(index).unwrap_or_default()
    }

    /// The string that begins at this byte.
    fn string_at(&self, at: u32) -> &CStr {
        let rest = self.text.get(at as usize..).unwrap_or_default();
        CStr::from_bytes_until_nul(rest).unwrap_or_default()
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
        let (name, value) = index::header_at(&self.text, index)?;
        Some((self.string_at(name), self.string_at(value)))
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &[u8]) -> Option<&CStr> {
        if self.text.len() >= INDEXED {
            return index::header(&self.text, name).map(|value| self.string_at(value));
        }
        let mut strings = self.strings().skip(3);
        while let (Some(other), Some(value)) = (strings.next(), strings.next()) {
            if other.to_bytes().eq_ignore_ascii_case(name) {
                return Some(value);
            }
        }
        None
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        index::forget(&self.text);
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn head(headers: impl IntoIterator<Item = (String, String)>) -> Head {
        let mut request = Request::get("/path?query");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Head::new(&request.body(()).expect("a request").into_parts().0, "/path", "unix:")
    }

    /// Short and long heads, with names that occur twice.
    fn heads() -> [Head; 3] {
        [0, 3, 2000].map(|count| head((0..count).map(|n| (format!("x-{}", n * 7 % 1500), format!("{n}")))))
    }

    #[test]
    fn headers_are_found_by_number_and_by_name_in_any_order_of_heads() {
        let heads = heads();
        for _ in 0..2 {
            for (head, count) in heads.iter().zip([0, 3, 2000]) {
                let all: Vec<_> = (0..).map_while(|index| head.header_at(index)).collect();
                assert_eq!(all.len(), count);
                for (name, _) in &all {
                    let first = all.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
                    let upper = name.to_bytes().to_ascii_uppercase();
                    assert_eq!(head.header(&upper), first);
                }
                for missing in ["", "x", "x-", "x-1500", "z", "query"] {
                    assert_eq!(head.header(missing.as_bytes()), None);
                }
                assert_eq!((head.header_at(count), head.header_at(usize::MAX)), (None, None));
                assert_eq!((head.path(), head.query(), head.peer()), (c"/path", c"query", c"unix:"));
            }
        }
    }

    /// The next head may get the memory of the last one.
    #[test]
    fn the_index_of_a_head_ends_with_it() {
        for round in 0..100 {
            let head = head((0..300).map(|n| (format!("x-{round}-{n:03}"), format!("{round}"))));
            let value = std::ffi::CString::new(round.to_string()).expect("no NUL");
            for n in [0, 299] {
                assert_eq!(head.header(format!("X-{round}-{n:03}").as_bytes()), Some(&*value));
                assert_eq!(head.header_at(n).map(|(_, value)| value), Some(&*value));
            }
        }
    }

    #[test]
    fn cookie_lines_are_one_header_and_others_stay() {
        let pairs = [("cookie", "a=1"), ("x", "1"), ("cookie", "b=2"), ("x", "2"), ("cookie", "c=3")];
        let head = head(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(head.header(b"Cookie"), Some(c"a=1; b=2; c=3"));
        let all: Vec<_> = (0..).map_while(|index| head.header_at(index)).collect();
        assert_eq!(all, [(c"cookie", c"a=1; b=2; c=3"), (c"x", c"1"), (c"x", c"2")]);
    }
}
