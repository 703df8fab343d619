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
use super::project::relative;
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
    /// Files that the last build has read, such as included files.
    read_files: BTreeSet<PathBuf>,
}

impl CargoProject {
    pub fn new(folder: PathBuf, release: bool) -> Self {
        Self { folder, release, manifest_sources: None, read_files: BTreeSet::new() }
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
        // Cargo writes this file beside the library. Without it, files outside of the crate are not watched.
        let rules = regular_file::read_to_string(&library.with_extension("d")).unwrap_or_default();
        self.read_files =
            dependencies(&rules).filter_map(|file| Path::new(&file).canonicalize().ok()).collect();
        Ok(relative(library))
    }

    /// The folders of the crate and its path dependencies, the files of their workspaces, and the files that the last
    /// build has read elsewhere. `is_manifest_changed`: reads the manifests again.
    pub fn sources(&mut self, is_manifest_changed: bool) -> Sources {
        if is_manifest_changed || self.manifest_sources.is_none() {
            self.manifest_sources = Some(self.read_manifests());
        }
        let mut sources = self.manifest_sources.clone().unwrap_or_default();
        let is_below = |file: &PathBuf| sources.folders.iter().any(|folder| file.starts_with(folder));
        let elsewhere: Vec<_> = self.read_files.iter().filter(|file| !is_below(file)).cloned().collect();
        sources.files.extend(elsewhere);
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

/// The dependencies in the first rule of a makefile (`library: file file`). `\ ` is a space in a file name.
fn dependencies(rules: &str) -> impl Iterator<Item = String> {
    let rule = rules.lines().next().and_then(|line| line.split_once(": ")).map_or("", |(_, files)| files);
    let escaped = rule.replace("\\ ", "\0");
    let files: Vec<_> = escaped.split_whitespace().map(|file| file.replace('\0', " ")).collect();
    files.into_iter()
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
    fn files_of_a_rule_may_have_spaces_in_their_names() {
        let files: Vec<_> = dependencies("/t/libchat.so: /p/src/lib.rs /p/my\\ page.html\n").collect();
        assert_eq!(files, ["/p/src/lib.rs", "/p/my page.html"]);
        assert_eq!(dependencies("").count(), 0);
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
