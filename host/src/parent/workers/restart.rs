//! How long a slot stays empty between two workers. A worker that dies once is replaced at once; if its successors die
//! soon after their start as well, the pause grows. Time goes in, a pause comes out; nothing here waits.

use std::time::Duration;

/// A worker that lived for less died early, even if it served.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// Early deaths in a row of workers that served, up to which the next worker starts at once.
const FREE_EARLY_DEATHS: u32 = 3;
/// First pause. It doubles with each further early death in a row.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How far a worker came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The worker reported that it cannot start, and why.
    FailedToStart(String),
    DiedBeforeServing,
    Served {
        lived: Duration,
    },
}

/// Counts the early deaths of one slot's workers.
#[derive(Debug, Default)]
pub struct RestartPolicy {
    /// In a row.
    pub early_deaths: u32,
}

impl RestartPolicy {
    /// The pause before the next worker. None: it starts at once.
    pub fn pause_after(&mut self, progress: &Progress) -> Option<Duration> {
        self.early_deaths = match progress {
            Progress::Served { lived } if *lived >= SHORT_LIFE => 0,
            _ => self.early_deaths.saturating_add(1),
        };
        if matches!(progress, Progress::Served { .. }) && self.early_deaths <= FREE_EARLY_DEATHS {
            return None;
        }
        let doubled = 2_u32.saturating_pow(self.early_deaths - 1);
        Some(PAUSE.saturating_mul(doubled).min(PAUSE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Option<Duration> = |ms| Some(Duration::from_millis(ms));

    fn served(lived_ms: u64) -> Progress {
        Progress::Served { lived: Duration::from_millis(lived_ms) }
    }

    fn pauses(progress: &[Progress]) -> Vec<Option<Duration>> {
        let mut policy = RestartPolicy::default();
        progress.iter().map(|progress| policy.pause_after(progress)).collect()
    }

    #[test]
    fn pauses_double_up_to_ten_seconds_if_no_worker_serves() {
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000].map(MS);
        assert_eq!(pauses(&vec![Progress::DiedBeforeServing; 9]), expected);
        assert_eq!(pauses(&vec![Progress::FailedToStart("no".into()); 9]), expected);
        let many = pauses(&vec![Progress::DiedBeforeServing; 100]);
        assert_eq!(many.last(), Some(&MS(10_000)));
    }

    #[test]
    fn a_worker_that_served_is_replaced_at_once_until_the_fourth_short_life() {
        assert_eq!(pauses(&vec![served(999); 5]), [None, None, None, MS(800), MS(1600)]);
        assert_eq!(pauses(&vec![served(1000); 100]), vec![None; 100]);
    }

    #[test]
    fn a_long_life_ends_the_row() {
        let died = Progress::DiedBeforeServing;
        let row = [died.clone(), died.clone(), served(1000), died, served(1)];
        assert_eq!(pauses(&row), [MS(100), MS(200), None, MS(100), None]);
    }
}
