//! Reloads under load: 500 clients of two workers send continuously while the code behind their connections
//! is replaced again and again. Every message is answered once, in order, by one generation. What a reload
//! leaves behind in memory, descriptors and files is bounded.

mod clients; // clients that send, and check what they receive

use std::fs;
use std::path::{Path, PathBuf};

use clients::{Clients, Plan};

use crate::support::{Process, ROUTE, Reloading, alone, variant};

const CLIENTS: usize = 500;
/// Echoes between two reloads.
const BETWEEN: u64 = CLIENTS as u64 / 2;

/// Memory that a reload may leave behind. In each worker: pages of the library that are written to when it is
/// loaded, and the host's data about it; leaked notes of the clients would be 250 KiB. In the parent:
/// nothing, except that pages of the links' buffers (256 KiB each) become resident over time.
const LEFT_IN_WORKER_KIB: f64 = 16.0;
const LEFT_IN_PARENT_KIB: f64 = 4.0;
/// The library's other pages, which the workers share. A library is never unloaded.
const LEFT_OF_LIBRARY_KIB: f64 = 32.0;

/// With notes that are carried over, and answers that contain the generation.
const DEFINES: [&str; 4] = ["-DHOOKS", "-DSTATE_VERSION=7", "-DNOTE_SIZE=1024", "-DTELL_GENERATION"];

/// Two workers, with clients on both of them.
fn serve(plan: Plan) -> (Reloading, Clients) {
    let route = ["--route", ROUTE, "--workers", "2", "--log", "warn"];
    let reloading = Reloading::serve(&variant("1", &DEFINES), &route);
    let clients = Clients::start(reloading.host.port, plan);
    let status = reloading.status();
    let workers = status["workers"].as_array().expect("the status lists workers");
    let counts: Vec<_> = workers.iter().filter_map(|worker| worker["clients"].as_u64()).collect();
    assert!(counts.len() == 2 && counts.iter().all(|&count| count > CLIENTS as u64 / 10), "{counts:?}");
    (reloading, clients)
}

/// Reloads to this generation from the library that is not in use.
fn reload(reloading: &Reloading, clients: &Clients, generation: u32) {
    let mark = clients::mark(generation);
    clients.expect_at_most(generation);
    let said = reloading.reload_with(&variant(mark, &DEFINES)).expect("the reload is accepted");
    clients.expect_at_least(generation);
    let all = format!("generation {generation}; 2 workers, {CLIENTS} connections kept");
    assert!(said.contains(&all), "{said}");
    clients.wait_for_echoes(BETWEEN);
}

/// Reloads to a library that one worker accepts and the other rejects.
fn reject(reloading: &Reloading, clients: &Clients, (define, reason): (&str, &str)) {
    let library = variant("3", &[&DEFINES[..], &[define]].concat());
    let said = reloading.reload_with(&library).expect_err("the reload must be rejected");
    assert!(said.contains("worker 1: ") && said.contains(reason), "{said}");
    clients.wait_for_echoes(BETWEEN);
}

#[test]
fn two_hundred_reloads_lose_no_message_and_leave_little_behind() {
    let _alone = alone();
    // Growth that happens only once, during the first reloads, does not count.
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
fn broadcasts_continue_across_accepted_and_rejected_reloads() {
    let _alone = alone();
    let rejections = [
        ("-DNO_RESTORE_IN_WORKER", "its state cannot be restored: not restored on worker 1"),
        ("-DREFUSE_IN_WORKER", "not on worker 1"),
    ];
    let (reloading, clients) = serve(Plan { clients: CLIENTS, broadcasts: true });
    for generation in 2..=21 {
        reject(&reloading, &clients, rejections[generation as usize % 2]);
        reload(&reloading, &clients, generation);
    }
    let report = clients.finish();
    assert!(report.broadcasts > 0);
    report.assert_all_answered(21);
}

/// The resources that the server uses.
struct Use {
    /// Unmodified pages of the copied libraries, in all processes together.
    code_kib: u64,
    /// For each process, the parent first: anonymous memory and descriptors.
    processes: Vec<(Process, u64, usize)>,
    /// Files in the folder of the copies.
    copies: usize,
}

impl Use {
    fn of(reloading: &Reloading) -> Self {
        let parent = reloading.host.process();
        let processes: Vec<_> = [vec![parent], reloading.host.workers()].concat();
        // The parent keeps the folder open for its lock.
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

    /// Prints the growth per reload, and fails if it exceeds the limits.
    fn assert_little_more_than(&self, before: &Self, reloads: u32) {
        let per_reload = |after: u64, before: u64| (after as f64 - before as f64) / f64::from(reloads);
        let code = per_reload(self.code_kib, before.code_kib);
        let mut anonymous = Vec::new();
        for (&(process, after, descriptors), &(same, before, descriptors_before)) in
            self.processes.iter().zip(&before.processes)
        {
            assert_eq!(process, same, "a worker was replaced");
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
        // The copy in use, and the last two for backtraces.
        assert_eq!((before.copies, self.copies), (3, 3), "copies of the library");
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("the path exists").map(|entry| entry.expect("the path exists").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
