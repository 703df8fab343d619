//! `callsign new`: makes the project of a plugin, in Rust or C, that builds and passes its own test. Overwrites
//! nothing.

#![forbid(unsafe_code)]

mod name; // what a plugin may be called

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail};
use callsign_plugin::C_HEADER;

use crate::cli::NewOptions;

/// Beside the sources of this program, if they are still where they were when it was built.
const SDK_OF_SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin-api");
const SDK: &str = "callsign-plugin";

const RUST: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("rust/Cargo.toml.in")),
    ("src/lib.rs", include_str!("rust/lib.rs.in")),
    ("src/page.html", include_str!("rust/page.html.in")),
    ("callsign.toml", include_str!("callsign.toml.in")),
    ("README.md", include_str!("rust/README.md.in")),
    (".gitignore", include_str!("rust/gitignore.in")),
];
const C: &[(&str, &str)] = &[
    ("{{name}}.c", include_str!("c/plugin.c.in")),
    ("test.c", include_str!("c/test.c.in")),
    ("Makefile", include_str!("c/Makefile.in")),
    ("callsign.toml", include_str!("callsign.toml.in")),
    ("README.md", include_str!("c/README.md.in")),
    (".gitignore", include_str!("c/gitignore.in")),
];

/// Makes it. Answers what there is to say: where it is, and what to type next.
pub fn make(options: &NewOptions) -> Result<String> {
    let folder = &options.path;
    let name = name::of(folder)?;
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = parent.canonicalize().ok().filter(|parent| parent.is_dir()).with_context(|| {
        format!("there is no folder {} to make {name} in; make it first", parent.display())
    })?;
    let sdk = if options.c { None } else { Some(Sdk::find(options.sdk.as_deref())?) };
    let library = match options.c {
        true => format!("{name}.so"),
        false => format!("target/release/{DLL_PREFIX}{}{DLL_SUFFIX}", name.replace('-', "_")),
    };
    // Else cargo would take it for a part of the workspace around it.
    let workspace = if is_in_workspace(&parent) {
        "\n# Not a part of the workspace around it.\n[workspace]\n"
    } else {
        ""
    };
    let fill = |text: &str| {
        text.replace("{{name}}", &name)
            .replace("{{library}}", &library)
            .replace("{{dependency}}", &sdk.as_ref().map(Sdk::dependency).unwrap_or_default())
            .replace("{{workspace}}\n", workspace)
    };
    let mut files: Vec<_> =
        if options.c { C } else { RUST }.iter().map(|(name, text)| (fill(name), fill(text))).collect();
    if options.c {
        files.push(("callsign.h".to_owned(), C_HEADER.to_owned()));
    }
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} is there already, and is left as it is; choose another name", folder.display())
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot make the folder {}", folder.display()));
        }
    }
    if let Err(error) = write(folder, &files) {
        // All that is in there is ours.
        let _ = fs::remove_dir_all(folder);
        return Err(error);
    }
    Ok(said(&name, folder, sdk.as_ref()))
}

fn write(folder: &Path, files: &[(String, String)]) -> Result<()> {
    for (name, text) in files {
        let file = folder.join(name);
        file.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&file, text))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn said(name: &str, folder: &Path, sdk: Option<&Sdk>) -> String {
    let program = program();
    let (language, test, source) = match sdk {
        Some(_) => ("Rust", "cargo test", "src/lib.rs".to_owned()),
        None => ("C", "make test", format!("{name}.c")),
    };
    let uses = match sdk {
        Some(Sdk::Given(path)) => format!("It uses {SDK} from {} (--sdk).\n", path.display()),
        Some(Sdk::OfSources(path)) => {
            format!("It uses {SDK} from {}, beside the sources of this program.\n", path.display())
        }
        Some(Sdk::Published) => format!(
            "It uses {SDK} {} as published; with a copy of its sources, use --sdk.\n",
            env!("CARGO_PKG_VERSION")
        ),
        None => "It has its own copy of callsign.h.\n".to_owned(),
    };
    let folder = quoted(&folder.to_string_lossy());
    format!(
        "Made the plugin {name}, in {language}, in {folder}.\n{uses}\nNext:\n  cd {folder}\n  {test}\n  {program} dev .\n\n\
         Then open the page that it serves, and change {source}: what you save is what answers.\n"
    )
}

/// Where the Rust SDK comes from.
enum Sdk {
    Given(PathBuf),
    OfSources(PathBuf),
    Published,
}

impl Sdk {
    fn find(given: Option<&Path>) -> Result<Self> {
        if let Some(path) = given {
            if !is_sdk(path) {
                bail!("{} is not the folder of the crate `{SDK}` (--sdk)", path.display());
            }
            return Ok(Self::Given(path.canonicalize()?));
        }
        let of_sources = Path::new(SDK_OF_SOURCES);
        match of_sources.canonicalize() {
            Ok(path) if is_sdk(&path) => Ok(Self::OfSources(path)),
            _ => Ok(Self::Published),
        }
    }

    /// As a manifest says it.
    fn dependency(&self) -> String {
        match self {
            Self::Given(path) | Self::OfSources(path) => {
                format!("{{ path = {} }}", toml::Value::String(path.to_string_lossy().into_owned()))
            }
            Self::Published => format!("\"{}\"", env!("CARGO_PKG_VERSION")),
        }
    }
}

fn is_sdk(folder: &Path) -> bool {
    let manifest = read_manifest(folder);
    manifest.and_then(|it| Some(it.get("package")?.get("name")?.as_str()? == SDK)).unwrap_or(false)
}

fn is_in_workspace(folder: &Path) -> bool {
    folder
        .ancestors()
        .any(|folder| read_manifest(folder).is_some_and(|manifest| manifest.contains_key("workspace")))
}

fn read_manifest(folder: &Path) -> Option<toml::Table> {
    fs::read_to_string(folder.join("Cargo.toml")).ok()?.parse().ok()
}

/// This program, as it can be typed: by its name if that is the one that a shell finds.
fn program() -> String {
    let Ok(this) = std::env::current_exe() else { return "callsign".to_owned() };
    let found = std::env::var_os("PATH").and_then(|path| {
        let mut programs = std::env::split_paths(&path).map(|folder| folder.join("callsign"));
        programs.find(|program| program.is_file())?.canonicalize().ok()
    });
    if found.is_some() && found == this.canonicalize().ok() {
        return "callsign".to_owned();
    }
    quoted(&this.to_string_lossy())
}

/// For a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./+:@%".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_is_the_given_one_or_that_of_the_sources_or_the_published_one() {
        let path = Path::new(SDK_OF_SOURCES);
        let real = path.canonicalize().unwrap();
        assert!(matches!(Sdk::find(Some(path)), Ok(Sdk::Given(found)) if found == real));
        assert!(matches!(Sdk::find(None), Ok(Sdk::OfSources(found)) if found == real));
        assert!(Sdk::find(Some(Path::new(env!("CARGO_MANIFEST_DIR")))).is_err());
        assert_eq!(Sdk::Given(r#"/a "b"/c"#.into()).dependency(), r#"{ path = '/a "b"/c' }"#);
        assert_eq!(Sdk::Published.dependency(), format!("\"{}\"", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn a_path_is_quoted_for_the_shell_if_it_must_be() {
        assert_eq!(quoted("plugins/my-chat"), "plugins/my-chat");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
    }
}
