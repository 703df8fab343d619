//! What confined workers can do, and what not: `[sandbox]`.

mod calls; // system calls

mod change; // reloads, status, wrong settings

mod files; // access to files

mod kernel; // older kernels

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Host, c_plugin, path, scratch};

/// A config file with these lines in `[sandbox]`, and others in front of it.
#[track_caller]
fn config(name: &str, sandbox: &str, others: &str) -> PathBuf {
    let library = c_plugin("confined.c");
    let text = format!(
        "[[route]]\npath = '/*'\nonmessage = 'message'\n[plugin.confined]\npath = {library:?}\n{others}\n\
         [sandbox]\nlevel = 'strict'\n{sandbox}\n"
    );
    let file = scratch(&format!("{name}.toml"));
    fs::write(&file, text).expect("the scratch folder can be written");
    file
}

#[track_caller]
fn serve(name: &str, sandbox: &str) -> Host {
    Host::start(&["serve", "--config", path(&config(name, sandbox, "")), "--log", "debug"])
}

/// An empty folder that no setting names.
#[track_caller]
fn folder(name: &str) -> PathBuf {
    let folder = scratch(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the scratch folder can be written");
    folder
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).expect("the scratch folder can be written");
}
