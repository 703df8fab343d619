//! `[sandbox]`.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::walk::Section;
use super::{boolean, text};
use crate::config::sandbox::{SandboxLevel, SandboxSettings};

pub(super) const SANDBOX_KEYS: &[&str] = &["level", "read", "write", "execute", "network", "system_calls"];

/// Reads the section. Paths are joined to `folder`. None: the file does not have it.
pub(super) fn sandbox(section: &Section, folder: &Path) -> anyhow::Result<Option<SandboxSettings>> {
    if SANDBOX_KEYS.iter().all(|key| section.get(key).is_none()) {
        return Ok(None);
    }
    let paths = |key| section.list(key, |value| Ok(folder.join(path(value)?)));
    Ok(Some(SandboxSettings {
        level: section.value("level", |value| SandboxLevel::parse(text(value)))?.unwrap_or_default(),
        read: paths("read")?.unwrap_or_default(),
        write: paths("write")?.unwrap_or_default(),
        execute: paths("execute")?.unwrap_or_default(),
        network: section.value("network", boolean)?.unwrap_or_default(),
        system_calls: section.list("system_calls", system_call)?.unwrap_or_default(),
    }))
}

fn path(value: &DeValue) -> Result<PathBuf, String> {
    match text(value) {
        "" => Err("expected the path of a file or folder".to_owned()),
        path => Ok(path.into()),
    }
}

/// The name is looked up when the server starts.
fn system_call(value: &DeValue) -> Result<String, String> {
    match text(value) {
        "" => Err(r#"expected the name of a system call, such as "ptrace""#.to_owned()),
        name => Ok(name.to_owned()),
    }
}
