//! Plugins in C under AddressSanitizer and valgrind, which must report nothing about the plugins or about
//! what the host does for them. Deliberate faults prove that each checker would report something.

use std::path::{Path, PathBuf};
use std::{env, process};

use tungstenite::Message;

use crate::support::Checker::{self, Sanitizer, Valgrind};
use crate::support::{
    Checked, ENDS, SANITIZED, TEXT_BEGINS, WebSocket, alone, c_plugin_with, made_plugin, path, replace, run,
    scratch,
};

fn c_plugin(checker: Checker, file: &str) -> PathBuf {
    let flags = if checker == Sanitizer { &SANITIZED[..] } else { &[] };
    c_plugin_with(file, &[&["-pthread"], flags].concat())
}

fn chat(checker: Checker) -> PathBuf {
    made_plugin("chat-c", "chat.so", &if checker == Sanitizer { SANITIZED.join(" ") } else { String::new() })
}

/// Starts a server under `checker` with this library.
fn start(checker: Checker, name: &str, library: &Path, options: &[&str]) -> Checked {
    checker.start(name, library, &[&[path(library)], options].concat())
}

/// The next text message; pings and pongs are skipped.
fn next_text(c: &mut WebSocket) -> String {
    loop {
        match c.next() {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("no text: {other:?}"),
        }
    }
}

fn chat_is_clean(checker: Checker) {
    let _alone = alone();
    let checked = start(checker, "chat", &chat(checker), &[]);
    let host = &checked.host;
    let (mut ann, mut bob) = (host.open("/"), host.open("/"));
    assert!(next_text(&mut bob).starts_with("* you are guest-"));
    for text in ["hello", "", "/name ", "/name Ann", "/names", &"long ".repeat(40_000)] {
        ann.text(text);
    }
    ann.binary(&[1, 2, 3]);
    ann.text(&format!("/name {}", "x".repeat(2000)));
    ann.text("/quit that was it");
    while !matches!(ann.next(), Message::Close(_)) {}
    ann.ended();
    while next_text_or_binary(&mut bob) != "* Ann left (1000 that was it)" {}
    for (method, path) in [("GET", "/"), ("HEAD", "/"), ("GET", "/none"), ("POST", "/")] {
        assert_ne!(host.connect().request(method, path, &[], b"").status, 500);
    }
    host.open("/").reset();
    // The server does not wait for this client when it stops.
    drop(bob);
    let findings = checked.findings();
    assert!(findings.is_empty(), "{findings}");
}

fn next_text_or_binary(c: &mut WebSocket) -> String {
    match c.next() {
        Message::Text(text) => text.to_string(),
        Message::Binary(_) => String::new(),
        other => panic!("no message: {other:?}"),
    }
}

fn bad_input_is_clean(checker: Checker) {
    let _alone = alone();
    let checked = start(checker, "bad", &c_plugin(checker, "bad_input.c"), &["--route", "/*=page"]);
    let host = &checked.host;
    for command in ["nulls", "far timer", "thread", "pool", "nobody's timer fails", "after", ""] {
        let mut c = host.open("/ws");
        c.text(command);
        let text = next_text(&mut c);
        // Without worker processes more calls are allowed on this thread; other tests check the results.
        assert!(text.contains(" checks, "), "{command}: {text}");
        c.start_close(1000, "");
    }
    for command in ["timer fails", "done fails"] {
        let mut c = host.open("/ws");
        c.text(command);
        while !matches!(c.next(), Message::Close(_)) {}
    }
    for path in ["/answers", "/answer/0", "/answer/2", "/fail", "/no-upgrade"] {
        host.connect().request("GET", path, &[], b"");
    }
    for path in ["/no-utf-8", "/wrong-kind", "/corrected"] {
        host.connect().handshake(path, &[]);
    }
    let wrong = host.log_lines("wrong, line");
    assert!(wrong.is_empty(), "{wrong:#?}");
    let findings = checked.findings();
    assert!(findings.is_empty(), "{findings}");
}

/// Has the plugin commit the faults one after the other in one server. The reports must contain all words.
#[track_caller]
fn are_found(checker: Checker, faults: &[(&str, &str)]) {
    let library = c_plugin(checker, "memory_bugs.c");
    let checked = start(checker, "faults", &library, &["--route", "/=,message,"]);
    for (fault, _) in faults {
        let mut c = checked.host.open("/");
        c.text(fault);
        // At an error the sanitizer aborts the worker, in the callback or in the host's code that the
        // callback runs.
        if checker == Sanitizer && *fault != "leak" {
            c.dropped();
        } else {
            while !matches!(c.next(), Message::Text(text) if text == "done") {}
        }
    }
    let findings = checked.findings();
    for (fault, words) in faults {
        assert!(findings.contains(words), "{fault}: no `{words}` in {findings}");
    }
    assert!(findings.matches("memory_bugs.c:").count() >= faults.len(), "{findings}");
}

#[test]
fn the_chat_in_c_is_clean_under_the_address_sanitizer() {
    chat_is_clean(Sanitizer);
}

#[test]
fn the_chat_in_c_is_clean_under_valgrind() {
    chat_is_clean(Valgrind);
}

/// Valgrind runs one process (`--workers 0`), which cannot reload; so this test uses the sanitizer only.
#[test]
fn a_reload_of_the_chat_in_c_is_clean_under_the_address_sanitizer() {
    let _alone = alone();
    let library = scratch("chat-reloaded.so");
    replace(&library, &chat(Sanitizer));
    // A short path, because the path of a Unix socket is limited to about 100 bytes.
    let control = env::temp_dir().join(format!("callsign-asan-{}", process::id()));
    let checked = start(Sanitizer, "reload", &library, &["--control", path(&control)]);
    let mut guests: Vec<_> = (0..3).map(|_| checked.host.open("/")).collect();
    for (i, c) in guests.iter_mut().enumerate() {
        c.text(&format!("/name guest number {i}"));
        while next_text(c) != format!("* guest-{} is now guest number {i}", i + 1) {}
    }
    for flags in ["-O1", "-O2"] {
        let flags = [&SANITIZED[..], &[flags]].concat().join(" ");
        replace(&library, &made_plugin("chat-c", "chat.so", &flags));
        let (code, _, reason) = run(&["reload", "--control", path(&control)]);
        assert_eq!((code, &*reason), (0, ""));
        for i in 0..guests.len() {
            guests[i].text(flags.as_str());
            let hears = &mut guests[(i + 1) % 3];
            while next_text(hears) != format!("guest number {i}: {flags}") {}
        }
    }
    drop(guests);
    let findings = checked.findings();
    assert!(findings.is_empty(), "{findings}");
}

#[test]
fn bad_input_is_clean_under_the_address_sanitizer() {
    bad_input_is_clean(Sanitizer);
}

#[test]
fn bad_input_is_clean_under_valgrind() {
    bad_input_is_clean(Valgrind);
}

/// Messages that a plugin reads as C strings, and writes behind: whole, in fragments, cut by the network.
fn strings_are_clean(checker: Checker) {
    let _alone = alone();
    let library = c_plugin(checker, "strings.c");
    let checked = start(checker, "strings", &library, &["--route", "/=,message,", "--route", "/page=page"]);
    let mut c = checked.host.open("/");
    for length in [0, 1, 125, 126, 70_000, 300_000] {
        let text = "x".repeat(length);
        c.text(&text);
        let (begins, ends) = text.as_bytes().split_at(length / 2);
        c.send_frame(TEXT_BEGINS, begins);
        c.send_frame(ENDS, ends);
        for _ in 0..2 {
            assert_eq!(c.next_binary().len(), length);
        }
        let answer = checked.host.connect().request("POST", "/page", &[], text.as_bytes());
        assert_eq!((answer.status, answer.body.len()), (200, length));
    }
    drop(c);
    let findings = checked.findings();
    assert!(findings.is_empty(), "{findings}");
}

#[test]
fn strings_are_clean_under_the_address_sanitizer() {
    strings_are_clean(Sanitizer);
}

#[test]
fn strings_are_clean_under_valgrind() {
    strings_are_clean(Valgrind);
}

#[test]
fn the_address_sanitizer_would_have_found_a_fault() {
    let _alone = alone();
    for fault in [
        ("behind", "heap-buffer-overflow"),
        ("after free", "heap-use-after-free"),
        ("too long", "heap-buffer-overflow"),
        ("leak", "leak of 16 byte(s)"),
    ] {
        are_found(Sanitizer, &[fault]);
    }
}

#[test]
fn valgrind_would_have_found_a_fault() {
    let _alone = alone();
    are_found(
        Valgrind,
        &[
            ("behind", "Invalid write of size 1"),
            ("after free", "Invalid read of size 1"),
            ("too long", ": mem"),
            ("leak", "16 bytes in 1 blocks are definitely lost"),
            ("uninitialised", "depends on uninitialised value"),
        ],
    );
}
