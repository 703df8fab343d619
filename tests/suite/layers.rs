//! The folders of `host/src` are layers: a folder imports only from folders earlier in the list.
//! `ARCHITECTURE.md` and `host/src/lib.rs` show the same list.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root;

/// The layers, from configuration to command line.
const LAYERS: [&str; 11] = [
    "config", "system", "link", "plugin", "client", "worker", "bridge", "http", "serve", "parent", "commands",
];

/// Files in the root of the crate, which belong to no layer.
const ROOT: [&str; 3] = ["lib.rs", "main.rs", "testing.rs"];

fn sources() -> PathBuf {
    root().join("host/src")
}

/// The source files below a folder, without tests.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)
        .expect("the path exists")
        .map(|entry| entry.expect("the path can be read").path())
    {
        let name = entry.file_name().expect("the path has a name").to_string_lossy().into_owned();
        if entry.is_dir() && name != "tests" {
            found.extend(files(&entry));
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(entry);
        }
    }
    found
}

/// The code of a file, without comments and without items that only tests compile.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("the file is UTF-8");
    let (mut code, mut lines) = (String::new(), text.lines());
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            // Up to the end of the item: `mod tests;`, or a brace in the first column.
            let _ = lines.find(|line| *line == "}" || !line.starts_with(' ') && line.ends_with(';'));
            continue;
        }
        code += line.split("//").next().unwrap_or_default();
        code.push('\n');
    }
    code
}

/// The paths that a file names from the crate's root: `link::orders::Order` for `crate::link::orders::Order`. In
/// `crate::{a::b, c}` every item counts.
fn imports(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                let end = list.find(|c: char| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    depth < 0
                });
                let list = &list[..end.expect("the braces are closed")];
                let mut depth = 0;
                let items = list.split(|c: char| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    c == ',' && depth == 0
                });
                paths.extend(items.map(|item| path(item.trim_start())));
            }
            None => paths.push(path(rest)),
        }
    }
    paths.retain(|path| !path.is_empty());
    paths
}

fn path(text: &str) -> String {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
    text[..end].trim_end_matches(':').to_owned()
}

/// The file that defines the module in a path: the longest part of it that is a file.
fn file_of(path: &str) -> Option<PathBuf> {
    let mut found = None;
    let mut at = sources();
    for part in path.split("::") {
        at.push(part);
        let candidates = [at.with_extension("rs"), at.join("mod.rs")];
        match candidates.into_iter().find(|file| file.is_file()) {
            Some(file) => found = Some(file),
            None => break,
        }
    }
    found
}

fn relative(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

/// Every import: layer and file of the importer, layer and file of the import.
fn edges() -> Vec<(usize, PathBuf, usize, PathBuf)> {
    let mut edges = Vec::new();
    for (layer, name) in LAYERS.iter().enumerate() {
        for file in files(&sources().join(name)) {
            for path in imports(&code(&file)) {
                let target = path.split("::").next().unwrap_or_default();
                let target = LAYERS.iter().position(|layer| *layer == target);
                let target = target.unwrap_or_else(|| {
                    panic!("{} imports crate::{path}, which is in no layer", relative(&file))
                });
                let imported = file_of(&path).unwrap_or_else(|| sources().join(LAYERS[target]));
                edges.push((layer, file.clone(), target, imported));
            }
        }
    }
    edges
}

#[test]
fn a_folder_imports_only_from_folders_before_it() {
    let edges = edges();
    assert!(edges.len() > 100, "the imports are found");
    let wrong: Vec<String> = edges
        .iter()
        .filter(|(layer, _, target, _)| target > layer)
        .map(|(layer, file, target, imported)| {
            format!(
                "{} imports {}, and `{}` comes before `{}`",
                relative(file),
                relative(imported),
                LAYERS[*layer],
                LAYERS[*target]
            )
        })
        .collect();
    assert!(wrong.is_empty(), "imports that go the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn every_source_is_in_a_layer() {
    let folders = fs::read_dir(sources()).expect("the path exists");
    let mut names: Vec<String> = folders
        .map(|entry| entry.expect("the path can be read").file_name().to_string_lossy().into_owned())
        .collect();
    names.retain(|name| !ROOT.contains(&name.as_str()));
    names.sort();
    let mut layers = LAYERS.map(str::to_owned);
    layers.sort();
    assert_eq!(names, layers);
}

/// The layers in the order in which `text` first mentions them.
fn order(text: &str, name: impl Fn(&str) -> String) -> Vec<&'static str> {
    let places: BTreeMap<usize, &str> =
        LAYERS.iter().filter_map(|layer| Some((text.find(&name(layer))?, *layer))).collect();
    places.into_values().collect()
}

#[test]
fn the_crate_and_its_map_show_the_layers_in_their_order() {
    let lib = fs::read_to_string(sources().join("lib.rs")).expect("the file is UTF-8");
    assert_eq!(order(&lib, |layer| format!("\nmod {layer};")), LAYERS);
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the file is UTF-8");
    assert_eq!(order(&map, |layer| format!("\n| `{layer}` |")), LAYERS);
}

#[test]
fn the_engine_is_a_crate_that_depends_on_nothing() {
    let manifest = fs::read_to_string(root().join("host/websocket/Cargo.toml")).expect("the file is UTF-8");
    assert!(!manifest.contains("\n[dependencies]"), "{manifest}");
}

/// Longer files must be split.
const LINES_MAX: usize = 400;

#[test]
fn files_are_short_and_folders_have_one_layout() {
    for folder in [sources(), root().join("host/websocket/src"), root().join("plugin-api/src")] {
        for file in files(&folder) {
            let lines = fs::read_to_string(&file).expect("the file is UTF-8").lines().count();
            // The ABI and its documentation are one file, because the C header is generated from it.
            let may_be_long = file.ends_with("plugin-api/src/abi.rs");
            assert!(lines <= LINES_MAX || may_be_long, "{} has {lines} lines", relative(&file));
            let folder = file.with_extension("");
            assert!(
                !folder.is_dir(),
                "{} has a folder: move it to {}/mod.rs",
                relative(&file),
                relative(&folder)
            );
        }
    }
}

/// `super::` leaves a layer's folder if it is repeated more often than the file is deep.
#[test]
fn no_path_leaves_its_layer_through_super() {
    for layer in LAYERS {
        let folder = sources().join(layer);
        for file in files(&folder) {
            let inside = file.strip_prefix(&folder).expect("the file is in the folder");
            let is_root = inside.file_name().is_some_and(|name| name == "mod.rs");
            let depth = inside.components().count() - usize::from(is_root);
            let outside = "super::".repeat(depth + 1);
            assert!(
                !code(&file).contains(&outside),
                "{} leaves its layer through {outside}",
                relative(&file)
            );
        }
    }
}
