//! The command line of `callsign dev` and `callsign new`.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Args;

use super::ServeOptions;

/// What to build and watch, and how to serve it.
#[derive(Debug, Clone, Args)]
pub struct DevOptions {
    /// Folder of the plugin: a crate with its Cargo.toml, or C sources with a Makefile
    ///
    /// A callsign.toml in it is read as the config file if --config names none.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// Build a crate with optimizations
    #[arg(long, conflicts_with = "build")]
    pub release: bool,

    /// Command that builds the plugin, instead of cargo or make
    ///
    /// Run by `sh -c` in DIR; what it prints is shown. Needs --library.
    #[arg(long, value_name = "COMMAND", requires = "library")]
    pub build: Option<String>,

    /// Library that the build makes, relative to DIR
    ///
    /// Without it: what cargo says it has made; after make, the newest library in DIR.
    #[arg(long, value_name = "PATH")]
    pub library: Option<PathBuf>,

    /// How to serve it.
    #[command(flatten)]
    pub options: ServeOptions,
}

pub(super) const DEV_EXAMPLES: &str = "\
Examples:
  callsign dev example-plugins/chat
          Build the chat example, serve it, and reload it at every change
  callsign dev . --release --listen 127.0.0.1:9000
          Build the crate in this folder with optimizations, serve on port 9000
  callsign dev counter
          With a Makefile in counter: run make, serve the library that it makes
  callsign dev . --build 'zig build' --library zig-out/lib/libchat.so
          Build with anything else";

/// What to make, and where.
#[derive(Debug, Clone, Args)]
pub struct NewOptions {
    /// Name of the plugin and of its new folder; may be a path that ends in it
    ///
    /// It begins with a letter, and has letters, digits, `-` and `_`.
    #[arg(value_name = "NAME")]
    pub path: PathBuf,

    /// Make it in C, with a Makefile
    #[arg(long)]
    pub c: bool,

    /// Folder of the Rust SDK (plugin-api) to depend on
    ///
    /// Without it, the one beside the sources that this program was built from, if it is still there; else the
    /// published crate `callsign-plugin` of the same version.
    #[arg(long, value_name = "DIR", conflicts_with = "c")]
    pub sdk: Option<PathBuf>,
}

pub(super) const NEW_EXAMPLES: &str = "\
Examples:
  callsign new chat
          Make the crate `chat` in the folder chat
  callsign new plugins/counter --c
          Make `counter` in C in the folder plugins/counter";
