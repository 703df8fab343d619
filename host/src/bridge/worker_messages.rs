//! Messages between a plugin's instances on different workers: the handlers of this worker, and the messages that have
//! arrived and are not delivered yet. A message enters by `arrived`, perhaps while a callback runs; the task that runs
//! [`WorkerMessages::run`] delivers it.
//!
//! Invariant: a message goes to the generation in use at its delivery, whichever was in use at its arrival.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};

use tokio::sync::Notify;

use crate::link::worker_message::WorkerMessage;
use crate::plugin::deferred::MessageHandler;
use crate::system::pace::Pace;

/// Bytes that may be queued. The queue grows only during a callback that sends so much that the link is full: the
/// worker then receives while it sends. Messages beyond the limit are dropped and logged.
const QUEUE_MAX: usize = 64 << 20;
/// Bytes that a message takes besides its plugin's name and its data.
const OVERHEAD: usize = 64;

/// The message handlers of a worker, and the messages for them.
#[derive(Debug, Default)]
pub struct WorkerMessages {
    /// By plugin index, generation and message id.
    handlers: RefCell<HashMap<(usize, u32, u32), MessageHandler>>,
    queue: RefCell<VecDeque<QueuedMessage>>,
    queued_bytes: Cell<usize>,
    /// Messages that were dropped since the last log line about it.
    dropped: Cell<usize>,
    queued: Notify,
    /// How long messages are delivered before clients have their turn.
    pace: Pace,
}

#[derive(Debug)]
struct QueuedMessage {
    source: u32,
    id: u32,
    plugin: String,
    /// Copied, because a slice would keep the whole read buffer alive. Has room for the NUL behind it.
    data: Vec<u8>,
}

impl QueuedMessage {
    fn size(&self) -> usize {
        OVERHEAD + self.plugin.len() + self.data.len()
    }
}

impl WorkerMessages {
    /// The worker messages of this thread. A plugin may register handlers while it is loaded, before the worker exists.
    pub fn current() -> &'static Self {
        thread_local!(static CURRENT: &'static WorkerMessages = Box::leak(Box::default()));
        CURRENT.with(|messages| *messages)
    }

    /// Registers the handler of one generation of a plugin for messages of that id. None: removes it.
    pub fn set_handler(&self, plugin: usize, generation: u32, id: u32, handler: Option<MessageHandler>) {
        let key = (plugin, generation, id);
        let mut handlers = self.handlers.borrow_mut();
        match handler {
            Some(handler) => handlers.insert(key, handler),
            None => handlers.remove(&key),
        };
    }

    /// Removes the handlers of one generation of a plugin.
    pub fn end_generation(&self, plugin: usize, generation: u32) {
        let belongs = |key: &(usize, u32, u32)| (key.0, key.1) == (plugin, generation);
        self.handlers.borrow_mut().retain(|key, _| !belongs(key));
    }

    /// Queues a message that has arrived for this worker.
    pub fn arrived(&self, message: WorkerMessage<'_>) {
        let WorkerMessage { source, id, plugin, data: arrived, .. } = message;
        let mut data = Vec::with_capacity(arrived.len() + 1);
        data.extend_from_slice(arrived);
        let message = QueuedMessage { source, id, plugin: plugin.to_owned(), data };
        if self.queued_bytes.get() + message.size() > QUEUE_MAX {
            self.dropped.set(self.dropped.get() + 1);
            return;
        }
        self.queued_bytes.set(self.queued_bytes.get() + message.size());
        self.queue.borrow_mut().push_back(message);
        self.queued.notify_one();
    }

    /// Delivers messages. `in_use` returns index and generation of the plugin in use under a name.
    pub async fn run(&self, in_use: impl Fn(&str) -> Option<(usize, u32)>) {
        loop {
            self.queued.notified().await;
            while !self.queue.borrow().is_empty() {
                // Messages that arrive during this turn wait for the next, so that other tasks run in between.
                let count = self.queue.borrow().len();
                for _ in 0..count {
                    if self.pace.is_over() {
                        break;
                    }
                    self.deliver_next(&in_use);
                }
                self.pace.end_turn();
                tokio::task::yield_now().await;
            }
            match self.dropped.take() {
                0 => {}
                dropped => log::error!(
                    "dropped {dropped} messages from other workers: more than {} MiB arrived during one callback",
                    QUEUE_MAX >> 20
                ),
            }
        }
    }

    fn deliver_next(&self, in_use: impl Fn(&str) -> Option<(usize, u32)>) {
        let Some(message) = self.queue.borrow_mut().pop_front() else { return };
        self.queued_bytes.set(self.queued_bytes.get() - message.size());
        let handler = in_use(&message.plugin).and_then(|(plugin, generation)| {
            // The borrow ends before the call, because the handler may register handlers.
            self.handlers.borrow().get(&(plugin, generation, message.id)).copied()
        });
        match handler {
            Some(handler) => handler.call(message.source, message.id, message.data),
            None => log::debug!(
                "plugin `{}` has no handler for message {} of worker {}",
                message.plugin,
                message.id,
                message.source
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::deferred::tests::{of_recorder, recorded};

    fn message(id: u32, data: &[u8]) -> WorkerMessage<'_> {
        WorkerMessage { target: 0, source: 3, id, plugin: "chat", data }
    }

    /// Runs until the queue is empty.
    async fn deliver(messages: &WorkerMessages, generation: u32) {
        tokio::select! {
            () = messages.run(|name| (name == "chat").then_some((0, generation))) => unreachable!("delivery runs for ever"),
            () = async {
                while !messages.queue.borrow().is_empty() {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    }

    #[tokio::test]
    async fn the_generation_in_use_gets_messages_in_order_and_an_ended_one_gets_none() {
        let messages = WorkerMessages::default();
        messages.set_handler(0, 1, 7, Some(of_recorder(1)));
        messages.set_handler(0, 2, 7, Some(of_recorder(2)));
        [b"a", b"b"].iter().for_each(|data| messages.arrived(message(7, *data)));
        messages.arrived(message(8, b"nobody's"));
        deliver(&messages, 1).await;
        messages.arrived(message(7, b"c"));
        deliver(&messages, 2).await;
        assert_eq!(recorded(), ["1: 3 7 a", "1: 3 7 b", "2: 3 7 c"]);
        messages.end_generation(0, 2);
        messages.arrived(message(7, b"d"));
        deliver(&messages, 2).await;
        assert_eq!(recorded().len(), 0, "its generation has ended");
        messages.arrived(message(7, b"e"));
        deliver(&messages, 1).await;
        assert_eq!(recorded(), ["1: 3 7 e"], "the other has not");
    }

    #[tokio::test]
    async fn the_queue_is_bounded() {
        let messages = WorkerMessages::default();
        let large = vec![0; QUEUE_MAX / 4];
        (0..9).for_each(|_| messages.arrived(message(1, &large)));
        assert_eq!((messages.queue.borrow().len(), messages.dropped.get()), (3, 6));
        deliver(&messages, 1).await;
        assert_eq!((messages.queued_bytes.get(), messages.queue.borrow().len()), (0, 0));
    }
}
