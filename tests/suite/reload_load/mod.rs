//! Reloads under load: 500 clients of two workers send on and on while the code behind their connections is
//! replaced again and again. Every message is answered once, in order, by one generation; what a reload leaves behind
//! in memory, descriptors and files is bounded.

mod clients; // they send, and check what comes

use std::fs;
use std::path::{Path, PathBuf};

use clients::{Clients, Plan};

use crate::support::{Process, ROUTE, Reloading, alone, variant};

const CLIENTS: usize = 500;
/// Echoes that have to come between two reloads.
const BETWEEN: u64 = CLIENTS as u64 / 2;

/// What a reload may leave behind for good. In each worker: pages of the library that are written to when it is
/// loaded, and what the host knows of it; if the clients' notes were not freed, they would be 250 KiB. In the parent:
/// nothing, but its links' buffers, of 256 KiB each, are touched bit by bit.
const LEFT_IN_WORKER_KIB: f64 = 16.0;
const LEFT_IN_PARENT_KIB: f64 = 4.0;
/// The library's other pages, which the workers share. It is never unloaded.
const LEFT_OF_LIBRARY_KIB: f64 = 32.0;

/// With notes that are carried over, and answers that tell the number of the generation.
const DEFINES: [&str; 4] = ["-DHOOKS", "-DSTATE_VERSION=7", "-DNOTE_SIZE=1024", "-DTELL_GENERATION"];

/// Two workers, and clients on both of them.
fn serve(plan: Plan) -> (Reloading, Clients) {
    let route = ["--route", ROUTE, "--workers", "2", "--log", "warn"];
    let reloading = Reloading::serve(&variant("1", &DEFINES), &route);
    let clients = Clients::start(reloading.host.port, plan);
    let status = reloading.ask("status", &["--json"]).expect("it serves");
    let status: serde_json::Value = serde_json::from_str(&status).expect("it is JSON");
    let workers = status["workers"].as_array().expect("there are workers");
    let counts: Vec<_> = workers.iter().filter_map(|worker| worker["clients"].as_u64()).collect();
    assert!(counts.len() == 2 && counts.iter().all(|&count| count > CLIENTS as u64 / 10), "{counts:?}");
    (reloading, clients)
}

/// Reloads to that generation, in the one of two libraries that is not in use.
fn reload(reloading: &Reloading, clients: &Clients, generation: u32) {
    let mark = clients::mark(generation);
    clients.expect_at_most(generation);
    let said = reloading.reload_with(&variant(mark, &DEFINES)).expect("nothing is wrong with it");
    clients.expect_at_least(generation);
    let all = format!("generation {generation}; 2 workers, {CLIENTS} connections kept");
    assert!(said.contains(&all), "{said}");
    clients.wait_for_echoes(BETWEEN);
}

/// A library that one worker takes and the other does not.
fn be_refused(reloading: &Reloading, clients: &Clients, (define, reason): (&str, &str)) {
    let library = variant("3", &[&DEFINES[..], &[define]].concat());
    let said = reloading.reload_with(&library).expect_err("it has to be refused");
    assert!(said.contains("worker 1: ") && said.contains(reason), "{said}");
    clients.wait_for_echoes(BETWEEN);
}

#[test]
fn two_hundred_reloads_lose_nothing_and_leave_little() {
    let _alone = alone();
    // What grows once, for the first reloads, counts for none.
    const WARM_UP: u32 = 10;
    const RELOADS: u32 = 200;
    let (reloading, clients) = serve(Plan { clients: CLIENTS, broadcasts: false });
    let mut before = None;
    for generation in 2..=RELOADS + 1 {
        reload(&reloading, &clients, generation);
        if generation == WARM_UP + 1 {
            before = Some(Use::of(&reloading));
        }
    }
    let after = Use::of(&reloading);
    let report = clients.finish();
    report.assert_all_answered(RELOADS + 1);
    let before = before.expect("more reloads than those of the warm-up");
    after.assert_little_more_than(&before, RELOADS - WARM_UP);
    eprintln!("{} echoes", report.echoes);
}

#[test]
fn broadcasts_go_on_over_reloads_and_refusals() {
    let _alone = alone();
    let refusals = [
        ("-DNO_RESTORE_IN_WORKER", "its state cannot be restored: not restored on worker 1"),
        ("-DREFUSE_IN_WORKER", "not on worker 1"),
    ];
    let (reloading, clients) = serve(Plan { clients: CLIENTS, broadcasts: true });
    for generation in 2..=21 {
        be_refused(&reloading, &clients, refusals[generation as usize % 2]);
        reload(&reloading, &clients, generation);
    }
    let report = clients.finish();
    assert!(report.broadcasts > 0);
    report.assert_all_answered(21);
}

/// What the server uses.
struct Use {
    /// In all processes together: pages of copies of the library that were not written to.
    code_kib: u64,
    /// Of each process, the parent first: memory of no file, and descriptors.
    processes: Vec<(Process, u64, usize)>,
    /// In the folder of the copies.
    copies: usize,
}

impl Use {
    fn of(reloading: &Reloading) -> Self {
        let parent = reloading.host.process();
        let processes: Vec<_> = [vec![parent], reloading.host.workers()].concat();
        // It is open, for its lock.
        let is_folder = |file: &PathBuf| {
            file.is_dir()
                && file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("callsign-"))
        };
        let folder = parent.files().into_iter().find(is_folder);
        let folder = folder.expect("the parent's folder for copies");
        Self {
            code_kib: processes.iter().map(|process| process.mapped_kib(&folder)).sum(),
            processes: processes
                .iter()
                .map(|&process| (process, process.anonymous_kib(), process.descriptors()))
                .collect(),
            copies: files_below(&folder).iter().filter(|file| !file.ends_with("lock")).count(),
        }
    }

    /// Says how much more, and fails if that is much.
    fn assert_little_more_than(&self, before: &Self, reloads: u32) {
        let per_reload = |after: u64, before: u64| (after as f64 - before as f64) / f64::from(reloads);
        let code = per_reload(self.code_kib, before.code_kib);
        let mut anonymous = Vec::new();
        for (&(process, after, descriptors), &(same, before, descriptors_before)) in
            self.processes.iter().zip(&before.processes)
        {
            assert_eq!(process, same, "a worker has died");
            assert!(descriptors <= descriptors_before, "{descriptors_before} descriptors, now {descriptors}");
            anonymous.push(per_reload(after, before));
        }
        eprintln!(
            "each reload leaves {:.1} and {:.1} KiB in the workers, {:.1} in the parent, {code:.1} of the library",
            anonymous[1], anonymous[2], anonymous[0]
        );
        assert!(anonymous[0] < LEFT_IN_PARENT_KIB, "in the parent");
        assert!(anonymous[1..].iter().all(|&kib| kib < LEFT_IN_WORKER_KIB), "in a worker");
        assert!(0.0 < code && code < LEFT_OF_LIBRARY_KIB, "of the library");
        // That in use, and for backtraces the one before.
        assert_eq!((before.copies, self.copies), (2, 2), "copies of the library");
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("it is there").map(|entry| entry.expect("it is there").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
