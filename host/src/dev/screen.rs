//! What `dev` says of its rounds: a line when something has changed, and a line when the code that answers is new,
//! or why it is not. On stderr, beside the compiler's words; with colours on a terminal.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::control::Reloaded;

/// Where it is said.
pub struct Screen {
    /// Paths in this folder are said relative to it.
    folder: PathBuf,
    here: PathBuf,
    is_coloured: bool,
}

#[derive(Clone, Copy)]
enum Colour {
    Plain = 0,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

impl Screen {
    /// For the plugin in this folder.
    pub fn new(folder: PathBuf) -> Self {
        let is_coloured =
            io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        Self { folder, here: std::env::current_dir().unwrap_or_default(), is_coloured }
    }

    /// The server serves, and these folders are watched.
    pub fn watching(&self, folders: &BTreeSet<PathBuf>) {
        let others = match folders.len() {
            0 | 1 => String::new(),
            2 => " and 1 more folder".to_owned(),
            n => format!(" and {} more folders", n - 1),
        };
        let folder = self.folder.strip_prefix(&self.here).unwrap_or(&self.folder);
        let folder = if folder.as_os_str().is_empty() { Path::new("this folder") } else { folder };
        self.say(Colour::Plain, "", &format!("watching {}{others}; Ctrl-C stops", folder.display()));
    }

    /// A build begins.
    pub fn changed(&self, files: &BTreeSet<PathBuf>, is_again: bool) {
        let when = if is_again { " while it was built; building again" } else { "; building" };
        self.say(Colour::Plain, "", &format!("{} changed{when}", self.files(files)));
    }

    /// Nothing has to be built, the settings are others.
    pub fn config_changed(&self, files: &BTreeSet<PathBuf>) {
        self.say(Colour::Plain, "", &format!("{} changed; loading it", self.files(files)));
    }

    /// The new code answers.
    pub fn reloaded(&self, built: Option<Duration>, done: &Reloaded) {
        let plugins = done.plugins.iter().map(|(name, generation)| format!("{name} generation {generation}"));
        let plugins = plugins.collect::<Vec<_>>().join(", ");
        let built = built.map(|built| format!("built in {}, ", seconds(built))).unwrap_or_default();
        let connections = match done.connections {
            1 => "1 connection".to_owned(),
            n => format!("{n} connections"),
        };
        let text = format!("{built}swapped in {}, {connections} kept", milliseconds(done.took));
        self.say(Colour::Green, &plugins, &text);
        for setting in &done.unchanged {
            self.say(Colour::Yellow, "not yet", &format!("{setting} needs a restart"));
        }
    }

    /// The compiler has said why.
    pub fn build_failed(&self, took: Duration, is_serving: bool) {
        self.failed(&format!("the build failed after {}", seconds(took)), is_serving);
    }

    /// There is no new code.
    pub fn failed(&self, reason: &str, is_serving: bool) {
        let then = if is_serving { "the old code serves on" } else { "waiting for a change" };
        self.say(Colour::Red, "", &format!("{reason}; {then}"));
    }

    /// There is new code, and the server does not take it.
    pub fn refused(&self, built: Option<Duration>, reason: &str) {
        let built = built.map(|built| format!("built in {}, but ", seconds(built))).unwrap_or_default();
        self.say(Colour::Red, "refused", &format!("{built}{reason}; the old code serves on"));
    }

    /// The build has made what is served already.
    pub fn same(&self, took: Duration) {
        self.say(
            Colour::Plain,
            "",
            &format!("built in {}: the library is the same; nothing to reload", seconds(took)),
        );
    }

    /// Something that is worth a look.
    pub fn note(&self, text: &str) {
        self.say(Colour::Yellow, "note", text);
    }

    /// `src/lib.rs and 2 more`
    fn files(&self, files: &BTreeSet<PathBuf>) -> String {
        let first = files.first().map(|file| self.short(file)).unwrap_or_default();
        match files.len() {
            0 | 1 => first,
            n => format!("{first} and {} more", n - 1),
        }
    }

    /// As short as it can be said.
    pub fn short(&self, file: &Path) -> String {
        let file = file.strip_prefix(&self.folder).or_else(|_| file.strip_prefix(&self.here)).unwrap_or(file);
        file.display().to_string()
    }

    fn say(&self, colour: Colour, head: &str, text: &str) {
        let (on, off) = match (self.is_coloured, colour) {
            (true, Colour::Red | Colour::Green | Colour::Yellow) => {
                (format!("\x1b[1;{}m", colour as u8), "\x1b[0m")
            }
            _ => (String::new(), ""),
        };
        let line = match head {
            "" => format!("dev: {on}{text}{off}\n"),
            _ => format!("dev: {on}{head}{off}: {text}\n"),
        };
        // Whoever does not look misses it.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    match time.as_secs_f64() * 1000.0 {
        short if short < 10.0 => format!("{short:.1} ms"),
        long => format!("{long:.0} ms"),
    }
}
