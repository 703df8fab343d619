//! From addresses to functions and lines, with what the files of the program and its plugins say. The addresses
//! and file names are a dead worker's word, and the files may be anything: what cannot be understood stays a
//! number.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use addr2line::gimli::{Dwarf, EndianSlice, RunTimeEndian, SectionId};
use addr2line::{Context, demangle_auto};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use crate::board::{Crash, Module};
use crate::readable::one_line;

/// Bytes of a file that is still read, with its debug information.
const MAX_FILE: u64 = 512 * 1024 * 1024;
/// Lines of a report.
const MAX_LINES: usize = 64;
/// Functions inlined into one another at one address.
const MAX_INLINED: usize = 16;
/// Bytes of a function's or file's name.
const MAX_NAME: usize = 300;
/// From these outwards every callback has the same callers: where the host calls a plugin, and where the SDK
/// takes the call. Inlined functions are known by their file alone.
const CALLERS: [&str; 9] = [
    "callsign::plugin::call::",
    "callsign::plugin::hooks::",
    "callsign::plugin::library::",
    "libloading::",
    "plugin/hooks.rs",
    "plugin/library.rs",
    "callsign_plugin::boundary::entry::",
    "plugin/call.rs",
    "src/boundary/entry.rs",
];
/// What the compiler puts between a caller and a closure or function that it is given.
const GLUE: &str = "library/core/src/ops/function.rs";

/// The call stack, innermost first, a line for each call: `  2  chat::message at src/lib.rs:71 (libchat.so)`.
/// It ends where the host has called the plugin.
///
/// Reads the files of all modules on the stack, which takes from some to some 100 ms: not for an event loop.
pub fn describe(crash: &Crash) -> Vec<String> {
    let mut calls: Vec<Vec<Call>> =
        crash.frames.iter().map(|&address| vec![Call::unknown(address)]).collect();
    for module in &crash.modules {
        let inside = (0..calls.len()).filter(|&i| (module.start..module.end).contains(&crash.frames[i]));
        // All but the first are where a call returns to, which may be the next line or even function.
        let inside: Vec<(usize, u64)> = inside
            .map(|i| (i, crash.frames[i].wrapping_sub(module.bias).wrapping_sub((i > 0).into())))
            .collect();
        if inside.is_empty() {
            continue;
        }
        for &(i, offset) in &inside {
            calls[i] = vec![Call { library: file_name(module), offset, ..Call::default() }];
        }
        // These parsers are made for files from anywhere, but a bug in one must not end the parent.
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
    place: Option<String>,
    library: String,
    /// In the library; without one, in memory.
    offset: u64,
}

impl Call {
    fn unknown(address: u64) -> Self {
        Self { offset: address, ..Self::default() }
    }

    /// Whether its function begins with, or its place contains, one of these.
    fn mentions(&self, names: &[&str]) -> bool {
        let (function, place) =
            (self.function.as_deref().unwrap_or_default(), self.place.as_deref().unwrap_or_default());
        names.iter().any(|name| function.starts_with(name) || place.contains(name))
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, place, library, offset } = self;
        match (function, place) {
            _ if library.is_empty() => write!(f, "{offset:#x} (in no known library)"),
            (Some(function), Some(place)) => write!(f, "{function} at {place} ({library})"),
            (Some(function), None) => write!(f, "{function} ({library}+{offset:#x})"),
            (None, Some(place)) => write!(f, "{place} ({library}+{offset:#x})"),
            (None, None) => write!(f, "{library}+{offset:#x}"),
        }
    }
}

fn file_name(module: &Module) -> String {
    let name = Path::new(&module.path).file_name().unwrap_or(module.path.as_ref());
    tidy(name.to_string_lossy())
}

/// The calls at each of these offsets; None if the file is of no use.
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
        // Without debug information the symbol is all there is.
        if let Some(outermost) = calls.last_mut().filter(|call| call.function.is_none()) {
            outermost.function = symbol(&file, offset).map(|name| tidy(demangle_auto(name.into(), None)));
        }
        (i, calls)
    });
    Some(calls.collect())
}

/// What the debug information knows, inlined functions first.
fn lines(context: &Context<EndianSlice<'_, RunTimeEndian>>, library: &str, offset: u64) -> Vec<Call> {
    let mut calls = Vec::new();
    let Ok(mut frames) = context.find_frames(offset).skip_all_loads() else { return calls };
    while let Ok(Some(frame)) = frames.next()
        && calls.len() < MAX_INLINED
    {
        let function = frame.function.and_then(|function| Some(tidy(function.demangle().ok()?)));
        let place = frame.location.and_then(|location| {
            let line = location.line.map(|line| format!(":{line}")).unwrap_or_default();
            Some(tidy(shortened(location.file?)) + &line)
        });
        if function.is_some() || place.is_some() {
            calls.push(Call { function, place, library: library.to_owned(), offset });
        }
    }
    calls
}

/// The function around an offset.
fn symbol<'data>(file: &object::File<'data>, offset: u64) -> Option<&'data str> {
    let functions = file.symbols().chain(file.dynamic_symbols()).filter(|symbol| {
        let size = symbol.size().max(1);
        symbol.kind() == SymbolKind::Text
            && symbol.is_definition()
            && offset.checked_sub(symbol.address()).is_some_and(|distance| distance < size)
    });
    functions.max_by_key(|symbol| symbol.address())?.name().ok()
}

/// Only a file on a disk: to open a pipe or a device could block, or do things.
fn read(path: &Path) -> Option<Vec<u8>> {
    let metadata = path.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return None;
    }
    let mut bytes = Vec::new();
    // Not mapped: a file that is overwritten meanwhile would be a SIGBUS in the parent.
    File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Relative to where the server was started, for files below it; `library/…` for Rust's own.
fn shortened(file: &str) -> Cow<'_, str> {
    if let Some((_commit, file)) = file.strip_prefix("/rustc/").and_then(|rest| rest.split_once('/')) {
        return file.into();
    }
    let folder = std::env::current_dir().unwrap_or_default();
    Path::new(file).strip_prefix(folder).map_or(file.into(), Path::to_string_lossy)
}

fn tidy(name: Cow<'_, str>) -> String {
    one_line(&name).chars().take(MAX_NAME).collect()
}
