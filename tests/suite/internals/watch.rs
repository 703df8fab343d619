//! A library's file that has changed is told once, when it is whole, however it has changed; what is the same is
//! not told. `serve --watch` asks for a reload of the plugin that the server knows under its name.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use callsign::control::{Ask, Asks, Reloaded, Which};
use callsign::settings::PluginSource;
use callsign::watch::libraries::{self, News};
use callsign::watch::reload;

use crate::support::{DEADLINE, c_plugin_with, empty_folder};

/// Longer than it takes until a file that is written counts as whole.
const WHOLE: Duration = Duration::from_millis(250);

/// A plugin with that name, as bytes.
fn library(name: &str) -> Vec<u8> {
    fs::read(c_plugin_with("faulty.c", &[&format!("-DNAME=\"{name}\"")])).expect("it was built")
}

/// Puts a file there by a rename, as a linker or `install` does.
fn replace(file: &Path, content: &[u8]) {
    let new = file.with_extension("new");
    fs::write(&new, content).expect("the scratch folder can be written");
    fs::rename(&new, file).expect("the scratch folder can be written");
}

fn watched(file: &Path) -> Receiver<News> {
    let (sender, news) = mpsc::channel();
    libraries::watch(vec![file.to_path_buf()], move |news| sender.send(news).is_ok())
        .expect("it can be watched");
    news
}

#[track_caller]
fn assert_changed(news: &Receiver<News>) {
    assert_eq!(news.recv_timeout(DEADLINE).expect("the change is told"), News::Changed(vec![0]));
}

/// Nothing is told for longer than any change takes.
#[track_caller]
fn assert_silent(news: &Receiver<News>) {
    assert_eq!(news.recv_timeout(WHOLE * 2).ok(), None);
}

#[test]
fn a_file_that_takes_anothers_place_is_told() {
    let file = empty_folder("replaced").join("lib.so");
    fs::write(&file, library("one")).unwrap();
    let news = watched(&file);
    replace(&file, &library("two"));
    assert_changed(&news);
    // As cargo does it: away with the old one, and a link to the new one.
    let made = file.with_file_name("made-by-the-linker");
    fs::write(&made, library("one")).unwrap();
    fs::remove_file(&file).unwrap();
    fs::hard_link(&made, &file).unwrap();
    assert_changed(&news);
    assert_silent(&news);
}

#[test]
fn a_file_that_is_written_in_place_is_told_when_it_is_whole() {
    let file = empty_folder("in-place").join("lib.so");
    fs::write(&file, library("one")).unwrap();
    let news = watched(&file);
    let content = library("two");
    let (first, second) = content.split_at(content.len() / 2);
    let mut writer = OpenOptions::new().write(true).truncate(true).open(&file).unwrap();
    writer.write_all(first).unwrap();
    // A slow writer.
    thread::sleep(WHOLE);
    assert_eq!(news.try_recv().ok(), None, "half a library is none");
    writer.write_all(second).unwrap();
    drop(writer);
    assert_changed(&news);
    assert_silent(&news);
}

#[test]
fn a_file_that_was_removed_is_told_when_there_is_another() {
    let file = empty_folder("recreated").join("lib.so");
    fs::write(&file, library("one")).unwrap();
    let news = watched(&file);
    fs::remove_file(&file).unwrap();
    thread::sleep(WHOLE);
    assert_eq!(news.try_recv().ok(), None);
    fs::write(&file, library("two")).unwrap();
    assert_changed(&news);
    assert_silent(&news);
}

#[test]
fn a_folder_that_was_made_again_is_watched_again() {
    let top = empty_folder("made-again");
    let file = top.join("build/out/lib.so");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, library("one")).unwrap();
    let news = watched(&file);
    for (round, name) in ["two", "one", "two"].into_iter().enumerate() {
        match round {
            1 => fs::rename(top.join("build"), top.join("build.old")).unwrap(),
            _ => fs::remove_dir_all(top.join("build")).unwrap(),
        }
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, library(name)).unwrap();
        assert_changed(&news);
    }
    assert_silent(&news);
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
    let news = watched(&top.join("current/lib.so"));
    // As deployments do it.
    symlink("2", top.join("next")).unwrap();
    fs::rename(top.join("next"), top.join("current")).unwrap();
    assert_changed(&news);
    // The file itself, behind both links.
    replace(&top.join("2/lib.so.1"), &library("one"));
    assert_changed(&news);
    // The second link, to what is the same.
    replace(&top.join("2/lib.so.2"), &library("one"));
    symlink("lib.so.2", top.join("2/next")).unwrap();
    fs::rename(top.join("2/next"), top.join("2/lib.so")).unwrap();
    assert_silent(&news);
    replace(&top.join("2/lib.so.2"), &library("two"));
    assert_changed(&news);
    // What is not used any more is not watched any more.
    replace(&top.join("1/lib.so.1"), &library("two"));
    assert_silent(&news);
}

#[test]
fn what_is_the_same_is_not_told() {
    let file = empty_folder("same").join("lib.so");
    fs::write(&file, library("one")).unwrap();
    let news = watched(&file);
    File::options().append(true).open(&file).unwrap().set_modified(SystemTime::now()).unwrap();
    fs::write(&file, library("one")).unwrap();
    replace(&file, &library("one"));
    assert_silent(&news);
    replace(&file, &library("two"));
    assert_changed(&news);
}

#[test]
fn a_file_that_stays_broken_is_told_once_until_it_is_whole() {
    let file = empty_folder("broken").join("lib.so");
    fs::write(&file, library("one")).unwrap();
    let news = watched(&file);
    fs::write(&file, "notes").unwrap();
    match news.recv_timeout(DEADLINE) {
        Ok(News::Broken(0, reason)) => assert!(reason.contains("a text file"), "{reason}"),
        other => panic!("{other:?}"),
    }
    fs::write(&file, "other notes").unwrap();
    assert!(news.recv_timeout(Duration::from_millis(1500)).is_err(), "it is known to be broken");
    // What it was before is not another one.
    fs::write(&file, library("one")).unwrap();
    assert_silent(&news);
    fs::write(&file, library("two")).unwrap();
    assert_changed(&news);
    fs::write(&file, "notes again").unwrap();
    assert!(matches!(news.recv_timeout(DEADLINE), Ok(News::Broken(0, _))));
}

/// Between the change and its being told: what a developer waits for besides the build.
#[test]
fn a_change_is_told_soon() {
    let file = empty_folder("soon").join("lib.so");
    fs::write(&file, library("one")).unwrap();
    let news = watched(&file);
    let (contents, rounds) = ([library("one"), library("two")], 20);
    let took = |change: &dyn Fn(&[u8])| {
        let mut times: Vec<_> = (1..=rounds)
            .map(|round| {
                change(&contents[round % 2]);
                let since = Instant::now();
                assert_changed(&news);
                since.elapsed()
            })
            .collect();
        times.sort();
        times[rounds / 2]
    };
    let replaced = took(&|content| replace(&file, content));
    let written = took(&|content| fs::write(&file, content).unwrap());
    println!("replaced: told after {replaced:?}; written: after {written:?}");
    // Of a machine with other work, the half that was not disturbed.
    assert!(replaced < Duration::from_millis(50) * 2, "{replaced:?}");
    assert!(written < Duration::from_millis(150) * 2, "{written:?}");
}

/// The next question to the server.
fn asked(asks: &mut Asks) -> (Vec<String>, tokio::sync::oneshot::Sender<Result<Reloaded, String>>) {
    match asks.blocking_recv() {
        Some(Ask::Reload { which: Which::Named(names), answer, .. }) => (names, answer),
        other => panic!("no reload of a plugin: {other:?}"),
    }
}

#[test]
fn serve_with_watch_asks_for_the_plugin_by_its_name_again_and_again() {
    let folder = empty_folder("asks");
    let (file, named) = (folder.join("lib.so"), folder.join("named.so"));
    fs::write(&file, library("one")).unwrap();
    fs::write(&named, library("one")).unwrap();
    let (asker, mut asks) = tokio::sync::mpsc::unbounded_channel();
    let mut given = PluginSource::library(named.clone());
    given.name = Some("given".to_owned());
    reload::start(&[PluginSource::library(file.clone()), given], asker).unwrap();

    replace(&file, &library("two"));
    let (names, answer) = asked(&mut asks);
    assert_eq!(names, ["one"], "the server knows it under the name of its first copy");
    // While it is loaded, two more changes.
    replace(&file, &library("three"));
    replace(&file, &library("four"));
    answer.send(Err("the new code says no".to_owned())).unwrap();
    let (names, answer) = asked(&mut asks);
    assert_eq!(names, ["one"], "a refusal is not the end");
    answer.send(Ok(Reloaded::default())).unwrap();

    replace(&named, &library("two"));
    let (names, answer) = asked(&mut asks);
    assert_eq!(names, ["given"], "two changes behind each other are one");
    answer.send(Ok(Reloaded::default())).unwrap();
}
