//! The path of a route, with its parameters: `/room/{room}`.
//!
//! Invariant: a parameter stands for whole segments, so that a path is split before anything in it is decoded.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::config::uri_path::{is_well_encoded, normalize};

const PATH_EXPECTED: &str = "expected a path such as `/chat`, `/room/{room}`, or `/files/*` for all below it";

/// Matches request paths. Two spellings of the same path are equal: `/café` and `/caf%C3%A9`. So are paths whose
/// parameters have other names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum RoutePath {
    /// Segments may be parameters: `/room/{room}`.
    Exact(String),
    /// Matches every path with this prefix. `/files/*` is stored as `/files/`.
    Prefix(String),
    /// The same, and what follows is a parameter: `/files/{*path}` is stored as `/files/` and `path`.
    Rest(String, String),
}

/// One segment of a route's path.
#[derive(Debug, PartialEq, Eq)]
pub enum Segment<'p> {
    /// In the spelling in which paths are compared.
    Static(Cow<'p, str>),
    /// A parameter stands for one segment, which is not empty.
    Parameter(&'p str),
}

/// A parameter of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    /// The number of its segment, from 0.
    pub segment: usize,
    /// Whether all segments that follow belong to it.
    pub is_rest: bool,
}

impl RoutePath {
    /// Parses the path of a route: a leading `/`, `*` only as the final `/*`, no query or fragment, parameters that are
    /// whole segments. The error states what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (path, rest) = match text.strip_suffix('}').and_then(|text| text.rsplit_once("{*")) {
            Some((path, name)) if path.ends_with('/') => (path, Some(name)),
            _ => (text, None),
        };
        let (path, prefix) = match path.strip_suffix('*') {
            Some(path) if path.ends_with('/') && rest.is_none() => (path, true),
            _ => (path, false),
        };
        if !path.starts_with('/') {
            return Err(format!("{PATH_EXPECTED}; a path begins with `/`"));
        }
        if path.contains('*') {
            return Err(format!("{PATH_EXPECTED}; `*` stands only at the end and after a `/`"));
        }
        if path.contains(['?', '#']) || path.contains(char::is_whitespace) {
            return Err(format!("{PATH_EXPECTED}; a path has no spaces, `?` or `#`"));
        }
        if !is_well_encoded(path) {
            return Err(format!(
                "{PATH_EXPECTED}; `%` stands before two digits, as in `%20`, and is itself `%25`"
            ));
        }
        if path.split('/').any(|segment| segment.contains(['{', '}']) && parameter(segment).is_none()) {
            return Err(format!(
                "{PATH_EXPECTED}; a parameter is a whole segment, and `{{` and `}}` are otherwise `%7B` and `%7D`"
            ));
        }
        let parsed = match (rest, prefix) {
            (Some(name), _) => Self::Rest(path.to_owned(), name.to_owned()),
            (None, true) => Self::Prefix(path.to_owned()),
            (None, false) => Self::Exact(path.to_owned()),
        };
        let parameters = parsed.parameters();
        for (index, Parameter { name, .. }) in parameters.iter().enumerate() {
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && name.starts_with(|first: char| !first.is_ascii_digit());
            if !is_name {
                return Err(format!(
                    "{PATH_EXPECTED}; the name of a parameter has letters, digits and `_`, and begins with no digit"
                ));
            }
            if parameters[..index].iter().any(|other| other.name == *name) {
                return Err(format!("expected parameters with different names; two are called `{name}`"));
            }
        }
        Ok(parsed)
    }

    /// Parses the beginning of this path that handlers do not see: whole segments, `/app` of `/app/*`. The error states
    /// what was expected.
    pub fn parse_strip_prefix(&self, text: &str) -> Result<String, String> {
        let prefix = text.trim();
        let path = normalize(self.text());
        let rest = match Self::parse(prefix) {
            Ok(Self::Exact(prefix)) if !prefix.ends_with('/') => {
                path.strip_prefix(&*normalize(&prefix)).map(str::to_owned)
            }
            _ => None,
        };
        match rest {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Ok(prefix.to_owned()),
            _ => Err(format!("expected whole segments from the beginning of `{self}`, without a final `/`")),
        }
    }

    /// The segments; those that only a prefix has are not among them.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        let inside = self.text().strip_prefix('/').unwrap_or_default();
        let inside = match (self.is_prefix(), inside) {
            (true, "") => None,
            (true, inside) => Some(inside.strip_suffix('/').unwrap_or(inside)),
            (false, inside) => Some(inside),
        };
        let segments = inside.map(|inside| inside.split('/')).into_iter().flatten();
        segments.map(|segment| match parameter(segment) {
            Some(name) => Segment::Parameter(name),
            None => Segment::Static(normalize(segment)),
        })
    }

    /// The parameters, in the order of the path.
    pub fn parameters(&self) -> Vec<Parameter> {
        let named = self.segments().enumerate().filter_map(|(segment, it)| match it {
            Segment::Parameter(name) => Some(Parameter { name: name.to_owned(), segment, is_rest: false }),
            Segment::Static(_) => None,
        });
        let rest = match self {
            Self::Rest(_, name) => {
                Some(Parameter { name: name.clone(), segment: self.segments().count(), is_rest: true })
            }
            _ => None,
        };
        named.chain(rest).collect()
    }

    /// Whether it matches all that begins with it.
    pub fn is_prefix(&self) -> bool {
        !matches!(self, Self::Exact(_))
    }

    /// The same for all paths that match the same requests.
    pub fn pattern(&self) -> String {
        let mut pattern = String::new();
        for segment in self.segments() {
            // Writing to a String does not fail.
            let _ = match segment {
                Segment::Static(text) => write!(pattern, "/{text}"),
                Segment::Parameter(_) => write!(pattern, "/{{}}"),
            };
        }
        if self.is_prefix() { pattern + "/*" } else { pattern }
    }

    fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) | Self::Rest(text, _) => text,
        }
    }
}

/// The name of the parameter that a segment is.
fn parameter(segment: &str) -> Option<&str> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    (!name.contains(['{', '}'])).then_some(name)
}

impl PartialEq for RoutePath {
    fn eq(&self, other: &Self) -> bool {
        self.pattern() == other.pattern()
    }
}

impl Eq for RoutePath {}

impl Hash for RoutePath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pattern().hash(state);
    }
}

impl fmt::Display for RoutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(path) => write!(f, "{path}*"),
            Self::Rest(path, name) => write!(f, "{path}{{*{name}}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> RoutePath {
        RoutePath::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    #[test]
    fn whole_segments_of_a_path_can_be_stripped() {
        let strip = |path: &str, prefix: &str| parse(path).parse_strip_prefix(prefix);
        for (path, prefix) in [
            ("/app/*", "/app"),
            ("/app", "/app"),
            ("/app/", "/app"),
            ("/app/a/*", "/app"),
            ("/app/a/*", "/app/a"),
            ("/caf%c3%a9/*", "/café"),
            ("/app/{*path}", "/app"),
            ("/of/{team}/page", "/of/{team}"),
        ] {
            assert_eq!(strip(path, prefix), Ok(prefix.to_owned()), "{path} {prefix}");
        }
        for (path, prefix) in [
            ("/app/*", ""),
            ("/app/*", "/"),
            ("/app/*", "/app/"),
            ("/app/*", "/app/*"),
            ("/app/*", "/ap"),
            ("/app/*", "app"),
            ("/app/*", "/app/a"),
            ("/app", "/App"),
            ("/*", "/app"),
            ("/a%2Fb/*", "/a"),
            ("/a", "/%"),
            ("/of/{team}/page", "/of/{other}"),
            ("/app/{*path}", "/app/{*path}"),
        ] {
            let expected =
                format!("expected whole segments from the beginning of `{path}`, without a final `/`");
            assert_eq!(strip(path, prefix), Err(expected), "{path} {prefix}");
        }
    }

    #[test]
    fn paths_print_as_they_were_written() {
        for path in [
            "/",
            "/*",
            "/a",
            "/a/",
            "/a/*",
            "/café",
            "/my%20room",
            "/{a}/b/{c}",
            "/{a}/*",
            "/{a}/{*b}",
            "/{*b}",
        ] {
            assert_eq!(parse(path).to_string(), path);
        }
    }

    #[test]
    fn paths_that_match_the_same_requests_are_equal() {
        for (one, other) in [
            ("/café", "/caf%c3%A9"),
            ("/a-b/{x}", "/a%2Db/{y}"),
            ("/{x}/*", "/{y}/{*rest}"),
            ("/{*path}", "/*"),
        ] {
            assert_eq!(parse(one), parse(other));
        }
        for (one, other) in [
            ("/café", "/cafe"),
            ("/a/", "/a/*"),
            ("/a", "/a/"),
            ("/{x}", "/{*x}"),
            ("/{x}", "/%7Bx%7D"),
            ("/", "/*"),
        ] {
            assert_ne!(parse(one), parse(other));
        }
    }

    #[test]
    fn parameters_have_their_segments() {
        let parameters = |path: &str| -> Vec<(String, usize, bool)> {
            parse(path).parameters().into_iter().map(|it| (it.name, it.segment, it.is_rest)).collect()
        };
        assert_eq!(parameters("/a/*"), []);
        assert_eq!(
            parameters("/{x}//b/{y_2}/{*z}"),
            [("x".to_owned(), 0, false), ("y_2".to_owned(), 3, false), ("z".to_owned(), 4, true)]
        );
        assert_eq!(parameters("/{*z}"), [("z".to_owned(), 0, true)]);
    }

    #[test]
    fn a_malformed_parameter_is_rejected() {
        for (path, why) in [
            ("/a{x}", "a parameter is a whole segment, and `{` and `}` are otherwise `%7B` and `%7D`"),
            ("/{x}.png", "a parameter is a whole segment, and `{` and `}` are otherwise `%7B` and `%7D`"),
            ("/{x}{y}", "a parameter is a whole segment, and `{` and `}` are otherwise `%7B` and `%7D`"),
            ("/{x", "a parameter is a whole segment, and `{` and `}` are otherwise `%7B` and `%7D`"),
            ("/a}", "a parameter is a whole segment, and `{` and `}` are otherwise `%7B` and `%7D`"),
            ("/a/{*x}/b", "`*` stands only at the end and after a `/`"),
            ("/a/x{*y}", "`*` stands only at the end and after a `/`"),
            ("/{}", "the name of a parameter has letters, digits and `_`, and begins with no digit"),
            ("/{*}", "the name of a parameter has letters, digits and `_`, and begins with no digit"),
            ("/{1a}", "the name of a parameter has letters, digits and `_`, and begins with no digit"),
            ("/{a-b}", "the name of a parameter has letters, digits and `_`, and begins with no digit"),
            ("/{*a/b}", "the name of a parameter has letters, digits and `_`, and begins with no digit"),
        ] {
            assert_eq!(RoutePath::parse(path).map(|_| ()), Err(format!("{PATH_EXPECTED}; {why}")), "{path}");
        }
        let twice = "expected parameters with different names; two are called `x`".to_owned();
        assert_eq!(RoutePath::parse("/{x}/{*x}").map(|_| ()), Err(twice));
    }
}
