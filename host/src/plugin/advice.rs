//! What an operator should know about a library that is a plugin: properties that reloads, or other plugins, will meet.
//! The image of a library enters, sentences for a terminal leave.

use std::path::{Path, PathBuf};

use super::dynamic::below_origin;
use super::image::Image;
use super::kore;
use super::library::defined_by_process;
use super::unique::Unique;
use crate::system::static_tls;

/// The advice about the library with this path.
pub fn advice(image: &Image, path: &Path) -> Vec<String> {
    let mut advice = Vec::new();
    if let Some(unique) = image.unique.summary() {
        advice.push(format!(
            "it has {unique} (STB_GNU_UNIQUE, as g++ makes them). Workers load a copy in which each generation has its \
             own; with --workers 0 there is no copy, and plugins share them: compile with -fno-gnu-unique"
        ));
    }
    advice.extend(preempted(image));
    advice.extend(kore::hooks(image));
    for library in beside(image, path) {
        if let Some(unique) = Unique::of_path(&library).summary() {
            advice.push(format!(
                "it needs {}, which a worker loads once, with {unique} (STB_GNU_UNIQUE, as g++ makes them): these outlive \
                 reloads, and other plugins share them. Compile that library with -fno-gnu-unique",
                library.display()
            ));
        }
    }
    if let Some(size) = image.dynamic.static_tls {
        let room = static_tls::ROOM;
        advice.push(format!(
            "{size} bytes of its thread-local data are of the initial-exec model. Each reload takes as much of the {room} \
             bytes that a worker reserves for that, so that about {} reloads are possible. {}",
            room / size,
            static_tls::remedy()
        ));
    }
    advice
}

/// Functions of the library whose place others take: the loader looks for a name in the libraries of the process first.
/// The handler of such a name is still the library's own function.
pub fn preempted(image: &Image) -> Option<String> {
    let mut found = image.by_name.iter().filter_map(|name| Some((name, defined_by_process(name)?)));
    let (name, library) = found.next()?;
    let others: Vec<String> = found.map(|(name, _)| format!(", `{name}`")).collect();
    Some(format!(
        "it refers to a function `{name}` of its own{}, but where it calls that, the one of {} runs. Make the function \
         static, rename it, or link with -Wl,-Bsymbolic-functions",
        if others.is_empty() { String::new() } else { format!(" (and{})", others.concat()[1..].to_owned()) },
        library.display()
    ))
}

/// The libraries that a plugin needs and that its run path leads to. Those of the system are not among them.
fn beside(image: &Image, path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let expand =
        |entry: &String| below_origin(entry).map_or_else(|| PathBuf::from(entry), |rest| folder.join(rest));
    let folders: Vec<PathBuf> = image.dynamic.run_path.iter().map(expand).collect();
    let find = |name: &String| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    image.dynamic.needs.iter().filter_map(find).collect()
}
