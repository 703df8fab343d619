//! State across a reload: what a client observes for each line of the table in the documentation of
//! `callsign-plugin`. The plugin `test-state` is built in variants with different states.
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{Host, WebSocket, path, plugin, plugin_variant, replace, run, scratch};

/// A server whose plugin can be replaced.
struct Server {
    host: Host,
    library: PathBuf,
    control: PathBuf,
}

impl Server {
    /// `test` names the files of this test.
    fn start(test: &str, variant: &str, options: &[&str]) -> Self {
        Self::of(test, &built(variant), options)
    }

    fn of(test: &str, built: &Path, options: &[&str]) -> Self {
        let (library, control) = (scratch(&format!("{test}.so")), scratch(&format!("{test}.control")));
        replace(&library, built);
        let serve = ["serve", path(&library), "--control", path(&control)];
        Self { host: Host::start(&[&serve, options].concat()), library, control }
    }

    /// A client, its connection's id, and the generation that has greeted it.
    fn open(&self, generation: u32) -> (WebSocket, u64) {
        let mut c = self.host.open("/");
        let id = greeted(&mut c, generation);
        (c, id)
    }

    /// Reloads to a variant that the server accepts.
    fn reload(&self, variant: &str) {
        let (code, _, stderr) = self.try_reload(variant);
        assert_eq!(code, 0, "{stderr}");
    }

    /// Reloads to a variant that the server rejects; returns the reason.
    fn rejected(&self, variant: &str) -> String {
        let (code, _, stderr) = self.try_reload(variant);
        assert_eq!(code, 1, "{stderr}");
        stderr
    }

    fn try_reload(&self, variant: &str) -> (i32, String, String) {
        self.try_reload_of(&built(variant))
    }

    fn try_reload_of(&self, built: &Path) -> (i32, String, String) {
        replace(&self.library, built);
        // Some tests reload to the variant that is in use.
        run(&["reload", "--force", "--control", path(&self.control)])
    }
}

/// The library of a variant; "" is the first version.
fn built(variant: &str) -> PathBuf {
    plugin_variant("test-state", variant)
}

/// Reads the greeting of the onconnect handler; returns the connection's id.
fn greeted(c: &mut WebSocket, generation: u32) -> u64 {
    let hello = c.next_text();
    let id = hello.strip_prefix(&format!("{generation} hello #")).and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("no greeting of generation {generation}: {hello}"))
}

/// Gives the connection a state: the name `ann` and a count of 2.
fn fill(c: &mut WebSocket) {
    assert_eq!(c.ask("set nick=ann"), "set");
    assert_eq!([c.ask("count"), c.ask("count")], ["1", "2"]);
}

const FILLED: &str = r#"Session { nick: "ann", count: 2 }"#;

/// After a rejected reload the old code still answers, with the connection's state.
fn unchanged(c: &mut WebSocket, generation: u32) {
    assert_eq!(c.ask("get"), format!("{generation} {FILLED}"));
    assert_eq!(c.ask("hi"), format!("{generation} hi"));
}

fn contains(text: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(text.contains(part), "no `{part}` in: {text}"));
}

#[test]
fn an_unchanged_state_is_carried_over_again_and_again() {
    let server = Server::start("unchanged", "", &[]);
    let (mut c, _) = server.open(1);
    fill(&mut c);
    for generation in 2..5 {
        server.reload("");
        unchanged(&mut c, generation);
    }
    assert_eq!(c.ask("count"), "3");
}

#[test]
fn every_connection_of_every_worker_has_its_own() {
    let server = Server::start("workers", "", &["--workers", "2"]);
    let mut clients: Vec<_> = (0..8).map(|_| server.open(1).0).collect();
    for (i, c) in clients.iter_mut().enumerate() {
        assert_eq!(c.ask(&format!("set nick={i}")), "set");
    }
    server.reload("added");
    for (i, c) in clients.iter_mut().enumerate() {
        assert_eq!(c.ask("get"), format!(r#"2 Session {{ nick: "{i}", count: 0, mood: "calm" }}"#));
    }
}

#[test]
fn an_added_field_has_its_default() {
    let server = Server::start("added", "", &[]);
    let (mut c, _) = server.open(1);
    fill(&mut c);
    server.reload("added");
    assert_eq!(c.ask("get"), r#"2 Session { nick: "ann", count: 2, mood: "calm" }"#);
    assert_eq!(c.ask("set mood=glad"), "set");
    server.reload("added");
    assert_eq!(c.ask("get"), r#"3 Session { nick: "ann", count: 2, mood: "glad" }"#);
}

#[test]
fn an_added_field_without_default_rejects_the_reload_and_is_named() {
    let server = Server::start("added_no_default", "", &[]);
    let ((mut c, id), (mut other, _)) = (server.open(1), server.open(1));
    fill(&mut c);
    let why = server.rejected("added_no_default");
    contains(&why, &[&format!("connection {id}"), "state `Session`, field `mood`", "#[serde(default)]"]);
    unchanged(&mut c, 1);
    assert_eq!(other.ask("hi"), "1 hi");
    // The corrected variant is accepted and becomes the next generation.
    server.reload("added");
    contains(&c.ask("get"), &[r#"Session { nick: "ann", count: 2, mood: "calm" }"#]);
}

#[test]
fn a_removed_field_is_gone() {
    let server = Server::start("removed", "", &[]);
    let (mut c, _) = server.open(1);
    fill(&mut c);
    server.reload("removed");
    assert_eq!(c.ask("get"), "2 Session { count: 2 }");
}

#[test]
fn a_field_of_another_type_rejects_the_reload_and_is_named() {
    let server = Server::start("retyped", "", &[]);
    let (mut c, id) = server.open(1);
    fill(&mut c);
    let why = server.rejected("retyped");
    contains(&why, &[&format!("connection {id}"), "state `Session`, field `count`", "integer `2`"]);
    unchanged(&mut c, 1);
}

#[test]
fn a_restore_that_fails_or_panics_rejects_the_reload_with_its_reason() {
    let server = Server::start("fails", "", &[]);
    let ((mut c, id), (mut other, _)) = (server.open(1), server.open(1));
    fill(&mut c);
    let id = format!("connection {id}");
    contains(&server.rejected("fails"), &[&id, "field `nick`", "ann is not welcome"]);
    unchanged(&mut c, 1);
    contains(&server.rejected("panics"), &[&id, "restore panics", "variant.rs:"]);
    unchanged(&mut c, 1);
    assert_eq!(other.ask("hi"), "1 hi");
}

#[test]
fn a_save_that_fails_rejects_the_reload_with_its_reason() {
    let server = Server::start("unsaved", "unsaved", &[]);
    let (mut c, id) = server.open(1);
    fill(&mut c);
    contains(&server.rejected(""), &[&format!("connection {id}"), "`Session`", "ann is not to be moved"]);
    unchanged(&mut c, 1);
}

#[test]
fn a_generation_without_a_state_drops_it_and_one_with_a_state_creates_it() {
    let server = Server::start("none", "", &[]);
    let (mut c, _) = server.open(1);
    fill(&mut c);
    server.reload("none");
    assert_eq!(c.ask("get"), "2 None");
    server.reload("");
    assert_eq!(c.ask("get"), r#"3 Session { nick: "", count: 0 }"#);
}

#[test]
fn undeclared_data_is_dropped_and_onconnect_runs_again() {
    let server = Server::start("data", "data", &[]);
    let (mut c, id) = server.open(1);
    assert_eq!([c.ask("count"), c.ask("count")], ["1", "2"]);
    server.reload("data");
    assert_eq!(greeted(&mut c, 2), id);
    server.host.log_line(&format!("#{id} bye from 1"));
    assert_eq!(c.ask("get"), "2 Some(0)");
    c.close(1000, "");
    server.host.log_line(&format!("#{id} bye from 2"));
    assert_eq!(server.host.log_lines(&format!("#{id} bye")).len(), 2);
}

#[test]
fn a_connection_without_a_state_gets_a_default_one() {
    let server = Server::start("nothing", "", &[]);
    let (mut c, _) = server.open(1);
    // This variant would reject any state.
    server.reload("added_no_default");
    assert_eq!(c.ask("get"), r#"2 Session { nick: "", count: 0, mood: "" }"#);
}

#[test]
fn shared_state_is_carried_over_and_validated_like_a_connections_state() {
    let server = Server::start("shared", "", &[]);
    let (mut c, _) = server.open(1);
    server.reload("");
    assert_eq!(c.ask("carried"), "nothing");
    assert_eq!([c.ask("shared"), c.ask("shared")], ["1", "2"]);
    server.reload("");
    assert_eq!([c.ask("carried"), c.ask("shared")], ["something", "3"]);
    contains(&server.rejected("shared_retyped"), &["shared state `Room`, field `count`", "integer `3`"]);
    assert_eq!([c.ask("shared"), c.ask("hi")], ["4", "3 hi"]);
}

#[test]
fn the_unload_hook_runs_once_in_the_replaced_generation_and_sees_its_shared_state() {
    let server = Server::start("unload", "", &[]);
    let (mut c, _) = server.open(1);
    fill(&mut c);
    assert_eq!(c.ask("shared"), "1");
    server.rejected("retyped");
    assert_eq!(server.host.log_lines("`state`: unload").len(), 0);
    server.reload("");
    server.host.log_line("unload 1, 1 shared");
    assert_eq!(c.ask("shared"), "2");
    server.reload("");
    server.host.log_line("unload 2, 2 shared");
    unchanged(&mut c, 3);
    assert_eq!(server.host.log_lines("`state`: unload").len(), 2);
}

#[test]
fn timers_of_the_old_generation_end_with_it() {
    let server = Server::start("timers", "", &[]);
    let (mut c, _) = server.open(1);
    // Timers that are due at the same time run in the order in which they were set.
    c.text("late 300");
    c.text("every 1");
    while c.next_text() != "1 tick" {}
    server.reload("");
    c.text("mark");
    while c.next_text() != "2 mark" {}
    c.text("late 300");
    c.text("every 1");
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "2 late") {
        seen.push(c.next_text());
    }
    assert!(seen.iter().all(|text| !text.starts_with('1')), "{seen:?}");
    assert!(seen.iter().any(|text| text == "2 tick"), "{seen:?}");
}

#[test]
fn running_work_finishes_without_its_done_callback_and_waiting_work_is_dropped() {
    /// Background threads of the host.
    const THREADS: usize = 16;
    let server = Server::start("work", "", &[]);
    let (mut c, _) = server.open(1);
    let (fifo, mut permits) = fifo("work.fifo");
    for i in 0..=THREADS {
        assert_eq!(c.ask(&format!("work #{i}. {}", path(&fifo))), "working");
    }
    (0..THREADS).for_each(|i| _ = server.host.log_line(&format!("begun #{i}.")));
    server.reload("");
    permits.write_all(&[0; THREADS]).expect("the pipe is open");
    for i in 0..THREADS {
        server.host.log_line(&format!("finished #{i}.: Ok"));
        server.host.log_line(&format!("dropped #{i}."));
    }
    server.host.log_line(&format!("dropped #{THREADS}."));
    // Work that was still queued would run before this one.
    assert_eq!(c.ask(&format!("work new {}", path(&fifo))), "working");
    permits.write_all(&[0]).expect("the pipe is open");
    assert_eq!(c.next_text(), "2 worked new");
    assert_eq!(server.host.log_lines(&format!("begun #{THREADS}.")).len(), 0);
}

/// A named pipe, opened for reading and writing, so that opening does not block.
fn fifo(name: &str) -> (PathBuf, File) {
    let fifo = scratch(name);
    // Removes the pipe of an earlier run.
    let _ = fs::remove_file(&fifo);
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .expect("the scratch folder can be written");
    let file = File::options().read(true).write(true).open(&fifo).expect("the pipe exists");
    (fifo, file)
}

#[test]
fn timers_continue_across_a_rejected_reload() {
    let server = Server::start("timers_go_on", "", &[]);
    let (mut c, _) = server.open(1);
    fill(&mut c);
    c.text("every 1");
    while c.next_text() != "1 tick" {}
    server.rejected("retyped");
    c.text("mark");
    while c.next_text() != "1 mark" {}
    while c.next_text() != "1 tick" {}
}

#[test]
fn names_of_the_chat_example_survive_a_reload() {
    let chat = plugin("chat");
    let server = Server::of("chat", &chat, &[]);
    let mut ann = server.host.open("/");
    assert_eq!(ann.next_text(), "* you are guest-1");
    assert_eq!(ann.ask("/name ann"), "* guest-1 is now ann");
    let (code, _, stderr) = server.try_reload_of(&chat);
    assert_eq!(code, 0, "{stderr}");
    let mut bob = server.host.open("/");
    assert_eq!(bob.next_text(), "* you are guest-2");
    assert_eq!(ann.next_text(), "* guest-2 joined");
    ann.text("still here");
    assert_eq!(bob.next_text(), "ann: still here");
}
