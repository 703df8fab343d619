//! A library of two C files that both include Kore's headers: what the headers define exists once in the
//! library.

use std::path::PathBuf;

use super::{compile_all, root};
use crate::support::{Reloading, WebSocket, scratch};

/// The library, built with this compiler as this version.
fn built(compiler: &str, version: &str, optimisation: &str) -> PathBuf {
    let sources =
        ["kore_two_pages.c", "kore_two_talk.c"].map(|file| root().join("tests/plugins/c").join(file));
    let library = scratch(&format!("libtwo-{compiler}-{version}{optimisation}.so"));
    let options = [optimisation, "-DCALLSIGN_STATE_VERSION=3", &format!("-DVERSION=\"{version}\"")];
    compile_all(compiler, &options, &sources.each_ref().map(PathBuf::as_path), &library);
    library
}

/// A client in each of the two workers.
fn one_in_each(server: &Reloading, version: &str) -> [WebSocket; 2] {
    let mut clients = [None, None];
    for _ in 0..200 {
        let mut c = server.host.open("/?name=Ann");
        let first = format!("{version} worker 1 of 2: Ann 1: hi");
        let worker = usize::from(c.ask("hi") != first);
        clients[worker].get_or_insert(c);
        if let [Some(_), Some(_)] = clients {
            return clients.map(|c| c.expect("both were just matched"));
        }
    }
    panic!("all clients are in one worker");
}

fn is_served_and_reloaded(compiler: &str, optimisation: &str) {
    let options = ["--workers", "2", "--route", "/=enter", "--log", "debug"];
    let mut server = Reloading::serve(&built(compiler, "one", optimisation), &options);
    server.host.workers_serve(2);
    assert_eq!(server.host.connect().handshake("/", &[]).status, 400);
    let mut clients = one_in_each(&server, "one");
    for (count, version) in [(2, "one"), (4, "two"), (6, "three")] {
        if version != "one" {
            server.reload_with(&built(compiler, version, optimisation)).expect("the reload is accepted");
        }
        for (worker, c) in clients.iter_mut().enumerate() {
            assert_eq!(c.ask("x"), format!("{version} worker {} of 2: Ann {count}: x", worker + 1));
        }
        // The sender's worker receives the message as well.
        for sender in 0..clients.len() {
            clients[sender].text("news");
            assert!(clients.iter_mut().all(|c| c.next_text() == "news"));
        }
    }
    clients.into_iter().for_each(|c| assert_eq!(c.close(1000, ""), Some((1000, String::new()))));
    server.host.log_line("three: Ann has said 7 things");
    assert!(server.host.terminate().success());
    assert_eq!(server.host.log_lines("ERROR"), [""; 0]);
}

#[test]
fn two_files_are_one_plugin_with_both_compilers() {
    is_served_and_reloaded("gcc", "-O2");
    is_served_and_reloaded("clang", "-O2");
    is_served_and_reloaded("gcc", "-O0");
}
