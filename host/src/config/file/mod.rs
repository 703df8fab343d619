//! The config file `callsign.toml`.
//!
//! TOML enters. A [`Config`] leaves, or one error message with file, line, column, what was found and what was
//! expected. Defaults are applied by [`super::settings`].

mod compression; // of messages

mod kore; // configurations of Kore

mod listen; // what the server listens on

mod route; // routes

mod route_limits; // limits for the connections of a route

mod secrets; // values that are elsewhere

mod sandbox; // what plugins may do

mod tls; // certificates of a listener

mod walk; // sections, keys and typed values with their positions

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};

use crate::config::access_log::{AccessLogFormat, AccessLogTarget};
use crate::config::account::parse_account;
use crate::config::compression::Compression;
use crate::config::control_address::ControlAddress;
use crate::config::limit_options::LimitOptions;
use crate::config::listen::Listen;
use crate::config::log_level::LogLevel;
use crate::config::plugin_source::{BroadcastTo, PluginSource, is_plugin_name};
use crate::config::rate::Rate;
use crate::config::regular_file;
use crate::config::route::Route;
use crate::config::sandbox::SandboxSettings;
use crate::config::trusted_proxies::TrustedProxy;
use crate::config::units::{parse_duration, parse_size};
use crate::config::web_origin::{OriginPattern, OriginRule};
use sandbox::SANDBOX_KEYS;
use walk::{Document, Section};

const TOP_KEYS: &[&str] = &[
    "listen",
    "workers",
    "user",
    "group",
    "control",
    "log",
    "access_log",
    "access_log_format",
    "drain_timeout",
    "plugin",
    "route",
    "worker",
    "websocket",
    "http",
    "sandbox",
];
const WORKER_KEYS: &[&str] = &[
    "slow_callback",
    "hang_timeout",
    "reload_timeout",
    "max_connections",
    "max_per_address",
    "connection_rate",
    "receive_memory",
    "send_memory",
];
const WEBSOCKET_KEYS: &[&str] = &[
    "max_message",
    "message_timeout",
    "max_backlog",
    "high_water",
    "ping_interval",
    "close_timeout",
    "compression",
];
const HTTP_KEYS: &[&str] = &[
    "max_body",
    "max_head",
    "handshake_timeout",
    "keepalive_timeout",
    "send_timeout",
    "request_rate",
    "handshake_rate",
    "origins",
    "trusted_proxies",
];
const PLUGIN_KEYS: &[&str] = &["path", "onload", "broadcast", "config", "secrets"];

const PLUGIN_EXPECTED: &str = "expected a table for each plugin, [plugin.NAME]";

/// The sections with settings of the whole server. The error for a key in the wrong section names the right one.
const SECTIONS: &[(&str, &[&str])] = &[
    ("at the top level", TOP_KEYS),
    ("in [worker]", WORKER_KEYS),
    ("in [websocket]", WEBSOCKET_KEYS),
    ("in [http]", HTTP_KEYS),
    ("in [sandbox]", SANDBOX_KEYS),
];

/// The settings of a config file; None or empty where the file does not set them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// In the order of the file, at least one. Paths of Unix sockets are joined to the file's folder.
    pub listen: Option<Vec<Listen>>,
    pub workers: Option<usize>,
    pub user: Option<String>,
    pub group: Option<String>,
    /// The path is joined to the file's folder.
    pub control: Option<ControlAddress>,
    pub log: Option<LogLevel>,
    /// The path is joined to the file's folder.
    pub access_log: Option<AccessLogTarget>,
    pub access_log_format: Option<AccessLogFormat>,
    /// In the order of the file. Paths are joined to the file's folder.
    pub plugins: Vec<PluginSource>,
    /// In the order of the file. No two take the same requests.
    pub routes: Vec<Route>,
    /// Which pages may open WebSockets on routes that have no rule of their own.
    pub origins: Option<OriginRule>,
    pub trusted_proxies: Option<Vec<TrustedProxy>>,
    /// Whether messages are compressed on routes that do not say it.
    pub compression: Option<Compression>,
    /// Paths are joined to the file's folder.
    pub sandbox: Option<SandboxSettings>,
    /// The other keys of `[worker]`, `[websocket]` and `[http]`, and `drain_timeout`.
    pub limits: LimitOptions,
    /// Where the settings of the whole server are in the file: `file:line:column` of the value, by key.
    pub positions: BTreeMap<String, String>,
}

/// Reads and parses a config file, and reads the values that it says are elsewhere.
pub fn read(path: &Path) -> anyhow::Result<Config> {
    let text = regular_file::read_to_string(path)
        .with_context(|| format!("cannot read config file {}", path.display()))?;
    let mut config = parse(&text, path)?;
    for plugin in &mut config.plugins {
        let section = format!("in [plugin.{}.secrets]", plugin.name.as_deref().unwrap_or_default());
        plugin.secrets.iter_mut().try_for_each(|secret| secret.read(&section))?;
    }
    Ok(config)
}

/// Parses the text of a config file. Values that are elsewhere stay empty. `file` is the name in messages, and its folder the base of relative paths.
///
/// # Errors
/// `file:line:column:` with what was found and expected there: a syntax error, an unknown key, a value of the wrong
/// type or form, a missing key, or a second route for the same requests.
pub fn parse(text: &str, file: &Path) -> anyhow::Result<Config> {
    // Not counted as a column.
    let text = text.strip_prefix(regular_file::BYTE_ORDER_MARK).unwrap_or(text);
    let document = Document::new(text, file);
    let root = DeTable::parse(text).map_err(|error| match kore::explain(text) {
        Some(explanation) => document.error(0, explanation),
        None => document.error(error.span().unwrap_or_default().start, error.message().trim_end()),
    })?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let top = document.section("at the top level".into(), root.span(), root.get_ref(), TOP_KEYS)?;
    let worker = top.table("worker", WORKER_KEYS)?;
    let websocket = top.table("websocket", WEBSOCKET_KEYS)?;
    let http = top.table("http", HTTP_KEYS)?;
    let sandbox = top.table("sandbox", SANDBOX_KEYS)?;
    let sections = [
        (&top, TOP_KEYS),
        (&worker, WORKER_KEYS),
        (&websocket, WEBSOCKET_KEYS),
        (&http, HTTP_KEYS),
        (&sandbox, SANDBOX_KEYS),
    ];
    Ok(Config {
        listen: listen::entries(&top, folder)?,
        workers: top.value("workers", count)?,
        user: top.value("user", account)?,
        group: top.value("group", account)?,
        control: control(&top, folder)?,
        log: top.value("log", log_level)?,
        access_log: access_log(&top, folder)?,
        access_log_format: top.value("access_log_format", access_log_format)?,
        plugins: plugins(&top, folder)?,
        routes: route::routes(&top, folder)?,
        origins: origins(&http)?,
        trusted_proxies: http.list("trusted_proxies", trusted_proxy)?,
        compression: compression::compression(&websocket)?,
        sandbox: sandbox::sandbox(&sandbox, folder)?,
        limits: LimitOptions {
            max_message: websocket.value("max_message", size)?,
            message_timeout: websocket.value("message_timeout", duration)?,
            max_backlog: websocket.value("max_backlog", size)?,
            high_water: websocket.value("high_water", size)?,
            ping_interval: websocket.value("ping_interval", duration)?,
            close_timeout: websocket.value("close_timeout", duration)?,
            max_body: http.value("max_body", size)?,
            max_head: http.value("max_head", size)?,
            handshake_timeout: http.value("handshake_timeout", duration)?,
            keepalive_timeout: http.value("keepalive_timeout", duration)?,
            send_timeout: http.value("send_timeout", duration)?,
            drain_timeout: top.value("drain_timeout", duration)?,
            slow_callback: worker.value("slow_callback", duration)?,
            hang_timeout: worker.value("hang_timeout", duration)?,
            reload_timeout: worker.value("reload_timeout", duration)?,
            max_connections: worker.value("max_connections", count)?,
            max_per_address: worker.value("max_per_address", count)?,
            connection_rate: worker.value("connection_rate", rate)?,
            request_rate: http.value("request_rate", rate)?,
            handshake_rate: http.value("handshake_rate", rate)?,
            receive_memory: worker.value("receive_memory", size)?,
            send_memory: worker.value("send_memory", size)?,
        },
        positions: sections.into_iter().flat_map(|(section, keys)| section.positions(keys)).collect(),
    })
}

fn control(top: &Section, folder: &Path) -> anyhow::Result<Option<ControlAddress>> {
    let control = top.value("control", |value| ControlAddress::parse(text(value)))?;
    Ok(control.map(|control| match control {
        ControlAddress::Path(path) => ControlAddress::Path(folder.join(path)),
        other => other,
    }))
}

fn access_log(top: &Section, folder: &Path) -> anyhow::Result<Option<AccessLogTarget>> {
    let target = top.value("access_log", |value| AccessLogTarget::parse(text(value)))?;
    Ok(target.map(|target| target.within(folder)))
}

fn log_level(value: &DeValue) -> Result<LogLevel, String> {
    LogLevel::parse(text(value))
}

fn access_log_format(value: &DeValue) -> Result<AccessLogFormat, String> {
    AccessLogFormat::parse(text(value))
}

fn plugins(top: &Section, folder: &Path) -> anyhow::Result<Vec<PluginSource>> {
    let Some(value) = top.get("plugin") else { return Ok(Vec::new()) };
    let plugins = value.get_ref().as_table();
    let plugins = plugins.ok_or_else(|| top.rejection("plugin", value, PLUGIN_EXPECTED))?;
    let plugin = |(name, value): (&Spanned<DeString>, _)| {
        if !is_plugin_name(name.get_ref()) {
            return Err(top.document.error(
                name.span().start,
                format!(
                    "`{}` cannot be a plugin's name; it is 1 to 63 letters, digits, `-`, `_` and `.`",
                    name.get_ref().escape_debug()
                ),
            ));
        }
        let key = format!("plugin.{}", name.get_ref());
        let section = top.open(&key, format!("in [{key}]"), value, PLUGIN_KEYS, PLUGIN_EXPECTED)?;
        let config = free_table(&section, "config")?;
        Ok(PluginSource {
            secrets: secrets::of_plugin(&section, &key, &config, folder)?,
            name: Some(name.get_ref().to_string()),
            path: folder.join(section.required("path", library)?),
            onload: section.value("onload", function)?,
            broadcast: section
                .value("broadcast", |value| BroadcastTo::parse(text(value)))?
                .unwrap_or_default(),
            config,
            position: section.get("path").map(|value| section.document.position(value.span().start)),
            config_position: section.get("config").map(|value| section.document.position(value.span().start)),
        })
    };
    plugins.iter().map(plugin).collect()
}

/// Reads a table whose keys the server does not know.
fn free_table(section: &Section, key: &str) -> anyhow::Result<toml::Table> {
    match section.get(key) {
        None => Ok(toml::Table::new()),
        Some(value) if !value.get_ref().is_table() => Err(section.rejection(key, value, "expected a table")),
        Some(value) => toml::Table::deserialize(ValueDeserializer::from(value.clone())).map_err(|error| {
            section.document.error(error.span().unwrap_or(value.span()).start, error.message())
        }),
    }
}

fn origins(section: &Section) -> anyhow::Result<Option<OriginRule>> {
    let origins = section.list("origins", |value| OriginPattern::parse(text(value)))?;
    Ok(origins.map(OriginRule::from_iter))
}

/// Returns the text of a string, or an empty text for any other type: every parser of text rejects an empty text.
fn text<'v>(value: &'v DeValue) -> &'v str {
    value.as_str().unwrap_or_default()
}

fn whole_number(value: &DeValue) -> Option<usize> {
    value.as_integer().and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok())
}

fn count(value: &DeValue) -> Result<usize, String> {
    whole_number(value).ok_or_else(|| "expected a whole number, such as 4".into())
}

fn account(value: &DeValue) -> Result<String, String> {
    whole_number(value).map_or_else(|| parse_account(text(value)), |number| Ok(number.to_string()))
}

fn boolean(value: &DeValue) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "expected true or false".to_owned())
}

fn size(value: &DeValue) -> Result<usize, String> {
    whole_number(value).map_or_else(|| parse_size(text(value)), Ok)
}

fn duration(value: &DeValue) -> Result<Duration, String> {
    match whole_number(value) {
        Some(seconds) => parse_duration(&seconds.to_string()),
        None => parse_duration(text(value)),
    }
}

fn rate(value: &DeValue) -> Result<Rate, String> {
    match whole_number(value) {
        Some(number) => Rate::parse(&number.to_string()),
        None => Rate::parse(text(value)),
    }
}

fn trusted_proxy(value: &DeValue) -> Result<TrustedProxy, String> {
    TrustedProxy::parse(text(value))
}

fn function(value: &DeValue) -> Result<String, String> {
    match text(value) {
        "" => Err("expected the name of a function in the library, such as \"init\"".into()),
        name => Ok(name.into()),
    }
}

fn library(value: &DeValue) -> Result<PathBuf, String> {
    match text(value) {
        "" => Err("expected the path of a library, such as \"libchat.so\"".into()),
        path => Ok(path.into()),
    }
}
