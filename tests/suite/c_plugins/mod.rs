//! Plugins in C: the chat example, also across a reload, the plugin of the README, a plugin built against ABI
//! 1.0, and a plugin that replaces one in Rust and back.

mod reload;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tungstenite::Message;

use crate::support::{
    DEADLINE, Host, WebSocket, c_plugin, empty_folder, made_plugin, path, root, run, scratch,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn chat(workers: usize) -> Host {
    let library = made_plugin("chat-c", "chat.so", "");
    let count = workers.to_string();
    let host = Host::start(&["serve", path(&library), "--workers", &count, "--log", "debug"]);
    host.workers_serve(workers);
    host
}

/// A client of the chat, and the name it was given.
fn join(host: &Host) -> (WebSocket, String) {
    let mut c = host.open("/");
    let greeting = c.next_text();
    let name = greeting.strip_prefix("* you are ").unwrap_or_else(|| panic!("{greeting}"));
    (c, name.to_owned())
}

/// Two clients in different workers.
fn join_both_workers(host: &Host) -> [(WebSocket, String); 2] {
    // The number in a name is the connection's id; the ids of a worker differ by the number of workers.
    let worker = |name: &str| name.trim_start_matches("guest-").parse::<u64>().expect("a number") % 2;
    let first = join(host);
    let end = Instant::now() + DEADLINE;
    // Surplus clients stay connected: a worker with fewer clients would accept all new ones.
    let mut others = Vec::new();
    loop {
        let other = join(host);
        if worker(&other.1) != worker(&first.1) {
            return [first, other];
        }
        others.push(other);
        assert!(Instant::now() < end, "no client was accepted by the other worker");
    }
}

/// Waits for this text; skips announcements of guests that join or leave.
#[track_caller]
fn await_text(c: &mut WebSocket, wanted: &str) {
    loop {
        let text = c.next_text();
        if text == wanted {
            return;
        }
        let is_aside =
            text.starts_with("* guest-") && (text.ends_with(" joined") || text.contains(" left ("));
        assert!(is_aside, "{text:?}, not {wanted:?}");
    }
}

/// The files below a folder, relative to it, with their content.
fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    fn add(folder: &Path, root: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for path in
            fs::read_dir(folder).expect("it is a folder").map(|entry| entry.expect("it can be read").path())
        {
            if path.is_dir() {
                add(&path, root, found);
            } else {
                let text = fs::read_to_string(&path).expect("it can be read");
                found.insert(path.strip_prefix(root).expect("it is below").to_owned(), text);
            }
        }
    }
    let mut found = BTreeMap::new();
    add(folder, folder, &mut found);
    found
}

#[test]
fn the_program_contains_the_headers() {
    let folder = empty_folder("headers").join("new");
    let (code, stdout, stderr) = run(&["headers", path(&folder)]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let mut wanted = files(&root().join("plugin-api/include"));
    wanted.remove(Path::new("README.md")).expect("it is no header");
    assert!(files(&folder) == wanted);
    assert!(stdout.starts_with(&format!("wrote {} headers to ", wanted.len())), "{stdout}");
    // Replaces those of an earlier version.
    fs::write(folder.join("callsign.h"), "old").expect("it can be written");
    assert_eq!(run(&["headers", path(&folder)]).0, 0);
    assert!(files(&folder) == wanted);
    assert_eq!(run(&["headers", path(&folder.join("callsign.h"))]).0, 1);
}

#[test]
fn the_chat_in_c_reaches_the_guests_of_both_workers() {
    let host = chat(2);
    let [(mut ann, ann_name), (mut bob, bob_name)] = join_both_workers(&host);
    await_text(&mut ann, &format!("* {bob_name} joined"));

    ann.text("hello");
    await_text(&mut bob, &format!("{ann_name}: hello"));
    ann.text("/name  Änn \t");
    await_text(&mut bob, &format!("* {ann_name} is now Änn"));
    await_text(&mut ann, &format!("* {ann_name} is now Änn"));
    ann.text("a\0b /quit");
    await_text(&mut bob, "Änn: a\0b /quit");
    ann.text("");
    await_text(&mut bob, "Änn: ");
    ann.text("/quitter");
    await_text(&mut bob, "Änn: /quitter");

    bob.binary(&[0, 255, 7]);
    loop {
        match ann.next() {
            Message::Binary(bytes) => break assert_eq!(&bytes[..], [0, 255, 7]),
            other => {
                assert!(matches!(&other, Message::Text(text) if text.starts_with("* guest-")), "{other:?}")
            }
        }
    }

    ann.text("/quit see you");
    assert_eq!(ann.closed(), Some((1000, "see you".to_owned())));
    await_text(&mut bob, "* Änn left (1000 see you)");
    bob.text("/quit");
    assert_eq!(bob.closed(), Some((1000, String::new())));
}

#[test]
fn the_chat_in_c_rejects_names_that_are_empty_or_too_long() {
    let host = chat(1);
    let (mut c, name) = join(&host);
    let long = "ö".repeat(33);
    for name in ["", "  \t ", &long, &"x".repeat(5000), &"€".repeat(5000)] {
        assert_eq!(c.ask(&format!("/name {name}")), "* a name has 1 to 32 characters");
    }
    let longest = "\u{1f600}".repeat(32);
    assert_eq!(c.ask(&format!("/name {longest}")), format!("* {name} is now {longest}"));
    // A Close carries a reason of at most 123 bytes; a longer one is cut between two characters.
    c.text(&format!("/quit {}", "€".repeat(5000)));
    assert_eq!(c.closed(), Some((1000, "€".repeat(41))));
}

#[test]
fn the_chat_in_c_serves_its_page() {
    let host = chat(1);
    let page = fs::read(Path::new(ROOT).join("example-plugins/chat/chat.html")).expect("the page is there");
    let mut c = host.connect();
    let answer = c.request("GET", "/", &[], b"");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(answer.body == page, "the page differs");
    assert_eq!(c.request("HEAD", "/", &[], b"").status, 200);
    let answer = c.request("GET", "/other", &[], b"");
    assert_eq!((answer.status, answer.text()), (404, "nothing here; the chat is at /\n"));
    let answer = c.request("POST", "/", &[], b"x");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn the_chat_in_c_saves_and_restores_names_and_nothing_else() {
    let made = made_plugin("chat-c", "chat.so", "");
    let program = scratch("chat_state");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-g", "-fsanitize=address,undefined", "-I"]);
    cc.arg(Path::new(ROOT).join("plugin-api/include")).arg("-I");
    cc.arg(made.parent().expect("a file is in a folder")).arg("-o").arg(&program);
    let output = cc.arg(Path::new(ROOT).join("tests/plugins/c/chat_state.c")).output();
    let output = output.expect("there is a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = Command::new(&program).output().expect("the program can be executed");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// The first fenced block of this language after the README's heading about C.
fn readme(language: &str) -> String {
    let text = fs::read_to_string(Path::new(ROOT).join("README.md")).expect("there is a README");
    let part = text.split("\n### In C\n").nth(1).expect("the README has a section about C");
    let block = part.split(&format!("```{language}\n")).nth(1).expect("the section has such a block");
    block.split("```").next().expect("a text has a beginning").to_owned()
}

#[test]
fn the_plugin_in_the_readme_works() {
    let folder = scratch("readme");
    fs::create_dir_all(&folder).expect("the scratch folder can be made");
    fs::write(folder.join("hello.c"), readme("c")).expect("the scratch folder can be written");
    let commands = readme("sh");
    let (cc, serve) = commands.trim_end().split_once('\n').expect("two commands");
    let include = Path::new(ROOT).join("plugin-api/include");
    let status = Command::new("sh")
        .args(["-c", &cc.replace("plugin-api/include", path(&include))])
        .current_dir(&folder)
        .status();
    assert!(status.expect("there is a shell").success(), "{cc}");
    let arguments =
        serve.strip_prefix("target/release/callsign serve hello.so ").expect("the command serves hello.so");
    let arguments = arguments.replace('\'', "");
    let library = folder.join("hello.so");
    let arguments: Vec<_> = ["serve", path(&library)].into_iter().chain(arguments.split(' ')).collect();
    let host = Host::start(&arguments);
    let mut c = host.open("/");
    assert_eq!(c.next_text(), "welcome");
    let mut other = host.open("/");
    assert_eq!(other.next_text(), "welcome");
    c.text("hello");
    assert_eq!(other.next_text(), "hello");
    assert_eq!(c.close(1000, ""), Some((1000, String::new())));
    host.log_line("plugin `hello`: a client left with 1000");
}

#[test]
fn a_plugin_built_against_abi_1_0_is_served() {
    let host = Host::start(&["serve", path(&c_plugin("abi_1_0.c")), "--route", "/*=page"]);
    let mut c = host.connect();
    let answer = c.request("POST", "/a%20b?c=d", &[("X-One", "1")], b"body");
    assert_eq!(answer.status, 201);
    assert_eq!(
        answer.text(),
        "1 POST /a%20b c=d 1 body 4 test 2 1 host:test load 1 generation 1 plugin frozen config {} state 0 probe 0 \
         function 0"
    );
    let mut other = host.open("/");
    assert_eq!(other.next_text(), "welcome");
    let mut c = host.open("/path?query");
    assert_eq!(c.next_text(), "welcome");
    assert_eq!(c.ask("message"), "1 1 message 1 1 /path query test host:test 0 0 1 1 -6 0 of 1 -11");
    assert_eq!(c.next_text(), "timer 1 0");
    assert_eq!(c.next_text(), "due");
    assert_eq!(c.next_text(), "worked");
    assert_eq!(c.closed(), Some((4001, "enough".to_owned())));
    host.log_line("plugin `frozen`: left 4001 enough 2 data of frozen");
    host.log_line("plugin `frozen`: released");
    host.open("/").binary(b"to the others");
    assert_eq!(other.next_binary(), b"to the others");
}
