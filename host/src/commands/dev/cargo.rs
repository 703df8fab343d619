//! A plugin's crate: how cargo builds it, which library the build makes, and from which files.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::build::Build;
use super::events::EventSender;
use super::inputs::Inputs;
use super::project::relative;
use super::rules::prerequisites;
use crate::commands::watch::sources::Sources;
use crate::config::regular_file;
use crate::system::process::orphans::Pause;

/// Files of a workspace that affect the build of each of its crates.
const WORKSPACE_FILES: [&str; 5] =
    ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain", ".cargo/config.toml"];

pub struct CargoProject {
    /// Real path of the crate.
    pub folder: PathBuf,
    release: bool,
    /// Sources according to the manifests of the crate and its path dependencies. None until they are read.
    manifest_sources: Option<Sources>,
    /// Folders of the crate and its path dependencies.
    packages: BTreeSet<PathBuf>,
    /// What the last build has read.
    inputs: Inputs,
}

impl CargoProject {
    pub fn new(folder: PathBuf, release: bool) -> Self {
        Self { folder, release, manifest_sources: None, packages: BTreeSet::new(), inputs: Inputs::default() }
    }

    /// Starts `cargo build`. Diagnostics go to stderr as cargo writes them.
    pub fn start(&self, is_quiet: bool, events: &EventSender) -> Result<Build> {
        let mut command = Command::new(cargo());
        // Applies the .cargo/config.toml and the toolchain of the crate's folder.
        command.args(["build", "--message-format=json-render-diagnostics"]).current_dir(&self.folder);
        if self.release {
            command.arg("--release");
        }
        if is_quiet {
            command.arg("--quiet");
        }
        Build::start(command, true, events)
    }

    /// Finds the library in the output of cargo.
    pub fn library(&mut self, lines: &[String]) -> Result<PathBuf> {
        let manifest = self.folder.join("Cargo.toml");
        let library = lines.iter().filter_map(|line| library_in(line, &manifest)).next_back();
        let library = library.with_context(|| {
            format!(
                "{} builds no shared library; add `[lib]` with `crate-type = [\"cdylib\"]` to it",
                relative(manifest).display()
            )
        })?;
        self.inputs = self.read_inputs(&library, lines);
        Ok(relative(library))
    }

    /// Reads which files the build has read, except for those that build scripts have generated. Cargo writes a rule with
    /// them beside the library. A package whose build script does not say what it reads may read any of its files.
    fn read_inputs(&self, library: &Path, lines: &[String]) -> Inputs {
        let rules = regular_file::read_to_string(&library.with_extension("d")).unwrap_or_default();
        let read = prerequisites(&rules).into_iter().filter_map(|file| Path::new(&file).canonicalize().ok());
        let messages: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let folder = |message: &Value| Path::new(message["out_dir"].as_str()?).canonicalize().ok();
        let generated: Vec<_> = messages.iter().filter_map(folder).collect();
        let read = read.filter(|path| !generated.iter().any(|folder| path.starts_with(folder)));
        let (folders, files): (BTreeSet<_>, BTreeSet<_>) = read.partition(|path| path.is_dir());
        // Paths in the rule are relative if the config says so (`build.dep-info-basedir`).
        let is_complete = files.iter().any(|file| file.starts_with(&self.folder));
        let known = if is_complete { self.packages.clone() } else { BTreeSet::new() };
        Inputs { files, folders, known, unknown: unclear_packages(&messages) }
    }

    /// What the last build has read.
    pub fn inputs(&self) -> Inputs {
        self.inputs.clone()
    }

    /// The folders of the crate and its path dependencies, the files of their workspaces, and the files that the last
    /// build has read elsewhere. `is_manifest_changed`: reads the manifests again.
    pub fn sources(&mut self, is_manifest_changed: bool) -> Sources {
        if is_manifest_changed || self.manifest_sources.is_none() {
            let sources = self.read_manifests();
            self.packages = sources.folders.iter().filter_map(|folder| folder.canonicalize().ok()).collect();
            self.manifest_sources = Some(sources);
        }
        let mut sources = self.manifest_sources.clone().unwrap_or_default();
        let is_below = |file: &PathBuf| sources.folders.iter().any(|folder| file.starts_with(folder));
        // Git may ignore them.
        let read: Vec<_> = self.inputs.files.iter().cloned().collect();
        let elsewhere: Vec<_> =
            self.inputs.folders.iter().filter(|folder| !is_below(folder)).cloned().collect();
        sources.files.extend(read);
        sources.folders.extend(elsewhere);
        sources
    }

    fn read_manifests(&self) -> Sources {
        let mut sources = Sources { folders: [self.folder.clone()].into(), ..Sources::default() };
        let mut packages: Vec<Package> = Vec::new();
        let mut visited = BTreeSet::new();
        let mut to_visit = vec![self.folder.clone()];
        while let Some(folder) = to_visit.pop() {
            if !visited.insert(folder.clone()) {
                continue;
            }
            let manifest = folder.join("Cargo.toml");
            if !packages.iter().any(|package| package.manifest_path == manifest) {
                // The build reports a wrong manifest.
                let Ok(metadata) = metadata(&folder) else { continue };
                let files = WORKSPACE_FILES.iter().map(|name| metadata.workspace_root.join(name));
                sources.files.extend(files);
                sources.ignored.insert(metadata.target_directory);
                packages.extend(metadata.packages);
            }
            if let Some(package) = packages.iter().find(|package| package.manifest_path == manifest) {
                to_visit.extend(package.dependencies.iter().filter_map(|dependency| dependency.path.clone()));
            }
            sources.folders.insert(folder);
        }
        sources
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    path: Option<PathBuf>,
}

/// Reads the manifests of a workspace. Does not resolve dependencies, which could need the network or wait for a lock.
fn metadata(folder: &Path) -> Result<Metadata> {
    let _reaper_paused = Pause::begin();
    let output = Command::new(cargo())
        .args(["metadata", "--no-deps", "--format-version=1"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The cdylib in a line of cargo's output, if it was built from this manifest.
fn library_in(line: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_ours = message["reason"] == "compiler-artifact"
        && message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest)
        && message["target"]["crate_types"].as_array()?.iter().any(|kind| kind == "cdylib");
    let files = message["filenames"].as_array()?;
    let mut libraries =
        files.iter().filter_map(Value::as_str).filter(|file| file.ends_with(std::env::consts::DLL_SUFFIX));
    is_ours.then(|| libraries.next().map(PathBuf::from))?
}

/// Folders of the packages whose build script has run without saying what it reads (`cargo::rerun-if-changed`).
fn unclear_packages(messages: &[Value]) -> BTreeSet<PathBuf> {
    let of = |reason: &'static str| messages.iter().filter(move |message| message["reason"] == reason);
    let is_unclear = |message: &&Value| {
        // Cargo keeps the script's output beside its folder for files.
        let output = message["out_dir"].as_str().map(|folder| Path::new(folder).with_file_name("output"));
        let output = output.and_then(|file| regular_file::read_to_string(&file).ok()).unwrap_or_default();
        !output.lines().any(|line| {
            line.strip_prefix("cargo:")
                .is_some_and(|rest| rest.trim_start_matches(':').starts_with("rerun-if-"))
        })
    };
    let unclear = of("build-script-executed").filter(is_unclear).map(|message| &message["package_id"]);
    let folder = |id: &Value| {
        let mut artifacts = of("compiler-artifact");
        let manifest = artifacts.find(|message| message["package_id"] == *id)?["manifest_path"].as_str()?;
        Path::new(manifest).parent()?.canonicalize().ok()
    };
    unclear.filter_map(folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_among_cargos_messages() {
        let manifest = Path::new("/p/chat/Cargo.toml");
        let line = |manifest: &str, kind: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","target":{{"crate_types":["{kind}"]}},
                   "filenames":["/t/libchat{}","/t/libchat.d"]}}"#,
                std::env::consts::DLL_SUFFIX
            )
            .replace('\n', "")
        };
        let found = library_in(&line("/p/chat/Cargo.toml", "cdylib"), manifest);
        assert_eq!(found, Some(PathBuf::from(format!("/t/libchat{}", std::env::consts::DLL_SUFFIX))));
        assert_eq!(library_in(&line("/p/chat/Cargo.toml", "lib"), manifest), None);
        assert_eq!(library_in(&line("/p/other/Cargo.toml", "cdylib"), manifest), None);
        assert_eq!(library_in("warning: not JSON", manifest), None);
    }

    #[test]
    fn path_dependencies_are_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize().unwrap();
        let sources = CargoProject::new(root.join("example-plugins/chat"), false).sources(false);
        for folder in ["example-plugins/chat", "plugin-api", "plugin-api/macros"] {
            assert!(sources.folders.contains(&root.join(folder)), "{folder}: {sources:?}");
        }
        assert!(!sources.folders.contains(&root.join("host")), "{sources:?}");
        assert!(sources.files.contains(&root.join("Cargo.lock")), "{sources:?}");
        assert_eq!(sources.ignored.len(), 1, "{sources:?}");
    }
}
