//! Serving, in a worker process or in the one and only process: from loaded plugins to the last connection.

#![forbid(unsafe_code)]

use std::future::Future;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::runtime::{Builder, LocalOptions};

use crate::banner::Loaded;
use crate::board::{self, Board, Slot};
use crate::clients::Rank;
use crate::control::{Control, Desk, Hangup};
use crate::link::orders::Orders;
use crate::link::uplink::Uplink;
use crate::link::{self, Tag};
use crate::plan::Plan;
use crate::settings::{Limits, Settings};
use crate::stop::Stop;
use crate::worker::Worker;
use crate::{banner, crash, listen, parent, reload};

/// Time for the ondisconnect callbacks of connections that were cut.
const LAST_CALLBACKS: Duration = Duration::from_millis(500);
/// Why one process cannot be asked.
pub const NO_RELOAD: &str = "with --workers 0 there is no parent that could reload the plugins";

/// Serves until a signal says to stop, and answers what is asked meanwhile. Err: it could not start, or had to cut
/// connections at the end.
pub fn run(settings: Settings, desk: Desk) -> Result<()> {
    if settings.workers != 0 {
        return parent::run(settings, desk);
    }
    // Who asks learns that nobody will answer.
    drop(desk);
    run_alone(&settings)
}

/// Everything in one process: what a debugger wants.
fn run_alone(settings: &Settings) -> Result<()> {
    if settings.user.is_some() || settings.group.is_some() {
        bail!("--user and --group are for worker processes; with --workers 0 start as that user");
    }
    if let Control::Path(path) = &settings.control {
        log::warn!("no control socket {}: {NO_RELOAD}", path.display());
    }
    listen::raise_open_files();
    let board: &'static Board = Box::leak(Box::new(Board::private()?));
    board::adopt(board.slot(0));
    let listeners = listen::bind(&settings.listen)?;
    let plan = Plan::in_place(settings);
    let worker =
        Worker::start(&settings.limits, &plan, Rank { board, index: 0, workers: 1, first_connection: 0 })?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    block_on(async {
        let mut stop = Stop::new()?;
        tokio::task::spawn_local(Hangup::new()?.ignore(NO_RELOAD));
        // Nobody has to read it.
        let _ = io::stdout().write_all(banner::complete(&Loaded::of(worker), 0, &addresses).as_bytes());
        serve(worker, listeners, stop.requested()).await?;
        match worker.connections() {
            0 => log::info!("stopping"),
            1 => log::info!("stopping: 1 connection is told to close"),
            n => log::info!("stopping: {n} connections are told to close"),
        }
        drain(worker, &settings.limits, stop.requested()).await?;
        log::info!("stopped: all connections are closed");
        Ok(())
    })
}

/// A worker process: its parent's orders come over standard input.
pub fn run_worker(start_log: impl FnOnce(&Settings, usize)) -> Result<()> {
    let socket = take_link().context("`callsign worker` is started by `callsign serve`, not by hand")?;
    let (orders, descriptors) = Orders::receive(&socket)?;
    let Orders { index, workers, parent, first_connection, settings, plan } = orders;
    start_log(&settings, index);
    end_with_parent(parent)?;
    let mut descriptors = descriptors.into_iter();
    let board: &'static Board = Box::leak(Box::new(open_board(descriptors.next())?));
    let slot: &'static Slot = board.slot(index);
    board::adopt(slot);
    crash::install(slot).context("no handler for crashes")?;
    block_on(async {
        let uplink = Uplink::new(socket, settings.limits.max_message)?;
        let worker =
            match Worker::start(&settings.limits, &plan, Rank { board, index, workers, first_connection }) {
                Ok(worker) => worker,
                Err(error) => {
                    uplink.send(Tag::Failed, link::text(&format!("{error:#}")), drop);
                    uplink.flush()?;
                    std::process::exit(1);
                }
            };
        let uplink = worker.connect(uplink);
        // From here on a signal means a drain, and only from here on there are clients.
        let mut stop = Stop::new()?;
        uplink.send(Tag::Ready, link::text(&serde_json::to_string(&Loaded::of(worker))?), drop);
        tokio::task::spawn_local(reload::follow(worker));
        let carried = tokio::task::spawn_local(async move {
            let error = uplink.run(|event| worker.heard(event)).await;
            log::error!("the link to the parent has failed ({error}); ending");
            std::process::exit(1);
        });
        let told = async {
            tokio::select! { () = worker.told_to_drain() => {} () = stop.requested() => {} }
        };
        serve(worker, descriptors.map(TcpListener::from).collect(), told).await?;
        // Whoever signals parent and workers together is not in a hurry; a second signal is the parent's to act on.
        let drained = drain(worker, &settings.limits, std::future::pending()).await;
        carried.abort();
        uplink.flush()?;
        drained
    })
}

/// Takes the socket to the parent out of standard input, so that no plugin reads from it.
pub(crate) fn take_link() -> Result<UnixStream> {
    let link = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    link.peer_addr().context("standard input is no socket")?;
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    Ok(link)
}

/// A worker without its parent would hold the port for nobody: the kernel ends it with its parent, even if it
/// hangs. And it never gains privileges.
pub(crate) fn end_with_parent(parent: u32) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        rustix::thread::set_no_new_privs(true)?;
    }
    // It may have died before the kernel was told.
    if std::os::unix::process::parent_id() != parent {
        bail!("the parent is gone");
    }
    Ok(())
}

pub(crate) fn open_board(descriptor: Option<OwnedFd>) -> Result<Board> {
    let Some(descriptor) = descriptor else { bail!("the parent has sent no scoreboard") };
    let borrowed: BorrowedFd<'_> = descriptor.as_fd();
    Board::open(borrowed).context("the scoreboard cannot be mapped")
}

pub(crate) fn block_on(serving: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let result = runtime.block_on(serving);
    // Background work that is not over by now is not waited for.
    runtime.shutdown_background();
    result
}

/// Accepts and serves clients until `stop` is ready. The listening sockets close with it.
async fn serve(
    worker: &'static Worker,
    listeners: Vec<TcpListener>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    tokio::task::spawn_local(worker.flush_turns());
    tokio::task::spawn_local(worker.timers.run());
    tokio::task::spawn_local(worker.background.run());
    tokio::task::spawn_local(worker.posts.run(|plugin| worker.registry().in_use(plugin)));
    if let Some(interval) = worker.limits.ping_interval {
        tokio::task::spawn_local(worker.ping_silent(interval));
    }
    let mut accepting = Vec::new();
    for listener in listeners {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        accepting.push(tokio::task::spawn_local(listen::accept(worker, listener)));
    }
    stop.await;
    accepting.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

/// Closes every connection and waits for their ends. Err: not all had ended in time.
async fn drain(worker: &Worker, limits: &Limits, hurry: impl Future<Output = ()>) -> Result<()> {
    let (why, patience) = tokio::select! {
        () = worker.drain() => return Ok(()),
        () = tokio::time::sleep(limits.drain_timeout) => ("had not ended in time (--drain-timeout)", LAST_CALLBACKS),
        () = hurry => ("had not ended when it was asked a second time", Duration::ZERO),
    };
    let (connections, jobs) = (worker.connections(), worker.background.jobs());
    // If a callback takes longer, the parent ends it.
    let _ = tokio::time::timeout(patience, worker.cut()).await;
    bail!("stopped: {connections} connections and {jobs} jobs of background work {why}, and were cut");
}
