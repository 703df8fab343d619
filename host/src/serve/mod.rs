//! Serving, in a worker process or in the only process: from loaded plugins to the last connection.

pub mod confinement; // what confined workers need

pub mod certificates; // of listeners with TLS

pub mod listen; // listening sockets, and who accepts

pub mod reload; // the worker's part in a reload

pub mod probe; // plugins tried out in a process of their own

pub mod summary; // what a server prints when it has started

use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Signal, getpid, kill_process};

use crate::bridge::background::Background;
use crate::bridge::identity;
use crate::bridge::timers::Timers;
use crate::bridge::worker_messages::WorkerMessages;
use crate::config::control_address::ControlAddress;
use crate::config::plan::Plan;
use crate::config::settings::Settings;
use crate::link::descriptors::Receiver;
use crate::link::inventory::Inventory;
use crate::link::setup::Setup;
use crate::link::uplink::Uplink;
use crate::link::{self, Tag};
use crate::plugin::describe::inventory;
use crate::system::access_log::{self, AccessLog};
use crate::system::addresses::Addresses;
use crate::system::process::{
    block_on, end_with_parent, fork, init, open_addresses, open_scoreboard, set_name, take_link,
    write_in_background,
};
use crate::system::sandbox::Confinement;
use crate::system::sanitize::sanitize;
use crate::system::scoreboard::{self, Scoreboard};
use crate::system::service_manager::{self, Service};
use crate::system::signals::{Hangup, Ignored, Stop};
use crate::system::{crash, log as logging, open_files, panic, privileges, stdio};
use crate::worker::admission::WorkerInfo;
use crate::worker::{Listeners, Worker};
use listen::{Acceptors, Bound, Listener, NextListeners};

/// Time for the ondisconnect callbacks of connections that were cut.
const LAST_CALLBACKS: Duration = Duration::from_millis(500);
/// Time for destructors and exit handlers of plugins in a server without worker processes.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to write the last lines of the access log.
const LAST_RECORDS: Duration = Duration::from_millis(500);
/// Why a server without worker processes does not reload.
pub const NO_RELOAD: &str = "with --workers 0 there is no parent that could reload the plugins";

/// Everything in one process, for a debugger. Err: it could not start, or had to cut connections at the end.
pub fn run_alone(settings: &Settings) -> Result<()> {
    if init::is_needed() {
        return init::run();
    }
    let service = Rc::new(Service::default());
    check_alone(settings)?;
    if let ControlAddress::Path(path) = &settings.control {
        log::warn!("no control socket {}: {NO_RELOAD}", path.display());
    }
    write_in_background();
    panic::abort_on_panic();
    stdio::print_lines_at_once();
    open_files::raise_limit();
    let scoreboard: &'static Scoreboard = Box::leak(Box::new(Scoreboard::private()?));
    scoreboard::adopt(scoreboard.slot(0));
    let tls = certificates::read_all(&settings.listen)?;
    let bound = listen::bind(&settings.listen, None)?;
    let listeners = bound.iter().zip(1..).map(|(bound, id)| bound.planned(id, &tls)).collect();
    let plan = Plan { listeners, ..Plan::in_place(settings) };
    let bound = bound.into_iter().zip(1..).map(|(bound, id)| Bound::new(id, bound));
    let bound = bound.collect::<Result<Vec<_>>>()?;
    let listening: Vec<_> = bound.iter().map(|bound| bound.listener.as_fd()).collect();
    let writer = settings.access_log.is_on().then(|| access_log::Writer::open(&settings.access_log.target));
    let writer = writer.transpose().map_err(|error| settings.located("access_log", error))?.map(Rc::new);
    let pipe = writer.as_ref().map(|writer| writer.source()).transpose()?;
    fork::watch(&pipe.iter().map(AsFd::as_fd).collect::<Vec<_>>(), &listening)
        .context("cannot watch for forks")?;
    let addresses = Some(&*Box::leak(Box::new(Addresses::create(1)?.0)));
    let info = WorkerInfo { scoreboard, index: 0, workers: 1, first_connection: 0, addresses };
    block_on(async {
        tokio::task::spawn_local(Ignored::new()?.log());
        fork::watch_signals();
        let sockets = bound.iter().map(|bound| bound.listener.try_clone()).collect::<Result<_>>()?;
        let listeners = NextListeners::first(&plan.listeners, sockets)?;
        let worker = start(&plan, info, pipe)?;
        warn_of_shared_objects(worker);
        let mut stop = Stop::new()?;
        tokio::task::spawn_local(refuse_reloads(Hangup::new()?, service.clone(), writer.clone()));
        tokio::task::spawn_local(service_manager::keep_alive());
        let loaded = loaded(worker);
        logging::print(&sanitize(&summary::startup_summary(&loaded, 0, &plan.listeners)));
        loaded.warnings().iter().for_each(|warning| log::warn!("{warning}"));
        settings.warnings().iter().for_each(|warning| log::warn!("{warning}"));
        certificates::warnings(plan.certificates()).iter().for_each(|warning| log::warn!("{warning}"));
        if privileges::is_root() {
            log::warn!("plugins run as root: with --workers 0, start the server as another user");
        }
        log::info!("plugins cannot be reloaded: {NO_RELOAD}; restart the server to load new code");
        service.ready(&format!("one process serves on {}", plan.addresses().join(", ")));
        let acceptors = Acceptors::default();
        acceptors.commit(worker, listeners);
        stop.requested().await;
        acceptors.close();
        service.stopping("stopping");
        drop(bound);
        match worker.hub.len() {
            0 => log::info!("stopping"),
            1 => log::info!("stopping: 1 connection is told to close"),
            n => log::info!("stopping: {n} connections are told to close"),
        }
        let drained = drain(worker, stop.requested()).await;
        bound_exit();
        worker.access_log_pipe.get().iter().for_each(|log| log.finish(LAST_RECORDS));
        writer.iter().for_each(|writer| writer.finish(LAST_RECORDS));
        drained?;
        log::info!("stopped: all connections are closed");
        Ok(())
    })
}

/// Answers SIGHUP. The service manager may have sent it, and waits for the end of the reload.
async fn refuse_reloads(
    mut hangup: Hangup,
    service: Rc<Service>,
    access_log: Option<Rc<access_log::Writer>>,
) {
    while hangup.requested().await {
        access_log.iter().for_each(|log| log.reopen());
        let (reloading, outcome) = (service.asked_to_reload(), format!("SIGHUP is ignored: {NO_RELOAD}"));
        log::warn!("{outcome}");
        reloading.end(&outcome);
    }
}

/// Ends this process if its exit takes too long: there is no parent that would, and no signal is handled any more.
fn bound_exit() {
    let end = || {
        std::thread::sleep(EXIT_TIMEOUT);
        log::error!(
            "stopped: destructors or exit handlers of plugins have not returned within {EXIT_TIMEOUT:?}"
        );
        logging::finish();
        let _ = kill_process(getpid(), Signal::KILL);
    };
    // Without a thread the exit is not bounded.
    let _ = std::thread::Builder::new().name("exit".to_owned()).spawn(end);
}

/// Whether the settings can be those of a server in one process.
pub fn check_alone(settings: &Settings) -> Result<()> {
    let key = if settings.user.is_some() { "user" } else { "group" };
    if settings.user.is_some() || settings.group.is_some() {
        let error =
            anyhow!("--user and --group are for worker processes; with --workers 0 start as that user");
        return Err(settings.located(key, error));
    }
    if settings.sandbox.is_on() {
        let error =
            anyhow!("the sandbox is for worker processes (--sandbox); with --workers 0 nothing is confined");
        return Err(settings.located("level", error));
    }
    Ok(())
}

/// A worker process; its setup comes over standard input.
pub fn run_worker() -> Result<()> {
    let socket = take_link("`callsign worker` is started by `callsign serve`, not by hand")?;
    let (setup, descriptors) = Setup::receive(&socket)?;
    let Setup { index, workers, parent, first_connection, plan, link_max_message, confinement } = setup;
    set_name(&format!("callsign-w{index}"));
    write_in_background();
    logging::start(plan.log.into(), Some(index));
    panic::abort_on_panic();
    stdio::print_lines_at_once();
    end_with_parent(parent)?;
    let mut descriptors = descriptors.into_iter();
    let scoreboard = open_scoreboard(descriptors.next())?;
    let addresses = Some(open_addresses(descriptors.next(), workers)?);
    let pipe = descriptors.next();
    let later = descriptors.next().context("the parent has sent no socket for later descriptors")?;
    let later = Receiver::from_descriptor(later);
    let slot = scoreboard.slot(index);
    scoreboard::adopt(slot);
    crash::install(slot).context("no handler for crashes")?;
    let listening: Vec<_> = descriptors.as_slice().iter().map(AsFd::as_fd).collect();
    let links: Vec<_> =
        [socket.as_fd(), later.as_fd()].into_iter().chain(pipe.iter().map(AsFd::as_fd)).collect();
    fork::watch(&links, &listening).context("cannot watch for forks")?;
    // Before the runtime, and before any thread.
    let confined = confine(confinement.as_ref());
    block_on(async {
        tokio::task::spawn_local(Ignored::in_worker()?.log());
        fork::watch_signals();
        let uplink = Uplink::new(socket, index, link_max_message)?;
        let info = WorkerInfo { scoreboard, index, workers, first_connection, addresses };
        let listeners = descriptors.map(Listener::from_descriptor).collect::<Result<_>>();
        let listeners = listeners.and_then(|sockets| NextListeners::first(&plan.listeners, sockets));
        let listeners = confined.and(listeners);
        let started = listeners.and_then(|first| Ok((start(&plan, info, pipe)?, first)));
        let (worker, listeners) = match started {
            Ok(started) => started,
            Err(error) => {
                uplink.send(Tag::Failed, link::text(&format!("{error:#}")), |_| ());
                uplink.flush()?;
                std::process::exit(1);
            }
        };
        let uplink = worker.parent.connect(uplink);
        // From here on a signal means a drain, and only from here on there are clients.
        let mut stop = Stop::new()?;
        uplink.send(Tag::Ready, link::text(&serde_json::to_string(&loaded(worker))?), |_| ());
        let acceptors: &'static Acceptors = Box::leak(Box::default());
        tokio::task::spawn_local(reload::follow(worker, acceptors, later));
        let carried = tokio::task::spawn_local(async move {
            let error = uplink.run(|message| worker.receive(message)).await;
            log::error!("the link to the parent has failed ({error}); ending");
            std::process::exit(1);
        });
        let stop_requested = async {
            tokio::select! { () = worker.parent.drain_requested() => {} () = stop.requested() => {} }
        };
        acceptors.commit(worker, listeners);
        stop_requested.await;
        acceptors.close();
        // A signal to the whole group reaches parent and workers: only the parent acts on a second one.
        let drained = drain(worker, std::future::pending()).await;
        worker.access_log_pipe.get().iter().for_each(|log| log.finish(LAST_RECORDS));
        carried.abort();
        uplink.flush()?;
        drained
    })
}

/// Confines this process, if it is to be confined.
fn confine(confinement: Option<&Confinement>) -> Result<()> {
    let Some(confinement) = confinement else { return Ok(()) };
    // A terminal is opened again for this.
    logging::open();
    confinement.apply()
}

/// Loads the plugins, resolves the routes, and starts the tasks of a worker. Nothing is accepted yet.
fn start(plan: &Plan, info: WorkerInfo, access_log: Option<OwnedFd>) -> Result<&'static Worker> {
    identity::set(info.index, info.workers);
    let worker = Worker::new(&plan.limits, info, open_files::clients_max(), reload::load_initial(plan)?)?;
    if let Some(pipe) = access_log {
        let format = plan.access_log.recorded_format();
        let log = worker.access_log_pipe.get_or_init(|| AccessLog::new(format, pipe));
        tokio::task::spawn_local(log.run());
    }
    let (timers, background, messages) =
        (Timers::current(), Background::current(), WorkerMessages::current());
    worker.start(Listeners {
        on_leave: Box::new(|connection| timers.end_connection(connection)),
        on_worker_message: Box::new(|message| messages.arrived(message)),
    });
    tokio::task::spawn_local(timers.run());
    tokio::task::spawn_local(background.run());
    tokio::task::spawn_local(messages.run(|plugin| worker.registry().in_use(plugin)));
    Ok(worker)
}

/// What a worker has loaded.
pub fn loaded(worker: &Worker) -> Inventory {
    inventory(&worker.registry(), &worker.dispatch())
}

/// Warns of plugins that share objects, because no parent has made copies in which each has its own.
fn warn_of_shared_objects(worker: &Worker) {
    let registry = worker.registry();
    let sharing: Vec<_> = registry
        .plugins()
        .filter_map(|plugin| Some((&plugin.name, plugin.image.unique.summary()?)))
        .collect();
    if let [(first, _), .., (last, unique)] = &sharing[..] {
        log::warn!(
            "plugins `{first}` and `{last}` share objects: {unique} (STB_GNU_UNIQUE) and others of the same names; \
             compile with -fno-gnu-unique, or serve with workers"
        );
    }
}

/// Closes every connection and waits for their ends and for background work. Err: not all connections had ended in
/// time. Background work that takes longer is abandoned, and logged.
async fn drain(worker: &Worker, hurry: impl Future<Output = ()>) -> Result<()> {
    let background = Background::current();
    let drained = async {
        worker.drain().await;
        background.finished().await;
        Timers::current().end_all();
    };
    let (why, patience) = tokio::select! {
        () = drained => return Ok(()),
        () = tokio::time::sleep(worker.hub.limits.get().drain_timeout) => ("had not ended in time (--drain-timeout)", LAST_CALLBACKS),
        () = hurry => ("had not ended when it was asked a second time", Duration::ZERO),
    };
    let (connections, jobs) = (worker.hub.len(), background.jobs_by_plugin());
    if !jobs.is_empty() {
        let of_plugin = |(plugin, jobs): (&str, usize)| match jobs {
            1 => format!("1 job of plugin `{plugin}`"),
            n => format!("{n} jobs of plugin `{plugin}`"),
        };
        let jobs = jobs.into_iter().map(of_plugin).collect::<Vec<_>>().join(", ");
        log::warn!("background work was abandoned: {jobs} {why}");
    }
    if connections == 0 {
        return Ok(());
    }
    // A callback that takes longer is ended by the parent.
    let _ = tokio::time::timeout(patience, worker.drop_all()).await;
    match connections {
        1 => bail!("stopped: 1 connection {why}, and was cut"),
        n => bail!("stopped: {n} connections {why}, and were cut"),
    }
}
