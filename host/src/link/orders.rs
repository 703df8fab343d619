//! The steps of a reload: what the parent orders, and what a worker replies.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::inventory::Inventory;
use crate::config::plan::Plan;

/// An order of the parent in a reload. The number is the transaction's.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Load the new generations of this plan, and resolve the names of its routes. Clients are served meanwhile.
    Load(u32, Plan),
    /// Pause, and have the new generations restore every connection's state.
    Prepare(u32),
    /// Switch to the new generations and continue.
    Commit(u32),
    /// Drop the new generations and continue as before.
    Abort(u32),
}

/// A worker's reply to an order. There is none to [`Order::Abort`].
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The order was carried out.
    Done(u32, Done),
    /// The reload is rejected, and why; nothing has changed.
    Rejected(u32, String),
}

/// The outcome of an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// Connections that stayed open, after [`Order::Commit`].
    pub connections: usize,
    /// For how long the worker served no client.
    pub paused: Duration,
    /// What the worker has loaded now, after [`Order::Commit`].
    pub loaded: Option<Inventory>,
}

impl Order {
    /// Whether the order ends that transaction.
    pub fn decides(&self, transaction: u32) -> bool {
        matches!(self, Self::Commit(number) | Self::Abort(number) if *number == transaction)
    }
}
