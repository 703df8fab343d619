//! A worker: one thread with its plugins, its routes and its share of the clients. Its parts know nothing of each
//! other: membership and queues ([`hub`]), turns ([`turn`]), admission, the link to the parent. [`Worker`] puts them
//! together.

pub mod admission; // how many clients there may be

pub mod address_limits; // what the clients of one address may do

pub mod handshakes; // upgrades on their way

pub mod listening; // what holds for new clients

pub mod parent_link; // orders of the parent

mod reactor; // which sockets are ready

mod streams; // which streams of HTTP/2 are ready

mod schedule; // which clients have a turn

mod flush; // which clients have something to write

pub mod hub; // who is connected, and their queues

mod compression; // of messages

mod turn; // read, call the handler, write, close

pub mod callbacks; // onconnect, ondisconnect, failed handlers

mod record; // connections that have ended

mod keepalive; // pings

mod route_limits; // limits of a client's route

mod new_limits; // limits that a reload changes

mod backpressure; // clients that read too slowly

mod incoming; // memory and time of incomplete messages

mod outgoing; // memory of write queues

mod heartbeat; // shows the parent that the event loop runs

mod lag; // how long clients wait for their turn

#[cfg(test)]
#[expect(unsafe_code, reason = "handlers of the tests are C functions")]
mod tests;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::ptr;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use callsign_plugin::abi::{ALL_WORKERS, scope, status};
use log::Level;
use tokio::sync::Notify;

use crate::client::Client;
use crate::client::transport::Transport;
use crate::config::settings::Limits;
use crate::link::Tag;
use crate::link::broadcast::Audience;
use crate::link::uplink::ParentMessage;
use crate::link::worker_message::WorkerMessage;
use crate::plugin::call;
use crate::plugin::dispatch::Dispatch;
use crate::plugin::handler::{Callbacks, Handler};
use crate::plugin::registry::Registry;
use crate::system::access_log::AccessLog;
use crate::system::pace::Pace;
use crate::system::scoreboard::Limit;
use address_limits::AddressLimits;
use admission::{Admission, Permit, WorkerInfo};
use handshakes::Handshakes;
use hub::Hub;
use parent_link::ParentLink;
use reactor::Reactor;
pub use schedule::now;

/// Most bytes of one read.
const READ_BUFFER: usize = 256 * 1024;
/// RFC 6455 §7.4.1: going away.
const GOING_AWAY: u16 = 1001;

thread_local! {
    static CURRENT: Cell<Option<&'static Worker>> = const { Cell::new(None) };
}

/// What a worker does not do itself.
pub struct Listeners {
    /// A connection has ended; its last callback is about to run.
    pub on_leave: Box<dyn Fn(u64)>,
    /// A message for a plugin has arrived from another worker.
    pub on_worker_message: Box<dyn Fn(WorkerMessage<'_>)>,
}

/// One worker. It lives as long as its process, because plugins may hold pointers into it.
pub struct Worker {
    info: WorkerInfo,
    /// The plugins in use, and the handlers of each path.
    serving: RefCell<(Rc<Registry>, Rc<Dispatch>)>,
    /// The clients.
    pub hub: Hub,
    /// How many there may be.
    pub admission: Rc<Admission>,
    /// What the clients of one address may do. None: they have no limits of their own.
    address_limits: RefCell<Option<Rc<AddressLimits>>>,
    /// Upgrades on their way.
    pub handshakes: Handshakes,
    /// The way of records to the parent; None: there is none. Set before the first client.
    pub access_log_pipe: OnceCell<AccessLog>,
    /// The way to the parent, and through it to the other workers.
    pub parent: ParentLink,
    reactor: Reactor,
    /// How long turns are.
    pace: Pace,
    /// All clients are read into it, one after the other. In use until the callbacks of a read have returned. Its last
    /// byte is the spare byte of a full read.
    read_buffer: RefCell<Box<[u8]>>,
    listeners: OnceCell<Listeners>,
    /// Connections that workers of this index have had.
    accepted_total: Cell<u64>,
    draining: Cell<bool>,
    drain_begun: Notify,
}

impl Worker {
    /// A worker that serves these plugins and routes. Needs a tokio runtime. `files_max` bounds its clients.
    pub fn new(
        limits: &Limits,
        info: WorkerInfo,
        files_max: usize,
        serving: (Registry, Dispatch),
    ) -> Result<&'static Self> {
        let (registry, dispatch) = serving;
        Ok(Box::leak(Box::new(Self {
            info,
            serving: RefCell::new((Rc::new(registry), Rc::new(dispatch))),
            hub: Hub::new(*limits, info.scoreboard.slot(info.index)),
            admission: Admission::new(info, files_max, limits.max_connections),
            address_limits: RefCell::new(AddressLimits::new(info, limits).map(Rc::new)),
            handshakes: Handshakes::default(),
            access_log_pipe: OnceCell::new(),
            parent: ParentLink::default(),
            reactor: Reactor::new().context("no queue for sockets that are ready")?,
            pace: Pace::default(),
            read_buffer: RefCell::new(vec![0; READ_BUFFER + 1].into_boxed_slice()),
            listeners: OnceCell::new(),
            accepted_total: Cell::new(info.first_connection),
            draining: Cell::new(false),
            drain_begun: Notify::new(),
        })))
    }

    /// Makes this thread the worker's, and starts its tasks.
    pub fn start(&'static self, listeners: Listeners) {
        let _ = self.listeners.set(listeners);
        CURRENT.set(Some(self));
        tokio::task::spawn_local(self.run_turns());
        let (flush, note) = (|slot| self.hub.flush_slot(slot), |took| self.pace.allow(took));
        tokio::task::spawn_local(self.hub.flush_queue.run(flush, note));
        let slot = self.info.scoreboard.slot(self.info.index);
        tokio::task::spawn_local(heartbeat::run(slot));
        tokio::task::spawn_local(lag::run(&self.hub, slot));
        tokio::task::spawn_local(self.hub.keepalive.run(&self.hub));
        tokio::task::spawn_local(self.hub.watch_held());
    }

    /// The worker of this thread.
    #[inline]
    pub fn current() -> Option<&'static Self> {
        CURRENT.get()
    }

    /// Takes over a client that has its 101, with the bytes that came behind its request.
    pub fn open(
        &'static self,
        client: Rc<Client>,
        transport: Transport,
        handlers: Callbacks,
        permit: Permit,
        early: Vec<u8>,
    ) {
        // Unique among all workers, and small enough to be read by people.
        let id = self.accepted_total.get() * self.info.workers as u64 + self.info.index as u64 + 1;
        self.accepted_total.set(self.accepted_total.get() + 1);
        self.info.scoreboard.slot(self.info.index).count_accepted();
        client.open(id, transport, handlers);
        if self.hub.ping_interval(&client).is_none()
            && let Err(error) = client.transport().keep_alive()
        {
            log::debug!("connection {id} ({}): no TCP keepalive: {error}", client.peer());
        }
        self.hub.join(client.clone(), permit);
        log::debug!("connection {id} ({}): open", client.peer());
        client.transport().set_wakers(|| streams::wakers(client.turn.slot.get()));
        if let Err(error) = self.reactor.register(&client.transport(), client.turn.slot.get()) {
            self.hub.repeats.log(
                Level::Error,
                "register",
                format_args!(
                    "connection {id} ({}): cannot wait for its socket: {error}; dropping it",
                    client.peer()
                ),
            );
            self.hub.abort(&client);
        }
        if client.transport().is_to_be_read() {
            client.turn.readable.set(true);
        }
        if self.draining.get() {
            self.hub.close(&client, GOING_AWAY, "server is shutting down");
        }
        self.first_turn(&client, early);
    }

    /// Counts that a client has reached a limit.
    pub fn count_limit(&self, limit: Limit) {
        self.info.scoreboard.slot(self.info.index).limits.count(limit);
    }

    /// Where requests and connections are recorded. None: they are not.
    pub fn access_log(&self) -> Option<&AccessLog> {
        self.access_log_pipe.get().filter(|log| log.is_on())
    }

    /// What the clients of one address may do. None: they have no limits of their own.
    pub fn address_limits(&self) -> Option<Rc<AddressLimits>> {
        self.address_limits.borrow().clone()
    }

    /// The plugins in use.
    pub fn registry(&self) -> Rc<Registry> {
        self.serving.borrow().0.clone()
    }

    /// The handlers of each path.
    pub fn dispatch(&self) -> Rc<Dispatch> {
        self.serving.borrow().1.clone()
    }

    /// Uses these plugins and routes from now on.
    pub fn serve(&self, registry: Rc<Registry>, dispatch: Rc<Dispatch>) {
        self.serving.replace((registry, dispatch));
    }

    /// The handlers that clients have, or will have with their 101: how many clients each has, and one of them.
    pub fn bound(&self) -> HashMap<*const Handler, Bound> {
        let mut bound = HashMap::new();
        let members = self.hub.members();
        let of_members = members.iter().map(|c| (c.callbacks(), Some(c)));
        let promised = self.handshakes.promised().into_iter().map(|handlers| (handlers, None));
        for (handlers, c) in of_members.chain(promised) {
            for handler in handlers.iter() {
                let new = || Bound { clients: 0, example: c.cloned() };
                bound.entry(ptr::from_ref(handler)).or_insert_with(new).clients += 1;
            }
        }
        bound
    }

    /// Sends one message to every open connection but `source`, with several plugins to those of the sending one; a
    /// [`status`].
    pub fn broadcast(&self, source: Option<u64>, op: u8, data: &[u8], scope: u32) -> i32 {
        if !matches!(scope, scope::LOCAL | scope::GLOBAL) {
            return status::BAD_ARGUMENT;
        }
        if let Err(status) = self.hub.sendable(op, data) {
            return self.hub.unsendable(data, status);
        }
        let source = source.unwrap_or(Client::NO_ID);
        let plugin = self.audience_of_running();
        self.hub.broadcast(plugin, source, op, data);
        if scope == scope::GLOBAL
            && self.info.workers > 1
            && let Some(uplink) = self.parent.uplink()
        {
            let registry = plugin.map(|plugin| (self.registry(), plugin));
            let audience = registry.as_ref().map_or(Audience::Everyone, |(registry, plugin)| {
                Audience::Plugin(&registry.plugin(*plugin).name)
            });
            uplink.broadcast(audience, source, op, data, |message| self.receive(message));
        }
        status::SENT
    }

    /// The plugin whose connections a broadcast of the running callback reaches. None: all connections, because no
    /// other plugin is in use, or because the operator wants that.
    #[inline]
    fn audience_of_running(&self) -> Option<usize> {
        let registry = &self.serving.borrow().0;
        if !registry.has_several() {
            return None;
        }
        call::running_plugin().filter(|plugin| !registry.plugin(*plugin).broadcasts_to_all)
    }

    /// Sends a message to a plugin's instance on another worker, or on all others; a [`status`].
    pub fn send_worker_message(&self, target: u32, id: u32, plugin: &str, data: &[u8]) -> i32 {
        let (source, workers) = (self.info.index as u32, self.info.workers as u32);
        if data.len() > self.hub.limits.get().max_message {
            return self.hub.unsendable(data, status::TOO_LARGE);
        }
        if target != ALL_WORKERS && (target >= workers || target == source) {
            return status::NOT_FOUND;
        }
        if workers > 1 {
            let message = WorkerMessage { target, source, id, plugin, data };
            self.send_to_parent(Tag::WorkerMessage, &message.to_bytes());
        }
        status::SENT
    }

    /// Sends a message to the parent.
    pub fn send_to_parent(&self, tag: Tag, payload: &[u8]) {
        self.parent.send(tag, payload, |message| self.receive(message));
    }

    /// Handles a message of the parent. May run inside a callback; calls none.
    pub fn receive(&self, message: ParentMessage<'_>) {
        match message {
            ParentMessage::Broadcast(broadcast) => {
                let plugin = match broadcast.audience {
                    Audience::Everyone => None,
                    Audience::Plugin(name) => match self.registry().in_use(name) {
                        Some((plugin, _)) => Some(plugin),
                        // Removed by a reload, and so without connections.
                        None => return,
                    },
                };
                // No connection of this worker has the source's id.
                self.hub.broadcast(plugin, Client::NO_ID, broadcast.op, broadcast.payload);
            }
            ParentMessage::WorkerMessage(message) => {
                if let Some(listeners) = self.listeners.get() {
                    (listeners.on_worker_message)(message);
                }
            }
            ParentMessage::Drain => self.parent.request_drain(),
            ParentMessage::Order(order) => self.parent.push_order(*order),
        }
    }

    /// Waits until the worker begins to drain.
    pub async fn begins_to_drain(&self) {
        let begun = self.drain_begun.notified();
        if !self.draining.get() {
            begun.await;
        }
    }

    /// Closes every connection with 1001 and waits until all have ended.
    pub async fn drain(&self) {
        self.draining.set(true);
        self.drain_begun.notify_waiters();
        for c in self.hub.members() {
            self.hub.close(&c, GOING_AWAY, "server is shutting down");
        }
        // HTTP/2 connections without streams say that they end.
        tokio::task::yield_now().await;
        self.all_ended().await;
    }

    /// Drops every connection and waits until their last callbacks have run.
    pub async fn drop_all(&self) {
        self.hub.members().iter().for_each(|c| self.hub.abort(c));
        self.all_ended().await;
    }

    async fn all_ended(&self) {
        while self.hub.len() > 0 || self.handshakes.pending() > 0 {
            tokio::select! { () = self.hub.departure() => {} () = self.handshakes.one_done() => {} }
        }
    }
}

/// The clients that are bound to a handler.
pub struct Bound {
    /// How many clients have the handler.
    pub clients: usize,
    /// One of them; None: its upgrade is on its way.
    pub example: Option<Rc<Client>>,
}
