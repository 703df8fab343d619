//! Confines workers and probes before they run code of plugins: `[sandbox]`. A [`Confinement`] enters with the first
//! message of the process; afterwards the process has no capabilities, and the kernel restricts which files it opens
//! (Landlock) and which system calls it makes (seccomp).
//!
//! Invariant: a confined process cannot regain access. What it may ever need is allowed when it starts.

#[cfg(target_os = "linux")]
mod calls; // system calls by name

#[cfg(target_os = "linux")]
mod filter; // which of them are allowed

#[cfg(target_os = "linux")]
mod files; // which files are

mod common; // those that any process reads

mod kernel; // what this kernel can restrict

mod violation; // a forbidden call, in words

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::config::sandbox::{SandboxLevel, SandboxSettings};

pub use kernel::Kernel;
pub use violation::describe;

/// What confined processes may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    pub settings: SandboxSettings,
    /// Files and folders that are read because the server serves them or loads plugins from them.
    pub served: Vec<PathBuf>,
    /// Those that any process reads.
    pub common: Vec<PathBuf>,
    /// The parent's folder of copied libraries.
    pub copies: Option<PathBuf>,
}

/// What this process may do, in words; empty if it is not confined.
static NOTE: OnceLock<String> = OnceLock::new();

/// What this process may do, to be added to the error of a plugin that may have tried more. Empty: it is not confined.
pub fn note() -> &'static str {
    NOTE.get().map_or("", String::as_str)
}

impl Confinement {
    /// Of settings that confine.
    pub fn new(settings: &SandboxSettings, served: Vec<PathBuf>) -> Self {
        Self { settings: settings.clone(), served, common: common::paths(), copies: None }
    }

    /// Whether a confined process may read this file or folder, and what is below it.
    pub fn covers(&self, path: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let path = real(path);
        self.readable().any(|allowed| path.starts_with(real(allowed)))
    }

    /// `; in the sandbox, plugins read /srv/app and files of the system, write nothing, …`
    pub fn note(&self) -> String {
        let list = |paths: &[PathBuf]| match paths {
            [] => "nothing".to_owned(),
            paths => paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
        };
        let SandboxSettings { read, write, execute, network, .. } = &self.settings;
        let read: Vec<_> = read.iter().chain(&self.served).map(|path| path.display().to_string()).collect();
        let read = read.into_iter().chain(["files of the system".to_owned()]).collect::<Vec<_>>().join(", ");
        format!(
            "; the sandbox allows to read {read}, to write {}, to execute {}, and {} network (see [sandbox])",
            list(write),
            list(execute),
            if *network { "the" } else { "no" }
        )
    }

    fn readable(&self) -> impl Iterator<Item = &Path> {
        let Self { settings, served, common, copies } = self;
        let paths = settings.read.iter().chain(served).chain(common).chain(copies);
        paths.chain(&settings.write).chain(&settings.execute).map(PathBuf::as_path)
    }

    /// Confines this process, which must have a single thread. What the kernel lacks is left out: [`check`] has decided
    /// that the server starts.
    #[cfg(target_os = "linux")]
    pub fn apply(&self) -> Result<()> {
        use anyhow::{Context, bail};

        use crate::system::{capabilities, crash};

        let threads = std::fs::read_dir("/proc/self/task").context("cannot list the threads")?.count();
        if threads != 1 {
            bail!(
                "cannot be confined: {threads} threads run before any plugin is loaded; is LD_PRELOAD set, or an allocator \
                 with threads of its own?"
            );
        }
        NOTE.get_or_init(|| self.note());
        capabilities::drop_all().context("cannot give up capabilities")?;
        let kernel = Kernel::ask();
        if kernel.landlock > 0 {
            let read: Vec<_> = self.readable().collect();
            files::apply(&read, &self.settings.write, &self.settings.execute, self.settings.network)?;
        }
        if kernel.seccomp {
            crash::report_system_calls().context("no handler for forbidden system calls")?;
            filter::apply(&self.settings)?;
        }
        Ok(())
    }

    /// Nothing confines here: [`check`] has decided that the server starts.
    #[cfg(not(target_os = "linux"))]
    pub fn apply(&self) -> Result<()> {
        Ok(())
    }
}

/// Whether a server can start with these settings here. Err: the key that is wrong, and why.
pub fn check(settings: &SandboxSettings) -> Result<(), (&'static str, anyhow::Error)> {
    if !settings.is_on() {
        return Ok(());
    }
    for (key, paths) in settings.paths() {
        for path in paths {
            if let Err(error) = path.metadata() {
                let path = path.display();
                let error =
                    anyhow!("`{key}` in [sandbox]: {path}: {error}; create it, or remove it from the list");
                return Err((key, error));
            }
        }
    }
    check_names(&settings.system_calls).map_err(|error| ("system_calls", error))?;
    let kernel = Kernel::ask();
    if settings.level == SandboxLevel::Strict && (kernel.landlock == 0 || !kernel.seccomp) {
        let missing = kernel.missing().join("; nor does it restrict ");
        return Err((
            "level",
            anyhow!(
                "the sandbox cannot be strict: this system does not restrict {missing}; level = \"best-effort\" starts \
                 without"
            ),
        ));
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn check_names(names: &[String]) -> Result<()> {
    use crate::config::nearest::nearest;

    let Some(unknown) = names.iter().find(|name| calls::names().all(|known| known != name.as_str())) else {
        return Ok(());
    };
    let hint = match nearest(unknown, calls::names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "see the manual page syscalls(2)".to_owned(),
    };
    Err(anyhow!("`system_calls` in [sandbox]: no system call `{unknown}` is known; {hint}"))
}

#[cfg(not(target_os = "linux"))]
fn check_names(_: &[String]) -> Result<()> {
    Ok(())
}

/// What the sandbox does not restrict here, although the settings ask for it, for the log.
pub fn warnings(settings: &SandboxSettings) -> Vec<String> {
    if !settings.is_on() {
        return Vec::new();
    }
    let missing = Kernel::ask().missing().into_iter();
    missing.map(|what| format!("the sandbox does not restrict {what}")).collect()
}
