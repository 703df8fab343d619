//! What a plugin's library brings along: the loader looks for it where the library's run path says, and `$ORIGIN` in
//! that is the folder of the copy. From there, links lead to what is beside the original.

use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use super::make_folder;

/// `..` at the beginning of an entry beyond which it is left alone.
const UP_MAX: usize = 8;
/// Between a copy and the folder that its run path reaches up to.
const LEVEL: &str = "0";

/// An entry of a run path.
struct Entry<'a> {
    /// As it is written, from the library's folder.
    path: &'a Path,
    /// The same without detours: as many `..`, and then that.
    up: usize,
    down: PathBuf,
}

impl<'a> Entry<'a> {
    /// None: it does not begin with `$ORIGIN`.
    fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("$ORIGIN").or_else(|| text.strip_prefix("${ORIGIN}"))?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let path = Path::new(rest.trim_start_matches('/'));
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

/// Puts the only file of a folder where its run path works as that of `original` does; where it is then. What cannot
/// be linked is left to the loader to miss.
///
/// # Errors
/// The folder cannot be written.
pub fn settle(copy: PathBuf, original: &Path, run_path: &[String]) -> io::Result<PathBuf> {
    let mut entries: Vec<Entry<'_>> = run_path.iter().filter_map(|text| Entry::parse(text)).collect();
    let (Some(up), Some(top), Some(name)) =
        (entries.iter().map(|entry| entry.up).max(), copy.parent(), copy.file_name())
    else {
        return Ok(copy);
    };
    let mut folders = vec![top.to_path_buf()];
    for level in 0..up {
        let folder = folders[level].join(LEVEL);
        make_folder(&folder)?;
        folders.push(folder);
    }
    let file = folders[up].join(name);
    fs::rename(&copy, &file)?;
    // An empty one is the folder in which the server was started.
    let origin = Path::new(".").join(original.parent().unwrap_or(Path::new("")));
    // A link to a folder serves those below it too.
    entries.sort_by_key(|entry| entry.down.components().count());
    for entry in entries {
        if let Ok(target) = origin.join(entry.path).canonicalize() {
            let _ = link(&folders[up - entry.up], &entry.down, &target);
        }
    }
    Ok(file)
}

/// Has `down`, in a folder of the copies, show what is in `target`. Nothing is made behind a link: that would be in the
/// operator's folders.
fn link(folder: &Path, down: &Path, target: &Path) -> io::Result<()> {
    let mut place = folder.to_path_buf();
    for name in down.components() {
        if place.symlink_metadata().is_err() {
            make_folder(&place)?;
        }
        if !place.symlink_metadata()?.is_dir() {
            return Ok(());
        }
        place.push(name);
    }
    match place.symlink_metadata() {
        Err(_) => symlink(target, place),
        // One with copies in it, or on the way to another.
        Ok(found) if found.is_dir() => link_libraries(&place, target),
        Ok(_) => Ok(()),
    }
}

fn link_libraries(place: &Path, target: &Path) -> io::Result<()> {
    for entry in target.read_dir()? {
        let entry = entry?;
        // As `libm.so.6` and `libm-2.so`.
        if entry.file_name().to_string_lossy().contains(".so") {
            // What is there already is the copy, or the same of another entry.
            let _ = symlink(entry.path(), place.join(entry.file_name()));
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

    fn settle_with(copy: PathBuf, original: &Path, run_path: &[&str]) -> PathBuf {
        let run_path: Vec<String> = run_path.iter().map(|&text| text.to_owned()).collect();
        settle(copy, original, &run_path).expect("the folder can be written")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = folder.read_dir().expect("it is there").flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_library_that_brings_nothing_along_stays_where_it_is() {
        let (folder, original, copy) = library();
        fs::write(folder.path().join("original/libother.so"), "").expect("it is a folder");
        let far = format!("$ORIGIN/{}lib", "../".repeat(UP_MAX + 1));
        let settled = settle_with(copy.clone(), &original, &["/usr/lib", "lib", "$ORIGINAL/lib", &far]);
        assert_eq!(settled, copy);
        assert_eq!(names(&folder.path().join("copies")), ["it.so"]);
    }

    #[test]
    fn from_the_copy_each_entry_leads_to_what_it_leads_to_from_the_original() {
        let (folder, original, copy) = library();
        for file in ["original/libother.so.6", "original/notes.txt", "above/x/libx.so", "original/in/liby.so"]
        {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().expect("it has one")).expect("a folder");
            fs::write(file, "").expect("a folder");
        }
        let run_path = ["$ORIGIN/../above/x", "${ORIGIN}", "$ORIGIN/./in/", "$ORIGIN/nowhere"];
        let settled = settle_with(copy, &original, &run_path);
        let at = settled.parent().expect("it has one");
        assert_eq!(names(at), ["in", "it.so", "libother.so.6"]);
        for (entry, library) in [("../above/x", "libx.so"), (".", "libother.so.6"), ("in", "liby.so")] {
            let found = at.join(entry).join(library).canonicalize().expect(entry);
            let wanted = original.parent().expect("it has one").join(entry).join(library);
            assert_eq!(found, wanted.canonicalize().expect("it was made"));
        }
    }

    /// `a` is elsewhere, so that `lib/a/..` is not `lib`.
    #[test]
    fn nothing_is_made_behind_a_link() {
        let (folder, original, copy) = library();
        let lib = folder.path().join("original/lib");
        for name in ["original/lib", "elsewhere/a", "elsewhere/b"] {
            fs::create_dir_all(folder.path().join(name)).expect("a folder");
        }
        symlink(folder.path().join("elsewhere/a"), lib.join("a")).expect("a folder");
        settle_with(copy, &original, &["$ORIGIN/lib/a/../b", "$ORIGIN/lib"]);
        assert_eq!(names(&lib), ["a"]);
        assert_eq!(names(&folder.path().join("elsewhere")), ["a", "b"]);
    }
}
