//! Tasks of a process that outlives its own bugs: the parent. A task that panics is logged with its name, and
//! [`panicked`] becomes ready, for the process to shut down in order. No task ends silently.
//!
//! A panic is known to the thread of the task alone; all of the parent's tasks run on one thread.

use std::borrow::Cow;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::panic;

thread_local! {
    static PANICS: Rc<Panics> = Rc::default();
}

#[derive(Default)]
struct Panics {
    /// Name of the first task that panicked.
    first: RefCell<Option<String>>,
    noted: Notify,
}

/// Spawns a task on this thread. `name` completes "the task … of the parent" in the log.
pub fn spawn(
    name: impl Into<Cow<'static, str>>,
    future: impl Future<Output = ()> + 'static,
) -> JoinHandle<()> {
    let name = name.into();
    tokio::task::spawn_local(async move {
        let mut future = pin!(future);
        let result = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
            Err(payload) => Poll::Ready(Err(payload)),
        });
        if let Err(payload) = result.await {
            log::error!(
                "bug in callsign: the task `{name}` of the parent panicked: {}; stopping the server",
                panic::message(&*payload)
            );
            note_panic(&name);
        }
    })
}

/// The first task of this thread that panicked.
pub fn first_panicked() -> Option<String> {
    PANICS.with(|panics| panics.first.borrow().clone())
}

/// Waits until a task of this thread has panicked. Returns the task's name.
pub async fn panicked() -> String {
    let panics = PANICS.with(Rc::clone);
    loop {
        let noted = panics.noted.notified();
        if let Some(name) = first_panicked() {
            return name;
        }
        noted.await;
    }
}

fn note_panic(name: &str) {
    PANICS.with(|panics| {
        panics.first.borrow_mut().get_or_insert_with(|| name.to_owned());
        panics.noted.notify_waiters();
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// Tests may run one after the other on the same thread.
    fn forget_panics() {
        PANICS.with(|panics| panics.first.take());
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn a_task_that_panics_is_known_by_its_name() {
        forget_panics();
        let task = spawn("the test's task", async {
            tokio::task::yield_now().await;
            panic!("its panic");
        });
        assert_eq!(panicked().await, "the test's task");
        task.await.expect("the panic was caught");
        spawn("a later one", async { panic!("another panic") }).await.expect("the panic was caught");
        assert_eq!(first_panicked().as_deref(), Some("the test's task"), "the first one explains more");
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn a_task_that_ends_or_is_aborted_did_not_panic() {
        forget_panics();
        spawn("one that ends", async {}).await.expect("it ends");
        let task = spawn("one that is aborted", std::future::pending());
        task.abort();
        assert!(task.await.expect_err("it was aborted").is_cancelled());
        timeout(Duration::from_secs(1), panicked()).await.expect_err("no task panicked");
        assert_eq!(first_panicked(), None);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn what_a_task_owns_is_dropped_when_it_panics() {
        forget_panics();
        let owned = Rc::new(());
        let weak = Rc::downgrade(&owned);
        spawn("an owner", async move {
            let _owned = owned;
            panic!("its panic");
        });
        panicked().await;
        tokio::task::yield_now().await;
        assert_eq!(weak.strong_count(), 0);
    }
}
