//! Turns addresses into functions and lines, with the debug information of the program and its plugins. Addresses and
//! file names come from a dead worker and are untrusted, as is the content of the files. An address that cannot be
//! resolved stays a number.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use addr2line::gimli::{Dwarf, EndianSlice, RunTimeEndian, SectionId};
use addr2line::{Context, demangle_auto};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use crate::config::regular_file;
use crate::system::sanitize::sanitize_line;
use crate::system::scoreboard::{Crash, Module};

/// Bytes of a file, debug information included. Larger files are not read.
const MAX_FILE: u64 = 512 * 1024 * 1024;
/// Most lines of a report.
const MAX_LINES: usize = 64;
/// Most functions inlined into each other at one address.
const MAX_INLINED: usize = 16;
/// Most characters of the name of a function or file.
const MAX_NAME: usize = 300;
/// The callers of every callback: where the host calls a plugin, and where the plugin API takes the call. A report ends
/// there. Inlined functions are recognized by their file.
const CALLERS: [&str; 11] = [
    "callsign::plugin::call::",
    "callsign::plugin::deferred::",
    "callsign::plugin::hooks::",
    "callsign::plugin::library::",
    "libloading::",
    "plugin/deferred.rs",
    "plugin/hooks.rs",
    "plugin/library.rs",
    "callsign_plugin::boundary::entry::",
    "plugin/call.rs",
    "src/boundary/entry.rs",
];
/// Functions that the compiler puts between a caller and the closure or function that it calls.
const GLUE: &str = "library/core/src/ops/function.rs";

/// The call stack, innermost call first, one line for each call: `  2  chat::message at src/lib.rs:71 (libchat.so)`. It
/// ends where the host called the plugin.
///
/// Reads the files of all modules on the stack, which can take hundreds of milliseconds: do not call it on an event
/// loop.
pub fn describe(crash: &Crash) -> Vec<String> {
    let mut calls: Vec<Vec<Call>> =
        crash.frames.iter().map(|&address| vec![Call::unknown(address)]).collect();
    for module in &crash.modules {
        let inside = (0..calls.len()).filter(|&i| (module.start..module.end).contains(&crash.frames[i]));
        // All addresses but the first are return addresses, which may be in the next line or even the next function.
        let inside: Vec<(usize, u64)> = inside
            .map(|i| (i, crash.frames[i].wrapping_sub(module.bias).wrapping_sub((i > 0).into())))
            .collect();
        if inside.is_empty() {
            continue;
        }
        for &(i, offset) in &inside {
            calls[i] = vec![Call { library: file_name(module), offset, ..Call::default() }];
        }
        // The parsers are made for untrusted files, but a bug in one must not end the parent.
        let found = catch_unwind(AssertUnwindSafe(|| look_up(module, &inside)));
        for (i, found) in found.ok().flatten().into_iter().flatten() {
            calls[i] = found;
        }
    }
    let mut calls: Vec<Call> =
        calls.into_iter().flatten().take_while(|call| !call.mentions(&CALLERS)).collect();
    while calls.last().is_some_and(|call| call.mentions(&[GLUE])) {
        calls.pop();
    }
    number(calls.iter().map(Call::to_string))
}

fn number(calls: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for call in calls {
        match lines.last_mut() {
            Some((last, times)) if *last == call => *times += 1,
            _ => lines.push((call, 1)),
        }
    }
    let line = |(n, (call, times))| match times {
        1 => format!("{n:3}  {call}"),
        _ => format!("{n:3}  {call}, {times} times"),
    };
    (1..).zip(lines).take(MAX_LINES).map(line).collect()
}

/// One line of a report.
#[derive(Default)]
struct Call {
    function: Option<String>,
    /// File and line.
    location: Option<String>,
    library: String,
    /// In the library. Without a library: the address in memory.
    offset: u64,
}

impl Call {
    fn unknown(address: u64) -> Self {
        Self { offset: address, ..Self::default() }
    }

    /// Whether the function begins with one of these names, or the location contains one.
    fn mentions(&self, names: &[&str]) -> bool {
        let (function, location) =
            (self.function.as_deref().unwrap_or_default(), self.location.as_deref().unwrap_or_default());
        names.iter().any(|name| function.starts_with(name) || location.contains(name))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, location, library, offset } = self;
        match (function, location) {
            _ if library.is_empty() => write!(f, "{offset:#x} (in no known library)"),
            (Some(function), Some(location)) => write!(f, "{function} at {location} ({library})"),
            (Some(function), None) => write!(f, "{function} ({library}+{offset:#x})"),
            (None, Some(location)) => write!(f, "{location} ({library}+{offset:#x})"),
            (None, None) => write!(f, "{library}+{offset:#x}"),
        }
    }
}

fn file_name(module: &Module) -> String {
    let name = Path::new(&module.path).file_name().unwrap_or(module.path.as_ref());
    tidy(name.to_string_lossy())
}

/// The calls at each of these offsets. None: the file cannot be read or parsed.
fn look_up(module: &Module, offsets: &[(usize, u64)]) -> Option<Vec<(usize, Vec<Call>)>> {
    let bytes = read(Path::new(&module.path))?;
    let file = object::File::parse(&*bytes).ok()?;
    let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    let section = |id: SectionId| {
        let data = file.section_by_name(id.name()).and_then(|section| section.data().ok());
        Ok::<_, addr2line::gimli::Error>(EndianSlice::new(data.unwrap_or_default(), endian))
    };
    let context = Dwarf::load(section).and_then(Context::from_dwarf).ok();
    let calls = offsets.iter().map(|&(i, offset)| {
        let library = file_name(module);
        let mut calls = context.as_ref().map(|context| lines(context, &library, offset)).unwrap_or_default();
        if calls.is_empty() {
            calls.push(Call { library, offset, ..Call::default() });
        }
        // Without debug information, the symbol table may still know the function.
        if let Some(outermost) = calls.last_mut().filter(|call| call.function.is_none()) {
            outermost.function = symbol(&file, offset).map(|name| tidy(demangle_auto(name.into(), None)));
        }
        (i, calls)
    });
    Some(calls.collect())
}

/// The calls at an offset according to the debug information, inlined functions first.
fn lines(context: &Context<EndianSlice<'_, RunTimeEndian>>, library: &str, offset: u64) -> Vec<Call> {
    let mut calls = Vec::new();
    let Ok(mut frames) = context.find_frames(offset).skip_all_loads() else { return calls };
    while let Ok(Some(frame)) = frames.next()
        && calls.len() < MAX_INLINED
    {
        let function = frame.function.and_then(|function| Some(tidy(function.demangle().ok()?)));
        let location = frame.location.and_then(|location| {
            let line = location.line.map(|line| format!(":{line}")).unwrap_or_default();
            Some(tidy(shortened(location.file?)) + &line)
        });
        if function.is_some() || location.is_some() {
            calls.push(Call { function, location, library: library.to_owned(), offset });
        }
    }
    calls
}

/// The symbol of the function that contains an offset.
fn symbol<'data>(file: &object::File<'data>, offset: u64) -> Option<&'data str> {
    let functions = file.symbols().chain(file.dynamic_symbols()).filter(|symbol| {
        let size = symbol.size().max(1);
        symbol.kind() == SymbolKind::Text
            && symbol.is_definition()
            && offset.checked_sub(symbol.address()).is_some_and(|distance| distance < size)
    });
    functions.max_by_key(|symbol| symbol.address())?.name().ok()
}

/// Reads a regular file. The path comes from a worker, and may lead to anything at any time.
fn read(path: &Path) -> Option<Vec<u8>> {
    let file = regular_file::open(path).ok()?;
    if file.metadata().ok()?.len() > MAX_FILE {
        return None;
    }
    let mut bytes = Vec::new();
    // Not mapped: if the file were truncated meanwhile, access would raise SIGBUS in the parent.
    file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The path relative to the working directory, for files below it; `library/…` for the standard library.
fn shortened(file: &str) -> Cow<'_, str> {
    if let Some((_commit, file)) = file.strip_prefix("/rustc/").and_then(|rest| rest.split_once('/')) {
        return file.into();
    }
    let folder = std::env::current_dir().unwrap_or_default();
    Path::new(file).strip_prefix(folder).map_or(file.into(), Path::to_string_lossy)
}

fn tidy(name: Cow<'_, str>) -> String {
    sanitize_line(&name).chars().take(MAX_NAME).collect()
}
