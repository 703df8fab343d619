//! Workers are processes under a parent. Clients are spread over the workers. However a worker dies, only its
//! own clients notice.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    DEADLINE, End, Host, Load, Plan, Process, WebSocket, alone, crash_config, path, run, serve_crash,
    worker_of,
};

/// No client of a living worker waits longer, and no dead worker is missing for longer.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// How long workers are killed at random.
const KILLING: Duration = Duration::from_secs(60);

const ONLOAD: &str = "plugin `crash` (generation 1): onload hook `onload`";
const ONMESSAGE: &str = "plugin `crash` (generation 1): onmessage handler `onmessage`";

/// Opens clients until one is in a worker that satisfies `is_right`.
fn open_where(host: &Host, is_right: impl Fn(Process) -> bool) -> WebSocket {
    let end = Instant::now() + DEADLINE;
    // Surplus clients stay connected: a worker with fewer clients would accept all new ones.
    let mut others = Vec::new();
    loop {
        let mut c = host.open("/");
        if is_right(worker_of(&mut c)) {
            return c;
        }
        others.push(c);
        assert!(Instant::now() < end, "no client was accepted by such a worker");
    }
}

/// Opens a client in a worker that does not serve all clients of the load.
fn open_beside(host: &Host, load: &Load) -> (WebSocket, Process) {
    let is_shared = |process: Process| load.look(|state| state.workers().keys().any(|pid| *pid != process.0));
    let mut c = open_where(host, is_shared);
    let worker = worker_of(&mut c);
    (c, worker)
}

/// Fails if a client of any other worker was disconnected or had to wait for long.
#[track_caller]
fn assert_only_these_noticed(load: &Load, ended: &[Process]) {
    load.check();
    let ended = |worker| ended.contains(&Process(worker));
    load.look(|state| {
        let disturbed = state.clients.iter().filter(|c| !ended(c.worker) && c.end.is_some()).count();
        assert_eq!(disturbed, 0, "clients of living workers have ended");
        let longest = state.longest(|client| !ended(client.worker));
        assert!(
            longest <= PAUSE_MAX + state.machine,
            "{longest:?}, of which the machine {:?}",
            state.machine
        );
    });
}

#[test]
fn clients_are_spread_over_the_workers() {
    let host = serve_crash(4, &[]);
    let load = Load::start(host.port, Plan::clients(200));
    let workers = load.look(|state| state.workers());
    assert_eq!(workers.len(), 4, "{workers:?}");
    assert!(workers.values().all(|count| *count <= 100), "{workers:?}");
    load.check();
}

/// `how` is the command that kills the worker, or none for a SIGKILL from outside. `function` is where the
/// worker crashes, if the report can tell.
fn a_worker_dies(how: Option<&str>, report: &str, function: Option<&str>) {
    let _alone = alone();
    let host = serve_crash(4, &[]);
    let load = Load::start(host.port, Plan::clients(60));
    let mut bad = open_where(&host, |process| load.look(|state| state.workers().contains_key(&process.0)));
    let worker = worker_of(&mut bad);
    let before = host.workers();
    let neighbours = load.look(|state| state.workers()[&worker.0]);
    load.wait_for_echoes(2000);

    match how {
        Some(how) => bad.text(how),
        None => worker.signal(Signal::KILL),
    }
    bad.dropped();
    let died = Instant::now();
    let is_new = |process: Process| !before.contains(&process);
    let mut c = open_where(&host, is_new);
    let pause = died.elapsed();
    assert_eq!(c.ask("hello"), "hello");
    let machine = load.look(|state| state.machine);
    assert!(pause <= PAUSE_MAX + machine, "{pause:?} until another worker served; the machine: {machine:?}");

    load.wait("the dead worker's clients see it", |state| !state.workers().contains_key(&worker.0));
    load.wait_for_echoes(2000);
    assert_only_these_noticed(&load, &[worker]);
    load.look(|state| {
        let theirs = state.clients.iter().filter(|client| client.worker == worker.0);
        assert!(
            theirs.clone().all(|client| client.end == Some(End::Socket)),
            "only the crash may close the connection"
        );
        assert_eq!(theirs.count(), neighbours);
    });

    let line = host.log_line(&format!("(process {}) {report}", worker.0));
    let clients = format!("; clients lost: {}; starting another", neighbours + 1);
    assert!(line.contains("ERROR worker ") && line.ends_with(&clients), "{line}");
    if how.is_some() {
        assert!(line.contains(&format!(" in {ONMESSAGE}, which had run for ")), "{line}");
    }
    if let Some(function) = function {
        host.log_line("was here when it ended:");
        let call = host.log_line(&format!("{function} at "));
        assert!(
            call.contains("tests/plugins/crash/src/lib.rs:") && call.ends_with("(libtest_crash.so)"),
            "{call}"
        );
    }
    assert_eq!(host.log_lines("ERROR").len(), 1 + usize::from(function.is_some()), "{}", host.log());
}

#[test]
fn a_segmentation_fault_ends_one_worker() {
    a_worker_dies(
        Some("segv"),
        "died of SIGSEGV: no access to address 0x10 in",
        Some("test_crash::write_nowhere"),
    );
}

#[test]
fn an_abort_ends_one_worker() {
    a_worker_dies(Some("abort"), "died of SIGABRT in", Some("test_crash::misfortune"));
}

#[test]
fn an_exit_with_0_ends_one_worker() {
    a_worker_dies(Some("exit 0"), "ended with status 0 in", None);
}

#[test]
fn an_exit_with_3_ends_one_worker() {
    a_worker_dies(Some("exit 3"), "ended with status 3 in", None);
}

#[test]
fn a_stack_overflow_ends_one_worker() {
    a_worker_dies(Some("overflow"), "died of SIGSEGV: out of stack in", Some("test_crash::recurse"));
}

#[test]
fn a_sigkill_ends_one_worker() {
    a_worker_dies(None, "died of SIGKILL", None);
}

#[test]
fn a_panic_ends_one_connection_and_no_worker() {
    let host = serve_crash(2, &[]);
    let before = host.workers();
    let mut c = host.open("/");
    c.text("panic");
    assert_eq!(c.closed(), Some((1011, "handler failed".to_owned())));
    assert_eq!(host.open("/").ask("hello"), "hello");
    assert_eq!(host.workers(), before);
}

#[test]
fn a_worker_that_crashes_at_every_start_is_restarted_with_growing_pauses() {
    let _alone = alone();
    let (config, at_start) = crash_config("dies");
    let host = Host::start(&["serve", "--config", path(&config), "--workers", "2", "--log", "debug"]);
    host.workers_serve(2);
    let load = Load::start(host.port, Plan::clients(20));
    let (mut bad, worker) = open_beside(&host, &load);

    fs::write(&at_start, "segv").expect("the scratch folder can be written");
    bad.text("abort");
    bad.dropped();
    let begun = Instant::now();
    host.log_line("dies soon after every start (4 times now); the next one starts in 800ms");
    assert!(begun.elapsed() >= Duration::from_millis(200 + 400), "{:?}", begun.elapsed());
    let deaths = host
        .log_lines(&format!("died of SIGSEGV: no access to address 0x10 in {ONLOAD}, which had run for "));
    // The worker that served before has also died soon after its start.
    assert_eq!(deaths.len(), 3, "{}", host.log());
    assert!(deaths.iter().all(|line| line.contains("before it served")), "{deaths:?}");
    load.wait_for_echoes(500);
    assert_only_these_noticed(&load, &[worker]);

    fs::remove_file(&at_start).expect("the path exists");
    host.workers_serve(3);
    let others = load.look(|state| state.workers());
    assert_eq!(others.len(), 1, "the other worker has served all the time");
    let mut c = open_where(&host, |process| !others.contains_key(&process.0));
    assert_eq!(c.ask("hello"), "hello");
}

#[test]
fn if_no_worker_can_start_the_server_exits_with_1_and_says_why() {
    let (config, at_start) = crash_config("cannot");
    let refusal = |what: &str| {
        fs::write(&at_start, what).expect("the scratch folder can be written");
        let begun = Instant::now();
        let (code, stdout, stderr) =
            run(&["serve", "--listen", "127.0.0.1:0", "--config", path(&config), "--workers", "4"]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        stderr
    };
    for (how, death) in
        [("segv", "died of SIGSEGV: no access to address 0x10"), ("exit 7", "ended with status 7")]
    {
        let text = refusal(how);
        let last = text.lines().find(|line| line.starts_with("callsign: ")).expect("the error has a reason");
        assert!(
            last.starts_with("callsign: no worker can start, after 3 tries: worker 0 (process "),
            "{text}"
        );
        assert!(last.contains(&format!(") {death} in {ONLOAD}, which had run for ")), "{text}");
    }
    let text = refusal("refuse");
    assert!(
        text.starts_with("callsign: plugin `crash`") && text.contains("not today (its config: "),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");

    fs::write(&config, "[plugin.crash]\npath = '/no/such/libcrash.so'\n").expect("the file can be written");
    let text = refusal("");
    let expected = format!("callsign: {}:2:8: plugin `crash` (/no/such/libcrash.so): ", path(&config));
    assert!(text.starts_with(&expected), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_slow_callback_is_logged_by_name_with_its_duration() {
    let host = serve_crash(1, &["--slow-callback", "50ms"]);
    let mut c = host.open("/");
    c.text("sleep 400");
    let line = host.log_line(&format!("{ONMESSAGE} has run for "));
    assert!(line.contains("WARN") && line.contains("--slow-callback"), "{line}");
    let line = host.log_line(&format!("{ONMESSAGE} has returned after "));
    let time = line.rsplit("after ").next().and_then(|time| time.strip_suffix("ms"));
    let time: u64 = time.and_then(|time| time.parse().ok()).unwrap_or_else(|| panic!("no time: {line}"));
    assert!((300..2000).contains(&time), "{line}");
    assert_eq!(c.ask("hello"), "hello");
    assert_eq!(host.log_lines("has run for").len(), 1, "once for each");
}

#[test]
fn a_worker_that_hangs_is_killed_and_replaced() {
    for how in ["hang", "spin"] {
        let _alone = alone();
        let host = serve_crash(2, &["--hang-timeout", "600ms"]);
        let load = Load::start(host.port, Plan::clients(20));
        let (mut bad, worker) = open_beside(&host, &load);
        let before = host.workers();
        bad.text(how);
        bad.dropped();
        open_where(&host, |process| !before.contains(&process));
        let line =
            host.log_line(&format!("(process {}) was ended: {ONMESSAGE} had not returned after ", worker.0));
        assert!(line.contains("--hang-timeout"), "{line}");
        load.wait_for_echoes(500);
        assert_only_these_noticed(&load, &[worker]);
    }
}

#[test]
fn a_hang_timeout_of_0_lets_a_callback_run_for_longer_than_the_default() {
    let host = serve_crash(2, &["--hang-timeout", "0"]);
    let before = host.workers();
    let mut c = host.open("/");
    c.text("sleep 11000");
    assert_eq!(c.ask("hello"), "hello");
    assert_eq!(host.workers(), before);
}

#[test]
fn workers_end_with_their_parent_however_busy_they_are() {
    let host = serve_crash(4, &["--hang-timeout", "0"]);
    let workers = host.workers();
    let mut clients: Vec<WebSocket> =
        workers.iter().map(|worker| open_where(&host, |process| process == *worker)).collect();
    clients[0].text("hang");
    clients[1].text("spin");
    // Both callbacks have started.
    host.log_line("has run for");
    let begun = Instant::now();
    host.process().signal(Signal::KILL);
    workers.iter().for_each(|worker| worker.wait_for_end());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    clients.into_iter().for_each(WebSocket::dropped);
    TcpListener::bind(("127.0.0.1", host.port)).expect("no process holds the port");
}

#[test]
fn workers_killed_at_random_affect_only_their_clients_and_leak_nothing() {
    let _alone = alone();
    const WORKERS: usize = 4;
    let host = serve_crash(WORKERS, &[]);
    let parent = host.process();
    let load = Load::start(host.port, Plan { replace: true, noise: true, ..Plan::clients(40) });
    let complete = |killed: &[Process]| {
        // A worker that has crashed repeatedly is restarted after a pause.
        let end = Instant::now() + DEADLINE;
        let are_there =
            |workers: &[Process]| workers.len() == WORKERS && !workers.iter().any(|it| killed.contains(it));
        while !are_there(&host.workers()) {
            assert!(
                Instant::now() < end,
                "not replaced: {:?} of {killed:?} ({:?})\n{}",
                host.workers(),
                host.workers().iter().map(|worker| worker.status("State")).collect::<Vec<_>>(),
                host.log()
            );
            load.wait_for_echoes(100);
        }
        for worker in host.workers() {
            if !load.look(|state| state.workers().contains_key(&worker.0)) {
                open_where(&host, |process| process == worker);
            }
        }
        // The parent resolves backtraces on other threads.
        while !parent.other_threads_wait() {
            assert!(Instant::now() < end, "a backtrace takes forever");
            load.wait_for_echoes(100);
        }
        (parent.descriptors(), parent.resident_kib())
    };
    // A fixed seed, so that every run kills in the same order.
    let mut random = 1_u32;
    let mut random = |below: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 16) as usize % below
    };
    let signals = [Signal::KILL, Signal::SEGV, Signal::ABORT, Signal::BUS];
    let mut killed = Vec::new();
    let mut first = None;
    let begun = Instant::now();
    while begun.elapsed() < KILLING {
        let workers = host.workers();
        // Does not signal a worker again that is still dying.
        if let Some(worker) = workers.get(random(WORKERS)).filter(|worker| !killed.contains(*worker)) {
            // Until a worker has its own handler, that of Rust's runtime takes the first SIGSEGV or SIGBUS of kill(2) for a
            // fault that comes again, and goes on.
            let serves = load.look(|state| state.workers().contains_key(&worker.0));
            let signal = signals[random(signals.len())];
            worker.signal(if serves { signal } else { Signal::KILL });
            killed.push(*worker);
        }
        load.wait_for_echoes(random(4000) as u64);
        // By now everything that is allocated only once has been allocated.
        if killed.len() == 20 {
            first = Some(complete(&killed));
        }
    }
    let (descriptors, kib) = complete(&killed);
    let (first_descriptors, first_kib) = first.expect("20 are killed in this time");
    load.look(|state| {
        let (longest, machine) = (state.longest(|_| true), state.machine);
        println!(
            "{} kills, {} clients, longest {longest:?}, machine {machine:?}",
            killed.len(),
            state.clients.len()
        );
        println!(
            "parent: {first_kib} KiB, then {kib} KiB; {first_descriptors}, then {descriptors} descriptors"
        );
    });
    assert_eq!(descriptors, first_descriptors, "after {} kills", killed.len());
    assert!(kib < first_kib + 12 * 1024, "{first_kib} KiB, after {} kills {kib} KiB", killed.len());
    load.check();
    load.look(|state| {
        for client in state.clients.iter().filter(|client| client.end.is_some()) {
            // 0: the client was upgraded, but its worker was killed before it answered `who`.
            let is_killed = client.worker == 0 || killed.contains(&Process(client.worker));
            assert!(
                matches!((&client.end, is_killed), (Some(End::Socket), true) | (Some(End::BeforeUpgrade), _)),
                "{:?} of worker {}",
                client.end,
                client.worker
            );
        }
    });
    assert_eq!(host.workers().len(), WORKERS);
    assert_eq!(
        host.log_lines("; starting another").len() + host.log_lines("before it served").len(),
        killed.len()
    );
}
