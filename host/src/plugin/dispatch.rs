//! Which handlers answer a request: the routes with their names resolved, or the convention if there are no routes. A
//! path enters, handlers leave.

use anyhow::{Result, anyhow, bail};

use crate::config::route::{Route, RoutePath, Routes, Target};
use crate::plugin::handler::{Callbacks, HandlerRef, Kind};
use crate::plugin::registry::Registry;

/// What answers the requests of a route.
#[derive(Clone, Copy, Debug)]
pub enum Answerer {
    /// This onrequest handler.
    Handler(HandlerRef),
    /// The host: it upgrades the client, and binds these handlers.
    Callbacks(Callbacks),
}

/// A route with its names resolved.
#[derive(Debug)]
pub struct ResolvedRoute {
    /// As the operator wrote it; `/*` for the convention.
    pub path: String,
    pub answerer: Answerer,
}

/// All routes, resolved.
#[derive(Debug)]
pub struct Dispatch {
    paths: Routes,
    routes: Vec<ResolvedRoute>,
}

impl Dispatch {
    /// Resolves every name in the routes. Without routes the convention applies: an onrequest handler called
    /// `onrequest` answers every request. If there is none, an upgrade on any path binds those of `onconnect`,
    /// `onmessage` and `ondisconnect` that exist.
    ///
    /// # Errors
    /// A name is not a handler, or there is nothing to serve.
    pub fn resolve(registry: &Registry, routes: &[Route]) -> Result<Self> {
        if routes.is_empty() {
            let everything = RoutePath::Prefix("/".to_owned());
            let route = ResolvedRoute { path: everything.to_string(), answerer: convention(registry)? };
            return Ok(Self { paths: Routes::from_iter([everything]), routes: vec![route] });
        }
        let resolve = |route: &Route| {
            let found = match &route.target {
                Target::Handler(name) => registry.resolve(None, name, Kind::OnRequest).map(Answerer::Handler),
                Target::Callbacks { onconnect, onmessage, ondisconnect } => {
                    let names = [onconnect.as_deref(), onmessage.as_deref(), ondisconnect.as_deref()];
                    registry.resolve_callbacks(None, names).map(Answerer::Callbacks)
                }
            };
            let answerer = found.map_err(|unresolved| {
                let text = unresolved.to_string();
                let stop = if text.ends_with('?') { "" } else { "." };
                let (path, origin) = (&route.path, &route.origin);
                anyhow!("{text}{stop} Fix the name in route `{path}` ({origin}), or {}", unresolved.remedy)
            })?;
            Ok(ResolvedRoute { path: route.path.to_string(), answerer })
        };
        let paths = routes.iter().map(|route| route.path.clone()).collect();
        Ok(Self { paths, routes: routes.iter().map(resolve).collect::<Result<_>>()? })
    }

    /// No routes; every path is a 404.
    pub fn nothing() -> Self {
        Self { paths: Routes::from_iter([]), routes: Vec::new() }
    }

    /// The route of a path; None: 404.
    pub fn find(&self, path: &str) -> Option<&ResolvedRoute> {
        self.paths.find(path).map(|index| &self.routes[index])
    }

    /// All routes, in the operator's order.
    pub fn iter(&self) -> impl Iterator<Item = &ResolvedRoute> {
        self.routes.iter()
    }
}

fn convention(registry: &Registry) -> Result<Answerer> {
    let find = |name, kind| {
        let exists = registry.plugins().any(|plugin| plugin.has(name, kind));
        exists.then(|| registry.resolve(None, name, kind)).transpose()
    };
    if let Some(handler) = find("onrequest", Kind::OnRequest)? {
        return Ok(Answerer::Handler(handler));
    }
    let callbacks = Callbacks {
        onconnect: find("onconnect", Kind::OnConnect)?,
        onmessage: find("onmessage", Kind::OnMessage)?,
        ondisconnect: find("ondisconnect", Kind::OnDisconnect)?,
    };
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
