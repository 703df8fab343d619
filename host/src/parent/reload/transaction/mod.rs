//! One transaction over all workers that serve: Check, Load, Ready, Pause, Prepare, then Commit or Abort everywhere. The
//! decision is the moment when the candidate becomes the plan: a worker that dies later is followed by one that loads the
//! candidate.
//!
//! Invariant: no worker pauses before all workers are ready to, and none waits long for the others while it is paused.

use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use bytes::Bytes;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::ballot::{Ballot, Ballots, Failure};
use super::candidate::{Candidate, Plans};
use crate::link::orders::{Action, Done, Order};
use crate::link::{self, Tag};
use crate::parent::deadline::Deadline;
use crate::parent::listeners::{Listeners, NextListeners};
use crate::parent::shutdown::Shutdown;
use crate::parent::workers::Workers;
use crate::system::pool::Pool;

/// Time for all workers to say that they are ready. If it takes longer, the first is asked again.
const READY_FOR: Duration = Duration::from_millis(50);
/// Most rounds of Ready before a pause is tried, for a server whose callbacks are never short.
const READY_ROUNDS: usize = 5;
/// Time for which paused workers wait for the last one to pause, in the first try.
const PAUSE_WAIT: Duration = Duration::from_millis(100);
/// The same in later tries.
const PAUSE_WAIT_MAX: Duration = Duration::from_millis(400);
/// Between two tries clients are served for this many times as long as they had to wait.
const SERVED_BETWEEN: u32 = 5;
/// Time for which workers that have prepared wait for the others, whose hooks still run.
const HOOKS_WAIT: Duration = Duration::from_secs(1);
/// Added for each client of the largest worker, whose state its hooks carry over.
const HOOKS_WAIT_PER_CLIENT: Duration = Duration::from_micros(20);
/// Time for the workers to report that they use the new code, which cannot be undone, at the least.
const LAST_REPLIES: Duration = Duration::from_secs(1);

/// Why a reload is rejected that begins or runs while the server drains.
pub const SERVER_STOPS: &str = "the server stops";

/// Routes of a plan that the event loop encodes by itself, in about a millisecond.
const ROUTES_ENCODED_HERE: usize = 1000;

/// A transaction.
pub struct Transaction<'p> {
    pub workers: &'p Workers,
    pub plans: &'p Plans,
    pub listeners: &'p Listeners,
    pub ballots: &'p Ballots,
    pub shutdown: &'p Shutdown,
    /// Called with the decision, while all workers are paused.
    pub decided: &'p dyn Fn(),
    /// Of the decision.
    pub deadline: Deadline,
}

impl Transaction<'_> {
    /// Has all workers use the candidate, or none. Returns the outcome of each worker that committed.
    pub async fn run(&self, candidate: &Candidate) -> Result<Vec<Done>> {
        // From here on no worker starts.
        let mut ballot = self.ballots.open();
        if self.deadline.bound(self.workers.none_starting()).await.is_none() {
            bail!("a worker had not started {}; ask again when it serves", self.deadline.within());
        }
        if self.shutdown.has_begun() {
            bail!(SERVER_STOPS);
        }
        let workers = self.workers.serving();
        if workers.is_empty() {
            bail!("no worker serves now; ask again when one does");
        }
        let prepared = tokio::select! {
            biased;
            // A worker that has prepared waits for the decision and cannot drain.
            () = self.shutdown.begun() => Err(anyhow!(SERVER_STOPS)),
            prepared = self.prepare(&mut ballot, &workers, candidate) => prepared,
        };
        // From here on clients wait for the workers. The last moment at which a socket can turn out to be unusable.
        let listen = |()| candidate.listeners.borrow().as_ref().map_or(Ok(()), NextListeners::listen);
        if let Err(error) = prepared.and_then(listen) {
            self.order(&mut ballot, &workers, Action::Abort)?;
            return Err(error);
        }
        self.plans.commit(candidate);
        (self.decided)();
        let listeners = candidate.listeners.take().map(|next| self.listeners.commit(next));
        candidate.listening.replace(listeners.unwrap_or_default());
        self.order(&mut ballot, &workers, Action::Commit)?;
        let until = self.deadline.at.max(Instant::now() + LAST_REPLIES);
        Ok(ballot.outcomes(&workers, until).await)
    }

    async fn prepare(&self, ballot: &mut Ballot<'_>, workers: &[usize], candidate: &Candidate) -> Result<()> {
        // All workers, before any of them loads what another one rejects.
        let check = Action::Check(candidate.plan.without_listeners());
        self.step(ballot, workers, check, "had not looked up the names in the new code").await?;
        self.send_sockets(ballot.number, workers, candidate)?;
        candidate.is_loaded.set(true);
        let load = Action::Load(candidate.plan.clone());
        self.step(ballot, workers, load, "had not loaded the new code").await?;
        self.pause(ballot, workers).await?;
        self.run_hooks(ballot, workers).await
    }

    /// Hands the new listening sockets to the workers, which need them for the next order.
    fn send_sockets(&self, transaction: u32, workers: &[usize], candidate: &Candidate) -> Result<()> {
        let listeners = candidate.listeners.borrow();
        let sockets = listeners.as_ref().map(NextListeners::descriptors).unwrap_or_default();
        if sockets.is_empty() {
            return Ok(());
        }
        workers.iter().try_for_each(|&worker| {
            let sent = self.workers.slots()[worker].send_descriptors(transaction, &sockets);
            sent.with_context(|| format!("worker {worker} cannot get the new listening sockets"))
        })
    }

    /// Has all workers pause at nearly the same time. If one has begun a long callback meanwhile, the others continue,
    /// and the next try begins when it has returned.
    async fn pause(&self, ballot: &mut Ballot<'_>, workers: &[usize]) -> Result<()> {
        let mut wait = PAUSE_WAIT;
        for tries in 1.. {
            self.ready(ballot, workers).await?;
            self.order(ballot, workers, Action::Pause)?;
            let until = self.deadline.at.min(Instant::now() + wait);
            let failure = match ballot.all_done(workers, until).await {
                Ok(()) => break,
                Err(failure) => failure,
            };
            let last = format!("was too busy to pause {}, tries: {tries}", self.deadline.within());
            if !matches!(failure, Failure::TimedOut { .. }) || self.deadline.is_over() {
                return Err(self.explain(failure, &last));
            }
            self.order(ballot, workers, Action::Resume)?;
            tokio::time::sleep((wait * SERVED_BETWEEN).min(self.deadline.remaining())).await;
            if self.deadline.is_over() {
                return Err(self.explain(failure, &last));
            }
            wait = PAUSE_WAIT_MAX.min(wait * 2);
        }
        Ok(())
    }

    /// Waits until no worker is in a callback.
    async fn ready(&self, ballot: &mut Ballot<'_>, workers: &[usize]) -> Result<()> {
        for _ in 0..READY_ROUNDS {
            let asked = Instant::now();
            self.step(ballot, workers, Action::Ready, "was not ready to pause").await?;
            // The first to answer may be in a long callback by now.
            if asked.elapsed() <= READY_FOR {
                break;
            }
        }
        Ok(())
    }

    /// Has the paused workers run the hooks of the new code. All of them need about the same time, so that one which
    /// takes much longer rejects the reload.
    async fn run_hooks(&self, ballot: &mut Ballot<'_>, workers: &[usize]) -> Result<()> {
        const WHAT: &str = "had not run the hooks of the new code";
        self.order(ballot, workers, Action::Prepare)?;
        let (begun, mut missing) = (Instant::now(), workers.to_vec());
        let first = ballot.one_done(&mut missing, self.deadline.at).await;
        first.map_err(|failure| self.explain(failure, &format!("{WHAT} {}", self.deadline.within())))?;
        let clients = workers.iter().map(|&index| self.workers.score(index).clients()).max().unwrap_or(0);
        let for_clients = HOOKS_WAIT_PER_CLIENT.saturating_mul(u32::try_from(clients).unwrap_or(u32::MAX));
        // Hooks that need one lock run one after the other.
        let all = begun.elapsed().saturating_mul(u32::try_from(workers.len()).unwrap_or(u32::MAX));
        let wait = HOOKS_WAIT.saturating_add(for_clients).max(all).min(self.deadline.at - begun);
        let done = ballot.all_done(&missing, begun + wait).await;
        done.map_err(|failure| {
            self.explain(failure, &format!("{WHAT} within {wait:.1?}, and the other workers waited for it"))
        })
    }

    /// Has all workers carry out an order. `what` says what a late worker had not done.
    async fn step(
        &self,
        ballot: &mut Ballot<'_>,
        workers: &[usize],
        action: Action,
        what: &str,
    ) -> Result<()> {
        let routes = match &action {
            Action::Check(plan) | Action::Load(plan) => plan.routes.len(),
            _ => 0,
        };
        let order = next_order(ballot, action);
        let message = match routes > ROUTES_ENCODED_HERE {
            true => Pool::new("plan", 1).call(move || encode(&order)).await?,
            false => encode(&order)?,
        };
        self.workers.send(workers, &message);
        let done = ballot.all_done(workers, self.deadline.at).await;
        done.map_err(|failure| self.explain(failure, &format!("{what} {}", self.deadline.within())))
    }

    fn order(&self, ballot: &mut Ballot<'_>, workers: &[usize], action: Action) -> Result<()> {
        self.workers.send(workers, &encode(&next_order(ballot, action))?);
        Ok(())
    }

    /// `late` says what a worker that timed out had not done, and when.
    fn explain(&self, failure: Failure, late: &str) -> Error {
        let Failure::TimedOut { worker } = failure else { return anyhow!("{failure}") };
        let running = self.workers.score(worker).running();
        let stalled_for = self.workers.slots()[worker].stalled_for();
        let blame = match (running, stalled_for) {
            (Some(running), _) => format!("; it is in {}", running.label),
            (None, Some(time)) => format!("; it has not run its event loop for {time:.1?}"),
            (None, None) => String::new(),
        };
        anyhow!("worker {worker} {late}{blame}")
    }
}

fn next_order(ballot: &mut Ballot<'_>, action: Action) -> Order {
    Order { transaction: ballot.number, step: ballot.next_step(), action }
}

fn encode(order: &Order) -> Result<Bytes> {
    // It may have private keys.
    let json = serde_json::to_vec(order).context("an order to the workers cannot be encoded")?;
    let json = Zeroizing::new(json);
    if json.len() > link::TEXT_MAX {
        bail!(
            "plugins' settings and routes are too long for a reload ({} bytes as JSON); restart",
            json.len()
        );
    }
    Ok(link::secret_message(Tag::Order, &json))
}

#[cfg(test)]
mod tests;
