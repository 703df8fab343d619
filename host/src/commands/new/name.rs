//! Names of plugin projects: those that both cargo and the server accept.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::config::plan::is_plugin_name;

/// Keywords of Rust, crates of the standard library, folders of cargo, and the SDK.
const RESERVED: &[&str] = &[
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

/// Returns the last component of the path, if it is a valid name.
pub fn from_folder(folder: &Path) -> Result<String> {
    let name = folder
        .file_name()
        .with_context(|| format!("{} does not end with a name for the plugin", folder.display()))?
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
    if RESERVED.contains(&name.as_str()) {
        bail!("a plugin cannot be called `{name}`, a word that Rust or cargo has taken; choose another name");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_and_the_server_accept_the_name() {
        for good in ["chat", "my-chat", "Chat_2", "plugins/chat", "../chat/", &"c".repeat(63)] {
            assert!(from_folder(Path::new(good)).is_ok(), "{good}");
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
            assert!(from_folder(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
