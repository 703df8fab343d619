//! The command line: commands, their options, and the help.
//!
//! Arguments and environment variables enter, typed options leave. An option that is not given stays None for the
//! config file.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::assets::AssetsOptions;
use super::check::CheckOptions;
use super::control::{ControlOptions, ReloadOptions};
use super::dev::DevOptions;
use super::headers::HeadersOptions;
use super::help::{
    ASSETS_EXAMPLES, CHECK_EXAMPLES, COMPLETIONS_EXAMPLES, DEV_EXAMPLES, EXAMPLES, HEADERS_EXAMPLES,
    INSPECT_EXAMPLES, MAN_EXAMPLES, NEW_EXAMPLES, RELOAD_EXAMPLES, SERVE_EXAMPLES, STATUS_EXAMPLES,
    with_default_and_variable,
};
use super::manual::{CompletionsOptions, ManOptions};
use super::new::NewOptions;
use crate::config::defaults::DEFAULT_DEV_WORKERS;
use crate::config::options::ServeOptions;

// Doc comments are help texts: the first line for `-h`, all of it for `--help`.

/// A WebSocket server whose handlers live in shared libraries and are called by name
///
/// A plugin is a shared library that exports handlers: functions of the kinds onconnect, onmessage and ondisconnect for
/// WebSocket clients, and onrequest for HTTP requests. Callsign loads plugins at run time, accepts connections, and
/// calls the handlers by their names. It reloads a plugin without closing the connections.
#[derive(Debug, Clone, Parser)]
#[command(name = "callsign", version, after_long_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Serve plugins that are already built
    ///
    /// Loads the plugins of the config file, then those on the command line, and serves them until SIGINT or SIGTERM.
    /// Then it closes every connection with 1001 and waits until all have closed, at most for --drain-timeout. A second
    /// signal aborts the remaining connections. SIGHUP reads the config file and the certificates again, puts into
    /// effect what can change at run time, and reloads the plugins that have changed.
    ///
    /// A command line option takes precedence over its environment variable, the variable over the config file, and
    /// the file over the default. SIZE is a number of bytes (65536), or 64KiB, 16MiB. TIME is a number of seconds (10),
    /// or 250ms, 10s, 1.5m.
    ///
    /// Exit status: 0 stopped by a signal; 1 could not start, or aborted connections at the end; 2 wrong usage.
    /// Background work that takes longer than --drain-timeout is abandoned and logged, and is no failure.
    #[command(
        mut_args(|arg| with_default_and_variable(arg, "one per core")),
        after_long_help = SERVE_EXAMPLES
    )]
    Serve {
        /// Plugins to load: shared libraries, in this order
        ///
        /// Optional if the config file has plugins.
        #[arg(value_name = "PATH", required_unless_present = "config")]
        plugins: Vec<PathBuf>,

        /// Reload a plugin when its file changes
        ///
        /// Waits until the file is complete, then reloads the plugin as `callsign reload` does. If the reload is
        /// rejected, the reason is logged and the old code keeps running. Plugins that a reload adds are not watched.
        #[arg(long)]
        watch: bool,

        #[command(flatten)]
        options: ServeOptions,
    },

    /// Build a plugin, serve it, and reload it when its sources change
    ///
    /// Runs `cargo build` or `make` in DIR, or the command in --build. Loads the library that the build makes, after
    /// the plugins of the config file, and serves it until SIGINT or SIGTERM.
    ///
    /// When a source changes, it builds again and reloads the plugin. Connections stay open. If the build fails or the
    /// server rejects the new code, the old code keeps running. Sources are the files in DIR, what symbolic links there
    /// lead to, a crate's path dependencies, and files elsewhere that the build says it has read: cargo and gcc do,
    /// other compilers with -MMD. Files that the plugin writes are no sources: see --ignore. A change of the config file
    /// also reloads.
    ///
    /// If the first build fails or makes no plugin, `dev` waits for a change. It ends with status 1 if there is nothing
    /// to build, if the config file is wrong, or if the server cannot start with the first library: an address is in
    /// use, the handler of a route does not exist, there is no handler to serve, or the onload hook rejects the load.
    ///
    /// A command line option takes precedence over its environment variable, the variable over the config file, and
    /// the file over the default. SIZE is a number of bytes (65536), or 64KiB, 16MiB. TIME is a number of seconds (10),
    /// or 250ms, 10s, 1.5m.
    ///
    /// Exit status: 0 stopped by a signal; 1 nothing to build, could not start, or aborted connections at the end; 2
    /// wrong usage.
    #[command(
        mut_args(|arg| with_default_and_variable(arg, &DEFAULT_DEV_WORKERS.to_string())),
        after_long_help = DEV_EXAMPLES
    )]
    Dev(DevOptions),

    /// Create a plugin project
    ///
    /// Creates a folder with the sources of a plugin, a page to try it, a test, a config file, and the files to build
    /// it. Prints the next commands.
    ///
    /// A project in Rust depends on the SDK by the absolute path of its folder (see --sdk), or has a copy of it (see
    /// --copy-sdk). A project in C has a copy of callsign.h and depends on no folder.
    ///
    /// Exit status: 0 created; 1 not created; 2 wrong usage.
    #[command(after_long_help = NEW_EXAMPLES)]
    New(NewOptions),

    /// Write the C headers to a folder
    ///
    /// Writes callsign.h, the interface for plugins in C and C++, and the folder kore, the headers for applications that
    /// were written for Kore. Existing files with these names are replaced.
    ///
    /// Exit status: 0 written; 1 not written; 2 wrong usage.
    #[command(after_long_help = HEADERS_EXAMPLES)]
    Headers(HeadersOptions),

    /// Write the files of a folder as a C header
    ///
    /// For applications that include the assets.h of Kore's build. A file frontend.html becomes asset_frontend_html,
    /// its bytes, followed by a NUL; asset_len_frontend_html, their number; asset_mtime_frontend_html, the time of the
    /// last change; asset_sha256_frontend_html, the hash in quotes; and asset_serve_frontend_html, an onrequest handler
    /// that responds with the file. A character that is no letter or digit becomes `_`.
    ///
    /// Hidden files, and files with `~` or `#` in their names, are left out.
    ///
    /// Exit status: 0 written; 1 not written; 2 wrong usage.
    #[command(after_long_help = ASSETS_EXAMPLES)]
    Assets(AssetsOptions),

    /// Reload plugins of a running server
    ///
    /// Loads the current files of the plugins, in one transaction: all plugins in all workers, or none. Connections
    /// stay open, and the new code handles their next messages. Prints the new generations and the longest time for
    /// which a worker served no client ("paused"). A generation is one loaded version of a plugin. A plugin stays in its
    /// generation if neither its library nor its settings have changed since it was loaded (see --force).
    ///
    /// The reload is rejected and the old code keeps running if a library does not load, crashes or hangs; if a handler
    /// is missing that a route or an open connection uses; if the onload hook rejects the load; or if the state of a
    /// connection cannot be carried over.
    ///
    /// Without the name of a plugin, the certificates of the server are read again too. If one cannot be used, the reload
    /// is rejected; open connections keep theirs.
    ///
    /// With --config, the server reads its config file again first. SIGHUP to the server does the same; it also opens the
    /// access log again. If the file is wrong, nothing changes, and the message has the place in the file.
    ///
    /// The JSON has the keys plugins, kept (those in the generation that they had; both are pairs of name and
    /// generation), removed, certificates, listening and closed (addresses that were added and removed), settings (keys
    /// that are in effect now), workers, connections, took and paused (each with secs and nanos), unchanged (settings
    /// that need a restart) and warnings. If the reload is rejected, there is no JSON.
    ///
    /// Exit status: 0 reloaded, or nothing has changed, also if a setting needs a restart, or the next start would fail,
    /// which is printed; 1 rejected, or no server to connect to; 2 wrong usage.
    #[command(mut_args(|arg| with_default_and_variable(arg, "")), after_long_help = RELOAD_EXAMPLES)]
    Reload(ReloadOptions),

    /// Show the state of a running server
    ///
    /// Shows workers with their clients and the callback that is running; plugins with their generations (each reload
    /// of a plugin makes a new one); and routes with the handlers and the generation that serve them. A worker that
    /// hangs is marked.
    ///
    /// CLIENTS is the number of clients of a worker now, with and without WebSocket. ACCEPTED is the number of
    /// WebSocket connections that the worker process has accepted, CALLBACKS the number of callbacks that it has begun:
    /// handlers, hooks, and functions of timers and background work. Old generations stay in the memory of a worker
    /// until the worker ends; RETAINED is their number, rejected ones included. MEMORY is the resident memory of the
    /// process, libraries that workers share included, and GROWTH the part by which reloads have grown it.
    ///
    /// A server that is stopping is marked too. It has left its control socket to its successor: `status` shows it until
    /// another server starts there.
    ///
    /// The JSON has the keys version, pid, uptime_ms, draining_for_ms, config, sandbox, addresses, listeners, workers,
    /// plugins, routes, and routes_more, the number of routes that are not listed. Sandbox has level, read, system (what any
    /// process needs), write, execute, network, system_calls and missing (what the kernel does not restrict). Each of listeners has address, tls (whether
    /// clients have to use it), redirect, and certificates (path, names, not_before, not_after). Each of workers has index, pid, uptime_ms, serves
    /// (whether it serves clients yet), clients, accepted, callbacks, resident_bytes, reload_growth_bytes,
    /// receive_memory_bytes, send_memory_bytes, shed (clients closed for the memory), stalled_for_ms, running (plugin,
    /// generation, kind, name, running_for_ms) and plugins (name, generation, retained). Each of plugins has name,
    /// version, generation and path. Each of routes has path and handlers (kind, plugin, name, generation). Null
    /// stands for a value that does not exist: a server that is not stopping, no config file, a worker that has died,
    /// or has ended because the server stops, no running callback, or a time that is not measured.
    ///
    /// Exit status: 0 shown; 1 no server to connect to; 2 wrong usage.
    #[command(mut_args(|arg| with_default_and_variable(arg, "")), after_long_help = STATUS_EXAMPLES)]
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        server: ControlOptions,
    },

    /// Check whether this host would load plugins
    ///
    /// Loads the plugins in a separate process, as a server would: constructors and onload hooks run. With --config or
    /// --route, also looks up the handlers of the routes; without both, no route and no handler is required. Prints the
    /// plugins and their handlers, or why they would not be loaded. For a plugin that crashes or hangs, prints the
    /// signal and, where the system supports it, the place in the code.
    ///
    /// With --config, also checks what a server needs on this machine: that certificates and keys can be read and belong
    /// together, that addresses can be resolved and belong to this machine, that users and groups exist, and that the folders of sockets and of the plugins' copies can be written.
    /// A config file with `user` is for root: then another user checks only that the user exists. Does not listen. A
    /// server that runs already is no obstacle. Prints warnings about the settings on stderr, as `serve` logs them.
    ///
    /// Exit status: 0 they would be loaded; 1 they would not; 2 wrong usage.
    #[command(mut_args(|arg| with_default_and_variable(arg, "")), after_long_help = CHECK_EXAMPLES)]
    Check(CheckOptions),

    /// Show the content of a plugin without running it
    ///
    /// Shows name and version, the ABI that the plugin was built for, handlers with their kinds, functions, hooks, and
    /// the libraries that the plugin needs.
    ///
    /// Exit status: 0 the plugin fits this host; 1 it does not, or the file is no plugin; 2 wrong usage.
    #[command(after_long_help = INSPECT_EXAMPLES)]
    Inspect {
        /// The plugin's shared library
        #[arg(value_name = "LIBRARY")]
        library: PathBuf,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },

    /// Print a script that completes the command line
    ///
    /// The shell that loads the script completes commands, options and files.
    ///
    /// Exit status: 0 printed; 1 not printed; 2 wrong usage.
    #[command(after_long_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsOptions),

    /// Write the manual pages
    ///
    /// Writes callsign.1 and a page for each command, such as callsign-serve.1. Existing files with these names are
    /// replaced.
    ///
    /// Exit status: 0 written; 1 not written; 2 wrong usage.
    #[command(after_long_help = MAN_EXAMPLES)]
    Man(ManOptions),
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;
    use crate::config::defaults::MAX_WORKERS;
    use crate::config::listen::Listen;

    #[test]
    fn dev_takes_a_folder_and_the_options_of_serve() {
        let Command::Dev(DevOptions { folder, release, options, .. }) =
            Cli::parse_from(["callsign", "dev", "plugins/chat", "--release", "--listen", "a:0"]).command
        else {
            panic!("`dev` parses as Dev");
        };
        assert_eq!(folder, Path::new("plugins/chat"));
        assert!(release);
        assert_eq!(options.listen, [Listen::parse("a:0").unwrap()]);
    }

    #[test]
    fn wrong_usage_exits_with_2() {
        for arguments in [
            &["serve"][..],
            &["dev"],
            &["dev", ".", "--build", "make"],
            &["dev", ".", "--build", "make", "--library", "l.so", "--release"],
            &["new"],
            &["new", "chat", "--c", "--sdk", "plugin-api"],
            &["headers"],
            &["assets"],
            &["assets", "assets", "--mime", "html"],
            &["serve", "l.so", "--route", "/a=b,c"],
            &["serve", "l.so", "--listen", "8080"],
            &["serve", "l.so", "--listen", "unix:"],
            &["serve", "l.so", "--listen", "a:1,unix:b.sock?mode=888"],
            &["serve", "l.so", "--listen", "unix:b.sock?owner=root"],
            &["serve", "l.so", "--max-message", "16MB"],
            &["serve", "l.so", "--log", "chatty"],
            &["serve", "l.so", "--workers", "-1"],
            &["serve", "l.so", "--user", ""],
            &["serve", "l.so", "--group", " "],
            &["serve", "l.so", "--hang-timeout", "soon"],
            &["serve", "l.so", "--max-connections", "many"],
            &["serve", "l.so", "--control", ""],
            &["check"],
            &["check", "l.so", "--timeout", "0"],
            &["inspect"],
            &["inspect", "a.so", "b.so"],
            &["completions"],
            &["completions", "cmd"],
            &["man"],
        ] {
            let error = Cli::try_parse_from(["callsign"].iter().chain(arguments)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }

    #[test]
    fn help_is_terse_in_short_and_in_long_shows_defaults_and_environment() {
        let mut command = Cli::command().term_width(80);
        command.build();
        let serve = command.find_subcommand_mut("serve").unwrap();
        let (short, long) = (serve.render_help().to_string(), serve.render_long_help().to_string());

        assert!(
            short.contains("\n      --max-message <SIZE>        Largest WebSocket message [default: 1MiB]\n")
        );
        for line in [
            "--receive-memory <SIZE>     Memory for partial messages [default: 256MiB]\n",
            "--send-memory <SIZE>        Memory for write queues [default: 512MiB]\n",
            "--high-water <SIZE>         Write queue counted as high [default: 64KiB]\n",
            "--send-timeout <TIME>       Time a response may go unread [default: 1m]\n",
        ] {
            assert!(short.contains(line), "{short}");
        }
        assert!(!short.contains("CALLSIGN_"));
        assert!(long.contains("[default: 127.0.0.1:8080] [env: CALLSIGN_LISTEN]\n"));
        assert!(long.contains("[default: info] [env: CALLSIGN_LOG]\n"));
        assert!(long.contains("[env: CALLSIGN_CONFIG]\n"));
        assert!(long.contains("[default: 100ms] [env: CALLSIGN_SLOW_CALLBACK]\n"));
        assert!(long.contains("[default: one per core] [env: CALLSIGN_WORKERS]\n"));
        assert!(long.contains("[env: CALLSIGN_CONTROL]\n"));
        assert!(long.contains(&format!("At most {}.", MAX_WORKERS)));
        assert!(long.contains("\nExamples:\n"));
        assert!(long.lines().all(|line| line.chars().count() <= 80), "{long}");

        for name in
            ["dev", "new", "headers", "assets", "reload", "status", "check", "inspect", "completions", "man"]
        {
            let long = command.find_subcommand_mut(name).unwrap().render_long_help().to_string();
            assert!(long.contains("\nExamples:\n"), "{long}");
            assert!(long.lines().all(|line| line.chars().count() <= 80), "{long}");
        }
        let check = command.find_subcommand_mut("check").unwrap().render_long_help().to_string();
        assert!(check.contains("[default: 10s]\n"), "{check}");
        let dev = command.find_subcommand_mut("dev").unwrap().render_long_help().to_string();
        assert!(dev.contains("[default: 1] [env: CALLSIGN_WORKERS]\n"));
    }
}
