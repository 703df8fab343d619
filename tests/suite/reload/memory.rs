//! What reloads leave in memory and on disk: libraries are never unloaded.

use std::os::unix::fs::MetadataExt;

use super::*;

/// The folder of a server's copies.
fn folder_of_copies(reloading: &Reloading) -> PathBuf {
    let is_folder = |file: &PathBuf| {
        file.is_dir() && file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("callsign-"))
    };
    reloading.host.process().files().into_iter().find(is_folder).expect("the parent's folder for copies")
}

/// Waits until this number of copies is there. The parent removes copies after it has answered.
fn await_copies(folder: &Path, count: usize) {
    let copies = || fs::read_dir(folder).expect("the path exists").flatten().filter(|it| it.path().is_dir());
    let end = Instant::now() + Duration::from_secs(10);
    while copies().count() != count {
        assert!(Instant::now() < end, "{} copies", copies().count());
        thread::sleep(Duration::from_millis(1)); // no event announces this
    }
}

#[test]
fn a_missing_name_rejects_a_library_before_any_worker_loads_it() {
    let reloading = Reloading::serve_c(&[]);
    let folder = folder_of_copies(&reloading);
    let library = variant("2", &["-DRENAMED", "-DTELL_CONSTRUCTOR"]);
    let reason = reloading.reload_with(&library).expect_err("the reload must be rejected");
    assert!(reason.contains("no onmessage handler `message`"), "{reason}");
    await_copies(&folder, 1);
    let upgraded = Reloading::serve(&variant("1", &[]), &["--workers", "2", "--route", "/=upgrade"]);
    let _clients = clients(&upgraded, 8);
    let reason = upgraded.reload_with(&library).expect_err("the reload must be rejected");
    assert!(reason.contains("live client"), "{reason}");
    for reloading in [&reloading, &upgraded] {
        let constructed = reloading.host.log_lines("2: constructed by callsign: worker");
        assert!(constructed.is_empty(), "{constructed:?}");
    }
}

#[test]
fn the_last_two_copies_stay_on_disk_beside_the_one_in_use() {
    let reloading = Reloading::serve_c(&[]);
    let folder = folder_of_copies(&reloading);
    for generation in ["2", "3", "4", "5"] {
        reloading.reload_with(&variant(generation, &[])).expect("the reload is accepted");
    }
    await_copies(&folder, 3);
    // Rejected by the workers, which have loaded it.
    let rejected = variant("6", &["-DREFUSE_IN_WORKER"]);
    reloading.reload_with(&rejected).expect_err("the reload must be rejected");
    await_copies(&folder, 3);
}

/// Workers have the file mapped until they end, so its space is not free when it is removed.
#[test]
#[cfg(target_os = "linux")]
fn a_removed_copy_keeps_no_space_but_for_what_is_mapped() {
    let reloading = Reloading::serve_c(&[]);
    let folder = folder_of_copies(&reloading);
    let large = |generation: &str| {
        let library = scratch(&format!("large-{generation}.so"));
        let mut content = fs::read(variant(generation, &[])).expect("the library was built");
        content.resize(content.len() + (16 << 20), 7);
        fs::write(&library, content).expect("the scratch folder can be written");
        library
    };
    reloading.reload_with(&large("2")).expect("the reload is accepted");
    let copy = fs::read_dir(folder.join("2")).expect("the second copy").flatten().next().expect("a copy");
    let copy = fs::File::open(copy.path()).expect("the test is the server's user");
    assert!(copy.metadata().expect("it is open").blocks() * 512 > 16 << 20);
    for generation in ["3", "4", "5"] {
        reloading.reload_with(&variant(generation, &[])).expect("the reload is accepted");
    }
    await_copies(&folder, 3);
    let about = copy.metadata().expect("it is open");
    assert_eq!(about.nlink(), 0, "it is removed");
    assert!(about.blocks() * 512 < 1 << 20, "{} blocks", about.blocks());
    assert_eq!(reloading.host.open("/").next_text(), "join 5");
}

#[test]
#[cfg(target_os = "linux")]
fn the_growth_by_reloads_is_shown_and_logged_when_it_is_large() {
    let table = format!("-DTABLE={}", 72 << 20);
    let options = ["--workers", "1", "--route", ROUTE];
    let reloading = Reloading::serve(&variant("1", &[&table]), &options);
    let number = |key: &str| {
        let value = find(&reloading.status(), key).pop_first().expect("the status has it");
        value.parse::<u64>().expect("a number")
    };
    assert_eq!(number("reload_growth_bytes"), 0);
    reloading.reload_with(&variant("2", &[&table])).expect("the reload is accepted");
    assert!((71 << 20..90 << 20).contains(&number("reload_growth_bytes")));
    assert!(reloading.host.log_lines("has grown by").is_empty());
    reloading.reload_with(&variant("3", &[&table])).expect("the reload is accepted");
    let line = reloading.host.log_line("worker 0 has grown by ");
    assert!(line.contains("in 2 reloads") && line.contains("onunload"), "{line}");
    assert!(number("resident_bytes") > (3 * 72) << 20);
    // The next process begins anew.
    reloading.host.workers().remove(0).signal(Signal::KILL);
    reloading.host.log_line("starting another");
    workers(&reloading);
    assert_eq!(number("reload_growth_bytes"), 0);
}
