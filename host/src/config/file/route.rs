//! Routes in the config file: `[[route]]`.

use std::collections::HashSet;
use std::hash::Hash;

use toml::Spanned;
use toml::de::DeValue;

use super::walk::Section;
use super::{origins, text};
use crate::config::handshake::parse_protocol;
use crate::config::route::{Claims, HostPattern, Route, RoutePath, Target, parse_handler, parse_method};

const KEYS: &[&str] = &[
    "path",
    "methods",
    "host",
    "hosts",
    "handler",
    "onconnect",
    "onmessage",
    "ondisconnect",
    "strip_prefix",
    "protocols",
    "origins",
];
const EXPECTED: &str = "expected tables in double brackets, [[route]]";

/// All routes, in the order of the file.
pub(super) fn routes(top: &Section) -> anyhow::Result<Vec<Route>> {
    let Some(value) = top.get("route") else { return Ok(Vec::new()) };
    let tables = value.get_ref().as_array();
    let tables = tables.ok_or_else(|| top.rejection("route", value, EXPECTED))?;
    let (mut routes, mut claims) = (Vec::<Route>::new(), Claims::default());
    for value in tables.iter() {
        let section = top.open("route", "in [[route]]".into(), value, KEYS, EXPECTED)?;
        let route = route(&section)?;
        if let Err(conflict) = claims.add(&route, routes.len()) {
            let (requests, first) = (conflict.requests(&route), &routes[conflict.first]);
            let other = if first.path.to_string() == route.path.to_string() {
                first.origin.clone()
            } else {
                format!("`{}` ({})", first.path, first.origin)
            };
            return Err(section.error(format_args!("second route for {requests}; the first is {other}")));
        }
        routes.push(route);
    }
    Ok(routes)
}

fn route(section: &Section) -> anyhow::Result<Route> {
    let path = section.required("path", |value| RoutePath::parse(text(value)))?;
    let target = target(section, &path)?;
    Ok(Route {
        methods: methods(section, &target)?,
        hosts: hosts(section)?,
        target,
        strip_prefix: section.value("strip_prefix", |value| path.parse_strip_prefix(text(value)))?,
        path,
        protocols: section.list("protocols", |value| parse_protocol(text(value)))?.unwrap_or_default(),
        origins: origins(section)?,
        origin: section.location(),
    })
}

fn methods(section: &Section, target: &Target) -> anyhow::Result<Vec<String>> {
    let methods = section.list("methods", |value| parse_method(text(value)))?;
    if let (Some(value), Target::Callbacks { .. }) = (section.get("methods"), target) {
        let expected = "expected none beside callbacks: a WebSocket handshake is always a GET";
        return Err(section.rejection("methods", value, expected));
    }
    distinct(section, "methods", methods)
}

fn hosts(section: &Section) -> anyhow::Result<Vec<HostPattern>> {
    if let (Some(_), Some(value)) = (section.get("host"), section.get("hosts")) {
        return Err(section.rejection("hosts", value, "expected either `host` or `hosts`"));
    }
    let parse = |value: &DeValue| HostPattern::parse(text(value));
    match section.value("host", parse)? {
        Some(host) => Ok(vec![host]),
        None => distinct(section, "hosts", section.list("hosts", parse)?),
    }
}

/// The items of a list that must have some, each once.
fn distinct<T: Eq + Hash>(section: &Section, key: &str, items: Option<Vec<T>>) -> anyhow::Result<Vec<T>> {
    let Some(items) = items else { return Ok(Vec::new()) };
    let reject = |expected| {
        let found: Option<&Spanned<DeValue>> = section.get(key);
        Err(found.map_or_else(|| section.error(expected), |found| section.rejection(key, found, expected)))
    };
    if items.is_empty() {
        return reject("expected at least one; without the key, the route is for all of them");
    }
    if items.iter().collect::<HashSet<_>>().len() < items.len() {
        return reject("expected each one once");
    }
    Ok(items)
}

fn target(route: &Section, path: &RoutePath) -> anyhow::Result<Target> {
    let name = |key| route.value(key, |value| parse_handler(text(value)));
    match (name("handler")?, [name("onconnect")?, name("onmessage")?, name("ondisconnect")?]) {
        (Some(handler), [None, None, None]) => Ok(Target::Handler(handler)),
        (None, [None, None, None]) => Err(route.error(format_args!(
            "route `{path}` names no handler, expected `handler` or any of `onconnect`, `onmessage`, \
             `ondisconnect`"
        ))),
        (None, [onconnect, onmessage, ondisconnect]) => {
            Ok(Target::Callbacks { onconnect, onmessage, ondisconnect })
        }
        (Some(_), _) => Err(route.error(format_args!(
            "route `{path}` has `handler` beside callbacks, expected either `handler` (answers requests) or \
             `onconnect`, `onmessage`, `ondisconnect` (for WebSockets)"
        ))),
    }
}
