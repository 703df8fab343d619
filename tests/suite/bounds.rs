//! Limits of workers: connections, open files, privileges.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    DEADLINE, Host, Raw, UPGRADE, is_root, isolate, needs_root, path, plugin, run, serve_crash,
};

/// A worker at its connection limit that uses less CPU time than this in one second does not spin.
const IDLE_MAX: Duration = Duration::from_millis(100);
/// Longer than any client waits that the server can accept.
const SILENCE: Duration = Duration::from_millis(300);

/// A client that has sent its upgrade request and not read the response.
fn requesting(host: &Host) -> Raw {
    let mut c = host.connect();
    c.send_request("GET", "/", &UPGRADE, b"");
    c
}

/// Fails if the parent or a worker uses CPU time while there is nothing to do.
fn assert_idle(host: &Host) {
    let processes = || [vec![host.process()], host.workers()].concat();
    let used = || processes().iter().map(|process| process.processor_time()).collect::<Vec<_>>();
    let before = used();
    thread::sleep(Duration::from_secs(1)); // the interval that is measured
    for (before, after) in before.iter().zip(used()) {
        assert!(after - *before < IDLE_MAX, "{:?} of a second", after - *before);
    }
}

#[test]
fn a_client_beyond_the_limit_waits_until_another_leaves() {
    for workers in [1, 4] {
        let host = serve_crash(workers, &["--max-connections", "5"]);
        let mut clients: Vec<_> = (0..5).map(|_| host.open("/")).collect();
        clients.iter_mut().for_each(|c| assert_eq!(c.ask("hello"), "hello"));
        let mut sixth = requesting(&host);
        let mut seventh = requesting(&host);
        assert!(sixth.nothing_for(SILENCE), "with {workers} workers a sixth client is served");
        assert!(
            seventh.nothing_for(Duration::from_millis(1)),
            "with {workers} workers a seventh client is served"
        );
        assert_idle(&host);
        clients.iter_mut().for_each(|c| assert_eq!(c.ask("hello"), "hello"));

        clients.pop().expect("there are five").close(1000, "");
        let end = Instant::now() + DEADLINE;
        let served = loop {
            if !sixth.nothing_for(Duration::from_millis(10)) {
                break &mut sixth;
            }
            if !seventh.nothing_for(Duration::from_millis(10)) {
                break &mut seventh;
            }
            assert!(Instant::now() < end, "neither waiting client is served");
        };
        assert_eq!(served.read_answer(false).status, 101);
        let lines = host.log_lines("5 in all (--max-connections); others wait until one leaves");
        assert!((1..=workers).contains(&lines.len()), "once in each worker: {lines:?}");
        assert_eq!(host.log_lines("ERROR").len(), 0, "{}", host.log());
    }
}

#[test]
fn more_workers_do_not_let_more_clients_in() {
    let host = serve_crash(4, &["--max-connections", "5"]);
    let mut clients: Vec<_> = (0..40).map(|_| requesting(&host)).collect();
    let end = Instant::now() + DEADLINE;
    let mut served = 0;
    // Every accepted client disconnects and makes room for another, until all have been accepted.
    while !clients.is_empty() {
        assert!(Instant::now() < end, "{served} were served, {} wait", clients.len());
        let (ready, waiting): (Vec<_>, Vec<_>) = clients
            .into_iter()
            .map(|mut c| (!c.nothing_for(Duration::from_millis(1)), c))
            .partition(|(ready, _)| *ready);
        assert!(ready.len() <= 5, "{} are served at once", ready.len());
        served += ready.len();
        for (_, mut c) in ready {
            assert_eq!(c.read_answer(false).status, 101);
        }
        clients = waiting.into_iter().map(|(_, c)| c).collect();
    }
    assert_eq!(served, 40);
}

#[test]
fn a_low_limit_on_open_files_bounds_the_clients_and_assert_idle() {
    let library = plugin("test-crash");
    let arguments = ["serve", path(&library), "--workers", "2", "--log", "debug"];
    let host = Host::start_through(&["prlimit", "--nofile=128:128"], &arguments);
    host.workers_serve(2);
    let mut clients: Vec<_> = (0..180).map(|_| requesting(&host)).collect();
    let mut served = Vec::new();
    // With a limit of 128 open files, each of the two workers admits 64 clients.
    while served.len() < 2 * 64 {
        let ready = clients.iter_mut().position(|c| !c.nothing_for(Duration::from_millis(1)));
        if let Some(ready) = ready {
            let mut c = clients.remove(ready);
            assert_eq!(c.read_answer(false).status, 101);
            served.push(c);
        }
    }
    assert!(clients.iter_mut().all(|c| c.nothing_for(Duration::from_millis(1))));
    assert!(clients[0].nothing_for(SILENCE));
    assert_idle(&host);
    let lines = host.log_lines("64 in this worker (limit on open files); others wait until one leaves");
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(host.log_lines("cannot accept").len(), 0, "{}", host.log());

    // The server still replaces a dead worker.
    let worker = host.workers()[0];
    worker.signal(rustix::process::Signal::KILL);
    host.workers_serve(3);
    let end = Instant::now() + DEADLINE;
    while !clients.iter_mut().all(|c| !c.nothing_for(Duration::from_millis(1))) {
        assert!(Instant::now() < end, "the new worker does not accept the waiting clients");
    }
}

#[test]
fn the_limit_on_open_files_is_raised_to_the_hard_limit() {
    let library = plugin("test-crash");
    let arguments = ["serve", path(&library), "--workers", "1", "--log", "debug"];
    let host = Host::start_through(&["prlimit", "--nofile=100:500"], &arguments);
    let limits =
        fs::read_to_string(format!("/proc/{}/limits", host.workers()[0].0)).expect("the worker is alive");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("the limit is listed");
    assert_eq!(line.split_whitespace().nth(3), Some("500"), "{line}");
}

#[test]
fn workers_gain_no_privileges() {
    let host = serve_crash(2, &[]);
    for worker in host.workers() {
        assert_eq!(worker.status("NoNewPrivs"), "1");
    }
    // As the documentation says.
    let alone = serve_crash(0, &[]);
    assert_eq!(alone.process().status("NoNewPrivs"), host.process().status("NoNewPrivs"));
}

#[test]
fn started_as_root_workers_run_as_the_given_user_and_group() {
    if !needs_root() {
        return;
    }
    // A folder that the unprivileged user can read.
    let folder = std::env::temp_dir().join(format!("callsign-bounds-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("the temporary folder can be written");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("the test owns it");
    let library = folder.join("libcrash.so");
    fs::copy(plugin("test-crash"), &library).expect("the file can be copied");
    for (options, group) in
        [(&["--user", "65534"][..], None), (&["--user", "nobody", "--group", "4242"], Some("4242"))]
    {
        let host =
            Host::start(&[&["serve", path(&library), "--workers", "2", "--log", "debug"], options].concat());
        host.workers_serve(2);
        assert_eq!(host.open("/").ask("hello"), "hello");
        assert_eq!(host.process().status("Uid"), "0\t0\t0\t0", "the parent stays root");
        for worker in host.workers() {
            assert_eq!(worker.status("Uid"), "65534\t65534\t65534\t65534");
            let gid = worker.status("Gid");
            let expected = group.map_or(gid.clone(), |group| [group; 4].join("\t"));
            assert!(gid == expected && gid != "0\t0\t0\t0", "{gid}");
            assert!(
                worker.status("Groups").split_whitespace().all(|group| gid.starts_with(group)),
                "no other group"
            );
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                let capabilities = worker.status(set);
                // `--user` drops all that a worker has, and that it or what it executes could get.
                assert_eq!(capabilities.trim_start_matches('0'), "", "{set}");
            }
            assert_eq!(worker.status("NoNewPrivs"), "1");
        }
    }
    fs::remove_dir_all(&folder).expect("the test owns it");
}

#[test]
fn an_unknown_user_or_group_is_refused() {
    let library = plugin("test-crash");
    let refusal = |options: &[&str]| {
        let arguments =
            [&["serve", path(&library), "--listen", "127.0.0.1:0", "--workers", "2"], options].concat();
        let (code, stdout, stderr) = run(&arguments);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        stderr
    };
    if is_root() {
        let text = refusal(&["--user", "no-such-user"]);
        assert!(text.contains("no user `no-such-user`") && text.contains("--user"), "{text}");
        let text = refusal(&["--group", "no-such-group"]);
        assert!(text.contains("no group `no-such-group`") && text.contains("--group"), "{text}");
    } else {
        let text = refusal(&["--user", "nobody"]);
        assert!(text.contains("--user") && text.contains("root"), "{text}");
    }
}

#[test]
fn a_start_without_root_cannot_set_a_user() {
    if !needs_root() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("callsign-user-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("the temporary folder can be written");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("the test owns it");
    let program = folder.join("callsign");
    // Another process copies the program. Linux executes no file that is open for writing (ETXTBSY), and a
    // child that another test spawns during the copy would inherit the descriptor.
    let copy = Command::new("cp").arg(env!("CARGO_BIN_EXE_callsign")).arg(&program).status();
    assert!(copy.expect("cp runs").success());
    let mut setpriv = Command::new("setpriv");
    isolate(&mut setpriv);
    let output = setpriv
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", path(&program)])
        .args(["serve", "libnone.so", "--listen", "127.0.0.1:0", "--user", "root"])
        .output();
    fs::remove_dir_all(&folder).expect("the test owns it");
    let output = output.expect("setpriv is there");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("callsign: --user and --group need a start as root"), "{text}");
}
