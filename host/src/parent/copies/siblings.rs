//! Files beside a plugin's library. A plugin that looks for its files beside itself (`dladdr`) finds the folder of the
//! copy. Symbolic links lead from there to everything that is beside the original. Nothing is created in the operator's
//! folders.

use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::folder_of;

/// Most entries of a folder that are linked. A folder with more is one for libraries, such as /usr/lib.
pub const SIBLINGS_MAX: usize = 1000;

/// Links what is beside the original and has no name that is in the folder of the copy already. False: that is too much,
/// and nothing is linked.
pub fn link_siblings(copy: &Path, original: &Path) -> io::Result<bool> {
    let beside = folder_of(original).canonicalize()?;
    let folder = copy.parent().unwrap_or(Path::new("/"));
    let real = folder.canonicalize()?;
    let mut names = Vec::new();
    for entry in beside.read_dir()? {
        names.push(entry?.file_name());
        if names.len() > SIBLINGS_MAX {
            return Ok(false);
        }
    }
    for name in names {
        let target = beside.join(&name);
        // A link to a folder above would make an endless tree.
        if !real.starts_with(&target) {
            match symlink(target, folder.join(name)) {
                // The copy, and what its run path leads to.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => result?,
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// A folder with `plugins/it.so`, and its copy in `plugins/tmp/copy/it.so`.
    fn library() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let [original, copy] =
            ["plugins/it.so", "plugins/tmp/copy/it.so"].map(|file| folder.path().join(file));
        for file in [&original, &copy] {
            fs::create_dir_all(file.parent().expect("it has one")).expect("an empty folder");
            fs::write(file, file.to_string_lossy().as_bytes()).expect("an empty folder");
        }
        (folder, original, copy)
    }

    #[test]
    fn everything_beside_the_original_is_found_beside_the_copy() {
        let (folder, original, copy) = library();
        let plugins = folder.path().join("plugins");
        fs::create_dir(plugins.join("pages")).expect("a folder");
        for file in ["motd.txt", "pages/index.html"] {
            fs::write(plugins.join(file), file).expect("a folder");
        }
        assert!(link_siblings(&copy, &original).expect("both folders are there"));
        let beside = copy.parent().expect("it has one");
        for file in ["motd.txt", "pages/index.html"] {
            assert_eq!(fs::read_to_string(beside.join(file)).expect("it is linked"), file);
        }
        let own = fs::read_to_string(beside.join("it.so")).expect("it is there");
        assert_eq!(own, copy.to_string_lossy(), "the copy is no link to the original");
        assert!(beside.join("tmp").symlink_metadata().is_err(), "the copy is below that folder");
    }

    #[test]
    fn a_folder_with_too_many_files_is_not_linked() {
        let (folder, original, copy) = library();
        for number in 0..SIBLINGS_MAX {
            fs::write(folder.path().join(format!("plugins/{number}")), "").expect("a folder");
        }
        assert!(!link_siblings(&copy, &original).expect("both folders are there"));
        assert_eq!(copy.parent().expect("it has one").read_dir().expect("it is there").count(), 1);
    }
}
