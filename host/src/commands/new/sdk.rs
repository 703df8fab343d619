//! Where a new crate gets the Rust SDK from. This program contains the SDK's sources, so that `new` needs no others.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::config::regular_file;

/// The SDK beside the sources of this program, where they were when it was built.
const OF_SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin-api");
/// Name of the SDK's crate, and of its folder in a project.
pub const CRATE: &str = "callsign-plugin";

macro_rules! of_sources {
    ($($path:literal)*) => { &[$(($path, include_str!(concat!("../../../../plugin-api/", $path)))),*] };
}

/// Path and content of each file that a build of the SDK needs.
const FILES: &[(&str, &str)] = of_sources![
    "Cargo.toml"
    "include/callsign.h"
    "macros/Cargo.toml"
    "macros/src/lib.rs"
    "src/abi.rs"
    "src/background.rs"
    "src/boundary/backtrace.rs"
    "src/boundary/data.rs"
    "src/boundary/entry.rs"
    "src/boundary/host.rs"
    "src/boundary/later.rs"
    "src/boundary/load.rs"
    "src/boundary/mod.rs"
    "src/boundary/reload.rs"
    "src/boundary/worker_messages.rs"
    "src/certificate.rs"
    "src/connection.rs"
    "src/lib.rs"
    "src/load.rs"
    "src/message.rs"
    "src/request.rs"
    "src/saved.rs"
    "src/shared.rs"
    "src/state.rs"
    "src/timer.rs"
    "src/worker.rs"
];

/// What the manifests of the SDK inherit from its workspace, and what they have in a project.
const INHERITED: [(&str, &str); 5] = [
    // Before the one that its name ends with.
    ("rust-version.workspace = true", concat!("rust-version = \"", env!("CARGO_PKG_RUST_VERSION"), "\"")),
    ("version.workspace = true", concat!("version = \"", env!("CARGO_PKG_VERSION"), "\"")),
    ("edition.workspace = true", "edition = \"2024\""),
    ("license.workspace = true", concat!("license = \"", env!("CARGO_PKG_LICENSE"), "\"")),
    ("[lints]\nworkspace = true", "[lints.rust]\nunsafe_code = \"deny\""),
];

/// Where the crate gets the Rust SDK.
pub enum Sdk {
    /// The folder in --sdk.
    Given(PathBuf),
    /// [`OF_SOURCES`].
    OfSources(PathBuf),
    /// A copy in the project.
    Copied,
}

impl Sdk {
    /// The folder in --sdk, or the one beside this program's sources, or a copy.
    pub fn find(given: Option<&Path>, is_copied: bool) -> Result<Self> {
        if let Some(path) = given {
            if !is_sdk(path) {
                bail!("{} is not the folder of the crate `{CRATE}` (--sdk)", path.display());
            }
            return Ok(Self::Given(path.canonicalize()?));
        }
        match Path::new(OF_SOURCES).canonicalize() {
            Ok(path) if !is_copied && is_sdk(&path) => Ok(Self::OfSources(path)),
            _ => Ok(Self::Copied),
        }
    }

    /// The value of the dependency in Cargo.toml.
    pub fn dependency(&self) -> String {
        let path = match self {
            Self::Given(path) | Self::OfSources(path) => path.to_string_lossy().into_owned(),
            Self::Copied => CRATE.to_owned(),
        };
        format!("{{ path = {} }}", toml::Value::String(path))
    }

    /// Where the SDK is, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Given(path) => format!("It uses {CRATE} from {} (--sdk).", path.display()),
            Self::OfSources(path) => {
                format!("It uses {CRATE} from {}, beside the sources of this program.", path.display())
            }
            Self::Copied => format!("It has a copy of the SDK in {CRATE}."),
        }
    }

    /// Files of the SDK that belong to the project.
    pub fn files(&self) -> Vec<(String, String)> {
        match self {
            Self::Given(_) | Self::OfSources(_) => Vec::new(),
            Self::Copied => FILES
                .iter()
                .map(|(path, text)| {
                    let of_manifest =
                        |text: String, (inherited, own): &(&str, &str)| text.replace(inherited, own);
                    let text = match path.ends_with("Cargo.toml") {
                        true => INHERITED.iter().fold((*text).to_owned(), of_manifest),
                        false => (*text).to_owned(),
                    };
                    (format!("{CRATE}/{path}"), text)
                })
                .collect(),
        }
    }
}

fn is_sdk(folder: &Path) -> bool {
    let manifest = read_manifest(folder);
    manifest.and_then(|keys| Some(keys.get("package")?.get("name")?.as_str()? == CRATE)).unwrap_or(false)
}

/// The Cargo.toml of a folder, if it has a valid one.
pub fn read_manifest(folder: &Path) -> Option<toml::Table> {
    regular_file::read_to_string(&folder.join("Cargo.toml")).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    #[test]
    fn the_sdk_is_the_given_one_or_the_one_beside_the_sources_or_a_copy() {
        let path = Path::new(OF_SOURCES);
        let real = path.canonicalize().unwrap();
        assert!(matches!(Sdk::find(Some(path), false), Ok(Sdk::Given(found)) if found == real));
        assert!(matches!(Sdk::find(None, false), Ok(Sdk::OfSources(found)) if found == real));
        assert!(matches!(Sdk::find(None, true), Ok(Sdk::Copied)));
        assert!(Sdk::find(Some(Path::new(env!("CARGO_MANIFEST_DIR"))), false).is_err());
        assert_eq!(Sdk::Given(r#"/a "b"/c"#.into()).dependency(), r#"{ path = '/a "b"/c' }"#);
        assert_eq!(Sdk::Copied.dependency(), r#"{ path = "callsign-plugin" }"#);
    }

    /// Files below the folder, relative to the SDK.
    fn sources(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("the sources are there").map(Result::unwrap) {
            let path = entry.path();
            match path.is_dir() {
                true => sources(&path, found),
                false => {
                    _ = found.insert(path.strip_prefix(OF_SOURCES).unwrap().to_string_lossy().into_owned());
                }
            }
        }
    }

    #[test]
    fn a_copy_has_all_sources_and_needs_no_workspace() {
        let mut wanted: BTreeSet<String> =
            ["Cargo.toml", "include/callsign.h", "macros/Cargo.toml"].map(str::to_owned).into();
        for folder in ["src", "macros/src"] {
            sources(&Path::new(OF_SOURCES).join(folder), &mut wanted);
        }
        assert_eq!(FILES.iter().map(|(path, _)| (*path).to_owned()).collect::<BTreeSet<_>>(), wanted);

        let workspace = read_manifest(&Path::new(OF_SOURCES).join("..")).expect("there is a workspace");
        let package = &workspace["workspace"]["package"];
        let files = Sdk::Copied.files();
        let manifests = files.iter().filter(|(path, _)| path.ends_with("Cargo.toml"));
        for (path, text) in manifests.clone() {
            assert!(!text.contains("workspace"), "{path}: {text}");
            let manifest: toml::Table = text.parse().expect("valid TOML");
            for key in ["version", "edition", "rust-version", "license"] {
                assert_eq!(manifest["package"][key], package[key], "{path}: {key}");
            }
        }
        assert_eq!(manifests.count(), 2);
    }
}
