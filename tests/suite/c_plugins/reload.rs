//! Plugins in C over a reload: the example with its names, and a plugin that is in Rust before and in C after it,
//! or the other way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ROOT, hear, join_both_workers};
use crate::support::{Reloading, WebSocket, c_plugin_with, made_plugin, path, plugin_variant, scratch};

/// The chat in C as somebody has edited it: all that is told apart here, and `version` as its state's.
fn edited_chat(version: u32) -> PathBuf {
    let made = made_plugin("chat-c", "chat.so", "");
    let mut source = fs::read_to_string(Path::new(ROOT).join("example-plugins/chat-c/chat.c"))
        .expect("the example is there");
    for (old, new) in [
        ("a name has 1 to 32 characters", "a name has 32 letters at most, and one at least"),
        // What is carried over as bytes may stand anywhere in it.
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
        hear(c, &format!("* {ann_name} is now Änn"));
    }
    talk(&mut ann, &mut bob, OLD, &bob_name);
    server.reload_with(&edited_chat(1)).expect("it is taken");
    talk(&mut ann, &mut bob, NEW, &bob_name);
    // What version 2 saves is nothing that these know.
    server.reload_with(&edited_chat(2)).expect("it is taken");
    talk(&mut ann, &mut bob, NEW, &bob_name);
    let refused = server.reload_with(&first).expect_err("it is refused");
    assert!(refused.contains("its state cannot be restored: the state is not a name"), "{refused}");
    assert!(refused.contains("connection "), "{refused}");
    talk(&mut ann, &mut bob, NEW, &bob_name);
    server.reload_with(&edited_chat(1)).expect_err("so is this one");
    server.reload_with(&edited_chat(2)).expect_err("and this one: it reads version 1 alone");
    talk(&mut ann, &mut bob, NEW, &bob_name);
    ann.text("/quit that was it");
    assert_eq!(ann.closed(), Some((1000, "that was it".to_owned())));
    hear(&mut bob, "* Änn left (1000 that was it)");
    drop(bob);
    assert!(server.host.terminate().success());
}

/// Änn and the other hear each other, by the code that has that rule.
#[track_caller]
fn talk(ann: &mut WebSocket, bob: &mut WebSocket, rule: &str, bob_name: &str) {
    for c in [&mut *ann, bob] {
        c.text("/name ");
        hear(c, rule);
    }
    ann.text("still here");
    hear(bob, "Änn: still here");
    bob.text("so am I");
    hear(ann, &format!("{bob_name}: so am I"));
}

/// `test-state` in that variant, in Rust.
fn rust(variant: &str) -> PathBuf {
    plugin_variant("test-state", variant)
}

/// The same plugin in C.
fn c(options: &[&str]) -> PathBuf {
    c_plugin_with("twin.c", options)
}

/// Two workers that serve it, and clients that have been greeted by it: with so many each has some, or the tests
/// see less.
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

/// The next text is a greeting; the connection's id.
#[track_caller]
fn greeted(c: &mut WebSocket) -> String {
    let text = c.next_text();
    text.split_once(" hello #").unwrap_or_else(|| panic!("{text}")).1.to_owned()
}

/// All of them are answered so.
#[track_caller]
fn all(clients: &mut [(WebSocket, String)], command: &str, answer: &str) {
    clients.iter_mut().for_each(|(c, _)| assert_eq!(c.ask(command), answer));
}

#[test]
fn a_copy_in_c_takes_the_place_of_one_in_rust_and_gives_it_back() {
    let (server, mut clients) = serve(&rust("none"));
    all(&mut clients, "hi", "1 hi");
    server.reload_with(&c(&[])).expect("it is taken");
    all(&mut clients, "hi", "C hi");
    server.reload_with(&rust("none")).expect("it is taken");
    all(&mut clients, "hi", "3 hi");
    // One that could have a state, and has none yet.
    server.reload_with(&rust("")).expect("it is taken");
    all(&mut clients, "hi", "4 hi");
    server.reload_with(&c(&["-DDATA", "-DHOOKS"])).expect("it is taken");
    all(&mut clients, "get", "C nothing");
    assert_eq!(server.host.log_lines(" bye from "), [""; 0], "nobody was told of an end");
}

#[test]
fn what_only_one_of_the_two_can_carry_over_begins_anew() {
    let (server, mut clients) = serve(&rust(""));
    all(&mut clients, "count", "1");
    server.reload_with(&c(&["-DDATA"])).expect("it is taken");
    for (c, id) in &mut clients {
        assert_eq!(greeted(c), *id);
        server.host.log_line(&format!("#{id} bye from 1"));
    }
    all(&mut clients, "get", "C C:mine");
    server.reload_with(&rust("")).expect("it is taken");
    for (c, id) in &mut clients {
        assert_eq!(greeted(c), *id);
        server.host.log_line(&format!("#{id} bye from C"));
        server.host.log_line(&format!("#{id} released by C"));
    }
    all(&mut clients, "count", "1");
}

#[test]
fn a_state_of_the_other_language_refuses_the_reload_and_nothing_changes() {
    let hooks = c(&["-DDATA", "-DHOOKS"]);
    let (server, mut clients) = serve(&rust(""));
    all(&mut clients, "count", "1");
    let refused = server.reload_with(&hooks).expect_err("it is refused");
    for part in
        ["plugin `state`", "connection ", "cannot be restored: this is not what a copy in C has saved"]
    {
        assert!(refused.contains(part), "no `{part}` in {refused}");
    }
    all(&mut clients, "get", r#"1 Session { nick: "", count: 1 }"#);
    all(&mut clients, "count", "2");
    assert_eq!(server.host.log_lines(" bye from "), [""; 0]);

    let (server, mut clients) = serve(&hooks);
    let refused = server.reload_with(&rust("")).expect_err("it is refused");
    for part in ["plugin `state`", "connection ", "state `Session`: ", "another language"] {
        assert!(refused.contains(part), "no `{part}` in {refused}");
    }
    all(&mut clients, "get", "C C:mine");
    server.reload_with(&hooks).expect("its own is taken");
    all(&mut clients, "get", "C C:mine");
    assert_eq!(server.host.log_lines(" bye from "), [""; 0]);
    // One without a state has no place for it.
    server.reload_with(&rust("none")).expect("it is taken");
    all(&mut clients, "get", "3 None");
    assert_eq!(server.host.log_lines(" bye from "), [""; 0]);
}
