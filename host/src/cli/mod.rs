//! The command line: what `callsign` can be told to do, and the help that documents it.
//!
//! Arguments and environment enter, typed options leave, each unset one left open for the config file. Knows
//! nothing about what the options do.

#![forbid(unsafe_code)]

mod serve; // serve, and dev as far as it serves

mod dev; // dev and new

mod ask; // reload, status, check, inspect

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::settings;
use ask::{CHECK_EXAMPLES, INSPECT_EXAMPLES, RELOAD_EXAMPLES, STATUS_EXAMPLES};
use dev::{DEV_EXAMPLES, NEW_EXAMPLES};
use serve::{SERVE_EXAMPLES, describe};

pub use ask::{CheckOptions, ControlOptions};
pub use dev::{DevOptions, NewOptions};
pub use serve::{LimitOptions, LogLevel, ServeOptions};

/// A WebSocket server whose handlers live in shared libraries and are called by name
///
/// A plugin is a shared library that exports functions: onconnect, onmessage and ondisconnect for WebSocket
/// clients, onrequest for HTTP requests. Callsign loads plugins at run time, accepts connections and calls
/// the functions by their names.
#[derive(Debug, Clone, Parser)]
#[command(name = "callsign", version, after_long_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  callsign new counter
          Make a plugin's project
  callsign dev example-plugins/chat
          Build a plugin, serve it, and reload it when its sources change
  callsign serve target/release/libchat.so
          Serve a library that is already built
  callsign serve --config callsign.toml --log debug
          Serve what the config file says
  callsign reload chat
          Have the running server load the plugin `chat` anew
  callsign help serve
          All options, with their defaults and environment variables";

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Serve plugins that are already built
    ///
    /// Loads the plugins of the config file, then those named here, and serves them until stopped by SIGINT
    /// or SIGTERM. SIGHUP rereads the config file and loads the plugins anew, as `callsign reload` does.
    ///
    /// An option on the command line wins over its environment variable, that over the config file, and that
    /// over the default.
    ///
    /// Exit status: 0 stopped on request, 1 could not start, or had to cut connections at the end, 2 wrong usage.
    #[command(mut_args(|arg| describe(arg, "one per core")), after_long_help = SERVE_EXAMPLES)]
    Serve {
        /// Plugins to load: shared libraries, in this order
        ///
        /// May be left out if the config file names plugins.
        #[arg(value_name = "PATH", required_unless_present = "config")]
        plugins: Vec<PathBuf>,

        /// Reload a plugin when its file changes
        ///
        /// As soon as the file is whole, as `callsign reload` does. If the new code is refused, the log says why, and
        /// the old code serves on. Plugins that only a later SIGHUP has loaded are not watched.
        #[arg(long)]
        watch: bool,

        /// How to serve them.
        #[command(flatten)]
        options: ServeOptions,
    },

    /// Build a plugin, serve it, and reload it when its sources change
    ///
    /// Runs `cargo build` in DIR, or `make`, or --build. Loads the library that it made, after the plugins of the
    /// config file if there is one, and serves it until stopped by SIGINT or SIGTERM. At every change of a source
    /// it builds again, and the new code takes over without closing a connection; if it does not build, or is
    /// refused, the old code serves on. If the first build fails, it waits for a change.
    ///
    /// An option on the command line wins over its environment variable, that over the config file, and that
    /// over the default.
    ///
    /// Exit status: 0 stopped on request, 1 nothing to build, or could not start, or had to cut connections at the
    /// end, 2 wrong usage.
    #[command(
        mut_args(|arg| describe(arg, &settings::DEFAULT_DEV_WORKERS.to_string())),
        after_long_help = DEV_EXAMPLES
    )]
    Dev(DevOptions),

    /// Make the project of a new plugin
    ///
    /// In a new folder: sources with a page to try them, a test, a config file, and how to build them. Says what to
    /// type next.
    ///
    /// Exit status: 0 made, 1 not made, 2 wrong usage.
    #[command(after_long_help = NEW_EXAMPLES)]
    New(NewOptions),

    /// Have a running server load its plugins anew
    ///
    /// Loads the libraries as they are now, in one transaction: all of them on all workers, or none. Connections stay
    /// open; their next message is handled by the new code. Waits until it is done, and says what was loaded and for
    /// how long clients had to wait ("paused").
    ///
    /// It is refused, and everything stays as it is, if a library does not load, crashes or hangs, if a handler is
    /// gone that a route or an open connection uses, if the onload hook says no, or if a connection's state cannot
    /// be carried over.
    ///
    /// SIGHUP to the server does the same for all plugins, and rereads its config file first.
    ///
    /// Exit status: 0 reloaded, 1 refused, or no server was there to ask, 2 wrong usage.
    #[command(mut_args(|arg| describe(arg, "")), after_long_help = RELOAD_EXAMPLES)]
    Reload {
        /// Names of the plugins; without any, all of them
        #[arg(value_name = "PLUGIN")]
        plugins: Vec<String>,

        /// Which server.
        #[command(flatten)]
        server: ControlOptions,
    },

    /// Show what a running server does
    ///
    /// Workers with their clients and the callback that runs now; plugins with their generations, which count their
    /// reloads; routes with the code that they are bound to. Each reload leaves the old copy of a plugin in a
    /// worker's memory until that worker ends: RETAINED counts these. A worker that hangs is shown as such.
    ///
    /// Exit status: 0 shown, 1 no server was there to ask, 2 wrong usage.
    #[command(mut_args(|arg| describe(arg, "")), after_long_help = STATUS_EXAMPLES)]
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,

        /// Which server.
        #[command(flatten)]
        server: ControlOptions,
    },

    /// Try whether this host would load plugins
    ///
    /// Reads the libraries, then loads them in a process that is thrown away: constructors and onload hooks run, and
    /// the names that the routes use are looked up. If a library crashes or hangs, it is said how, and where
    /// if that can be told. Libraries that are
    /// given together are loaded together, as a server would.
    ///
    /// Exit status: 0 they would be loaded, 1 they would not, 2 wrong usage.
    #[command(mut_args(|arg| describe(arg, "")), after_long_help = CHECK_EXAMPLES)]
    Check(CheckOptions),

    /// Read what is in a plugin without running it
    ///
    /// Name and version, the ABI that it was built with, handlers with their kinds, plain functions, hooks, and the
    /// libraries that it needs.
    ///
    /// Exit status: 0 it is a plugin that fits this host, 1 it is not, 2 wrong usage.
    #[command(after_long_help = INSPECT_EXAMPLES)]
    Inspect {
        /// The plugin: a shared library
        #[arg(value_name = "LIBRARY")]
        library: PathBuf,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn dev_takes_a_folder_and_the_options_of_serve() {
        let Command::Dev(DevOptions { folder, release, options, .. }) =
            Cli::parse_from(["callsign", "dev", "plugins/chat", "--release", "--listen", "a:0"]).command
        else {
            panic!("`dev` parses as Dev");
        };
        assert_eq!(folder, Path::new("plugins/chat"));
        assert!(release);
        assert_eq!(options.listen, ["a:0"]);
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
            &["serve", "l.so", "--route", "/a=b,c"],
            &["serve", "l.so", "--listen", "8080"],
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
            short
                .contains("\n      --max-message <SIZE>        Largest WebSocket message [default: 16MiB]\n")
        );
        assert!(!short.contains("CALLSIGN_"));
        assert!(long.contains("[default: 127.0.0.1:8080] [env: CALLSIGN_LISTEN]\n"));
        assert!(long.contains("[default: info] [env: CALLSIGN_LOG]\n"));
        assert!(long.contains("[env: CALLSIGN_CONFIG]\n"));
        assert!(long.contains("[default: 100ms] [env: CALLSIGN_SLOW_CALLBACK]\n"));
        assert!(long.contains("[default: one per core] [env: CALLSIGN_WORKERS]\n"));
        assert!(long.contains("[env: CALLSIGN_CONTROL]\n"));
        assert!(long.contains(&format!("At most {}.", settings::MAX_WORKERS)));
        assert!(long.contains("\nExamples:\n"));
        assert!(long.lines().all(|line| line.chars().count() <= 80), "{long}");

        for name in ["dev", "new", "reload", "status", "check", "inspect"] {
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
