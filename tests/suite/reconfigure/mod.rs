//! `callsign reload --config` and SIGHUP: what changes while the server runs, on connections that exist, and what is said
//! about it.

mod command; // options, outcomes and messages

mod limits; // what clients and callbacks may cost

mod logging; // the log, and the access log

mod secrets; // values that are not in the file

use std::fs;
use std::path::PathBuf;

use crate::support::{Host, empty_folder, path, plugin, run};

/// A server of the plugins `echo` and `requests`, whose config file changes. `/` echoes; `/note` logs messages, and closes
/// at `close`; `/answer` tells about its request.
struct Configured {
    host: Host,
    file: PathBuf,
    control: PathBuf,
}

impl Configured {
    /// Starts with this text, which comes before the plugins and routes in the file.
    #[track_caller]
    fn serve(name: &str, text: &str) -> Self {
        Self::serve_with(name, text, &[])
    }

    #[track_caller]
    fn serve_with(name: &str, text: &str, options: &[&str]) -> Self {
        let folder = empty_folder(name);
        let (file, control) = (folder.join("callsign.toml"), folder.join("c.sock"));
        fs::write(&file, Self::text(text)).expect("the scratch folder can be written");
        let args = ["serve", "--config", path(&file), "--control", path(&control)];
        Self { host: Host::start(&[&args, options].concat()), file, control }
    }

    fn text(text: &str) -> String {
        let (echo, requests) = (plugin("echo"), plugin("requests"));
        format!(
            "{text}\n[plugin.echo]\npath = {echo:?}\n[plugin.requests]\npath = {requests:?}\n\
             [[route]]\npath = '/'\nonmessage = 'echo:onmessage'\nondisconnect = 'requests:left'\n\
             [[route]]\npath = '/note'\nonmessage = 'requests:note'\nondisconnect = 'requests:left'\n\
             [[route]]\npath = '/answer'\nhandler = 'requests:answer'\n"
        )
    }

    #[track_caller]
    fn write(&self, text: &str) {
        fs::write(&self.file, Self::text(text)).expect("the scratch folder can be written");
    }

    /// Puts a text into effect. Returns what the command has printed.
    #[track_caller]
    fn reload(&self, text: &str) -> String {
        self.try_reload(text, &[]).unwrap_or_else(|error| panic!("rejected: {error}\n{}", self.host.log()))
    }

    /// The same with further options. Err: what it prints on stderr when it fails with status 1.
    #[track_caller]
    fn try_reload(&self, text: &str, options: &[&str]) -> Result<String, String> {
        self.write(text);
        let args = ["reload", "--config", "--control", path(&self.control)];
        match run(&[&args, options].concat()) {
            (0, stdout, _) => Ok(stdout),
            (1, _, stderr) => Err(stderr),
            other => panic!("{other:?}"),
        }
    }
}
