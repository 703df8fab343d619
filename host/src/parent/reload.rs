//! A reload as a transaction over all workers: copy, probe, load, prepare, and then commit or abort everywhere. A
//! refusal at any step leaves every worker with the code that it has.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Parent;
use crate::control::{Reloaded, Which};
use crate::link::orders::{Done, Order, Reply};
use crate::link::{self, Tag};
use crate::nearest::nearest;
use crate::plan::{Plan, PlannedPlugin};
use crate::probe::{self, Trial};
use crate::readable::readable;
use crate::settings::PluginSource;

/// What workers say in the transaction that goes on.
pub struct Ballot {
    number: u32,
    votes: mpsc::UnboundedSender<(usize, Vote)>,
}

enum Vote {
    Done(Done),
    Refused(String),
    Died,
}

/// What is to be loaded.
#[derive(Default)]
struct Next {
    plan: Plan,
    /// Copies that were made for it.
    new: Vec<PathBuf>,
    /// Name and new generation of what is new in it.
    loaded: Vec<(String, u32)>,
    /// Copies that the plan before has and this one has not.
    old: Vec<PathBuf>,
    /// Settings that need a restart.
    unchanged: Vec<String>,
}

impl Parent {
    /// Loads plugins anew on all workers, or on none. Err: nothing has changed, and why. With a `reason` the log
    /// says what came of it.
    pub async fn reload(&'static self, which: Which, reason: Option<&str>) -> Result<Reloaded> {
        let result = self.load_anew(which).await;
        match (&result, reason) {
            (Ok(reloaded), Some(reason)) => log::info!("{reason}: reloaded {reloaded}"),
            (Err(error), Some(reason)) => log::error!("{reason}: nothing was reloaded: {error:#}"),
            (_, None) => {}
        }
        result
    }

    async fn load_anew(&'static self, which: Which) -> Result<Reloaded> {
        let begun = Instant::now();
        self.copies.sweep();
        let next = self.next_plan(which).await?;
        let done = self.transact(&next).await;
        if done.is_err() {
            next.new.iter().for_each(|file| self.copies.drop_later(file));
        }
        let done = done?;
        Ok(Reloaded {
            plugins: next.loaded,
            workers: done.len(),
            connections: done.iter().map(|done| done.connections).fold(0, usize::saturating_add),
            took: begun.elapsed(),
            paused: done.iter().map(|done| done.paused).max().unwrap_or_default(),
            unchanged: next.unchanged,
        })
    }

    /// All workers together: all use the plan in the end, or none.
    async fn transact(&'static self, next: &Next) -> Result<Vec<Done>> {
        let patience = self.settings.limits.reload_timeout;
        let plan = &next.plan.plugins;
        let new = plan.iter().filter(|planned| next.new.contains(&planned.file)).cloned().collect();
        let trial = Trial { plugins: new, routes: None };
        probe::probe(trial, self.identity, patience).await.map_err(|reason| anyhow!("{reason}"))?;
        let (votes, mut heard) = mpsc::unbounded_channel();
        let number = self.transactions.get() + 1;
        self.transactions.set(number);
        // From here on no worker starts.
        *self.ballot.borrow_mut() = Some(Ballot { number, votes });
        let result = self.ask_all(number, next, &mut heard, patience).await;
        self.ballot.take();
        self.calm.notify_waiters();
        result
    }

    async fn ask_all(
        &'static self,
        number: u32,
        next: &Next,
        heard: &mut mpsc::UnboundedReceiver<(usize, Vote)>,
        patience: Duration,
    ) -> Result<Vec<Done>> {
        let deadline = Instant::now() + patience;
        if timeout_at(deadline, self.none_starts()).await.is_err() {
            bail!("a worker had not started within {patience:?}; ask again when it serves");
        }
        let workers: Vec<usize> = self
            .places
            .iter()
            .filter(|place| place.queue.borrow().is_some())
            .map(|place| place.index)
            .collect();
        if workers.is_empty() || self.stopping.get() {
            bail!("no worker serves now; ask again when one does");
        }
        let prepared = async {
            self.tell(&workers, &Order::Load(number, next.plan.clone()))?;
            self.all_done(&workers, heard, Instant::now() + patience).await?;
            self.tell(&workers, &Order::Prepare(number))?;
            self.all_done(&workers, heard, Instant::now() + patience).await
        };
        let prepared = tokio::select! {
            prepared = prepared => prepared,
            // Workers that stand still could not begin to end.
            () = self.stopped.notified() => Err(anyhow!("the server stops")),
        };
        if let Err(error) = prepared {
            self.tell(&workers, &Order::Abort(number))?;
            return Err(error);
        }
        // It is decided: a worker that dies now is followed by one with the new plan.
        self.plan.replace(Rc::new(next.plan.clone()));
        self.generations.borrow_mut().extend(next.loaded.iter().cloned());
        self.tell(&workers, &Order::Commit(number))?;
        let done = self.all_answer(&workers, heard, Instant::now() + patience).await;
        next.old.iter().for_each(|file| self.copies.drop_later(file));
        Ok(done)
    }

    fn tell(&self, workers: &[usize], order: &Order) -> Result<()> {
        let json = serde_json::to_vec(order).context("the workers cannot be told")?;
        if json.len() > link::TEXT_MAX {
            bail!(
                "plugins' settings and routes are too long for a reload ({} bytes as JSON); restart",
                json.len()
            );
        }
        let message = link::message(Tag::Order, &json);
        for &worker in workers {
            if let Some(queue) = &*self.places[worker].queue.borrow() {
                queue.push(message.clone());
            }
        }
        Ok(())
    }

    /// Waits until all have done it. Err: one has not.
    async fn all_done(
        &self,
        workers: &[usize],
        heard: &mut mpsc::UnboundedReceiver<(usize, Vote)>,
        deadline: Instant,
    ) -> Result<()> {
        let mut missing = workers.to_vec();
        while !missing.is_empty() {
            let Ok(Some((worker, vote))) = timeout_at(deadline, heard.recv()).await else {
                let blame = self.board.slot(missing[0]).running();
                let blame = blame.map(|running| format!("; it is in {}", running.label)).unwrap_or_default();
                let patience = self.settings.limits.reload_timeout;
                bail!("worker {} was not ready within {patience:?} (--reload-timeout){blame}", missing[0]);
            };
            match vote {
                Vote::Done(_) => missing.retain(|other| *other != worker),
                Vote::Refused(reason) => bail!("worker {worker}: {}", readable(&reason)),
                Vote::Died => bail!("worker {worker} died meanwhile; the server's log says how"),
            }
        }
        Ok(())
    }

    /// What those that live say to a decision.
    async fn all_answer(
        &self,
        workers: &[usize],
        heard: &mut mpsc::UnboundedReceiver<(usize, Vote)>,
        deadline: Instant,
    ) -> Vec<Done> {
        let (mut missing, mut done) = (workers.to_vec(), Vec::new());
        while !missing.is_empty() {
            let Ok(Some((worker, vote))) = timeout_at(deadline, heard.recv()).await else {
                log::warn!("worker {} has not said that it uses the new code", missing[0]);
                break;
            };
            missing.retain(|other| *other != worker);
            if let Vote::Done(vote) = vote {
                done.push(vote);
            }
        }
        done
    }

    /// A worker has answered.
    pub fn vote(&self, worker: usize, reply: Reply) {
        let (number, vote) = match reply {
            Reply::Done(number, mut done) => {
                // Also if nobody waits for it any more.
                if let Some(loaded) = done.loaded.take() {
                    *self.places[worker].loaded.borrow_mut() = Some(Rc::new(loaded));
                }
                (number, Vote::Done(done))
            }
            Reply::Refused(number, reason) => (number, Vote::Refused(reason)),
        };
        // It may be an answer to what is given up already.
        if let Some(ballot) = self.ballot.borrow().as_ref().filter(|ballot| ballot.number == number) {
            let _ = ballot.votes.send((worker, vote));
        }
    }

    /// A worker has died.
    pub fn vote_of_the_dead(&self, worker: usize) {
        if let Some(ballot) = &*self.ballot.borrow() {
            let _ = ballot.votes.send((worker, Vote::Died));
        }
    }

    /// Waits while a reload goes on.
    pub async fn no_reload(&self) {
        while self.ballot.borrow().is_some() {
            self.calm.notified().await;
        }
    }

    /// Waits while a worker starts.
    async fn none_starts(&self) {
        while self.places.iter().any(|place| place.starting.get()) {
            self.calm.notified().await;
        }
    }

    /// What is to be loaded, with the new files copied and looked at.
    async fn next_plan(&self, which: Which) -> Result<Next> {
        let plan = self.plan.borrow().clone();
        let mut next = Next::default();
        next.plan.routes = plan.routes.clone();
        let (sources, wanted) = match which {
            Which::All => (plan.sources(), None),
            Which::Named(wanted) => {
                let names: Vec<&str> = plan.plugins.iter().map(|planned| planned.name.as_str()).collect();
                wanted.iter().try_for_each(|name| is_loaded(name, &names))?;
                (plan.sources(), Some(wanted))
            }
            Which::Settings(settings) => {
                next.unchanged = self.settings.differences(&settings);
                next.plan.routes = settings.routes;
                (settings.plugins, None)
            }
        };
        for source in sources {
            let old = plan
                .plugins
                .iter()
                .find(|old| old.source.path == source.path && old.source.name == source.name);
            match old {
                Some(old) if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&old.name)) => {
                    next.plan.plugins.push(old.clone());
                }
                _ => {
                    if let Err(error) = self.add(&mut next, source, old).await {
                        next.new.iter().for_each(|file| self.copies.drop(file));
                        return Err(error);
                    }
                }
            }
        }
        let gone = |old: &&PlannedPlugin| next.plan.plugins.iter().all(|new| new.file != old.file);
        next.old = plan.plugins.iter().filter(gone).map(|old| old.file.clone()).collect();
        Ok(next)
    }

    async fn add(&self, next: &mut Next, source: PluginSource, old: Option<&PlannedPlugin>) -> Result<()> {
        let (file, image) = self.copies.take_whole(&source.path).await.with_context(|| source.label())?;
        next.new.push(file.clone());
        let name = source.name.clone().unwrap_or(image.name);
        if let Some(old) = old.filter(|old| old.name != name) {
            bail!(
                "{} calls itself `{name}` now, and was loaded as `{}`; name it back, or restart",
                source.label(),
                old.name
            );
        }
        let generation = self.generations.borrow().get(&name).map_or(1, |last| last + 1);
        next.loaded.push((name.clone(), generation));
        next.plan.plugins.push(PlannedPlugin { name, source, file, generation });
        Ok(())
    }
}

fn is_loaded(name: &str, names: &[&str]) -> Result<()> {
    if names.contains(&name) {
        return Ok(());
    }
    match nearest(name, names.iter().copied()) {
        Some(near) => bail!("no plugin `{name}` is loaded; did you mean `{near}`?"),
        None => bail!("no plugin `{name}` is loaded; loaded: {}", names.join(", ")),
    }
}
