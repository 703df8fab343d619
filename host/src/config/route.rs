//! Routes: map request paths to handler names.
//!
//! Text from the command line and the config file enters, a [`Route`] leaves; [`Routes`] finds the route of a request.
//! Whether a named handler exists is checked when the plugins are loaded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use super::{compression::Compression, web_origin::OriginRule};
use crate::config::uri_path::{is_well_encoded, normalize};

const PATH_EXPECTED: &str = "expected a path such as `/chat`, or `/files/*` for all below it";
const HANDLER_EXPECTED: &str = "expected a handler's name, such as `join` or `chat:join`";

/// Sends the requests for `path` to `target`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub path: RoutePath,
    pub target: Target,
    /// The beginning of the path that its handlers do not see: `/app`.
    pub strip_prefix: Option<String>,
    /// Subprotocols of its connections: the first one that the client offers is selected.
    pub protocols: Vec<String>,
    /// Which pages may open WebSockets on it. None: the rule of the server.
    pub origins: Option<OriginRule>,
    /// Whether messages are compressed. None: as in the server.
    pub compression: Option<Compression>,
    /// Where the operator wrote the route, for messages: `--route '/chat=join,,leave'` or `callsign.toml:12`.
    pub origin: String,
}

/// Matches request paths. Two spellings of the same path are equal: `/café` and `/caf%C3%A9`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum RoutePath {
    Exact(String),
    /// Matches every path with this prefix. `/files/*` is stored as `/files/`.
    Prefix(String),
}

/// The handlers of a route. Names are `handler` or `plugin:handler`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// An onrequest handler answers every request.
    Handler(String),
    /// The handshake binds these callbacks to the connection. At least one is set; an event without a name is ignored.
    Callbacks { onconnect: Option<String>, onmessage: Option<String>, ondisconnect: Option<String> },
}

impl Route {
    /// Parses the value of `--route`: `PATH=HANDLER` or `PATH=ONCONNECT,ONMESSAGE,ONDISCONNECT`. An empty name in the
    /// second form ignores the event. The error states what was expected.
    pub fn from_flag(text: &str) -> Result<Self, String> {
        // A path may contain `=`, a handler name may not.
        let (path, names) = text.rsplit_once('=').ok_or(
            "expected PATH=HANDLER or PATH=ONCONNECT,ONMESSAGE,ONDISCONNECT, such as `/=page` or \
             `/chat=join,message,leave`",
        )?;
        let optional =
            |name: &str| if name.trim().is_empty() { Ok(None) } else { parse_handler(name).map(Some) };
        let target = match names.split(',').collect::<Vec<_>>()[..] {
            [handler] => Target::Handler(parse_handler(handler)?),
            [onconnect, onmessage, ondisconnect] => {
                let names = [optional(onconnect)?, optional(onmessage)?, optional(ondisconnect)?];
                if names.iter().all(Option::is_none) {
                    return Err("expected at least one name: this route would ignore every event".into());
                }
                let [onconnect, onmessage, ondisconnect] = names;
                Target::Callbacks { onconnect, onmessage, ondisconnect }
            }
            ref names => {
                return Err(format!(
                    "found {} names, expected one (an onrequest handler) or three (onconnect, onmessage, \
                     ondisconnect); leave a name empty to ignore its event, as in `{path}=,message,`",
                    names.len()
                ));
            }
        };
        let (path, origin, protocols) = (RoutePath::parse(path)?, format!("--route '{text}'"), Vec::new());
        Ok(Self { path, target, strip_prefix: None, protocols, origins: None, compression: None, origin })
    }

    /// Where the config file has the route; None: it is on the command line.
    pub fn file(&self) -> Option<&str> {
        Some(self.origin.as_str()).filter(|origin| !origin.starts_with("--route"))
    }
}

impl RoutePath {
    /// Parses the path of a route: a leading `/`, `*` only as the final `/*`, no query or fragment. The error states
    /// what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (path, prefix) = match text.strip_suffix('*') {
            Some(path) if path.ends_with('/') => (path, true),
            _ => (text, false),
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
        Ok(if prefix { Self::Prefix(path.to_owned()) } else { Self::Exact(path.to_owned()) })
    }

    /// Parses the beginning of this path that handlers do not see: whole segments, `/app` of `/app/*`. The error states
    /// what was expected.
    pub fn parse_strip_prefix(&self, text: &str) -> Result<String, String> {
        let prefix = text.trim();
        let (_, path) = self.normalized();
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

    /// True for a prefix; and the path in the spelling in which paths are compared.
    fn normalized(&self) -> (bool, Cow<'_, str>) {
        match self {
            Self::Exact(path) => (false, normalize(path)),
            Self::Prefix(path) => (true, normalize(path)),
        }
    }
}

impl PartialEq for RoutePath {
    fn eq(&self, other: &Self) -> bool {
        self.normalized() == other.normalized()
    }
}

impl Eq for RoutePath {}

impl Hash for RoutePath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.normalized().hash(state);
    }
}

impl fmt::Display for RoutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(path) => write!(f, "{path}*"),
        }
    }
}

/// Parses `handler` or `plugin:handler`. Rejects an empty part, a second colon, a space, a `,` and a `=`. The error
/// states what was expected.
pub fn parse_handler(text: &str) -> Result<String, String> {
    let name = text.trim();
    let parts = name.split(':').collect::<Vec<_>>();
    let is_malformed =
        |part: &&str| part.is_empty() || part.contains(|c: char| c.is_whitespace() || ",=".contains(c));
    if parts.len() > 2 || parts.iter().any(is_malformed) {
        return Err(HANDLER_EXPECTED.to_owned());
    }
    Ok(name.to_owned())
}

/// The paths of all routes, in the spelling in which paths are compared, with the index of each route.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    exact: HashMap<String, usize>,
    prefixes: HashMap<String, usize>,
    /// Bytes of the longest prefix.
    prefix_max: usize,
}

impl Routes {
    /// Returns the index of the route for a request path without its query: the exact route, else the longest prefix.
    /// `/files/*` matches `/files/` and everything below it, not `/files`. The time does not depend on the number of
    /// routes.
    pub fn find(&self, path: &str) -> Option<usize> {
        let path = normalize(path);
        self.exact.get(&*path).copied().or_else(|| {
            // A prefix ends in `/`.
            let ends = path.bytes().enumerate().take(self.prefix_max).filter(|(_, byte)| *byte == b'/');
            ends.rev().find_map(|(end, _)| self.prefixes.get(&path[..=end]).copied())
        })
    }
}

impl FromIterator<RoutePath> for Routes {
    fn from_iter<I: IntoIterator<Item = RoutePath>>(paths: I) -> Self {
        let mut routes = Self::default();
        for (index, path) in paths.into_iter().enumerate() {
            let (is_prefix, path) = path.normalized();
            if is_prefix {
                routes.prefix_max = routes.prefix_max.max(path.len());
            }
            let of_kind = if is_prefix { &mut routes.prefixes } else { &mut routes.exact };
            of_kind.insert(path.into_owned(), index);
        }
        routes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callbacks(names: [&str; 3]) -> Target {
        let [onconnect, onmessage, ondisconnect] =
            names.map(|name| (!name.is_empty()).then(|| name.to_owned()));
        Target::Callbacks { onconnect, onmessage, ondisconnect }
    }

    #[test]
    fn one_name_is_a_request_handler_and_three_are_callbacks() {
        let route = Route::from_flag("/chat=join,chat:message,leave").unwrap();
        assert_eq!(route.path, RoutePath::Exact("/chat".into()));
        assert_eq!(route.target, callbacks(["join", "chat:message", "leave"]));
        assert_eq!(route.origin, "--route '/chat=join,chat:message,leave'");

        let route = Route::from_flag("/files/* = web:page").unwrap();
        assert_eq!(route.path, RoutePath::Prefix("/files/".into()));
        assert_eq!(route.target, Target::Handler("web:page".into()));

        assert_eq!(Route::from_flag("/a=b=,message,").unwrap().path, RoutePath::Exact("/a=b".into()));
    }

    #[test]
    fn an_empty_name_ignores_its_event() {
        assert_eq!(Route::from_flag("/chat=,message,").unwrap().target, callbacks(["", "message", ""]));
    }

    #[test]
    fn a_malformed_flag_is_rejected_with_what_was_expected() {
        for (flag, message) in [
            (
                "/chat",
                "expected PATH=HANDLER or PATH=ONCONNECT,ONMESSAGE,ONDISCONNECT, such as `/=page` or \
                 `/chat=join,message,leave`",
            ),
            (
                "/chat=join,leave",
                "found 2 names, expected one (an onrequest handler) or three (onconnect, onmessage, \
                 ondisconnect); leave a name empty to ignore its event, as in `/chat=,message,`",
            ),
            (
                "/chat=a,b,c,d",
                "found 4 names, expected one (an onrequest handler) or three (onconnect, onmessage, \
                 ondisconnect); leave a name empty to ignore its event, as in `/chat=,message,`",
            ),
            ("/chat=,,", "expected at least one name: this route would ignore every event"),
            ("/chat=", "expected a handler's name, such as `join` or `chat:join`"),
            ("/chat=chat:", "expected a handler's name, such as `join` or `chat:join`"),
            ("/chat=:join", "expected a handler's name, such as `join` or `chat:join`"),
            ("/chat=a:b:c", "expected a handler's name, such as `join` or `chat:join`"),
            ("/chat=a b", "expected a handler's name, such as `join` or `chat:join`"),
            (
                "chat=page",
                "expected a path such as `/chat`, or `/files/*` for all below it; a path begins with `/`",
            ),
            (
                "*=page",
                "expected a path such as `/chat`, or `/files/*` for all below it; a path begins with `/`",
            ),
            (
                "/a*=page",
                "expected a path such as `/chat`, or `/files/*` for all below it; `*` stands only at the end \
                 and after a `/`",
            ),
            (
                "/*/b=page",
                "expected a path such as `/chat`, or `/files/*` for all below it; `*` stands only at the end \
                 and after a `/`",
            ),
            (
                "/a?b=page",
                "expected a path such as `/chat`, or `/files/*` for all below it; a path has no spaces, `?` \
                 or `#`",
            ),
            (
                "/100%=page",
                "expected a path such as `/chat`, or `/files/*` for all below it; `%` stands before two digits, \
                 as in `%20`, and is itself `%25`",
            ),
        ] {
            assert_eq!(Route::from_flag(flag), Err(message.to_owned()), "{flag}");
        }
    }

    fn routes(paths: &[&str]) -> Routes {
        paths.iter().map(|path| RoutePath::parse(path).unwrap()).collect()
    }

    #[test]
    fn the_exact_route_comes_before_every_prefix() {
        let routes = routes(&["/*", "/a/*", "/a/b"]);
        assert_eq!(routes.find("/a/b"), Some(2));
        assert_eq!(routes.find("/a/b/"), Some(1));
    }

    #[test]
    fn the_longest_prefix_wins_in_any_order() {
        for (paths, found) in [(["/a/b/*", "/a/*", "/*"], 0), (["/*", "/a/*", "/a/b/*"], 2)] {
            assert_eq!(routes(&paths).find("/a/b/c"), Some(found));
            assert_eq!(routes(&paths).find("/a/c"), Some(1));
        }
    }

    #[test]
    fn a_prefix_matches_its_folder_and_all_below_but_not_its_bare_name() {
        let routes = routes(&["/a/*"]);
        assert_eq!(routes.find("/a/"), Some(0));
        assert_eq!(routes.find("/a/b/c"), Some(0));
        assert_eq!(routes.find("/a"), None);
        assert_eq!(routes.find("/ab"), None);
        assert_eq!(Routes::default().find("/"), None);
    }

    #[test]
    fn a_path_may_be_spelled_in_several_ways() {
        let routes = routes(&["/café", "/my%20room/*", "/a-b", "/x/*"]);
        for (path, found) in [
            ("/caf%C3%A9", Some(0)),
            ("/caf%c3%a9", Some(0)),
            ("/café", Some(0)),
            ("/caf%E9", None),
            ("/my%20room/%7e", Some(1)),
            ("/%61%2Db", Some(2)),
            ("/x%2Fy", None),
            ("/x/%2F", Some(3)),
            ("/x/100%", Some(3)),
        ] {
            assert_eq!(routes.find(path), found, "{path}");
        }
        let parse = |path| RoutePath::parse(path).unwrap();
        assert_eq!(parse("/café"), parse("/caf%c3%A9"));
        assert!(parse("/café") != parse("/cafe") && parse("/a/") != parse("/a/*"));
    }

    #[test]
    fn whole_segments_of_a_path_can_be_stripped() {
        let parse = |path: &str, prefix: &str| RoutePath::parse(path).unwrap().parse_strip_prefix(prefix);
        for (path, prefix) in [
            ("/app/*", "/app"),
            ("/app", "/app"),
            ("/app/", "/app"),
            ("/app/a/*", "/app"),
            ("/app/a/*", "/app/a"),
            ("/caf%c3%a9/*", "/café"),
        ] {
            assert_eq!(parse(path, prefix), Ok(prefix.to_owned()), "{path} {prefix}");
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
        ] {
            let expected =
                format!("expected whole segments from the beginning of `{path}`, without a final `/`");
            assert_eq!(parse(path, prefix), Err(expected), "{path} {prefix}");
        }
    }

    #[test]
    fn the_longest_of_many_nested_prefixes_is_found() {
        let paths: Vec<String> = (0..200).map(|depth| format!("{}*", "/".repeat(depth + 1))).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert_eq!(routes(&paths).find(&"/".repeat(70)), Some(69));
        assert_eq!(routes(&paths).find(&"/".repeat(60_000)), Some(199));
    }

    #[test]
    fn paths_print_as_they_were_written() {
        for path in ["/", "/*", "/a", "/a/", "/a/*", "/café", "/my%20room"] {
            assert_eq!(RoutePath::parse(path).unwrap().to_string(), path);
        }
    }
}
