//! What `dev` builds: a crate, or a folder that a command builds. A project knows its sources, how to start a build,
//! and which library a successful build has made.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::DevOptions;
use super::build::Build;
use super::cargo::CargoProject;
use super::command::{CommandProject, MAKEFILES};
use super::events::EventSender;
use super::inputs::Inputs;
use crate::commands::watch::sources::Sources;
use crate::config::regular_file;

pub enum Project {
    Cargo(CargoProject),
    /// Built by make or another command.
    Command(CommandProject),
}

impl Project {
    /// Opens the project in the folder. The error says why it cannot be built.
    pub fn open(options: &DevOptions) -> Result<Self> {
        let folder = &options.folder;
        let Ok(real) = folder.canonicalize() else {
            bail!("there is no folder {}; `dev` wants the folder of a plugin", folder.display());
        };
        if let Some(command) = &options.build {
            let command = Some(command.clone());
            return Ok(Self::Command(CommandProject::new(real, command, options.library.clone())));
        }
        if real.join("Cargo.toml").is_file() {
            if options.library.is_some() {
                bail!("--library is for make and --build; cargo reports the library of a crate");
            }
            if is_virtual_workspace(&real.join("Cargo.toml")) {
                bail!("{} is a workspace; name the folder of a plugin in it", folder.display());
            }
            return Ok(Self::Cargo(CargoProject::new(real, options.release)));
        }
        if !MAKEFILES.iter().any(|name| real.join(name).is_file()) {
            bail!(
                "nothing to build in {}: neither Cargo.toml nor Makefile; name the folder of a plugin, or give \
                 --build and --library",
                folder.display()
            );
        }
        if options.release {
            bail!("--release is for crates; set the flags in the Makefile of {}", folder.display());
        }
        Ok(Self::Command(CommandProject::new(real, None, options.library.clone())))
    }

    /// Real path of the folder.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Cargo(project) => &project.folder,
            Self::Command(project) => &project.folder,
        }
    }

    /// The sources, as far as they are known now. `is_manifest_changed`: reads the manifests again.
    pub fn sources(&mut self, is_manifest_changed: bool) -> Sources {
        match self {
            Self::Cargo(project) => project.sources(is_manifest_changed),
            Self::Command(project) => project.sources(),
        }
    }

    /// Whether the file decides which files are sources.
    pub fn is_manifest(&self, file: &Path) -> bool {
        matches!(self, Self::Cargo(_)) && file.file_name().is_some_and(|name| name == "Cargo.toml")
    }

    /// Whether a build can be cancelled: cargo continues where it was. Another command may have written the changed file
    /// itself.
    pub fn may_cancel(&self) -> bool {
        matches!(self, Self::Cargo(_))
    }

    /// Asks the build tool whether there is something to build. None: it cannot say.
    pub fn ask(&self, events: &EventSender) -> Option<Result<Build>> {
        match self {
            Self::Cargo(_) => None,
            Self::Command(project) => project.ask(events),
        }
    }

    /// Starts a build. `is_quiet`: the build prints only problems. `overtaken`: files that changed during the build
    /// before.
    pub fn start(&self, is_quiet: bool, overtaken: &[PathBuf], events: &EventSender) -> Result<Build> {
        match self {
            Self::Cargo(project) => project.start(is_quiet, events),
            Self::Command(project) => project.start(is_quiet, overtaken, events),
        }
    }

    /// Finds the library that a successful build has made. `lines` is its standard output.
    pub fn library(&mut self, lines: &[String]) -> Result<PathBuf> {
        match self {
            Self::Cargo(project) => project.library(lines),
            Self::Command(project) => {
                project.learn();
                project.library()
            }
        }
    }

    /// What the last successful build has read, as far as it is known.
    pub fn inputs(&self) -> Inputs {
        match self {
            Self::Cargo(project) => project.inputs(),
            Self::Command(project) => project.inputs(),
        }
    }
}

/// Whether the manifest has a workspace and no package. The build reports a wrong manifest.
fn is_virtual_workspace(manifest: &Path) -> bool {
    let manifest =
        regular_file::read_to_string(manifest).ok().and_then(|text| text.parse::<toml::Table>().ok());
    manifest.is_some_and(|keys| keys.contains_key("workspace") && !keys.contains_key("package"))
}

/// Shortens a path below the working directory, for messages.
pub fn relative(path: PathBuf) -> PathBuf {
    let working_directory = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(working_directory).map(Path::to_path_buf).unwrap_or(path)
}
