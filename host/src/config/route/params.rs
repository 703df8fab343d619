//! The parameters of one request. The path enters, split before it is decoded; names and values leave as C strings.

use std::ffi::CStr;

use super::path::Parameter;
use crate::config::c_strings;
use crate::config::uri_path::{decode, segments_from};

/// Names and decoded values of a request's parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// (name NUL value NUL)*
    text: Box<[u8]>,
}

impl Params {
    /// The values that the parameters of a route have in a path, which the route matches. None: one is not UTF-8, or has a
    /// NUL, which would end it early for a plugin in C.
    pub fn of(parameters: &[Parameter], path: &str) -> Option<Self> {
        let mut text = Vec::new();
        for Parameter { name, segment, is_rest } in parameters {
            let rest = segments_from(path, *segment);
            let value = if *is_rest { rest } else { rest.split('/').next().unwrap_or_default() };
            let value = decode(value);
            if value.contains(&0) || std::str::from_utf8(&value).is_err() {
                return None;
            }
            for part in [name.as_bytes(), &value] {
                text.extend_from_slice(part);
                text.push(0);
            }
        }
        Some(Self { text: text.into() })
    }

    /// The value of the parameter of that name.
    pub fn get(&self, name: &[u8]) -> Option<&CStr> {
        let mut strings = c_strings::split(&self.text);
        while let (Some(other), Some(value)) = (strings.next(), strings.next()) {
            if other.to_bytes() == name {
                return Some(value);
            }
        }
        None
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// All of it as bytes, for [`Params::from_bytes`].
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// What [`Params::as_bytes`] has given. None: the bytes are no parameters.
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        let strings = text.iter().filter(|&&byte| byte == 0).count();
        let is_whole = text.last().is_none_or(|&last| last == 0) && strings % 2 == 0;
        (is_whole && std::str::from_utf8(text).is_ok()).then(|| Self { text: text.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::route::RoutePath;

    fn values(route: &str, path: &str) -> Option<Vec<String>> {
        let parameters = RoutePath::parse(route).unwrap().parameters();
        let params = Params::of(&parameters, path)?;
        let value = |it: &Parameter| params.get(it.name.as_bytes()).unwrap().to_str().unwrap().to_owned();
        Some(parameters.iter().map(value).collect())
    }

    #[test]
    fn values_are_decoded_after_the_path_is_split() {
        for (route, path, expected) in [
            ("/room/{room}", "/room/blue", &["blue"][..]),
            ("/room/{room}", "/room/a%2Fb%20c+d", &["a/b c+d"]),
            ("/room/{room}", "/room/caf%c3%A9", &["café"]),
            ("/room/{room}", "/room/café", &["café"]),
            ("/room/{room}", "/room/%252F", &["%2F"]),
            ("/room/{room}", "/room/100%", &["100%"]),
            ("/room/{room}", "/room/%zz%4", &["%zz%4"]),
            ("/room/{room}", "/room/..", &[".."]),
            ("/{a}/x/{b}", "/1/x/2", &["1", "2"]),
            ("/{a}/{*b}", "/1/2/%2F3//", &["1", "2//3//"]),
            ("/f/{*b}", "/f/", &[""]),
            ("/{*b}", "/", &[""]),
        ] {
            assert_eq!(values(route, path).unwrap(), expected, "{route} {path}");
        }
    }

    #[test]
    fn what_is_no_text_has_no_value() {
        for path in ["/%00", "/a%00b", "/%ff", "/%C3", "/%ed%a0%80"] {
            assert_eq!(values("/{a}", path), None, "{path}");
        }
    }

    #[test]
    fn bytes_are_parameters_again() {
        let params = Params::of(&RoutePath::parse("/{a}/{*b}").unwrap().parameters(), "/1/").unwrap();
        assert_eq!(params.as_bytes(), b"a\x001\0b\0\0");
        assert_eq!(Params::from_bytes(params.as_bytes()), Some(params.clone()));
        assert_eq!((params.get(b"b"), params.get(b"1"), params.get(b"")), (Some(c""), None, None));
        for bytes in [&b"a"[..], b"a\0", b"a\0b", b"a\0\xff\0"] {
            assert_eq!(Params::from_bytes(bytes), None);
        }
    }
}
