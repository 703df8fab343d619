//! Finds out whether a build may still be writing a library. What the file system says of the file enters, look by look; leaves
//! whether to copy the file, to look again, or to give up.
//!
//! Invariant: a version of a file that could not be copied is not opened a second time.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Error;

use crate::system::file_stamp::{Stamp, stamp};

/// Time between two looks. A file that has changed in between is being written.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(25);
/// Age from which a file that is not complete counts as broken: linkers pause while they write.
const SETTLED: Duration = Duration::from_secs(1);

/// A version of the file, and its age since the last write. None: there is no such file.
pub type Look = Option<(Stamp, Option<Duration>)>;

/// Looks at the file without opening it.
pub fn look(path: &Path) -> Look {
    let about = fs::metadata(path).ok()?;
    let age = about.modified().ok().and_then(|at| at.elapsed().ok());
    Some((stamp(&about), age))
}

/// What to do next.
#[derive(Debug)]
pub enum Next {
    Copy,
    /// The file may still change.
    Wait,
    /// The file stays as it is, and this is why it was not copied.
    GiveUp(Error),
}

/// The looks so far.
#[derive(Debug, Default)]
pub struct Looks {
    last: Option<Stamp>,
    /// The version that could not be copied, and why.
    failed: Option<(Option<Stamp>, Error)>,
}

impl Looks {
    pub fn next(&mut self, look: Look) -> Next {
        let now = look.map(|(stamp, _)| stamp);
        let is_settled = now == std::mem::replace(&mut self.last, now);
        let is_young = look.is_some_and(|(_, age)| age.is_some_and(|age| age < SETTLED));
        match self.failed.take() {
            None => Next::Copy,
            Some((version, error)) if is_settled && version == now && !is_young => Next::GiveUp(error),
            Some((version, _)) if is_settled && version != now => Next::Copy,
            failed => {
                self.failed = failed;
                Next::Wait
            }
        }
    }

    /// That version could not be copied.
    pub fn failed(&mut self, look: Look, error: Error) {
        self.failed = Some((look.map(|(stamp, _)| stamp), error));
    }

    /// Why the last version could not be copied.
    pub fn error(self) -> Option<Error> {
        self.failed.map(|(_, error)| error)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    const OLD: Option<Duration> = Some(Duration::from_secs(3600));
    const YOUNG: Option<Duration> = Some(Duration::from_millis(100));

    /// A version of the file, of that size.
    fn file(size: u64, age: Option<Duration>) -> Look {
        Some((((1, 2), size, (0, 0), (0, 0)), age))
    }

    /// What follows each look; every copy fails.
    fn steps(looks_at: &[Look]) -> Vec<String> {
        let mut looks = Looks::default();
        let step = |look: &Look| match looks.next(*look) {
            Next::Copy => {
                looks.failed(*look, anyhow!("broken"));
                "copy".to_owned()
            }
            Next::Wait => "wait".to_owned(),
            Next::GiveUp(error) => error.to_string(),
        };
        looks_at.iter().map(step).collect()
    }

    #[test]
    fn a_broken_or_missing_file_is_opened_once() {
        assert_eq!(steps(&[file(7, OLD), file(7, OLD)]), ["copy", "broken"]);
        assert_eq!(steps(&[None, None]), ["copy", "broken"]);
        // A clock that runs behind that of the file system.
        assert_eq!(steps(&[file(7, None), file(7, None)]), ["copy", "broken"]);
    }

    #[test]
    fn a_file_that_a_build_is_writing_is_opened_again_when_it_has_settled() {
        let young = [7, 7, 8, 9, 9].map(|size| file(size, YOUNG));
        assert_eq!(steps(&young), ["copy", "wait", "wait", "wait", "copy"]);
        assert_eq!(steps(&[None, file(7, YOUNG), file(7, YOUNG)]), ["copy", "wait", "copy"]);
        assert_eq!(steps(&[file(7, YOUNG), file(7, YOUNG), file(7, OLD)]), ["copy", "wait", "broken"]);
    }
}
