//! Libraries that a plugin depends on. The loader looks for them along the run path of the plugin's library, where
//! `$ORIGIN` is the folder of the library: for a copy, the folder of the copy. Symbolic links lead from there to what
//! is beside the original. Nothing is ever created in the operator's folders.

use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use super::folder::Access;
use super::folder_of;
use crate::plugin::dynamic::below_origin;

/// Most `..` at the beginning of an entry. An entry with more is ignored.
const UP_MAX: usize = 8;
/// Name of the folders between a copy and the folder that its run path reaches up to.
const LEVEL: &str = "0";

/// An entry of a run path.
struct Entry<'a> {
    /// Relative to the library's folder, as it is written.
    path: &'a Path,
    /// The same path normalized: `up` times `..`, then `down`.
    up: usize,
    down: PathBuf,
}

impl<'a> Entry<'a> {
    /// None: the entry does not begin with `$ORIGIN`, or reaches too far up.
    fn parse(text: &'a str) -> Option<Self> {
        let path = Path::new(below_origin(text)?);
        let (mut up, mut down) = (0, PathBuf::new());
        for component in path.components() {
            match component {
                Component::ParentDir if !down.pop() => up += 1,
                Component::Normal(name) => down.push(name),
                _ => {}
            }
        }
        (up <= UP_MAX).then_some(Self { path, up, down })
    }
}

/// Moves a copy, the only file of its folder, deep enough for its run path, and links what the run path of `original`
/// leads to. Returns the new path of the copy. If a link cannot be made, the loader reports the missing library. Err:
/// the folder cannot be written.
pub fn link_dependencies(
    copy: PathBuf,
    original: &Path,
    run_path: &[String],
    access: Access,
) -> io::Result<PathBuf> {
    let mut entries: Vec<Entry<'_>> = run_path.iter().filter_map(|text| Entry::parse(text)).collect();
    let (Some(up), Some(top), Some(name)) =
        (entries.iter().map(|entry| entry.up).max(), copy.parent(), copy.file_name())
    else {
        return Ok(copy);
    };
    let mut folders = vec![top.to_path_buf()];
    for level in 0..up {
        let folder = folders[level].join(LEVEL);
        access.make_folder(&folder)?;
        folders.push(folder);
    }
    let file = folders[up].join(name);
    fs::rename(&copy, &file)?;
    let origin = folder_of(original);
    // Short paths first: a link to a folder covers the folders below it.
    entries.sort_by_key(|entry| entry.down.components().count());
    for entry in entries {
        if let Ok(target) = origin.join(entry.path).canonicalize() {
            let _ = link(&folders[up - entry.up], &entry.down, &target, access);
        }
    }
    Ok(file)
}

/// Makes `down`, below a folder of the copies, show the content of `target`. Nothing is created behind a link, because
/// that would be in the operator's folders.
fn link(folder: &Path, down: &Path, target: &Path, access: Access) -> io::Result<()> {
    let mut path = folder.to_path_buf();
    for name in down.components() {
        if path.symlink_metadata().is_err() {
            access.make_folder(&path)?;
        }
        if !path.symlink_metadata()?.is_dir() {
            return Ok(());
        }
        path.push(name);
    }
    match path.symlink_metadata() {
        Err(_) => symlink(target, path),
        // A folder that holds the copy, or leads to another entry.
        Ok(found) if found.is_dir() => link_libraries(&path, target),
        Ok(_) => Ok(()),
    }
}

fn link_libraries(folder: &Path, target: &Path) -> io::Result<()> {
    for entry in target.read_dir()? {
        let entry = entry?;
        // Such as `libm.so.6` and `libm-2.so`.
        if entry.file_name().to_string_lossy().contains(".so") {
            // An existing file is the copy, or a link that another entry made.
            let _ = symlink(entry.path(), folder.join(entry.file_name()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a library in `original`, and its copy in `copies`.
    fn library() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let [original, copy] = ["original/it.so", "copies/it.so"].map(|file| folder.path().join(file));
        for file in [&original, &copy] {
            fs::create_dir(file.parent().expect("it has one")).expect("an empty folder");
            fs::write(file, "").expect("an empty folder");
        }
        (folder, original, copy)
    }

    fn link_with(copy: PathBuf, original: &Path, run_path: &[&str]) -> PathBuf {
        let run_path: Vec<String> = run_path.iter().map(|&text| text.to_owned()).collect();
        link_dependencies(copy, original, &run_path, Access::default()).expect("the folder can be written")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = folder.read_dir().expect("it is there").flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_library_without_dependencies_beside_it_is_not_moved() {
        let (folder, original, copy) = library();
        fs::write(folder.path().join("original/libother.so"), "").expect("it is a folder");
        let far = format!("$ORIGIN/{}lib", "../".repeat(UP_MAX + 1));
        let moved = link_with(copy.clone(), &original, &["/usr/lib", "lib", "$ORIGINAL/lib", &far]);
        assert_eq!(moved, copy);
        assert_eq!(names(&folder.path().join("copies")), ["it.so"]);
    }

    #[test]
    fn each_entry_leads_to_the_same_files_from_the_copy_as_from_the_original() {
        let (folder, original, copy) = library();
        for file in ["original/libother.so.6", "original/notes.txt", "above/x/libx.so", "original/in/liby.so"]
        {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().expect("it has one")).expect("a folder");
            fs::write(file, "").expect("a folder");
        }
        let run_path = ["$ORIGIN/../above/x", "${ORIGIN}", "$ORIGIN/./in/", "$ORIGIN/nowhere"];
        let moved = link_with(copy, &original, &run_path);
        let at = moved.parent().expect("it has one");
        assert_eq!(names(at), ["in", "it.so", "libother.so.6"]);
        for (entry, library) in [("../above/x", "libx.so"), (".", "libother.so.6"), ("in", "liby.so")] {
            let found = at.join(entry).join(library).canonicalize().expect(entry);
            let wanted = original.parent().expect("it has one").join(entry).join(library);
            assert_eq!(found, wanted.canonicalize().expect("it was made"));
        }
    }

    /// `a` is a link, so `lib/a/..` is not `lib`.
    #[test]
    fn nothing_is_created_behind_a_link() {
        let (folder, original, copy) = library();
        let lib = folder.path().join("original/lib");
        for name in ["original/lib", "elsewhere/a", "elsewhere/b"] {
            fs::create_dir_all(folder.path().join(name)).expect("a folder");
        }
        symlink(folder.path().join("elsewhere/a"), lib.join("a")).expect("a folder");
        link_with(copy, &original, &["$ORIGIN/lib/a/../b", "$ORIGIN/lib"]);
        assert_eq!(names(&lib), ["a"]);
        assert_eq!(names(&folder.path().join("elsewhere")), ["a", "b"]);
    }
}
