//! Every change of a library's file is reported once, when the file is complete. Unchanged content is not reported.
//! `serve --watch` requests a reload of the plugin under the name by which the server knows it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use callsign::testing::auto_reload as reload;
use callsign::testing::libraries::{self, LibraryChange};
use callsign::testing::{ControlRequest, PluginSource, Reloaded, RequestReceiver, Which};

use crate::support::{DEADLINE, c_plugin_with, empty_folder};

/// Longer than the watcher waits before it considers a written file complete.
const WHOLE: Duration = Duration::from_millis(250);

/// The bytes of a plugin with this name.
fn library(name: &str) -> Vec<u8> {
    fs::read(c_plugin_with("faulty.c", &[&format!("-DNAME=\"{name}\"")])).expect("the library was built")
}

/// Replaces a file by a rename, as `install` does.
fn replace(file: &Path, content: &[u8]) {
    let new = file.with_extension("new");
    fs::write(&new, content).expect("the scratch folder can be written");
    fs::rename(&new, file).expect("the scratch folder can be written");
}

fn watch(file: &Path) -> Receiver<LibraryChange> {
    let (sender, changes) = mpsc::channel();
    libraries::watch(vec![file.to_path_buf()], move |change| sender.send(change).is_ok())
        .expect("the file can be watched");
    changes
}

#[track_caller]
fn assert_changed(changes: &Receiver<LibraryChange>) {
    assert_eq!(
        changes.recv_timeout(DEADLINE).expect("the change is reported"),
        LibraryChange::Changed(vec![0])
    );
}

/// Nothing is reported for longer than any report takes.
#[track_caller]
fn assert_silent(changes: &Receiver<LibraryChange>) {
    assert_eq!(changes.recv_timeout(WHOLE * 2).ok(), None);
}

#[test]
fn a_file_that_is_replaced_is_reported() {
    let file = empty_folder("replaced").join("lib.so");
    fs::write(&file, library("one")).unwrap();
    let changes = watch(&file);
    replace(&file, &library("two"));
    assert_changed(&changes);
    // As cargo does: removes the old file, then links the new one.
    let made = file.with_file_name("made-by-the-linker");
    fs::write(&made, library("one")).unwrap();
    fs::remove_file(&file).unwrap();
    fs::hard_link(&made, &file).unwrap();
    assert_changed(&changes);
    assert_silent(&changes);
}

#[test]
fn a_file_that_is_written_in_place_is_reported_when_complete() {
    let file = empty_folder("in-place").join("lib.so");
    fs::write(&file, library("one")).unwrap();
    let changes = watch(&file);
    let content = library("two");
    let (first, second) = content.split_at(content.len() / 2);
    let mut writer = OpenOptions::new().write(true).truncate(true).open(&file).unwrap();
    writer.write_all(first).unwrap();
    // A slow writer.
    thread::sleep(WHOLE);
    assert_eq!(changes.try_recv().ok(), None, "an incomplete library is not reported");
    writer.write_all(second).unwrap();
    drop(writer);
    assert_changed(&changes);
    assert_silent(&changes);
}

#[test]
fn a_file_that_was_removed_is_reported_when_created_again() {
    let file = empty_folder("recreated").join("lib.so");
    fs::write(&file, library("one")).unwrap();
    let changes = watch(&file);
    fs::remove_file(&file).unwrap();
    thread::sleep(WHOLE);
    assert_eq!(changes.try_recv().ok(), None);
    fs::write(&file, library("two")).unwrap();
    assert_changed(&changes);
    assert_silent(&changes);
}

#[test]
fn a_folder_that_was_made_again_is_watched_again() {
    let top = empty_folder("made-again");
    let file = top.join("build/out/lib.so");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, library("one")).unwrap();
    let changes = watch(&file);
    for (round, name) in ["two", "one", "two"].into_iter().enumerate() {
        match round {
            1 => fs::rename(top.join("build"), top.join("build.old")).unwrap(),
            _ => fs::remove_dir_all(top.join("build")).unwrap(),
        }
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, library(name)).unwrap();
        assert_changed(&changes);
    }
    assert_silent(&changes);
}

#[test]
fn behind_symbolic_links_each_step_is_watched() {
    let top = empty_folder("links");
    for (release, name) in [("1", "one"), ("2", "two"), ("3", "one")] {
        fs::create_dir_all(top.join(release)).unwrap();
        fs::write(top.join(release).join("lib.so.1"), library(name)).unwrap();
        symlink("lib.so.1", top.join(release).join("lib.so")).unwrap();
    }
    symlink("1", top.join("current")).unwrap();
    let changes = watch(&top.join("current/lib.so"));
    // As deployments switch to another release.
    symlink("2", top.join("next")).unwrap();
    fs::rename(top.join("next"), top.join("current")).unwrap();
    assert_changed(&changes);
    // Replaces the file behind both links.
    replace(&top.join("2/lib.so.1"), &library("one"));
    assert_changed(&changes);
    // Changes the second link to a file with the same content.
    replace(&top.join("2/lib.so.2"), &library("one"));
    symlink("lib.so.2", top.join("2/next")).unwrap();
    fs::rename(top.join("2/next"), top.join("2/lib.so")).unwrap();
    assert_silent(&changes);
    replace(&top.join("2/lib.so.2"), &library("two"));
    assert_changed(&changes);
    // The file that the links no longer lead to is not watched.
    replace(&top.join("1/lib.so.1"), &library("two"));
    assert_silent(&changes);
}

#[test]
fn unchanged_content_is_not_reported() {
    let file = empty_folder("same").join("lib.so");
    fs::write(&file, library("one")).unwrap();
    let changes = watch(&file);
    File::options().append(true).open(&file).unwrap().set_modified(SystemTime::now()).unwrap();
    fs::write(&file, library("one")).unwrap();
    replace(&file, &library("one"));
    assert_silent(&changes);
    replace(&file, &library("two"));
    assert_changed(&changes);
}

#[test]
fn a_broken_file_is_reported_once_until_it_is_valid() {
    let file = empty_folder("broken").join("lib.so");
    fs::write(&file, library("one")).unwrap();
    let changes = watch(&file);
    fs::write(&file, "notes").unwrap();
    match changes.recv_timeout(DEADLINE) {
        Ok(LibraryChange::Broken(0, reason)) => assert!(reason.contains("a text file"), "{reason}"),
        other => panic!("{other:?}"),
    }
    fs::write(&file, "other notes").unwrap();
    assert!(changes.recv_timeout(Duration::from_millis(1500)).is_err(), "a broken file is reported once");
    // The content before the broken one is no change.
    fs::write(&file, library("one")).unwrap();
    assert_silent(&changes);
    fs::write(&file, library("two")).unwrap();
    assert_changed(&changes);
    fs::write(&file, "notes again").unwrap();
    assert!(matches!(changes.recv_timeout(DEADLINE), Ok(LibraryChange::Broken(0, _))));
}

/// The time between a change and its report, for which a developer waits after each build.
#[test]
fn a_change_is_reported_soon() {
    let file = empty_folder("soon").join("lib.so");
    fs::write(&file, library("one")).unwrap();
    let changes = watch(&file);
    let (contents, rounds) = ([library("one"), library("two")], 20);
    let took = |change: &dyn Fn(&[u8])| {
        let mut times: Vec<_> = (1..=rounds)
            .map(|round| {
                change(&contents[round % 2]);
                let since = Instant::now();
                assert_changed(&changes);
                since.elapsed()
            })
            .collect();
        times.sort();
        times[rounds / 2]
    };
    let replaced = took(&|content| replace(&file, content));
    let written = took(&|content| fs::write(&file, content).unwrap());
    println!("replaced: reported after {replaced:?}; written: after {written:?}");
    // The median, because other processes may disturb some rounds.
    assert!(replaced < Duration::from_millis(50) * 2, "{replaced:?}");
    assert!(written < Duration::from_millis(150) * 2, "{written:?}");
}

/// The next request to the server: the names of the plugins, and how to answer.
fn next_reload(
    requests: &mut RequestReceiver,
) -> (Vec<String>, tokio::sync::oneshot::Sender<Result<Reloaded, String>>) {
    match requests.blocking_recv() {
        Some(ControlRequest::Reload { which: Which::Named(names), answer, .. }) => (names, answer),
        other => panic!("no reload of a plugin: {other:?}"),
    }
}

#[test]
fn serve_with_watch_requests_reloads_by_plugin_name() {
    let folder = empty_folder("asks");
    let (file, named) = (folder.join("lib.so"), folder.join("named.so"));
    fs::write(&file, library("one")).unwrap();
    fs::write(&named, library("one")).unwrap();
    let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let mut given = PluginSource::library(named.clone());
    given.name = Some("given".to_owned());
    reload::start(&[PluginSource::library(file.clone()), given], sender).unwrap();

    replace(&file, &library("two"));
    let (names, answer) = next_reload(&mut requests);
    assert_eq!(names, ["one"], "the server knows the plugin by its first name");
    // Two more changes while the first one is loaded.
    replace(&file, &library("three"));
    replace(&file, &library("four"));
    answer.send(Err("the new code says no".to_owned())).unwrap();
    let (names, answer) = next_reload(&mut requests);
    assert_eq!(names, ["one"], "watching continues after a rejection");
    answer.send(Ok(Reloaded::default())).unwrap();

    replace(&named, &library("two"));
    let (names, answer) = next_reload(&mut requests);
    assert_eq!(names, ["given"], "two quick changes cause one reload");
    answer.send(Ok(Reloaded::default())).unwrap();
}
