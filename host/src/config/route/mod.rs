//! Routes: map requests to handler names, by path, method and host.
//!
//! Text from the command line and the config file enters, a [`Route`] leaves; [`Routes`] finds the route of a request.
//! Whether a named handler exists is checked when the plugins are loaded.

mod path; // the path, with its parameters

mod methods; // GET, POST

mod host; // example.org

mod claims; // which requests routes take

mod table; // finds the route of a request

mod params; // the parameters of a request

mod files; // a folder with static files

mod headers; // headers of its responses

use serde::{Deserialize, Serialize};

use super::compression::Compression;
use super::route_limits::RouteLimits;
use super::web_origin::OriginRule;

pub use claims::Claims;
pub use files::{DEFAULT_CACHE_CONTROL, Files, parse_cache_control};
pub use headers::{parse_header_name, parse_header_value};
pub use host::HostPattern;
pub use methods::parse_method;
pub use params::Params;
pub use path::{Parameter, RoutePath};
pub use table::Routes;

const HANDLER_EXPECTED: &str = "expected a handler's name, such as `join` or `chat:join`";

/// Sends the requests for `path` to `target`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub path: RoutePath,
    /// Methods of its requests. Empty: all that no other route of the path lists.
    pub methods: Vec<String>,
    /// Hosts of its requests. Empty: all.
    pub hosts: Vec<HostPattern>,
    pub target: Target,
    /// The beginning of the path that its handlers do not see: `/app`.
    pub strip_prefix: Option<String>,
    /// Subprotocols of its connections: the first one that the client offers is selected.
    pub protocols: Vec<String>,
    /// Which pages may open WebSockets on it. None: the rule of the server.
    pub origins: Option<OriginRule>,
    /// Whether messages of its connections are compressed. None: the setting of the server.
    pub compression: Option<Compression>,
    /// Names in lower case, and values, of headers that its responses get, unless they have one of that name.
    pub headers: Vec<(String, String)>,
    /// What its connections may cost.
    pub limits: RouteLimits,
    /// Where the operator wrote the route, for messages: `--route '/chat=join,,leave'` or `callsign.toml:12`.
    pub origin: String,
}

/// What answers the requests of a route. Names are `handler` or `plugin:handler`.
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
    /// The host serves static files.
    Files(Files),
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
                     ondisconnect), and after these ondrain; leave a name empty to ignore its event, as in \
                     `{path}=,message,`",
                    names.len()
                ));
            }
        };
        let (path, origin) = (RoutePath::parse(path)?, format!("--route '{text}'"));
        Ok(Self {
            path,
            methods: Vec::new(),
            hosts: Vec::new(),
            target,
            strip_prefix: None,
            protocols: Vec::new(),
            origins: None,
            compression: None,
            headers: Vec::new(),
            limits: RouteLimits::default(),
            origin,
        })
    }

    /// Where the config file has the route; None: it is on the command line.
    pub fn file(&self) -> Option<&str> {
        Some(self.origin.as_str()).filter(|origin| !origin.starts_with("--route"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn callbacks(names: [&str; 4]) -> Target {
        let [onconnect, onmessage, ondisconnect, ondrain] =
            names.map(|name| (!name.is_empty()).then(|| name.to_owned()));
        Target::Callbacks { onconnect, onmessage, ondisconnect, ondrain }
    }

    #[test]
    fn one_name_is_a_request_handler_and_three_are_callbacks() {
        let route = Route::from_flag("/chat=join,chat:message,leave").unwrap();
        assert_eq!(route.path, RoutePath::Exact("/chat".into()));
        assert_eq!(route.target, callbacks(["join", "chat:message", "leave", ""]));
        assert_eq!(route.origin, "--route '/chat=join,chat:message,leave'");

        let route = Route::from_flag("/files/* = web:page").unwrap();
        assert_eq!(route.path, RoutePath::Prefix("/files/".into()));
        assert_eq!(route.target, Target::Handler("web:page".into()));

        assert_eq!(Route::from_flag("/a=b=,message,").unwrap().path, RoutePath::Exact("/a=b".into()));
    }

    #[test]
    fn an_empty_name_ignores_its_event() {
        assert_eq!(Route::from_flag("/chat=,message,").unwrap().target, callbacks(["", "message", "", ""]));
        assert_eq!(Route::from_flag("/a=,m,,").unwrap().target, callbacks(["", "m", "", ""]));
        assert_eq!(Route::from_flag("/a=,m,,go_on").unwrap().target, callbacks(["", "m", "", "go_on"]));
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
                 ondisconnect), and after these ondrain; leave a name empty to ignore its event, as in \
                 `/chat=,message,`",
            ),
            (
                "/chat=a,b,c,d,e",
                "found 5 names, expected one (an onrequest handler) or three (onconnect, onmessage, \
                 ondisconnect), and after these ondrain; leave a name empty to ignore its event, as in \
                 `/chat=,message,`",
            ),
            ("/chat=,,", "expected at least one name: this route would ignore every event"),
            ("/chat=", "expected a handler's name, such as `join` or `chat:join`"),
            ("/chat=chat:", "expected a handler's name, such as `join` or `chat:join`"),
            ("/chat=:join", "expected a handler's name, such as `join` or `chat:join`"),
            ("/chat=a:b:c", "expected a handler's name, such as `join` or `chat:join`"),
            ("/chat=a b", "expected a handler's name, such as `join` or `chat:join`"),
            (
                "chat=page",
                "expected a path such as `/chat`, `/room/{room}`, or `/files/*` for all below it; a path begins with `/`",
            ),
            (
                "*=page",
                "expected a path such as `/chat`, `/room/{room}`, or `/files/*` for all below it; a path begins with `/`",
            ),
            (
                "/a*=page",
                "expected a path such as `/chat`, `/room/{room}`, or `/files/*` for all below it; `*` stands only at the end \
                 and after a `/`",
            ),
            (
                "/*/b=page",
                "expected a path such as `/chat`, `/room/{room}`, or `/files/*` for all below it; `*` stands only at the end \
                 and after a `/`",
            ),
            (
                "/a?b=page",
                "expected a path such as `/chat`, `/room/{room}`, or `/files/*` for all below it; a path has no spaces, `?` \
                 or `#`",
            ),
            (
                "/100%=page",
                "expected a path such as `/chat`, `/room/{room}`, or `/files/*` for all below it; `%` stands before two digits, \
                 as in `%20`, and is itself `%25`",
            ),
        ] {
            assert_eq!(Route::from_flag(flag), Err(message.to_owned()), "{flag}");
        }
    }
}
