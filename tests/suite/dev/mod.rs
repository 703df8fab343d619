//! The developer's loop: `callsign dev` builds, serves and reloads; `callsign new` makes a project for it.

mod rounds;

mod noise;

mod watched;

mod first;

mod new;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use crate::support::{Host, WebSocket, empty_folder, path, root, scratch};

fn write(file: impl AsRef<Path>, text: &str) {
    let file = file.as_ref();
    fs::create_dir_all(file.parent().expect("the file is in a folder"))
        .expect("the scratch folder can be written");
    fs::write(file, text).expect("the scratch folder can be written");
}

/// A plugin in C that answers every message with `answer`, and its Makefile.
fn c_project(name: &str, answer: &str) -> PathBuf {
    let folder = empty_folder(name);
    fs::copy(root().join("plugin-api/include/callsign.h"), folder.join("callsign.h"))
        .expect("the header exists");
    write(folder.join("plugin.c"), &c_source(answer));
    write(
        folder.join("Makefile"),
        "plugin.so: plugin.c callsign.h $(wildcard *.inc)\n\tcc -shared -fPIC -o $@.tmp plugin.c && mv $@.tmp $@\n",
    );
    folder
}

fn c_source(answer: &str) -> String {
    format!(
        "#include \"callsign.h\"\n\
         CALLSIGN_PLUGIN(\"tried\", \"1\");\n\
         void onmessage(struct connection *c, uint8_t op, const void *data, size_t length)\n\
         {{ (void)op; (void)data; (void)length; callsign_text(c, \"{answer}\"); }}\n"
    )
}

/// The crate of a plugin that answers every message with `answer`. It shares build results with the other
/// crates here.
fn crate_project(name: &str, answer: &str) -> PathBuf {
    let folder = scratch("crates").join(name);
    // Removes the folder of an earlier run.
    let _ = fs::remove_dir_all(&folder);
    share_target();
    let sdk = root().join("plugin-api");
    write(
        folder.join("Cargo.toml"),
        &format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n\
             [lib]\ncrate-type = [\"cdylib\"]\n[dependencies]\ncallsign-plugin = {{ path = {sdk:?} }}\n"
        ),
    );
    write(folder.join("src/lib.rs"), &rust_source(answer));
    folder
}

fn rust_source(answer: &str) -> String {
    format!(
        "use callsign_plugin::prelude::*;\ncallsign_plugin::plugin!();\n\
         #[onmessage]\nfn onmessage(c: &Connection, _: Message<'_>) {{\n    c.send({answer});\n}}\n"
    )
}

/// Crates below the scratch folder share one target folder and build offline. Their common dependencies are
/// built first, because some tests have deadlines.
fn share_target() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let target = scratch("crates-target");
        write(
            scratch("crates").join(".cargo/config.toml"),
            &format!("[build]\ntarget-dir = {target:?}\n[net]\noffline = true\n"),
        );
        let warm = scratch("crates").join("warm");
        let sdk = root().join("plugin-api");
        write(
            warm.join("Cargo.toml"),
            &format!(
                "[package]\nname = \"warm\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n\
                 [dependencies]\ncallsign-plugin = {{ path = {sdk:?} }}\n"
            ),
        );
        write(warm.join("src/lib.rs"), "");
        succeeds(Command::new(cargo()).arg("build").current_dir(&warm));
    });
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The plugins of these tests answer every message.
#[track_caller]
fn assert_answers(client: &mut WebSocket, answer: &str) {
    client.text("?");
    assert_eq!(client.next_text(), answer);
}

fn dev(folder: &Path, options: &[&str]) -> Host {
    let host = Host::start(&[&["dev", path(folder)], options].concat());
    host.log_line("dev: watching ");
    host
}
