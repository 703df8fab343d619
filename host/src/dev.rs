//! Builds a plugin's crate with cargo and finds the library that it made.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Runs `cargo build` for the crate in `folder`; its diagnostics go to stderr as cargo writes them.
pub fn build(folder: &Path, release: bool) -> Result<PathBuf> {
    let manifest = folder.join("Cargo.toml");
    // What cargo calls it in its messages.
    let Ok(manifest) = manifest.canonicalize() else {
        bail!(
            "no crate to build: {} is not there; `dev` wants the folder of a plugin's crate",
            manifest.display()
        );
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--message-format=json-render-diagnostics", "--manifest-path"]).arg(&manifest);
    if release {
        command.arg("--release");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo; `dev` builds plugins with it")?;
    let output = child.stdout.take().context("cargo's output is not there to read")?;
    let mut library = None;
    for line in BufReader::new(output).lines() {
        library = artifact(&line?, &manifest).or(library);
    }
    if !child.wait()?.success() {
        bail!("the build of {} failed; cargo says why above", folder.display());
    }
    let library = library.with_context(|| {
        format!(
            "{} builds no shared library; add `[lib]` with `crate-type = [\"cdylib\"]` to it",
            manifest.display()
        )
    })?;
    Ok(relative(library))
}

/// The path from here, if the file is below: shorter to read.
fn relative(path: PathBuf) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).map(Path::to_path_buf).unwrap_or(path)
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
}
