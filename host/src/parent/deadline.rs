//! The time limit of one reload (`--reload-timeout`): all its steps up to the decision share one deadline.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, timeout_at};

use crate::system::pool::Pool;

/// When a reload must have been decided.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    pub at: Instant,
    /// The operator's limit, for messages.
    limit: Duration,
}

impl Deadline {
    /// The limit begins now.
    pub fn after(limit: Duration) -> Self {
        Self { at: Instant::now() + limit, limit }
    }

    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    pub fn is_over(&self) -> bool {
        self.remaining().is_zero()
    }

    /// `within 10s (--reload-timeout)`
    pub fn within(&self) -> String {
        format!("within {:?} (--reload-timeout)", self.limit)
    }

    /// The result of `f`. None: it was not there in time.
    pub async fn bound<T>(&self, f: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.at, f).await.ok()
    }

    /// The result of `f`, which a thread of its own runs, because it may wait for a network: an earlier thread may still wait.
    /// Err: `late`, such as "the settings had not been read", if it was not there in time.
    pub async fn on_thread<T: Send + 'static>(
        &self,
        thread: &'static str,
        late: &str,
        f: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let result = self.bound(Pool::new(thread, 1).call(f)).await;
        result.unwrap_or_else(|| bail!("{late} {}", self.within()))
    }
}
