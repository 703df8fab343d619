//! A folder that `make` or another command builds. Every file in it is a source, except what compilers write. So are the
//! files outside of it that compilers say they have read.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use tempfile::TempPath;

use super::build::Build;
use super::events::EventSender;
use super::inputs::Inputs;
use super::project::relative;
use super::rules::prerequisites;
use crate::commands::watch::sources::Sources;
use crate::config::regular_file;

/// The files that make looks for.
pub const MAKEFILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

/// How many folders deep to look for what a build has made.
const DEPTH: u32 = 3;
/// gcc appends a makefile rule with all that it has read to the file in this variable, without the system's headers.
const RULES_VARIABLE: &str = "DEPENDENCIES_OUTPUT";
/// Headers of the system, which nobody edits.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/include", "/usr/lib", "/nix/store"];

pub struct CommandProject {
    /// Real path of the folder.
    pub folder: PathBuf,
    /// For `sh -c`. None: make.
    command: Option<String>,
    /// The library that the build makes. None: the newest one in the folder.
    library: Option<PathBuf>,
    /// For the rules of gcc. None: the environment has a file for them already, or no file can be made.
    rules: Option<TempPath>,
    /// What the builds have read, as far as compilers say. Real paths.
    read_files: BTreeSet<PathBuf>,
}

impl CommandProject {
    /// `library` is relative to the folder.
    pub fn new(folder: PathBuf, command: Option<String>, library: Option<PathBuf>) -> Self {
        // The variable's value ends at a space.
        let rules = tempfile::NamedTempFile::new().ok().map(tempfile::NamedTempFile::into_temp_path);
        let rules = rules.filter(|file| !file.to_string_lossy().contains(' '));
        let rules = rules.filter(|_| env::var_os(RULES_VARIABLE).is_none());
        let library = library.map(|library| folder.join(library));
        Self { library, folder, command, rules, read_files: BTreeSet::new() }
    }

    pub fn sources(&self) -> Sources {
        Sources {
            folders: [self.folder.clone()].into(),
            files: self.read_files.clone(),
            ignored: self.library.iter().cloned().collect(),
            ignore_products: true,
            ..Sources::default()
        }
    }

    /// Starts the build. `is_quiet`: make does not print its commands. `overtaken`: files that changed during the build
    /// before, and may be older than what it has made from their old content.
    pub fn start(&self, is_quiet: bool, overtaken: &[PathBuf], events: &EventSender) -> Result<Build> {
        let mut command = match &self.command {
            Some(command) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", command]);
                shell
            }
            None => Command::new("make"),
        };
        if self.command.is_none() {
            command.args(is_quiet.then_some("-s"));
            for file in overtaken {
                // As new, under each name that the Makefile may have for the file.
                let inside = file.strip_prefix(&self.folder).ok();
                [Some(file.as_path()), inside].into_iter().flatten().for_each(|name| {
                    command.arg("-W").arg(name);
                });
            }
        }
        if let Some(rules) = &self.rules {
            command.env(RULES_VARIABLE, rules);
        }
        command.current_dir(&self.folder);
        Build::start(command, false, events)
    }

    /// Asks whether there is something to build. None: only make can say so.
    pub fn ask(&self, events: &EventSender) -> Option<Result<Build>> {
        self.command.is_none().then(|| {
            let mut make = Command::new("make");
            make.arg("--question").current_dir(&self.folder);
            Build::ask(make, events)
        })
    }

    /// Reads what the build has read: from gcc's rules, and from those that compilers write beside the objects (-MMD).
    pub fn learn(&mut self) {
        let rules = self
            .rules
            .as_deref()
            .and_then(|file| regular_file::read_to_string(file).ok())
            .unwrap_or_default();
        if let Some(file) = self.rules.as_deref().filter(|_| !rules.is_empty()) {
            // The next build appends to it.
            let _ = fs::write(file, "");
        }
        let beside = made_files(&self.folder, "d")
            .into_iter()
            .filter_map(|(_, file)| regular_file::read_to_string(&file).ok());
        // Many objects name the same headers.
        let named: BTreeSet<_> =
            [rules].into_iter().chain(beside).flat_map(|rules| prerequisites(&rules)).collect();
        let read = named.into_iter().filter_map(|file| self.folder.join(file).canonicalize().ok());
        let read: Vec<_> = read
            .filter(|file| file.is_file() && !SYSTEM_FOLDERS.iter().any(|folder| file.starts_with(folder)))
            .collect();
        // Only what was compiled again is in the rules.
        self.read_files.extend(read);
        self.read_files.retain(|file| file.exists());
    }

    /// Not all that the build reads: a compiler may not say it, and other tools do not.
    pub fn inputs(&self) -> Inputs {
        Inputs { files: self.read_files.clone(), ..Inputs::default() }
    }

    /// Finds the library that the build has made.
    pub fn library(&self) -> Result<PathBuf> {
        let library = match &self.library {
            Some(library) if library.is_file() => library.clone(),
            Some(library) => bail!(
                "the build succeeded, but did not make {} (--library)",
                relative(library.clone()).display()
            ),
            None => newest_library(&self.folder).with_context(|| {
                let suffix = env::consts::DLL_SUFFIX;
                format!(
                    "make succeeded, but there is no library (*{suffix}) in the folder; name it with --library"
                )
            })?,
        };
        Ok(relative(library))
    }
}

/// The newest library in the folder and its subfolders.
fn newest_library(folder: &Path) -> Option<PathBuf> {
    made_files(folder, env::consts::DLL_EXTENSION).into_iter().max().map(|(_, path)| path)
}

/// The files with this suffix in the folder and its subfolders, and when they were written.
fn made_files(folder: &Path, suffix: &str) -> Vec<(SystemTime, PathBuf)> {
    fn collect(folder: &Path, suffix: &str, depth: u32, found: &mut Vec<(SystemTime, PathBuf)>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
            if metadata.is_dir() && depth > 0 && !entry.file_name().to_string_lossy().starts_with('.') {
                collect(&path, suffix, depth - 1, found);
            } else if metadata.is_file() && path.extension().is_some_and(|it| it == suffix) {
                found.extend(metadata.modified().ok().map(|modified| (modified, path)));
            }
        }
    }
    let mut found = Vec::new();
    collect(folder, suffix, DEPTH, &mut found);
    found
}
