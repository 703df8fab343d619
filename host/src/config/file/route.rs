//! Routes in the config file: `[[route]]`.

use std::collections::HashSet;
use std::hash::Hash;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use super::compression::compression;
use super::route_limits::limits;
use super::walk::Section;
use super::{boolean, origins, text};
use crate::config::handshake::parse_protocol;
use crate::config::route::{
    Claims, DEFAULT_CACHE_CONTROL, Files, HostPattern, Route, RoutePath, Target, parse_cache_control,
    parse_handler, parse_header_name, parse_header_value, parse_method,
};

/// Keys of any route.
const COMMON_KEYS: &[&str] =
    &["path", "methods", "host", "hosts", "files", "cache_control", "dotfiles", "strip_prefix", "headers"];
/// Keys for handlers and connections, which do not stand beside `files`.
const HANDLER_KEYS: &[&str] = &[
    "handler",
    "onconnect",
    "onmessage",
    "ondisconnect",
    "ondrain",
    "protocols",
    "origins",
    "compression",
    "max_message",
    "ping_interval",
    "idle_timeout",
    "max_lifetime",
    "message_rate",
    "on_full",
];
const EXPECTED: &str = "expected tables in double brackets, [[route]]";

/// All routes, in the order of the file. Paths are joined to the file's `folder`.
pub(super) fn routes(top: &Section, folder: &Path) -> anyhow::Result<Vec<Route>> {
    let Some(value) = top.get("route") else { return Ok(Vec::new()) };
    let tables = value.get_ref().as_array();
    let tables = tables.ok_or_else(|| top.rejection("route", value, EXPECTED))?;
    let (mut routes, mut claims) = (Vec::<Route>::new(), Claims::default());
    let keys = [COMMON_KEYS, HANDLER_KEYS].concat();
    for value in tables.iter() {
        let section = top.open("route", "in [[route]]".into(), value, &keys, EXPECTED)?;
        let route = route(&section, folder)?;
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

fn route(section: &Section, folder: &Path) -> anyhow::Result<Route> {
    let path = section.required("path", |value| RoutePath::parse(text(value)))?;
    let target = target(section, &path, folder)?;
    Ok(Route {
        methods: methods(section, &target)?,
        hosts: hosts(section)?,
        target,
        strip_prefix: section.value("strip_prefix", |value| path.parse_strip_prefix(text(value)))?,
        path,
        protocols: section.list("protocols", |value| parse_protocol(text(value)))?.unwrap_or_default(),
        origins: origins(section)?,
        compression: compression(section)?,
        headers: headers(section)?,
        limits: limits(section)?,
        origin: section.location(),
    })
}

fn methods(section: &Section, target: &Target) -> anyhow::Result<Vec<String>> {
    let methods = section.list("methods", |value| parse_method(text(value)))?;
    let expected = match target {
        Target::Handler(_) => return distinct(section, "methods", methods),
        Target::Callbacks { .. } => "expected none beside callbacks: a WebSocket handshake is always a GET",
        Target::Files(_) => "expected none beside `files`, which are for GET and HEAD",
    };
    match (section.get("methods"), target) {
        (Some(value), _) => Err(section.rejection("methods", value, expected)),
        (None, Target::Files(_)) => Ok(vec!["GET".to_owned()]),
        (None, _) => Ok(Vec::new()),
    }
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

/// Headers for the responses of the route. Files have a key of their own for one of them.
fn headers(section: &Section) -> anyhow::Result<Vec<(String, String)>> {
    let Some(value) = section.get("headers") else { return Ok(Vec::new()) };
    let table = value.get_ref().as_table();
    let expected = "expected a table, such as { X-Content-Type-Options = \"nosniff\" }";
    let table = table.ok_or_else(|| section.rejection("headers", value, expected))?;
    let mut headers = Vec::<(String, String)>::new();
    for (name, value) in table {
        let at_name = |why: &str| {
            let shown = name.get_ref().escape_debug();
            section
                .document
                .error(name.span().start, format_args!("`{shown}` in `headers` in [[route]]: {why}"))
        };
        let lower = parse_header_name(name.get_ref()).map_err(|why| at_name(&why))?;
        if section.get("files").is_some() && lower == "cache-control" {
            return Err(at_name("expected `cache_control` of the route"));
        }
        if headers.iter().any(|(other, _)| *other == lower) {
            return Err(at_name("expected each one once"));
        }
        let parsed = parse_header_value(text(value.get_ref()));
        headers.push((lower, parsed.map_err(|why| section.rejection(name.get_ref(), value, &why))?));
    }
    Ok(headers)
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

fn target(route: &Section, path: &RoutePath, folder: &Path) -> anyhow::Result<Target> {
    if let Some(files) = files(route, path, folder)? {
        return Ok(Target::Files(files));
    }
    let name = |key| route.value(key, |value| parse_handler(text(value)));
    let callbacks = [name("onconnect")?, name("onmessage")?, name("ondisconnect")?, name("ondrain")?];
    match (name("handler")?, callbacks) {
        (Some(handler), [None, None, None, None]) => Ok(Target::Handler(handler)),
        (None, [None, None, None, None]) => Err(route.error(format_args!(
            "route `{path}` names no handler, expected `handler`, any of `onconnect`, `onmessage`, `ondisconnect`, \
             `ondrain`, or `files`"
        ))),
        (None, [onconnect, onmessage, ondisconnect, ondrain]) => {
            Ok(Target::Callbacks { onconnect, onmessage, ondisconnect, ondrain })
        }
        (Some(_), _) => Err(route.error(format_args!(
            "route `{path}` has `handler` beside callbacks, expected either `handler` (answers requests) or \
             `onconnect`, `onmessage`, `ondisconnect`, `ondrain` (for WebSockets)"
        ))),
    }
}

/// A folder with static files, if the route has one.
fn files(route: &Section, path: &RoutePath, base: &Path) -> anyhow::Result<Option<Files>> {
    let folder = route.value("files", |value| match text(value) {
        "" => Err("expected the path of a folder, such as \"public\"".to_owned()),
        folder => Ok(PathBuf::from(folder)),
    })?;
    let cache_control = route.value("cache_control", |value| parse_cache_control(text(value)))?;
    let dotfiles = route.value("dotfiles", boolean)?;
    let Some(folder) = folder else {
        let key = ["cache_control", "dotfiles"].into_iter().find(|key| route.get(key).is_some());
        return match key.and_then(|key| Some((key, route.get(key)?))) {
            Some((key, value)) => Err(route.rejection(key, value, "expected only beside `files`")),
            None => Ok(None),
        };
    };
    if let Some(other) = HANDLER_KEYS.iter().find(|key| route.get(key).is_some()) {
        return Err(route.error(format_args!(
            "route `{path}` has `{other}` beside `files`, expected one of them: the server itself answers with files"
        )));
    }
    Ok(Some(Files {
        folder: base.join(folder),
        cache_control: cache_control.unwrap_or_else(|| DEFAULT_CACHE_CONTROL.to_owned()),
        dotfiles: dotfiles.unwrap_or_default(),
    }))
}
