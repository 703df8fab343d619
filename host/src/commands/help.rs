//! What the help shows besides the options' doc comments: defaults, environment variables and examples.

use clap::{Arg, ValueEnum};

use crate::config::access_log::{AccessLogFormat, AccessLogTarget};
use crate::config::defaults;
use crate::config::units::{Size, Time};

/// Adds an option's default to its help, and also its environment variable to the long help. `workers` is the default
/// of `--workers`, which differs between commands.
///
/// clap does not know the defaults, because an option that is not given stays None. It would show the variable in the
/// short help too.
pub fn with_default_and_variable(arg: Arg, workers: &str) -> Arg {
    let default = default_of(arg.get_id().as_str(), workers).map(|default| format!("[default: {default}]"));
    let variable = arg.get_env().map(|name| format!("[env: {}]", name.display()));
    let short = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let long = arg.get_long_help().map_or_else(|| short.clone(), ToString::to_string);
    let notes = [default.clone(), variable].into_iter().flatten().collect::<Vec<_>>().join(" ");
    arg.hide_env(true)
        .help([short, default.unwrap_or_default()].join(" ").trim_end().to_owned())
        .long_help([long, notes].join("\n\n").trim_end().to_owned())
}

/// The default of the option with this id, as the operator would write it.
fn default_of(id: &str, workers: &str) -> Option<String> {
    Some(match id {
        "listen" => defaults::DEFAULT_LISTEN.to_owned(),
        "workers" => workers.to_owned(),
        "control" => defaults::DEFAULT_CONTROL.to_owned(),
        "log" => defaults::DEFAULT_LOG.to_possible_value()?.get_name().to_owned(),
        "compression" => defaults::DEFAULT_COMPRESSION.to_possible_value()?.get_name().to_owned(),
        "access_log" => AccessLogTarget::default().to_string(),
        "access_log_format" => AccessLogFormat::default().to_possible_value()?.get_name().to_owned(),
        "max_message" => Size(defaults::DEFAULT_MAX_MESSAGE).to_string(),
        "message_timeout" => Time(defaults::DEFAULT_MESSAGE_TIMEOUT).to_string(),
        "receive_memory" => Size(defaults::DEFAULT_RECEIVE_MEMORY).to_string(),
        "send_memory" => Size(defaults::DEFAULT_SEND_MEMORY).to_string(),
        "max_backlog" => Size(defaults::DEFAULT_MAX_BACKLOG).to_string(),
        "high_water" => Size(defaults::DEFAULT_HIGH_WATER).to_string(),
        "max_body" => Size(defaults::DEFAULT_MAX_BODY).to_string(),
        "max_head" => Size(defaults::DEFAULT_MAX_HEAD).to_string(),
        "handshake_timeout" => Time(defaults::DEFAULT_HANDSHAKE_TIMEOUT).to_string(),
        "keepalive_timeout" => Time(defaults::DEFAULT_KEEPALIVE_TIMEOUT).to_string(),
        "send_timeout" => Time(defaults::DEFAULT_SEND_TIMEOUT).to_string(),
        "close_timeout" => Time(defaults::DEFAULT_CLOSE_TIMEOUT).to_string(),
        "ping_interval" => Time(defaults::DEFAULT_PING_INTERVAL).to_string(),
        "drain_timeout" => Time(defaults::DEFAULT_DRAIN_TIMEOUT).to_string(),
        "slow_callback" => Time(defaults::DEFAULT_SLOW_CALLBACK).to_string(),
        "hang_timeout" => Time(defaults::DEFAULT_HANG_TIMEOUT).to_string(),
        "reload_timeout" => Time(defaults::DEFAULT_RELOAD_TIMEOUT).to_string(),
        "timeout" => Time(defaults::DEFAULT_CHECK_TIMEOUT).to_string(),
        _ => return None,
    })
}

pub const EXAMPLES: &str = "\
Examples:
  callsign new counter
          Create a plugin project in the folder counter
  callsign dev counter
          Build the plugin, serve it, and reload it when its sources change
  callsign serve target/release/libchat.so
          Serve a library that is already built
  callsign serve --config callsign.toml --log debug
          Serve the plugins of a config file, and log each connection
  callsign reload chat
          Reload the plugin `chat` of the running server
  callsign help serve
          Show all options of `serve`, with defaults and environment variables";

pub const SERVE_EXAMPLES: &str = "\
Examples:
  callsign serve target/release/libchat.so
          Without a route, the handler named onrequest handles every request.
          If no such handler exists, WebSocket clients on any path use the
          handlers named onconnect, onmessage and ondisconnect
  callsign serve libchat.so --route '/=page' --route '/chat=join,message,leave'
          Name the handlers of each path
  callsign serve --config callsign.toml --listen '0.0.0.0:80,[::]:80'
          Serve what the config file configures, on other addresses
  callsign serve libchat.so --listen 'unix:/run/chat.sock?mode=660'
          Listen on a Unix socket, behind a reverse proxy
  callsign serve libchat.so --listen 0.0.0.0:443 \\
          --tls-certificate chat.pem --tls-key chat-key.pem
          Serve https:// and wss://";

pub const DEV_EXAMPLES: &str = "\
Examples:
  callsign dev example-plugins/chat
          Build and serve the chat example, and reload it at every change
  callsign dev . --release --listen 127.0.0.1:9000
          Build the crate in this folder with optimizations, serve on port 9000
  callsign dev counter
          If counter has a Makefile: run make, serve the library that it makes
  callsign dev . --build 'zig build' --library zig-out/lib/libchat.so
          Build with another tool
  callsign dev counter --tls
          Serve https:// and wss:// with a certificate for this machine";

pub const NEW_EXAMPLES: &str = "\
Examples:
  callsign new chat
          Create the crate `chat` in the folder chat
  callsign new plugins/counter --c
          Create `counter` in C in the folder plugins/counter";

pub const HEADERS_EXAMPLES: &str = "\
Examples:
  callsign headers include && cc -shared -fPIC -I include chat.c -o chat.so
          Build a plugin from one file";

pub const ASSETS_EXAMPLES: &str = "\
Examples:
  callsign assets assets
          Write assets.h in this folder
  callsign assets assets -o src/assets.h --mime 'md:text/markdown'
          Write another file, and serve .md files as Markdown";

pub const RELOAD_EXAMPLES: &str = "\
Examples:
  callsign reload
          Reload all plugins
  callsign reload chat web
          Reload these two plugins, or neither
  callsign reload --config
          Read the config file again, and put into effect what has changed
  callsign reload --control /run/chat.sock && echo reloaded
          Reload the plugins of the server with the control socket /run/chat.sock";

pub const STATUS_EXAMPLES: &str = "\
Examples:
  callsign status
          Print tables
  callsign status --json
          Print JSON for programs";

pub const CHECK_EXAMPLES: &str = "\
Examples:
  callsign check target/release/libchat.so
          Load the plugin, and print its handlers
  callsign check target/release/libchat.so --config callsign.toml
          Load it with the settings, the other plugins and the routes of the file
  callsign check --config callsign.toml
          Check whether a server would load the plugins of this file
  callsign check libchat.so --route '/chat=join,message,leave'
          Check whether the plugin has these handlers";

pub const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  callsign completions bash > /etc/bash_completion.d/callsign
          Complete the command line in bash, for all users
  callsign completions fish > ~/.config/fish/completions/callsign.fish
          Complete the command line in fish";

pub const MAN_EXAMPLES: &str = "\
Examples:
  callsign man /usr/local/share/man/man1
          Install the pages: `man callsign-serve` shows one
  callsign man pages && man -l pages/callsign-serve.1
          Read a page without installing it";

pub const INSPECT_EXAMPLES: &str = "\
Examples:
  callsign inspect target/release/libchat.so
          Print the content as text
  callsign inspect target/release/libchat.so --json
          Print JSON for programs";
