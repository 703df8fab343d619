//! The rounds of `dev`: a source changes, the plugin is built, the server is asked to load it. One thing at a
//! time, on one thread, which every event comes to.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{fs, mem, thread};

use anyhow::{Result, anyhow};
use tokio::sync::oneshot;

use super::Setup;
use super::build::{self, Build, Lines};
use super::project::Project;
use super::screen::Screen;
use crate::control::{Ask, Asker, Reloaded, Which};
use crate::plugin::image::Image;
use crate::server;
use crate::watch::folders::Change;
use crate::watch::tree::{Sources, Tree};

/// From the first event of a change to the build: editors write a file in several steps.
const SETTLED: Duration = Duration::from_millis(30);
/// A file that so many builds have changed is written by the build.
const BY_BUILD: u32 = 3;

/// What the thread waits for.
pub enum Event {
    /// Something has happened to a file.
    Changed(Change),
    /// The build is over; what it has said.
    Ended(Lines),
    /// The server starts.
    Starts,
    /// The server answers questions.
    Serves,
    /// A reload was done, or refused.
    Answered(Result<Reloaded, String>),
    /// The server has ended, or will not begin.
    Stop,
}

/// The way to the thread.
pub type Sender = mpsc::Sender<Event>;

/// The thread's state.
pub struct Rounds {
    project: Project,
    setup: Setup,
    config: Option<PathBuf>,
    tree: Tree,
    sources: Sources,
    sender: Sender,
    events: Receiver<Event>,
    asker: Asker,
    screen: Screen,
    /// Who waits for the first library.
    first: Option<oneshot::Sender<PathBuf>>,
    /// The library that is served, its plugin's name, and its content.
    served: Option<(PathBuf, String, Vec<u8>)>,
    /// Files that have changed and are in no build yet.
    pending: BTreeSet<PathBuf>,
    /// When to look at what has changed.
    due: Option<Instant>,
    build: Option<Build>,
    /// Why it runs.
    reasons: BTreeSet<PathBuf>,
    /// Whether it runs for nothing but what the last one may have written.
    is_own: bool,
    /// How many builds have changed a file, or may have.
    by_build: BTreeMap<PathBuf, u32>,
    /// The server was asked to load this: how long the build took, and the library's content.
    swap: Option<(Option<Duration>, Vec<u8>)>,
}

impl Rounds {
    /// Watches the sources and starts the first build. Err: neither can be.
    pub fn start(
        mut project: Project,
        setup: Setup,
        (sender, events): (Sender, Receiver<Event>),
        asker: Asker,
        first: oneshot::Sender<PathBuf>,
    ) -> Result<Self> {
        let changes = sender.clone();
        let mut tree = Tree::new(move |change| _ = changes.send(Event::Changed(change)))?;
        let config = setup.config.as_deref().and_then(|file| file.canonicalize().ok());
        let sources = with_config(project.sources(false), config.as_deref());
        tree.watch(sources.clone())?;
        let screen = Screen::new(project.folder().to_path_buf());
        let build = Some(project.start(false, &sender)?);
        Ok(Self {
            project,
            setup,
            config,
            tree,
            sources,
            sender,
            events,
            asker,
            screen,
            first: Some(first),
            served: None,
            pending: BTreeSet::new(),
            due: None,
            build,
            reasons: BTreeSet::new(),
            is_own: false,
            by_build: BTreeMap::new(),
            swap: None,
        })
    }

    /// Goes round until [`Event::Stop`].
    pub fn run(mut self) {
        loop {
            match self.next() {
                Some(Event::Changed(change)) => self.note(&change),
                Some(Event::Ended(lines)) => self.ended(&lines),
                Some(Event::Starts) => self.ask_whether_it_serves(),
                Some(Event::Serves) => self.screen.watching(&self.sources.folders),
                Some(Event::Answered(answer)) => self.answered(answer),
                Some(Event::Stop) => return self.stop(),
                None => {}
            }
            let now = Instant::now();
            if self.due.take_if(|due| *due <= now).is_some() {
                self.look(self.build.is_some());
            }
            if let Some(build) =
                self.build.as_mut().filter(|build| build.killed_at.is_some_and(|at| at <= now))
            {
                build.kill();
            }
            if self.build.is_none() && self.swap.is_none() && self.due.is_none() && !self.pending.is_empty() {
                self.go();
            }
        }
    }

    /// The next event, or None: it is time for something.
    fn next(&self) -> Option<Event> {
        let times = [self.due, self.build.as_ref().and_then(|build| build.killed_at)];
        let event = match times.into_iter().flatten().min() {
            Some(time) => self.events.recv_timeout(time.saturating_duration_since(Instant::now())),
            None => self.events.recv().map_err(RecvTimeoutError::from),
        };
        match event {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::Stop),
        }
    }

    fn note(&mut self, change: &Change) {
        if self.tree.note(change) {
            self.due.get_or_insert(Instant::now() + SETTLED);
        }
    }

    /// Looks which files have changed. A build that does not know of them is ended, if it is not the one that may
    /// have changed them: `is_building`.
    fn look(&mut self, is_building: bool) {
        let mut changed = match self.tree.changes() {
            Ok(changed) => changed,
            Err(error) => return self.screen.note(&format!("{error:#}")),
        };
        changed.retain(|file| !is_building || !is_lock(file));
        if !self.project.is_ended_by_changes() {
            changed.retain(|file| self.is_news(file, is_building));
        }
        if changed.is_empty() {
            return;
        }
        self.pending.extend(changed);
        let is_only_config = self.pending.iter().all(|file| Some(file) == self.config.as_ref());
        if let Some(build) = self.build.as_mut()
            && self.project.is_ended_by_changes()
            && !is_only_config
        {
            build.cancel();
        }
    }

    /// Whether a change can be no build's own, or is one for the first times: sources that a build makes have to be
    /// built, and a file that each build writes anew would have it built for ever.
    fn is_news(&mut self, file: &Path, is_building: bool) -> bool {
        if !is_building {
            self.by_build.remove(file);
            return true;
        }
        let times = self.by_build.entry(file.to_path_buf()).or_default();
        *times += 1;
        if *times == BY_BUILD {
            let file = self.screen.short(file);
            self.screen.note(&format!("each build writes {file}; no other build for that"));
        }
        *times < BY_BUILD
    }

    /// What has changed until now, the build that has just ended may have changed.
    fn look_at_end(&mut self) {
        if self.project.is_ended_by_changes() {
            for lock in self.sources.files.iter().filter(|file| is_lock(file)) {
                self.tree.note(&Change::Written(lock.clone()));
            }
        } else {
            self.tree.note_all();
        }
        self.look(true);
    }

    /// Builds what has changed, or has a changed config loaded.
    fn go(&mut self) {
        let is_again = self.reasons.is_subset(&self.pending) && !self.reasons.is_empty();
        let reasons = mem::take(&mut self.pending);
        if self.served.is_some() && reasons.iter().all(|file| Some(file) == self.config.as_ref()) {
            self.screen.config_changed(&reasons);
            self.reasons = reasons;
            return self.reload(None);
        }
        // What is nothing but a build's own is worth no line before something comes of it.
        self.is_own = reasons.iter().all(|file| self.by_build.contains_key(file));
        if !self.is_own {
            self.screen.changed(&reasons, is_again);
        }
        let is_manifest = reasons.iter().any(|file| self.project.is_manifest(file));
        self.reasons = reasons;
        match self.project.start(self.served.is_some() && !is_manifest, &self.sender) {
            Ok(build) => self.build = Some(build),
            Err(error) => self.screen.failed(&format!("{error:#}"), self.served.is_some()),
        }
        if is_manifest {
            self.watch(true);
        }
    }

    fn ended(&mut self, lines: &Lines) {
        let Some(build) = self.build.take() else { return };
        let (took, is_cancelled) = (build.started.elapsed(), build.is_cancelled);
        self.look_at_end();
        let status = build.wait();
        if is_cancelled {
            // What it was for is in the next one.
            self.pending.extend(self.reasons.iter().cloned());
            return;
        }
        let is_serving = self.served.is_some();
        match status {
            Err(error) => self.screen.failed(&format!("{error:#}"), is_serving),
            Ok(status) if !status.success() => self.screen.build_failed(took, is_serving),
            Ok(_) => match self.project.library(lines) {
                Err(error) => self.screen.failed(&format!("{error:#}"), is_serving),
                Ok(library) if is_serving => self.built(&library, took),
                Ok(library) => self.begin(library),
            },
        }
        self.watch(false);
        if self.swap.is_none() {
            self.reasons.clear();
        }
    }

    /// The first library is there, if it is one.
    fn begin(&mut self, library: PathBuf) {
        let name = Image::read(&library).and_then(|_| self.setup.plugin_name(&library));
        match name.and_then(|name| Ok((name, fs::read(&library)?))) {
            Ok((name, content)) => {
                self.served = Some((library.clone(), name, content));
                if let Some(first) = self.first.take() {
                    // Nobody waits any more if it is to stop.
                    let _ = first.send(library);
                }
            }
            Err(error) => self.screen.failed(&format!("{}: {error:#}", library.display()), false),
        }
    }

    fn built(&mut self, library: &Path, took: Duration) {
        let Some((served, _, content)) = &self.served else { return };
        let is_config = self.config.as_ref().is_some_and(|config| self.reasons.contains(config));
        if served != library {
            let text = format!(
                "the build makes {} now; stop `dev` and start it again to serve it, {} serves on",
                library.display(),
                served.display()
            );
            return self.screen.note(&text);
        }
        if !is_config && fs::read(library).is_ok_and(|new| new == *content) {
            if !self.is_own {
                self.screen.same(took);
            }
            return;
        }
        self.reload(Some(took));
    }

    /// Asks the server to load what there is now.
    fn reload(&mut self, built: Option<Duration>) {
        let Some((library, name, _)) = &self.served else { return };
        let is_config = self.config.as_ref().is_some_and(|config| self.reasons.contains(config));
        let which = match is_config.then(|| self.setup.settings(library)) {
            None => Which::Named(vec![name.clone()]),
            Some(Ok(settings)) => Which::Settings(Box::new(settings)),
            Some(Err(error)) => return self.screen.refused(built, &format!("{error:#}")),
        };
        let content = fs::read(library).unwrap_or_default();
        let (answer, answered) = oneshot::channel();
        if self.asker.send(Ask::Reload { which, reason: None, answer }).is_err() {
            return self.screen.refused(built, server::NO_RELOAD);
        }
        self.swap = Some((built, content));
        self.wait(answered, |answer| {
            Some(Event::Answered(answer.unwrap_or_else(|_| Err("the server is stopping".to_owned()))))
        });
    }

    fn answered(&mut self, answer: Result<Reloaded, String>) {
        let Some((built, content)) = self.swap.take() else { return };
        self.reasons.clear();
        match answer {
            Ok(done) => {
                self.screen.reloaded(built, &done);
                if let Some(served) = &mut self.served {
                    served.2 = content;
                }
            }
            Err(reason) => self.screen.refused(built, &reason),
        }
    }

    fn ask_whether_it_serves(&self) {
        let (answer, answered) = oneshot::channel();
        // Nobody answers without workers, and if it cannot start.
        if self.asker.send(Ask::Status(answer)).is_ok() {
            self.wait(answered, |answer| answer.ok().map(|_| Event::Serves));
        }
    }

    /// Makes an answer an event.
    fn wait<T: Send + 'static>(
        &self,
        answer: oneshot::Receiver<T>,
        event: impl FnOnce(Result<T>) -> Option<Event> + Send + 'static,
    ) {
        let sender = self.sender.clone();
        thread::spawn(move || {
            let answer = answer.blocking_recv().map_err(|error| anyhow!(error));
            event(answer).map(|event| sender.send(event))
        });
    }

    /// Watches what the sources are now.
    fn watch(&mut self, is_new: bool) {
        self.sources = with_config(self.project.sources(is_new), self.config.as_deref());
        if let Err(error) = self.tree.watch(self.sources.clone()) {
            self.screen.note(&format!("{error:#}"));
        }
    }

    /// Leaves no build behind.
    fn stop(mut self) {
        let Some(mut build) = self.build.take() else { return };
        build.cancel();
        for is_last in [false, true] {
            let end = Instant::now() + build::INTERRUPTED;
            while let Some(left) = end.checked_duration_since(Instant::now()) {
                if let Ok(Event::Ended(_)) = self.events.recv_timeout(left) {
                    // It has ended, however.
                    let _ = build.wait();
                    return;
                }
            }
            if !is_last {
                build.kill();
            }
        }
    }
}

fn with_config(mut sources: Sources, config: Option<&Path>) -> Sources {
    sources.files.extend(config.map(Path::to_path_buf));
    sources
}

/// Cargo writes it when it builds.
fn is_lock(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "Cargo.lock")
}
