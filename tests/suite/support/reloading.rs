//! A server whose plugin's file is replaced again and again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Host, c_plugin_with, path, run, scratch};

/// A server that serves a copy of a library, and the way to give it another.
pub struct Reloading {
    pub host: Host,
    /// What it serves.
    pub library: PathBuf,
    control: PathBuf,
}

impl Reloading {
    /// Serves a copy of that library, with these options.
    pub fn serve(first: &Path, options: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = scratch(&name);
        fs::create_dir_all(&folder).expect("the scratch folder can be written");
        let library = folder.join("libreload.so");
        // Short: the name of a socket has about a hundred bytes.
        let control = std::env::temp_dir().join(format!("callsign-test-{name}"));
        fs::copy(first, &library).expect("it is built");
        let host = Host::start(&[&["serve", path(&library), "--control", path(&control)], options].concat());
        Self { host, library, control }
    }

    /// The same with `tests/plugins/c/reload.c`, in the generation "1", and two workers.
    pub fn serve_c(defines: &[&str]) -> Self {
        Self::serve(&variant("1", defines), &["--workers", "2", "--route", ROUTE, "--route", "/page=page"])
    }

    /// Puts another library in the place of the one that is served, as a linker does: all at once.
    pub fn put(&self, library: &Path) {
        let new = self.library.with_extension("new");
        fs::copy(library, &new).expect("it is built");
        fs::rename(new, &self.library).expect("the scratch folder can be written");
    }

    /// `callsign reload`: what it says if all is well, else why not.
    pub fn reload(&self) -> Result<String, String> {
        self.ask("reload", &[])
    }

    /// A command that asks the server.
    pub fn ask(&self, command: &str, more: &[&str]) -> Result<String, String> {
        let (code, out, err) = run(&[&[command, "--control", path(&self.control)], more].concat());
        match code {
            0 => Ok(out),
            1 => Err(err),
            _ => panic!("status {code}: {out}{err}"),
        }
    }

    /// Puts a library in place, and reloads.
    pub fn reload_with(&self, library: &Path) -> Result<String, String> {
        self.put(library);
        self.reload()
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        // A server that is killed leaves it.
        let _ = fs::remove_file(&self.control);
        if let Some(folder) = self.library.parent() {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Where the handlers of `reload.c` are bound.
pub const ROUTE: &str = "/=join,message,leave";

/// `tests/plugins/c/reload.c` as that generation.
pub fn variant(generation: &str, defines: &[&str]) -> PathBuf {
    let generation = format!("-DGENERATION=\"{generation}\"");
    c_plugin_with("reload.c", &[&[generation.as_str()], defines].concat())
}
