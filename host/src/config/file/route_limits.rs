//! The keys of a `[[route]]` that limit its connections.

use std::time::Duration;

use anyhow::Result;
use toml::de::DeValue;

use super::walk::Section;
use super::{duration, size, text, whole_number};
use crate::config::defaults::MAX_MAX_MESSAGE;
use crate::config::route_limits::{MessageRate, OnFull, RouteLimits};
use crate::config::units::Size;

const RATE_KEYS: &[&str] = &["messages", "per", "burst"];
const RATE_EXPECTED: &str = "expected a table such as { messages = 100 } (in each second) or { messages = 600, per = \"1m\", burst = 50 }";

/// The limits of a route; each key is optional.
pub(super) fn limits(route: &Section) -> Result<RouteLimits> {
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
