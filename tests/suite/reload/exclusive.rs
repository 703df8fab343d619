//! A plugin that holds a port: one worker has it, a restarted worker gets it again, and in a reload it goes from the old
//! generation to the new one, or stays.

use std::net::TcpStream;

use super::*;
use crate::support::free_port;

struct Server {
    host: Host,
    library: PathBuf,
    control: PathBuf,
    port: u16,
}

fn built(generation: &str, defines: &[&str]) -> PathBuf {
    let generation = format!("-DGENERATION=\"{generation}\"");
    c_plugin_with("exclusive.c", &[&[generation.as_str()], defines].concat())
}

impl Server {
    fn start(name: &str) -> Self {
        let (library, port) = (scratch(&format!("{name}.so")), free_port());
        crate::support::replace(&library, &built("1", &[]));
        // A short path, because the path of a Unix socket is limited to about 100 bytes.
        let control = std::env::temp_dir().join(format!("callsign-{name}-{}", std::process::id()));
        let variable = format!("CALLSIGN_TEST_PORT={port}");
        let options = ["serve", path(&library), "--workers", "2", "--route", "/=,message,"];
        let options = [&options[..], &["--log", "debug", "--control", path(&control)]].concat();
        let host = Host::start_through(&["env", &variable], &options);
        host.workers_serve(2);
        Self { host, library, control, port }
    }

    fn reload(&self, library: &Path) -> Result<(), String> {
        crate::support::replace(&self.library, library);
        match run(&["reload", "--control", path(&self.control)]) {
            (0, ..) => Ok(()),
            (_, _, reason) => Err(reason),
        }
    }

    fn assert_the_port_is_open(&self) {
        TcpStream::connect(("127.0.0.1", self.port)).expect("somebody listens");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A server that is killed does not remove its socket.
        let _ = fs::remove_file(&self.control);
    }
}

#[test]
fn a_port_goes_from_the_old_generation_to_the_new_one() {
    let server = Server::start("port");
    server.host.log_line("1: worker 0 replaces 0");
    server.host.log_line("1: worker 1 replaces 0");
    server.assert_the_port_is_open();
    for (generation, replaced) in [("2", "1"), ("3", "2")] {
        server.reload(&built(generation, &[])).expect("the reload is accepted");
        for worker in [0, 1] {
            server.host.log_line(&format!("{generation}: worker {worker} replaces {replaced}"));
        }
        server.host.log_line(&format!("{generation}: has the port"));
        server.assert_the_port_is_open();
    }
    assert_eq!(server.host.log_lines("has the port").len(), 3);
}

#[test]
fn a_port_stays_with_the_old_generation_if_the_new_one_is_rejected() {
    let server = Server::start("rejected");
    let reason = server.reload(&built("2", &["-DREJECT"])).expect_err("the reload must be rejected");
    assert!(reason.contains("not after all"), "{reason}");
    server.assert_the_port_is_open();
    server.reload(&built("2", &[])).expect("the reload is accepted");
    server.host.log_line("2: has the port");
    assert_eq!(server.host.log_lines("has the port").len(), 2, "the rejected generation has never had it");
    // Without the pattern, the old generation is in the way.
    let reason = server.reload(&built("3", &["-DCARELESS"])).expect_err("the reload must be rejected");
    assert!(reason.contains("Address already in use"), "{reason}");
    let reason = server.reload(&built("3", &["-DTELL_PROBE"])).expect_err("the reload must be rejected");
    assert!(reason.contains("generation 2 serves"), "{reason}");
    server.assert_the_port_is_open();
}

#[test]
fn a_worker_that_starts_again_finds_the_port_free() {
    let server = Server::start("again");
    server.reload(&built("2", &[])).expect("the reload is accepted");
    server.host.log_line("2: has the port");
    server.host.workers().remove(0).signal(Signal::KILL);
    server.host.log_line("2: worker 0 replaces 0");
    server.host.log_has("2: has the port", 2);
    server.assert_the_port_is_open();
}
