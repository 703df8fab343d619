//! A plugin that holds a port: one worker has it, a restarted worker gets it again, and in a reload it goes from the old
//! generation to the new one, or stays.

use std::net::TcpStream;

use super::*;
use crate::support::free_port;

fn built(generation: &str, defines: &[&str]) -> PathBuf {
    let generation = format!("-DGENERATION=\"{generation}\"");
    c_plugin_with("exclusive.c", &[&[generation.as_str()], defines].concat())
}

/// A server with two workers, whose plugin wants this port.
fn serve() -> (Reloading, u16) {
    let port = free_port();
    let program = ["env", &format!("CALLSIGN_TEST_PORT={port}")];
    let options = ["--workers", "2", "--route", "/=,message,", "--log", "debug"];
    let server = Reloading::serve_through(&program, &built("1", &[]), &options);
    server.host.workers_serve(2);
    (server, port)
}

#[track_caller]
fn assert_is_open(port: u16) {
    TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
}

#[test]
fn a_port_goes_from_the_old_generation_to_the_new_one() {
    let (server, port) = serve();
    server.host.log_line("1: worker 0 replaces 0");
    server.host.log_line("1: worker 1 replaces 0");
    assert_is_open(port);
    for (generation, replaced) in [("2", "1"), ("3", "2")] {
        server.reload_with(&built(generation, &[])).expect("the reload is accepted");
        for worker in [0, 1] {
            server.host.log_line(&format!("{generation}: worker {worker} replaces {replaced}"));
        }
        server.host.log_line(&format!("{generation}: has the port"));
        assert_is_open(port);
    }
    assert_eq!(server.host.log_lines("has the port").len(), 3);
}

#[test]
fn a_port_stays_with_the_old_generation_if_the_new_one_is_rejected() {
    let (server, port) = serve();
    let reason = server.reload_with(&built("2", &["-DREJECT"])).expect_err("the reload must be rejected");
    assert!(reason.contains("not after all"), "{reason}");
    assert_is_open(port);
    server.reload_with(&built("2", &[])).expect("the reload is accepted");
    server.host.log_line("2: has the port");
    assert_eq!(server.host.log_lines("has the port").len(), 2, "the rejected generation has never had it");
    // Without the pattern, the old generation is in the way.
    let reason = server.reload_with(&built("3", &["-DCARELESS"])).expect_err("the reload must be rejected");
    assert!(reason.contains("Address already in use"), "{reason}");
    let reason = server.reload_with(&built("3", &["-DTELL_PROBE"])).expect_err("the reload must be rejected");
    assert!(reason.contains("generation 2 serves"), "{reason}");
    assert_is_open(port);
}

#[test]
fn a_worker_that_starts_again_finds_the_port_free() {
    let (server, port) = serve();
    server.reload_with(&built("2", &[])).expect("the reload is accepted");
    server.host.log_line("2: has the port");
    server.host.workers().remove(0).signal(Signal::KILL);
    server.host.log_line("2: worker 0 replaces 0");
    server.host.log_has("2: has the port", 2);
    assert_is_open(port);
}
