//! The state of the server, from the scoreboard and what each worker reported when it began to serve. No worker is
//! asked, so the status includes a worker that hangs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::control::{
    CertificateStatus, ListenerStatus, PluginStatus, RouteHandler, RouteStatus, RunningStatus, SandboxStatus,
    Status, WorkerPlugin, WorkerStatus,
};
use super::shutdown::Shutdown;
use super::workers::{WorkerSlot, Workers};
use crate::config::calendar::Timestamp;
use crate::config::plan::{Plan, PlannedListener};
use crate::config::sandbox::SandboxSettings;
use crate::config::settings::Settings;
use crate::config::tls::{CertificateSource, Certified};
use crate::link::inventory::{Inventory, InventoryRoute};
use crate::system::sandbox::{Confinement, Kernel};
use crate::system::sanitize::sanitize_line;
use crate::system::scoreboard::{Limit, RunningCallback, Slot};

/// What does not change while the server runs.
pub struct ServerInfo {
    config: Option<PathBuf>,
    sandbox: Option<SandboxStatus>,
    started_at: Instant,
}

impl ServerInfo {
    pub fn new(settings: &Settings, confinement: Option<&Confinement>) -> Self {
        let (config, sandbox) = (settings.config.clone(), confinement.map(sandbox));
        Self { config, sandbox, started_at: Instant::now() }
    }

    /// The state of the server now, with this plan.
    pub fn status(&self, workers: &Workers, shutdown: &Shutdown, plan: &Plan) -> Status {
        let newest = |inventory: &&Inventory| inventory.plugins.iter().map(|plugin| plugin.generation).max();
        let inventories: Vec<_> =
            workers.slots().iter().filter_map(|slot| slot.inventory.borrow().clone()).collect();
        let inventory = inventories.iter().map(AsRef::as_ref).max_by_key(newest).cloned().unwrap_or_default();
        let plugins = inventory.plugins.iter().map(|plugin| PluginStatus {
            name: sanitize_line(&plugin.name),
            version: sanitize_line(&plugin.version),
            generation: plugin.generation,
            path: sanitize_line(&plugin.path.to_string_lossy()).into(),
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: milliseconds(self.started_at.elapsed()),
            draining_for_ms: shutdown.lasts().map(milliseconds),
            config: self.config.clone(),
            sandbox: self.sandbox.clone(),
            addresses: plan.addresses().into_iter().map(str::to_owned).collect(),
            listeners: plan.listeners.iter().map(listener).collect(),
            workers: workers.slots().iter().map(|slot| worker(slot, workers.score(slot.index))).collect(),
            plugins: plugins.collect(),
            routes: inventory.routes.iter().map(|it| route(it, &inventory)).collect(),
            routes_more: inventory.routes_more,
        }
    }
}

fn sandbox(confinement: &Confinement) -> SandboxStatus {
    let Confinement { settings, served, common, copies: _ } = confinement;
    let SandboxSettings { level, read, write, execute, network, system_calls } = settings.clone();
    SandboxStatus {
        level: level.to_string(),
        read: read.into_iter().chain(served.clone()).collect(),
        system: common.clone(),
        write,
        execute,
        network,
        system_calls,
        missing: Kernel::ask().missing().into_iter().map(str::to_owned).collect(),
    }
}

fn listener(PlannedListener { settings, tls, .. }: &PlannedListener) -> ListenerStatus {
    let certificate = |(source, certified): (&CertificateSource, &Certified)| CertificateStatus {
        path: source.certificate.path.clone(),
        names: certified.about.names.clone(),
        not_before: Timestamp(certified.about.not_before).to_string(),
        not_after: Timestamp(certified.about.not_after).to_string(),
    };
    let certificates =
        tls.as_ref().map(|tls| tls.source.certificates.iter().zip(&tls.certificates).map(certificate));
    ListenerStatus {
        address: settings.address.clone(),
        tls: tls.is_some(),
        redirect: settings.redirect.is_some(),
        certificates: certificates.into_iter().flatten().collect(),
    }
}

fn worker(slot: &WorkerSlot, score: &Slot) -> WorkerStatus {
    let pid = slot.pid.get().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
    let is_alive = pid.is_some();
    let counters = score.counters();
    let running_for = |sequence| slot.timer.borrow().running_for(Instant::now(), sequence);
    let running = |RunningCallback { sequence, label }| RunningStatus {
        plugin: label.plugin,
        generation: label.generation,
        kind: label.kind,
        name: label.name,
        running_for_ms: running_for(sequence).map(milliseconds),
    };
    let inventory = slot.inventory.borrow();
    let plugins = inventory.iter().flat_map(|inventory| &inventory.plugins).map(|plugin| WorkerPlugin {
        name: sanitize_line(&plugin.name),
        generation: plugin.generation,
        retained: plugin.retained,
    });
    let started_at = slot.started_at.get().filter(|_| is_alive);
    WorkerStatus {
        index: slot.index,
        pid,
        uptime_ms: started_at.map(|started_at| milliseconds(started_at.elapsed())),
        serves: inventory.is_some(),
        clients: if is_alive { score.clients() } else { 0 },
        compressed: if is_alive { score.compressed() } else { 0 },
        accepted: counters.accepted,
        callbacks: counters.callbacks,
        resident_bytes: slot.proc_status().resident_kib.map(|kib| kib.saturating_mul(1024)),
        reload_growth_bytes: if is_alive { slot.growth.borrow().kib().saturating_mul(1024) } else { 0 },
        receive_memory_bytes: if is_alive { counters.receive_memory } else { 0 },
        send_memory_bytes: if is_alive { counters.send_memory } else { 0 },
        shed: counters.shed,
        dropped: counters.dropped,
        limits: Limit::ALL.iter().map(|(limit, key)| ((*key).to_owned(), score.limits.get(*limit))).collect(),
        running: score.running().filter(|_| is_alive).map(running),
        stalled_for_ms: slot.stalled_for().map(milliseconds),
        plugins: plugins.collect(),
    }
}

/// Splits handlers such as `onmessage chat:message`, and adds the generation of each one's plugin.
fn route(route: &InventoryRoute, inventory: &Inventory) -> RouteStatus {
    let handlers = route.handlers.iter().map(|handler| {
        let (kind, code) = handler.split_once(' ').unwrap_or(("", handler));
        let (plugin, name) = code.split_once(':').unwrap_or(("", code));
        let owner = inventory.plugins.iter().find(|other| other.name == plugin);
        RouteHandler {
            kind: sanitize_line(kind),
            plugin: sanitize_line(plugin),
            name: sanitize_line(name),
            generation: owner.map_or(0, |owner| owner.generation),
        }
    });
    let sanitized = |texts: &[String]| texts.iter().map(|text| sanitize_line(text)).collect();
    RouteStatus {
        path: sanitize_line(&route.path),
        methods: sanitized(&route.methods),
        hosts: sanitized(&route.hosts),
        hosts_more: route.hosts_more,
        handlers: handlers.collect(),
        files: route.files.as_ref().map(|folder| sanitize_line(&folder.to_string_lossy()).into()),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::link::inventory::InventoryPlugin;
    use crate::parent::relay::Queue;

    #[test]
    fn it_shows_the_newest_inventory_and_escapes_what_workers_report() {
        let workers = Workers::new(3).expect("shared memory");
        for (index, generation) in [(0, 4), (1, 3)] {
            let plugin = InventoryPlugin { name: "ch\u{1b}at".into(), generation, ..Default::default() };
            let handlers = vec!["onmessage ch\u{1b}at:message".into()];
            let routes = vec![InventoryRoute { path: "/\u{7}".into(), handlers, ..Default::default() }];
            let inventory = Inventory { plugins: vec![plugin], routes, routes_more: 0 };
            workers.slots()[index].begin_serving(Rc::new(inventory), Rc::new(Queue::default()));
        }
        let info = ServerInfo { config: None, sandbox: None, started_at: Instant::now() };
        let status = info.status(&workers, &Shutdown::default(), &Plan::default());
        assert_eq!((status.plugins[0].name.as_str(), status.plugins[0].generation), ("ch\u{fffd}at", 4));
        let handler = RouteHandler {
            kind: "onmessage".into(),
            plugin: "ch\u{fffd}at".into(),
            name: "message".into(),
            generation: 4,
        };
        let route =
            RouteStatus { path: "/\u{fffd}".into(), handlers: vec![handler], ..RouteStatus::default() };
        assert_eq!(status.routes, [route]);
        let serves: Vec<bool> = status.workers.iter().map(|worker| worker.serves).collect();
        assert_eq!(serves, [true, true, false]);
        assert_eq!(status.workers[1].plugins[0].generation, 3);
    }

    #[test]
    fn it_shows_a_worker_that_serves_and_does_not_run() {
        let workers = Workers::new(2).expect("shared memory");
        workers.slots()[1].begin_serving(Rc::default(), Rc::default());
        let start = Instant::now();
        for slot in workers.slots() {
            slot.pid.set(Some(rustix::process::getpid()));
            for ms in (0..=4250).step_by(250) {
                let now = start + Duration::from_millis(ms);
                slot.stall_timer.borrow_mut().sample(now, workers.score(slot.index), None);
            }
        }
        let info = ServerInfo { config: None, sandbox: None, started_at: start };
        let stalled: Vec<_> = info
            .status(&workers, &Shutdown::default(), &Plan::default())
            .workers
            .iter()
            .map(|it| it.stalled_for_ms)
            .collect();
        assert_eq!(stalled, [None, Some(4000)]);
        assert_eq!(workers.stalled(), Some((1, Duration::from_secs(4))));
    }
}
