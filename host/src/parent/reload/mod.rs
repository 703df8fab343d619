//! A reload: copy the libraries that have changed, try them in a probe, and then a transaction over all workers, which
//! check names, load, pause, prepare, and commit or abort together. A reload that is rejected at any step changes nothing:
//! every worker keeps its code.

mod ballot; // the votes of the workers

mod reread; // the settings, read again

mod candidate; // the plan, and what may follow it

mod transaction; // check, load, pause, prepare, then commit or abort

use std::cell::RefCell;
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use log::Level;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Parent;
use super::control::{Reloaded, Which};
use super::copies::Copies;
use super::deadline::Deadline;
use crate::config::plan::{Plan, PlannedListener};
use crate::config::settings::Settings;
use crate::link::inventory::Inventory;
use crate::link::orders::Done;
use crate::serve::probe::{self, TimeLimit, Trial};
use crate::serve::summary::listening_on;
use crate::serve::{certificates, confinement};
use crate::system::log as logging;
use crate::system::privileges::Identity;
use crate::system::sanitize::sanitize;

pub use ballot::{Ballots, Vote};
use candidate::Candidate;
pub use candidate::Plans;
use transaction::{SERVER_STOPS, Transaction};

/// What reloads of a server share.
pub struct Reloads {
    pub plans: Plans,
    pub ballots: Ballots,
    copies: Copies,
    /// Warnings about what is served, as they were logged last.
    warnings: RefCell<Vec<String>>,
    /// Reloads run one after the other.
    turn: Mutex<()>,
}

impl Reloads {
    /// Copies the libraries that the server starts with.
    pub fn new(settings: &Settings, identity: Option<Identity>) -> Result<Self> {
        let copies = Copies::new(identity)?;
        let plans = Plans::new(copies.first_plan(settings)?);
        let (ballots, warnings, turn) = (Ballots::default(), RefCell::default(), Mutex::default());
        Ok(Self { plans, ballots, copies, warnings, turn })
    }

    /// Makes the copies of the current plan again if something has deleted them. Returns the plan for a new worker.
    pub async fn plan_to_load(&self) -> Result<Plan> {
        self.copies.restore(&self.plans.current()).await
    }

    /// The folder that workers load libraries from.
    pub fn copies_folder(&self) -> PathBuf {
        self.copies.folder()
    }

    /// Removes all copies. No worker runs any more.
    pub fn remove_copies(&self) {
        self.copies.remove();
    }

    /// Loads plugins again on all workers, or on none; those that have not changed only if the reload is forced. Err:
    /// nothing has changed, and why. The outcome is logged if there is a `reason`.
    pub async fn reload(
        &self,
        parent: &Parent,
        which: Which,
        is_forced: bool,
        reason: Option<&str>,
    ) -> Result<Reloaded> {
        let reloading = parent.service.reloading();
        let turn = self.turn.lock().await;
        let mut read_again = None;
        let result = self.try_reload(parent, which, is_forced, &mut read_again).await;
        // Not before, because a candidate has copies that the plan does not have yet.
        self.copies.sweep(&self.plans.current());
        let (level, outcome) = match &result {
            Ok(reloaded) if reloaded.is_nothing() => (Level::Info, reloaded.to_string()),
            Ok(reloaded) => (Level::Info, format!("reloaded {reloaded}")),
            Err(error) => (Level::Error, format!("nothing was reloaded: {error:#}")),
        };
        if let Some(reason) = reason {
            logging::lines(level, &format!("{reason}: {outcome}"));
        }
        drop(turn);
        let result = match read_again {
            Some(settings) => warn_of_restart(settings, result, reason).await,
            None => result,
        };
        reloading.end(&outcome);
        result
    }

    /// `read_again` gets the settings, if they were read again.
    async fn try_reload(
        &self,
        parent: &Parent,
        which: Which,
        is_forced: bool,
        read_again: &mut Option<Settings>,
    ) -> Result<Reloaded> {
        let begun = Instant::now();
        if parent.shutdown.has_begun() {
            bail!(SERVER_STOPS);
        }
        if let Some((worker, time)) = parent.workers.stalled() {
            bail!(
                "worker {worker} has not run its event loop for {time:.1?}; ask again when it runs or has been replaced"
            );
        }
        let deadline = Deadline::after(parent.limits().reload_timeout);
        let which = match which {
            Which::ReadAgain { needs_file } => {
                let settings = reread::read(&parent.read_settings, needs_file, deadline).await?;
                Which::Settings(Box::new(read_again.insert(settings).clone()))
            }
            other => other,
        };
        let listeners = &parent.launcher.listeners;
        let candidate = self
            .plans
            .candidate(which, is_forced, &parent.settings, &self.copies, listeners, deadline)
            .await?;
        let before = self.plans.current();
        let changes_files = candidate.listeners.borrow().as_ref().is_some_and(|next| next.changes_files);
        let has_changed = candidate.plan != *before || changes_files;
        parent.prepare_for(&candidate.plan.limits);
        let outcomes = match has_changed {
            _ if parent.shutdown.has_begun() => Err(anyhow!(SERVER_STOPS)),
            true => self.put_into_use(parent, &candidate, deadline).await,
            false => Ok(Vec::new()),
        };
        if outcomes.is_err() && !candidate.is_loaded.get() {
            candidate.new_files.iter().for_each(|file| self.copies.remove_unused(file));
        }
        let outcomes = outcomes?;
        let listening = candidate.listening.take();
        let new = |planned: &&PlannedListener| listening.added.contains(&planned.settings.address);
        for listener in candidate.plan.listeners.iter().filter(new) {
            logging::print(&format!("{}\n", sanitize(&listening_on(listener))));
        }
        let served = parent.workers.slots().iter().find_map(|slot| slot.inventory.borrow().clone());
        served.iter().for_each(|inventory| self.warn_about(inventory));
        if !candidate.is_selection {
            self.warn_about_certificates();
        }
        candidate.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        Ok(Reloaded {
            certificates: certificates::changed(&before.listeners, &candidate.plan.listeners),
            plugins: candidate.reloaded,
            kept: candidate.kept,
            removed: candidate.removed,
            workers: outcomes.len(),
            connections: outcomes.iter().map(|done| done.connections).fold(0, usize::saturating_add),
            took: begun.elapsed(),
            paused: outcomes.iter().map(|done| done.paused).max().unwrap_or_default(),
            settings: candidate.settings,
            listening: listening.added,
            closed: listening.removed,
            unchanged: candidate.unchanged,
            warnings: candidate.warnings,
        })
    }

    /// Logs the warnings about what workers serve, those that were not logged before.
    pub fn warn_about(&self, inventory: &Inventory) {
        let warnings = inventory.warnings();
        let old = self.warnings.replace(warnings.clone());
        warnings.iter().filter(|warning| !old.contains(warning)).for_each(|warning| log::warn!("{warning}"));
    }

    /// Logs what the operator should know about the certificates in use.
    pub fn warn_about_certificates(&self) {
        let warnings = certificates::warnings(self.plans.current().certificates());
        warnings.iter().for_each(|warning| log::warn!("{warning}"));
    }

    async fn put_into_use(
        &self,
        parent: &Parent,
        candidate: &Candidate,
        deadline: Deadline,
    ) -> Result<Vec<Done>> {
        if candidate.plan.access_log.is_on() {
            parent.launcher.access_log.prepare()?;
        }
        let Plan { routes, .. } = &candidate.plan;
        if let Some(confinement) = &parent.launcher.confinement {
            confinement::check_change(confinement, &candidate.plan.sources(), routes)?;
        }
        if !candidate.new_files.is_empty() {
            let (plugins, serving) = (candidate.new_plugins(), self.plans.serving());
            let confinement = parent.launcher.confinement_with(self.copies.folder());
            let trial = Trial { plugins, serving, routes: None, confinement };
            let limit = TimeLimit { left: deadline.remaining(), within: deadline.within() };
            let probed = probe::probe(trial, parent.launcher.identity, limit).await;
            probed.map_err(|reason| anyhow!("{reason}"))?;
        }
        parent.workers.begin_reload();
        let decided = || {
            if let Some(sink) = candidate.access_log.take() {
                parent.launcher.access_log.switch_to(sink);
            }
            logging::set_level(candidate.plan.log.into());
        };
        let outcomes = self.transaction(parent, &decided, deadline).run(candidate).await;
        parent.workers.end_reload();
        outcomes
    }

    fn transaction<'p>(
        &'p self,
        parent: &'p Parent,
        decided: &'p dyn Fn(),
        deadline: Deadline,
    ) -> Transaction<'p> {
        Transaction {
            workers: &parent.workers,
            plans: &self.plans,
            listeners: &parent.launcher.listeners,
            ballots: &self.ballots,
            shutdown: &parent.shutdown,
            decided,
            deadline,
        }
    }
}

/// Tells who has requested a reload whether the server could start with the settings, and logs it if there is a
/// `reason`: a start may need more than a reload.
async fn warn_of_restart(
    settings: Settings,
    result: Result<Reloaded>,
    reason: Option<&str>,
) -> Result<Reloaded> {
    let Some(failure) = reread::restart_failure(settings).await else { return result };
    if let Some(reason) = reason {
        logging::lines(Level::Warn, &format!("{reason}: {failure}"));
    }
    match result {
        Ok(mut reloaded) => {
            reloaded.warnings.push(failure);
            Ok(reloaded)
        }
        // The reason may be the same.
        Err(error) if failure.ends_with(&format!("{error:#}")) => Err(error),
        Err(error) => Err(anyhow!("{error:#}; {failure}")),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::parent::shutdown::StopReason;

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn a_server_that_stops_says_so_instead_of_that_nothing_has_changed() {
        let parent = Parent::idle(1);
        let reload = || parent.reloads.reload(parent, Which::All, false, None);
        assert!(reload().await.expect("there is no plugin").is_nothing());
        let stop = parent.shutdown.run(StopReason::Requested, &parent.workers, Duration::ZERO, pending());
        stop.await.expect("no worker runs");
        assert_eq!(reload().await.expect_err("the server stops").to_string(), SERVER_STOPS);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn a_reload_is_rejected_at_once_while_a_worker_is_stalled() {
        let parent = Parent::idle(3);
        let slot = &parent.workers.slots()[2];
        slot.pid.set(Some(rustix::process::getpid()));
        slot.begin_serving(Rc::default(), Rc::default());
        let start = std::time::Instant::now();
        for ms in (0..=4250).step_by(250) {
            let now = start + Duration::from_millis(ms);
            slot.stall_timer.borrow_mut().sample(now, parent.workers.score(2), None);
        }
        let begun = Instant::now();
        let error =
            parent.reloads.reload(parent, Which::All, false, None).await.expect_err("worker 2 cannot load");
        let expected =
            "worker 2 has not run its event loop for 4.0s; ask again when it runs or has been replaced";
        assert_eq!(error.to_string(), expected);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
