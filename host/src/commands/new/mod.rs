//! `callsign new`: creates a plugin project in Rust or C that builds and passes its own test. Never overwrites a file.

mod name; // valid names

mod sdk; // the Rust SDK of the project

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail};
use callsign_plugin::C_HEADER;
use clap::Args;

use sdk::{Sdk, read_manifest};

// File name and content of each file, with `{{placeholders}}`.
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

/// Options of `new`.
#[derive(Debug, Clone, Args)]
pub struct NewOptions {
    /// Name of the plugin and of its new folder, or a path that ends with the name
    ///
    /// 1 to 63 letters, digits, `-` and `_`. The first is a letter.
    #[arg(value_name = "NAME")]
    path: PathBuf,

    /// Create the project in C, with a Makefile
    #[arg(long)]
    c: bool,

    /// Folder of the Rust SDK (plugin-api)
    ///
    /// The crate depends on the SDK in this folder, by absolute path. Without this option, it depends on the SDK beside
    /// the sources that this program was built from. If those sources no longer exist, the project gets a copy, as with
    /// --copy-sdk.
    #[arg(long, value_name = "DIR", conflicts_with = "c")]
    sdk: Option<PathBuf>,

    /// Copy the Rust SDK into the project
    ///
    /// The project gets the SDK of this program in the folder callsign-plugin, and can be built on another machine.
    #[arg(long, conflicts_with_all = ["c", "sdk"])]
    copy_sdk: bool,
}

/// Creates the project, and prints where it is and the next commands.
pub fn run(options: &NewOptions) -> Result<()> {
    let next_steps = create(options)?;
    // The project is created even if the output cannot be written.
    let _ = io::stdout().write_all(next_steps.as_bytes());
    Ok(())
}

fn create(options: &NewOptions) -> Result<String> {
    let folder = &options.path;
    let name = name::from_folder(folder)?;
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = parent.canonicalize().ok().filter(|parent| parent.is_dir()).with_context(|| {
        format!("there is no folder {} for the project {name}; create it first", parent.display())
    })?;
    let sdk = if options.c { None } else { Some(Sdk::find(options.sdk.as_deref(), options.copy_sdk)?) };
    let library = match options.c {
        true => format!("{name}.so"),
        false => format!("target/release/{DLL_PREFIX}{}{DLL_SUFFIX}", name.replace('-', "_")),
    };
    // Otherwise cargo rejects a crate below a workspace that does not list it.
    let workspace = if is_in_workspace(&parent) {
        "\n# This crate is not a member of the workspace above it.\n[workspace]\n"
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
    files.extend(sdk.iter().flat_map(Sdk::files));
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} is there already, and is left as it is; choose another name", folder.display())
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot create the folder {}", folder.display()));
        }
    }
    if let Err(error) = write(folder, &files) {
        // The folder is new and has only files of this project.
        let _ = fs::remove_dir_all(folder);
        return Err(error);
    }
    Ok(next_steps(&name, folder, sdk.as_ref()))
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

fn next_steps(name: &str, folder: &Path, sdk: Option<&Sdk>) -> String {
    let program = program();
    let (language, test, source) = match sdk {
        Some(_) => ("Rust", "cargo test", "src/lib.rs".to_owned()),
        None => ("C", "make test", format!("{name}.c")),
    };
    let dependency = sdk.map_or_else(|| "It has a copy of callsign.h.".to_owned(), Sdk::describe);
    let folder = quoted(&folder.to_string_lossy());
    format!(
        "Created the plugin {name} in {folder}, in {language}. {dependency}\n\n\
         Next:\n  cd {folder}\n  {test}\n  {program} dev .\n\n\
         Then open the page that the server prints, and edit {source}: the server reloads the plugin when you save.\n"
    )
}

fn is_in_workspace(folder: &Path) -> bool {
    folder
        .ancestors()
        .any(|folder| read_manifest(folder).is_some_and(|manifest| manifest.contains_key("workspace")))
}

/// The command that runs this program: its name if a shell finds it in PATH, else its path.
fn program() -> String {
    let Ok(running) = std::env::current_exe() else { return "callsign".to_owned() };
    let in_path = std::env::var_os("PATH").and_then(|path| {
        let mut programs = std::env::split_paths(&path).map(|folder| folder.join("callsign"));
        programs.find(|program| program.is_file())?.canonicalize().ok()
    });
    if in_path.is_some() && in_path == running.canonicalize().ok() {
        return "callsign".to_owned();
    }
    quoted(&running.to_string_lossy())
}

/// Quotes text for a shell, if it needs quotes.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./+:@%".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_for_the_shell_if_needed() {
        assert_eq!(quoted("plugins/my-chat"), "plugins/my-chat");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
    }
}
