//! The worker's part in a reload. Orders of the parent enter, replies leave: check the names in the new files; load the
//! new generations beside the old ones; pause; prepare the new generations, which carries the plugins' state over; then commit or roll back, as the
//! parent decides.
//!
//! The parent decides which plugins to reload, when, and whether a reload commits.
//!
//! Invariant: until the commit nothing changes that a client or an old generation could notice.

mod initial; // the plugins that a process starts with

mod candidate; // new generations: load, prepare

mod transfer; // the state of connections, from the old generations to the new

mod finish; // commit or roll back

use std::time::{Duration, Instant};

use anyhow::{Error, anyhow};

use super::listen::Acceptors;
use super::loaded;
use crate::link::Tag;
use crate::link::descriptors::Receiver;
use crate::link::orders::{Action, Done, Order, Reply};
use crate::worker::Worker;
use candidate::Candidate;

pub use initial::{load_initial, load_initial_plugins};

/// Time for which a worker that is ready to pause begins no callback.
const READY_FOR: Duration = Duration::from_millis(5);
/// Bytes of a plugin's reason that a reply contains. A plugin may quote all of a state.
const REASON_MAX: usize = 16 * 1024;

/// Carries out the parent's orders for as long as the worker runs.
pub async fn follow(worker: &'static Worker, acceptors: &'static Acceptors, sent: Receiver) {
    let mut candidate: Option<Candidate> = None;
    loop {
        let order = worker.parent.next_order().await;
        // While the worker was busy, the parent has stopped waiting for this one.
        if worker.parent.is_overtaken(&order) {
            continue;
        }
        let transaction = order.transaction;
        let is_loaded = candidate.as_ref().is_some_and(|candidate| candidate.transaction == transaction);
        match &order.action {
            Action::Check(plan) => match Candidate::check(worker, plan) {
                Ok(()) => reply(worker, &order, Ok(Done::default())),
                Err(error) => reject(worker, &order, &error),
            },
            Action::Load(plan) => {
                candidate.take().into_iter().for_each(|old| old.roll_back(worker));
                match Candidate::load(worker, acceptors, &sent, transaction, plan) {
                    Ok(loaded) => {
                        candidate = Some(loaded);
                        reply(worker, &order, Ok(Done::default()));
                    }
                    Err(error) => reject(worker, &order, &error),
                }
            }
            Action::Ready if is_loaded => {
                reply(worker, &order, Ok(Done::default()));
                // If all workers are ready, the next order comes now, and not behind the next long callback.
                worker.parent.linger(READY_FOR, |message| worker.receive(message));
            }
            Action::Pause if is_loaded => {
                candidate = candidate.take().and_then(|loaded| pause(worker, acceptors, loaded, &order));
            }
            Action::Ready | Action::Pause | Action::Prepare => {
                reject(worker, &order, &anyhow!("the worker has loaded nothing for this reload"));
            }
            Action::Abort | Action::Commit => {
                let mine = candidate.take_if(|candidate| candidate.transaction == transaction);
                mine.into_iter().for_each(|candidate| candidate.roll_back(worker));
                sent.discard();
            }
            Action::Resume => {}
        }
    }
}

/// Pauses, and does what the parent orders meanwhile. Blocks the thread, so that no client is served. Returns the
/// candidate if it may still be needed.
fn pause(
    worker: &'static Worker,
    acceptors: &Acceptors,
    mut candidate: Candidate,
    order: &Order,
) -> Option<Candidate> {
    let begun = Instant::now();
    reply(worker, order, Ok(Done::default()));
    loop {
        let next = worker.parent.await_order(candidate.transaction, |message| worker.receive(message));
        // A failed link ends the worker: its task finds out next.
        let Some(order) = next else {
            candidate.roll_back(worker);
            return None;
        };
        match order.action {
            Action::Resume => {
                candidate.paused = candidate.paused.max(begun.elapsed());
                return Some(candidate);
            }
            Action::Prepare if worker.parent.is_overtaken(&order) => {}
            Action::Prepare => match candidate.prepare(worker) {
                Ok(()) => reply(worker, &order, Ok(Done::default())),
                Err(error) => {
                    candidate.roll_back(worker);
                    reject(worker, &order, &error);
                    return None;
                }
            },
            Action::Commit => {
                let paused = candidate.paused;
                candidate.commit(worker, acceptors);
                let (connections, loaded) = (worker.hub.len(), Some(loaded(worker)));
                let paused = paused.max(begun.elapsed());
                reply(worker, &order, Ok(Done { connections, paused, loaded }));
                return None;
            }
            Action::Check(_) | Action::Load(_) | Action::Ready | Action::Pause | Action::Abort => {
                candidate.roll_back(worker);
                return None;
            }
        }
    }
}

fn reject(worker: &Worker, order: &Order, error: &Error) {
    let mut reason = format!("{error:#}");
    if reason.len() > REASON_MAX {
        reason = format!("{}…", String::from_utf8_lossy(&reason.as_bytes()[..REASON_MAX]));
    }
    reply(worker, order, Err(reason));
}

fn reply(worker: &Worker, &Order { transaction, step, .. }: &Order, outcome: Result<Done, String>) {
    match serde_json::to_vec(&Reply { transaction, step, outcome }) {
        Ok(json) => worker.send_to_parent(Tag::Reply, &json),
        Err(error) => log::error!("cannot reply to the parent: {error}"),
    }
}
