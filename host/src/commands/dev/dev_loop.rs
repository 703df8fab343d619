//! The loop of `dev`: a source changes, the plugin is built, the server reloads it. Runs on one thread, handles one
//! event at a time, and runs one build or reload at a time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::oneshot;

use super::ServeSetup;
use super::build::{Build, CANCEL_TIMEOUT};
use super::changes::Changes;
use super::events::{DevEvent, EventReceiver, EventSender};
use super::project::Project;
use super::report::{Reporter, seconds};
use super::requests::ServerRequests;
use crate::commands::watch::fingerprint_of;
use crate::commands::watch::folders::FolderWatcher;
use crate::parent::control::{Reloaded, RequestSender, Which};
use crate::plugin::image::Image;
use crate::serve;

pub struct DevLoop {
    project: Project,
    setup: ServeSetup,
    changes: Changes,
    server: ServerRequests,
    reporter: Reporter,
    events: EventReceiver,
    /// For the events of builds.
    event_sender: EventSender,
    /// Where the main thread waits for the first library. None: it was sent.
    first_library: Option<oneshot::Sender<PathBuf>>,
    /// None until the first build succeeds.
    served: Option<ServedLibrary>,
    build: Option<Build>,
    reload: Option<PendingReload>,
    /// The changed files that the running build or reload is for.
    causes: BTreeSet<PathBuf>,
    /// Whether all causes may have been written by the build before. Such a build is not reported.
    is_build_own_cause: bool,
    /// Whether the last build was cancelled. The next one is not, so that one succeeds at some time.
    was_cancelled: bool,
}

/// The library that the server has loaded.
struct ServedLibrary {
    file: PathBuf,
    plugin_name: String,
    /// Fingerprint of its content; None: it could not be read.
    content: Option<u64>,
    /// The same of what the last build has made. The server may have rejected it.
    built: Option<u64>,
}

/// A reload that the server has not answered yet.
struct PendingReload {
    /// None: only the config file has changed.
    build_time: Option<Duration>,
    /// Fingerprint of the library to load.
    content: Option<u64>,
}

impl DevLoop {
    /// Watches the sources and starts the first build. The first library goes to `first_library`.
    pub fn start(
        mut project: Project,
        setup: ServeSetup,
        (event_sender, events): (EventSender, EventReceiver),
        request_sender: RequestSender,
        first_library: oneshot::Sender<PathBuf>,
    ) -> Result<Self> {
        let config = setup.config.as_deref().and_then(|file| file.canonicalize().ok());
        let sources = project.sources(false);
        let folders = match setup.is_polling() {
            true => FolderWatcher::without_events(),
            false => {
                let events = event_sender.clone();
                FolderWatcher::new(move |event| _ = events.send(DevEvent::File(event)))
            }
        };
        let changes = Changes::new(folders, sources, setup.patterns(project.folder()), config);
        let reporter = Reporter::new(project.folder().to_path_buf());
        let server = ServerRequests::new(request_sender, event_sender.clone());
        let build = Some(project.start(false, &[], &event_sender)?);
        Ok(Self {
            project,
            setup,
            changes,
            server,
            reporter,
            events,
            event_sender,
            first_library: Some(first_library),
            served: None,
            build,
            reload: None,
            causes: BTreeSet::new(),
            is_build_own_cause: false,
            was_cancelled: false,
        })
    }

    /// Runs until [`DevEvent::Stop`].
    pub fn run(mut self) {
        loop {
            match self.next_event() {
                Some(DevEvent::File(event)) => self.changes.handle(&event),
                Some(DevEvent::BuildEnded(lines)) => self.handle_build_end(&lines),
                Some(DevEvent::ServerStarts { has_parent: false }) => {
                    self.reporter.note("changes are built, and loaded only by a restart of `dev`");
                }
                Some(DevEvent::ServerStarts { .. }) => self.server.await_ready(),
                Some(DevEvent::ServerReady) => self.reporter.watching(self.changes.folders()),
                Some(DevEvent::ReloadEnded(result)) => self.handle_reload_end(result),
                Some(DevEvent::Stop) => return self.stop(),
                None => {}
            }
            let now = Instant::now();
            if self.changes.next_poll() <= now {
                self.changes.poll();
            }
            if self.changes.take_due(now) {
                self.collect_changes();
            }
            if let Some(build) = self.build.as_mut().filter(|build| build.kill_at.is_some_and(|at| at <= now))
            {
                build.kill();
            }
            if self.build_at().is_some_and(|at| at <= Instant::now()) {
                self.build_or_reload();
            }
        }
    }

    /// When to build the pending changes. None: there are none, or something else comes first.
    fn build_at(&self) -> Option<Instant> {
        let is_idle = self.build.is_none() && self.reload.is_none() && self.changes.due().is_none();
        if is_idle { self.changes.build_at() } else { None }
    }

    /// Waits for an event, or until something is due (None).
    fn next_event(&self) -> Option<DevEvent> {
        let kill_at = self.build.as_ref().and_then(|build| build.kill_at);
        let times = [self.changes.due(), self.build_at(), kill_at].into_iter().flatten();
        let time = times.fold(self.changes.next_poll(), Instant::min);
        match self.events.recv_timeout(time.saturating_duration_since(Instant::now())) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(DevEvent::Stop),
        }
    }

    /// Collects the changed files. Cancels a build of old sources, unless it may have changed them itself.
    fn collect_changes(&mut self) {
        let build = self.build.as_mut().filter(|build| !build.is_question);
        self.changes.collect(build.is_some());
        if let Some(build) = build
            && self.project.may_cancel()
            && !self.was_cancelled
            && self.changes.has_overtaken()
        {
            build.cancel();
        }
    }

    /// Starts a build of the pending changes, or a reload if only the config file has changed.
    fn build_or_reload(&mut self) {
        let is_again = self.causes.is_subset(self.changes.pending()) && !self.causes.is_empty();
        self.causes = self.changes.take_pending();
        if self.served.is_some() && self.changes.are_config_only(&self.causes) {
            self.reporter.config_changed(&self.causes);
            return self.request_reload(None);
        }
        if self.served.is_some()
            && self.changes.is_worth_asking(&self.causes)
            && let Some(Ok(question)) = self.project.ask(&self.event_sender)
        {
            self.build = Some(question);
            return;
        }
        self.start_build(is_again);
    }

    /// Builds the causes.
    fn start_build(&mut self, is_again: bool) {
        self.changes.begin_build();
        self.is_build_own_cause = !self.project.may_cancel() && self.changes.are_build_writes(&self.causes);
        if !self.is_build_own_cause {
            self.reporter.changed(&self.causes, is_again);
        }
        let overtaken = self.changes.overtaken(&self.causes);
        let is_manifest_changed = self.causes.iter().any(|file| self.project.is_manifest(file));
        let is_quiet = self.served.is_some() && !is_manifest_changed;
        match self.project.start(is_quiet, &overtaken, &self.event_sender) {
            Ok(build) => self.build = Some(build),
            Err(error) => self.reporter.failed(&format!("{error:#}"), self.served.is_some()),
        }
        if is_manifest_changed {
            self.watch_sources(true);
        }
    }

    fn handle_build_end(&mut self, lines: &[String]) {
        let Some(build) = self.build.take() else { return };
        let (build_time, is_cancelled) = (build.started.elapsed(), build.is_cancelled);
        if build.is_question {
            return self.handle_answer(build.wait().is_ok_and(|status| status.success()));
        }
        self.changes.end_build(&self.reporter);
        let status = build.wait();
        self.was_cancelled = is_cancelled;
        if is_cancelled {
            self.changes.put_back(&self.causes);
            return;
        }
        let is_serving = self.served.is_some();
        let library = match status {
            Err(error) => Err(format!("{error:#}")),
            Ok(status) if !status.success() => Err(format!("the build failed after {}", seconds(build_time))),
            Ok(_) => self.project.library(lines).map_err(|error| format!("{error:#}")),
        };
        match library {
            Ok(library) => {
                self.changes.learn(self.project.inputs());
                match is_serving {
                    true => self.reload_if_changed(&library, build_time),
                    false => self.serve_first(library),
                }
            }
            Err(reason) => {
                self.changes.fail();
                self.reporter.failed(&reason, is_serving);
            }
        }
        self.watch_sources(false);
        if self.reload.is_none() {
            self.causes.clear();
        }
    }

    /// Builds the causes if the build tool says that there is something to build.
    fn handle_answer(&mut self, is_up_to_date: bool) {
        if is_up_to_date {
            self.changes.pass_over(&self.causes);
            return self.causes.clear();
        }
        self.causes.append(&mut self.changes.take_pending());
        self.start_build(false);
    }

    /// Hands the first library to the main thread, if it is a valid one.
    fn serve_first(&mut self, library: PathBuf) {
        let plugin_name = Image::read(&library).and_then(|_| self.setup.plugin_name(&library));
        match plugin_name.and_then(|name| Ok((name, fingerprint_of(&library)?))) {
            Ok((plugin_name, content)) => {
                let (file, content) = (library.clone(), Some(content));
                self.served = Some(ServedLibrary { file, plugin_name, content, built: content });
                if let Some(first_library) = self.first_library.take() {
                    // The main thread does not wait if a signal came.
                    let _ = first_library.send(library);
                }
            }
            Err(error) => self.reporter.failed(&format!("{}: {error:#}", library.display()), false),
        }
    }

    fn reload_if_changed(&mut self, library: &Path, build_time: Duration) {
        let Some(served) = &mut self.served else { return };
        if served.file != library {
            let text = format!(
                "the build now makes {}; restart `dev` to serve it. {} keeps running",
                library.display(),
                served.file.display()
            );
            return self.reporter.note(&text);
        }
        let built = fingerprint_of(library).ok();
        let is_same = built == served.content;
        self.changes.judge(&self.causes, built == served.built, &self.reporter);
        served.built = built;
        if is_same && !self.changes.includes_config(&self.causes) {
            if !self.is_build_own_cause {
                self.reporter.same(build_time);
            }
            return;
        }
        self.request_reload(Some(build_time));
    }

    /// Requests a reload of the plugin, or of all plugins with new settings if the config file has changed.
    fn request_reload(&mut self, build_time: Option<Duration>) {
        let Some(served) = &self.served else { return };
        let which = if self.changes.includes_config(&self.causes) {
            match self.setup.settings(&served.file) {
                Ok(settings) => Which::Settings(Box::new(settings)),
                Err(error) => return self.reporter.rejected(build_time, &format!("{error:#}")),
            }
        } else {
            Which::Named(vec![served.plugin_name.clone()])
        };
        let content = fingerprint_of(&served.file).ok();
        if !self.server.reload(which) {
            return self.reporter.rejected(build_time, serve::NO_RELOAD);
        }
        self.reload = Some(PendingReload { build_time, content });
    }

    fn handle_reload_end(&mut self, result: Result<Box<Reloaded>, String>) {
        let Some(PendingReload { build_time, content }) = self.reload.take() else { return };
        self.causes.clear();
        match result {
            Ok(reloaded) => {
                self.reporter.reloaded(build_time, &reloaded);
                if let Some(served) = &mut self.served {
                    served.content = content;
                }
            }
            Err(reason) => self.reporter.rejected(build_time, &reason),
        }
    }

    /// Watches the current sources. `is_manifest_changed`: reads the manifests again.
    fn watch_sources(&mut self, is_manifest_changed: bool) {
        let sources = self.project.sources(is_manifest_changed);
        self.changes.watch(sources);
    }

    /// Ends a running build: interrupts it, then kills it.
    fn stop(mut self) {
        let Some(mut build) = self.build.take() else { return };
        build.cancel();
        for is_killed in [false, true] {
            let end = Instant::now() + CANCEL_TIMEOUT;
            while let Some(remaining) = end.checked_duration_since(Instant::now()) {
                if let Ok(DevEvent::BuildEnded(_)) = self.events.recv_timeout(remaining) {
                    // Its result no longer matters.
                    let _ = build.wait();
                    return;
                }
            }
            if !is_killed {
                build.kill();
            }
        }
    }
}
