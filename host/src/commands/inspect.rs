//! `callsign inspect`: the content of a plugin's file, as text or JSON. Runs no code of the plugin.

use std::fmt;
use std::io::{Read, Seek};
use std::mem::offset_of;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use callsign_plugin::abi;
use object::{Object, ObjectSection, ObjectSymbol};
use serde::Serialize;

use super::output::print;
use crate::plugin::advice::advice;
use crate::plugin::image::{Image, open_library};
use crate::system::sanitize::sanitize_line;

/// The content of a plugin's file. The fields are the keys of the JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    pub path: PathBuf,
    /// From the descriptor, or from the file's name.
    pub name: String,
    /// From the descriptor; may be empty.
    pub version: String,
    /// `MAJOR.MINOR`.
    pub abi: String,
    /// The processor: `x86_64`.
    pub architecture: String,
    /// Version of the states of connections; 0 if the plugin does not set one.
    pub state_version: u32,
    /// The hooks that are set in the descriptor.
    pub hooks: Vec<String>,
    /// Sorted by name.
    pub handlers: Vec<NamedKind>,
    /// Exported functions that are not declared as handlers.
    pub functions: Vec<String>,
    /// Libraries that the loader loads with the plugin.
    pub needs: Vec<String>,
    /// Symbols with the binding STB_GNU_UNIQUE, as C++ writes their names.
    pub unique: Vec<String>,
    /// Bytes of thread-local data of the initial-exec model.
    pub static_tls: u64,
    /// What reloads and other plugins will meet, as sentences.
    pub advice: Vec<String>,
}

/// A handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedKind {
    pub name: String,
    /// `onmessage`, for example.
    pub kind: String,
}

/// Prints the content of the library. The error says why it is no plugin for this host.
pub fn run(library: &Path, json: bool) -> Result<()> {
    let plugin = || format!("plugin {}", library.display());
    let inspection = Inspection::read(library).with_context(plugin)?;
    let text = if json {
        serde_json::to_string_pretty(&inspection).with_context(plugin)? + "\n"
    } else {
        inspection.to_string()
    };
    print(&text)
}

impl Inspection {
    /// Reads the file, with the errors of [`Image::read`].
    pub fn read(path: &Path) -> Result<Self> {
        let mut library = open_library(path)?;
        let image = Image::read_from(&library, path)?;
        let advice = advice(&image, path);
        let Image { name, version, abi: (major, minor), handlers, functions, dynamic, unique, .. } = image;
        let mut bytes = Vec::new();
        // Reading the image has moved the position.
        library.rewind().and_then(|()| library.read_to_end(&mut bytes)).context("the file cannot be read")?;
        let file = object::File::parse(&*bytes).context("the file changed while it was read")?;
        let descriptor = Descriptor::find(&file).context("the file changed while it was read")?;
        Ok(Self {
            path: path.to_path_buf(),
            name,
            version,
            abi: format!("{major}.{minor}"),
            architecture: format!("{:?}", file.architecture()).to_lowercase(),
            state_version: descriptor.state_version(),
            hooks: HOOKS
                .iter()
                .filter(|(_, offset)| descriptor.is_pointer_set(*offset))
                .map(|(hook, _)| (*hook).to_owned())
                .collect(),
            handlers: handlers
                .into_iter()
                .map(|(name, kind)| NamedKind { name, kind: kind.to_string() })
                .collect(),
            functions,
            needs: dynamic.needs,
            unique: unique.names().collect(),
            static_tls: dynamic.static_tls.unwrap_or(0),
            advice,
        })
    }
}

/// The hooks, with the offsets of their pointers in the descriptor.
const HOOKS: [(&str, usize); 5] = [
    ("release", offset_of!(abi::Plugin, release)),
    ("save", offset_of!(abi::Plugin, save)),
    ("restore", offset_of!(abi::Plugin, restore)),
    ("save_plugin", offset_of!(abi::Plugin, save_plugin)),
    ("restore_plugin", offset_of!(abi::Plugin, restore_plugin)),
];

/// The plugin's descriptor as stored in the file, before the loader relocates its pointers.
struct Descriptor<'f> {
    bytes: &'f [u8],
    /// Offsets of the pointers that the loader relocates.
    relocated: Vec<u64>,
}

impl<'f> Descriptor<'f> {
    fn find(file: &object::File<'f>) -> Option<Self> {
        let is_descriptor = |symbol: &object::Symbol<'f, '_>| {
            symbol.is_definition()
                && symbol
                    .name()
                    .is_ok_and(|name| name.strip_prefix('_').unwrap_or(name) == abi::PLUGIN_SYMBOL)
        };
        let symbol =
            file.dynamic_symbols().find(is_descriptor).or_else(|| file.symbols().find(is_descriptor))?;
        let (start, size) = (symbol.address(), size_of::<abi::Plugin>() as u64);
        let section = file.section_by_index(symbol.section_index()?).ok()?;
        let bytes = section.data_range(start, size).ok()??;
        let addresses = file.dynamic_relocations().into_iter().flatten().map(|(address, _)| address);
        let offsets = addresses.filter_map(|address| address.checked_sub(start));
        Some(Self { bytes, relocated: offsets.filter(|offset| *offset < size).collect() })
    }

    fn state_version(&self) -> u32 {
        let offset = offset_of!(abi::Plugin, state_version);
        self.bytes[offset..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// Whether the pointer is not NULL once the library is loaded: a relocation names it, or its bytes are not zero.
    /// Packed relocations (RELR) are not listed, but store their addend in place.
    fn is_pointer_set(&self, offset: usize) -> bool {
        let field = &self.bytes[offset..][..size_of::<usize>()];
        self.relocated.contains(&(offset as u64)) || field.iter().any(|&byte| byte != 0)
    }
}

/// Escapes control characters: the texts of the file are untrusted.
impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path, name, version, abi, architecture, state_version, hooks, handlers, functions, ..
        } = self;
        let space = if version.is_empty() { "" } else { " " };
        writeln!(
            f,
            "plugin {}{space}{} ({})",
            sanitize_line(name),
            sanitize_line(version),
            sanitize_line(&path.to_string_lossy())
        )?;
        let mut line = |label: &str, value: &str| writeln!(f, "  {label:<12}  {}", sanitize_line(value));
        line("abi", abi)?;
        line("built for", architecture)?;
        if *state_version != 0 {
            line("state", &format!("version {state_version}"))?;
        }
        if !hooks.is_empty() {
            line("hooks", &hooks.join(", "))?;
        }
        for NamedKind { name, kind } in handlers {
            line(kind, name)?;
        }
        for name in functions {
            line("function", name)?;
        }
        for library in &self.needs {
            line("needs", library)?;
        }
        for advice in &self.advice {
            line("note", advice)?;
        }
        Ok(())
    }
}
