//! What the service manager is told about the server: that it is ready, reloads, has reloaded, and stops.

use std::cell::{Cell, RefCell};

use rustix::time::{ClockId, clock_gettime};

use super::{notify, status};

/// The server, as the service manager knows it.
#[derive(Debug, Default)]
pub struct Service {
    phase: Cell<Phase>,
    /// Live [`Reloading`] values.
    reloads: Cell<usize>,
    /// The result of the reload that has ended last.
    result: RefCell<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Phase {
    #[default]
    Starting,
    Ready,
    Stopping,
}

/// A reload that is going on. Reloads may overlap: the server is ready again when the last one ends.
pub struct Reloading<'s>(&'s Service);

impl Service {
    /// The server serves.
    pub fn ready(&self, text: &str) {
        if self.phase.get() == Phase::Starting {
            self.phase.set(Phase::Ready);
            notify(&format!("READY=1\n{}", status(text)));
        }
    }

    /// A reload begins that the service manager may have asked for.
    pub fn asked_to_reload(&self) -> Reloading<'_> {
        if self.phase.get() == Phase::Ready {
            // From this time the service manager knows that the message is later than its request.
            let now = clock_gettime(ClockId::Monotonic);
            let usec = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
            notify(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
        }
        self.reloads.set(self.reloads.get() + 1);
        Reloading(self)
    }

    /// A reload begins. It may be part of one that has begun before.
    pub fn reloading(&self) -> Reloading<'_> {
        if self.reloads.get() == 0 {
            return self.asked_to_reload();
        }
        self.reloads.set(self.reloads.get() + 1);
        Reloading(self)
    }

    /// The server begins to stop.
    pub fn stopping(&self, text: &str) {
        self.phase.set(Phase::Stopping);
        notify(&format!("STOPPING=1\n{}", status(text)));
    }
}

impl Reloading<'_> {
    /// The reload is over, with this result.
    pub fn end(self, result: &str) {
        self.0.result.replace(result.to_owned());
    }
}

impl Drop for Reloading<'_> {
    fn drop(&mut self) {
        let service = self.0;
        service.reloads.set(service.reloads.get() - 1);
        if service.reloads.get() == 0 && service.phase.get() == Phase::Ready {
            notify(&format!("READY=1\n{}", status(&service.result.borrow())));
        }
    }
}
