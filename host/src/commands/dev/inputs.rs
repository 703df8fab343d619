//! What a build reads, as far as it has said so. A changed file that no build reads needs no build: the plugin itself
//! may have written it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::command::MAKEFILES;

/// What the last build has read. Real paths.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    pub files: BTreeSet<PathBuf>,
    /// Folders of which the build reads everything.
    pub folders: BTreeSet<PathBuf>,
    /// Folders of which all inputs are known, and folders in them of which not all are known.
    pub known: BTreeSet<PathBuf>,
    pub unknown: BTreeSet<PathBuf>,
}

/// Whether a build reads a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    Yes,
    No,
    Unknown,
}

impl Inputs {
    pub fn reads(&self, file: &Path) -> Reads {
        if self.files.contains(file)
            || self.folders.iter().any(|folder| file.starts_with(folder))
            || decides_build(file)
        {
            return Reads::Yes;
        }
        let nearest = file
            .ancestors()
            .skip(1)
            .find(|folder| self.known.contains(*folder) || self.unknown.contains(*folder));
        match nearest {
            Some(folder) if !self.unknown.contains(folder) => Reads::No,
            _ => Reads::Unknown,
        }
    }
}

/// Whether cargo reads a file of this name as soon as there is one, although no list of inputs has it.
fn decides_build(file: &Path) -> bool {
    let names = ["Cargo.toml", "build.rs", "rust-toolchain.toml", "rust-toolchain"];
    let is_named = file.file_name().is_some_and(|name| names.iter().any(|other| name == *other));
    is_named || file.parent().is_some_and(|folder| folder.ends_with(".cargo"))
}

/// Whether only people and generators write files of this name: source code and build files.
pub fn is_code(file: &Path) -> bool {
    const NAMES: [&str; 3] = ["CMakeLists.txt", "meson.build", "configure"];
    const SUFFIXES: &[&str] = &[
        "c", "h", "cc", "cpp", "cxx", "c++", "hh", "hpp", "hxx", "inc", "inl", "ipp", "tpp", "cppm", "ixx",
        "m", "mm", "s", "S", "asm", "ld", "rs", "zig", "zon", "nim", "nims", "d", "di", "go", "swift",
        "odin", "v", "cr", "pas", "f90", "f95", "ada", "adb", "ads", "hs", "ml", "mli", "cs", "sh", "py",
        "mk", "cmake", "y", "l", "proto",
    ];
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let suffix = file.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
    MAKEFILES.contains(&name) || NAMES.contains(&name) || SUFFIXES.contains(&suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_package_does_not_list_is_not_read_unless_its_inputs_are_unknown() {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        let inputs = Inputs {
            files: paths(&["/w/chat/src/lib.rs", "/w/page.html"]),
            folders: paths(&["/w/chat/assets"]),
            known: paths(&["/w/chat", "/w/chat/deep"]),
            unknown: paths(&["/w/chat/generated"]),
        };
        for (file, reads) in [
            ("/w/chat/src/lib.rs", Reads::Yes),
            ("/w/page.html", Reads::Yes),
            ("/w/chat/assets/a/b.png", Reads::Yes),
            ("/w/chat/Cargo.toml", Reads::Yes),
            ("/w/chat/.cargo/config.toml", Reads::Yes),
            ("/w/chat/chat.data", Reads::No),
            ("/w/chat/src/new.rs", Reads::No),
            ("/w/chat/generated/x.json", Reads::Unknown),
            ("/w/other/x.json", Reads::Unknown),
        ] {
            assert_eq!(inputs.reads(Path::new(file)), reads, "{file}");
        }
    }
}
