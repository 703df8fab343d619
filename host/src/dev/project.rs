//! What `dev` builds: a crate, or anything that a command builds. Each knows its sources, how to start a build,
//! and which library a build that has succeeded has made.

#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::build::{Build, Lines};
use super::cargo::Crate;
use super::command::Folder;
use super::rounds::Sender;
use crate::cli::DevOptions;
use crate::watch::tree::Sources;

/// What is built.
pub enum Project {
    /// By cargo.
    Crate(Crate),
    /// By make, or any other command.
    Folder(Folder),
}

impl Project {
    /// Looks what there is. Err: nothing that could be built.
    pub fn open(options: &DevOptions) -> Result<Self> {
        let folder = &options.folder;
        let Ok(real) = folder.canonicalize() else {
            bail!("there is no folder {}; `dev` wants the folder of a plugin", folder.display());
        };
        if let Some(command) = &options.build {
            return Ok(Self::Folder(Folder::new(real, Some(command.clone()), options.library.clone())));
        }
        if real.join("Cargo.toml").is_file() {
            if options.library.is_some() {
                bail!("--library is for make and --build; cargo says itself what it has made");
            }
            if is_workspace_alone(&real.join("Cargo.toml")) {
                bail!("{} is a workspace; name the folder of a plugin in it", folder.display());
            }
            return Ok(Self::Crate(Crate::new(real, options.release)));
        }
        if !super::command::MAKEFILES.iter().any(|name| real.join(name).is_file()) {
            bail!(
                "nothing to build in {}: neither Cargo.toml nor Makefile; name the folder of a plugin, or give \
                 --build and --library",
                folder.display()
            );
        }
        if options.release {
            bail!("--release is for crates; say in the Makefile how to build {}", folder.display());
        }
        Ok(Self::Folder(Folder::new(real, None, options.library.clone())))
    }

    /// The folder, by its real path.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Crate(it) => &it.folder,
            Self::Folder(it) => &it.folder,
        }
    }

    /// What it is built from, as far as is known now. `is_new`: manifests may have changed.
    pub fn sources(&mut self, is_new: bool) -> Sources {
        match self {
            Self::Crate(it) => it.sources(is_new),
            Self::Folder(it) => it.sources(),
        }
    }

    /// Whether a change of this file may change what the sources are.
    pub fn is_manifest(&self, file: &Path) -> bool {
        matches!(self, Self::Crate(_)) && file.file_name().is_some_and(|name| name == "Cargo.toml")
    }

    /// Whether a build is ended when a source changes: otherwise it may be the build that has changed it.
    pub fn is_ended_by_changes(&self) -> bool {
        matches!(self, Self::Crate(_))
    }

    /// Starts a build. `is_quiet`: only what is wrong is of interest.
    pub fn start(&self, is_quiet: bool, events: &Sender) -> Result<Build> {
        match self {
            Self::Crate(it) => it.start(is_quiet, events),
            Self::Folder(it) => it.start(is_quiet, events),
        }
    }

    /// The library that a build has made, which has succeeded. Err: none.
    pub fn library(&mut self, lines: &Lines) -> Result<PathBuf> {
        match self {
            Self::Crate(it) => it.library(lines),
            Self::Folder(it) => it.library(),
        }
    }
}

/// Whether it is a manifest of no crate. What is wrong with one is cargo's to say.
fn is_workspace_alone(manifest: &Path) -> bool {
    let manifest = fs::read_to_string(manifest).ok().and_then(|text| text.parse::<toml::Table>().ok());
    manifest.is_some_and(|it| it.contains_key("workspace") && !it.contains_key("package"))
}

/// The path from here, if the file is below: shorter to read.
pub fn relative(path: PathBuf) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).map(Path::to_path_buf).unwrap_or(path)
}
