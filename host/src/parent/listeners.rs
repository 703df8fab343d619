//! The sockets that the server listens on. A reload binds new ones and keeps those whose address stays; they are exchanged
//! when it commits.
//!
//! Invariant: a reload that is rejected leaves nothing behind: its new sockets are closed, and their files are removed.

use std::cell::{Cell, Ref, RefCell};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use anyhow::{Result, bail};

use super::deadline::Deadline;
use crate::config::listen::Listen;
use crate::config::plan::PlannedListener;
use crate::config::settings::Settings;
use crate::config::tls::Tls;
use crate::link::setup::LISTENERS_MAX;
use crate::serve::listen::{self, Assigned, Bound, Next, Socket};
use crate::system::privileges::Identity;

/// The sockets that the server listens on.
#[derive(Debug, Default)]
pub struct Listeners {
    bound: RefCell<Vec<Bound>>,
    last_id: Cell<u32>,
    /// The user of the workers.
    workers: Option<Identity>,
}

/// The sockets that a reload puts into use, and what it removes.
#[derive(Debug, Default)]
pub struct NextListeners {
    next: Next,
    /// Of each socket.
    ids: Vec<u32>,
    /// Whether the file of a Unix socket gets other permissions.
    pub changes_files: bool,
}

/// What has become of the listening sockets.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Changed {
    /// The addresses of new sockets.
    pub added: Vec<String>,
    /// The addresses of sockets that were closed.
    pub removed: Vec<String>,
}

impl Listeners {
    /// Binds the sockets that a server starts with.
    pub fn bind(settings: &Settings, workers: Option<Identity>) -> Result<Self> {
        let assigned = listen::bind(&settings.listen, workers)?;
        check_count(assigned.len()).map_err(|error| settings.located("listen", error))?;
        let bound = (1..).zip(assigned).map(|(id, assigned)| Bound::new(id, assigned));
        let bound = bound.collect::<Result<Vec<_>>>()?;
        let last_id = Cell::new(bound.last().map_or(0, |last| last.id));
        Ok(Self { bound: RefCell::new(bound), last_id, workers })
    }

    /// How workers serve the sockets that the server starts with. `tls` has the certificates of each entry.
    pub fn first_plan(&self, tls: &[Option<Arc<Tls>>]) -> Vec<PlannedListener> {
        self.bound.borrow().iter().map(|bound| bound.planned(tls)).collect()
    }

    /// Binds what new entries need. Nobody can connect yet.
    pub async fn next(&self, listen: Vec<Listen>, deadline: Deadline) -> Result<NextListeners> {
        let held = self.bound.borrow().iter().filter_map(Bound::hold).collect();
        let workers = self.workers;
        // A thread resolves names.
        let bind = move || {
            let next = listen::bind_next(&listen, workers, held)?;
            let located = |error| next.sockets[LISTENERS_MAX].about.entry.located(error);
            check_count(next.sockets.len()).map_err(located)?;
            Ok(next)
        };
        let late = "the addresses of `listen` had not been resolved and bound";
        let next = deadline.on_thread("listeners", late, bind).await?;
        let id = |assigned: &Assigned| match assigned.socket {
            Socket::Kept(id) => id,
            Socket::New { .. } => {
                self.last_id.set(self.last_id.get() + 1);
                self.last_id.get()
            }
        };
        let ids = next.sockets.iter().map(id).collect();
        let mut listeners = NextListeners { next, ids, changes_files: false };
        let bound = self.bound.borrow();
        let changes_file = |(id, assigned): (u32, &Assigned)| {
            bound.iter().any(|bound| bound.id == id && bound.about.permissions != assigned.about.permissions)
        };
        let changes_files = listeners.kept().any(changes_file);
        listeners.changes_files = changes_files;
        Ok(listeners)
    }

    /// Puts the next sockets into use, and closes those that are not among them: here, while workers still serve the clients
    /// that wait there.
    pub fn commit(&self, listeners: NextListeners) -> Changed {
        let NextListeners { next, ids, .. } = listeners;
        let (mut old, mut changed) = (self.bound.take(), Changed::default());
        let mut bound = Vec::new();
        for (id, assigned) in ids.into_iter().zip(next.sockets) {
            let kept = old.iter().position(|bound| bound.id == id).map(|at| old.remove(at));
            let Some(mut kept) = kept else {
                // Err: the server has closed it, because it stops.
                if let Ok(new) = Bound::new(id, assigned) {
                    changed.added.push(new.settings.address.clone());
                    bound.push(new);
                }
                continue;
            };
            let Assigned { settings, mut about, .. } = assigned;
            let wanted = about.permissions;
            about.permissions = kept.about.permissions;
            (kept.settings, kept.about) = (settings, about);
            if let Some(permissions) = wanted.filter(|_| wanted != kept.about.permissions)
                && let Err(error) = kept.permit(permissions)
            {
                log::error!("{}: {error:#}; its file stays as it is", kept.settings.address);
            }
            bound.push(kept);
        }
        for removed in old {
            let address = &removed.settings.address;
            if let Some(name) = &removed.about.passed_as {
                log::warn!(
                    "{address} is not served any more, and systemd still listens there (`{name}`): clients that connect \
                     wait in vain; stop its socket unit"
                );
            }
            changed.removed.push(address.clone());
        }
        self.bound.replace(bound);
        changed
    }

    /// The sockets of these listeners, in their order.
    pub fn sockets(&self, plan: &[PlannedListener]) -> Result<Sockets<'_>> {
        let bound = self.bound.borrow();
        let at = |planned: &PlannedListener| bound.iter().position(|bound| bound.id == planned.id);
        match plan.iter().map(at).collect() {
            Some(order) => Ok(Sockets { bound, order }),
            None => bail!("the server has closed its listening sockets"),
        }
    }

    /// Closes all sockets, and removes their files.
    pub fn close(&self) {
        self.bound.borrow_mut().clear();
    }
}

/// Sockets of the server, in the order of a plan.
pub struct Sockets<'l> {
    bound: Ref<'l, Vec<Bound>>,
    order: Vec<usize>,
}

impl Sockets<'_> {
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.order.iter().map(|&at| self.bound[at].listener.as_fd())
    }
}

impl NextListeners {
    /// How workers serve the sockets. `tls` has the certificates of each entry.
    pub fn plan(&self, tls: &[Option<Arc<Tls>>]) -> Vec<PlannedListener> {
        self.ids.iter().zip(&self.next.sockets).map(|(&id, assigned)| assigned.planned(id, tls)).collect()
    }

    /// Entries for which only a restart can get a socket.
    pub fn needs_restart(&self) -> Option<String> {
        let unavailable = &self.next.unavailable;
        (!unavailable.is_empty()).then(|| format!("listen ({})", unavailable.join(", ")))
    }

    /// The new sockets, in the order of the plan.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let new = self.next.sockets.iter().filter_map(|assigned| match &assigned.socket {
            Socket::New { listener, .. } => Some(listener.as_fd()),
            Socket::Kept(_) => None,
        });
        new.collect()
    }

    /// Lets clients connect to the new sockets. They wait until a worker accepts them.
    pub fn listen(&self) -> Result<()> {
        self.next.sockets.iter().try_for_each(Assigned::listen)
    }

    fn kept(&self) -> impl Iterator<Item = (u32, &Assigned)> {
        let all = self.ids.iter().copied().zip(&self.next.sockets);
        all.filter(|(_, assigned)| matches!(assigned.socket, Socket::Kept(_)))
    }
}

/// Whether workers can get that many listening sockets.
pub fn check_count(listeners: usize) -> Result<()> {
    if listeners > LISTENERS_MAX {
        bail!("{listeners} addresses to listen on, and no more than {LISTENERS_MAX} can be (--listen)");
    }
    Ok(())
}
