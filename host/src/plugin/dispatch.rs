//! Which handlers answer a request: the routes with their names resolved, or the convention if there are no routes. A
//! path enters, handlers leave.

use std::rc::Rc;

use anyhow::{Context, Result, anyhow, bail};
use hyper::header::{HeaderName, HeaderValue};

use crate::config::compression::Compression;
use crate::config::handshake::HandshakePolicy;
use crate::config::route::{Files, HostPattern, Parameter, Params, Route, RoutePath, Routes, Target};
use crate::config::route_limits::RouteLimits;
use crate::config::trusted_proxies::TrustedProxies;
use crate::config::uri_path::without_segments;
use crate::config::web_origin::OriginRule;
use crate::plugin::generation::Generation;
use crate::plugin::handler::{Callbacks, HandlerRef, Kind};
use crate::plugin::registry::{Registry, Unresolved};

/// What answers the requests of a route.
#[derive(Clone, Copy, Debug)]
pub enum Answerer {
    /// This onrequest handler.
    Handler(HandlerRef),
    /// The host: it upgrades the client, and binds these handlers.
    Callbacks(Callbacks),
    /// The host: it serves [`ResolvedRoute::files`].
    Files,
}

/// A route with its names resolved.
#[derive(Debug)]
pub struct ResolvedRoute {
    /// As the operator wrote it; `/*` for the convention.
    pub path: String,
    /// Those that its requests have. Empty: all that no other route of the path lists.
    pub methods: Vec<String>,
    /// Empty: all.
    pub hosts: Vec<HostPattern>,
    parameters: Vec<Parameter>,
    pub answerer: Answerer,
    /// The static files of [`Answerer::Files`].
    pub files: Option<Rc<Files>>,
    /// Headers of its responses that have none of that name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Segments at the beginning of a request's path that handlers do not see.
    stripped_segments: usize,
    /// Subprotocols of its connections: the first one that the client offers is selected.
    pub protocols: Vec<String>,
    /// Which pages may open WebSockets.
    pub origins: RouteOrigins,
    /// What its connections may cost. None: what the server's limits allow.
    pub limits: Option<Rc<RouteLimits>>,
    /// Whether messages are compressed.
    pub compression: Compression,
}

impl ResolvedRoute {
    /// The path of a request as handlers see it, in its own spelling.
    pub fn visible<'p>(&self, path: &'p str) -> &'p str {
        without_segments(path, self.stripped_segments)
    }

    /// The parameters in the whole path of a request. None: one is no text, see [`Params::of`].
    pub fn params(&self, path: &str) -> Option<Params> {
        Params::of(&self.parameters, path)
    }
}

/// Which pages may open WebSockets on a route, and where the operator changes that.
#[derive(Debug)]
pub struct RouteOrigins {
    pub rule: OriginRule,
    /// Where the route is written in the config file: `callsign.toml:12`. None: it is not in a file.
    pub file: Option<String>,
    /// Whether the rule is the route's own, and not that of the server.
    pub is_own: bool,
}

/// What a request leads to.
#[derive(Debug)]
pub enum Found<'d> {
    Route(&'d ResolvedRoute),
    /// No route has its host and path.
    Nothing,
    /// The routes of its host and path take other methods: the value of an Allow header.
    OtherMethods(String),
}

/// All routes, resolved.
#[derive(Debug)]
pub struct Dispatch {
    table: Routes,
    routes: Vec<ResolvedRoute>,
    /// Who tells the addresses of clients.
    pub trusted_proxies: TrustedProxies,
}

impl Dispatch {
    /// Resolves every name in the routes. Without routes the convention applies: an onrequest handler called
    /// `onrequest` answers every request. If there is none, an upgrade on any path binds those of `onconnect`,
    /// `onmessage`, `ondisconnect` and `ondrain` that exist.
    ///
    /// # Errors
    /// A name is not a handler, or is one in several plugins; the names of one route are of several plugins; a folder of
    /// static files cannot be entered; or there is nothing to serve.
    pub fn resolve(registry: &Registry, routes: &[Route], handshake: &HandshakePolicy) -> Result<Self> {
        let HandshakePolicy { origins, compression, trusted_proxies } = handshake.clone();
        if routes.is_empty() {
            let everything = RoutePath::Prefix("/".to_owned());
            let route = ResolvedRoute {
                path: everything.to_string(),
                methods: Vec::new(),
                hosts: Vec::new(),
                parameters: Vec::new(),
                answerer: convention(registry)?,
                files: None,
                headers: Vec::new(),
                stripped_segments: 0,
                protocols: Vec::new(),
                origins: RouteOrigins { rule: origins, file: None, is_own: false },
                limits: None,
                compression,
            };
            let mut table = Routes::default();
            table.insert(&everything, &[], &[], 0);
            return Ok(Self { table, routes: vec![route], trusted_proxies });
        }
        let resolve = |route: &Route| {
            let found = match &route.target {
                Target::Handler(name) => registry.resolve(None, name, Kind::OnRequest).map(Answerer::Handler),
                Target::Callbacks { onconnect, onmessage, ondisconnect, ondrain } => {
                    let names = [onconnect, onmessage, ondisconnect, ondrain].map(|name| name.as_deref());
                    registry.resolve_callbacks(None, names).map(Answerer::Callbacks)
                }
                Target::Files(files) => {
                    check_folder(route, files)?;
                    Ok(Answerer::Files)
                }
            };
            let answerer = found.map_err(|unresolved| {
                let text = unresolved.to_string();
                let stop = if text.ends_with('?') { "" } else { "." };
                let (path, origin) = (&route.path, &route.origin);
                anyhow!("{text}{stop} Fix the name in route `{path}` ({origin}), or {}", unresolved.remedy)
            })?;
            let origins = RouteOrigins {
                rule: route.origins.as_ref().unwrap_or(&origins).clone(),
                file: route.file().map(str::to_owned),
                is_own: route.origins.is_some(),
            };
            Ok(ResolvedRoute {
                path: route.path.to_string(),
                methods: route.methods.clone(),
                hosts: route.hosts.clone(),
                parameters: route.path.parameters(),
                answerer,
                files: match &route.target {
                    Target::Files(files) => Some(Rc::new(files.clone())),
                    _ => None,
                },
                headers: headers(route),
                stripped_segments: route
                    .strip_prefix
                    .as_ref()
                    .map_or(0, |prefix| prefix.matches('/').count()),
                protocols: route.protocols.clone(),
                origins,
                limits: (route.limits != RouteLimits::default()).then(|| Rc::new(route.limits.clone())),
                compression: route.compression.unwrap_or(compression),
            })
        };
        let table = routes.iter().collect();
        Ok(Self { table, routes: routes.iter().map(resolve).collect::<Result<_>>()?, trusted_proxies })
    }

    /// No routes; every path is a 404.
    pub fn nothing() -> Self {
        Self { table: Routes::default(), routes: Vec::new(), trusted_proxies: TrustedProxies::default() }
    }

    /// Whether the host of a request matters to [`Dispatch::find`].
    pub fn has_hosts(&self) -> bool {
        self.table.has_hosts()
    }

    /// The route of a request with this host, method and path without its query.
    pub fn find(&self, host: &str, method: &str, path: &str) -> Found<'_> {
        let Some(routes) = self.table.find(host, path) else { return Found::Nothing };
        match routes.find(method) {
            Some(index) => Found::Route(&self.routes[index]),
            None => Found::OtherMethods(routes.allow()),
        }
    }

    /// An onrequest handler of the plugin, if it has one and no route reaches any of its. None also if there are no
    /// routes at all, because they are unknown.
    pub fn unreached<'p>(&self, plugin: &'p Generation) -> Option<&'p str> {
        let reaches = |route: &ResolvedRoute| matches!(route.answerer, Answerer::Handler(handler) if handler.plugin == plugin.index);
        if self.routes.is_empty() || self.routes.iter().any(reaches) {
            return None;
        }
        let mut handlers = plugin.image.handlers.iter().filter(|(_, kind)| *kind == Kind::OnRequest);
        let handler = handlers.next().map(|(name, _)| name.as_str());
        handler.or_else(|| plugin.names(Kind::OnRequest).find(|name| *name == "onrequest"))
    }

    /// All routes, in the operator's order.
    pub fn iter(&self) -> impl Iterator<Item = &ResolvedRoute> {
        self.routes.iter()
    }
}

/// Fails if the folder with the files of a route is none, or this user may not enter it.
fn check_folder(route: &Route, files: &Files) -> Result<()> {
    let folder = files.folder.join(".");
    let result = std::fs::metadata(&folder).map(drop);
    result.with_context(|| {
        let (path, origin) = (&route.path, &route.origin);
        format!("route `{path}` ({origin}): its folder `files`, {}, cannot be used", files.folder.display())
    })
}

/// The headers of a route, which were parsed before.
fn headers(route: &Route) -> Vec<(HeaderName, HeaderValue)> {
    let header = |(name, value): &(String, String)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    };
    route.headers.iter().filter_map(header).collect()
}

fn convention(registry: &Registry) -> Result<Answerer> {
    let existing =
        |name, kind| registry.plugins().any(|plugin| plugin.image.exports(name, kind)).then_some(name);
    let unclear = |unresolved: Unresolved| {
        anyhow!(
            "{unresolved}. Without a route, the handlers called `onrequest`, or `onconnect`, `onmessage` and \
             `ondisconnect`, must be of one plugin: name the handlers of each path in a route: \
             --route '/*=PLUGIN:ONREQUEST' or --route '/*=PLUGIN:ONCONNECT,PLUGIN:ONMESSAGE,PLUGIN:ONDISCONNECT'"
        )
    };
    if let Some(name) = existing("onrequest", Kind::OnRequest) {
        return registry.resolve(None, name, Kind::OnRequest).map(Answerer::Handler).map_err(unclear);
    }
    let names = [
        existing("onconnect", Kind::OnConnect),
        existing("onmessage", Kind::OnMessage),
        existing("ondisconnect", Kind::OnDisconnect),
        existing("ondrain", Kind::OnDrain),
    ];
    let callbacks = registry.resolve_callbacks(None, names).map_err(unclear)?;
    if callbacks.iter().next().is_none() {
        let offered = registry.plugins().map(|plugin| format!("plugin `{}`: {}", plugin.name, plugin.image));
        bail!(
            "nothing to serve: no route is given, and no plugin has a handler called `onrequest`, `onconnect`, \
             `onmessage` or `ondisconnect`. Name handlers in a route: --route '/=ONREQUEST' or \
             --route '/=ONCONNECT,ONMESSAGE,ONDISCONNECT'. Found: {}",
            offered.collect::<Vec<_>>().join("; ")
        );
    }
    Ok(Answerer::Callbacks(callbacks))
}
