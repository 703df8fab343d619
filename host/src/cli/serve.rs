//! What `serve` and `dev` take: options, and their help with defaults and environment variables.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::control::{self, Control};
use crate::probe;
use crate::route::Route;
use crate::settings::{self, parse_account, parse_listen};
use crate::units::{Size, Time, parse_duration, parse_size};

/// How to serve plugins, as far as the command line and the environment say.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeOptions {
    /// Config file, in TOML
    ///
    /// It sets what the options set, except --log, and gives each plugin settings of its own. All keys are
    /// shown in examples/callsign.toml.
    #[arg(long, value_name = "FILE", env = "CALLSIGN_CONFIG")]
    pub config: Option<PathBuf>,

    /// Address to listen on
    ///
    /// HOST is a name, an IPv4 address or an IPv6 address in brackets; port 0 lets the system choose. May be
    /// repeated, or hold several addresses separated by commas. They replace those of the config file.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "CALLSIGN_LISTEN",
        value_delimiter = ',',
        value_parser = parse_listen
    )]
    pub listen: Vec<String>,

    /// Handlers for a path; may be repeated
    ///
    /// PATH=HANDLER sends requests to an onrequest handler. PATH=ONCONNECT,ONMESSAGE,ONDISCONNECT binds three
    /// callbacks to every WebSocket that is opened there; an empty name means that the event is ignored.
    ///
    /// PATH is exact, or a prefix that ends in /*; the longest one that fits wins. A handler is looked for in
    /// all plugins in their order, or in one if it is written PLUGIN:HANDLER. A route of the config file with
    /// the same PATH is replaced.
    #[arg(long, value_name = "PATH=HANDLERS", value_parser = Route::from_flag)]
    pub route: Vec<Route>,

    /// Worker processes
    ///
    /// Clients are spread over them, and a plugin that crashes takes only the clients of its own worker with
    /// it. At most 256. 0 runs everything in one process, for a debugger.
    #[arg(long, value_name = "N", env = "CALLSIGN_WORKERS")]
    pub workers: Option<usize>,

    /// User that workers run as
    ///
    /// A name or a number. Only when started as root, which the workers leave behind before they load a plugin.
    /// The parent, which runs no plugin, stays root.
    #[arg(long, value_name = "NAME", env = "CALLSIGN_USER", value_parser = parse_account)]
    pub user: Option<String>,

    /// Group that workers run as
    ///
    /// A name or a number. Only when started as root. Without it, the group of the user given by --user.
    #[arg(long, value_name = "NAME", env = "CALLSIGN_GROUP", value_parser = parse_account)]
    pub group: Option<String>,

    /// Socket that `callsign reload` and `status` ask over
    ///
    /// Only the user who starts the server, and root, can use it. Without XDG_RUNTIME_DIR the default is in
    /// /tmp/callsign-UID. If another server has the default one already, this one starts without, and says so. `none`:
    /// there is no socket. With --workers 0 there is none either.
    #[arg(long, value_name = "PATH", env = "CALLSIGN_CONTROL", value_parser = Control::parse)]
    pub control: Option<Control>,

    /// How much to log, to stderr
    #[arg(long, value_name = "LEVEL", env = "CALLSIGN_LOG")]
    pub log: Option<LogLevel>,

    /// Bounds on what clients and callbacks can cost.
    #[command(flatten)]
    pub limits: LimitOptions,
}

/// Bounds on what clients and callbacks can cost, as far as one source (command line or config file) sets them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Largest WebSocket message
    ///
    /// Counts all frames of a message together. A client that sends more is closed with 1009.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_MAX_MESSAGE", value_parser = parse_size)]
    pub max_message: Option<usize>,

    /// Largest queue for one client
    ///
    /// Counts what waits to be sent. A client that reads so slowly that more would wait is closed with 1013;
    /// everybody else is served on.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_MAX_BACKLOG", value_parser = parse_size)]
    pub max_backlog: Option<usize>,

    /// Queue that counts as high
    ///
    /// While more waits for a client, sending to it tells the plugin "queued above the high-water mark".
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_HIGH_WATER", value_parser = parse_size)]
    pub high_water: Option<usize>,

    /// Largest request body
    ///
    /// A larger one is answered with 413.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_MAX_BODY", value_parser = parse_size)]
    pub max_body: Option<usize>,

    /// Largest request head
    ///
    /// Counts the request line and all headers. A larger one is answered with 431.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_MAX_HEAD", value_parser = parse_size)]
    pub max_head: Option<usize>,

    /// Time to send a request
    ///
    /// A client that has not sent a whole request by then is disconnected.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_HANDSHAKE_TIMEOUT", value_parser = parse_duration)]
    pub handshake_timeout: Option<Duration>,

    /// Time to answer a close
    ///
    /// A client that has not answered our close frame by then is disconnected.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_CLOSE_TIMEOUT", value_parser = parse_duration)]
    pub close_timeout: Option<Duration>,

    /// Silence before a ping
    ///
    /// A client from which nothing came for so long is sent a ping, and dropped if nothing comes for as long
    /// again. 0 means never.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_PING_INTERVAL", value_parser = parse_duration)]
    pub ping_interval: Option<Duration>,

    /// Time to end at shutdown
    ///
    /// Connections that are still open so long after the server was told to stop are cut.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_DRAIN_TIMEOUT", value_parser = parse_duration)]
    pub drain_timeout: Option<Duration>,

    /// Callback that counts as slow
    ///
    /// One that runs longer is logged by name, for no other client of its worker is served meanwhile. 0 means
    /// never. Worker processes only, not --workers 0.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_SLOW_CALLBACK", value_parser = parse_duration)]
    pub slow_callback: Option<Duration>,

    /// Callback that counts as hung
    ///
    /// The worker of one that runs longer is ended and replaced; its clients are disconnected. 0 means never.
    /// Worker processes only, not --workers 0.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_HANG_TIMEOUT", value_parser = parse_duration)]
    pub hang_timeout: Option<Duration>,

    /// Time for a step of a reload
    ///
    /// A reload in which a process that tries out the new code, or one of the workers, takes longer changes
    /// nothing. Clients wait meanwhile only while states are carried over.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_RELOAD_TIMEOUT", value_parser = parse_duration)]
    pub reload_timeout: Option<Duration>,

    /// Clients at once
    ///
    /// Counts those of all workers. More wait until one leaves. Without it, the system's limit on open files
    /// is the bound.
    #[arg(long, value_name = "N", env = "CALLSIGN_MAX_CONNECTIONS")]
    pub max_connections: Option<usize>,
}

/// How much is logged: each level with those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What looks wrong, such as a client that is too slow or a callback that blocks.
    Warn,
    /// What was started, loaded and stopped.
    Info,
    /// What each connection does.
    Debug,
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
        }
    }
}

/// Adds an option's default to its help, and to the long help its environment variable too. Options stay
/// unset where nothing was said, so clap knows no defaults; and it would print the variable in the short
/// help. `workers` is the default of `--workers`, in which the commands differ.
pub(super) fn describe(arg: Arg, workers: &str) -> Arg {
    let default = default_of(arg.get_id().as_str(), workers).map(|default| format!("[default: {default}]"));
    let variable = arg.get_env().map(|name| format!("[env: {}]", name.display()));
    let short = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let long = arg.get_long_help().map_or_else(|| short.clone(), ToString::to_string);
    let notes = [default.clone(), variable].into_iter().flatten().collect::<Vec<_>>().join(" ");
    arg.hide_env(true)
        .help([short, default.unwrap_or_default()].join(" ").trim_end().to_owned())
        .long_help([long, notes].join("\n\n").trim_end().to_owned())
}

/// The default of the option with this id, as it would be written.
fn default_of(id: &str, workers: &str) -> Option<String> {
    Some(match id {
        "listen" => settings::DEFAULT_LISTEN.to_owned(),
        "workers" => workers.to_owned(),
        "control" => control::DEFAULT_NAMED.to_owned(),
        "log" => settings::DEFAULT_LOG.to_possible_value()?.get_name().to_owned(),
        "max_message" => Size(settings::DEFAULT_MAX_MESSAGE).to_string(),
        "max_backlog" => Size(settings::DEFAULT_MAX_BACKLOG).to_string(),
        "high_water" => Size(settings::DEFAULT_HIGH_WATER).to_string(),
        "max_body" => Size(settings::DEFAULT_MAX_BODY).to_string(),
        "max_head" => Size(settings::DEFAULT_MAX_HEAD).to_string(),
        "handshake_timeout" => Time(settings::DEFAULT_HANDSHAKE_TIMEOUT).to_string(),
        "close_timeout" => Time(settings::DEFAULT_CLOSE_TIMEOUT).to_string(),
        "ping_interval" => Time(settings::DEFAULT_PING_INTERVAL).to_string(),
        "drain_timeout" => Time(settings::DEFAULT_DRAIN_TIMEOUT).to_string(),
        "slow_callback" => Time(settings::DEFAULT_SLOW_CALLBACK).to_string(),
        "hang_timeout" => Time(settings::DEFAULT_HANG_TIMEOUT).to_string(),
        "reload_timeout" => Time(settings::DEFAULT_RELOAD_TIMEOUT).to_string(),
        "timeout" => Time(probe::TIME_LIMIT).to_string(),
        _ => return None,
    })
}

pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  callsign serve target/release/libchat.so
          Without a route, the handler called onrequest answers every request.
          If there is none, a WebSocket on any path gets the handlers called
          onconnect, onmessage and ondisconnect, those of them that exist
  callsign serve libchat.so --route '/=page' --route '/chat=join,message,leave'
          Name the handlers of each path
  callsign serve --config callsign.toml --listen '0.0.0.0:80,[::]:80'
          Serve what the config file says, on other addresses";
