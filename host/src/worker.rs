//! A worker: one thread, its plugins, its routes and its share of the connections. It owns the list of
//! connections and what they share; how one is served is `session`'s.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use callsign_plugin::abi::{op, scope, status};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::connection::{Connection, Phase};
use crate::dispatch::Dispatch;
use crate::http::head::Head;
use crate::outbox::Pool;
use crate::plugin::handler::Callbacks;
use crate::plugin::registry::Registry;
use crate::session;
use crate::settings::{Limits, Settings};
use crate::websocket::write_frame;

/// Bytes of the buffer that all connections of a worker are read into, one after the other.
const READ_BUFFER: usize = 256 * 1024;
/// A broadcast frame from this size on is shared by the queues of its receivers; a smaller one is cheaper to
/// copy than to count.
const SHARED_FRAME: usize = 4 * 1024;
/// RFC 6455 §7.4.1: going away.
const GOING_AWAY: u16 = 1001;

thread_local! {
    static CURRENT: Cell<Option<&'static Worker>> = const { Cell::new(None) };
}

/// One worker. It lives as long as its thread's process: plugins may hold on to what it gave them.
pub struct Worker {
    /// The loaded plugins.
    pub registry: Registry,
    /// Which path goes to which handler.
    pub dispatch: Dispatch,
    /// What clients may cost.
    pub limits: Limits,
    /// Write buffers between two uses.
    pub pool: Pool,
    /// What is read, between the read and the end of its callbacks.
    pub read_buffer: RefCell<Box<[u8]>>,
    connections: RefCell<HashMap<u64, Rc<Connection>>>,
    last_id: Cell<u64>,
    /// Connections with something to write at the end of this turn.
    due: RefCell<Vec<Weak<Connection>>>,
    flusher: RefCell<Option<Waker>>,
    draining: Cell<bool>,
    /// Told when a connection has ended.
    ended: Notify,
}

impl Worker {
    /// Loads the plugins, resolves the routes, and makes this thread the worker's. Nothing is listened on yet.
    pub fn start(settings: &Settings) -> Result<&'static Self> {
        let registry = Registry::load(&settings.plugins)?;
        let dispatch = Dispatch::resolve(&registry, &settings.routes)?;
        let worker: &'static Self = Box::leak(Box::new(Self {
            registry,
            dispatch,
            limits: settings.limits.clone(),
            pool: Pool::default(),
            read_buffer: RefCell::new(vec![0; READ_BUFFER].into_boxed_slice()),
            connections: RefCell::default(),
            last_id: Cell::new(0),
            due: RefCell::default(),
            flusher: RefCell::default(),
            draining: Cell::new(false),
            ended: Notify::new(),
        }));
        CURRENT.set(Some(worker));
        Ok(worker)
    }

    /// The worker of this thread.
    #[inline]
    pub fn current() -> Option<&'static Self> {
        CURRENT.get()
    }

    /// Takes over a socket that has its 101, with the bytes that came behind the request.
    pub fn adopt(&'static self, stream: TcpStream, early: Vec<u8>, head: Head, callbacks: Callbacks) {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let c = Connection::new(self, id, stream, head, callbacks);
        self.connections.borrow_mut().insert(id, c.clone());
        log::debug!("connection {id} ({}): open", c.peer());
        if self.draining.get() {
            c.close(GOING_AWAY, "server is shutting down");
        }
        session::start(c, early);
    }

    /// Takes an ended connection off the list.
    pub fn remove(&self, c: &Connection) {
        self.connections.borrow_mut().remove(&c.id);
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

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Whether such a message may be sent; else a [`status`].
    #[inline]
    pub fn sendable(&self, op: u8, data: &[u8]) -> Result<(), i32> {
        match op {
            op::BINARY if data.len() <= self.limits.max_message => Ok(()),
            op::TEXT if data.len() <= self.limits.max_message => {
                std::str::from_utf8(data).map(drop).map_err(|_| status::BAD_UTF8)
            }
            op::PING | op::PONG if data.len() <= 125 => Ok(()),
            op::BINARY | op::TEXT | op::PING | op::PONG => Err(status::TOO_LARGE),
            _ => Err(status::BAD_OP),
        }
    }

    /// Sends one message to every open connection but `source`; a [`status`]. It is framed once.
    pub fn broadcast(&self, source: Option<u64>, op: u8, data: &[u8], scope: u32) -> i32 {
        if !matches!(scope, scope::LOCAL | scope::GLOBAL) {
            return status::BAD_ARGUMENT;
        }
        if let Err(status) = self.sendable(op, data) {
            return status;
        }
        let mut frame = Vec::with_capacity(data.len() + 10);
        write_frame(&mut frame, op, data);
        let connections = self.connections.borrow();
        let others = connections.values().filter(|c| Some(c.id) != source);
        if frame.len() < SHARED_FRAME {
            others.for_each(|c| _ = c.send_framed(&frame));
        } else {
            let frame = Bytes::from(frame);
            others.for_each(|c| _ = c.send_shared(&frame));
        }
        status::SENT
    }

    /// Has the connection written to at the end of this turn.
    pub fn flush_later(&self, c: Weak<Connection>) {
        let mut due = self.due.borrow_mut();
        due.push(c);
        if due.len() == 1
            && let Some(flusher) = &*self.flusher.borrow()
        {
            flusher.wake_by_ref();
        }
    }

    /// Writes to all connections that are due, once per turn of the loop: woken by the first of them, it runs
    /// after everything else that was ready in this turn.
    pub async fn flush_turns(&self) {
        let mut turn = Vec::new();
        poll_fn(|cx| {
            if self.flusher.borrow().is_none() {
                *self.flusher.borrow_mut() = Some(cx.waker().clone());
            }
            std::mem::swap(&mut turn, &mut *self.due.borrow_mut());
            for c in turn.drain(..).filter_map(|c| c.upgrade()) {
                c.flush_due.set(false);
                if !c.blocked.get() {
                    c.flush();
                }
            }
            Poll::<()>::Pending
        })
        .await;
    }

    /// Keeps connections alive, and finds those whose client is gone without a word: silent for one interval
    /// gets a Ping (RFC 6455 §5.5.2), silent for another is dropped.
    pub async fn ping_silent(&self, interval: Duration) {
        let mut pinged: HashMap<u64, ()> = HashMap::new();
        loop {
            tokio::time::sleep(interval).await;
            let silent: Vec<_> = {
                let connections = self.connections.borrow();
                connections.values().filter(|c| !c.heard.replace(false)).cloned().collect()
            };
            let mut next = HashMap::new();
            for c in silent {
                if pinged.contains_key(&c.id) {
                    log::debug!("connection {} ({}): no answer to a ping; dropping it", c.id, c.peer());
                    c.lost();
                } else {
                    c.send(op::PING, b"");
                    next.insert(c.id, ());
                }
            }
            pinged = next;
        }
    }

    /// Closes every connection with 1001, and waits until all have ended.
    pub async fn drain(&self) {
        self.draining.set(true);
        let open: Vec<_> = self.connections.borrow().values().cloned().collect();
        for c in open {
            c.close(GOING_AWAY, "server is shutting down");
        }
        while self.connections() > 0 {
            self.ended.notified().await;
        }
    }
}
