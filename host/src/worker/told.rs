//! What the parent says to a worker, and what it is answered.

use super::Worker;
use crate::link::Tag;
use crate::link::orders::Order;
use crate::link::post::Post;
use crate::link::uplink::{Event, Uplink};

impl Worker {
    /// The parent's next word on a reload.
    pub async fn next_order(&self) -> Order {
        loop {
            let order = self.orders.borrow_mut().pop_front();
            match order {
                Some(order) => return order,
                None => self.ordered.notified().await,
            }
        }
    }

    /// Whether the parent has decided on that reload, and the word of it waits.
    pub fn is_decided(&self, transaction: u32) -> bool {
        self.orders.borrow().iter().any(|order| order.decides(transaction))
    }

    /// Stands still until the parent has decided on the reload that waits: nothing else runs on this thread, and
    /// what clients send waits in the kernel. True: it is to be.
    pub fn stand_still(&self, transaction: u32) -> bool {
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
            // A link that has failed ends the worker.
            if uplink.wait(|event| self.heard(event)).is_err() {
                return false;
            }
        }
    }

    /// Answers the parent.
    pub fn reply(&self, tag: Tag, payload: &[u8]) {
        if let Some(uplink) = self.uplink.get() {
            uplink.send(tag, payload, |event| self.heard(event));
        }
    }

    /// Has GLOBAL reach other workers too.
    pub fn connect(&'static self, uplink: Uplink) -> &'static Uplink {
        self.uplink.get_or_init(|| uplink)
    }

    /// Something came from the parent.
    pub fn heard(&self, event: Event) {
        match event {
            Event::Broadcast(frame) => self.send_to_all(None, frame),
            Event::Post(payload) => {
                Post::parse(&payload).into_iter().for_each(|post| self.posts.arrived(post))
            }
            Event::Drain => self.drain_wanted.notify_one(),
            Event::Order(order) => {
                self.orders.borrow_mut().push_back(order);
                self.ordered.notify_one();
            }
        }
    }

    /// Waits until the parent wants the worker to end.
    pub async fn told_to_drain(&self) {
        self.drain_wanted.notified().await;
    }
}
