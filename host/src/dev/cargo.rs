//! A plugin's crate: how cargo builds it, which library it makes, and from which files.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::build::{Build, Lines};
use super::project::relative;
use super::rounds::Sender;
use crate::watch::tree::Sources;

/// Files of a workspace that all its crates are built with.
const WORKSPACE_FILES: [&str; 5] =
    ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain", ".cargo/config.toml"];

/// A crate.
pub struct Crate {
    /// Its real path.
    pub folder: PathBuf,
    release: bool,
    /// What its manifest and those of its path dependencies say.
    told: Option<Sources>,
    /// What the last build has read besides.
    included: BTreeSet<PathBuf>,
}

impl Crate {
    /// The crate in this folder.
    pub fn new(folder: PathBuf, release: bool) -> Self {
        Self { folder, release, told: None, included: BTreeSet::new() }
    }

    /// Starts `cargo build`; its diagnostics go to stderr as cargo writes them.
    pub fn start(&self, is_quiet: bool, events: &Sender) -> Result<Build> {
        let mut command = Command::new(cargo());
        // From its own folder, so that its own .cargo/config.toml and toolchain count.
        command.args(["build", "--message-format=json-render-diagnostics"]).current_dir(&self.folder);
        if self.release {
            command.arg("--release");
        }
        if is_quiet {
            command.arg("--quiet");
        }
        Build::start(command, true, events)
    }

    /// The library among what cargo has made.
    pub fn library(&mut self, lines: &Lines) -> Result<PathBuf> {
        let manifest = self.folder.join("Cargo.toml");
        let library = lines.iter().filter_map(|line| artifact(line, &manifest)).next_back();
        let library = library.with_context(|| {
            format!(
                "{} builds no shared library; add `[lib]` with `crate-type = [\"cdylib\"]` to it",
                relative(manifest).display()
            )
        })?;
        // Written by cargo beside what it makes. Without it only files elsewhere go unwatched.
        let list = fs::read_to_string(library.with_extension("d")).unwrap_or_default();
        self.included = dependencies(&list).filter_map(|file| Path::new(&file).canonicalize().ok()).collect();
        Ok(relative(library))
    }

    /// Its folder, those of the crates that it depends on by path, their workspaces' files, and what the last
    /// build has read elsewhere.
    pub fn sources(&mut self, is_new: bool) -> Sources {
        if is_new || self.told.is_none() {
            self.told = Some(self.told_by_manifests());
        }
        let mut sources = self.told.clone().unwrap_or_default();
        let is_below = |file: &PathBuf| sources.folders.iter().any(|folder| file.starts_with(folder));
        let elsewhere: Vec<_> = self.included.iter().filter(|file| !is_below(file)).cloned().collect();
        sources.files.extend(elsewhere);
        sources
    }

    fn told_by_manifests(&self) -> Sources {
        let mut sources = Sources { folders: [self.folder.clone()].into(), ..Sources::default() };
        let mut known: Vec<Package> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut ahead = vec![self.folder.clone()];
        while let Some(folder) = ahead.pop() {
            if !seen.insert(folder.clone()) {
                continue;
            }
            let manifest = folder.join("Cargo.toml");
            if !known.iter().any(|package| package.manifest_path == manifest) {
                // A manifest that is wrong is cargo's to complain about, in the build.
                let Ok(metadata) = metadata(&folder) else { continue };
                let files = WORKSPACE_FILES.iter().map(|name| metadata.workspace_root.join(name));
                sources.files.extend(files);
                sources.except.insert(metadata.target_directory);
                known.extend(metadata.packages);
            }
            if let Some(package) = known.iter().find(|package| package.manifest_path == manifest) {
                ahead.extend(package.dependencies.iter().filter_map(|dependency| dependency.path.clone()));
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

/// What the manifests of a workspace say, without looking for dependencies: no network, no lock to wait for.
fn metadata(folder: &Path) -> Result<Metadata> {
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

/// The cdylib that a line of cargo's says was made from that manifest.
fn artifact(line: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_ours = message["reason"] == "compiler-artifact"
        && message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest)
        && message["target"]["crate_types"].as_array()?.iter().any(|kind| kind == "cdylib");
    let files = message["filenames"].as_array()?;
    let mut libraries =
        files.iter().filter_map(Value::as_str).filter(|file| file.ends_with(std::env::consts::DLL_SUFFIX));
    is_ours.then(|| libraries.next().map(PathBuf::from))?
}

/// The files that a rule as make reads it (`library: file file`) depends on; a blank in a name is written `\ `.
fn dependencies(rules: &str) -> impl Iterator<Item = String> {
    let rule = rules.lines().next().and_then(|line| line.split_once(": ")).map_or("", |(_, files)| files);
    let marked = rule.replace("\\ ", "\0");
    let files: Vec<_> = marked.split_whitespace().map(|file| file.replace('\0', " ")).collect();
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
        let found = artifact(&line("/p/chat/Cargo.toml", "cdylib"), manifest);
        assert_eq!(found, Some(PathBuf::from(format!("/t/libchat{}", std::env::consts::DLL_SUFFIX))));
        assert_eq!(artifact(&line("/p/chat/Cargo.toml", "lib"), manifest), None);
        assert_eq!(artifact(&line("/p/other/Cargo.toml", "cdylib"), manifest), None);
        assert_eq!(artifact("warning: not JSON", manifest), None);
    }

    #[test]
    fn files_of_a_rule_may_have_blanks_in_their_names() {
        let files: Vec<_> = dependencies("/t/libchat.so: /p/src/lib.rs /p/my\\ page.html\n").collect();
        assert_eq!(files, ["/p/src/lib.rs", "/p/my page.html"]);
        assert_eq!(dependencies("").count(), 0);
    }

    #[test]
    fn crates_that_it_depends_on_by_path_are_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize().unwrap();
        let sources = Crate::new(root.join("example-plugins/chat"), false).sources(false);
        for folder in ["example-plugins/chat", "plugin-api", "plugin-api/macros"] {
            assert!(sources.folders.contains(&root.join(folder)), "{folder}: {sources:?}");
        }
        assert!(!sources.folders.contains(&root.join("host")), "{sources:?}");
        assert!(sources.files.contains(&root.join("Cargo.lock")), "{sources:?}");
        assert_eq!(sources.except.len(), 1, "{sources:?}");
    }
}
