//! The first build, and the end: projects that cannot be built, waiting for a fix, cleaning up.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::{assert_answers, c_project, c_source, crate_project, dev, rust_source, write};
use crate::support::{Host, Process, busy, empty_folder, eventually, path, run, scratch};

#[track_caller]
fn refusal(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(&[&["dev"], arguments].concat());
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    stderr
}

#[test]
fn a_folder_without_anything_to_build_is_refused() {
    let nothing = empty_folder("nothing");
    let name = path(&nothing);
    assert_eq!(
        refusal(&[name]),
        format!(
            "callsign: nothing to build in {name}: neither Cargo.toml nor Makefile; name the folder of a plugin, or \
             give --build and --library\n"
        )
    );
    assert_eq!(
        refusal(&[&format!("{name}/not-there")]),
        format!("callsign: there is no folder {name}/not-there; `dev` wants the folder of a plugin\n")
    );
    fs::write(nothing.join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
    assert_eq!(
        refusal(&[name]),
        format!("callsign: {name} is a workspace; name the folder of a plugin in it\n")
    );
    let makes = c_project("no-release", "one");
    assert!(refusal(&[path(&makes), "--release"]).contains("--release is for crates"));
}

#[test]
fn an_invalid_config_is_reported_before_anything_is_built() {
    let project = c_project("wrong-config", "one");
    write(project.join("callsign.toml"), "lisen = \"127.0.0.1:0\"\n");
    assert!(refusal(&[path(&project)]).contains("callsign.toml:1:1: "));
    assert!(!project.join("plugin.so").exists());
}

#[test]
fn a_first_build_that_fails_waits_for_a_change() {
    let project = c_project("first-fails", "one");
    write(project.join("plugin.c"), "this is not C");
    let host = Host::begin(&["dev", path(&project)]);
    let line = host.log_line("dev: the build failed after ");
    assert!(line.ends_with("; waiting for a change"), "{line}");
    // The project builds, but the library is not a plugin.
    write(project.join("plugin.c"), "int x;\n");
    let line = host.log_line("no plugin descriptor");
    assert!(line.ends_with("; waiting for a change"), "{line}");
    write(project.join("plugin.c"), &c_source("one"));
    let host = host.served();
    assert_answers(&mut host.open("/"), "one");
}

#[test]
fn a_crate_that_makes_no_library_is_explained() {
    let _busy = busy();
    let project = crate_project("no-library", "\"one\"");
    let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
    write(project.join("Cargo.toml"), &manifest.replace("crate-type = [\"cdylib\"]", ""));
    let host = Host::begin(&["dev", path(&project)]);
    host.log_line(
        "builds no shared library; add `[lib]` with `crate-type = [\"cdylib\"]` to it; waiting for a change",
    );
    write(project.join("Cargo.toml"), &manifest);
    host.served();
}

/// The process of a build, which writes its id to this file when it begins.
fn begun(file: &Path) -> Process {
    eventually("the build has begun", || file.exists());
    let pid = fs::read_to_string(file).unwrap();
    Process(pid.trim().parse().expect("the number of a process"))
}

#[test]
fn a_signal_ends_the_first_build_and_all_its_processes() {
    let project = c_project("first-stopped", "one");
    let pid = project.join("pid");
    let command = format!("sh -c 'echo $$ > {0:?}.tmp; mv {0:?}.tmp {0:?}; exec sleep 1000'; true", pid);
    let mut host = Host::begin(&["dev", path(&project), "--build", &command, "--library", "plugin.so"]);
    let build = begun(&pid);
    assert!(build.is_alive());
    assert_eq!(host.terminate().code(), Some(0), "{}", host.log());
    build.wait_for_end();
    assert_eq!(host.log_lines("the build failed"), [""; 0]);
}

/// A service manager may send SIGHUP for "reload", which must not end the build.
#[test]
fn a_hangup_during_the_first_build_is_ignored() {
    let project = c_project("first-hangup", "one");
    let (pid, go) = (project.join("pid"), project.join("go"));
    let command = format!("echo $$ > {pid:?}; until test -e {go:?}; do sleep 0.05; done; make -s");
    let host = Host::begin(&["dev", path(&project), "--build", &command, "--library", "plugin.so"]);
    eventually("the build has begun", || pid.exists());
    host.process().signal(Signal::HUP);
    host.log_line("SIGHUP is ignored: nothing is built yet");
    write(&go, "");
    let host = host.served();
    assert_eq!(host.open("/").ask("?"), "one");
}

#[test]
fn a_build_that_ignores_the_signal_is_killed() {
    let project = c_project("stubborn", "one");
    let pid = project.join("pid");
    let command =
        format!("trap '' INT TERM; echo $$ > {0:?}.tmp; mv {0:?}.tmp {0:?}; while :; do sleep 1; done", pid);
    let mut host = Host::begin(&["dev", path(&project), "--build", &command, "--library", "plugin.so"]);
    let build = begun(&pid);
    assert_eq!(host.terminate().code(), Some(0), "{}", host.log());
    build.wait_for_end();
}

#[test]
fn a_signal_drains_the_server_and_ends_the_build() {
    let _busy = busy();
    let project = crate_project("stopped", "\"one\"");
    let (pid, go) = pid_and_go("stopped");
    let mut host = dev(&project, &[]);
    let mut client = host.open("/");
    write(project.join("build.rs"), &build_script(&pid, &go));
    let build = begun(&pid);
    assert!(build.is_alive());
    host.ask_to_stop();
    assert_eq!(client.peek_close(), 1001);
    drop(client);
    assert_eq!(host.ended().code(), Some(0), "{}", host.log());
    build.wait_for_end();
}

/// The two files of [`build_script`], which are not there yet.
fn pid_and_go(name: &str) -> (PathBuf, PathBuf) {
    let files = (scratch(&format!("{name}.pid")), scratch(&format!("{name}.go")));
    // Removes the files of an earlier run.
    let _ = (fs::remove_file(&files.0), fs::remove_file(&files.1));
    files
}

/// A build script that writes its process id to `pid` and waits until `go` exists.
fn build_script(pid: &Path, go: &Path) -> String {
    // A rename publishes the whole number at once.
    let written = pid.with_extension("tmp");
    format!(
        "fn main() {{\n\
         std::fs::write({written:?}, std::process::id().to_string()).unwrap();\n\
         std::fs::rename({written:?}, {pid:?}).unwrap();\n\
         while !std::path::Path::new({go:?}).exists() {{\n\
         std::thread::sleep(std::time::Duration::from_millis(5));\n}}\n}}\n"
    )
}

/// `dev` with a crate that has changed during its first build, and whose second build has begun: the crate, and the
/// file that lets the build end.
fn overtaken(name: &str) -> (Host, PathBuf, PathBuf) {
    let project = crate_project(name, "\"one\"");
    let (pid, go) = pid_and_go(name);
    write(project.join("build.rs"), &build_script(&pid, &go));
    let host = Host::begin(&["dev", path(&project)]);
    let first = begun(&pid);
    write(project.join("src/lib.rs"), &rust_source("\"two\""));
    host.log_line("dev: src/lib.rs changed");
    eventually("another build has begun", || begun(&pid) != first);
    (host, project, go)
}

#[test]
fn a_change_during_a_cargo_build_restarts_the_build() {
    let _busy = busy();
    let (host, _, go) = overtaken("overtaken");
    write(&go, "");
    let host = host.served();
    assert_eq!(host.log_lines("the build failed"), [""; 0]);
    assert_answers(&mut host.open("/"), "two");
}

/// Otherwise a person who saves faster than the crate builds would never see new code.
#[test]
fn after_a_cancelled_build_the_next_one_runs_to_its_end() {
    let _busy = busy();
    let (host, project, go) = overtaken("hurried");
    write(project.join("src/lib.rs"), &rust_source("\"three\""));
    write(&go, "");
    let host = host.served();
    // The second build was not cancelled: the third one follows it, and compiles the same sources.
    host.log_line("the library is the same");
    assert_eq!(host.open("/").ask("?"), "three");
}
