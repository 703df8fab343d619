//! Holds back log lines that clients cause and that repeat: one of a kind, or a few, are logged in each interval, with the
//! number of those that were held back before. The kinds are bounded too, because clients choose parts of the text.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use log::Level;

/// From the first line of a kind to the end of its interval.
const INTERVAL: Duration = Duration::from_secs(60);
/// Lines of a kind in one interval, where each of them names another client or another failure.
pub const FEW: usize = 10;
/// Kinds that are logged in one interval.
const KINDS_MAX: usize = 32;

/// The lines that were logged lately.
#[derive(Debug)]
pub struct Repeats {
    /// Lines of a kind in one interval.
    burst: usize,
    kinds: RefCell<HashMap<String, Kind>>,
    /// Lines of kinds that had no room.
    others: Cell<usize>,
}

#[derive(Debug)]
struct Kind {
    since: Instant,
    logged: usize,
    held_back: usize,
}

impl Default for Repeats {
    fn default() -> Self {
        Self::allowing(1)
    }
}

impl Repeats {
    /// Allows that many lines of a kind in each interval.
    pub fn allowing(burst: usize) -> Self {
        Self { burst, kinds: RefCell::default(), others: Cell::new(0) }
    }

    /// Logs a line of that kind, or holds it back.
    pub fn log(&self, level: Level, kind: &str, line: fmt::Arguments<'_>) {
        if let Some(held_back) = self.admit(kind, Instant::now()) {
            log::log!(level, "{line}{held_back}");
        }
    }

    /// Whether to log a line of that kind now. None: it is held back.
    fn admit(&self, kind: &str, now: Instant) -> Option<HeldBack> {
        let mut kinds = self.kinds.borrow_mut();
        let is_recent = |kind: &Kind| now.saturating_duration_since(kind.since) < INTERVAL;
        let mut held_back = 0;
        if let Some(known) = kinds.get_mut(kind) {
            if is_recent(known) && known.logged < self.burst {
                known.logged += 1;
                return Some(HeldBack(0));
            }
            if is_recent(known) {
                known.held_back += 1;
                return None;
            }
            held_back = known.held_back;
        } else if kinds.len() >= KINDS_MAX {
            kinds.retain(|_, kind| is_recent(kind));
            if kinds.len() >= KINDS_MAX {
                self.others.set(self.others.get() + 1);
                return None;
            }
        }
        kinds.insert(kind.to_owned(), Kind { since: now, logged: 1, held_back: 0 });
        Some(HeldBack(held_back + self.others.take()))
    }
}

/// How many lines were held back; the end of the line that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HeldBack(usize);

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (1 such line before was not logged)"),
            n => write!(f, " ({n} such lines before were not logged)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_logged_once_in_an_interval_with_the_number_of_those_held_back() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let admit = |kind, seconds| repeats.admit(kind, start + Duration::from_secs(seconds));
        assert_eq!(admit("a", 0), Some(HeldBack(0)));
        assert_eq!((admit("a", 1), admit("a", 59)), (None, None));
        assert_eq!(admit("b", 59), Some(HeldBack(0)));
        assert_eq!(admit("a", 60), Some(HeldBack(2)));
        assert_eq!(admit("a", 120), Some(HeldBack(0)));
    }

    #[test]
    fn a_few_lines_of_a_kind_can_be_allowed() {
        let (repeats, start) = (Repeats::allowing(3), Instant::now());
        let admit = |kind, seconds| repeats.admit(kind, start + Duration::from_secs(seconds));
        for seconds in 0..3 {
            assert_eq!(admit("a", seconds), Some(HeldBack(0)));
        }
        assert_eq!((admit("a", 3), admit("b", 3), admit("a", 59)), (None, Some(HeldBack(0)), None));
        assert_eq!((admit("a", 60), admit("a", 61)), (Some(HeldBack(2)), Some(HeldBack(0))));
    }

    #[test]
    fn the_number_of_kinds_is_bounded() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let logged =
            |number: usize, seconds| repeats.admit(&number.to_string(), start + Duration::from_secs(seconds));
        assert_eq!((0..1000).filter(|&number| logged(number, 0).is_some()).count(), KINDS_MAX);
        assert_eq!(logged(5000, 61), Some(HeldBack(1000 - KINDS_MAX)));
        assert_eq!(logged(5001, 61), Some(HeldBack(0)));
        assert!(repeats.kinds.borrow().len() <= KINDS_MAX);
    }
}
