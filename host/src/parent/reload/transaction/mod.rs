//! One transaction over all workers that serve: Load, Prepare, then Commit or Abort everywhere. The decision is the
//! moment when the candidate becomes the plan: a worker that dies later is followed by one that loads the candidate.

use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use tokio::time::Instant;

use super::ballot::{Ballot, Ballots, Failure};
use super::candidate::{Candidate, Plans};
use crate::link::orders::{Done, Order};
use crate::link::{self, Tag};
use crate::parent::deadline::Deadline;
use crate::parent::shutdown::Shutdown;
use crate::parent::workers::Workers;

/// Time for the workers to report that they use the new code, which cannot be undone, at the least.
const LAST_REPLIES: Duration = Duration::from_secs(1);

/// A transaction.
pub struct Transaction<'p> {
    pub workers: &'p Workers,
    pub plans: &'p Plans,
    pub ballots: &'p Ballots,
    pub shutdown: &'p Shutdown,
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
        let workers = self.workers.serving();
        if workers.is_empty() || self.shutdown.has_begun() {
            bail!("no worker serves now; ask again when one does");
        }
        let prepared = tokio::select! {
            prepared = self.prepare(&mut ballot, &workers, candidate) => prepared,
            // A worker that has prepared waits for the decision and cannot drain.
            () = self.shutdown.begun() => Err(anyhow!("the server stops")),
        };
        if let Err(error) = prepared {
            self.order(&workers, &Order::Abort(ballot.number))?;
            return Err(error);
        }
        self.plans.commit(candidate);
        self.order(&workers, &Order::Commit(ballot.number))?;
        let until = self.deadline.at.max(Instant::now() + LAST_REPLIES);
        Ok(ballot.outcomes(&workers, until).await)
    }

    async fn prepare(&self, ballot: &mut Ballot<'_>, workers: &[usize], candidate: &Candidate) -> Result<()> {
        let number = ballot.number;
        for (order, what) in [
            (Order::Load(number, candidate.plan.clone()), "had not loaded the new code"),
            (Order::Prepare(number), "had not run its hooks"),
        ] {
            self.order(workers, &order)?;
            let done = ballot.all_done(workers, self.deadline.at).await;
            done.map_err(|failure| self.explain(failure, what))?;
        }
        Ok(())
    }

    fn order(&self, workers: &[usize], order: &Order) -> Result<()> {
        let json = serde_json::to_vec(order).context("an order to the workers cannot be encoded")?;
        if json.len() > link::TEXT_MAX {
            bail!(
                "plugins' settings and routes are too long for a reload ({} bytes as JSON); restart",
                json.len()
            );
        }
        self.workers.send(workers, &link::message(Tag::Order, &json));
        Ok(())
    }

    /// `what` says what a late worker had not done.
    fn explain(&self, failure: Failure, what: &str) -> Error {
        let Failure::TimedOut { worker } = failure else { return anyhow!("{failure}") };
        let running = self.workers.score(worker).running();
        let stalled_for = self.workers.slots()[worker].stalled_for();
        let blame = match (running, stalled_for) {
            (Some(running), _) => format!("; it is in {}", running.label),
            (None, Some(time)) => format!("; it has not run its event loop for {time:.1?}"),
            (None, None) => String::new(),
        };
        anyhow!("worker {worker} {what} {}{blame}", self.deadline.within())
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::time::sleep;

    use super::*;
    use crate::config::plan::Plan;
    use crate::link::Decoder;
    use crate::link::inventory::Inventory;
    use crate::parent::relay::Queue;
    use crate::parent::reload::Vote;
    use crate::parent::shutdown::StopReason;

    const SECOND: Duration = Duration::from_secs(1);

    /// Two workers that serve and one that does not, without their processes.
    struct Server {
        workers: Workers,
        plans: Plans,
        ballots: Ballots,
        shutdown: Shutdown,
        queues: [Rc<Queue>; 2],
    }

    impl Server {
        fn new() -> Self {
            let workers = Workers::new(3).expect("shared memory");
            let queues = [0, 2].map(|index| {
                let queue = Rc::new(Queue::default());
                workers.slots()[index].begin_serving(Rc::new(Inventory::default()), queue.clone());
                queue
            });
            let (ballots, shutdown) = (Ballots::default(), Shutdown::default());
            Self { workers, plans: Plans::new(Plan::default()), ballots, shutdown, queues }
        }

        async fn reload(&self) -> Result<Vec<Done>, String> {
            let Self { workers, plans, ballots, shutdown, .. } = self;
            let deadline = Deadline::after(SECOND);
            let transaction = Transaction { workers, plans, ballots, shutdown, deadline };
            let candidate = Candidate { reloaded: vec![("chat".to_owned(), 2)], ..Candidate::default() };
            transaction.run(&candidate).await.map_err(|error| error.to_string())
        }

        /// Every worker's votes, one a step.
        async fn vote(&self, votes: [Vec<Vote>; 2]) {
            let mut votes = votes.map(Vec::into_iter);
            for _ in 0..3 {
                sleep(SECOND / 10).await;
                for (worker, votes) in [0, 2].into_iter().zip(&mut votes) {
                    if let Some(vote) = votes.next() {
                        self.ballots.cast(1, worker, vote);
                    }
                }
            }
        }

        /// The orders that each worker got, which are the same for all.
        fn orders(&self) -> Vec<String> {
            let [first, second] = [0, 1].map(|index| {
                let mut decoder = Decoder::new(0);
                decoder.buffer.extend_from_slice(&self.queues[index].bytes());
                let mut orders = Vec::new();
                while let Some((tag, json)) = decoder.take().expect("messages of the link") {
                    assert_eq!(tag, Tag::Order);
                    let order: Order = serde_json::from_slice(&json).expect("an order");
                    orders.push(format!("{order:?}").split('(').next().unwrap_or_default().to_owned());
                }
                orders
            });
            assert_eq!(first, second);
            first
        }
    }

    fn done() -> Vote {
        Vote::Done(Done { connections: 5, ..Done::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn all_workers_that_serve_commit_together() {
        let server = Server::new();
        let votes = [vec![done(), done(), done()], vec![done(), done(), done()]];
        let (outcomes, ()) = tokio::join!(server.reload(), server.vote(votes));
        assert_eq!(outcomes.map(|done| done.len()), Ok(2));
        assert_eq!(server.orders(), ["Load", "Prepare", "Commit"]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_worker_that_rejects_makes_all_abort() {
        let server = Server::new();
        let plan = server.plans.current();
        let votes = [vec![done(), done()], vec![done(), Vote::Rejected("no such handler".to_owned())]];
        let (outcomes, ()) = tokio::join!(server.reload(), server.vote(votes));
        assert_eq!(outcomes.map(drop), Err("worker 2: no such handler".to_owned()));
        assert_eq!(server.orders(), ["Load", "Prepare", "Abort"]);
        assert!(Rc::ptr_eq(&plan, &server.plans.current()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_dies_or_takes_too_long_before_the_decision_makes_all_abort() {
        let server = Server::new();
        let (outcomes, ()) = tokio::join!(server.reload(), server.vote([vec![Vote::Died], vec![done()]]));
        let error = "worker 0 died meanwhile; the server's log says how";
        assert_eq!(outcomes.map(drop), Err(error.to_owned()));
        assert_eq!(server.orders(), ["Load", "Abort"]);

        let server = Server::new();
        let (outcomes, ()) = tokio::join!(server.reload(), server.vote([vec![done()], vec![]]));
        let error = "worker 2 had not loaded the new code within 1s (--reload-timeout)";
        assert_eq!(outcomes.map(drop), Err(error.to_owned()));
        assert_eq!(server.orders(), ["Load", "Abort"]);
    }

    #[tokio::test(start_paused = true)]
    async fn all_steps_share_one_deadline() {
        let server = Server::new();
        let late = async {
            for _ in 0..2 {
                sleep(SECOND * 6 / 10).await;
                for worker in [0, 2] {
                    server.ballots.cast(1, worker, done());
                }
            }
        };
        let (outcomes, ()) = tokio::join!(server.reload(), late);
        let error = "worker 0 had not run its hooks within 1s (--reload-timeout)";
        assert_eq!(outcomes.map(drop), Err(error.to_owned()));
        assert_eq!(server.orders(), ["Load", "Prepare", "Abort"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_dies_after_the_decision_changes_nothing() {
        let server = Server::new();
        let plan = server.plans.current();
        let votes = [vec![done(), done(), Vote::Died], vec![done(), done(), done()]];
        let (outcomes, ()) = tokio::join!(server.reload(), server.vote(votes));
        assert_eq!(outcomes.map(|done| done.len()), Ok(1));
        assert!(!Rc::ptr_eq(&plan, &server.plans.current()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stops_aborts() {
        let server = Server::new();
        let stop = async {
            sleep(SECOND / 2).await;
            let reason = StopReason::Requested;
            server.shutdown.run(reason, &Workers::new(1).expect("shared memory"), SECOND, sleep(SECOND)).await
        };
        let (outcomes, stopped) = tokio::join!(server.reload(), stop);
        stopped.expect("no worker runs");
        assert_eq!(outcomes.map(drop), Err("the server stops".to_owned()));
        assert_eq!(server.orders(), ["Load", "Abort"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_starts_is_waited_for_and_makes_the_reload_fail_if_it_does_not_serve() {
        let server = Server::new();
        server.workers.slots()[1].is_starting.set(true);
        let error = "a worker had not started within 1s (--reload-timeout); ask again when it serves";
        assert_eq!(server.reload().await.map(drop), Err(error.to_owned()));
        assert_eq!(server.orders(), [""; 0]);
    }
}
