//! New code behind open connections, which Kore itself does not offer.

use std::fs;
use std::path::{Path, PathBuf};

use super::{build, compile, one_in_each, root};
use crate::support::{Host, path, run, scratch};

/// A server with a control socket, and the library that a test replaces.
struct Reloading {
    host: Host,
    source: PathBuf,
    library: PathBuf,
    control: PathBuf,
}

impl Reloading {
    fn start(test: &str, config: &Path, source: PathBuf, library: PathBuf) -> Self {
        // A short path, because the path of a Unix socket is limited to about 100 bytes.
        let control = std::env::temp_dir().join(format!("callsign-kore-{test}-{}", std::process::id()));
        let args = ["serve", "--config", path(config), "--workers", "2", "--control", path(&control)];
        Self { host: Host::start(&args), source, library, control }
    }

    /// An example, compiled with these options.
    fn example(name: &str, test: &str, options: &[&str]) -> Self {
        let config = build(name, test, "cc", options);
        let source = root().join(format!("examples/kore/{name}/{name}.c"));
        let library = config.with_file_name(format!("{name}.so"));
        Self::start(test, &config, source, library)
    }

    /// The test plugin with its load hook `init`.
    fn plugin(test: &str, options: &[&str]) -> Self {
        let (source, library) = (root().join("tests/plugins/c/kore.c"), scratch(&format!("{test}.so")));
        compile("cc", options, &source, &library);
        let config = scratch(&format!("{test}.toml"));
        let text = format!(
            "[plugin.kore]\npath = {library:?}\nonload = 'init'\n[[route]]\npath = '/'\nhandler = 'open_socket'\n"
        );
        fs::write(&config, text).expect("the scratch folder can be written");
        Self::start(test, &config, source, library)
    }

    /// Replaces the library with one compiled with these options, and reloads. Err: why the reload was
    /// rejected.
    #[track_caller]
    fn reload(&self, options: &[&str]) -> Result<(), String> {
        let new = self.library.with_extension("new");
        compile("cc", options, &self.source, &new);
        fs::rename(new, &self.library).expect("the scratch folder can be written");
        match run(&["reload", "--control", path(&self.control)]) {
            (0, _, _) => Ok(()),
            (_, _, reason) => Err(reason),
        }
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        // A server that is killed does not remove its socket.
        let _ = fs::remove_file(&self.control);
    }
}

#[test]
fn equal_state_versions_carry_hdlr_extra_over_unchanged() {
    let mut server = Reloading::example("visitors", "carried", &["-DCALLSIGN_STATE_VERSION=1"]);
    let mut ann = server.host.connect().upgrade("/talk", &[("Cookie", "name=Ann")]);
    assert_eq!(ann.ask("one"), "Ann 1: one");
    assert_eq!(server.reload(&["-DCALLSIGN_STATE_VERSION=1", "-O1"]), Ok(()));
    assert_eq!(ann.ask("two"), "Ann 2: two");
    server.host.log_line("plugin `visitors`: visitors unloaded");
    // Another layout: the old code's ondisconnect runs, and the new code starts without a state.
    assert_eq!(server.reload(&["-DCALLSIGN_STATE_VERSION=2"]), Ok(()));
    server.host.log_line("plugin `visitors`: Ann has said 2 things");
    assert_eq!(ann.ask("three"), "somebody 1: three");
    assert_eq!(server.reload(&[]), Ok(()));
    assert_eq!(ann.ask("four"), "somebody 1: four");
    ann.close(1000, "");
    server.host.log_line("plugin `visitors`: somebody has said 1 things");
    assert!(server.host.terminate().success());
}

#[test]
fn state_is_carried_over_as_bytes_with_the_hooks_of_kore_h() {
    let of = |state: &str, version: &str| {
        [
            "-DINIT=\"good\"".to_owned(),
            format!("-DSTATE={state}"),
            format!("-DCALLSIGN_STATE_VERSION={version}"),
        ]
    };
    let server = Reloading::plugin("hooks", &of("1", "7").each_ref().map(String::as_str));
    let mut clients: Vec<_> = (0..5).map(|_| server.host.open("/")).collect();
    for c in &mut clients {
        assert_eq!(c.next_text(), "mine");
        assert_eq!(c.ask("e"), "127.0.0.1");
    }
    assert_eq!(server.reload(&of("1", "8").each_ref().map(String::as_str)), Ok(()));
    assert!(clients.iter_mut().all(|c| c.ask("e") == "127.0.0.1, from version 7"));
    assert_eq!(server.reload(&of("0", "9").each_ref().map(String::as_str)), Ok(()));
    assert!(clients.iter_mut().all(|c| c.ask("e") == "127.0.0.1, from version 7, from version 8"));
    // This version cannot save its state.
    let rejected = server.reload(&of("1", "10").each_ref().map(String::as_str));
    assert!(rejected.is_err(), "{rejected:?}");
    assert!(clients.iter_mut().all(|c| c.ask("e") == "127.0.0.1, from version 7, from version 8"));
}

#[test]
fn an_onload_function_that_returns_an_error_rejects_the_reload() {
    let server = Reloading::plugin("onload", &["-DINIT=\"first\"", "-DCALLSIGN_STATE_VERSION=1"]);
    let mut c = server.host.open("/");
    assert_eq!(c.next_text(), "mine");
    let rejected = server.reload(&["-DINIT=\"refuses\"", "-DCALLSIGN_STATE_VERSION=1"]);
    assert!(rejected.as_ref().is_err_and(|reason| reason.contains("kore_onload")), "{rejected:?}");
    assert_eq!(c.ask("e"), "127.0.0.1");
    assert_eq!(server.host.log_lines("unload first"), [""; 0]);
    assert_eq!(server.reload(&["-DINIT=\"second\"", "-DCALLSIGN_STATE_VERSION=1"]), Ok(()));
    server.host.log_line("unload first");
    assert_eq!(c.ask("e"), "127.0.0.1");
    // Messages for the old generation's receiver are dropped, and the new generation can register its own.
    assert_eq!(c.ask("m"), "13 is refused");
    assert_eq!(c.next_text(), "201 once");
}

#[test]
fn timers_and_receivers_end_with_their_generation_and_its_teardown_runs() {
    let server = Reloading::example("clock", "ends", &["-O1"]);
    let [mut one, mut two] = one_in_each(&server.host);
    one.text("start");
    assert!(one.next_text().starts_with("tick 1, "));
    assert_eq!(server.reload(&["-O2"]), Ok(()));
    for worker in [1, 2] {
        server.host.log_line(&format!("plugin `clock`: worker {worker} ends after "));
    }
    one.text("count");
    let mut text = one.next_text();
    while text.starts_with("tick") {
        text = one.next_text();
    }
    assert_eq!(text, "worker 1, 0 here", "the new generation has seen no onconnect");
    assert_eq!(two.ask("count"), "worker 2, 0 here");
    assert_eq!(one.ask("count"), "worker 1, 0 here", "no tick has arrived since");
    // Messages of the new generation arrive.
    let [mut three, mut four] = one_in_each(&server.host);
    for c in [&mut three, &mut four, &mut one, &mut two] {
        super::knows_of(c, 2);
    }
}
