//! What the operator configures. Command line, environment and config file enter; [`settings::Settings`] leaves.
//! Each module uses only those before it.

pub mod units; // sizes and durations as text

pub mod calendar; // points in time as text

pub mod rate; // numbers in a time, as text

pub mod nearest; // "did you mean"

pub mod regular_file; // opens what the operator names, without blocking

pub mod log_level;

pub mod access_log; // where requests are recorded

pub mod defaults; // default and bounds of each setting

pub mod account; // user, group, owner of a file

pub mod web_origin; // which pages may open WebSockets

pub mod trusted_proxies; // reverse proxies

pub mod compression; // of messages

pub mod handshake; // which handshakes are accepted

pub mod uri_path; // spellings of a path

pub mod route_limits; // limits for the connections of a route

pub mod route; // request path to handler names

pub mod listen_address; // HOST:PORT or unix:PATH

pub mod tls; // certificates and keys

pub mod secret; // values that are not in the config file

pub mod redirect; // from http to https

pub mod c_strings; // several in one buffer

pub mod listen; // an address with its settings

pub mod control_address; // path of the control socket

pub mod plugin_source; // one plugin to load

pub mod sandbox; // what plugins may do on the machine

pub mod options; // command line and environment

pub mod limit_options; // those that set limits

pub mod file; // callsign.toml

pub mod settings; // options, file and defaults, merged

pub mod plan; // file and generation of each plugin, and the routes
