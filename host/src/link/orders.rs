//! The steps of a reload: what the parent orders, and what a worker replies.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::inventory::Inventory;
use crate::config::plan::Plan;

/// An order of the parent in a reload.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// Number of the reload.
    pub transaction: u32,
    /// Number of the order, unique in its transaction.
    pub step: u32,
    pub action: Action,
}

/// What a worker has to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum Action {
    /// Look up in the files of this plan, which has no certificates, the names that its routes and live clients use.
    /// Nothing is loaded.
    Check(Plan),
    /// Load the new generations of this plan, resolve the names of its routes, and read its certificates. Clients are
    /// served meanwhile.
    Load(Plan),
    /// Reply as soon as no callback runs. Clients are served meanwhile.
    Ready,
    /// Serve no client until the next order.
    Pause,
    /// Serve clients again. The new generations stay loaded.
    Resume,
    /// While paused: have the new generations restore every connection's state.
    Prepare,
    /// Switch to the new generations and continue.
    Commit,
    /// Drop the new generations and continue as before.
    Abort,
}

/// A worker's reply to an order. There is none to [`Action::Resume`] and [`Action::Abort`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// As in the order.
    pub transaction: u32,
    /// As in the order.
    pub step: u32,
    /// Err: the reload is rejected, and why; nothing has changed.
    pub outcome: Result<Done, String>,
}

/// The outcome of an order that was carried out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// Connections that stayed open, after [`Action::Commit`].
    pub connections: usize,
    /// The longest time for which the worker served no client, after [`Action::Commit`].
    pub paused: Duration,
    /// What the worker has loaded now, after [`Action::Commit`].
    pub loaded: Option<Inventory>,
}
