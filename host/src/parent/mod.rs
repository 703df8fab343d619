//! The parent: binds, starts workers, carries broadcasts between them, watches them, and starts another for
//! each that ends. It runs no plugin code and trusts nothing that a worker says or writes.

#![forbid(unsafe_code)]

mod backtraces; // where dead workers were

mod child; // one worker process: start it, say how it ended

mod copies; // libraries that nobody writes to

mod reload; // from one generation to the next, on all workers or none

mod relay; // broadcasts from each worker to all others

mod status; // how it goes, from what the parent knows

mod watch; // callbacks that are slow or never return

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Mutex, Notify, mpsc};

use self::child::Place;
use self::copies::Copies;
use self::relay::Relay;
use self::reload::Ballot;
use crate::banner::Loaded;
use crate::board::Board;
use crate::control::{self, Ask, Asks, Desk, Hangup};
use crate::link::orders::LISTENERS_MAX;
use crate::link::{Tag, message};
use crate::plan::Plan;
use crate::readable::readable;
use crate::settings::Settings;
use crate::stop::Stop;
use crate::{banner, listen, privileges};

/// How often the first worker may die before it serves, until the parent gives up.
const START_TRIES: u32 = 3;
/// Pause after a worker has died before it served; doubles with each time in a row.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A worker that has lived for less has died early, even if it has served.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// So many early deaths in a row of workers that have served are followed by the next worker at once.
const SHORT_LIVES_FREE: u32 = 3;
/// Longest such pause.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Time beyond the drain time-out after which workers are ended by force.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// The parent's state; all of it on one thread.
struct Parent {
    settings: Settings,
    /// Given up when the server stops.
    listeners: RefCell<Vec<TcpListener>>,
    addresses: Vec<SocketAddr>,
    started_at: Instant,
    identity: Option<privileges::Identity>,
    board: Board,
    board_descriptor: OwnedFd,
    places: Vec<Place>,
    relay: Relay,
    /// What workers load.
    plan: RefCell<Rc<Plan>>,
    /// The last generation of each plugin that was used.
    generations: RefCell<HashMap<String, u32>>,
    copies: Copies,
    /// The reload that goes on.
    ballot: RefCell<Option<Ballot>>,
    transactions: Cell<u32>,
    /// Told when a worker does not start any more, or a reload is over.
    calm: Notify,
    news: mpsc::UnboundedSender<News>,
    /// Whether a worker has served: until then the start may fail, and says why by itself.
    started: Cell<bool>,
    stopping: Cell<bool>,
    /// Told when the server stops.
    stopped: Notify,
    /// Whether what is left is ended by force.
    cut: Cell<bool>,
    /// Workers that live, or will.
    alive: Cell<usize>,
    ended: Notify,
}

/// What the start waits for.
enum News {
    /// A worker serves what it has loaded.
    Ready(Rc<Loaded>),
    /// A worker cannot start, and says why: so could no other.
    Refused(String),
    /// A worker has died before it served, for the n-th time in a row.
    Died(u32, String),
}

/// Serves until a signal says to stop. Err: it could not start, or had to cut connections at the end.
pub fn run(settings: Settings, desk: Desk) -> Result<()> {
    let identity = privileges::resolve(settings.user.as_deref(), settings.group.as_deref())?;
    listen::raise_open_files();
    let copies = Copies::new()?;
    let plan = copies.first_plan(&settings)?;
    let listeners = listen::bind(&settings.listen)?;
    if listeners.len() > LISTENERS_MAX {
        bail!(
            "{} addresses to listen on, and no more than {LISTENERS_MAX} can be (--listen)",
            listeners.len()
        );
    }
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    let (board, board_descriptor) =
        Board::create(settings.workers).context("no shared memory for the scoreboard")?;
    let (news, heard) = mpsc::unbounded_channel();
    // Lives as long as the process; its tasks refer to it.
    let parent: &'static Parent = Box::leak(Box::new(Parent {
        places: (0..settings.workers).map(Place::new).collect(),
        listeners: RefCell::new(listeners),
        addresses,
        started_at: Instant::now(),
        identity,
        board,
        board_descriptor,
        relay: Relay::default(),
        generations: RefCell::new(plan.plugins.iter().map(|planned| (planned.name.clone(), 1)).collect()),
        plan: RefCell::new(Rc::new(plan)),
        copies,
        ballot: RefCell::default(),
        transactions: Cell::new(0),
        calm: Notify::new(),
        news,
        started: Cell::new(false),
        stopping: Cell::new(false),
        stopped: Notify::new(),
        cut: Cell::new(false),
        alive: Cell::new(0),
        ended: Notify::new(),
        settings,
    }));
    let mut runtime = Builder::new_current_thread();
    // One for backtraces, one for copies of libraries.
    runtime.enable_all().max_blocking_threads(2);
    let runtime = runtime.build_local(LocalOptions::default())?;
    let result = runtime.block_on(async {
        let mut stop = Stop::new()?;
        let hangup = Hangup::new()?;
        let Desk { asker, asks, reread } = desk;
        let mut _socket = None;
        if let Some((listener, place)) = control::open(&parent.settings.control)? {
            log::debug!("control socket {}", place.path.display());
            tokio::task::spawn_local(control::serve(listener, asker.clone()));
            // Removed when the last worker has ended.
            _socket = Some(place);
        }
        tokio::task::spawn_local(hangup.reload(reread, asker));
        let result = tokio::select! {
            result = parent.serve(heard, asks) => result,
            () = stop.requested() => Ok(()),
        };
        parent.end(result, stop).await
    });
    // The last worker's backtrace is worth a moment.
    runtime.shutdown_timeout(DRAIN_GRACE);
    parent.copies.remove();
    result
}

impl Parent {
    /// Starts the workers, the first one alone: what is wrong with a plugin is then said once. Returns only if
    /// none can start.
    async fn serve(&'static self, mut heard: mpsc::UnboundedReceiver<News>, asks: Asks) -> Result<()> {
        let (first, others) = self.places.split_first().context("a parent needs a worker")?;
        self.start(first);
        tokio::task::spawn_local(self.watch());
        let loaded = loop {
            match heard.recv().await {
                Some(News::Ready(loaded)) => break loaded,
                Some(News::Refused(reason)) => bail!(reason),
                Some(News::Died(tries, how)) if tries >= START_TRIES => {
                    bail!("no worker can start, after {tries} tries: {how}")
                }
                Some(News::Died(..)) => {}
                None => bail!("the parent has lost its workers"),
            }
        };
        self.started.set(true);
        others.iter().for_each(|place| self.start(place));
        let banner = readable(&banner::complete(&loaded, self.places.len(), &self.addresses));
        // Nobody has to read it.
        let _ = io::stdout().write_all(banner.as_bytes());
        tokio::task::spawn_local(self.answer(asks));
        // From here on a worker that cannot start is tried again for ever.
        while heard.recv().await.is_some() {}
        Ok(())
    }

    /// Answers what is asked: how it goes at once, and reloads one after the other.
    async fn answer(&'static self, mut asks: Asks) {
        let turn: &'static Mutex<()> = Box::leak(Box::default());
        while let Some(ask) = asks.recv().await {
            match ask {
                Ask::Reload { which, reason, answer } => {
                    tokio::task::spawn_local(async move {
                        let _turn = turn.lock().await;
                        let result = self.reload(which, reason.as_deref()).await;
                        let _ = answer.send(result.map_err(|error| format!("{error:#}")));
                    });
                }
                Ask::Status(answer) => _ = answer.send(self.status()),
            }
        }
    }

    fn start(&'static self, place: &'static Place) {
        self.alive.set(self.alive.get() + 1);
        tokio::task::spawn_local(async move {
            self.keep(place).await;
            self.alive.set(self.alive.get() - 1);
            self.ended.notify_waiters();
        });
    }

    /// Keeps one place filled until the server stops.
    async fn keep(&'static self, place: &'static Place) {
        let mut early_deaths = 0;
        loop {
            self.no_reload().await;
            if self.stopping.get() {
                return;
            }
            let end = self.run_worker(place).await;
            // Who signals parent and workers together means a stop; the signal may be seen after a worker's end.
            tokio::task::yield_now().await;
            if let Some(crash) = end.crash {
                backtraces::log(place.index, crash);
            }
            if self.stopping.get() {
                place.unclean.set(end.was_ready && !end.is_clean);
                if place.unclean.get() && !self.cut.get() {
                    log::error!("{}, while it was closing its connections", end.report);
                }
                return;
            }
            if let Some(reason) = end.refusal {
                early_deaths += 1;
                if self.started.get() {
                    log::error!("worker {} cannot start: {reason}", place.index);
                }
                let _ = self.news.send(News::Refused(reason));
            } else if end.was_ready {
                early_deaths = if end.lived < SHORT_LIFE { early_deaths + 1 } else { 0 };
                log::error!("{}; starting another", end.report);
                if early_deaths <= SHORT_LIVES_FREE {
                    continue;
                }
            } else {
                early_deaths += 1;
                let _ = self.news.send(News::Died(early_deaths, end.report.clone()));
                log::error!("{}, before it served", end.report);
            }
            let pause = RETRY_PAUSE_MAX.min(RETRY_PAUSE * 2u32.saturating_pow(early_deaths - 1));
            if early_deaths > 1 {
                log::error!(
                    "worker {} dies soon after every start ({early_deaths} times now); the next one starts in {pause:?}",
                    place.index
                );
            }
            tokio::select! { () = tokio::time::sleep(pause) => {} () = self.stopped.notified() => {} }
        }
    }

    /// Ends all workers: in good order if nothing is wrong and nobody is in a hurry.
    async fn end(&self, result: Result<()>, mut stop: Stop) -> Result<()> {
        self.stopping.set(true);
        self.stopped.notify_waiters();
        self.listeners.borrow_mut().clear();
        if result.is_ok() {
            match self.clients() {
                0 => log::info!("stopping"),
                1 => log::info!("stopping: 1 client is told to close"),
                n => log::info!("stopping: {n} clients are told to close"),
            }
        }
        for place in &self.places {
            match &*place.queue.borrow() {
                Some(queue) if result.is_ok() => queue.push(message(Tag::Drain, b"")),
                // It may serve already, and only the word of it is still on its way.
                None if result.is_ok() => place.signal(Signal::TERM),
                _ => place.kill(),
            }
        }
        let patience = self.settings.limits.drain_timeout + DRAIN_GRACE;
        let cut = tokio::select! {
            () = self.all_ended() => None,
            () = tokio::time::sleep(patience) => Some("workers did not end in time (--drain-timeout)"),
            () = stop.requested() => Some("asked a second time"),
        };
        if let Some(why) = cut {
            let clients = self.clients();
            self.cut.set(true);
            self.places.iter().for_each(Place::kill);
            self.all_ended().await;
            bail!("stopped at once: {why}; {clients} clients were cut");
        }
        result?;
        if self.places.iter().any(|place| place.unclean.get()) {
            bail!("stopped, but not every connection could be closed in good order");
        }
        log::info!("stopped: all connections are closed");
        Ok(())
    }

    async fn all_ended(&self) {
        while self.alive.get() > 0 {
            self.ended.notified().await;
        }
    }

    fn clients(&self) -> usize {
        // Each worker's own word, so the sum may be anything.
        let each = (0..self.places.len()).map(|index| self.board.slot(index).clients());
        each.fold(0, usize::saturating_add)
    }
}
