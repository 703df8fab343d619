//! The parent's end of the link to one worker process: acts on the messages that are for the parent itself; broadcasts
//! and worker messages go to the relay. A message that the worker must not send, or not now, ends the worker.

use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Pid;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use zeroize::Zeroizing;

use super::WorkerSlot;
use crate::link::Tag;
use crate::link::inventory::Inventory;
use crate::link::orders::Reply;
use crate::parent::Parent;
use crate::parent::reload::Vote;
use crate::parent::startup::StartupEvent;
use crate::system::sanitize::sanitize;
use crate::system::task;

/// Time for a worker whose link is closed to end by itself.
const UNLINKED_TIMEOUT: Duration = Duration::from_secs(1);
/// Time beyond the hang time-out after which a worker that does not read its queue is ended. The watchdog, whose report
/// explains more, then finds a hung callback first.
const WRITE_GRACE: Duration = Duration::from_secs(1);

/// The link to one worker process.
pub struct WorkerLink {
    parent: &'static Parent,
    slot: &'static WorkerSlot,
    pid: Option<Pid>,
    /// Taken by the writer task when the worker begins to serve, and by a failure to start.
    write: Option<OwnedWriteHalf>,
}

impl WorkerLink {
    pub fn new(parent: &'static Parent, slot: &'static WorkerSlot, pid: Option<Pid>) -> Self {
        Self { parent, slot, pid, write: None }
    }

    /// Writes the setup, then reads until the socket ends. A worker that lives on after that is ended.
    pub async fn run(mut self, link: UnixStream, setup: Zeroizing<Vec<u8>>) {
        let Self { parent, slot, pid, .. } = self;
        let (read, mut write) = match tokio::net::UnixStream::from_std(link) {
            Ok(link) => link.into_split(),
            Err(error) => return log::error!("worker {}: its link cannot be used: {error}", slot.index),
        };
        // The worker says nothing before it has its setup.
        if let Err(error) = write.write_all(&setup).await {
            log::debug!("worker {} has not taken its setup: {error}", slot.index);
        }
        drop(setup);
        self.write = Some(write);
        let max_message = parent.relay.max_message();
        let handle = |tag, payload| self.handle(tag, &payload).is_some();
        let reason = match parent.relay.read(slot.index, read, max_message, handle).await {
            Ok(()) => "its link to the parent is closed".to_owned(),
            Err(error) => error.to_string(),
        };
        // Most often the worker is dead already.
        parent.relay.leave(slot.index);
        task::spawn(format!("end of worker {}", slot.index), end_unlinked(slot, pid, reason));
    }

    /// Handles a message for the parent. None: the worker must not send it now.
    fn handle(&mut self, tag: Tag, payload: &Bytes) -> Option<()> {
        match tag {
            Tag::Ready => {
                let write = self.write.take()?;
                self.begin_serving(serde_json::from_slice(payload).ok()?, write);
            }
            Tag::Failed => {
                // Nothing more is written to this worker, and it cannot report that it serves.
                self.write.take()?;
                let reason = sanitize(&String::from_utf8_lossy(payload));
                self.slot.start_failure.replace(Some(reason));
            }
            Tag::Reply => self.vote(serde_json::from_slice(payload).ok()?),
            Tag::Broadcast | Tag::WorkerMessage | Tag::Drain | Tag::Order => return None,
        }
        Some(())
    }

    fn begin_serving(&self, inventory: Rc<Inventory>, write: OwnedWriteHalf) {
        let Self { parent, slot, .. } = *self;
        let queue = parent.relay.join(slot.index);
        slot.begin_serving(inventory.clone(), queue.clone());
        parent.workers.finish_start(slot);
        log::debug!("worker {} serves", slot.index);
        parent.startup.report(StartupEvent::Ready(inventory));
        let writer = task::spawn(format!("queue of worker {}", slot.index), async move {
            let timeout = || parent.limits().hang_timeout.map(|time| time + WRITE_GRACE);
            let may_end = || timeout().is_some() && !slot.is_traced();
            let result = parent.relay.write(&queue, write, timeout, may_end).await;
            parent.relay.leave(slot.index);
            if result.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                let reason = "was ended: it did not read the messages of other workers (--hang-timeout)";
                slot.end_hung(reason.to_owned());
            }
        });
        slot.set_writer(writer.abort_handle());
    }

    fn vote(&self, reply: Reply) {
        let Self { parent, slot, .. } = *self;
        let Reply { transaction, step, outcome } = reply;
        let vote = match outcome {
            Ok(mut done) => {
                // Kept even if the transaction has ended.
                if let Some(inventory) = done.loaded.take() {
                    slot.inventory.replace(Some(Rc::new(inventory)));
                }
                Vote::Done(done)
            }
            Err(reason) => Vote::Rejected(reason),
        };
        parent.reloads.ballots.cast(transaction, step, slot.index, vote);
    }
}

/// Ends the worker if it lives on without a link. `pid` is that of the link's process: by now the slot may have its
/// next one.
async fn end_unlinked(slot: &'static WorkerSlot, pid: Option<Pid>, reason: String) {
    tokio::time::sleep(UNLINKED_TIMEOUT).await;
    if pid.is_some() && slot.pid.get() == pid {
        slot.end_reason.replace(Some(format!("was ended: {reason}")));
        slot.kill();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::link::message;
    use crate::link::orders::Done;

    fn link(parent: &'static Parent) -> (WorkerLink, tokio::net::UnixStream) {
        let (worker, parents_end) = tokio::net::UnixStream::pair().expect("a pair of sockets");
        let mut link = WorkerLink::new(parent, &parent.workers.slots()[1], None);
        link.write = Some(parents_end.into_split().1);
        (link, worker)
    }

    fn json(value: &impl serde::Serialize) -> Bytes {
        serde_json::to_vec(value).expect("it can be encoded").into()
    }

    #[tokio::test(flavor = "local")]
    async fn a_worker_serves_from_its_first_ready_message_on() {
        let parent = Parent::idle(2);
        let (mut link, worker) = link(parent);
        let ready = json(&Inventory { routes_more: 7, ..Inventory::default() });
        link.slot.begin(std::time::Instant::now());
        assert_eq!(link.handle(Tag::Ready, &ready), Some(()));
        assert_eq!(parent.workers.serving(), [1]);
        assert!(parent.startup.is_over());
        parent.workers.none_starting().await;
        assert_eq!(link.slot.inventory.borrow().as_ref().map(|inventory| inventory.routes_more), Some(7));

        let drain = message(Tag::Drain, b"");
        parent.workers.drain();
        let mut written = vec![0; drain.len()];
        worker.readable().await.expect("the parent writes");
        worker.try_read(&mut written).expect("the parent has written");
        assert_eq!(written, drain);

        assert_eq!(link.handle(Tag::Ready, &ready), None, "a worker is ready once");
        assert_eq!(link.handle(Tag::Failed, &Bytes::new()), None, "a worker that serves has started");
        assert!(link.slot.finish(3));
        assert_eq!((link.slot.accepted_total(), parent.workers.serving()), (3, vec![]));
    }

    /// A setup of many routes is longer than what a socket holds.
    #[tokio::test(flavor = "local")]
    async fn the_event_loop_does_not_wait_for_a_worker_that_takes_its_setup_late() {
        use tokio::io::AsyncReadExt;

        let parent = Parent::idle(2);
        let (worker, parents_end) = UnixStream::pair().expect("a pair of sockets");
        [&worker, &parents_end].into_iter().for_each(|end| end.set_nonblocking(true).expect("it can be set"));
        let link = WorkerLink::new(parent, &parent.workers.slots()[1], None);
        let setup = Zeroizing::new(vec![7; 16 << 20]);
        let link = tokio::task::spawn_local(link.run(parents_end, setup.clone()));
        tokio::task::yield_now().await; // the socket is full
        let mut worker = tokio::net::UnixStream::from_std(worker).expect("there is a runtime");
        let mut taken = vec![0; setup.len()];
        worker.read_exact(&mut taken).await.expect("the parent writes");
        assert!(taken == *setup);
        worker.write_all(&message(Tag::Failed, b"no")).await.expect("the parent reads");
        drop(worker);
        link.await.expect("it ends with the socket");
        assert_eq!(parent.workers.slots()[1].start_failure.borrow().as_deref(), Some("no"));
    }

    #[tokio::test(flavor = "local")]
    async fn a_worker_that_cannot_start_says_why_once() {
        let (mut link, _worker) = link(Parent::idle(2));
        assert_eq!(link.handle(Tag::Failed, &Bytes::from_static(b"no such \x1bhandler")), Some(()));
        assert_eq!(link.slot.start_failure.borrow().as_deref(), Some("no such \u{fffd}handler"));
        assert_eq!(link.handle(Tag::Failed, &Bytes::new()), None);
        assert_eq!(link.handle(Tag::Ready, &json(&Inventory::default())), None);
    }

    #[tokio::test(flavor = "local")]
    async fn messages_that_are_not_a_workers_are_rejected() {
        let (mut link, _worker) = link(Parent::idle(2));
        for tag in [Tag::Drain, Tag::Order, Tag::Broadcast, Tag::WorkerMessage] {
            assert_eq!(link.handle(tag, &Bytes::new()), None);
        }
        assert_eq!(link.handle(Tag::Reply, &Bytes::from_static(b"{")), None);
        assert_eq!(link.handle(Tag::Ready, &Bytes::from_static(b"{")), None);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn a_reply_is_a_vote_and_may_bring_a_new_inventory() {
        let parent = Parent::idle(2);
        let (mut link, _worker) = link(parent);
        let mut ballot = parent.reloads.ballots.open();
        let loaded = Some(Inventory { routes_more: 8, ..Inventory::default() });
        let (transaction, step) = (ballot.number, ballot.next_step());
        let reply = Reply { transaction, step, outcome: Ok(Done { loaded, ..Done::default() }) };
        assert_eq!(link.handle(Tag::Reply, &json(&reply)), Some(()));
        assert_eq!(ballot.all_done(&[1], Instant::now()).await, Ok(()));
        assert_eq!(link.slot.inventory.borrow().as_ref().map(|inventory| inventory.routes_more), Some(8));
        let reply = Reply { transaction, step, outcome: Err("no".to_owned()) };
        assert_eq!(link.handle(Tag::Reply, &json(&reply)), Some(()));
        ballot.all_done(&[1], Instant::now()).await.expect_err("worker 1 rejects");
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn a_worker_that_does_not_read_its_queue_is_ended() {
        let parent = Parent::idle(2);
        let (mut link, _worker) = link(parent);
        assert_eq!(link.handle(Tag::Ready, &json(&Inventory::default())), Some(()));
        link.slot.send(vec![0; 16 << 20].into());
        let ended = async {
            while link.slot.end_reason.borrow().is_none() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let limit = parent.settings.limits.hang_timeout.expect("a default") + WRITE_GRACE;
        timeout(limit / 2, ended).await.expect_err("it has time");
        tokio::time::sleep(limit).await;
        let reason = link.slot.end_reason.borrow().clone().expect("it was ended");
        assert!(reason.ends_with("(--hang-timeout)"), "{reason}");
    }
}
