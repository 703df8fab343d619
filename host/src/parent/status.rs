//! How the server goes, from the scoreboard and what each worker said when it began to serve. No worker is asked, so
//! one that hangs is in it too.

use std::time::{Duration, Instant};

use super::Parent;
use super::child::Place;
use crate::banner::{Loaded, LoadedRoute};
use crate::board::Running;
use crate::control::{Bound, PluginStatus, RouteStatus, RunningStatus, Status, WorkerPlugin, WorkerStatus};
use crate::readable::one_line;

impl Parent {
    /// How it goes now.
    pub fn status(&self) -> Status {
        let newest = |loaded: &&Loaded| loaded.plugins.iter().map(|plugin| plugin.generation).max();
        let loaded: Vec<_> = self.places.iter().filter_map(|place| place.loaded.borrow().clone()).collect();
        let loaded = loaded.iter().map(AsRef::as_ref).max_by_key(newest).cloned().unwrap_or_default();
        let plugins = loaded.plugins.iter().map(|plugin| PluginStatus {
            name: one_line(&plugin.name),
            version: one_line(&plugin.version),
            generation: plugin.generation,
            path: one_line(&plugin.path.to_string_lossy()).into(),
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: milliseconds(self.started_at.elapsed()),
            config: self.settings.config.clone(),
            addresses: self.addresses.iter().map(ToString::to_string).collect(),
            workers: self.places.iter().map(|place| self.worker(place)).collect(),
            plugins: plugins.collect(),
            routes: loaded.routes.iter().map(|route| bound(route, &loaded)).collect(),
            routes_more: loaded.routes_more,
        }
    }

    fn worker(&self, place: &Place) -> WorkerStatus {
        let slot = self.board.slot(place.index);
        let pid = place.pid.get().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
        let alive = pid.is_some();
        let counters = slot.counters();
        let running_for = |sequence| place.watch.borrow().running_for(Instant::now(), sequence);
        let running = |Running { sequence, label }| RunningStatus {
            plugin: label.plugin,
            generation: label.generation,
            kind: label.kind,
            name: label.name,
            running_for_ms: running_for(sequence).map(milliseconds),
        };
        let loaded = place.loaded.borrow();
        let plugins = loaded.iter().flat_map(|loaded| &loaded.plugins).map(|plugin| WorkerPlugin {
            name: one_line(&plugin.name),
            generation: plugin.generation,
            retained: plugin.retained,
        });
        WorkerStatus {
            index: place.index,
            pid,
            uptime_ms: place.started.get().filter(|_| alive).map(|started| milliseconds(started.elapsed())),
            serves: loaded.is_some(),
            clients: if alive { slot.clients() } else { 0 },
            accepted: counters.accepted,
            callbacks: counters.callbacks,
            running: slot.running().filter(|_| alive).map(running),
            plugins: plugins.collect(),
        }
    }
}

/// `onmessage chat:message` in parts, each with its plugin's generation.
fn bound(route: &LoadedRoute, loaded: &Loaded) -> RouteStatus {
    let handlers = route.handlers.iter().map(|handler| {
        let (kind, code) = handler.split_once(' ').unwrap_or(("", handler));
        let (plugin, name) = code.split_once(':').unwrap_or(("", code));
        let owner = loaded.plugins.iter().find(|other| other.name == plugin);
        Bound {
            kind: one_line(kind),
            plugin: one_line(plugin),
            name: one_line(name),
            generation: owner.map_or(0, |owner| owner.generation),
        }
    });
    RouteStatus { path: one_line(&route.path), handlers: handlers.collect() }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
