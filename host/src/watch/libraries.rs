//! Libraries' files: tells of each that is another one than before, once it is whole, however it came there:
//! written in place, put there by a rename or a link, removed and made again, behind symbolic links. Reads
//! them, loads none.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result};

use super::fingerprint;
use super::folders::{Change, Folders};
use crate::plugin::image::{self, Image};

/// A file that was put there at once needs no more than for the rest of its events to come.
const SETTLED_REPLACED: Duration = Duration::from_millis(20);
/// A file that is written is whole when nothing was written for so long.
const SETTLED_WRITTEN: Duration = Duration::from_millis(100);
/// A file that is no library after so long will not become one by itself.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked for what the system has not told: a folder above was moved away, the file system is
/// another machine's.
const UNTOLD: Duration = Duration::from_secs(1);
/// Symbolic links that are followed, as the kernel does.
const LINKS_MAX: usize = 40;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// These of the libraries, by their places in the list, are others now.
    Changed(Vec<usize>),
    /// This one is no library now, and why. Told once, until it is one again.
    Broken(usize, String),
}

/// Watches these files from now on, on a thread of its own, as long as `tell` answers true. What changes while
/// `tell` runs is told after it.
pub fn watch(files: Vec<PathBuf>, mut tell: impl FnMut(News) -> bool + Send + 'static) -> Result<()> {
    let (sender, changes) = mpsc::channel();
    let folders = Folders::new(move |change| _ = sender.send(change))?;
    let mut watch = Watch { folders, libraries: files.into_iter().map(Library::new).collect() };
    watch.follow()?;
    for library in &mut watch.libraries {
        library.state = library.state();
        library.known = library.content().ok();
    }
    thread::Builder::new()
        .name("watch libraries".to_owned())
        .spawn(move || {
            loop {
                let due = watch.libraries.iter().filter_map(|library| library.due).min();
                let due = due.unwrap_or_else(|| Instant::now() + UNTOLD);
                match changes.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Ok(change) => watch.note(&change),
                    Err(RecvTimeoutError::Timeout) => watch.note_untold(),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                if !watch.due().into_iter().all(&mut tell) {
                    return;
                }
            }
        })
        .context("cannot start the thread that watches libraries")?;
    Ok(())
}

struct Watch {
    folders: Folders,
    libraries: Vec<Library>,
}

struct Library {
    file: PathBuf,
    /// Its real path, and those of the symbolic links on the way to it.
    names: BTreeSet<PathBuf>,
    /// Content that was told last, or was there at the beginning.
    known: Option<u64>,
    /// When to look at it.
    due: Option<Instant>,
    /// What it was like when something last happened to it.
    state: Option<State>,
    /// Since when it is no library.
    broken: Option<Instant>,
    is_told_broken: bool,
}

/// What changes while a file is written.
type State = (u64, u64, u64, i64, i64);

impl Watch {
    /// Watches all folders on the ways to the files, as the ways are now.
    fn follow(&mut self) -> Result<()> {
        // A folder that is new may have changed before it was watched.
        for _ in 0..LINKS_MAX {
            self.libraries.iter_mut().for_each(|library| library.names = names(&library.file));
            let names = self.libraries.iter().flat_map(|library| &library.names);
            let folders: Vec<_> = names.filter_map(|name| name.parent()).map(Path::to_path_buf).collect();
            if !self.folders.set(folders)? {
                break;
            }
        }
        Ok(())
    }

    fn note(&mut self, change: &Change) {
        self.folders.note(change);
        for library in &mut self.libraries {
            let settled = match change {
                Change::Written(path) if library.is_on_the_way(path) => SETTLED_WRITTEN,
                Change::Replaced(path) if library.is_on_the_way(path) => SETTLED_REPLACED,
                Change::Anything => SETTLED_WRITTEN,
                _ => continue,
            };
            library.due = library.due.max(Some(Instant::now() + settled));
            library.state = library.state();
        }
        let may_lead_elsewhere = !matches!(change, Change::Written(_));
        if may_lead_elsewhere && self.libraries.iter().any(|library| library.due.is_some()) {
            // What cannot be watched now is said when it is looked at: there is no file then.
            if let Err(error) = self.follow() {
                log::error!("{error:#}");
            }
        }
    }

    fn note_untold(&mut self) {
        let is_other = |library: &Library| library.due.is_none() && library.state != library.state();
        if self.libraries.iter().any(is_other) {
            self.note(&Change::Anything);
        }
    }

    /// Looks at what is due.
    fn due(&mut self) -> Vec<News> {
        let now = Instant::now();
        let (mut changed, mut news) = (Vec::new(), Vec::new());
        for (index, library) in self.libraries.iter_mut().enumerate() {
            if library.due.take_if(|due| *due <= now).is_some() {
                match library.look() {
                    Look::Same => {}
                    Look::Changed => changed.push(index),
                    Look::Broken(reason) => news.push(News::Broken(index, reason)),
                }
            }
        }
        if !changed.is_empty() {
            news.push(News::Changed(changed));
        }
        news
    }
}

enum Look {
    Same,
    Changed,
    Broken(String),
}

impl Library {
    fn new(file: PathBuf) -> Self {
        Self {
            file,
            names: BTreeSet::new(),
            known: None,
            due: None,
            state: None,
            broken: None,
            is_told_broken: false,
        }
    }

    /// Whether what happens to this path may change the file: it is one of its names, or a folder above one.
    fn is_on_the_way(&self, path: &Path) -> bool {
        self.names.iter().any(|name| name.starts_with(path))
    }

    fn state(&self) -> Option<State> {
        let file = fs::metadata(&self.file).ok()?;
        Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    }

    fn content(&self) -> io::Result<u64> {
        let mut content = Vec::new();
        image::open(&self.file)?.read_to_end(&mut content)?;
        Ok(fingerprint(&content))
    }

    fn look(&mut self) -> Look {
        let now = Instant::now();
        let state = self.state();
        if state != std::mem::replace(&mut self.state, state) {
            self.due = Some(now + SETTLED_WRITTEN);
            return Look::Same;
        }
        let content = self.content().ok();
        if content.is_some() && content == self.known {
            (self.broken, self.is_told_broken) = (None, false);
            return Look::Same;
        }
        match Image::read(&self.file) {
            Ok(_) => {
                (self.broken, self.is_told_broken) = (None, false);
                self.known = content;
                Look::Changed
            }
            Err(error) if now - *self.broken.get_or_insert(now) >= PATIENCE => {
                self.broken = None;
                match std::mem::replace(&mut self.is_told_broken, true) {
                    true => Look::Same,
                    false => Look::Broken(format!("{error:#}")),
                }
            }
            Err(_) => {
                self.due = Some(now + SETTLED_WRITTEN);
                Look::Same
            }
        }
    }
}

/// The file's real path, and those of the symbolic links on the way to it: whatever happens to one of them may
/// make it another file.
fn names(file: &Path) -> BTreeSet<PathBuf> {
    let mut names = BTreeSet::new();
    let mut links = 0;
    let mut real = PathBuf::new();
    let mut rest = parts(&std::path::absolute(file).unwrap_or(file.into()));
    while let Some(part) = rest.pop() {
        if part == ".." {
            real.pop();
            continue;
        }
        let next = real.join(part);
        match fs::read_link(&next) {
            Ok(target) if links < LINKS_MAX => {
                links += 1;
                names.insert(next);
                rest.extend(parts(&target));
            }
            _ => real = next,
        }
    }
    names.insert(real);
    names
}

/// Its components, the last one first. An absolute path ends with the root, which joins as such.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter(|part| *part != Component::CurDir);
    parts.map(|part| part.as_os_str().to_owned()).collect()
}
