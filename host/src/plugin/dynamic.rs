//! The dynamic section of an ELF library: which libraries the loader has to find for it, and where; and what room its
//! thread-local data needs. The file's bytes are untrusted; entries that cannot be read are skipped.

use object::elf::{DF_STATIC_TLS, DT_FLAGS, DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_STRTAB, PT_TLS};
use object::read::elf::ProgramHeader;
use object::{BinaryFormat, Object, ObjectSection, ReadRef};

/// The dynamic section. Empty for a library of another format.
#[derive(Clone, Debug, Default)]
pub struct Dynamic {
    /// Names of the libraries that the library needs.
    pub needs: Vec<String>,
    /// Folders that the loader searches before the system's.
    pub run_path: Vec<String>,
    /// Bytes of thread-local data that the loader has to place in the room that a process reserves for it when it
    /// starts (the initial-exec model). None: the loader allocates the data, if there is any.
    pub static_tls: Option<u64>,
}

/// The rest of an entry of a run path that begins with `$ORIGIN`, the library's folder. None: it begins otherwise.
pub fn below_origin(entry: &str) -> Option<&str> {
    let rest = entry.strip_prefix("$ORIGIN").or_else(|| entry.strip_prefix("${ORIGIN}"))?;
    (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
}

impl Dynamic {
    /// Reads the section; empty if it is damaged.
    pub fn of<'f, R: ReadRef<'f>>(file: &object::File<'f, R>) -> Self {
        Self::read(file).unwrap_or_default()
    }

    fn read<'f, R: ReadRef<'f>>(file: &object::File<'f, R>) -> Option<Self> {
        if !file.is_64() || file.format() != BinaryFormat::Elf {
            return None;
        }
        let table = file.section_by_name(".dynamic")?.data().ok()?;
        let word = |bytes: &[u8]| bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let entries = table.chunks_exact(16).filter_map(|entry| Some((word(entry)?, word(&entry[8..])?)));
        let entries: Vec<(u64, u64)> = entries.take_while(|(tag, _)| *tag != 0).collect();
        let (_, strings) = entries.iter().find(|(tag, _)| *tag == DT_STRTAB.0.cast_unsigned())?;
        let strings = file
            .sections()
            .find(|section| section.address() == *strings && section.size() > 0)?
            .data()
            .ok()?;
        let text = |at: u64| {
            let bytes = strings.get(usize::try_from(at).ok()?..)?;
            let end = bytes.iter().position(|&byte| byte == 0)?;
            Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
        };
        let texts = |wanted: i64| {
            let tagged = entries.iter().filter(move |(tag, _)| *tag == wanted.cast_unsigned());
            tagged.filter_map(|(_, at)| text(*at))
        };
        // The loader ignores the older RPATH if there is a RUNPATH.
        let run_path = texts(DT_RUNPATH.0).next().or_else(|| texts(DT_RPATH.0).next()).unwrap_or_default();
        let folders = run_path.split(':').filter(|folder| !folder.is_empty());
        let is_static =
            |(tag, flags): &(u64, u64)| *tag == DT_FLAGS.0.cast_unsigned() && flags & DF_STATIC_TLS.0 != 0;
        Some(Self {
            needs: texts(DT_NEEDED.0).collect(),
            run_path: folders.map(str::to_owned).collect(),
            static_tls: entries.iter().any(is_static).then(|| size_of_tls(file)).filter(|size| *size > 0),
        })
    }
}

/// Size of the thread-local data that each thread gets, in bytes.
fn size_of_tls<'f, R: ReadRef<'f>>(file: &object::File<'f, R>) -> u64 {
    let object::File::Elf64(file) = file else { return 0 };
    let endian = file.endian();
    let segments = file.elf_program_headers().iter();
    segments.filter(|segment| segment.p_type(endian) == PT_TLS).map(|segment| segment.p_memsz(endian)).sum()
}
