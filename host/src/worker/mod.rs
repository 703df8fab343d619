//! A worker: one thread, its plugins, its routes and its share of the connections. It owns the list of
//! connections and what they share; how one is served is `session`'s.

mod sending; // to one, to many, and when it is written

mod told; // what the parent says, and the answers

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ptr;
use std::rc::{Rc, Weak};
use std::sync::OnceLock;
use std::task::Waker;
use std::time::Duration;

use anyhow::Result;
use callsign_plugin::abi::op;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::background::Background;
use crate::clients::{Clients, Rank, Seat};
use crate::connection::{Connection, Phase};
use crate::dispatch::Dispatch;
use crate::http::exchange::Owner;
use crate::link::orders::Order;
use crate::link::uplink::Uplink;
use crate::outbox::Pool;
use crate::plan::Plan;
use crate::plugin::handler::{Callbacks, Handler, HandlerRef};
use crate::plugin::registry::Registry;
use crate::posts::Posts;
use crate::settings::Limits;
use crate::timers::Timers;
use crate::{reload, session};

/// Bytes of the buffer that all connections of a worker are read into, one after the other.
const READ_BUFFER: usize = 256 * 1024;
/// RFC 6455 §7.4.1: going away.
const GOING_AWAY: u16 = 1001;

/// See [`Worker::place`].
static PLACE: OnceLock<(u32, u32)> = OnceLock::new();

thread_local! {
    static CURRENT: Cell<Option<&'static Worker>> = const { Cell::new(None) };
}

/// One worker. It lives as long as its thread's process: plugins may hold on to what it gave them.
pub struct Worker {
    /// The plugins in use.
    registry: RefCell<Rc<Registry>>,
    /// Which path goes to which handler.
    dispatch: RefCell<Rc<Dispatch>>,
    /// What clients may cost.
    pub limits: Limits,
    /// Write buffers between two uses.
    pub pool: Pool,
    /// What is read, between the read and the end of its callbacks.
    pub read_buffer: RefCell<Box<[u8]>>,
    /// The plugins' timers. Their task runs from start to end.
    pub timers: &'static Timers,
    /// The plugins' work off the loop. Its task runs from start to end.
    pub background: &'static Background,
    /// What other workers' copies of the plugins say. Its task runs from start to end.
    pub posts: &'static Posts,
    /// Who is here, upgraded or not.
    pub clients: &'static Clients,
    rank: Rank,
    /// The way to the other workers, if there are others.
    uplink: OnceCell<Uplink>,
    connections: RefCell<HashMap<u64, Rc<Connection>>>,
    /// Connections that this place has had.
    had: Cell<u64>,
    /// Handlers of clients whose 101 is on its way.
    promised: RefCell<HashMap<u64, Callbacks>>,
    promises: Cell<u64>,
    /// What the parent wants of a reload, in order.
    orders: RefCell<VecDeque<Order>>,
    ordered: Notify,
    /// Told when the parent wants the worker to end.
    drain_wanted: Notify,
    /// Connections with something to write at the end of this turn.
    due: RefCell<Vec<Weak<Connection>>>,
    flusher: RefCell<Option<Waker>>,
    draining: Cell<bool>,
    /// Clients whose answer, or 101, is on its way.
    expected: Cell<usize>,
    /// Told when a connection has ended.
    ended: Notify,
    /// Told when the worker begins to end.
    drain_begun: Notify,
}

impl Worker {
    /// Loads the plugins, resolves the routes, and makes this thread the worker's. Nothing is listened on yet.
    pub fn start(limits: &Limits, plan: &Plan, rank: Rank) -> Result<&'static Self> {
        PLACE.get_or_init(|| (rank.index as u32, rank.workers as u32));
        let (registry, dispatch) = reload::first(plan)?;
        let worker: &'static Self = Box::leak(Box::new(Self {
            registry: RefCell::new(Rc::new(registry)),
            dispatch: RefCell::new(Rc::new(dispatch)),
            limits: limits.clone(),
            pool: Pool::default(),
            read_buffer: RefCell::new(vec![0; READ_BUFFER].into_boxed_slice()),
            timers: Timers::current(),
            background: Background::current(),
            clients: Box::leak(Box::new(Clients::new(rank, limits.max_connections))),
            posts: Posts::current(),
            rank,
            uplink: OnceCell::new(),
            connections: RefCell::default(),
            had: Cell::new(rank.first_connection),
            promised: RefCell::default(),
            promises: Cell::new(0),
            orders: RefCell::default(),
            ordered: Notify::new(),
            drain_wanted: Notify::new(),
            due: RefCell::default(),
            flusher: RefCell::default(),
            draining: Cell::new(false),
            expected: Cell::new(0),
            ended: Notify::new(),
            drain_begun: Notify::new(),
        }));
        CURRENT.set(Some(worker));
        Ok(worker)
    }

    /// The worker of this thread.
    #[inline]
    pub fn current() -> Option<&'static Self> {
        CURRENT.get()
    }

    /// The number of this process among the workers, and how many there are: as its start has told, also while
    /// plugins are loaded. From any thread.
    pub fn place() -> (u32, u32) {
        *PLACE.get().unwrap_or(&(0, 1))
    }

    /// Takes over a socket that has its 101, with the bytes that came behind the request.
    pub fn adopt(
        &'static self,
        stream: TcpStream,
        early: Vec<u8>,
        owner: Owner,
        callbacks: Callbacks,
        seat: Rc<Seat>,
    ) {
        // Unique among all workers, and small enough to be read by people.
        let id = self.had.get() * self.rank.workers as u64 + self.rank.index as u64 + 1;
        self.had.set(self.had.get() + 1);
        self.rank.board.slot(self.rank.index).count_accepted();
        let c = Connection::new(self, id, stream, owner, callbacks, seat);
        self.connections.borrow_mut().insert(id, c.clone());
        log::debug!("connection {id} ({}): open", c.peer());
        if self.draining.get() {
            c.close(GOING_AWAY, "server is shutting down");
        }
        session::start(c, early);
    }

    /// The plugins in use now.
    pub fn registry(&self) -> Rc<Registry> {
        self.registry.borrow().clone()
    }

    /// What answers which path now.
    pub fn dispatch(&self) -> Rc<Dispatch> {
        self.dispatch.borrow().clone()
    }

    /// From now on these plugins are in use, and these routes.
    pub fn put_in_use(&self, registry: Rc<Registry>, dispatch: Rc<Dispatch>) {
        self.registry.replace(registry);
        self.dispatch.replace(dispatch);
    }

    /// A client will have these handlers when its 101 is written: until the guard is dropped.
    pub fn promise(&'static self, callbacks: Callbacks) -> Promised {
        let number = self.promises.get();
        self.promises.set(number + 1);
        self.promised.borrow_mut().insert(number, callbacks);
        Promised(self, number)
    }

    /// The handlers that clients have, or will have; with one of their connections.
    pub fn bound(&self) -> HashMap<*const Handler, (HandlerRef, usize, Option<Rc<Connection>>)> {
        let mut bound = HashMap::new();
        let connections = self.connections.borrow();
        let of_clients = connections.values().map(|c| (c.callbacks, Some(c)));
        let promised = self.promised.borrow();
        for (callbacks, c) in of_clients.chain(promised.values().map(|callbacks| (*callbacks, None))) {
            for handler in callbacks.iter() {
                let (_, count, _) =
                    bound.entry(ptr::from_ref(handler)).or_insert_with(|| (handler, 0, c.cloned()));
                *count += 1;
            }
        }
        bound
    }

    /// A drain waits until the guard is dropped: an answer is on its way, or a client is to be adopted.
    pub fn expect(&'static self) -> Expected {
        self.expected.set(self.expected.get() + 1);
        Expected(self)
    }

    /// Takes an ended connection off the list.
    pub fn remove(&self, c: &Connection) {
        self.connections.borrow_mut().remove(&c.id);
        self.timers.end_connection(c.id);
        self.ended.notify_waiters();
        if let Some(ending) = c.ending() {
            log::debug!("connection {} ({}): closed with {}", c.id, c.peer(), ending.code);
        }
    }

    /// The open connection of that id.
    pub fn find(&self, id: u64) -> Option<Rc<Connection>> {
        let c = self.connections.borrow().get(&id).cloned()?;
        (c.phase.get() == Phase::Open).then_some(c)
    }

    /// Waits until the worker begins to end.
    pub async fn begins_to_drain(&self) {
        let begun = self.drain_begun.notified();
        if !self.draining.get() {
            begun.await;
        }
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Keeps connections alive, and finds those whose client is gone without a word: silent for one interval
    /// gets a Ping (RFC 6455 §5.5.2), silent for another is dropped.
    pub async fn ping_silent(&self, interval: Duration) {
        let mut pinged = HashSet::new();
        loop {
            tokio::time::sleep(interval).await;
            let silent: Vec<_> = {
                let connections = self.connections.borrow();
                connections.values().filter(|c| !c.heard.replace(false)).cloned().collect()
            };
            let mut next = HashSet::new();
            for c in silent {
                if pinged.contains(&c.id) {
                    log::debug!("connection {} ({}): no answer to a ping; dropping it", c.id, c.peer());
                    c.lost();
                } else {
                    c.send(op::PING, b"");
                    next.insert(c.id);
                }
            }
            pinged = next;
        }
    }

    /// Closes every connection with 1001, and waits until all have ended and no background work is left; then
    /// the timers end.
    pub async fn drain(&self) {
        self.draining.set(true);
        self.drain_begun.notify_waiters();
        for c in self.open() {
            c.close(GOING_AWAY, "server is shutting down");
        }
        self.all_ended().await;
        self.background.finished().await;
        self.timers.end_all();
    }

    /// Drops every connection, and waits until their last callbacks have run.
    pub async fn cut(&self) {
        self.open().iter().for_each(|c| c.lost());
        self.all_ended().await;
    }

    /// All connections that have not ended.
    pub fn open(&self) -> Vec<Rc<Connection>> {
        self.connections.borrow().values().cloned().collect()
    }

    async fn all_ended(&self) {
        while self.connections() > 0 || self.expected.get() > 0 {
            self.ended.notified().await;
        }
    }
}

/// A client will have its handlers, see [`Worker::promise`].
pub struct Promised(&'static Worker, u64);

impl Drop for Promised {
    fn drop(&mut self) {
        self.0.promised.borrow_mut().remove(&self.1);
    }
}

/// An answer or a client is on its way, see [`Worker::expect`].
pub struct Expected(&'static Worker);

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.expected.set(self.0.expected.get() - 1);
        self.0.ended.notify_waiters();
    }
}
