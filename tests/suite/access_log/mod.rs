//! The access log, from outside: what it says of requests and connections, and where it goes.

mod requests; // responses, also those that no handler gives

mod connections; // WebSockets, from the 101 to their end

mod rotation; // SIGHUP, and files that cannot be opened

mod blocked; // a disk or a reader that does not take the lines

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Host, empty_folder, eventually, path, plugin};

/// A server whose access log is a file.
struct Logged {
    host: Host,
    file: PathBuf,
}

impl Logged {
    /// Serves `requests` and `echo` with this config file besides the plugins, and these options.
    fn serve(name: &str, config: &str, options: &[&str]) -> Self {
        let (folder, config) = site(name, config);
        let host = Host::start(&[&["serve", "--config", path(&config)], options].concat());
        Self { host, file: folder.join("access.log") }
    }

    /// The same on the addresses of the config file. Does not wait until it serves.
    fn serve_as_configured(name: &str, config: &str) -> Self {
        let (folder, config) = site(name, config);
        Self { host: Host::exactly(&["serve", "--config", path(&config)]), file: folder.join("access.log") }
    }

    /// All lines, when there are so many.
    fn lines(&self, count: usize) -> Vec<String> {
        lines(&self.file, count)
    }

    /// All records in JSON, when there are so many.
    fn records(&self, count: usize) -> Vec<Value> {
        let parse =
            |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.lines(count).iter().map(parse).collect()
    }
}

/// A folder with `public/a.txt`, and a config file with the plugins `requests` and `echo` and an access log.
fn site(name: &str, config: &str) -> (PathBuf, PathBuf) {
    let folder = empty_folder(name);
    let public = folder.join("public");
    fs::create_dir(&public).expect("the scratch folder can be written");
    fs::write(public.join("a.txt"), "x".repeat(200_000)).expect("the scratch folder can be written");
    let plugins = ["requests", "echo"].map(|name| format!("[plugin.{name}]\npath = {:?}\n", plugin(name)));
    let text = format!("access_log = 'access.log'\n{config}\n{}", plugins.concat());
    let config = folder.join("callsign.toml");
    fs::write(&config, text).expect("the scratch folder can be written");
    (folder, config)
}

/// The lines of a file, when it has so many.
pub fn lines(file: &Path, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(file).unwrap_or_default();
    eventually(&format!("{count} lines are written"), || read().matches('\n').count() >= count);
    let text = read();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count, "{text}");
    lines
}
