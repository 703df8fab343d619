//! Files that cannot be loaded: they are looked at before anything is copied, and `--reload-timeout` bounds the copying.

use std::io::{Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

use super::*;

/// A server with one worker and this `--reload-timeout`.
fn serve(timeout: &str) -> Reloading {
    let options = ["--workers", "1", "--route", ROUTE, "--reload-timeout", timeout];
    Reloading::serve(&variant("1", &[]), &options)
}

#[test]
fn a_broken_file_is_opened_once() {
    let reloading = serve("10s");
    let broken = scratch("broken.so");
    fs::write(&broken, b"\x7fELF and nothing more").expect("the scratch folder can be written");
    reloading.put(&broken);
    let events = inotify::init(CreateFlags::NONBLOCK).expect("the system has inotify");
    inotify::add_watch(&events, &reloading.library, WatchFlags::OPEN).expect("the file exists");
    let reason = reloading.reload().expect_err("the reload must be rejected");
    assert!(reason.contains("the file is damaged or cut short"), "{reason}");
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut reader = Reader::new(&events, &mut buffer);
    let opened = std::iter::from_fn(|| reader.next().ok().map(drop)).count();
    assert_eq!(opened, 1);
}

#[test]
fn a_file_that_a_build_writes_all_the_time_is_not_waited_for_forever() {
    let reloading = serve("1s");
    let whole = fs::read(variant("2", &[])).expect("the library was built");
    fs::write(&reloading.library, &whole[..whole.len() / 2]).expect("the file can be written");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut file =
                fs::File::options().append(true).open(&reloading.library).expect("the file exists");
            while !stop.load(Ordering::Relaxed) {
                file.write_all(b"more").expect("the file can be written");
                thread::sleep(Duration::from_millis(2)); // a linker that writes in pieces
            }
        });
        let answer = reloading.reload();
        stop.store(true, Ordering::Relaxed);
        let reason = answer.expect_err("the reload must be rejected");
        assert!(reason.contains("it was not complete within 1s (--reload-timeout)"), "{reason}");
    });
    reloading.reload_with(&variant("2", &[])).expect("the reload is accepted");
}

/// A plugin with 64 GiB of nothing behind it.
#[test]
fn a_library_that_takes_too_long_to_copy_is_rejected_and_leaves_no_file() {
    let reloading = serve("100ms");
    let library = scratch("large.so");
    fs::copy(variant("2", &[]), &library).expect("the library was built");
    let mut file = fs::File::options().write(true).open(&library).expect("the file was copied");
    file.seek(SeekFrom::Start(64 << 30)).expect("the file system has room for holes");
    file.write_all(b"end").expect("the file system has room for holes");
    drop(file);
    fs::rename(&library, &reloading.library).expect("the scratch folder can be written");
    let reason = reloading.reload().expect_err("the reload must be rejected");
    assert!(reason.contains("of its 65536 MiB were copied within 100ms (--reload-timeout)"), "{reason}");
    let folder =
        reloading.host.process().files().into_iter().find(|file| {
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("callsign-"))
        });
    let copies = fs::read_dir(folder.expect("the parent's folder for copies")).expect("the path exists");
    assert_eq!(copies.flatten().filter(|entry| entry.path().is_dir()).count(), 1, "the copy in use");
}
