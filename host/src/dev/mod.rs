//! `callsign dev`: builds a plugin, serves it, and does both again when its sources change.
//!
//! The server has the main thread, as always; the rounds of building and reloading have one of their own, and
//! ask for reloads as anybody does.

#![forbid(unsafe_code)]

mod cargo; // a crate

mod command; // a Makefile, or any command

mod build; // a build that runs, and can be ended

mod project; // what is built, and from what

mod rounds; // change, build, reload

mod screen; // what is said of it

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;

use self::project::Project;
use self::rounds::{Event, Rounds};
use crate::cli::DevOptions;
use crate::config;
use crate::control::{Asker, Desk, Hangup};
use crate::plugin::image::Image;
use crate::server;
use crate::settings::{DEFAULT_DEV_WORKERS, PluginSource, Settings};
use crate::stop::Stop;

/// The config file that is read from the plugin's folder if none is named.
const CONFIG: &str = "callsign.toml";

/// Builds, serves and watches until a signal says to stop. Err: there is nothing to build, or the server could not
/// start, or had to cut connections at the end. `begin` is called with the settings as they are before the first
/// build, when nothing has been logged.
pub fn run(options: DevOptions, begin: impl FnOnce(&Settings)) -> Result<()> {
    let project = Project::open(&options)?;
    let setup = Setup::of(options);
    // What is wrong with options or config is said before the first build.
    begin(&setup.settings(Path::new(""))?);
    let (asker, asks) = unbounded_channel();
    let (events, heard) = mpsc::channel();
    let ways = (events.clone(), heard, asker.clone());
    let Some((rounds, library)) = first_build(project, setup.clone(), ways)? else { return Ok(()) };
    let served = setup.settings(&library).and_then(|settings| {
        // The thread lives until it is told to stop.
        let _ = events.send(Event::Starts);
        let reread = Box::new(move || setup.settings(&library));
        server::run(settings, Desk { asker, asks, reread })
    });
    stop(&events, rounds)?;
    served
}

/// Starts the rounds, and waits for the library of the first build that succeeds. None: a signal came before.
fn first_build(
    project: Project,
    setup: Setup,
    (events, heard, asker): (rounds::Sender, mpsc::Receiver<Event>, Asker),
) -> Result<Option<(JoinHandle<()>, PathBuf)>> {
    // It ends before the server's begins: a signal in between waits for that one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        // Before anything runs that a signal would leave behind.
        let mut signal = Stop::new()?;
        let hangup = Hangup::new()?.ignore("nothing is built yet");
        let (first, built) = oneshot::channel();
        let rounds = Rounds::start(project, setup, (events.clone(), heard), asker, first)?;
        let rounds = thread::Builder::new().name("dev".to_owned()).spawn(move || rounds.run());
        let rounds = rounds.context("cannot start the thread that builds")?;
        tokio::select! {
            library = built => Ok(Some((rounds, library.context("the thread that builds has failed")?))),
            () = signal.requested() => stop(&events, rounds).map(|()| None),
            () = hangup => unreachable!("it goes on for as long as it is polled"),
        }
    })
}

/// Ends the rounds, and the build that runs.
fn stop(events: &rounds::Sender, rounds: JoinHandle<()>) -> Result<()> {
    let _ = events.send(Event::Stop);
    if rounds.join().is_err() {
        bail!("the thread that builds has failed");
    }
    Ok(())
}

/// What to serve, as far as it is known before the build.
#[derive(Clone)]
pub struct Setup {
    options: DevOptions,
    /// The config file, named or found in the folder.
    pub config: Option<PathBuf>,
}

impl Setup {
    fn of(options: DevOptions) -> Self {
        let folder = options.folder.strip_prefix(".").unwrap_or(&options.folder);
        let found = Some(folder.join(CONFIG)).filter(|file| file.is_file());
        let config = options.options.config.clone().or(found);
        Self { options, config }
    }

    /// The settings with that library. One of the same name in the config file is this one: its table counts,
    /// its path does not.
    fn settings(&self, library: &Path) -> Result<Settings> {
        let config = self.config.as_deref().map(config::read).transpose()?;
        let mut settings = Settings::merge(
            config,
            self.options.options.clone(),
            vec![library.to_path_buf()],
            DEFAULT_DEV_WORKERS,
        )?;
        settings.config = self.config.clone();
        // Before the first build there is none.
        let Ok(image) = Image::read(library) else { return Ok(settings) };
        let real = library.canonicalize().ok();
        let is_same = |plugin: &PluginSource| {
            plugin.name.as_ref() == Some(&image.name) || plugin.path.canonicalize().ok() == real
        };
        let built = settings.plugins.pop();
        match settings.plugins.iter_mut().find(|plugin| is_same(plugin)) {
            Some(plugin) => plugin.path = library.to_path_buf(),
            None => settings.plugins.extend(built),
        }
        Ok(settings)
    }

    /// The name under which the server knows that library.
    fn plugin_name(&self, library: &Path) -> Result<String> {
        let plugins = self.settings(library)?.plugins;
        let given = plugins.into_iter().find(|plugin| plugin.path == library).and_then(|plugin| plugin.name);
        given.map_or_else(|| Image::read(library).map(|image| image.name), Ok)
    }
}
