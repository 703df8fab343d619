//! The worker's link to the parent: orders of a reload and the request to drain wait here until somebody takes them.

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::link::Tag;
use crate::link::orders::Order;
use crate::link::uplink::{ParentMessage, Uplink};
use crate::system::scoreboard::HEARTBEAT_INTERVAL;

/// The link, and what came over it. Without a parent it stays unconnected.
#[derive(Debug, Default)]
pub struct ParentLink {
    uplink: OnceCell<Uplink>,
    /// Orders of a reload, in order.
    orders: RefCell<VecDeque<Order>>,
    ordered: Notify,
    drain_requested: Notify,
}

impl ParentLink {
    /// Connects it.
    pub fn connect(&self, uplink: Uplink) -> &Uplink {
        self.uplink.get_or_init(|| uplink)
    }

    /// The link; None before it is connected, and without a parent.
    pub fn uplink(&self) -> Option<&Uplink> {
        self.uplink.get()
    }

    /// Sends a message; `deliver` gets what arrives while the link is full.
    pub fn send(&self, tag: Tag, payload: &[u8], deliver: impl FnMut(ParentMessage<'_>)) {
        if let Some(uplink) = self.uplink.get() {
            uplink.send(tag, payload, deliver);
        }
    }

    /// Takes note of an order.
    pub fn push_order(&self, order: Order) {
        self.orders.borrow_mut().push_back(order);
        self.ordered.notify_one();
    }

    /// Waits for the next order.
    pub async fn next_order(&self) -> Order {
        loop {
            let order = self.orders.borrow_mut().pop_front();
            match order {
                Some(order) => return order,
                None => self.ordered.notified().await,
            }
        }
    }

    /// Whether the next order of the same transaction has arrived: the parent has stopped waiting for this one.
    pub fn is_overtaken(&self, order: &Order) -> bool {
        self.orders.borrow().iter().any(|next| next.transaction == order.transaction)
    }

    /// Blocks this thread until the next order of the transaction: no task runs, and what clients send waits in the
    /// kernel. None: the link has failed.
    pub fn await_order(&self, transaction: u32, mut deliver: impl FnMut(ParentMessage<'_>)) -> Option<Order> {
        let uplink = self.uplink.get()?;
        loop {
            let next = {
                let mut orders = self.orders.borrow_mut();
                let at = orders.iter().position(|order| order.transaction == transaction);
                at.and_then(|at| orders.remove(at))
            };
            if next.is_some() {
                return next;
            }
            uplink.wait(HEARTBEAT_INTERVAL, &mut deliver).ok()?;
        }
    }

    /// Blocks this thread until an order comes, for `limit` at most.
    pub fn linger(&self, limit: Duration, mut deliver: impl FnMut(ParentMessage<'_>)) {
        let (Some(uplink), end) = (self.uplink.get(), Instant::now() + limit) else { return };
        while self.orders.borrow().is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            // A failed link ends the worker: its task finds out next.
            if left.is_zero() || uplink.wait(left, &mut deliver).is_err() {
                break;
            }
        }
    }

    /// Takes note that the parent wants the worker to drain.
    pub fn request_drain(&self) {
        self.drain_requested.notify_one();
    }

    /// Waits for that.
    pub async fn drain_requested(&self) {
        self.drain_requested.notified().await;
    }
}
