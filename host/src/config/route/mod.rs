//! Routes: map request paths to handler names.
//!
//! Text from the command line and the config file enters, a [`Route`] leaves; [`Routes`] finds the route of a request.
//! Whether a named handler exists is checked when the plugins are loaded.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::config::route_limits::RouteLimits;
use crate::config::uri_path::{is_well_encoded, normalize};
use crate::config::web_origin::OriginRule;

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
    /// What its connections may cost.
    pub limits: RouteLimits,
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
    Callbacks {
        onconnect: Option<String>,
        onmessage: Option<String>,
        ondisconnect: Option<String>,
        ondrain: Option<String>,
    },
}

impl Route {
    /// Parses the value of `--route`: `PATH=HANDLER` or `PATH=ONCONNECT,ONMESSAGE,ONDISCONNECT`, with `,ONDRAIN` or
    /// without. An empty name in the second form ignores the event. The error states what was expected.
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
            [onconnect, onmessage, ondisconnect, ref drain @ ..] if drain.len() <= 1 => {
                let ondrain = optional(drain.first().copied().unwrap_or_default())?;
                let names = [optional(onconnect)?, optional(onmessage)?, optional(ondisconnect)?, ondrain];
                if names.iter().all(Option::is_none) {
                    return Err("expected at least one name: this route would ignore every event".into());
                }
                let [onconnect, onmessage, ondisconnect, ondrain] = names;
                Target::Callbacks { onconnect, onmessage, ondisconnect, ondrain }
            }
            ref names => {
                return Err(format!(
                    "found {} names, expected one (an onrequest handler) or three (onconnect, onmessage, \
                     ondisconnect), and after these ondrain; leave a name empty to ignore its event, as in `{path}=,message,`",
                    names.len()
                ));
            }
        };
        let (path, origin) = (RoutePath::parse(path)?, format!("--route '{text}'"));
        let (protocols, limits) = (Vec::new(), RouteLimits::default());
        Ok(Self { path, target, strip_prefix: None, protocols, origins: None, limits, origin })
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
mod tests;
