//! The contents of a library file: descriptor, handlers with their kinds, exported functions. A path enters, an
//! [`Image`] leaves, or an error that says what the file is instead.
//!
//! Invariant: the file is untrusted and only read. No code from it runs, so a broken or hostile file does no harm here.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use callsign_plugin::abi;
use object::{Object, ObjectKind, ObjectSection, ObjectSymbol, ReadCache, RelocationTarget, SymbolKind};

use super::cpp::is_mangled;
use super::dynamic::Dynamic;
use super::handler::Kind;
use super::unique::Unique;
use crate::config::nearest::nearest;
use crate::config::plan::is_plugin_name;
use crate::config::regular_file;

/// A library that exports a descriptor of our ABI.
#[derive(Clone, Debug)]
pub struct Image {
    /// From the descriptor; from the file's name if the descriptor has none.
    pub name: String,
    /// From the descriptor; may be empty.
    pub version: String,
    /// Major and minor version of the ABI that the plugin was built with.
    pub abi: (u16, u16),
    /// Sorted by name.
    pub handlers: Vec<(String, Kind)>,
    /// Other exported functions. A plain C plugin exports its handlers like this.
    pub functions: Vec<String>,
    pub dynamic: Dynamic,
    pub unique: Unique,
    /// Whether calls of the library need the guard that it exports ([`abi::Guard`]).
    pub has_guard: bool,
    /// Exported functions that the library refers to by name, so that the loader may choose another of that name.
    pub by_name: Vec<String>,
    /// Whether the library asks the loader where it is (`dladdr`).
    pub locates_itself: bool,
}

impl Image {
    /// Reads the file.
    ///
    /// # Errors
    /// Says what is wrong with the file and what to do. The caller adds the file's name.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_from(&open_library(path)?, path)
    }

    /// Whether the library has a handler of that name and kind, or a plain function of that name.
    pub fn exports(&self, name: &str, kind: Kind) -> bool {
        self.handlers.iter().any(|(other, its_kind)| other == name && *its_kind == kind)
            || self.functions.iter().any(|other| other == name)
    }

    /// Reads an open file, with the errors of [`read`](Self::read). `path` only supplies the name of a plugin whose
    /// descriptor has none.
    pub fn read_from(library: &File, path: &Path) -> Result<Self> {
        // Reads on demand: most of a file with debug information is not needed.
        let bytes = ReadCache::new(library);
        let file = object::File::parse(&bytes).map_err(|_| not_a_library(library))?;
        if file.architecture() != native() {
            bail!(
                "built for {:?}, this host runs on {:?}; build it for this machine",
                file.architecture(),
                native()
            );
        }
        if file.kind() != ObjectKind::Dynamic {
            let found = match file.kind() {
                ObjectKind::Relocatable => "an object file (.o)",
                ObjectKind::Executable => "a program",
                _ => "a file of another kind",
            };
            bail!("{found}, not a shared library; {EXPECTED}");
        }
        let symbols = Symbols::of(&file);
        let descriptor = symbols.data(abi::PLUGIN_SYMBOL, HEAD + abi::NAME_SIZE + abi::VERSION_SIZE);
        // A position-independent program looks like a library, except that it names its loader.
        if descriptor.is_none() && file.section_by_name(".interp").is_some() {
            bail!("a program, not a shared library; {EXPECTED}");
        }
        let descriptor = descriptor
            .with_context(|| format!("no plugin descriptor (symbol `callsign_plugin`); {DESCRIBE}"))?;
        let (name, version, abi) = read_descriptor(&descriptor)?;
        let name = if name.is_empty() { name_of(path) } else { name };
        if !is_plugin_name(&name) {
            bail!(
                "the plugin's name `{}` is not 1 to 63 letters, digits, `-`, `_` and `.`; rename it",
                name.escape_debug()
            );
        }
        let (handlers, functions, dynamic) = (symbols.handlers()?, symbols.functions(), Dynamic::of(&file));
        let locates_itself =
            file.dynamic_symbols().any(|symbol| symbol.is_undefined() && symbol.name() == Ok("dladdr"));
        let (has_guard, by_name) =
            (symbols.data(abi::GUARD_SYMBOL, size_of::<abi::Guard>()).is_some(), symbols.by_name());
        Ok(Self {
            name,
            version,
            abi,
            handlers,
            functions,
            dynamic,
            unique: Unique::of(&file),
            has_guard,
            by_name,
            locates_itself,
        })
    }
}

/// What to do about a library without a valid descriptor.
const DESCRIBE: &str = "add `callsign_plugin::plugin!();` to the library, or in C, with callsign.h, `CALLSIGN_PLUGIN(\"name\", \"version\");`";

/// What to do about a file that is not a shared library.
const EXPECTED: &str = "build one (crate-type cdylib, in C -shared) and pass that";

/// Opens a library, with the errors of [`Image::read`].
pub fn open_library(path: &Path) -> Result<File> {
    regular_file::open(path).map_err(|error| unreadable(path, error))
}

/// Bytes that are read of a file to find out which other kind of file it is.
const BEGINNING: u64 = 64 * 1024;

fn not_a_library(mut file: &File) -> anyhow::Error {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.take(BEGINNING).read_to_end(&mut bytes));
    let bytes = match read {
        Ok(_) if bytes.is_empty() => return anyhow!("the file is empty; is the build still writing it?"),
        Ok(_) => bytes,
        Err(error) => return anyhow::Error::new(error).context("cannot be read"),
    };
    // The last character may be truncated, which is not an error.
    let is_utf8 = !std::str::from_utf8(&bytes).is_err_and(|error| error.error_len().is_some());
    let is_text = is_utf8 && !bytes.contains(&0);
    match bytes.first_chunk() {
        Some(b"\x7fELF") => anyhow!("the file is damaged or cut short; is the build still writing it?"),
        Some(b"!<ar") => anyhow!("a static library (.a), not a shared one; {EXPECTED}"),
        _ if is_text => anyhow!("a text file, not a shared library; {EXPECTED}"),
        _ => anyhow!("a file of another format, not a shared library; {EXPECTED}"),
    }
}

fn unreadable(path: &Path, error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => {}
        ErrorKind::IsADirectory => {
            return anyhow!(
                "a folder, not a shared library; `callsign dev FOLDER` builds a plugin and serves it"
            );
        }
        _ => return anyhow::Error::new(error).context("cannot be read"),
    }
    let wanted = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = fs::read_dir(folder) else {
        return anyhow!("no such file, nor folder; build it, or fix the path");
    };
    let mut names: Vec<_> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    // A dangling link appears under the wanted name. Other files are nobody's business: this process may be root, and
    // who reads the message may not be able to list the folder.
    names.retain(|name| *name != wanted && (name.contains(".so") || name.contains(".dylib")));
    names.sort();
    match nearest(&wanted, names.iter().map(String::as_str)) {
        Some(near) => anyhow!("no such file; did you mean `{near}`? Build it, or fix the path"),
        None => anyhow!("no such file; build it, or fix the path"),
    }
}

/// Size of magic, ABI version and struct_size, which precede the name.
const HEAD: usize = 16;

fn read_descriptor(bytes: &[u8]) -> Result<(String, String, (u16, u16))> {
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    if bytes[..8] != abi::MAGIC.to_le_bytes() {
        bail!(
            "its symbol `callsign_plugin` is no descriptor, which would begin with the bytes `callsign`; {DESCRIBE}"
        );
    }
    let (major, minor) = (u16_at(8), u16_at(10));
    if major != abi::ABI_MAJOR {
        bail!(
            "built for ABI {major}.{minor}, this host has ABI {}.{}; rebuild the plugin with the SDK of this host",
            abi::ABI_MAJOR,
            abi::ABI_MINOR
        );
    }
    let size = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) as usize;
    if size < size_of::<abi::Plugin>() {
        bail!(
            "its descriptor has {size} bytes, that of ABI {major}.0 has {}; {DESCRIBE}",
            size_of::<abi::Plugin>()
        );
    }
    let text = |field: &[u8]| -> Result<String> {
        let end =
            field.iter().position(|&b| b == 0).context("a name in the descriptor has no NUL at its end")?;
        Ok(std::str::from_utf8(&field[..end]).context("a name in the descriptor is not UTF-8")?.to_owned())
    };
    let (name, rest) = bytes[HEAD..].split_at(abi::NAME_SIZE);
    Ok((text(name)?, text(&rest[..abi::VERSION_SIZE])?, (major, minor)))
}

/// The plugin name of a file: `chat` for `libchat.so.1`.
fn name_of(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = file.split('.').next().unwrap_or_default();
    stem.strip_prefix("lib").unwrap_or(stem).to_owned()
}

type Bytes<'f> = &'f ReadCache<&'f File>;
type Symbol<'f> = object::Symbol<'f, 'f, Bytes<'f>>;

/// The symbols that a library defines and exports.
struct Symbols<'f> {
    file: &'f object::File<'f, Bytes<'f>>,
    list: Vec<(String, Symbol<'f>)>,
}

impl<'f> Symbols<'f> {
    fn of(file: &'f object::File<'f, Bytes<'f>>) -> Self {
        // Mach-O puts an underscore before each C name and has no separate dynamic table.
        let mach = file.format() == object::BinaryFormat::MachO;
        let keep = |symbol: &Symbol<'f>| symbol.is_definition() && symbol.is_global();
        let named = |symbol: Symbol<'f>| {
            let name = symbol.name().ok()?;
            let name = if mach { name.strip_prefix('_')? } else { name };
            Some((name.to_owned(), symbol))
        };
        let mut list: Vec<_> = if mach {
            file.symbols().filter(keep).filter_map(named).collect()
        } else {
            file.dynamic_symbols().filter(keep).filter_map(named).collect()
        };
        list.sort_by(|a, b| a.0.cmp(&b.0));
        Self { file, list }
    }

    /// The first `length` bytes of a data symbol, as they are in the file.
    fn data(&self, name: &str, length: usize) -> Option<Vec<u8>> {
        let at = self.list.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
        let symbol = &self.list[at].1;
        let section = self.file.section_by_index(symbol.section_index()?).ok()?;
        Some(section.data_range(symbol.address(), length as u64).ok()??.to_vec())
    }

    fn handlers(&self) -> Result<Vec<(String, Kind)>> {
        let names = self.list.iter().filter_map(|(symbol, _)| symbol.strip_prefix(abi::HANDLER_PREFIX));
        names
            .map(|name| {
                let head = self.data(&format!("{}{name}", abi::HANDLER_PREFIX), 8);
                let head = head.with_context(|| format!("handler `{name}` is not in the file's data"))?;
                let code = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
                let kind = Kind::from_code(code).with_context(|| {
                    let (major, minor) = (abi::ABI_MAJOR, abi::ABI_MINOR);
                    format!("handler `{name}` is of kind {code}, which this host (ABI {major}.{minor}) does not know; use a later host")
                })?;
                Ok((name.to_owned(), kind))
            })
            .collect()
    }

    /// The functions that relocations refer to.
    fn by_name(&self) -> Vec<String> {
        let relocations = self.file.dynamic_relocations().into_iter().flatten();
        let targets: HashSet<_> = relocations
            .filter_map(|(_, relocation)| match relocation.target() {
                RelocationTarget::Symbol(index) => Some(index),
                _ => None,
            })
            .collect();
        let is_meant =
            |symbol: &Symbol<'f>| symbol.kind() == SymbolKind::Text && targets.contains(&symbol.index());
        self.list.iter().filter(|(_, symbol)| is_meant(symbol)).map(|(name, _)| name.clone()).collect()
    }

    fn functions(&self) -> Vec<String> {
        let text = self.list.iter().filter(|(_, symbol)| symbol.kind() == SymbolKind::Text);
        text.filter(|(name, _)| !matches!(name.as_str(), "_init" | "_fini"))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

fn native() -> object::Architecture {
    match std::env::consts::ARCH {
        "x86_64" => object::Architecture::X86_64,
        "aarch64" => object::Architecture::Aarch64,
        "arm" => object::Architecture::Arm,
        "x86" => object::Architecture::I386,
        "riscv64" => object::Architecture::Riscv64,
        _ => object::Architecture::Unknown,
    }
}

/// `onmessage message, onrequest page`
impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, kind)) in self.handlers.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{kind} {name}")?;
        }
        for (i, name) in self.functions.iter().enumerate() {
            let comma = if i == 0 && self.handlers.is_empty() { "" } else { ", " };
            match is_mangled(name) {
                true => write!(f, "{comma}{name} (a C++ function without extern \"C\")")?,
                false => write!(f, "{comma}{name} (a plain function)")?,
            }
        }
        Ok(())
    }
}
