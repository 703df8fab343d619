//! The votes of the workers in a reload: every worker carries out an order, rejects it, dies, or takes too long. Votes
//! are accepted only for the transaction in progress, and count only for its last order. While a ballot is open, no
//! worker starts.

use std::cell::{Cell, RefCell};
use std::fmt;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::link::orders::Done;
use crate::system::sanitize::sanitize;

/// What a worker did about an order.
#[derive(Debug)]
pub enum Vote {
    Done(Done),
    Rejected(String),
    Died,
}

/// The transaction in progress, if there is one.
#[derive(Debug, Default)]
pub struct Ballots {
    open: RefCell<Option<OpenBallot>>,
    last_number: Cell<u32>,
    closed: Notify,
}

#[derive(Debug)]
struct OpenBallot {
    number: u32,
    votes: mpsc::UnboundedSender<Cast>,
}

/// A vote that has arrived.
#[derive(Debug)]
struct Cast {
    worker: usize,
    /// Number of the order. None: the worker has died, which counts for every order.
    step: Option<u32>,
    vote: Vote,
}

/// The votes of one transaction. Dropping it closes the ballot.
#[derive(Debug)]
pub struct Ballot<'b> {
    ballots: &'b Ballots,
    pub number: u32,
    /// Number of the last order.
    step: u32,
    votes: mpsc::UnboundedReceiver<Cast>,
}

/// Why a reload is rejected: the first worker that did not carry out an order.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    Rejected { worker: usize, reason: String },
    Died { worker: usize },
    TimedOut { worker: usize },
}

impl Ballots {
    /// Opens the ballot of the next transaction.
    pub fn open(&self) -> Ballot<'_> {
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        let (sender, votes) = mpsc::unbounded_channel();
        self.open.replace(Some(OpenBallot { number, votes: sender }));
        Ballot { ballots: self, number, step: 0, votes }
    }

    /// A worker votes on an order of the transaction of that number. The vote is stale if that transaction has ended,
    /// or has gone on to another order.
    pub fn cast(&self, number: u32, step: u32, worker: usize, vote: Vote) {
        if let Some(ballot) = self.open.borrow().as_ref().filter(|ballot| ballot.number == number) {
            let _ = ballot.votes.send(Cast { worker, step: Some(step), vote });
        }
    }

    /// A worker has died, whatever it was doing.
    pub fn record_death(&self, worker: usize) {
        if let Some(ballot) = &*self.open.borrow() {
            let _ = ballot.votes.send(Cast { worker, step: None, vote: Vote::Died });
        }
    }

    /// Waits until no ballot is open.
    pub async fn none_open(&self) {
        while self.open.borrow().is_some() {
            self.closed.notified().await;
        }
    }
}

impl Ballot<'_> {
    /// The number of the next order. Votes on earlier ones do not count any more.
    pub fn next_step(&mut self) -> u32 {
        self.step += 1;
        self.step
    }

    /// Waits until all of these workers have carried out the last order. Err: one has not.
    pub async fn all_done(&mut self, workers: &[usize], deadline: Instant) -> Result<(), Failure> {
        let mut missing = workers.to_vec();
        while !missing.is_empty() {
            self.one_done(&mut missing, deadline).await?;
        }
        Ok(())
    }

    /// Waits until one of the missing workers has carried out the last order, and removes it. Err: one has not.
    pub async fn one_done(&mut self, missing: &mut Vec<usize>, deadline: Instant) -> Result<(), Failure> {
        let Some(&worker) = missing.first() else { return Ok(()) };
        match self.vote(deadline).await {
            Some((voter, Vote::Done(_))) => missing.retain(|other| *other != voter),
            Some((worker, Vote::Rejected(reason))) => return Err(Failure::Rejected { worker, reason }),
            Some((worker, Vote::Died)) => return Err(Failure::Died { worker }),
            None => return Err(Failure::TimedOut { worker }),
        }
        Ok(())
    }

    /// Collects the outcomes of an order that cannot be undone. A worker that dies or takes too long has none.
    pub async fn outcomes(&mut self, workers: &[usize], deadline: Instant) -> Vec<Done> {
        let (mut missing, mut outcomes) = (workers.to_vec(), Vec::new());
        while let [worker, ..] = missing[..] {
            let Some((voter, vote)) = self.vote(deadline).await else {
                log::warn!("worker {worker} has not said that it uses the new code");
                break;
            };
            missing.retain(|other| *other != voter);
            if let Vote::Done(outcome) = vote {
                outcomes.push(outcome);
            }
        }
        outcomes
    }

    /// The next vote on the last order, and whose it is. None: there was none in time.
    async fn vote(&mut self, deadline: Instant) -> Option<(usize, Vote)> {
        loop {
            let Cast { worker, step, vote } = timeout_at(deadline, self.votes.recv()).await.ok()??;
            if step.is_none_or(|step| step == self.step) {
                return Some((worker, vote));
            }
        }
    }
}

impl Drop for Ballot<'_> {
    fn drop(&mut self) {
        self.ballots.open.take();
        self.ballots.closed.notify_waiters();
    }
}

/// For the operator. The transaction explains [`Failure::TimedOut`]: the step, the limit, and what the worker does.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected { worker, reason } => write!(f, "worker {worker}: {}", sanitize(reason)),
            Self::Died { worker } => write!(f, "worker {worker} died meanwhile; the server's log says how"),
            Self::TimedOut { worker } => write!(f, "worker {worker} was not ready"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    fn done(connections: usize) -> Vote {
        Vote::Done(Done { connections, ..Done::default() })
    }

    fn rejected() -> Vote {
        Vote::Rejected("no".to_owned())
    }

    fn deadline() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    /// The ballot of the next transaction, whose first order is number 1.
    fn open(ballots: &Ballots) -> Ballot<'_> {
        let mut ballot = ballots.open();
        assert_eq!(ballot.next_step(), 1);
        ballot
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_is_done_when_all_workers_have_carried_it_out() {
        let ballots = Ballots::default();
        let mut ballot = open(&ballots);
        ballots.cast(ballot.number, 1, 3, done(0));
        ballots.cast(ballot.number, 1, 1, done(0));
        assert_eq!(ballot.all_done(&[1, 3], deadline()).await, Ok(()));
        assert_eq!(ballot.all_done(&[], deadline()).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn one_worker_that_rejects_or_dies_decides_at_once() {
        let ballots = Ballots::default();
        let mut ballot = open(&ballots);
        ballots.cast(ballot.number, 1, 1, done(0));
        ballots.cast(ballot.number, 1, 0, Vote::Rejected("no\u{7}".to_owned()));
        let failure = ballot.all_done(&[0, 1, 2], deadline()).await.expect_err("worker 0 rejects");
        assert_eq!(failure.to_string(), "worker 0: no\u{fffd}");
        ballots.record_death(2);
        let failure = ballot.all_done(&[0, 1, 2], deadline()).await.expect_err("worker 2 died");
        assert_eq!(failure, Failure::Died { worker: 2 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_does_not_vote_is_named_at_the_deadline() {
        let ballots = Ballots::default();
        let mut ballot = open(&ballots);
        ballots.cast(ballot.number, 1, 0, done(0));
        let begun = Instant::now();
        let failure = ballot.all_done(&[0, 1, 2], deadline()).await;
        assert_eq!(failure, Err(Failure::TimedOut { worker: 1 }));
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn outcomes_are_those_of_the_workers_that_live_and_answer_in_time() {
        let ballots = Ballots::default();
        let mut ballot = open(&ballots);
        ballots.cast(ballot.number, 1, 0, done(5));
        ballots.record_death(1);
        ballots.cast(ballot.number, 1, 2, rejected());
        ballots.cast(ballot.number, 1, 3, done(7));
        let outcomes = ballot.outcomes(&[0, 1, 2, 3, 4], deadline()).await;
        assert_eq!(outcomes.iter().map(|done| done.connections).collect::<Vec<_>>(), [5, 7]);
    }

    #[tokio::test(start_paused = true)]
    async fn stale_votes_do_not_count() {
        let ballots = Ballots::default();
        ballots.cast(1, 1, 0, rejected());
        let first = ballots.open().number;
        let mut second = open(&ballots);
        assert_ne!(first, second.number);
        ballots.cast(first, 1, 0, rejected());
        ballots.cast(second.number, 1, 0, done(0));
        assert_eq!(second.all_done(&[0], deadline()).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_vote_on_an_earlier_order_does_not_count_and_a_death_does() {
        let ballots = Ballots::default();
        let mut ballot = open(&ballots);
        assert_eq!(ballot.next_step(), 2);
        ballots.cast(ballot.number, 1, 0, done(0));
        ballots.cast(ballot.number, 1, 1, rejected());
        let failure = ballot.all_done(&[0], deadline()).await;
        assert_eq!(failure, Err(Failure::TimedOut { worker: 0 }));
        ballots.record_death(0);
        assert_eq!(ballot.all_done(&[0], deadline()).await, Err(Failure::Died { worker: 0 }));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_worker_waits_until_the_ballot_is_closed() {
        let ballots = Ballots::default();
        ballots.none_open().await;
        let ballot = ballots.open();
        timeout(Duration::from_secs(60), ballots.none_open()).await.expect_err("a ballot is open");
        let closes = async {
            sleep(Duration::from_secs(1)).await;
            drop(ballot);
        };
        tokio::join!(ballots.none_open(), closes);
    }
}
