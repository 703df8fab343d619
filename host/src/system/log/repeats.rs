//! Holds back log lines that clients cause and that repeat: one of a kind is logged in each interval, with the number of
//! those before it. The kinds are bounded too, because clients choose parts of the text.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Time between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(60);
/// Kinds that are logged in one interval.
const KINDS_MAX: usize = 32;

/// The lines that were logged lately.
#[derive(Debug, Default)]
pub struct Repeats {
    kinds: RefCell<HashMap<String, Kind>>,
    /// Lines of kinds that had no room.
    others: Cell<usize>,
}

#[derive(Debug)]
struct Kind {
    logged_at: Instant,
    held_back: usize,
}

impl Repeats {
    /// Whether to log a line of that kind now. None: it is held back.
    pub fn admit(&self, kind: &str, now: Instant) -> Option<HeldBack> {
        let mut kinds = self.kinds.borrow_mut();
        let is_recent = |kind: &Kind| now.saturating_duration_since(kind.logged_at) < INTERVAL;
        let mut held_back = 0;
        if let Some(known) = kinds.get_mut(kind) {
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
        kinds.insert(kind.to_owned(), Kind { logged_at: now, held_back: 0 });
        Some(HeldBack(held_back + self.others.take()))
    }
}

/// How many lines were held back; the end of the line that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack(usize);

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
