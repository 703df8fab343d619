//! The worker's part in a reload. Orders of the parent enter, replies leave: load the new generations beside the old
//! ones; prepare them, which carries the plugins' state over; then commit or roll back, as the parent decides.
//!
//! The parent decides which plugins to reload, when, and whether a reload commits.
//!
//! Invariant: until the commit nothing changes that a client or an old generation could notice.

mod initial; // the plugins that a process starts with

mod candidate; // new generations: load, prepare

mod transfer; // the state of connections, from the old generations to the new

mod finish; // commit or roll back

use std::time::Instant;

use anyhow::{Error, anyhow};

use super::loaded;
use crate::link::Tag;
use crate::link::orders::{Done, Order, Reply};
use crate::worker::Worker;
use candidate::Candidate;

pub use initial::{load_initial, load_initial_plugins};

/// Bytes of a plugin's reason that a reply contains. A plugin may quote all of a state.
const REASON_MAX: usize = 16 * 1024;

/// Carries out the parent's orders for as long as the worker runs.
pub async fn follow(worker: &'static Worker) {
    let mut candidate: Option<Candidate> = None;
    loop {
        match worker.parent.next_order().await {
            // The parent gave up on the transaction while the worker was busy; its decision is the next order.
            Order::Load(number, _) | Order::Prepare(number) if worker.parent.is_decided(number) => {}
            Order::Load(number, plan) => {
                candidate.take().into_iter().for_each(|old| old.roll_back(worker));
                match Candidate::load(worker, number, &plan) {
                    Ok(loaded) => {
                        candidate = Some(loaded);
                        reply(worker, &Reply::Done(number, Done::default()));
                    }
                    Err(error) => reject(worker, number, &error),
                }
            }
            Order::Prepare(number) => match candidate.take_if(|candidate| candidate.transaction == number) {
                Some(candidate) => prepare(worker, candidate),
                None => reject(worker, number, &anyhow!("the worker has loaded nothing for this reload")),
            },
            Order::Abort(number) | Order::Commit(number) => {
                let decided = candidate.take_if(|candidate| candidate.transaction == number);
                decided.into_iter().for_each(|candidate| candidate.roll_back(worker));
            }
        }
    }
}

/// Prepares, then commits or rolls back as the parent decides. Blocks the thread, so that no client is served
/// meanwhile.
fn prepare(worker: &'static Worker, mut candidate: Candidate) {
    let (number, begun) = (candidate.transaction, Instant::now());
    if let Err(error) = candidate.prepare(worker) {
        candidate.roll_back(worker);
        return reject(worker, number, &error);
    }
    reply(worker, &Reply::Done(number, Done::default()));
    if !worker.parent.await_decision(number, |message| worker.receive(message)) {
        return candidate.roll_back(worker);
    }
    candidate.commit(worker);
    let (connections, loaded) = (worker.hub.len(), Some(loaded(worker)));
    reply(worker, &Reply::Done(number, Done { connections, paused: begun.elapsed(), loaded }));
}

fn reject(worker: &Worker, number: u32, error: &Error) {
    let mut reason = format!("{error:#}");
    if reason.len() > REASON_MAX {
        reason = format!("{}…", String::from_utf8_lossy(&reason.as_bytes()[..REASON_MAX]));
    }
    reply(worker, &Reply::Rejected(number, reason));
}

fn reply(worker: &Worker, reply: &Reply) {
    match serde_json::to_vec(reply) {
        Ok(json) => worker.send_to_parent(Tag::Reply, &json),
        Err(error) => log::error!("cannot reply to the parent: {error}"),
    }
}
