//! The time limit of one reload (`--reload-timeout`): all its steps up to the decision share one deadline.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

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
}
