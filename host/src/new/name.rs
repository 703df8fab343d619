//! What a plugin's project may be called: what cargo takes for a crate and the server for a plugin.

#![forbid(unsafe_code)]

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::plugin::image::is_plugin_name;

/// Words of Rust, crates that every crate knows, folders of cargo, and the SDK.
const TAKEN: &[&str] = &[
    "Self",
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "callsign-plugin",
    "callsign_plugin",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// The name that a folder gives to what is made in it.
pub fn of(folder: &Path) -> Result<String> {
    let name = folder
        .file_name()
        .with_context(|| format!("{} does not end in a name for the plugin", folder.display()))?
        .to_string_lossy()
        .into_owned();
    let is_crate_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !is_crate_name || !is_plugin_name(&name) {
        bail!(
            "a plugin cannot be called `{}`; it is 1 to 63 letters, digits, `-` and `_`, and begins with a letter",
            name.escape_debug()
        );
    }
    if TAKEN.contains(&name.as_str()) {
        bail!("a plugin cannot be called `{name}`, a word that Rust or cargo has taken; choose another name");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_cargo_and_the_server_take() {
        for good in ["chat", "my-chat", "Chat_2", "plugins/chat", "../chat/", &"c".repeat(63)] {
            assert!(of(Path::new(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "..",
            "/",
            "2chat",
            "-chat",
            "my chat",
            "chat.so",
            "tschüss",
            "fn",
            "std",
            "test",
            &"c".repeat(64),
        ] {
            assert!(of(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
