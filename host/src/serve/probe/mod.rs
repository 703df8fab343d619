//! A probe: a short-lived process that loads plugins as a worker would, runs their onload hooks and resolves the
//! routes. A library that crashes or hangs while it is loaded takes only the probe with it. A [`Trial`] enters, an
//! inventory or a reason leaves; the caller decides what to do about it.
//!
//! Invariant: the probe is untrusted, because it runs code of plugins. Its answer is only shown.

mod run; // the asking process: starts the probe and reads its answer

mod report; // why a probe ended without an answer, in words

mod child; // the probe process

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::plan::PlannedPlugin;
use crate::config::route::Route;
use crate::system::sandbox::Confinement;

pub use child::run_probe;
pub use run::probe;

/// What a probe tries: plugins, in load order, and the routes of the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    pub plugins: Vec<PlannedPlugin>,
    /// Name and generation of the plugins that serve now, in a reload.
    pub serving: Vec<(String, u32)>,
    /// The routes; an empty list means the convention. None: the routes are unknown, and it is no error if the
    /// convention finds nothing to serve.
    pub routes: Option<Vec<Route>>,
    /// What the probe may do, which is what workers may. None: they are not confined.
    pub confinement: Option<Confinement>,
}

/// How long a trial may take.
#[derive(Clone, Debug)]
pub struct TimeLimit {
    pub left: Duration,
    /// For the message about a probe that hangs: `within 10s (--reload-timeout)`.
    pub within: String,
}

/// The first message to the probe process.
#[derive(Serialize, Deserialize)]
struct Request {
    /// Process id of the asking process.
    parent: u32,
    trial: Trial,
}
