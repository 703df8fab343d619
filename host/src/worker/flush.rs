//! Which clients have something to write at the end of this turn of the loop. What many callbacks of one turn send to
//! a client leaves in one write.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::client::Client;

/// Clients from which on the time of writing to them is measured.
const MANY: usize = 64;

/// Clients to write to, by slot.
#[derive(Debug, Default)]
pub struct FlushQueue {
    due: RefCell<Vec<u32>>,
    waker: RefCell<Option<Waker>>,
}

impl FlushQueue {
    /// Has the client written to at the end of this turn.
    #[inline]
    pub fn push(&self, c: &Client) {
        if c.turn.flush_due.replace(true) {
            return;
        }
        let mut due = self.due.borrow_mut();
        due.push(c.turn.slot.get());
        if due.len() == 1
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Calls `flush` for every client that is due, once per turn: woken by the first of them, this task runs after
    /// every task that was ready in this turn. Then calls `note` with the time that writing took, zero if it was short.
    pub async fn run(&self, mut flush: impl FnMut(u32), note: impl Fn(Duration)) {
        let mut turn = Vec::new();
        poll_fn(|cx| {
            if self.waker.borrow().is_none() {
                *self.waker.borrow_mut() = Some(cx.waker().clone());
            }
            std::mem::swap(&mut turn, &mut *self.due.borrow_mut());
            let begun = (turn.len() >= MANY).then(Instant::now);
            turn.drain(..).for_each(&mut flush);
            note(begun.map_or(Duration::ZERO, |begun| begun.elapsed()));
            Poll::<()>::Pending
        })
        .await;
    }
}
