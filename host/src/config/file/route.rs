//! `[[route]]`: which handlers a path has, and what its connections may cost.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use toml::de::DeValue;

use super::walk::Section;
use super::{duration, size, text, whole_number};
use crate::config::defaults::MAX_MAX_MESSAGE;
use crate::config::handshake::parse_protocol;
use crate::config::route::{Route, RoutePath, Target, parse_handler};
use crate::config::route_limits::{MessageRate, OnFull, RouteLimits};
use crate::config::units::Size;
use crate::config::web_origin::{OriginPattern, OriginRule};

const KEYS: &[&str] = &[
    "path",
    "handler",
    "onconnect",
    "onmessage",
    "ondisconnect",
    "ondrain",
    "strip_prefix",
    "protocols",
    "origins",
    "max_message",
    "ping_interval",
    "idle_timeout",
    "max_lifetime",
    "message_rate",
    "on_full",
];
const RATE_KEYS: &[&str] = &["messages", "per", "burst"];

const EXPECTED: &str = "expected tables in double brackets, [[route]]";
const RATE_EXPECTED: &str = "expected a table such as { messages = 100 } (in each second) or { messages = 600, per = \"1m\", burst = 50 }";

/// All routes, in the order of the file. Paths are unique.
pub(super) fn routes(top: &Section) -> Result<Vec<Route>> {
    let Some(value) = top.get("route") else { return Ok(Vec::new()) };
    let tables = value.get_ref().as_array();
    let tables = tables.ok_or_else(|| top.rejection("route", value, EXPECTED))?;
    let mut routes: Vec<Route> = Vec::new();
    let mut indexes = HashMap::new();
    for value in tables.iter() {
        let section = top.open("route", "in [[route]]".into(), value, KEYS, EXPECTED)?;
        let path = section.required("path", |value| RoutePath::parse(text(value)))?;
        if let Some(first) = indexes.insert(path.clone(), routes.len()) {
            let first = &routes[first].origin;
            return Err(section.error(format_args!("second route for `{path}`; the first is {first}")));
        }
        routes.push(Route {
            target: target(&section, &path)?,
            strip_prefix: section.value("strip_prefix", |value| path.parse_strip_prefix(text(value)))?,
            path,
            protocols: section.list("protocols", |value| parse_protocol(text(value)))?.unwrap_or_default(),
            origins: origins(&section)?,
            limits: limits(&section)?,
            origin: section.location(),
        });
    }
    Ok(routes)
}

/// The key `origins` of a section.
pub(super) fn origins(section: &Section) -> Result<Option<OriginRule>> {
    let origins = section.list("origins", |value| OriginPattern::parse(text(value)))?;
    Ok(origins.map(OriginRule::from_iter))
}

fn target(route: &Section, path: &RoutePath) -> Result<Target> {
    let name = |key| route.value(key, |value| parse_handler(text(value)));
    let callbacks = [name("onconnect")?, name("onmessage")?, name("ondisconnect")?, name("ondrain")?];
    match (name("handler")?, callbacks) {
        (Some(handler), [None, None, None, None]) => Ok(Target::Handler(handler)),
        (None, [None, None, None, None]) => Err(route.error(format_args!(
            "route `{path}` names no handler, expected `handler` or any of `onconnect`, `onmessage`, \
             `ondisconnect`, `ondrain`"
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

fn limits(route: &Section) -> Result<RouteLimits> {
    let nonzero = |key| Ok::<_, anyhow::Error>(route.value(key, duration)?.filter(|time| !time.is_zero()));
    Ok(RouteLimits {
        max_message: route.value("max_message", message_size)?,
        ping_interval: route.value("ping_interval", duration)?,
        idle_timeout: nonzero("idle_timeout")?,
        max_lifetime: nonzero("max_lifetime")?,
        message_rate: message_rate(route)?,
        on_full: route.value("on_full", |value| OnFull::parse(text(value)))?.unwrap_or_default(),
    })
}

fn message_size(value: &DeValue) -> Result<usize, String> {
    match size(value)? {
        size if size > MAX_MAX_MESSAGE => Err(format!("expected at most {}", Size(MAX_MAX_MESSAGE))),
        size => Ok(size),
    }
}

fn message_rate(route: &Section) -> Result<Option<MessageRate>> {
    let Some(value) = route.get("message_rate") else { return Ok(None) };
    let rate = route.open("message_rate", "in message_rate".into(), value, RATE_KEYS, RATE_EXPECTED)?;
    let messages = rate.required("messages", number)?;
    Ok(Some(MessageRate {
        messages,
        per: rate.value("per", period)?.unwrap_or(Duration::from_secs(1)),
        burst: rate.value("burst", number)?.unwrap_or(messages),
    }))
}

/// A number of messages.
fn number(value: &DeValue) -> Result<u32, String> {
    let number =
        whole_number(value).and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
    number.ok_or_else(|| "expected a whole number from 1 on, such as 100".into())
}

fn period(value: &DeValue) -> Result<Duration, String> {
    match duration(value)? {
        Duration::ZERO => Err("expected a duration that is not 0, such as \"1s\"".into()),
        per => Ok(per),
    }
}
