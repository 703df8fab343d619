//! The options of `serve` and `dev`, which are also read from environment variables.
//!
//! An option that is not given stays None: the config file and then the defaults decide ([`super::settings`]).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::access_log::{AccessLogFormat, AccessLogTarget};
use super::account::parse_account;
use super::compression::CompressionMode;
use super::control_address::ControlAddress;
use super::listen::Listen;
use super::log_level::LogLevel;
use super::rate::Rate;
use super::route::Route;
use super::tls::CertificateSource;
use super::trusted_proxies::TrustedProxy;
use super::units::{parse_count, parse_duration, parse_size};
use super::web_origin::OriginPattern;

// Doc comments are help texts: the first line for `-h`, all of it for `--help`. Defaults are added by `commands::help`.

#[derive(Debug, Clone, Default, Args)]
pub struct ServeOptions {
    /// Config file, in TOML
    ///
    /// The file sets the same values as the options, except --log, --watch, and the options that only `dev` has, such
    /// as --build. It has a table of settings for each plugin. Paths in the file are relative to its folder.
    /// examples/callsign.toml shows every key.
    #[arg(long, value_name = "FILE", env = "CALLSIGN_CONFIG")]
    pub config: Option<PathBuf>,

    /// Address to listen on
    ///
    /// HOST is a name, an IPv4 address or an IPv6 address in brackets. Addresses of a name that this machine does not
    /// have are skipped. For port 0, the system chooses a free port.
    ///
    /// unix:PATH listens on a Unix socket, for a reverse proxy on this machine. Its permissions are 660, or MODE in
    /// unix:PATH?mode=MODE (octal). With --user or --group, the socket belongs to the user and group of the workers.
    /// The server removes the socket when it stops. In the config file, `owner` of a [[listen]] names another user and
    /// group.
    ///
    /// Sockets that systemd passes (LISTEN_FDS) are used for the addresses that they have. systemd:NAME stands for those of
    /// that name, which is FileDescriptorName= of the socket unit. Without any address, the server listens on all of them.
    ///
    /// Repeat the option for more addresses, or separate them by commas. They replace the addresses of the config file.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "CALLSIGN_LISTEN",
        value_delimiter = ',',
        value_parser = Listen::parse
    )]
    pub listen: Vec<Listen>,

    /// Certificate for the addresses of --listen; may be repeated
    ///
    /// FILE has the certificate of the server, then those that lead to its authority, in PEM. Each certificate needs a
    /// --tls-key, in the same order. A client gets the certificate for the name that it asks for (SNI), else the first
    /// one. With it, the TCP addresses of --listen, or the default address, serve https:// and wss://.
    ///
    /// The files are read again by `callsign reload` and SIGHUP. In the config file: `tls` in a [[listen]].
    #[arg(long, value_name = "FILE", env = "CALLSIGN_TLS_CERTIFICATE")]
    pub tls_certificate: Vec<PathBuf>,

    /// Private key of a --tls-certificate; may be repeated
    ///
    /// In PEM, and not encrypted. The user of the workers needs no access to it.
    #[arg(long, value_name = "FILE", env = "CALLSIGN_TLS_KEY")]
    pub tls_key: Vec<PathBuf>,

    /// HTTP/2 for the addresses with TLS
    ///
    /// Clients that offer it (ALPN) may then send requests and open WebSockets over one connection (RFC 8441). Others speak
    /// HTTP/1.1 as before. It holds for all addresses that have TLS; in the config file, `http2` of a [[listen]] turns it on
    /// for one.
    #[arg(long, env = "CALLSIGN_HTTP2")]
    pub http2: bool,

    /// What `dev --tls` has made, for all TCP addresses that have no certificate.
    #[arg(skip)]
    pub local_certificate: Option<CertificateSource>,

    /// Handlers of a path; may be repeated
    ///
    /// PATH=HANDLER calls an onrequest handler for each request. PATH=ONCONNECT,ONMESSAGE,ONDISCONNECT upgrades each
    /// WebSocket client and binds three callbacks to its connection; leave a name empty to ignore the event. A fourth
    /// name, ONDRAIN, is called when nothing waits for the client any more. A route in the config file can also have
    /// limits for its connections.
    ///
    /// PATH is exact, or a prefix that ends in /*: /chat/* matches /chat/ and all below, but not /chat. A segment in braces
    /// is a parameter, which handlers get decoded: /room/{room}. /files/{*path} matches what /files/* matches. Segment by
    /// segment, text takes precedence, then a parameter, then /*. /café matches /caf%C3%A9 too, which browsers send for it.
    /// HANDLER is searched in all plugins, PLUGIN:HANDLER in one. If several plugins have HANDLER, or the names are not of one
    /// plugin, PLUGIN is required. The option replaces all routes of the config file with the same PATH, which may have
    /// methods and hosts.
    #[arg(long, value_name = "PATH=HANDLERS", value_parser = Route::from_flag)]
    pub route: Vec<Route>,

    /// Pages that may open WebSockets; may be repeated
    ///
    /// ORIGIN is scheme, host and port of a page, such as https://example.com or http://localhost:3000, or * for all
    /// pages. A browser names the page in the Origin header. A page that is not allowed gets 403, and the log says so.
    /// Without this option, the host and port of the page must be those of the request (the Host header). Clients
    /// without an Origin header, such as programs, are always accepted.
    ///
    /// Separate several by commas. The option replaces `origins` in [http] of the config file. A route with `origins`
    /// of its own keeps them.
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "CALLSIGN_ORIGIN",
        value_delimiter = ',',
        value_parser = OriginPattern::parse
    )]
    pub origin: Vec<OriginPattern>,

    /// Reverse proxy in front of the server; may be repeated
    ///
    /// NETWORK is an address (127.0.0.1), a network (10.0.0.0/8), or unix: for clients of Unix sockets. What such a client
    /// says about its own client counts: the headers Forwarded or X-Forwarded-For tell handlers and the log the address,
    /// and X-Forwarded-Host and X-Forwarded-Proto replace the Host header when the origin of a page is checked. Several
    /// proxies in a row must all be listed. A client that is not listed cannot set its address.
    ///
    /// Separate several by commas. They replace `trusted_proxies` of the config file.
    #[arg(
        long,
        value_name = "NETWORK",
        env = "CALLSIGN_TRUSTED_PROXY",
        value_delimiter = ',',
        value_parser = TrustedProxy::parse
    )]
    pub trusted_proxy: Vec<TrustedProxy>,

    /// Compression of WebSocket messages
    ///
    /// Messages are compressed for clients that support permessage-deflate, as browsers do. It costs CPU: 20 us and more
    /// for a message. Do not use it where a client can have text of its own sent in one message with a secret, because
    /// the size of the message then tells about the secret, also over TLS (BREACH).
    ///
    /// Windows, level and the smallest size are set in the config file. The option replaces `compression` in
    /// [websocket] of the config file. A route with `compression` of its own keeps it.
    #[arg(long, value_name = "MODE", env = "CALLSIGN_COMPRESSION")]
    pub compression: Option<CompressionMode>,

    /// Number of worker processes
    ///
    /// Each worker serves a share of the clients. A plugin that crashes disconnects only the clients of its worker. At
    /// most 256. 0 runs everything in one process, for a debugger.
    #[arg(long, value_name = "N", env = "CALLSIGN_WORKERS", value_parser = parse_count)]
    pub workers: Option<usize>,

    /// User of the workers
    ///
    /// A name or a number. Requires that root starts the server. Workers change to this user before they load plugins;
    /// the parent process stays root and runs no plugin. With or without this option, neither workers nor what their
    /// plugins start can gain privileges: setuid programs, such as sudo, have no effect there.
    /// Without this option, plugins run as the user who starts the server, and root gets a warning.
    #[arg(long, value_name = "NAME", env = "CALLSIGN_USER", value_parser = parse_account)]
    pub user: Option<String>,

    /// Group of the workers
    ///
    /// A name or a number. Requires that root starts the server. Without this option, it is the primary group of the
    /// user in --user.
    #[arg(long, value_name = "NAME", env = "CALLSIGN_GROUP", value_parser = parse_account)]
    pub group: Option<String>,

    /// Socket for `callsign reload` and `callsign status`
    ///
    /// Only root and the user who starts the server can connect. `none` disables the socket; --workers 0 has none.
    ///
    /// Without XDG_RUNTIME_DIR, the default is in /tmp/callsign-UID. If another server already uses the default path,
    /// this server starts without a control socket and logs a warning.
    #[arg(long, value_name = "PATH", env = "CALLSIGN_CONTROL", value_parser = ControlAddress::parse)]
    pub control: Option<ControlAddress>,

    /// How much to log to stderr
    #[arg(long, value_name = "LEVEL", env = "CALLSIGN_LOG")]
    pub log: Option<LogLevel>,

    /// File that records each request and connection
    ///
    /// Each response is recorded when it is written, and each connection when it ends, in one line. `-` is stdout, `none`
    /// turns it off. Lines are appended. The file is opened by the user who starts the server, and again at SIGHUP, so that
    /// programs such as logrotate can rename it. Its mode is 640 if the server creates it. Lines that the disk or the
    /// reader of stdout does not take in time are dropped; the log says how many.
    #[arg(long, value_name = "FILE", env = "CALLSIGN_ACCESS_LOG", value_parser = AccessLogTarget::parse)]
    pub access_log: Option<AccessLogTarget>,

    /// Format of the access log
    #[arg(long, value_name = "FORMAT", env = "CALLSIGN_ACCESS_LOG_FORMAT")]
    pub access_log_format: Option<AccessLogFormat>,

    #[command(flatten)]
    pub limits: LimitOptions,

    /// The environment variables that decide values, by the keys of the settings.
    #[arg(skip)]
    pub variables: BTreeMap<String, String>,
}

impl ServeOptions {
    /// The keys of the config file that these options replace, without the limits.
    pub fn keys(&self) -> Vec<String> {
        let keys = [
            ("listen", !self.listen.is_empty()),
            ("workers", self.workers.is_some()),
            ("user", self.user.is_some()),
            ("group", self.group.is_some()),
            ("control", self.control.is_some()),
            ("access_log", self.access_log.is_some()),
            ("access_log_format", self.access_log_format.is_some()),
            ("origins", !self.origin.is_empty()),
            ("trusted_proxies", !self.trusted_proxy.is_empty()),
            ("compression", self.compression.is_some()),
        ];
        keys.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key.to_owned()).collect()
    }
}

/// The limits that one source sets, the command line or the config file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Largest WebSocket message
    ///
    /// Counts the payload of all frames of a message. A client that exceeds it is closed with 1009. A larger message of
    /// a handler is not sent either. At most 2GiB. Clients that send larger messages may need a longer
    /// --message-timeout.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_MAX_MESSAGE", value_parser = parse_size)]
    pub max_message: Option<usize>,

    /// Maximum write queue
    ///
    /// Counts the bytes that wait to be sent to the client. A client that reads so slowly that its queue exceeds this
    /// size is closed with 1013.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_MAX_BACKLOG", value_parser = parse_size)]
    pub max_backlog: Option<usize>,

    /// Time for a message to arrive
    ///
    /// A client whose message is not complete this long after its first frame is closed with 1008. Time in which the
    /// server does not read from the client does not count. 0 disables this.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_MESSAGE_TIMEOUT", value_parser = parse_duration)]
    pub message_timeout: Option<Duration>,

    /// Memory for partial messages
    ///
    /// Counts the memory of messages that the clients of one worker have sent in part. If it exceeds this size, the
    /// worker closes the clients that have held most for the longest time with 1013. At least three times
    /// --max-message, because buffers take more than the messages, and by default at least sixteen times.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_RECEIVE_MEMORY", value_parser = parse_size)]
    pub receive_memory: Option<usize>,

    /// Memory for write queues
    ///
    /// Counts the memory of what waits for the clients of one worker whose sockets accept no more; a broadcast that
    /// waits for several clients may count once. If it exceeds this size, the worker drops the largest queues and closes
    /// their clients with 1013. At least --max-backlog, and by default at least sixteen times.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_SEND_MEMORY", value_parser = parse_size)]
    pub send_memory: Option<usize>,

    /// Write queue counted as high
    ///
    /// While a client's write queue exceeds this size, sending to it returns QUEUED to the plugin, which can then send
    /// less. At most --max-backlog.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_HIGH_WATER", value_parser = parse_size)]
    pub high_water: Option<usize>,

    /// Maximum request body
    ///
    /// A larger request gets 413.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_MAX_BODY", value_parser = parse_size)]
    pub max_body: Option<usize>,

    /// Maximum request head
    ///
    /// Counts the request line and all headers. A larger request gets 431, and so does one with more than 1000
    /// headers. At least 8KiB.
    #[arg(long, value_name = "SIZE", env = "CALLSIGN_MAX_HEAD", value_parser = parse_size)]
    pub max_head: Option<usize>,

    /// Time for a request to arrive
    ///
    /// Begins when a client is accepted, and ends when the head of its first request is complete: the PROXY header and
    /// the TLS handshake are part of it. Each further head, and each body, has this time again. A client that takes
    /// longer is disconnected.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_HANDSHAKE_TIMEOUT", value_parser = parse_duration)]
    pub handshake_timeout: Option<Duration>,

    /// Time between two requests
    ///
    /// A client that sends no request for this time after a response is disconnected. Set it above the idle timeout of
    /// a load balancer in front of the server.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_KEEPALIVE_TIMEOUT", value_parser = parse_duration)]
    pub keepalive_timeout: Option<Duration>,

    /// Time a response may go unread
    ///
    /// A client that reads nothing of a response for this time is disconnected. WebSocket clients are limited by
    /// --max-backlog.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_SEND_TIMEOUT", value_parser = parse_duration)]
    pub send_timeout: Option<Duration>,

    /// Time to answer a Close frame
    ///
    /// A client that takes longer to answer the server's Close frame is disconnected.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_CLOSE_TIMEOUT", value_parser = parse_duration)]
    pub close_timeout: Option<Duration>,

    /// Time of silence before a ping
    ///
    /// A client that sends nothing for this time gets a ping, or up to an eighth of the time earlier, so that not all
    /// clients get theirs at once. If it then sends nothing for this time, it is disconnected. Proxies drop idle
    /// connections: nginx after 60s, unless proxy_read_timeout says otherwise. 0 disables pings; TCP keepalive then
    /// finds clients that are gone after two minutes.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_PING_INTERVAL", value_parser = parse_duration)]
    pub ping_interval: Option<Duration>,

    /// Time to close at shutdown
    ///
    /// Connections that are still open this long after SIGINT or SIGTERM are aborted, and the exit status is 1.
    /// Background work that takes longer is abandoned.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_DRAIN_TIMEOUT", value_parser = parse_duration)]
    pub drain_timeout: Option<Duration>,

    /// Callback that counts as slow
    ///
    /// A callback that runs longer is logged with its name, because it blocks the other clients of its worker. A worker
    /// whose clients wait longer for their turn, because of many callbacks, is logged with the name of the callback
    /// that takes most of the time. 0 disables both. At most --hang-timeout. A worker that does not run for 1s outside
    /// of any callback is always logged. Has no effect with --workers 0.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_SLOW_CALLBACK", value_parser = parse_duration)]
    pub slow_callback: Option<Duration>,

    /// Callback that counts as hung
    ///
    /// A worker whose callback runs longer, or which does not run for this time (at least 1s) outside of any callback,
    /// is killed and replaced; its clients are disconnected. So is a worker that does not read the messages of other
    /// workers. 0 disables this. A traced worker (gdb, strace) is left alone. Has no effect with --workers 0.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_HANG_TIMEOUT", value_parser = parse_duration)]
    pub hang_timeout: Option<Duration>,

    /// Time for a reload
    ///
    /// A reload is rejected, and the old code keeps running, if it takes longer: copying the libraries, a trial in the
    /// probe (a process that loads the new code first), loading them in all workers, and waiting until no worker is in a
    /// callback. Clients wait only while workers carry over the state of connections, and never long for another
    /// worker.
    #[arg(long, value_name = "TIME", env = "CALLSIGN_RELOAD_TIMEOUT", value_parser = parse_duration)]
    pub reload_timeout: Option<Duration>,

    /// Maximum number of connections of all workers
    ///
    /// Counts clients with and without WebSocket. Further clients wait until one disconnects. Without this option, the
    /// system's limit on open files applies.
    #[arg(long, value_name = "N", env = "CALLSIGN_MAX_CONNECTIONS", value_parser = parse_count)]
    pub max_connections: Option<usize>,

    /// Maximum number of connections of one address
    ///
    /// On all workers together, with and without WebSocket. A further client gets 429, or is disconnected if it has come
    /// to an address with TLS. Off by default, and with 0.
    ///
    /// The address is that of the client: for a trusted proxy (--trusted-proxy) that of its client, whose requests and
    /// WebSockets count. The proxies themselves, and clients of Unix sockets, have no limit. An IPv6 network of 64 bits
    /// counts as one address. Many people can share one, such as those in an office.
    #[arg(long, value_name = "N", env = "CALLSIGN_MAX_PER_ADDRESS", value_parser = parse_count)]
    pub max_per_address: Option<usize>,

    /// New connections of one address
    ///
    /// RATE is a number in a time, such as 10/s or 100/10s: an address may have that many at once, and as many in each such
    /// time, evenly. A further client gets 429, or is disconnected before its handshake if it has come to an address with
    /// TLS. Connections of a trusted proxy do not count. Off by default, and with 0. For addresses see
    /// --max-per-address.
    #[arg(long, value_name = "RATE", env = "CALLSIGN_CONNECTION_RATE", value_parser = Rate::parse)]
    pub connection_rate: Option<Rate>,

    /// Requests of one address
    ///
    /// RATE is a number in a time, such as 100/s or 600/m, as for --connection-rate. WebSocket handshakes are requests too;
    /// messages are not. A further request gets 429, with the time until the next one in Retry-After. Off by default, and
    /// with 0.
    #[arg(long, value_name = "RATE", env = "CALLSIGN_REQUEST_RATE", value_parser = Rate::parse)]
    pub request_rate: Option<Rate>,

    /// WebSocket handshakes of one address
    ///
    /// RATE is a number in a time, such as 10/s or 60/m, as for --connection-rate. A further handshake gets 429, with the
    /// time until the next one in Retry-After. Off by default, and with 0.
    #[arg(long, value_name = "RATE", env = "CALLSIGN_HANDSHAKE_RATE", value_parser = Rate::parse)]
    pub handshake_rate: Option<Rate>,
}

impl LimitOptions {
    /// The keys of the limits that are set.
    pub fn keys(&self) -> Vec<String> {
        let Ok(serde_json::Value::Object(limits)) = serde_json::to_value(self) else { return Vec::new() };
        limits.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key).collect()
    }
}
