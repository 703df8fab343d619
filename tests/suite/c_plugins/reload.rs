//! Plugins in C across a reload: the chat example, whose guests keep their names, and a plugin that changes
//! between Rust and C.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ROOT, await_text, join_both_workers};
use crate::support::{Reloading, WebSocket, c_plugin_with, made_plugin, path, plugin_variant, scratch};

/// The chat in C with edits that the tests can observe, and this state version.
fn edited_chat(version: u32) -> PathBuf {
    let made = made_plugin("chat-c", "chat.so", "");
    let mut source = fs::read_to_string(Path::new(ROOT).join("example-plugins/chat-c/chat.c"))
        .expect("the example is there");
    for (old, new) in [
        ("a name has 1 to 32 characters", "a name has 32 letters at most, and one at least"),
        // The hooks carry the name over, so its place in the struct may change.
        ("\tchar name[NAME_SIZE];\n", "\tint renamed;\n\tchar name[NAME_SIZE];\n"),
        (".state_version = 1", &format!(".state_version = {version}")),
    ] {
        assert_eq!(source.matches(old).count(), 1, "{old}");
        source = source.replace(old, new);
    }
    let (file, library) = (scratch(&format!("edited-{version}.c")), scratch(&format!("edited-{version}.so")));
    fs::write(&file, source).expect("the scratch folder can be written");
    let folder = made.parent().expect("a file is in a folder");
    let include = Path::new(ROOT).join("plugin-api/include");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I", path(&include), "-I"]);
    let output = cc.arg(folder).arg(&file).arg("-o").arg(&library).output().expect("there is a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

#[test]
fn names_survive_a_reload_of_the_chat_in_c_on_both_workers() {
    const OLD: &str = "* a name has 1 to 32 characters";
    const NEW: &str = "* a name has 32 letters at most, and one at least";
    let first = made_plugin("chat-c", "chat.so", "");
    let mut server = Reloading::serve(&first, &["--workers", "2", "--log", "debug"]);
    server.host.workers_serve(2);
    let [(mut ann, ann_name), (mut bob, bob_name)] = join_both_workers(&server.host);
    ann.text("/name Änn");
    for c in [&mut ann, &mut bob] {
        await_text(c, &format!("* {ann_name} is now Änn"));
    }
    talk(&mut ann, &mut bob, OLD, &bob_name);
    server.reload_with(&edited_chat(1)).expect("the reload is accepted");
    talk(&mut ann, &mut bob, NEW, &bob_name);
    // The other builds cannot read the states that version 2 saves.
    server.reload_with(&edited_chat(2)).expect("the reload is accepted");
    talk(&mut ann, &mut bob, NEW, &bob_name);
    let reason = server.reload_with(&first).expect_err("the reload must be rejected");
    assert!(reason.contains("its state cannot be restored: the state is not a name"), "{reason}");
    assert!(reason.contains("connection "), "{reason}");
    talk(&mut ann, &mut bob, NEW, &bob_name);
    server.reload_with(&edited_chat(1)).expect_err("the reload must be rejected");
    server.put(&edited_chat(2));
    server.reload_again().expect_err("the reload must be rejected: this build reads version 1 only");
    talk(&mut ann, &mut bob, NEW, &bob_name);
    ann.text("/quit that was it");
    assert_eq!(ann.closed(), Some((1000, "that was it".to_owned())));
    await_text(&mut bob, "* Änn left (1000 that was it)");
    drop(bob);
    assert!(server.host.terminate().success());
}

/// Änn and Bob receive each other's messages; both are served by the code with this rule for names.
#[track_caller]
fn talk(ann: &mut WebSocket, bob: &mut WebSocket, rule: &str, bob_name: &str) {
    for c in [&mut *ann, bob] {
        c.text("/name ");
        await_text(c, rule);
    }
    ann.text("still here");
    await_text(bob, "Änn: still here");
    bob.text("so am I");
    await_text(ann, &format!("{bob_name}: so am I"));
}

/// The variant of `test-state`, in Rust.
fn rust(variant: &str) -> PathBuf {
    plugin_variant("test-state", variant)
}

/// The same plugin in C.
fn c(options: &[&str]) -> PathBuf {
    c_plugin_with("twin.c", options)
}

/// A server with two workers, and enough clients that each worker normally has some.
fn serve(library: &Path) -> (Reloading, Vec<(WebSocket, String)>) {
    let server = Reloading::serve(library, &["--workers", "2", "--log", "debug"]);
    server.host.workers_serve(2);
    let clients = (0..8).map(|_| {
        let mut c = server.host.open("/");
        let id = greeted(&mut c);
        (c, id)
    });
    let clients = clients.collect();
    (server, clients)
}

/// Reads the greeting; returns the connection's id.
#[track_caller]
fn greeted(c: &mut WebSocket) -> String {
    let text = c.next_text();
    text.split_once(" hello #").unwrap_or_else(|| panic!("{text}")).1.to_owned()
}

/// Sends `command` with every client; each must receive `answer`.
#[track_caller]
fn all(clients: &mut [(WebSocket, String)], command: &str, answer: &str) {
    clients.iter_mut().for_each(|(c, _)| assert_eq!(c.ask(command), answer));
}

#[test]
fn a_plugin_in_c_replaces_one_in_rust_and_the_other_way_round() {
    let (server, mut clients) = serve(&rust("none"));
    all(&mut clients, "hi", "1 hi");
    server.reload_with(&c(&[])).expect("the reload is accepted");
    all(&mut clients, "hi", "C hi");
    server.reload_with(&rust("none")).expect("the reload is accepted");
    all(&mut clients, "hi", "3 hi");
    // This variant declares a state, but the connections have none yet.
    server.reload_with(&rust("")).expect("the reload is accepted");
    all(&mut clients, "hi", "4 hi");
    server.reload_with(&c(&["-DDATA", "-DHOOKS"])).expect("the reload is accepted");
    all(&mut clients, "get", "C nothing");
    assert_eq!(server.host.log_lines(" bye from "), [""; 0], "no ondisconnect ran");
}

#[test]
fn state_that_only_one_language_can_carry_over_begins_anew() {
    let (server, mut clients) = serve(&rust(""));
    all(&mut clients, "count", "1");
    server.reload_with(&c(&["-DDATA"])).expect("the reload is accepted");
    for (c, id) in &mut clients {
        assert_eq!(greeted(c), *id);
        server.host.log_line(&format!("#{id} bye from 1"));
    }
    all(&mut clients, "get", "C C:mine");
    server.reload_with(&rust("")).expect("the reload is accepted");
    for (c, id) in &mut clients {
        assert_eq!(greeted(c), *id);
        server.host.log_line(&format!("#{id} bye from C"));
        server.host.log_line(&format!("#{id} released by C"));
    }
    all(&mut clients, "count", "1");
}

#[test]
fn a_state_of_the_other_language_rejects_the_reload_and_nothing_changes() {
    let hooks = c(&["-DDATA", "-DHOOKS"]);
    let (server, mut clients) = serve(&rust(""));
    all(&mut clients, "count", "1");
    let reason = server.reload_with(&hooks).expect_err("the reload must be rejected");
    for part in
        ["plugin `state`", "connection ", "cannot be restored: this is not what a copy in C has saved"]
    {
        assert!(reason.contains(part), "no `{part}` in {reason}");
    }
    all(&mut clients, "get", r#"1 Session { nick: "", count: 1 }"#);
    all(&mut clients, "count", "2");
    assert_eq!(server.host.log_lines(" bye from "), [""; 0]);

    let (server, mut clients) = serve(&hooks);
    let reason = server.reload_with(&rust("")).expect_err("the reload must be rejected");
    for part in ["plugin `state`", "connection ", "state `Session`: ", "another language"] {
        assert!(reason.contains(part), "no `{part}` in {reason}");
    }
    all(&mut clients, "get", "C C:mine");
    server.put(&hooks);
    server.reload_again().expect("the reload is accepted");
    all(&mut clients, "get", "C C:mine");
    assert_eq!(server.host.log_lines(" bye from "), [""; 0]);
    // A variant without a state drops the state of the others.
    server.reload_with(&rust("none")).expect("the reload is accepted");
    all(&mut clients, "get", "3 None");
    assert_eq!(server.host.log_lines(" bye from "), [""; 0]);
}
