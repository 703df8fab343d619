//! `callsign dev`: builds a plugin, serves it, and builds and reloads it when its sources change.
//!
//! The server runs on the main thread, as in `callsign serve`. The [`DevLoop`] runs on a thread of its own, and sends
//! reload requests as every other client of the server does.

mod project; // what to build

mod cargo; // a crate

mod command; // a folder with a Makefile or a build command

mod inputs; // what a build reads

mod rules; // makefile rules, in which compilers say what they have read

mod build; // a running build

mod events; // what the loop waits for

mod changes; // sources that have changed

mod requests; // reload requests to the server

mod dev_loop; // change, build, reload

mod authority; // a certificate for this machine

mod report; // the lines that begin with `dev: `

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;

use self::dev_loop::DevLoop;
use self::events::{DevEvent, EventReceiver, EventSender};
use self::project::Project;
use crate::commands::serve::serve_with;
use crate::commands::watch::ignored::{Patterns, parse_pattern};
use crate::config::defaults::DEFAULT_DEV_WORKERS;
use crate::config::file;
use crate::config::options::ServeOptions;
use crate::config::plugin_source::PluginSource;
use crate::config::route::{DEFAULT_CACHE_CONTROL, Target};
use crate::config::settings::Settings;
use crate::parent::control::{ControlChannel, RequestSender};
use crate::plugin::image::Image;
use crate::system::log as logging;
use crate::system::signals::{Hangup, Stop};

/// The config file in the plugin's folder that is used without --config.
const CONFIG_FILE: &str = "callsign.toml";

/// Options of `dev`.
#[derive(Debug, Clone, Args)]
pub struct DevOptions {
    /// Folder of the plugin: a crate with a Cargo.toml, or C sources with a Makefile
    ///
    /// Without --config, a callsign.toml in this folder is the config file.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// Build a crate with optimizations
    #[arg(long, conflicts_with = "build")]
    pub release: bool,

    /// Command that builds the plugin, instead of cargo or make
    ///
    /// `sh -c` runs it in DIR. Its output goes to stderr. Requires --library.
    #[arg(long, value_name = "COMMAND", requires = "library")]
    pub build: Option<String>,

    /// Library that the build makes, relative to DIR
    ///
    /// Without this option, it is the newest library in DIR after `make`. Not for a crate, whose library cargo reports.
    #[arg(long, value_name = "PATH")]
    pub library: Option<PathBuf>,

    /// Files that are no sources; may be repeated
    ///
    /// A pattern as in .gitignore, relative to DIR: *.csv, data/, or with a leading ! for files that would be ignored
    /// otherwise. Ignored anyway are the files that git ignores, files whose name begins with a dot, the files of
    /// editors, and logs and databases (*.log, *.pid, *.db, *.sqlite).
    #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
    pub ignore: Vec<String>,

    /// Look for changes every second
    ///
    /// Without this option, the system reports changes, and `dev` looks itself only every two seconds, for changes that
    /// are not reported: on network file systems, in folders that a virtual machine or WSL shares, or in the layers of
    /// an overlay. It looks every second too if a limit of the system (inotify) is reached, which the log names.
    #[arg(long)]
    pub poll: bool,

    /// Serve https with a certificate for this machine
    ///
    /// The certificate is for localhost, 127.0.0.1 and ::1, and all TCP addresses without a certificate of their own use
    /// it. Its authority is made once, in $XDG_DATA_HOME/callsign/tls (~/.local/share/callsign/tls); only this user has its
    /// key, and it can only issue certificates for this machine.
    ///
    /// Clients have to trust the authority, the file ca.pem in that folder: curl --cacert ca.pem; Node with
    /// NODE_EXTRA_CA_CERTS=ca.pem; in Firefox and Chromium, import it as an authority in the settings of certificates; on
    /// Debian, copy it to /usr/local/share/ca-certificates/callsign-dev.crt and run update-ca-certificates. Remove it there
    /// to end the trust. For development only.
    #[arg(long, conflicts_with_all = ["tls_certificate", "tls_key"])]
    pub tls: bool,

    #[command(flatten)]
    pub options: ServeOptions,
}

/// Builds, serves and watches until a signal stops the server. The error says why there is nothing to build, why the
/// server could not start, or how many connections it aborted at the end.
pub fn run(mut options: DevOptions) -> Result<()> {
    let local = options.tls.then(authority::local_certificate).transpose()?;
    options.options.local_certificate = local.as_ref().map(|local| local.source.clone());
    let project = Project::open(&options)?;
    let setup = ServeSetup::new(options);
    // Rejects wrong options and a wrong config file before the first build.
    logging::start(setup.settings(Path::new(""))?.log.into(), None);
    local.iter().for_each(|local| report::tls(&local.explanation()));
    let (request_sender, receiver) = unbounded_channel();
    let (event_sender, events) = mpsc::channel();
    let first_build =
        first_build(project, setup.clone(), (event_sender.clone(), events), request_sender.clone())?;
    let Some((thread, library)) = first_build else { return Ok(()) };
    let served = setup.settings(&library).and_then(|settings| {
        // The loop receives events until `DevEvent::Stop`.
        let _ = event_sender.send(DevEvent::ServerStarts { has_parent: settings.workers != 0 });
        let read_settings = Arc::new(move || setup.settings(&library));
        serve_with(settings, ControlChannel { sender: request_sender, receiver, read_settings })
    });
    stop(&event_sender, thread)?;
    served
}

/// Starts the loop, and waits for the library of the first successful build. None: a signal came first.
fn first_build(
    project: Project,
    setup: ServeSetup,
    (event_sender, events): (EventSender, EventReceiver),
    request_sender: RequestSender,
) -> Result<Option<(JoinHandle<()>, PathBuf)>> {
    // Ends before the server's runtime starts. Signals between the two stay pending for the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        // Handles signals before a build runs that a signal would leave behind.
        let mut signal = Stop::new()?;
        let hangup = Hangup::new()?.ignore("nothing is built yet");
        let (first_library, built) = oneshot::channel();
        let dev_loop =
            DevLoop::start(project, setup, (event_sender.clone(), events), request_sender, first_library)?;
        let thread = thread::Builder::new().name("dev".to_owned()).spawn(move || dev_loop.run());
        let thread = thread.context("cannot start the thread that builds")?;
        tokio::select! {
            library = built => Ok(Some((thread, library.context("the thread that builds has failed")?))),
            () = signal.requested() => stop(&event_sender, thread).map(|()| None),
            () = hangup => unreachable!("it never ends"),
        }
    })
}

/// Ends the loop and a running build.
fn stop(event_sender: &EventSender, thread: JoinHandle<()>) -> Result<()> {
    let _ = event_sender.send(DevEvent::Stop);
    if thread.join().is_err() {
        bail!("the thread that builds has failed");
    }
    Ok(())
}

/// How to serve the library that the build makes.
#[derive(Clone)]
pub struct ServeSetup {
    options: DevOptions,
    /// The config file in --config, or [`CONFIG_FILE`] in the plugin's folder.
    pub config: Option<PathBuf>,
}

impl ServeSetup {
    fn new(options: DevOptions) -> Self {
        let folder = options.folder.strip_prefix(".").unwrap_or(&options.folder);
        let found = Some(folder.join(CONFIG_FILE)).filter(|file| file.is_file());
        let config = options.options.config.clone().or(found);
        Self { options, config }
    }

    /// Whether `dev` looks for changes itself, without the system's reports.
    fn is_polling(&self) -> bool {
        self.options.poll
    }

    /// What the operator ignores in the plugin's folder.
    fn patterns(&self, folder: &Path) -> Patterns {
        Patterns { folder: folder.to_path_buf(), lines: self.options.ignore.clone() }
    }

    /// Reads the settings. If the config file has a plugin with the library's name or path, the library replaces its
    /// file and keeps its settings.
    fn settings(&self, library: &Path) -> Result<Settings> {
        let config = self.config.as_deref().map(file::read).transpose()?;
        let mut settings = Settings::merge(
            config,
            self.options.options.clone(),
            vec![library.to_path_buf()],
            DEFAULT_DEV_WORKERS,
        )?;
        settings.config = self.config.clone();
        // A browser would show a file as it was before the last change.
        for route in &mut settings.routes {
            if let Target::Files(files) = &mut route.target {
                DEFAULT_CACHE_CONTROL.clone_into(&mut files.cache_control);
            }
        }
        // Before the first build, there is no library.
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

    /// The name by which the server knows the library's plugin.
    fn plugin_name(&self, library: &Path) -> Result<String> {
        let plugins = self.settings(library)?.plugins;
        let given = plugins.into_iter().find(|plugin| plugin.path == library).and_then(|plugin| plugin.name);
        given.map_or_else(|| Image::read(library).map(|image| image.name), Ok)
    }
}
