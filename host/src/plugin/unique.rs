//! Unique symbols of an ELF library (binding STB_GNU_UNIQUE). g++ gives this binding to the statics of inline functions
//! and to static members of templates. For each such name the loader keeps one object in the whole process: the new code
//! of a plugin would use the object of the old code, whatever its layout, and two plugins would share theirs.
//!
//! [`Unique::isolate`] makes the symbols weak in a copy of the file. Each library then uses its own object, as if it
//! had been compiled with `-fno-gnu-unique` or by clang. Binding and type of a symbol share one byte of the symbol table,
//! which the loader reads from the file and which nothing else refers to.

use std::fs::File;
use std::mem::offset_of;
use std::path::Path;

use addr2line::demangle_auto;
use object::elf::{STB_GNU_UNIQUE, STB_WEAK, Sym32, Sym64};
use object::read::elf::{ElfFile, FileHeader, SectionHeader, Sym};
use object::{Endianness, ReadCache, ReadRef};

/// The unique symbols of a library.
#[derive(Clone, Debug, Default)]
pub struct Unique {
    /// Offset in the file of the byte with the binding, and the name. Sorted.
    symbols: Vec<(u64, String)>,
}

impl Unique {
    /// Reads the symbols; none if the table is damaged, or the library has another format.
    pub fn of<'f, R: ReadRef<'f>>(file: &object::File<'f, R>) -> Self {
        match file {
            object::File::Elf64(file) => Self::read(file, offset_of!(Sym64<Endianness>, st_info)),
            object::File::Elf32(file) => Self::read(file, offset_of!(Sym32<Endianness>, st_info)),
            _ => None,
        }
        .unwrap_or_default()
    }

    /// The same for a file that may be no library at all.
    pub fn of_path(path: &Path) -> Self {
        let Ok(library) = File::open(path) else { return Self::default() };
        let bytes = ReadCache::new(&library);
        object::File::parse(&bytes).map(|file| Self::of(&file)).unwrap_or_default()
    }

    fn read<'f, Elf: FileHeader, R: ReadRef<'f>>(
        file: &ElfFile<'f, Elf, R>,
        offset_of_info: usize,
    ) -> Option<Self> {
        let (endian, table) = (file.endian(), file.elf_dynamic_symbol_table());
        if table.is_empty() {
            return None;
        }
        let section = file.elf_section_table().section(table.section()).ok()?;
        let start: u64 = section.sh_offset(endian).into();
        let is_unique = |symbol: &Elf::Sym| symbol.st_bind() == STB_GNU_UNIQUE;
        let symbols = table.enumerate().filter(|(_, symbol)| is_unique(symbol)).map(|(index, symbol)| {
            let offset = start + (index.0 * size_of::<Elf::Sym>() + offset_of_info) as u64;
            let name = symbol.name(endian, table.strings()).unwrap_or_default();
            (offset, String::from_utf8_lossy(name).into_owned())
        });
        Some(Self { symbols: symbols.collect() })
    }

    /// The names, as C++ writes them.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.symbols.iter().map(|(_, name)| demangle_auto(name.into(), None).into_owned())
    }

    /// ``1 unique symbol, `room()::r` ``, ``12 unique symbols, such as `room()::r` ``. None: there are none.
    pub fn summary(&self) -> Option<String> {
        // The guard of a static says less than the static.
        let is_guard = |(_, name): &&(u64, String)| name.starts_with("_ZGV");
        let (_, shown) = self.symbols.iter().find(|symbol| !is_guard(symbol)).or(self.symbols.first())?;
        let shown = demangle_auto(shown.into(), None);
        Some(match self.symbols.len() {
            1 => format!("1 unique symbol, `{shown}`"),
            count => format!("{count} unique symbols, such as `{shown}`"),
        })
    }

    /// Makes the symbols weak in a part of the file, which begins at offset `at`.
    pub fn isolate(&self, part: &mut [u8], at: u64) {
        let first = self.symbols.partition_point(|(offset, _)| *offset < at);
        for (offset, _) in &self.symbols[first..] {
            let Some(info) = usize::try_from(offset - at).ok().and_then(|index| part.get_mut(index)) else {
                break;
            };
            if *info >> 4 == STB_GNU_UNIQUE.0 {
                *info = STB_WEAK.0 << 4 | *info & 0xf;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_become_weak_in_whatever_part_of_the_file_they_are() {
        let symbols = [(3, "a"), (4, "b"), (9, "c")].map(|(offset, name)| (offset, name.to_owned()));
        let unique = Unique { symbols: symbols.into() };
        // The byte at 4 is global in the meantime: somebody has written to the file.
        let file = [0xa1, 0xa1, 0xa1, 0xa1, 0x11, 0xa1, 0xa1, 0xa1, 0xa1, 0xa6];
        for size in 1..=file.len() {
            let mut copy = file;
            copy.chunks_mut(size).enumerate().for_each(|(i, part)| unique.isolate(part, (i * size) as u64));
            assert_eq!(copy, [0xa1, 0xa1, 0xa1, 0x21, 0x11, 0xa1, 0xa1, 0xa1, 0xa1, 0x26], "{size}");
        }
    }

    #[test]
    fn the_summary_names_an_object_rather_than_its_guard() {
        let unique =
            |names: &[&str]| Unique { symbols: names.iter().map(|name| (0, (*name).to_owned())).collect() };
        assert_eq!(unique(&[]).summary(), None);
        let both = unique(&["_ZGVZ4roomvE1r", "_ZZ4roomvE1r"]);
        assert_eq!(both.summary().as_deref(), Some("2 unique symbols, such as `room()::r`"));
        assert_eq!(unique(&["plain"]).summary().as_deref(), Some("1 unique symbol, `plain`"));
    }
}
