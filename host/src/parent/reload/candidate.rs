//! The plan that workers serve, and the candidate for the next one: a reload reads and copies the new libraries, and
//! the candidate becomes the plan only if every worker can use it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::config::listen::Listen;
use crate::config::nearest::nearest;
use crate::config::plan::{Plan, PlannedListener, PlannedPlugin};
use crate::config::settings::{PluginSource, Settings};
use crate::config::tls::{Tls, TlsSource};
use crate::parent::control::Which;
use crate::parent::copies::Copies;
use crate::parent::deadline::Deadline;
use crate::parent::listeners::{Changed, Listeners, NextListeners};
use crate::serve::certificates;
use crate::system::access_log::Sink;

/// The plan that workers load, and the generations that were used.
#[derive(Debug)]
pub struct Plans {
    current: RefCell<Rc<Plan>>,
    /// The last generation of each plugin, by name.
    generations: RefCell<HashMap<String, u32>>,
}

/// What may be served next.
#[derive(Default)]
pub struct Candidate {
    pub plan: Plan,
    /// Copies that were made for it.
    pub new_files: Vec<PathBuf>,
    /// Name and new generation of each plugin that is loaded again.
    pub reloaded: Vec<(String, u32)>,
    /// Name and generation of each plugin that stays, because neither its library nor its settings have changed.
    pub kept: Vec<(String, u32)>,
    /// Name of each plugin that is served now and not any more.
    pub removed: Vec<String>,
    /// Settings that change with it, besides routes and plugins.
    pub settings: Vec<String>,
    /// Settings whose change needs a restart.
    pub unchanged: Vec<String>,
    /// What is new, allowed and hardly meant.
    pub warnings: Vec<String>,
    /// Where requests are recorded, if that changes.
    pub access_log: RefCell<Option<Option<Sink>>>,
    /// Whether only plugins that were named are reloaded.
    pub is_selection: bool,
    /// Whether workers were asked to load it.
    pub is_loaded: Cell<bool>,
    /// The listening sockets of the plan, until the commit. None: those in use stay.
    pub listeners: RefCell<Option<NextListeners>>,
    /// What the commit has changed about them.
    pub listening: RefCell<Changed>,
}

impl Candidate {
    /// The plugins whose file is new.
    pub fn new_plugins(&self) -> Vec<PlannedPlugin> {
        let plugins = self.plan.plugins.iter();
        plugins.filter(|plugin| self.new_files.contains(&plugin.file)).cloned().collect()
    }
}

impl Plans {
    pub fn new(first: Plan) -> Self {
        let generations = first.plugins.iter().map(|plugin| (plugin.name.clone(), plugin.generation));
        Self { generations: RefCell::new(generations.collect()), current: RefCell::new(Rc::new(first)) }
    }

    pub fn current(&self) -> Rc<Plan> {
        self.current.borrow().clone()
    }

    /// Name and generation of each plugin that workers load now.
    pub fn serving(&self) -> Vec<(String, u32)> {
        let name_and_generation = |planned: &PlannedPlugin| (planned.name.clone(), planned.generation);
        self.current().plugins.iter().map(name_and_generation).collect()
    }

    /// Adds the sockets that the server starts with.
    pub fn set_listeners(&self, listeners: Vec<PlannedListener>) {
        self.current.replace_with(|plan| Rc::new(Plan { listeners, ..(**plan).clone() }));
    }

    /// Makes the candidate the plan: from here on, every worker that starts loads it.
    pub fn commit(&self, candidate: &Candidate) {
        self.current.replace(Rc::new(candidate.plan.clone()));
        self.generations.borrow_mut().extend(candidate.reloaded.iter().cloned());
    }

    /// Makes a candidate. Its certificates are read, unless plugins are named; its new libraries are copied and read, its new
    /// listening sockets are bound, and if that fails, no copy is left. A plugin that has not changed stays in its generation,
    /// unless the reload is forced.
    pub async fn candidate(
        &self,
        which: Which,
        is_forced: bool,
        settings: &Settings,
        copies: &Copies,
        listeners: &Listeners,
        deadline: Deadline,
    ) -> Result<Candidate> {
        let plan = self.current();
        let mut candidate = Candidate::default();
        candidate.plan.routes = plan.routes.clone();
        candidate.plan.handshake = plan.handshake.clone();
        candidate.plan.listeners = plan.listeners.clone();
        candidate.plan.limits = plan.limits;
        (candidate.plan.log, candidate.plan.access_log) = (plan.log, plan.access_log.clone());
        candidate.is_selection = matches!(which, Which::Named(_));
        let mut listen = None;
        let (sources, wanted) = match which {
            Which::All => (plan.sources(), None),
            Which::Named(wanted) => {
                let names: Vec<&str> = plan.plugins.iter().map(|planned| planned.name.as_str()).collect();
                wanted.iter().try_for_each(|name| is_loaded(name, &names))?;
                (plan.sources(), Some(wanted))
            }
            Which::ReadAgain { .. } => bail!("the settings have not been read"),
            Which::Settings(new) => {
                candidate.unchanged = settings.differences(&new);
                candidate.warnings = new.warnings_beside(&plan.limits);
                if plan.access_log.target != new.access_log.target {
                    candidate.access_log = RefCell::new(Some(open_access_log(&new, deadline).await?));
                }
                candidate.plan.limits = new.limits;
                (candidate.plan.log, candidate.plan.access_log) = (new.log, new.access_log);
                candidate.settings = plan.differences(&candidate.plan);
                listen = Some(new.listen);
                candidate.plan.routes = new.routes;
                candidate.plan.handshake = new.handshake;
                (new.plugins, None)
            }
        };
        let sources_of = |listen: &[Listen]| listen.iter().map(|entry| entry.tls.clone()).collect();
        let tls = match &listen {
            Some(listen) => read_certificates(sources_of(listen), deadline).await?,
            None if candidate.is_selection => Vec::new(),
            None => {
                let in_use = plan.listeners.iter().map(|it| Some(it.tls.as_ref()?.source.clone()));
                let tls = read_certificates(in_use.collect(), deadline).await?;
                candidate.plan.listeners.iter_mut().zip(tls).for_each(|(listener, tls)| listener.tls = tls);
                Vec::new()
            }
        };
        let filled = async {
            for source in sources {
                let old = plan
                    .plugins
                    .iter()
                    .find(|old| old.source.path == source.path && old.source.name == source.name);
                match old {
                    Some(old) if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&old.name)) => {
                        candidate.plan.plugins.push(old.clone());
                    }
                    Some(old)
                        if !is_forced && old.source == source && copies.is_unchanged(old, deadline).await =>
                    {
                        candidate.kept.push((old.name.clone(), old.generation));
                        // Its place in the file may be another.
                        candidate.plan.plugins.push(PlannedPlugin { source, ..old.clone() });
                    }
                    _ => self.add(&mut candidate, source, old, copies, deadline).await?,
                }
            }
            let stays = |name: &String| candidate.plan.plugins.iter().any(|planned| planned.name == *name);
            let names = plan.plugins.iter().map(|old| old.name.clone());
            candidate.removed = names.filter(|name| !stays(name)).collect();
            if let Some(listen) = listen {
                let next = listeners.next(listen, deadline).await?;
                candidate.plan.listeners = next.plan(&tls);
                candidate.unchanged.extend(next.needs_restart());
                candidate.listeners.replace(Some(next));
            }
            Ok(())
        };
        if let Err(error) = filled.await {
            candidate.new_files.iter().for_each(|file| copies.remove_unused(file));
            return Err(error);
        }
        Ok(candidate)
    }

    /// Adds the next generation of a plugin.
    async fn add(
        &self,
        candidate: &mut Candidate,
        source: PluginSource,
        old: Option<&PlannedPlugin>,
        copies: &Copies,
        deadline: Deadline,
    ) -> Result<()> {
        let copied = copies.copy_when_complete(&source.path, deadline).await;
        let (file, image) = copied.with_context(|| source.located_label())?;
        candidate.new_files.push(file.clone());
        let name = source.name.clone().unwrap_or(image.name);
        if let Some(old) = old.filter(|old| old.name != name) {
            bail!(
                "{} calls itself `{name}` now, and was loaded as `{}`; name it back, or restart",
                source.located_label(),
                old.name
            );
        }
        let generation = self.generations.borrow().get(&name).map_or(1, |last| last + 1);
        candidate.reloaded.push((name.clone(), generation));
        candidate.plan.plugins.push(PlannedPlugin { name, source, file, generation });
        Ok(())
    }
}

/// Opens the access log.
async fn open_access_log(settings: &Settings, deadline: Deadline) -> Result<Option<Sink>> {
    let target = settings.access_log.target.clone();
    let late = "the access log had not been opened";
    let opened = deadline.on_thread("access log", late, move || Sink::open(&target)).await;
    opened.map_err(|error| settings.located("access_log", error))
}

async fn read_certificates(
    sources: Vec<Option<TlsSource>>,
    deadline: Deadline,
) -> Result<Vec<Option<Arc<Tls>>>> {
    if sources.iter().all(Option::is_none) {
        return Ok(vec![None; sources.len()]);
    }
    let read = move || certificates::read_sources(sources.iter().map(Option::as_ref));
    deadline.on_thread("certificates", "the certificates had not been read", read).await
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
