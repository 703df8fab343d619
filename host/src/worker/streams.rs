//! Which streams of HTTP/2 are ready. A stream has no descriptor that the reactor could watch: the task of its connection
//! wakes it, on the worker's own thread.

use std::sync::Arc;
use std::task::{Wake, Waker};

use super::Worker;

/// Wakes the client in a slot. One that has got the slot later has a turn in which nothing is there.
struct StreamWaker {
    slot: u32,
    is_for_reading: bool,
}

/// Wakers that give the client in a slot a turn: to read, and to write.
pub fn wakers(slot: u32) -> [Waker; 2] {
    [true, false].map(|is_for_reading| Arc::new(StreamWaker { slot, is_for_reading }).into())
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(worker) = Worker::current() else { return };
        let Some(c) = worker.hub.at(self.slot) else { return };
        let ready = if self.is_for_reading { &c.turn.readable } else { &c.turn.writable };
        ready.set(true);
        worker.hub.schedule.push(&c);
    }
}
