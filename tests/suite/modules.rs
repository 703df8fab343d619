//! Every file of the suite is compiled. A file that no `mod` declares would contain tests that never run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root;

#[test]
fn every_file_is_declared_as_a_module() {
    let suite = root().join("tests/suite");
    let files = sources(&suite);
    assert!(!files.is_empty(), "no sources in {}", suite.display());
    let mut declared = BTreeSet::from([suite.join("main.rs")]);
    add_modules(&suite.join("main.rs"), &suite, &mut declared);
    let forgotten: Vec<_> = files.difference(&declared).collect();
    assert!(forgotten.is_empty(), "no `mod` declares {forgotten:?}");
}

/// All `.rs` files below this folder.
fn sources(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    let paths = entries.map(|entry| entry.expect("the folder can be listed").path());
    let (folders, files): (Vec<_>, Vec<_>) = paths.partition(|path| path.is_dir());
    let mut sources: BTreeSet<_> = folders.iter().flat_map(|folder| sources(folder)).collect();
    sources.extend(files.into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "rs")));
    sources
}

/// Adds the files of all modules that `file` declares, and of their submodules. The modules' files are in
/// `folder`.
fn add_modules(file: &Path, folder: &Path, found: &mut BTreeSet<PathBuf>) {
    let text = fs::read_to_string(file).expect("sources can be read");
    for line in text.lines() {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        let Some((name, _)) = line.strip_prefix("mod ").and_then(|rest| rest.split_once(';')) else {
            continue;
        };
        let inner = folder.join(name);
        let candidates = [inner.with_extension("rs"), inner.join("mod.rs")];
        let module = candidates.into_iter().find(|file| file.is_file()).expect("the suite compiles");
        add_modules(&module, &inner, found);
        found.insert(module);
    }
}
