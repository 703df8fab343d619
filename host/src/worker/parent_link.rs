//! The worker's link to the parent: orders of a reload and the request to drain wait here until somebody takes them.

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;

use tokio::sync::Notify;

use crate::link::Tag;
use crate::link::orders::Order;
use crate::link::uplink::{ParentMessage, Uplink};

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

    /// Whether the decision on that transaction has arrived.
    pub fn is_decided(&self, transaction: u32) -> bool {
        self.orders.borrow().iter().any(|order| order.decides(transaction))
    }

    /// Blocks this thread until the parent decides on the transaction: no task runs, and what clients send waits in
    /// the kernel. True: commit.
    pub fn await_decision(&self, transaction: u32, mut deliver: impl FnMut(ParentMessage<'_>)) -> bool {
        let Some(uplink) = self.uplink.get() else { return false };
        loop {
            let decision = {
                let mut orders = self.orders.borrow_mut();
                let at = orders.iter().position(|order| order.decides(transaction));
                at.and_then(|at| orders.remove(at))
            };
            if let Some(order) = decision {
                return matches!(order, Order::Commit(_));
            }
            // A failed link ends the worker: its task finds out next.
            if uplink.wait(&mut deliver).is_err() {
                return false;
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
