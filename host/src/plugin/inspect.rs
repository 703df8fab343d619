//! `callsign inspect`: all that a library's file says of itself, as text or JSON. No code of it runs.

use std::fmt;
use std::io::{self, Write};
use std::mem::offset_of;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use callsign_plugin::abi;
use object::{Object, ObjectSection, ObjectSymbol};
use serde::Serialize;

use super::image::Image;
use crate::readable::one_line;

/// What is in a plugin's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The file.
    pub path: PathBuf,
    /// From the descriptor, or from the file's name.
    pub name: String,
    /// From the descriptor; may be empty.
    pub version: String,
    /// That it was built with, `MAJOR.MINOR`.
    pub abi: String,
    /// The processor that it was built for.
    pub architecture: String,
    /// Of its state; 0: not told.
    pub state_version: u32,
    /// Which of the descriptor's hooks it has.
    pub hooks: Vec<String>,
    /// In the order of their names.
    pub handlers: Vec<NamedKind>,
    /// Plain functions that it exports.
    pub functions: Vec<String>,
    /// Libraries that are loaded with it.
    pub needs: Vec<String>,
}

/// A handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedKind {
    /// Its name.
    pub name: String,
    /// `onmessage` and the like.
    pub kind: String,
}

/// Prints what is in the library. Err: it is no plugin that fits this host.
pub fn run(library: &Path, json: bool) -> Result<()> {
    let plugin = || format!("plugin {}", library.display());
    let inspection = Inspection::read(library).with_context(plugin)?;
    let text = if json {
        serde_json::to_string_pretty(&inspection).with_context(plugin)? + "\n"
    } else {
        inspection.to_string()
    };
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

impl Inspection {
    /// Reads the file. Errors as of [`Image::read`].
    pub fn read(path: &Path) -> Result<Self> {
        let Image { name, version, abi: (major, minor), handlers, functions, dynamic } = Image::read(path)?;
        let bytes = std::fs::read(path).context("cannot be read")?;
        let file = object::File::parse(&*bytes).context("has changed while it was read")?;
        let descriptor = Descriptor::find(&file).context("has changed while it was read")?;
        Ok(Self {
            path: path.to_path_buf(),
            name,
            version,
            abi: format!("{major}.{minor}"),
            architecture: format!("{:?}", file.architecture()).to_lowercase(),
            state_version: descriptor.state_version(),
            hooks: HOOKS
                .iter()
                .filter(|(_, at)| descriptor.points(*at))
                .map(|(hook, _)| (*hook).to_owned())
                .collect(),
            handlers: handlers
                .into_iter()
                .map(|(name, kind)| NamedKind { name, kind: kind.to_string() })
                .collect(),
            functions,
            needs: dynamic.needs,
        })
    }
}

/// The descriptor's hooks and where their pointers are in it.
const HOOKS: [(&str, usize); 5] = [
    ("release", offset_of!(abi::Plugin, release)),
    ("save", offset_of!(abi::Plugin, save)),
    ("restore", offset_of!(abi::Plugin, restore)),
    ("save_plugin", offset_of!(abi::Plugin, save_plugin)),
    ("restore_plugin", offset_of!(abi::Plugin, restore_plugin)),
];

/// The descriptor as the file has it, before the loader fills in its pointers.
struct Descriptor<'f> {
    bytes: &'f [u8],
    /// Offsets in it that the loader fills in.
    filled: Vec<u64>,
}

impl<'f> Descriptor<'f> {
    fn find(file: &object::File<'f>) -> Option<Self> {
        let named = |symbol: &object::Symbol<'f, '_>| {
            symbol.is_definition()
                && symbol
                    .name()
                    .is_ok_and(|name| name.strip_prefix('_').unwrap_or(name) == abi::PLUGIN_SYMBOL)
        };
        let symbol = file.dynamic_symbols().find(named).or_else(|| file.symbols().find(named))?;
        let (start, size) = (symbol.address(), size_of::<abi::Plugin>() as u64);
        let section = file.section_by_index(symbol.section_index()?).ok()?;
        let bytes = section.data_range(start, size).ok()??;
        let places = file.dynamic_relocations().into_iter().flatten().map(|(address, _)| address);
        let filled =
            places.filter_map(|address| address.checked_sub(start)).filter(|at| *at < size).collect();
        Some(Self { bytes, filled })
    }

    fn state_version(&self) -> u32 {
        let at = offset_of!(abi::Plugin, state_version);
        self.bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    /// Whether the pointer there is not NULL once the library is loaded. Packed relocations leave what they add to in
    /// its place, the others are listed.
    fn points(&self, at: usize) -> bool {
        let field = &self.bytes[at..][..size_of::<usize>()];
        self.filled.contains(&(at as u64)) || field.iter().any(|&byte| byte != 0)
    }
}

/// Line by line; what the file says can hold anything, and is shown without what moves the cursor.
impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, name, version, abi, architecture, state_version, hooks, handlers, functions, needs } =
            self;
        let space = if version.is_empty() { "" } else { " " };
        writeln!(
            f,
            "plugin {}{space}{} ({})",
            one_line(name),
            one_line(version),
            one_line(&path.to_string_lossy())
        )?;
        let mut line = |what: &str, value: &str| writeln!(f, "  {what:<12}  {}", one_line(value));
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
        for library in needs {
            line("needs", library)?;
        }
        Ok(())
    }
}
