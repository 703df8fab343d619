//! One worker process: how it is started, and what is said when it has ended.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::task::AbortHandle;

use super::relay::Queue;
use super::watch::end_hung;
use super::{News, Parent};
use crate::banner::Loaded;
use crate::board::{Crash, Slot, Watch};
use crate::crash;
use crate::link::Tag;
use crate::link::orders::{Orders, Reply};
use crate::plan::Plan;
use crate::readable::readable;

/// Time for the last words of a worker that has ended; a plugin may have left a process that holds its socket.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Time for a worker whose link is closed to end by itself.
const UNLINKED_PATIENCE: Duration = Duration::from_secs(1);
/// Time for a worker to take its orders, if they are longer than a socket holds.
const ORDERS_PATIENCE: Duration = Duration::from_secs(1);
/// Time beyond the hang time-out after which a worker that takes no broadcasts is ended.
const LINK_PATIENCE: Duration = Duration::from_secs(1);
/// More than any worker can have had.
const CONNECTIONS_MAX: u64 = 1 << 36;

/// A place for a worker, filled again and again.
pub struct Place {
    /// From 0.
    pub index: usize,
    /// The process in it.
    pub pid: Cell<Option<Pid>>,
    /// When the last process in it was started.
    pub started: Cell<Option<Instant>>,
    /// Since it serves: what it is sent.
    pub queue: RefCell<Option<Rc<Queue>>>,
    /// Sends it what is queued.
    writer: RefCell<Option<AbortHandle>>,
    /// How long its callbacks run.
    pub watch: RefCell<Watch>,
    /// Why the watchdog has ended it.
    pub hung: RefCell<Option<String>>,
    /// Since it serves: what it has loaded.
    pub loaded: RefCell<Option<Rc<Loaded>>>,
    /// Whether it ended at shutdown with connections still open.
    pub unclean: Cell<bool>,
    /// Whether the process in it does not serve yet.
    pub starting: Cell<bool>,
    /// Connections that the workers in this place have had.
    connections: Cell<u64>,
}

/// How a worker ended.
pub struct End {
    /// Whether it has served.
    pub was_ready: bool,
    /// Whether it ended as it was told.
    pub is_clean: bool,
    /// Why it could not start, in its own words.
    pub refusal: Option<String>,
    /// For how long it has lived.
    pub lived: Duration,
    /// How it ended, for the log.
    pub report: String,
    /// Where, if it had time to write that down.
    pub crash: Option<Crash>,
}

impl Place {
    pub fn new(index: usize) -> Self {
        Self {
            index,
            pid: Cell::new(None),
            started: Cell::new(None),
            queue: RefCell::default(),
            writer: RefCell::default(),
            watch: RefCell::default(),
            hung: RefCell::default(),
            loaded: RefCell::default(),
            unclean: Cell::new(false),
            starting: Cell::new(false),
            connections: Cell::new(0),
        }
    }

    /// Ends the process in it at once.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends the process in it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid.get() {
            // It may have ended by itself in this moment; it is not reaped yet, so the id is still its own.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

impl Parent {
    /// Runs one worker from start to end.
    pub async fn run_worker(&'static self, place: &'static Place) -> End {
        place.starting.set(true);
        let started = Instant::now();
        place.started.set(Some(started));
        let slot = self.board.slot(place.index);
        slot.clear();
        place.hung.take();
        place.watch.take();
        let (mut child, link) = match self.spawn(place) {
            Ok(started) => started,
            Err(error) => {
                let report = format!("worker {} cannot be started: {error:#}", place.index);
                let lived = Duration::ZERO;
                place.starting.set(false);
                self.calm.notify_waiters();
                return End { was_ready: false, is_clean: false, refusal: None, lived, report, crash: None };
            }
        };
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        place.pid.set(pid);
        let refusal = Rc::new(RefCell::new(None));
        let mut words = tokio::task::spawn_local(self.listen_to(place, pid, link, refusal.clone()));
        let status = child.wait().await;
        // As long as it is not reaped nobody else has its id; `wait` has reaped it now.
        place.pid.set(None);
        // What waits for it keeps the others from being heard.
        self.relay.leave(place.index);
        if tokio::time::timeout(LAST_WORDS, &mut words).await.is_err() {
            words.abort();
        }
        if let Some(writer) = place.writer.take() {
            writer.abort();
        }
        let was_ready = place.queue.take().is_some();
        place.starting.set(false);
        self.calm.notify_waiters();
        self.vote_of_the_dead(place.index);
        place.loaded.take();
        // Its own word: a number that cannot be would make ids of later connections collide.
        let had = slot.counters().accepted.min(CONNECTIONS_MAX);
        place.connections.set(place.connections.get() + had);
        let refusal = refusal.take();
        let is_clean = status.as_ref().is_ok_and(ExitStatus::success);
        // The last look tells how long its last callback had run.
        place.watch.borrow_mut().look(Instant::now(), slot, None, None);
        let crash = slot.crash();
        let lived = started.elapsed();
        let report = match status {
            Ok(status) => report(place, pid, status, slot, crash.as_ref(), lived, self.tick()),
            Err(error) => format!("worker {} cannot be waited for: {error}", place.index),
        };
        End { was_ready, is_clean, refusal, lived, report, crash }
    }

    fn spawn(&self, place: &Place) -> Result<(Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        // Also good when the file has been replaced since.
        let program =
            if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
        let mut command = Command::new(program);
        command.arg0(format!("callsign: worker {}", place.index)).arg("worker").stdin(OwnedFd::from(theirs));
        // Ctrl-C is the parent's to act on.
        command.process_group(0);
        if let Some(identity) = &self.identity {
            command.uid(identity.user).gid(identity.group);
        }
        let mut child = command.spawn()?;
        // The child's end with it: if the child dies, so does the socket.
        drop(command);
        let orders = Orders {
            index: place.index,
            workers: self.places.len(),
            parent: std::process::id(),
            first_connection: place.connections.get(),
            plan: Plan::clone(&self.plan.borrow()),
            settings: self.settings.clone(),
        };
        let listeners = self.listeners.borrow();
        let mut descriptors = vec![self.board_descriptor.as_fd()];
        descriptors.extend(listeners.iter().map(AsFd::as_fd));
        ours.set_write_timeout(Some(ORDERS_PATIENCE))?;
        if let Err(error) = orders.send(&ours, &descriptors) {
            log::debug!("worker {} takes no orders: {error:#}", place.index);
            // If it is dead already, how it died tells more than this error.
            let _ = child.start_kill();
        }
        ours.set_nonblocking(true)?;
        Ok((child, ours))
    }

    /// Carries what a worker says, until its socket ends.
    async fn listen_to(
        &'static self,
        place: &'static Place,
        pid: Option<Pid>,
        link: UnixStream,
        refusal: Rc<RefCell<Option<String>>>,
    ) {
        let (read, write) = match tokio::net::UnixStream::from_std(link) {
            Ok(link) => link.into_split(),
            Err(error) => return log::error!("worker {}: its link cannot be used: {error}", place.index),
        };
        let mut write = Some(write);
        let note = |tag, payload: bytes::Bytes| {
            match (tag, write.take()) {
                (Tag::Ready, Some(write)) => {
                    let Ok(loaded) = serde_json::from_slice::<Rc<Loaded>>(&payload) else { return false };
                    *place.loaded.borrow_mut() = Some(loaded.clone());
                    place.starting.set(false);
                    self.calm.notify_waiters();
                    let queue = self.relay.join(place.index);
                    *place.queue.borrow_mut() = Some(queue.clone());
                    log::debug!("worker {} serves", place.index);
                    let _ = self.news.send(News::Ready(loaded));
                    // A callback that hangs is found first, and is the better explanation.
                    let patience = self.settings.limits.hang_timeout.map(|time| time + LINK_PATIENCE);
                    let writer = tokio::task::spawn_local(async move {
                        let result = self.relay.write(&queue, write, patience).await;
                        self.relay.leave(place.index);
                        if result.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                            let why = "was ended: it has not taken what others broadcast (--hang-timeout)";
                            end_hung(place, why.to_owned());
                        }
                    });
                    *place.writer.borrow_mut() = Some(writer.abort_handle());
                    true
                }
                (Tag::Reply, taken) => {
                    let Ok(reply) = serde_json::from_slice::<Reply>(&payload) else { return false };
                    write = taken;
                    self.vote(place.index, reply);
                    true
                }
                (Tag::Failed, Some(_)) => {
                    *refusal.borrow_mut() = Some(readable(&String::from_utf8_lossy(&payload)));
                    true
                }
                _ => false,
            }
        };
        let why = match self.relay.read(place.index, read, self.settings.limits.max_message, note).await {
            Ok(()) => "its link to the parent is closed".to_owned(),
            Err(error) => error.to_string(),
        };
        // Without its link it cannot serve; most often it is dead already.
        self.relay.leave(place.index);
        tokio::task::spawn_local(end_unlinked(place, pid, why));
    }
}

/// Ends the worker of that id if it lives on without a link. The id is the caller's: when this runs, the place
/// may have its next worker.
async fn end_unlinked(place: &'static Place, pid: Option<Pid>, why: String) {
    tokio::time::sleep(UNLINKED_PATIENCE).await;
    if pid.is_some() && place.pid.get() == pid {
        place.hung.replace(Some(format!("was ended: {why}")));
        place.kill();
    }
}

/// What happened, to which worker, in which code of which plugin.
fn report(
    place: &Place,
    pid: Option<Pid>,
    status: ExitStatus,
    slot: &Slot,
    crash: Option<&Crash>,
    lived: Duration,
    tick: Option<Duration>,
) -> String {
    let pid = pid.map_or(0, |pid| pid.as_raw_nonzero().get());
    let how = match (place.hung.take(), status.signal(), status.code()) {
        (Some(hung), ..) => hung,
        (None, Some(signal), _) => {
            // Its own word on the cause counts if it is about the signal that ended it.
            let cause = crash.filter(|crash| crash.signal == signal).map(crash::cause);
            let cause = cause.unwrap_or_else(|| crash::signal_name(signal));
            match crash {
                // What the worker's own thread was doing meanwhile is not to blame.
                Some(crash) if !crash.worker_thread => format!("died of {cause}"),
                _ => format!("died of {cause}{}", in_callback(place, slot, tick)),
            }
        }
        (None, None, Some(code)) => format!("ended with status {code}{}", in_callback(place, slot, tick)),
        (None, None, None) => format!("ended with {status}"),
    };
    let clients = slot.clients();
    format!(
        "worker {} (process {pid}) {how}; it had lived for {lived:.1?}; clients lost: {clients}",
        place.index
    )
}

/// Which callback it was in, and for how long as far as the watchdog's looks can tell.
fn in_callback(place: &Place, slot: &Slot, tick: Option<Duration>) -> String {
    let Some(running) = slot.running() else { return " outside of any plugin's code".to_owned() };
    let Some(tick) = tick else { return format!(" in {}", running.label) };
    match place.watch.borrow().ran_for(Instant::now()) {
        Some(time) if time >= tick => format!(" in {}, which had run for {time:.1?}", running.label),
        _ => format!(" in {}, which had run for less than {tick:?}", running.label),
    }
}
