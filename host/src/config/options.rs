//! The options of `serve` and `dev`, which are also read from environment variables.
//!
//! An option that is not given stays None: the config file and then the defaults decide ([`super::settings`]).

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::access_log::{AccessLogFormat, AccessLogTarget};
use super::account::parse_account;
use super::compression::CompressionMode;
use super::control_address::ControlAddress;
use super::limit_options::LimitOptions;
use super::listen::Listen;
use super::log_level::LogLevel;
use super::route::Route;
use super::sandbox::SandboxLevel;
use super::tls::CertificateSource;
use super::trusted_proxies::TrustedProxy;
use super::units::parse_count;
use super::web_origin::OriginPattern;

// Doc comments are help texts: the first line for `-h`, all of it for `--help`. Defaults are added by `commands::help`.

#[derive(Debug, Clone, Default, Args)]
pub struct ServeOptions {
    /// Config file, in TOML
    ///
    /// The file sets the same values as the options, except --watch and the options that only `dev` has, such as
    /// --build. It has a table of settings for each plugin. Paths in the file are relative to its folder.
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

    /// Confinement of the workers (Linux)
    ///
    /// A confined worker has no capabilities, opens only files that the server and any process need, and makes only
    /// ordinary system calls: no IP sockets, no other programs. `strict` needs Landlock and seccomp: if the kernel lacks
    /// either, the server does not start. `best-effort` starts without what is missing, and logs it. The default is
    /// `off`. In the config file: `level` in [sandbox], which also allows more.
    #[arg(long, value_name = "LEVEL", env = "CALLSIGN_SANDBOX")]
    pub sandbox: Option<SandboxLevel>,

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
            ("level", self.sandbox.is_some()),
            ("control", self.control.is_some()),
            ("log", self.log.is_some()),
            ("access_log", self.access_log.is_some()),
            ("access_log_format", self.access_log_format.is_some()),
            ("origins", !self.origin.is_empty()),
            ("trusted_proxies", !self.trusted_proxy.is_empty()),
            ("compression", self.compression.is_some()),
        ];
        keys.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key.to_owned()).collect()
    }
}
