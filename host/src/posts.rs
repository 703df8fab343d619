//! Messages between the workers' copies of a plugin: who receives what on this worker, and what has come and is
//! not delivered yet. A message enters by `arrived`, maybe while a callback runs, and leaves by the task, which
//! runs beside none. How it came here is `link`'s, what is called `plugin::later`'s.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};

use tokio::sync::Notify;

use crate::link::post::Post;
use crate::plugin::later::Receiver;

/// Bytes that may wait here. They wait only while one callback runs, when it sends so much that it has to take
/// in what others send; what comes beyond them is lost, and said so.
const WAITING_MAX: usize = 64 << 20;
/// Bytes that a message takes beside its name and data.
const OVERHEAD: usize = 64;

/// The receivers of a worker, and what waits for them.
#[derive(Debug, Default)]
pub struct Posts {
    /// By plugin, generation and id.
    receivers: RefCell<HashMap<(usize, u32, u32), Receiver>>,
    waiting: RefCell<VecDeque<Waiting>>,
    /// Bytes of what waits.
    length: Cell<usize>,
    /// Messages that came when too much waited, since that was said.
    lost: Cell<usize>,
    arrived: Notify,
}

#[derive(Debug)]
struct Waiting {
    source: u32,
    id: u32,
    plugin: String,
    /// Its own: a piece of what was read with it would keep all of that.
    data: Box<[u8]>,
}

impl Waiting {
    fn length(&self) -> usize {
        OVERHEAD + self.plugin.len() + self.data.len()
    }
}

impl Posts {
    /// Those of this thread. A plugin may say what it receives while it is loaded, before there is a worker.
    pub fn current() -> &'static Self {
        thread_local!(static CURRENT: &'static Posts = Box::leak(Box::default()));
        CURRENT.with(|posts| *posts)
    }

    /// From now on that copy of the plugin has messages of that id; None: no more.
    pub fn receive(&self, plugin: usize, generation: u32, id: u32, receiver: Option<Receiver>) {
        let key = (plugin, generation, id);
        let mut receivers = self.receivers.borrow_mut();
        match receiver {
            Some(receiver) => receivers.insert(key, receiver),
            None => receivers.remove(&key),
        };
    }

    /// One copy of a plugin receives nothing any more.
    pub fn end_plugin(&self, plugin: usize, generation: u32) {
        let is_of = |key: &(usize, u32, u32)| (key.0, key.1) == (plugin, generation);
        self.receivers.borrow_mut().retain(|key, _| !is_of(key));
    }

    /// Takes in a message for this worker. It is delivered soon.
    pub fn arrived(&self, post: Post<'_>) {
        let Post { source, id, plugin, data, .. } = post;
        let post = Waiting { source, id, plugin: plugin.to_owned(), data: data.into() };
        if self.length.get() + post.length() > WAITING_MAX {
            self.lost.set(self.lost.get() + 1);
            return;
        }
        self.length.set(self.length.get() + post.length());
        self.waiting.borrow_mut().push_back(post);
        self.arrived.notify_one();
    }

    /// Delivers what comes. `in_use` tells index and generation of the plugin of a name, as it is then.
    pub async fn run(&self, in_use: impl Fn(&str) -> Option<(usize, u32)>) {
        loop {
            self.arrived.notified().await;
            while !self.waiting.borrow().is_empty() {
                // What was there at the beginning of this turn; what came meanwhile has the next.
                let count = self.waiting.borrow().len();
                (0..count).for_each(|_| self.deliver_next(&in_use));
                tokio::task::yield_now().await;
            }
            match self.lost.take() {
                0 => {}
                lost => log::error!(
                    "{lost} messages from other workers were lost: more than {} MiB came while one callback ran",
                    WAITING_MAX >> 20
                ),
            }
        }
    }

    fn deliver_next(&self, in_use: impl Fn(&str) -> Option<(usize, u32)>) {
        let Some(post) = self.waiting.borrow_mut().pop_front() else { return };
        self.length.set(self.length.get() - post.length());
        let receiver = in_use(&post.plugin).and_then(|(plugin, generation)| {
            // Not borrowed while it runs: it may say what else it receives.
            self.receivers.borrow().get(&(plugin, generation, post.id)).copied()
        });
        match receiver {
            Some(receiver) => receiver.call(post.source, post.id, &post.data),
            None => log::debug!(
                "plugin `{}` has no receiver for message {} of worker {}",
                post.plugin,
                post.id,
                post.source
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::later::tests::{of_recorder, recorded};

    fn post(id: u32, data: &[u8]) -> Post<'_> {
        Post { target: 0, source: 3, id, plugin: "chat", data }
    }

    /// Runs until nothing waits any more.
    async fn deliver(posts: &Posts, generation: u32) {
        tokio::select! {
            () = posts.run(|name| (name == "chat").then_some((0, generation))) => unreachable!("it runs for ever"),
            () = async {
                while !posts.waiting.borrow().is_empty() {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    }

    #[tokio::test]
    async fn the_copy_in_use_has_the_messages_in_order_and_an_ended_one_none() {
        let posts = Posts::default();
        posts.receive(0, 1, 7, Some(of_recorder(1)));
        posts.receive(0, 2, 7, Some(of_recorder(2)));
        [b"a", b"b"].iter().for_each(|data| posts.arrived(post(7, *data)));
        posts.arrived(post(8, b"nobody's"));
        deliver(&posts, 1).await;
        posts.arrived(post(7, b"c"));
        deliver(&posts, 2).await;
        assert_eq!(recorded(), ["1: 3 7 a", "1: 3 7 b", "2: 3 7 c"]);
        posts.end_plugin(0, 2);
        posts.arrived(post(7, b"d"));
        deliver(&posts, 2).await;
        assert_eq!(recorded().len(), 0, "its copy has ended");
        posts.arrived(post(7, b"e"));
        deliver(&posts, 1).await;
        assert_eq!(recorded(), ["1: 3 7 e"], "the other has not");
    }

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let posts = Posts::default();
        let large = vec![0; WAITING_MAX / 4];
        (0..9).for_each(|_| posts.arrived(post(1, &large)));
        assert_eq!((posts.waiting.borrow().len(), posts.lost.get()), (3, 6));
        deliver(&posts, 1).await;
        assert_eq!((posts.length.get(), posts.waiting.borrow().len()), (0, 0));
    }
}
