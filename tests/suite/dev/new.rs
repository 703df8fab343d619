//! `callsign new`: the project builds, passes its own test, and runs with `dev`, by the commands that `new`
//! prints.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{cargo, dev, share_target, succeeds};
use crate::support::{Host, busy, empty_folder, path, run, scratch};

/// Creates the project with these options, and runs all printed commands except the last one, which would
/// serve.
fn made(project: &Path, options: &[&str]) -> String {
    // Removes the folder of an earlier run.
    let _ = fs::remove_dir_all(project);
    let (code, said, errors) = run(&[&["new", path(project)], options].concat());
    assert_eq!((code, errors.as_str()), (0, ""), "{said}");
    let next = said.lines().skip_while(|line| *line != "Next:").skip(1);
    let next: Vec<_> = next.take_while(|line| !line.is_empty()).map(str::trim).collect();
    let [enter, test, serve] = next[..] else { panic!("not three commands: {said}") };
    assert_eq!(enter, format!("cd {}", project.display()));
    assert!(serve.ends_with("callsign dev ."), "{said}");
    let test = test.replace("cargo", &cargo().to_string_lossy());
    succeeds(Command::new("sh").args(["-ec", &format!("{enter}\n{test}")]));
    said
}

/// What the new projects answer, in Rust and in C.
fn assert_talks(host: &Host, name: &str) {
    let (mut one, mut other) = (host.open("/"), host.open("/"));
    for client in [&mut one, &mut other] {
        assert_eq!(client.next_text(), format!("welcome to {name}"));
    }
    one.text("hello");
    assert_eq!(one.next_text(), "you said: hello (1)");
    assert_eq!(other.next_text(), "hello");
    let page = host.connect().request("GET", "/", &[], b"");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    other.close(1000, "");
    host.log_line("has left with 1000");
}

#[test]
fn a_new_crate_builds_passes_its_test_and_is_served() {
    let _busy = busy();
    share_target();
    let project = scratch("crates").join("my-plugin");
    let said = made(&project, &[]);
    assert!(said.contains("beside the sources of this program"), "{said}");
    let host = dev(&project, &[]);
    assert_talks(&host, "my-plugin");
    let source = fs::read_to_string(project.join("src/lib.rs")).unwrap();
    let mut client = host.open("/");
    assert_eq!(client.next_text(), "welcome to my-plugin");
    client.text("hello");
    assert_eq!(client.next_text(), "you said: hello (1)");
    fs::write(project.join("src/lib.rs"), source.replace("you said", "I heard")).unwrap();
    host.log_line("dev: my-plugin generation 2: ");
    client.text("hello");
    assert_eq!(client.next_text(), "I heard: hello (2)");
}

/// As for an installed program whose sources are gone.
#[test]
fn a_new_crate_with_a_copy_of_the_sdk_needs_no_other_sources() {
    let _busy = busy();
    share_target();
    let project = scratch("crates").join("with-sdk");
    let said = made(&project, &["--copy-sdk"]);
    assert!(said.contains("It has a copy of the SDK in callsign-plugin."), "{said}");
    let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("callsign-plugin = { path = \"callsign-plugin\" }"), "{manifest}");
    let host = dev(&project, &[]);
    assert_talks(&host, "with-sdk");
    assert_eq!(host.log_lines("warning"), [""; 0]);
}

#[test]
fn a_new_project_in_c_builds_passes_its_test_and_is_served() {
    let project = empty_folder("in-c").join("my-plugin");
    made(&project, &["--c"]);
    let host = dev(&project, &[]);
    assert_talks(&host, "my-plugin");
    assert_eq!(host.log_lines("warning"), [""; 0]);
    let source = fs::read_to_string(project.join("my-plugin.c")).unwrap();
    let mut client = host.open("/");
    assert_eq!(client.next_text(), "welcome to my-plugin");
    client.text("hello");
    assert_eq!(client.next_text(), "you said: hello (1)");
    fs::write(project.join("my-plugin.c"), source.replace("you said", "I heard")).unwrap();
    host.log_line("dev: my-plugin generation 2: ");
    client.text("hello");
    assert_eq!(client.next_text(), "I heard: hello (2)");
}

#[test]
fn nothing_is_overwritten() {
    let project = empty_folder("there");
    fs::write(project.join("kept"), "kept").unwrap();
    for options in [&[][..], &["--c"]] {
        let (code, stdout, stderr) = run(&[&["new", path(&project)], options].concat());
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        let there = format!("callsign: {} is there already, and is left as it is; ", project.display());
        assert!(stderr.starts_with(&there), "{stderr}");
        assert_eq!(fs::read_dir(&project).unwrap().count(), 1);
    }
}

#[test]
fn an_invalid_name_or_folder_is_refused() {
    let scratch = empty_folder("names");
    for (name, reason) in [
        ("2nd", "it is 1 to 63 letters, digits, `-` and `_`, and begins with a letter"),
        ("match", "a word that Rust or cargo has taken"),
        ("none/chat", "there is no folder "),
    ] {
        let (code, _, stderr) = run(&["new", path(&scratch.join(name))]);
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains(reason), "{stderr}");
    }
    let (code, _, stderr) = run(&["new", path(&scratch.join("chat")), "--sdk", path(&scratch)]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("is not the folder of the crate `callsign-plugin` (--sdk)"), "{stderr}");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "no folder was left behind");
}
