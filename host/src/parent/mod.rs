//! The parent: binds, starts workers, carries broadcasts between them, watches them, and starts another for each one
//! that ends. It runs no plugin code. It validates everything that a worker sends or writes.
//!
//! Its parts know nothing of each other: [`workers`], [`relay`], [`reload`], [`startup`], [`shutdown`]. [`Parent`] puts
//! them together. All of it runs on one thread.

pub mod control; // what a running server can be asked for

pub mod preflight; // whether a server could start here

mod startup; // the first worker

mod workers; // worker processes: start, supervise, watch

mod relay; // broadcasts and worker messages, from each worker to the others

mod deadline; // until when a reload is decided

mod listeners; // the sockets that the server listens on

mod copies; // copies of the plugins' libraries, for the workers to load

mod reload; // from one generation to the next, on all workers or none

mod status; // the state of the server, from what the parent knows

mod shutdown; // drain, or kill

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, LocalOptions};

use crate::config::settings::{Limits, Settings};
use crate::link::inventory::Inventory;
use crate::serve::summary::startup_summary;
use crate::serve::{certificates, confinement};
use crate::system::log as logging;
use crate::system::process::orphans::Reaper;
use crate::system::sanitize::sanitize;
use crate::system::service_manager::{self, Service};
use crate::system::signals::{Hangup, Ignored, Stop};
use crate::system::socket_file::SocketFile;
use crate::system::{open_files, panic, privileges, task};
use control::{ControlChannel, ControlRequest, ReadSettings, RequestReceiver};
use relay::Relay;
use reload::Reloads;
use shutdown::{Shutdown, StopReason};
use startup::{Startup, StartupEvents};
use status::ServerInfo;
use workers::{Launcher, Supervisor, Watchdog, WorkerSlot, Workers};

/// Time to write the last lines of the access log.
const LAST_RECORDS: Duration = Duration::from_secs(1);
/// Time to look up where workers were that have ended while the server stopped.
const BACKTRACE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for a server that cannot start: the operator waits for the error.
const FIRST_BACKTRACE_TIMEOUT: Duration = Duration::from_secs(1);

/// The parts of the parent.
struct Parent {
    settings: Settings,
    info: ServerInfo,
    workers: Workers,
    launcher: Launcher,
    relay: Relay,
    reloads: Reloads,
    startup: Startup,
    shutdown: Shutdown,
    service: Service,
    read_settings: ReadSettings,
}

/// Serves until a signal says to stop. Err: the server could not start, had to cut connections at the end, or stopped
/// because of a bug.
pub fn run(settings: Settings, control: ControlChannel) -> Result<()> {
    panic::log_panics();
    let identity = privileges::resolve(settings.user.as_deref(), settings.group.as_deref());
    let identity = identity.map_err(|error| settings.located(error.key, error.into()))?;
    open_files::raise_limit();
    confinement::check(&settings)?;
    let tls = certificates::read_all(&settings.listen)?;
    let reloads = Reloads::new(&settings, identity)?;
    let launcher = Launcher::bind(&settings, identity)?;
    reloads.plans.set_listeners(launcher.listeners.first_plan(&tls));
    let workers = Workers::new(settings.workers).context("no memory that the workers can share")?;
    let (startup, startup_events) = Startup::new();
    // Lives as long as the process, because its tasks refer to it.
    let parent: &'static Parent = Box::leak(Box::new(Parent {
        info: ServerInfo::new(&settings, launcher.confinement.as_ref()),
        workers,
        launcher,
        relay: Relay::default(),
        reloads,
        startup,
        shutdown: Shutdown::default(),
        service: Service::default(),
        read_settings: control.read_settings.clone(),
        settings,
    }));
    parent.prepare_for(&parent.limits());
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let result = runtime.block_on(parent.run(startup_events, control));
    parent.launcher.access_log.finish(LAST_RECORDS);
    // Also if the parent could not start: this removes the files of Unix sockets.
    parent.launcher.listeners.close();
    runtime.shutdown_background();
    workers::backtraces::wait(match parent.startup.is_over() {
        true => BACKTRACE_TIMEOUT,
        false => FIRST_BACKTRACE_TIMEOUT,
    });
    parent.reloads.remove_copies();
    result
}

impl Parent {
    /// Serves, and stops the workers in the end.
    async fn run(&'static self, startup_events: StartupEvents, control: ControlChannel) -> Result<()> {
        let mut stop = Stop::new()?;
        let hangup = Hangup::new()?;
        task::spawn("ignored signals", Ignored::new()?.log());
        task::spawn("orphans", Reaper::new()?.run());
        task::spawn("watchdog of the service manager", service_manager::keep_alive());
        let ControlChannel { sender, receiver, read_settings: _ } = control;
        let control = control::open(&self.settings.control);
        // Its file is removed when the last worker has ended.
        let mut socket_file = None;
        if let Some((listener, file)) = control.map_err(|error| self.settings.located("control", error))? {
            log::debug!("control socket {}", file.path.display());
            task::spawn("control socket", control::serve(listener, sender.clone()));
            socket_file = Some(file);
        }
        let reopen_logs = || self.launcher.access_log.reopen();
        task::spawn("SIGHUP", control::reload_on(hangup, sender, &self.service, reopen_logs));
        let reason = tokio::select! {
            error = self.serve(startup_events, receiver) => StopReason::StartFailed(error),
            () = stop.requested() => StopReason::Requested,
            task = task::panicked() => StopReason::TaskPanicked(task),
        };
        self.service.stopping(&reason.to_string());
        self.launcher.listeners.close();
        // A successor can start from here on.
        socket_file.iter_mut().for_each(SocketFile::set_aside);
        self.shutdown.run(reason, &self.workers, self.limits().drain_timeout, stop.requested()).await?;
        match task::first_panicked() {
            Some(task) => Err(shutdown::panicked(&task)),
            None => Ok(()),
        }
    }

    /// Starts the workers, and returns only if none can start.
    async fn serve(&'static self, startup_events: StartupEvents, requests: RequestReceiver) -> anyhow::Error {
        match self.start(startup_events).await {
            Ok(inventory) => {
                self.print_summary(&inventory);
                preflight::warnings(&self.settings).iter().for_each(|warning| log::warn!("{warning}"));
                self.reloads.warn_about_certificates();
                self.reloads.warn_about(&inventory);
                task::spawn("readiness", self.report_ready());
            }
            Err(error) => return error,
        }
        task::spawn("control requests", self.answer(requests));
        std::future::pending().await
    }

    /// Starts the first worker alone, and the others when it serves.
    async fn start(&'static self, startup_events: StartupEvents) -> Result<Rc<Inventory>> {
        let (first, others) = self.workers.slots().split_first().context("a parent needs a worker")?;
        self.supervise(first);
        task::spawn("watchdog", Watchdog::run(|| self.limits(), &self.workers, &self.relay));
        let inventory = startup_events.first_inventory().await?;
        others.iter().for_each(|slot| self.supervise(slot));
        Ok(inventory)
    }

    /// The limits that workers have.
    fn limits(&self) -> Limits {
        self.reloads.plans.current().limits
    }

    /// Workers may get these limits.
    fn prepare_for(&self, limits: &Limits) {
        self.relay.raise_max_message(limits.max_message);
        if limits.are_per_address() {
            self.workers.count_addresses();
        }
    }

    fn supervise(&'static self, slot: &'static WorkerSlot) {
        let name = format!("supervisor of worker {}", slot.index);
        task::spawn(name, Supervisor::new(self, slot).run());
    }

    fn print_summary(&self, inventory: &Inventory) {
        let plan = self.reloads.plans.current();
        let summary = startup_summary(inventory, self.workers.slots().len(), &plan.listeners);
        logging::print(&sanitize(&summary));
    }

    /// Tells the service manager when all workers serve.
    async fn report_ready(&self) {
        self.workers.all_serve().await;
        let workers = match self.workers.slots().len() {
            1 => "1 worker serves".to_owned(),
            n => format!("{n} workers serve"),
        };
        let plan = self.reloads.plans.current();
        self.service.ready(&format!("{workers} on {}", plan.addresses().join(", ")));
    }

    /// Answers control requests: a status at once, reloads one after the other.
    async fn answer(&'static self, mut requests: RequestReceiver) {
        while let Some(request) = requests.recv().await {
            match request {
                ControlRequest::Reload { which, is_forced, reason, answer } => {
                    task::spawn("reload", async move {
                        let result = self.reloads.reload(self, which, is_forced, reason.as_deref()).await;
                        let _ = answer.send(result.map_err(|error| format!("{error:#}")));
                    });
                }
                ControlRequest::Status(answer) => {
                    let plan = self.reloads.plans.current();
                    _ = answer.send(self.info.status(&self.workers, &self.shutdown, &plan))
                }
            }
        }
    }
}

#[cfg(test)]
impl Parent {
    /// A parent of that many workers and no plugin, which has started nothing.
    fn idle(workers: usize) -> &'static Self {
        use clap::Parser;

        use crate::commands::cli::{Cli, Command};

        let arguments = ["callsign", "serve", "none.so", "--listen=127.0.0.1:0", "--control=none"];
        let Command::Serve { plugins, options, .. } = Cli::parse_from(arguments).command else {
            panic!("`serve` is `serve`");
        };
        let settings = Settings::merge(None, options, plugins, workers).expect("valid settings");
        let settings = Settings { plugins: Vec::new(), ..settings };
        let reloads = Reloads::new(&settings, None).expect("a folder for copies");
        // Leaked with the parent, and so never dropped.
        reloads.remove_copies();
        Box::leak(Box::new(Self {
            info: ServerInfo::new(&settings, None),
            workers: Workers::new(workers).expect("shared memory"),
            launcher: Launcher::bind(&settings, None).expect("a free port"),
            relay: Relay::default(),
            reloads,
            startup: Startup::new().0,
            shutdown: Shutdown::default(),
            service: Service::default(),
            read_settings: std::sync::Arc::new(|| anyhow::bail!("there are none")),
            settings,
        }))
    }
}
