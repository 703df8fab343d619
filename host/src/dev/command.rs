//! Plugins that make builds, or any other command: every file in the folder is a source, except what compilers
//! write.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use super::build::Build;
use super::project::relative;
use super::rounds::Sender;
use crate::watch::tree::Sources;

/// What make reads if it is not told.
pub const MAKEFILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

/// A folder with a command that builds what is in it.
pub struct Folder {
    /// Its real path.
    pub folder: PathBuf,
    /// For `sh -c`; None: make.
    command: Option<String>,
    /// As the operator named it.
    library: Option<PathBuf>,
}

impl Folder {
    /// `library` is relative to the folder.
    pub fn new(folder: PathBuf, command: Option<String>, library: Option<PathBuf>) -> Self {
        Self { library: library.map(|library| folder.join(library)), folder, command }
    }

    /// All that is in the folder.
    pub fn sources(&self) -> Sources {
        Sources {
            folders: [self.folder.clone()].into(),
            except: self.library.iter().cloned().collect(),
            without_products: true,
            ..Sources::default()
        }
    }

    /// Starts the command; a quiet make does not repeat its commands.
    pub fn start(&self, is_quiet: bool, events: &Sender) -> Result<Build> {
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

    /// The library that was named, or the newest one in the folder.
    pub fn library(&self) -> Result<PathBuf> {
        let library = match &self.library {
            Some(library) if library.is_file() => library.clone(),
            Some(library) => bail!(
                "the build succeeded, but has not made {} (--library)",
                relative(library.clone()).display()
            ),
            None => newest_library(&self.folder).with_context(|| {
                let ending = std::env::consts::DLL_SUFFIX;
                format!(
                    "make succeeded, but there is no library (*{ending}) in the folder; name it by --library"
                )
            })?,
        };
        Ok(relative(library))
    }
}

/// In the folder or below.
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

/// How many folders deep a library is looked for.
const LIBRARY_DEPTH: u32 = 3;
