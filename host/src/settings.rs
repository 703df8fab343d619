//! What a server runs with, and the default of every setting.
//!
//! The config file and the command line enter, one [`Settings`] with nothing left open leaves; it can be
//! written as JSON for another process. Knows nothing about how either was read, nor whether a plugin's file
//! exists.

#![forbid(unsafe_code)]

mod limits; // what clients and callbacks can cost

use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::cli::{LogLevel, ServeOptions};
use crate::config::Config;
use crate::control::Control;
use crate::route::Route;
pub use limits::*;

/// Address that is listened on: this machine only, until the operator says otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// Most workers that can be asked for: far more than cores, for each takes its share of every broadcast.
pub const MAX_WORKERS: usize = 256;
/// Number of workers of `dev`: one process to look at, and one copy of every log line.
pub const DEFAULT_DEV_WORKERS: usize = 1;
/// What is logged: enough to see what was loaded and why something failed, nothing per message.
pub const DEFAULT_LOG: LogLevel = LogLevel::Info;

/// Everything that a server is told before it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Addresses to listen on, `HOST:PORT` each; at least one.
    pub listen: Vec<String>,
    /// Number of worker processes, at most [`MAX_WORKERS`]; 0: everything runs in one process.
    pub workers: usize,
    /// Account that workers run as, by name or number; only root can change it.
    pub user: Option<String>,
    /// Group that workers run as, by name or number; None with a `user`: that user's own.
    pub group: Option<String>,
    /// Libraries to load, in this order; at least one.
    pub plugins: Vec<PluginSource>,
    /// Routes, each with a path of its own. None means the convention: handlers named after their kind.
    pub routes: Vec<Route>,
    /// Bounds on what clients and callbacks can cost.
    pub limits: Limits,
    /// Where it can be asked how it goes, and told to reload.
    pub control: Control,
    /// The config file, to be shown.
    pub config: Option<PathBuf>,
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
    /// The function that `[plugin.NAME]` names as its load hook, or for its load hook.
    pub onload: Option<String>,
    /// The plugin's own settings, passed to it as they are.
    #[serde(with = "toml_text")]
    pub config: toml::Table,
}

impl PluginSource {
    /// ``plugin `chat` (libchat.so)``, as far as its name is known without the library.
    pub fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("plugin `{name}` ({})", self.path.display()),
            None => format!("plugin {}", self.path.display()),
        }
    }

    /// A library with neither a given name nor settings of its own.
    pub fn library(path: PathBuf) -> Self {
        Self { name: None, path, onload: None, config: toml::Table::new() }
    }
}

impl Settings {
    /// Settings in which `other` differs and which only a start can change, by the names of their keys.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let pairs = [
            ("listen", self.listen != other.listen),
            ("workers", self.workers != other.workers),
            ("user", self.user != other.user),
            ("group", self.group != other.group),
            ("control", self.control != other.control),
            ("log", self.log != other.log),
            ("limits", self.limits != other.limits),
        ];
        pairs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
    }

    /// One server's settings: `options` from the command line win over the `config` file, which wins over the
    /// defaults. Addresses replace those of the file; a route replaces the file's route of the same path, or
    /// is added; `libraries` named on the command line are loaded after the file's plugins. The number of
    /// workers is `default_workers` if neither sets it.
    ///
    /// # Errors
    /// Two routes of one path on the command line, no plugin at all, more than [`MAX_WORKERS`], or limits that
    /// contradict each other.
    pub fn merge(
        config: Option<Config>,
        options: ServeOptions,
        libraries: Vec<PathBuf>,
        default_workers: usize,
    ) -> anyhow::Result<Self> {
        let config = config.unwrap_or_default();
        let listen = if options.listen.is_empty() { config.listen } else { Some(options.listen) };
        let mut plugins = config.plugins;
        plugins.extend(libraries.into_iter().map(PluginSource::library));
        if plugins.is_empty() {
            bail!("no plugin to serve: name a library's file, or a [plugin.NAME] in the config file");
        }
        let workers = options.workers.or(config.workers).unwrap_or(default_workers);
        if workers > MAX_WORKERS {
            bail!("workers is {workers}, expected at most {MAX_WORKERS}; one per core serves best");
        }
        Ok(Self {
            listen: listen.unwrap_or_else(|| vec![DEFAULT_LISTEN.to_owned()]),
            workers,
            user: options.user.or(config.user),
            group: options.group.or(config.group),
            plugins,
            routes: merge_routes(config.routes, options.route)?,
            limits: Limits::merge(config.limits, options.limits)?,
            control: options.control.or(config.control).unwrap_or_default(),
            config: options.config,
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

/// Number of workers of `serve`: one per core that this process may use, at most [`MAX_WORKERS`].
pub fn default_serve_workers() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(MAX_WORKERS)
}

/// A user or a group, by name or number. Whether there is one is not looked up.
///
/// # Errors
/// Says what was expected.
pub fn parse_account(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_control) {
        return Err("expected a name or a number, such as `www-data` or 33".to_owned());
    }
    Ok(text.to_owned())
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
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::config;
    use crate::route::Target;

    fn parse(text: &str) -> Config {
        config::parse(text, Path::new("conf/callsign.toml")).unwrap()
    }

    /// What `callsign serve`, with `config` and these arguments, runs with on a machine of 3 cores.
    fn serve(config: Option<Config>, arguments: &[&str]) -> anyhow::Result<Settings> {
        let Command::Serve { plugins, options, .. } =
            Cli::try_parse_from(["callsign", "serve"].iter().chain(arguments))?.command
        else {
            unreachable!("`serve` parses as Serve");
        };
        Settings::merge(config, options, plugins, 3)
    }

    fn words(arguments: &str) -> Vec<&str> {
        arguments.split_whitespace().collect()
    }

    fn paths(settings: &Settings) -> Vec<String> {
        settings.routes.iter().map(|route| route.path.to_string()).collect()
    }

    #[test]
    fn without_file_and_options_the_defaults_hold() {
        let settings = serve(None, &["libchat.so"]).unwrap();
        assert_eq!(settings.listen, [DEFAULT_LISTEN]);
        assert_eq!(settings.workers, 3);
        assert_eq!((settings.user, settings.group), (None, None));
        assert_eq!(settings.log, LogLevel::Info);
        assert!(settings.routes.is_empty());
        assert_eq!((settings.control, settings.config), (Control::Default, None));
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
                slow_callback: Some(Duration::from_millis(100)),
                hang_timeout: Some(Duration::from_secs(10)),
                reload_timeout: Duration::from_secs(10),
                max_connections: None,
            }
        );
    }

    #[test]
    fn options_win_over_the_file_and_the_file_over_the_defaults() {
        let file = "listen = ['a:1', 'b:2']\nworkers = 2\nuser = 'www-data'\ngroup = 33\n\
                    [plugin.p]\npath = 'libp.so'\n\
                    [worker]\nslow_callback = 0\nhang_timeout = 5\nmax_connections = 9\n\
                    [websocket]\nmax_message = 1000\nping_interval = 5\nclose_timeout = 1\n\
                    [http]\nmax_body = 7\n";
        let from_file = serve(Some(parse(file)), &["--config", "callsign.toml"]).unwrap();
        assert_eq!(from_file.listen, ["a:1", "b:2"]);
        assert_eq!(from_file.workers, 2);
        assert_eq!((from_file.user.as_deref(), from_file.group.as_deref()), (Some("www-data"), Some("33")));
        assert_eq!(from_file.limits.slow_callback, None);
        assert_eq!(from_file.limits.max_connections, Some(9));
        assert_eq!(from_file.limits.max_message, 1000);
        assert_eq!(from_file.limits.ping_interval, Some(Duration::from_secs(5)));

        let arguments = "libq.so --listen c:3 --listen d:4,e:5 --workers 8 --user chat --log debug --max-message 2k \
                         --ping-interval 0 --handshake-timeout 1m --hang-timeout 0";
        let merged = serve(Some(parse(file)), &words(arguments)).unwrap();
        assert_eq!(merged.listen, ["c:3", "d:4", "e:5"]);
        assert_eq!(merged.workers, 8);
        assert_eq!((merged.user.as_deref(), merged.group.as_deref()), (Some("chat"), Some("33")));
        assert_eq!(merged.log, LogLevel::Debug);
        let libraries: Vec<_> = merged.plugins.into_iter().map(|plugin| plugin.path).collect();
        assert_eq!(libraries, [PathBuf::from("conf/libp.so"), PathBuf::from("libq.so")]);
        assert_eq!(merged.limits.max_message, 2048);
        assert_eq!(merged.limits.ping_interval, None);
        assert_eq!(merged.limits.hang_timeout, None);
        assert_eq!(merged.limits.handshake_timeout, Duration::from_secs(60));
        assert_eq!(merged.limits.max_body, 7);
        assert_eq!(merged.limits.close_timeout, Duration::from_secs(1));
    }

    #[test]
    fn every_limit_option_reaches_its_own_setting() {
        let arguments = "l.so --max-message 1 --max-backlog 3 --high-water 2 --max-body 4 --max-head 8193 \
                     --handshake-timeout 6 --close-timeout 7 --ping-interval 8 --drain-timeout 9 \
                     --slow-callback 10 --hang-timeout 11 --max-connections 12 --reload-timeout 13";
        let limits = serve(None, &words(arguments)).unwrap().limits;
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
                slow_callback: Some(Duration::from_secs(10)),
                hang_timeout: Some(Duration::from_secs(11)),
                reload_timeout: Duration::from_secs(13),
                max_connections: Some(12),
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
    fn the_control_socket_is_where_the_option_says_else_the_file_relative_to_itself() {
        let file = || Some(parse("control = 'c.sock'\n[plugin.p]\npath = 'libp.so'\n"));
        assert_eq!(serve(file(), &["--config", "c"]).unwrap().control, Control::Path("conf/c.sock".into()));
        assert_eq!(serve(file(), &["--config", "c", "--control", "none"]).unwrap().control, Control::Off);
        assert_eq!(serve(file(), &["l.so", "--control", "a"]).unwrap().control, Control::Path("a".into()));
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
                &["l.so", "--slow-callback", "20s"],
                "hang_timeout is 10s, below slow_callback, which is 20s: a worker would be ended before its \
                 callback counts as slow; raise hang_timeout or lower slow_callback",
            ),
            (
                &["l.so", "--max-connections", "0"],
                "max_connections is 0, so that no client could connect; expected at least 1",
            ),
            (&["l.so", "--workers", "257"], "workers is 257, expected at most 256; one per core serves best"),
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
    fn a_short_hang_timeout_lowers_the_default_of_slow_callback() {
        let slow = |arguments| serve(None, &words(arguments)).unwrap().limits.slow_callback;
        assert_eq!(slow("l.so --hang-timeout 50ms"), Some(Duration::from_millis(50)));
        assert_eq!(slow("l.so --hang-timeout 0"), Some(DEFAULT_SLOW_CALLBACK));
    }

    #[test]
    fn either_watch_on_callbacks_can_be_off_while_the_other_is_on() {
        let watch = |arguments| {
            let limits = serve(None, &words(arguments)).unwrap().limits;
            (limits.slow_callback, limits.hang_timeout)
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(watch("l.so --slow-callback 0 --hang-timeout 1"), (None, second));
        assert_eq!(watch("l.so --slow-callback 1 --hang-timeout 0"), (second, None));
        assert_eq!(watch("l.so --slow-callback 1 --hang-timeout 1"), (second, second));
    }

    #[test]
    fn workers_are_none_to_the_maximum_and_by_default_of_serve_one_per_core() {
        let workers = |arguments| serve(None, &words(arguments)).unwrap().workers;
        assert_eq!(workers("l.so --workers 0"), 0);
        assert_eq!(workers("l.so --workers 256"), MAX_WORKERS);
        assert!((1..=MAX_WORKERS).contains(&default_serve_workers()));
    }

    #[test]
    fn settings_survive_the_way_to_another_process() {
        let file = "[plugin.p]\npath = 'libp.so'\n\
                    config = { day = 1979-05-27, big = inf, z = 1, a = { b = [1.5] } }\n\
                    [[route]]\npath = '/x/*'\nonmessage = 'p:m'\n";
        let arguments =
            "--config c --route /=page --user chat --group 33 --max-connections 9 --hang-timeout 0";
        let settings = serve(Some(parse(file)), &words(arguments)).unwrap();
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
    }
}
