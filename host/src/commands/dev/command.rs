//! A folder that `make` or another command builds. Every file in it is a source, except what compilers write.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use super::build::Build;
use super::events::EventSender;
use super::project::relative;
use crate::commands::watch::sources::Sources;

/// The files that make looks for.
pub const MAKEFILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

/// How many folders deep to look for a library.
const LIBRARY_DEPTH: u32 = 3;

pub struct CommandProject {
    /// Real path of the folder.
    pub folder: PathBuf,
    /// For `sh -c`. None: make.
    command: Option<String>,
    /// The library that the build makes. None: the newest one in the folder.
    library: Option<PathBuf>,
}

impl CommandProject {
    /// `library` is relative to the folder.
    pub fn new(folder: PathBuf, command: Option<String>, library: Option<PathBuf>) -> Self {
        Self { library: library.map(|library| folder.join(library)), folder, command }
    }

    pub fn sources(&self) -> Sources {
        Sources {
            folders: [self.folder.clone()].into(),
            ignored: self.library.iter().cloned().collect(),
            ignore_products: true,
            ..Sources::default()
        }
    }

    /// Starts the build. `is_quiet`: make does not print its commands.
    pub fn start(&self, is_quiet: bool, events: &EventSender) -> Result<Build> {
        let mut command = match &self.command {
            Some(command) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", command]);
                shell
            }
            None => Command::new("make"),
        };
        if self.command.is_none() && is_quiet {
            command.arg("-s");
        }
        command.current_dir(&self.folder);
        Build::start(command, false, events)
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
                let suffix = std::env::consts::DLL_SUFFIX;
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
    fn collect(folder: &Path, depth: u32, found: &mut Vec<(SystemTime, PathBuf)>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
            if metadata.is_dir() && depth > 0 && !entry.file_name().to_string_lossy().starts_with('.') {
                collect(&path, depth - 1, found);
            } else if metadata.is_file()
                && path.extension().is_some_and(|it| it == std::env::consts::DLL_EXTENSION)
            {
                found.extend(metadata.modified().ok().map(|modified| (modified, path)));
            }
        }
    }
    let mut found = Vec::new();
    collect(folder, LIBRARY_DEPTH, &mut found);
    found.into_iter().max().map(|(_, path)| path)
}
