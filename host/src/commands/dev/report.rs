//! Reports the progress of `dev` on stderr, between the compiler's diagnostics: a line for a change, and a line for new
//! code that serves, or why it does not. In colour on a terminal.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::parent::control::Reloaded;

pub struct Reporter {
    /// The plugin's folder. Paths in it are printed relative to it.
    folder: PathBuf,
    working_directory: PathBuf,
    is_coloured: bool,
}

/// With the colour's code in ANSI escape sequences.
#[derive(Clone, Copy)]
enum Colour {
    Plain = 0,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// The server uses a certificate that has been made for this machine.
pub fn tls(explanation: &[String]) {
    let lines: String = explanation.iter().map(|line| format!("dev: {line}\n")).collect();
    // A closed stderr does not stop the server.
    let _ = io::stderr().write_all(lines.as_bytes());
}

impl Reporter {
    /// Reports on the plugin in this folder.
    pub fn new(folder: PathBuf) -> Self {
        let is_coloured =
            io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { folder, working_directory: std::env::current_dir().unwrap_or_default(), is_coloured }
    }

    /// The server has started, and these folders are watched.
    pub fn watching(&self, folders: &BTreeSet<PathBuf>) {
        let others = match folders.len() {
            0 | 1 => String::new(),
            2 => " and 1 more folder".to_owned(),
            n => format!(" and {} more folders", n - 1),
        };
        let folder = self.folder.strip_prefix(&self.working_directory).unwrap_or(&self.folder);
        let folder = if folder.as_os_str().is_empty() { Path::new("this folder") } else { folder };
        self.print(Colour::Plain, "", &format!("watching {}{others}; Ctrl-C stops", folder.display()));
    }

    /// A build starts. `is_again`: the files changed during the build before.
    pub fn changed(&self, files: &BTreeSet<PathBuf>, is_again: bool) {
        let when = if is_again { " during the build; building again" } else { "; building" };
        self.print(Colour::Plain, "", &format!("{} changed{when}", self.files(files)));
    }

    /// Only the config file has changed; no build is needed.
    pub fn config_changed(&self, files: &BTreeSet<PathBuf>) {
        self.print(Colour::Plain, "", &format!("{} changed; loading it", self.files(files)));
    }

    /// The server has reloaded plugins.
    pub fn reloaded(&self, build_time: Option<Duration>, reloaded: &Reloaded) {
        if reloaded.is_nothing() {
            if reloaded.unchanged.is_empty() {
                self.print(Colour::Plain, "", "neither a library nor the settings have changed");
            }
            return self.needs_restart(reloaded);
        }
        let plugins =
            reloaded.plugins.iter().map(|(name, generation)| format!("{name} generation {generation}"));
        let removed = reloaded.removed.iter().map(|name| format!("{name} removed"));
        let mut plugins = plugins.chain(removed).collect::<Vec<_>>().join(", ");
        if plugins.is_empty() {
            plugins = "settings".to_owned();
        }
        let built = build_time.map(|time| format!("built in {}, ", seconds(time))).unwrap_or_default();
        let connections = match reloaded.connections {
            1 => "1 connection".to_owned(),
            n => format!("{n} connections"),
        };
        let text = format!("{built}swapped in {}, {connections} kept", milliseconds(reloaded.took));
        self.print(Colour::Green, &plugins, &text);
        self.needs_restart(reloaded);
    }

    fn needs_restart(&self, reloaded: &Reloaded) {
        for setting in &reloaded.unchanged {
            self.print(Colour::Yellow, "not yet", &format!("{setting} needs a restart"));
        }
    }

    /// There is no new library.
    pub fn failed(&self, reason: &str, is_serving: bool) {
        let then = if is_serving { "the old code serves on" } else { "waiting for a change" };
        self.print(Colour::Red, "", &format!("{reason}; {then}"));
    }

    /// The server has rejected the new library or config file.
    pub fn rejected(&self, build_time: Option<Duration>, reason: &str) {
        let built = build_time.map(|time| format!("built in {}, but ", seconds(time))).unwrap_or_default();
        self.print(Colour::Red, "refused", &format!("{built}{reason}; the old code serves on"));
    }

    /// The build has made the library that the server has loaded.
    pub fn same(&self, build_time: Duration) {
        let text = format!("built in {}: the library is the same; nothing to reload", seconds(build_time));
        self.print(Colour::Plain, "", &text);
    }

    pub fn note(&self, text: &str) {
        self.print(Colour::Yellow, "note", text);
    }

    /// `src/lib.rs and 2 more`
    fn files(&self, files: &BTreeSet<PathBuf>) -> String {
        let first = files.first().map(|file| self.shorten(file)).unwrap_or_default();
        match files.len() {
            0 | 1 => first,
            n => format!("{first} and {} more", n - 1),
        }
    }

    /// The path relative to the plugin's folder or the working directory, if it is below.
    pub fn shorten(&self, file: &Path) -> String {
        let relative =
            file.strip_prefix(&self.folder).or_else(|_| file.strip_prefix(&self.working_directory));
        let file = relative.unwrap_or(file);
        file.display().to_string()
    }

    /// Prints `dev: LABEL: TEXT` with a coloured label, or `dev: TEXT` in colour.
    fn print(&self, colour: Colour, label: &str, text: &str) {
        let (on, off) = match (self.is_coloured, colour) {
            (true, Colour::Red | Colour::Green | Colour::Yellow) => {
                (format!("\x1b[1;{}m", colour as u8), "\x1b[0m")
            }
            _ => (String::new(), ""),
        };
        let line = match label {
            "" => format!("dev: {on}{text}{off}\n"),
            _ => format!("dev: {on}{label}{off}: {text}\n"),
        };
        // A closed stderr does not stop the server.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// `0.45 s`
pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    match time.as_secs_f64() * 1000.0 {
        short if short < 10.0 => format!("{short:.1} ms"),
        long => format!("{long:.0} ms"),
    }
}
