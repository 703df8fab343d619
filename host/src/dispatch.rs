//! From a path to handlers: the routes with their names resolved, or the convention where there is no route.

use anyhow::{Result, anyhow, bail};

use crate::plugin::handler::{Callbacks, HandlerRef, Kind};
use crate::plugin::registry::Registry;
use crate::route::{Route, RoutePath, Routes, Target};

/// What answers a request.
#[derive(Clone, Copy, Debug)]
pub enum Answerer {
    /// An onrequest handler.
    Handler(HandlerRef),
    /// An upgrade, with these handlers.
    Callbacks(Callbacks),
}

/// A route with its names resolved.
#[derive(Debug)]
pub struct ResolvedRoute {
    /// As it was written; `/*` for the convention.
    pub path: String,
    /// What answers its requests.
    pub answerer: Answerer,
}

/// All routes, resolved.
#[derive(Debug)]
pub struct Dispatch {
    paths: Routes,
    routes: Vec<ResolvedRoute>,
}

impl Dispatch {
    /// Looks up every name that the routes use. Without routes, an onrequest handler called `onrequest` answers
    /// every request; else an upgrade on any path binds `onconnect`, `onmessage` and `ondisconnect`, those
    /// that exist.
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

    /// No route at all.
    pub fn nothing() -> Self {
        Self { paths: Routes::from_iter([]), routes: Vec::new() }
    }

    /// What answers requests for that path; None: 404.
    pub fn find(&self, path: &str) -> Option<&ResolvedRoute> {
        self.paths.find(path).map(|index| &self.routes[index])
    }

    /// All routes, in their order.
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
