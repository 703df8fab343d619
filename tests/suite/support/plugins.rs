//! Plugins for tests, built from source once per run, and scratch files. Knows nothing about the server.

use std::collections::HashMap;
use std::env::{self, consts::DLL_PREFIX, consts::DLL_SUFFIX};
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::{fs, iter};

static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);

/// The library of the workspace package `name`, built in the profile of the tests.
pub fn plugin(name: &str) -> PathBuf {
    once(name, || build(name, ""))
}

/// The same with a feature of the package, or "" for none. Each feature gets its own library.
pub fn plugin_variant(name: &str, feature: &str) -> PathBuf {
    once(&format!("{name} {feature}"), || {
        // The next variant is built to the same path.
        let library = scratch(&format!("lib{name}-{feature}{DLL_SUFFIX}"));
        fs::copy(build(name, feature), &library).expect("the scratch folder can be written");
        library
    })
}

/// Replaces a file by a rename, as linkers and package managers do: atomically, with a new inode.
pub fn replace(library: &Path, by: &Path) {
    let new = library.with_extension("new");
    fs::copy(by, &new).expect("the scratch folder can be written");
    fs::rename(&new, library).expect("the scratch folder can be written");
}

/// Replaces a library by another file with the same code.
pub fn change(library: &Path) {
    let new = library.with_extension("new");
    let mut bytes = fs::read(library).expect("the library was built");
    // The loader ignores what follows the section headers.
    bytes.push(b' ');
    fs::write(&new, bytes).expect("the folder can be written");
    fs::rename(new, library).expect("the folder can be written");
}

/// The library built from `tests/plugins/c/FILE`.
pub fn c_plugin(file: &str) -> PathBuf {
    c_plugin_with(file, &[])
}

/// The same with compiler options, such as `-DPLUGIN="other"`. Each set of options gets its own library.
pub fn c_plugin_with(file: &str, options: &[&str]) -> PathBuf {
    compiled(file, options, compile_c)
}

/// The same in C++, compiled by g++.
pub fn cpp_plugin_with(file: &str, options: &[&str]) -> PathBuf {
    compiled(file, options, compile_cpp)
}

fn compiled(file: &str, options: &[&str], compile: fn(&str, &[&str], &Path)) -> PathBuf {
    let key = iter::once(&file).chain(options).copied().collect::<Vec<_>>().join(" ");
    once(&key, || {
        let name: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let library = scratch(&format!("lib{name}.so"));
        compile(file, options, &library);
        library
    })
}

/// A plugin in C called `good`, with the handlers `join`, `message` and `page`.
pub fn good() -> PathBuf {
    c_plugin_with("faulty.c", &["-DNAME=\"good\""])
}

/// The same, called `faulty`, with the fault that `option` adds.
pub fn faulty(option: &str) -> PathBuf {
    c_plugin_with("faulty.c", &["-DNAME=\"faulty\"", option])
}

/// Compiles `tests/plugins/c/FILE` to this library.
pub fn compile_c(file: &str, options: &[&str], library: &Path) {
    compile("cc", &[&["-std=c11"], options].concat(), file, library);
}

/// Compiles `tests/plugins/c/FILE` with g++.
pub fn compile_cpp(file: &str, options: &[&str], library: &Path) {
    compile("g++", &[&["-std=c++17"], options].concat(), file, library);
}

fn compile(compiler: &str, options: &[&str], file: &str, library: &Path) {
    let (source, include) = (root().join("tests/plugins/c").join(file), root().join("plugin-api/include"));
    run(Command::new(compiler)
        .args(["-Wall", "-Wextra", "-Werror", "-g", "-shared", "-fPIC", "-I"])
        .args([&include, Path::new("-o"), library, &source])
        .args(options));
}

/// Builds LIBRARY with the Makefile of `example-plugins/NAME` and these CFLAGS.
pub fn made_plugin(name: &str, library: &str, flags: &str) -> PathBuf {
    once(&format!("{name} {flags}"), || {
        // A folder for each set of flags, because make compares only timestamps.
        let ending: String = flags.chars().filter(char::is_ascii_alphanumeric).collect();
        let folder = scratch(&format!("{name}-{ending}"));
        fs::create_dir_all(&folder).expect("the scratch folder can be made");
        let mut make = Command::new("make");
        make.arg("-s").arg("-C").arg(root().join("example-plugins").join(name));
        run(make.arg(format!("OUT={}", folder.display())).arg(format!("CFLAGS=-g -Werror {flags}")));
        folder.join(library)
    })
}

/// A path called `name` in the scratch folder of the calling area. The file may exist from an earlier run.
///
/// The area is the first part of the caller's path below `tests/suite`, so two areas may use the same name.
#[track_caller]
pub fn scratch(name: &str) -> PathBuf {
    let file = Location::caller().file();
    let inside = file.rsplit_once("tests/suite/").expect("tests are in tests/suite").1;
    let area = inside.split(['/', '.']).next().expect("split returns at least one part");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(area);
    fs::create_dir_all(&folder).expect("the scratch folder can be made");
    folder.join(name)
}

/// An empty folder of this name in the scratch folder.
#[track_caller]
pub fn empty_folder(name: &str) -> PathBuf {
    let folder = scratch(name);
    // Removes the folder of an earlier run.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the scratch folder can be written");
    folder
}

/// A path as a command-line argument.
pub fn path(path: &Path) -> &str {
    path.to_str().expect("paths of the tests are UTF-8")
}

/// Builds a package; returns its library.
fn build(name: &str, features: &str) -> PathBuf {
    // target/debug/deps/suite-0123456789abcdef
    let program = env::current_exe().expect("a test program has a path");
    let folder = program.ancestors().nth(2).expect("cargo puts test programs two folders deep");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let target = folder.parent().expect("the profile's folder is in the target folder");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = root().join("Cargo.toml");
    run(Command::new(cargo)
        .args(["build", "--quiet", "--package", name, "--features", features, "--profile", profile])
        .args([Path::new("--manifest-path"), &manifest, Path::new("--target-dir"), target]));
    folder.join(format!("{DLL_PREFIX}{}{DLL_SUFFIX}", name.replace('-', "_")))
}

fn once(key: &str, build: impl FnOnce() -> PathBuf) -> PathBuf {
    // A failed build has failed its own test; others may still build.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.get_or_insert_default().entry(key.to_owned()).or_insert_with(build).clone()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the host is a folder of the workspace")
}

/// A config file for the plugin `crash`, and the file that tells the plugin what to do when it is loaded.
#[track_caller]
pub fn crash_config(name: &str) -> (PathBuf, PathBuf) {
    let (config, start) = (scratch(&format!("{name}.toml")), scratch(&format!("{name}.start")));
    let library = plugin("test-crash");
    let text = format!("[plugin.crash]\npath = {library:?}\n[plugin.crash.config]\nstart = {start:?}\n");
    fs::write(&config, text).expect("the scratch folder can be written");
    // Removes the file of an earlier run that was killed.
    let _ = fs::remove_file(&start);
    (config, start)
}
