//! What a server runs with, and the default of every setting.
//!
//! The config file and the command line enter, one [`Settings`] with nothing left open leaves; it can be
//! written as JSON for another process. Knows nothing about how either was read, nor whether a plugin's file
//! exists.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::cli::{LimitOptions, LogLevel, ServeOptions};
use crate::config::Config;
use crate::route::Route;
use crate::units::{Size, Time};

/// Address that is listened on: this machine only, until the operator says otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// Bytes of one message, all frames together: enough for a picture, too little to exhaust a worker.
pub const DEFAULT_MAX_MESSAGE: usize = 16 << 20;
/// Bytes that wait for one slow client before it is given up: seconds of a busy broadcast, and 4 GiB for a
/// thousand clients that all stop reading.
pub const DEFAULT_MAX_BACKLOG: usize = 4 << 20;
/// Waiting bytes above which `send` answers "queued above the high-water mark": about what the kernel's
/// socket buffer takes besides, so a plugin hears of a slow client early.
pub const DEFAULT_HIGH_WATER: usize = 64 << 10;
/// Bytes of a request's body: forms and JSON, not uploads.
pub const DEFAULT_MAX_BODY: usize = 1 << 20;
/// Bytes of a request's line and headers: room for large cookies and tokens.
pub const DEFAULT_MAX_HEAD: usize = 64 << 10;
/// Smallest `max_head`, in bytes: the smallest read buffer that hyper works with.
pub const MIN_MAX_HEAD: usize = 8 << 10;
/// Time for a client to send a whole request: slow mobile networks make it, clients that hold sockets do not.
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a client to answer our close frame: a round trip with retransmissions.
pub const DEFAULT_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which a client is pinged: common proxies and NATs drop a connection idle for longer.
pub const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(60);
/// Time for connections to end when the server stops: as long as Docker grants a container that it stops.
pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// What is logged: enough to see what was loaded and why something failed, nothing per message.
pub const DEFAULT_LOG: LogLevel = LogLevel::Info;

/// Everything that a server is told before it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Addresses to listen on, `HOST:PORT` each; at least one.
    pub listen: Vec<String>,
    /// Number of worker processes, if it was set.
    pub workers: Option<usize>,
    /// Libraries to load, in this order; at least one.
    pub plugins: Vec<PluginSource>,
    /// Routes, each with a path of its own. None means the convention: handlers named after their kind.
    pub routes: Vec<Route>,
    /// Bounds on what clients can cost.
    pub limits: Limits,
    /// What is worth a log line.
    pub log: LogLevel,
}

/// One plugin to load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginSource {
    /// The name that `[plugin.NAME]` gives it; without one, it goes by the name it gives itself.
    pub name: Option<String>,
    /// The library's file.
    pub path: PathBuf,
    /// The plugin's own settings, passed to it as they are.
    #[serde(with = "toml_text")]
    pub config: toml::Table,
}

impl PluginSource {
    /// A library with neither a given name nor settings of its own.
    pub fn library(path: PathBuf) -> Self {
        Self { name: None, path, config: toml::Table::new() }
    }
}

/// Bounds on what clients can cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of one message, all frames together; above, the connection closes with 1009 (RFC 6455 §7.4.1).
    pub max_message: usize,
    /// Bytes that may wait for one client; above, it is closed with 1013.
    pub max_backlog: usize,
    /// Waiting bytes above which `send` says so; never above `max_backlog`.
    pub high_water: usize,
    /// Bytes of a request's body; above, the answer is 413.
    pub max_body: usize,
    /// Bytes of a request's line and headers; above, the answer is 431. At least [`MIN_MAX_HEAD`].
    pub max_head: usize,
    /// Time for a client to send a whole request; not zero.
    pub handshake_timeout: Duration,
    /// Time for a client to answer a close frame.
    pub close_timeout: Duration,
    /// Silence after which a client is pinged, or never.
    pub ping_interval: Option<Duration>,
    /// Time for connections to end when the server stops.
    pub drain_timeout: Duration,
}

impl Settings {
    /// One server's settings: `options` from the command line win over the `config` file, which wins over the
    /// defaults. Addresses replace those of the file; a route replaces the file's route of the same path, or
    /// is added; `libraries` named on the command line are loaded after the file's plugins.
    ///
    /// # Errors
    /// Two routes of one path on the command line, no plugin at all, or limits that contradict each other.
    pub fn merge(
        config: Option<Config>,
        options: ServeOptions,
        libraries: Vec<PathBuf>,
    ) -> anyhow::Result<Self> {
        let config = config.unwrap_or_default();
        let listen = if options.listen.is_empty() { config.listen } else { Some(options.listen) };
        let mut plugins = config.plugins;
        plugins.extend(libraries.into_iter().map(PluginSource::library));
        if plugins.is_empty() {
            bail!("no plugin to serve: name a library's file, or a [plugin.NAME] in the config file");
        }
        Ok(Self {
            listen: listen.unwrap_or_else(|| vec![DEFAULT_LISTEN.to_owned()]),
            workers: options.workers.or(config.workers),
            plugins,
            routes: merge_routes(config.routes, options.route)?,
            limits: Limits::merge(config.limits, options.limits)?,
            log: options.log.unwrap_or(DEFAULT_LOG),
        })
    }
}

fn merge_routes(mut routes: Vec<Route>, flags: Vec<Route>) -> anyhow::Result<Vec<Route>> {
    for (index, flag) in flags.iter().enumerate() {
        if let Some(first) = flags[..index].iter().find(|first| first.path == flag.path) {
            bail!("two routes for `{}`: {} and {}; keep one", flag.path, first.origin, flag.origin);
        }
        match routes.iter_mut().find(|route| route.path == flag.path) {
            Some(route) => *route = flag.clone(),
            None => routes.push(flag.clone()),
        }
    }
    Ok(routes)
}

impl Limits {
    fn merge(file: LimitOptions, flags: LimitOptions) -> anyhow::Result<Self> {
        let max_backlog = flags.max_backlog.or(file.max_backlog).unwrap_or(DEFAULT_MAX_BACKLOG);
        let limits = Self {
            max_message: flags.max_message.or(file.max_message).unwrap_or(DEFAULT_MAX_MESSAGE),
            max_backlog,
            // The default gives way to a small backlog; a mark that was asked for does not.
            high_water: flags
                .high_water
                .or(file.high_water)
                .unwrap_or_else(|| DEFAULT_HIGH_WATER.min(max_backlog)),
            max_body: flags.max_body.or(file.max_body).unwrap_or(DEFAULT_MAX_BODY),
            max_head: flags.max_head.or(file.max_head).unwrap_or(DEFAULT_MAX_HEAD),
            handshake_timeout: flags
                .handshake_timeout
                .or(file.handshake_timeout)
                .unwrap_or(DEFAULT_HANDSHAKE_TIMEOUT),
            close_timeout: flags.close_timeout.or(file.close_timeout).unwrap_or(DEFAULT_CLOSE_TIMEOUT),
            ping_interval: Some(flags.ping_interval.or(file.ping_interval).unwrap_or(DEFAULT_PING_INTERVAL))
                .filter(|interval| !interval.is_zero()),
            drain_timeout: flags.drain_timeout.or(file.drain_timeout).unwrap_or(DEFAULT_DRAIN_TIMEOUT),
        };
        limits.check()?;
        Ok(limits)
    }

    fn check(&self) -> anyhow::Result<()> {
        let Self { max_backlog, high_water, max_head, handshake_timeout, .. } = *self;
        if high_water > max_backlog {
            bail!(
                "high_water is {}, above max_backlog, which is {}: no queue could reach it; lower \
                 high_water or raise max_backlog",
                Size(high_water),
                Size(max_backlog)
            );
        }
        if max_head < MIN_MAX_HEAD {
            bail!("max_head is {}, expected at least {}", Size(max_head), Size(MIN_MAX_HEAD));
        }
        if handshake_timeout.is_zero() {
            bail!(
                "handshake_timeout is 0, which no client can meet; expected more, such as {}",
                Time(DEFAULT_HANDSHAKE_TIMEOUT)
            );
        }
        Ok(())
    }
}

/// An address to listen on, as `HOST:PORT`. The host may be a name, an IPv4 address or an IPv6 address in
/// brackets; port 0 lets the system choose.
///
/// # Errors
/// Says what was expected.
pub fn parse_listen(text: &str) -> Result<String, String> {
    let text = text.trim();
    let well_formed = text.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let host_fits =
            !host.is_empty() && !host.contains(char::is_whitespace) && (bracketed || !host.contains(':'));
        host_fits && port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    if well_formed {
        Ok(text.to_owned())
    } else {
        Err(format!("expected HOST:PORT, such as {DEFAULT_LISTEN}, 0.0.0.0:80 or [::1]:8080"))
    }
}

/// A plugin's settings as TOML text, because JSON has no word for TOML's dates, `inf` and `nan`.
mod toml_text {
    use serde::{Deserialize, Deserializer, Serializer, de, ser};

    pub fn serialize<S: Serializer>(table: &toml::Table, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&toml::to_string(table).map_err(ser::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<toml::Table, D::Error> {
        toml::from_str(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::config;
    use crate::route::Target;

    fn parse(text: &str) -> Config {
        config::parse(text, Path::new("conf/callsign.toml")).unwrap()
    }

    /// What `callsign serve`, with `config` and these arguments, runs with.
    fn serve(config: Option<Config>, arguments: &[&str]) -> anyhow::Result<Settings> {
        let Command::Serve { plugins, options } =
            Cli::try_parse_from(["callsign", "serve"].iter().chain(arguments))?.command
        else {
            unreachable!("`serve` parses as Serve");
        };
        Settings::merge(config, options, plugins)
    }

    fn paths(settings: &Settings) -> Vec<String> {
        settings.routes.iter().map(|route| route.path.to_string()).collect()
    }

    #[test]
    fn without_file_and_options_the_defaults_hold() {
        let settings = serve(None, &["libchat.so"]).unwrap();
        assert_eq!(settings.listen, [DEFAULT_LISTEN]);
        assert_eq!(settings.workers, None);
        assert_eq!(settings.log, LogLevel::Info);
        assert!(settings.routes.is_empty());
        assert_eq!(settings.plugins, [PluginSource::library("libchat.so".into())]);
        assert_eq!(
            settings.limits,
            Limits {
                max_message: 16 * 1024 * 1024,
                max_backlog: 4 * 1024 * 1024,
                high_water: 64 * 1024,
                max_body: 1024 * 1024,
                max_head: 64 * 1024,
                handshake_timeout: Duration::from_secs(10),
                close_timeout: Duration::from_secs(5),
                ping_interval: Some(Duration::from_secs(60)),
                drain_timeout: Duration::from_secs(10),
            }
        );
    }

    #[test]
    fn options_win_over_the_file_and_the_file_over_the_defaults() {
        let file = "listen = ['a:1', 'b:2']\nworkers = 2\n[plugin.p]\npath = 'libp.so'\n\
                    [websocket]\nmax_message = 1000\nping_interval = 5\nclose_timeout = 1\n\
                    [http]\nmax_body = 7\n";
        let from_file = serve(Some(parse(file)), &["--config", "callsign.toml"]).unwrap();
        assert_eq!(from_file.listen, ["a:1", "b:2"]);
        assert_eq!(from_file.workers, Some(2));
        assert_eq!(from_file.limits.max_message, 1000);
        assert_eq!(from_file.limits.ping_interval, Some(Duration::from_secs(5)));

        let arguments =
            ["libq.so", "--listen", "c:3", "--listen", "d:4,e:5", "--workers", "8", "--log", "debug"];
        let limits = ["--max-message", "2k", "--ping-interval", "0", "--handshake-timeout", "1m"];
        let merged = serve(Some(parse(file)), &[&arguments[..], &limits].concat()).unwrap();
        assert_eq!(merged.listen, ["c:3", "d:4", "e:5"]);
        assert_eq!(merged.workers, Some(8));
        assert_eq!(merged.log, LogLevel::Debug);
        let libraries: Vec<_> = merged.plugins.into_iter().map(|plugin| plugin.path).collect();
        assert_eq!(libraries, [PathBuf::from("conf/libp.so"), PathBuf::from("libq.so")]);
        assert_eq!(merged.limits.max_message, 2048);
        assert_eq!(merged.limits.ping_interval, None);
        assert_eq!(merged.limits.handshake_timeout, Duration::from_secs(60));
        assert_eq!(merged.limits.max_body, 7);
        assert_eq!(merged.limits.close_timeout, Duration::from_secs(1));
    }

    #[test]
    fn every_limit_option_reaches_its_own_setting() {
        let arguments = "l.so --max-message 1 --max-backlog 3 --high-water 2 --max-body 4 --max-head 8193 \
                     --handshake-timeout 6 --close-timeout 7 --ping-interval 8 --drain-timeout 9";
        let limits = serve(None, &arguments.split_whitespace().collect::<Vec<_>>()).unwrap().limits;
        assert_eq!(
            limits,
            Limits {
                max_message: 1,
                max_backlog: 3,
                high_water: 2,
                max_body: 4,
                max_head: 8193,
                handshake_timeout: Duration::from_secs(6),
                close_timeout: Duration::from_secs(7),
                ping_interval: Some(Duration::from_secs(8)),
                drain_timeout: Duration::from_secs(9),
            }
        );
    }

    #[test]
    fn a_route_option_replaces_the_route_of_its_path_and_else_is_added() {
        let file = "[[route]]\npath = '/a'\nhandler = 'old'\n[[route]]\npath = '/b'\nhandler = 'kept'\n";
        let settings = serve(Some(parse(file)), &["l.so", "--route", "/c=new", "--route", "/a=,m,"]).unwrap();
        assert_eq!(paths(&settings), ["/a", "/b", "/c"]);
        assert_eq!(settings.routes[0].origin, "--route '/a=,m,'");
        assert_eq!(settings.routes[1].target, Target::Handler("kept".into()));
        assert_eq!(settings.routes[2].target, Target::Handler("new".into()));
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        for (arguments, message) in [
            (
                &["l.so", "--route", "/a=x", "--route", "/a=y"][..],
                "two routes for `/a`: --route '/a=x' and --route '/a=y'; keep one",
            ),
            (
                &["l.so", "--high-water", "8MiB"],
                "high_water is 8MiB, above max_backlog, which is 4MiB: no queue could reach it; lower \
                 high_water or raise max_backlog",
            ),
            (&["l.so", "--max-head", "4KiB"], "max_head is 4KiB, expected at least 8KiB"),
            (
                &["l.so", "--handshake-timeout", "0"],
                "handshake_timeout is 0, which no client can meet; expected more, such as 10s",
            ),
            (
                &["--config", "empty.toml"],
                "no plugin to serve: name a library's file, or a [plugin.NAME] in the config file",
            ),
        ] {
            assert_eq!(serve(None, arguments).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_small_backlog_lowers_the_default_high_water_mark() {
        assert_eq!(serve(None, &["l.so", "--max-backlog", "10KiB"]).unwrap().limits.high_water, 10 << 10);
    }

    #[test]
    fn settings_survive_the_way_to_another_process() {
        let file = "[plugin.p]\npath = 'libp.so'\n\
                    config = { day = 1979-05-27, big = inf, z = 1, a = { b = [1.5] } }\n\
                    [[route]]\npath = '/x/*'\nonmessage = 'p:m'\n";
        let settings = serve(Some(parse(file)), &["--config", "c", "--route", "/=page"]).unwrap();
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
    }
}
