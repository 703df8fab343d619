//! By how much reloads have grown a worker process. Its resident memory before and after each reload enters; the sum
//! leaves, and a warning when it has become large. Rejected reloads count too.

/// KiB from which an operator is warned, and again whenever the growth has doubled.
const LARGE: u64 = 128 * 1024;

/// The growth of one process, in KiB.
#[derive(Debug, Default)]
pub struct Growth {
    sum: i64,
    /// During a reload: the memory before it.
    before: Option<u64>,
    reloads: u32,
    /// The growth at the last warning.
    warned_at: u64,
}

impl Growth {
    /// A reload begins. None: the system does not tell the size of a process.
    pub fn begin(&mut self, resident: Option<u64>) {
        self.before = resident;
    }

    /// The reload has ended. Returns a warning if the growth has become large, as the end of a sentence about the worker.
    pub fn end(&mut self, resident: Option<u64>) -> Option<String> {
        let (before, after) = (self.before.take()?, resident?);
        self.reloads += 1;
        self.sum += i64::try_from(after).ok()? - i64::try_from(before).ok()?;
        let sum = self.kib();
        if sum < LARGE.max(self.warned_at * 2) {
            return None;
        }
        self.warned_at = sum;
        Some(format!(
            "has grown by {} MiB in {} reloads, to {} MiB: the code of old generations, and what their statics refer to, \
             stays in memory. Free what a generation holds in its onunload hook; restart the server to free the rest",
            sum / 1024,
            self.reloads,
            after / 1024
        ))
    }

    /// The growth. 0 if the process has shrunk.
    pub fn kib(&self) -> u64 {
        u64::try_from(self.sum).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each reload leads to a warning; each grows the process by so many MiB.
    fn warnings(mebibytes: &[i64]) -> Vec<bool> {
        let (mut growth, mut resident) = (Growth::default(), 10 * 1024_i64);
        let mut reload = |mib: &i64| {
            growth.begin(u64::try_from(resident).ok());
            resident += mib * 1024;
            growth.end(u64::try_from(resident).ok()).is_some()
        };
        mebibytes.iter().map(&mut reload).collect()
    }

    #[test]
    fn a_warning_follows_a_large_growth_and_each_doubling() {
        assert_eq!(warnings(&[100, 27, 1, 100, 28, 1]), [false, false, true, false, true, false]);
        assert_eq!(warnings(&[200, -200, 100]), [true, false, false]);
    }

    #[test]
    fn memory_that_a_process_uses_between_reloads_does_not_count() {
        let mut growth = Growth::default();
        growth.begin(Some(1000));
        assert_eq!(growth.end(Some(1100)), None);
        growth.begin(Some(9000));
        assert_eq!((growth.end(Some(9010)), growth.kib()), (None, 110));
        growth.begin(None);
        assert_eq!((growth.end(Some(1)), growth.kib()), (None, 110));
    }
}
