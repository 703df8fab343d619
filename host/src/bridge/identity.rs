//! The index of this worker and the number of workers. Plugins may read both from any thread, also while they are
//! loaded. Set once, before the first plugin is loaded.

use std::sync::OnceLock;

static IDENTITY: OnceLock<(u32, u32)> = OnceLock::new();

/// Sets the worker's index and the number of workers. Later calls have no effect.
pub fn set(index: usize, workers: usize) {
    IDENTITY.get_or_init(|| (index as u32, workers as u32));
}

/// The worker's index and the number of workers. (0, 1) in a process that is not a worker.
pub fn get() -> (u32, u32) {
    *IDENTITY.get().unwrap_or(&(0, 1))
}
