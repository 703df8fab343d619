//! A server whose plugin file is replaced again and again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::{Host, c_plugin_with, path, replace, run, scratch};

/// A server that serves a copied library, and ways to replace that file.
pub struct Reloading {
    pub host: Host,
    /// The library that the server serves.
    pub library: PathBuf,
    control: PathBuf,
}

impl Reloading {
    /// Serves a copy of this library with these options.
    pub fn serve(first: &Path, options: &[&str]) -> Self {
        Self::serve_through(&["env"], first, options)
    }

    /// The same through a program that executes the server.
    pub fn serve_through(program: &[&str], first: &Path, options: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = scratch(&name);
        fs::create_dir_all(&folder).expect("the scratch folder can be written");
        let library = folder.join("libreload.so");
        // A short path, because the path of a Unix socket is limited to about 100 bytes.
        let control = std::env::temp_dir().join(format!("callsign-test-{name}"));
        fs::copy(first, &library).expect("the library was built");
        let serve = ["serve", path(&library), "--control", path(&control)];
        let host = Host::start_through(program, &[&serve, options].concat());
        Self { host, library, control }
    }

    /// The same with `tests/plugins/c/reload.c` as generation "1" and two workers.
    pub fn serve_c(defines: &[&str]) -> Self {
        Self::serve(&variant("1", defines), &["--workers", "2", "--route", ROUTE, "--route", "/page=page"])
    }

    /// Replaces the served library atomically, as a linker does.
    pub fn put(&self, library: &Path) {
        replace(&self.library, library);
    }

    /// Runs `callsign reload`. Ok: its output; Err: its error.
    pub fn reload(&self) -> Result<String, String> {
        self.ask("reload", &[])
    }

    /// Runs `callsign reload --force`, which loads a library again that has not changed.
    pub fn reload_again(&self) -> Result<String, String> {
        self.ask("reload", &["--force"])
    }

    /// Runs a command against the control socket.
    pub fn ask(&self, command: &str, more: &[&str]) -> Result<String, String> {
        let (code, out, err) = run(&[&[command, "--control", path(&self.control)], more].concat());
        match code {
            0 => Ok(out),
            1 => Err(err),
            _ => panic!("status {code}: {out}{err}"),
        }
    }

    /// The status of the server.
    pub fn status(&self) -> Value {
        super::status(&self.control)
    }

    /// Replaces the library and reloads.
    pub fn reload_with(&self, library: &Path) -> Result<String, String> {
        self.put(library);
        self.reload()
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        // A server that is killed does not remove its socket, which has another name while it drains.
        let _ = fs::remove_file(&self.control);
        let _ = fs::remove_file(format!("{}.draining", path(&self.control)));
        if let Some(folder) = self.library.parent() {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// The route that binds the handlers of `reload.c`.
pub const ROUTE: &str = "/=join,message,leave";

/// `tests/plugins/c/reload.c` as this generation.
pub fn variant(generation: &str, defines: &[&str]) -> PathBuf {
    let generation = format!("-DGENERATION=\"{generation}\"");
    c_plugin_with("reload.c", &[&[generation.as_str()], defines].concat())
}
