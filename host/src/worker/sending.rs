//! How a worker sends: what may be sent, to how many, and when it is written.

use std::future::poll_fn;
use std::rc::Weak;
use std::task::Poll;

use bytes::Bytes;
use callsign_plugin::abi::{ALL_WORKERS, op, scope, status};

use super::Worker;
use crate::connection::Connection;
use crate::link::Tag;
use crate::link::post::Post;
use crate::websocket::write_frame;

/// A broadcast frame from this size on is shared by the queues of its receivers; a smaller one is cheaper to
/// copy than to count.
const SHARED_FRAME: usize = 4 * 1024;

impl Worker {
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
        let frame = Bytes::from(frame);
        self.send_to_all(source, frame.clone());
        if scope == scope::GLOBAL
            && self.rank.workers > 1
            && let Some(uplink) = self.uplink.get()
        {
            uplink.send(Tag::Broadcast, &frame, |event| self.heard(event));
        }
        status::SENT
    }

    /// Sends a message to the copies of a plugin on another worker, or all others; a [`status`].
    pub fn post(&self, target: u32, id: u32, plugin: &str, data: &[u8]) -> i32 {
        let (source, workers) = (self.rank.index as u32, self.rank.workers as u32);
        if data.len() > self.limits.max_message {
            return status::TOO_LARGE;
        }
        if target != ALL_WORKERS && (target >= workers || target == source) {
            return status::NOT_FOUND;
        }
        if workers > 1
            && let Some(uplink) = self.uplink.get()
        {
            let post = Post { target, source, id, plugin, data };
            uplink.send(Tag::Post, &post.to_bytes(), |event| self.heard(event));
        }
        status::SENT
    }

    /// Queues a frame for every connection of this worker but `source`.
    pub(super) fn send_to_all(&self, source: Option<u64>, frame: Bytes) {
        let connections = self.connections.borrow();
        let others = connections.values().filter(|c| Some(c.id) != source);
        if frame.len() < SHARED_FRAME {
            others.for_each(|c| _ = c.send_framed(&frame));
        } else {
            others.for_each(|c| _ = c.send_shared(&frame));
        }
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
}
