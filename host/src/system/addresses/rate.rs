//! A token bucket whose state is one number: the time at which it is full again (GCRA, the generic cell rate algorithm). A
//! full bucket needs no state, and nothing runs to fill one.

use std::time::Duration;

/// What each bucket of a rate holds, and how fast it fills. Times are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// From empty to full.
    fill: u64,
    /// For one token.
    token: u64,
}

impl Bucket {
    /// A bucket of `count` tokens, as many as come within `per`. Neither is 0.
    pub fn new(count: u32, per: Duration) -> Self {
        let fill = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX / 2).max(1);
        Self { fill, token: (fill / u64::from(count.max(1))).max(1) }
    }

    /// Takes a token at `now` out of a bucket that is full at `full`. When it is full then; Err: it has no token; time until
    /// it has one.
    pub fn take(self, full: u64, now: u64) -> Result<u64, u64> {
        // A clock that another process has read may be ahead, but no bucket needs longer than `fill`.
        let full = full.clamp(now, now + self.fill) + self.token;
        let wait = full.saturating_sub(now + self.fill);
        if wait == 0 { Ok(full) } else { Err(wait) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// How many tokens can be taken at once at `now`.
    fn all(bucket: Bucket, full: &mut u64, now: u64) -> usize {
        let mut count = 0;
        while let Ok(next) = bucket.take(*full, now) {
            (*full, count) = (next, count + 1);
        }
        count
    }

    #[test]
    fn a_bucket_holds_its_tokens_and_fills_evenly() {
        let (bucket, mut full, start) = (Bucket::new(5, Duration::from_secs(10)), 0, 77 * SECOND);
        assert_eq!(all(bucket, &mut full, start), 5);
        assert_eq!(bucket.take(full, start), Err(2 * SECOND));
        assert_eq!(bucket.take(full, start + SECOND / 2), Err(3 * SECOND / 2));
        assert_eq!(all(bucket, &mut full, start + 2 * SECOND - 1), 0);
        assert_eq!(all(bucket, &mut full, start + 2 * SECOND), 1);
        assert_eq!(all(bucket, &mut full, start + 8 * SECOND), 3);
        assert_eq!(all(bucket, &mut full, start + 100 * SECOND), 5, "it holds no more");
    }

    #[test]
    fn the_average_is_the_rate_whatever_the_times() {
        let (bucket, mut full, mut count) = (Bucket::new(300, Duration::from_secs(60)), 0, 0);
        for step in 0..10_000 {
            count += all(bucket, &mut full, SECOND + step * 7_919_999);
        }
        // 79.2 s: 300 at once, then 5 each second.
        assert_eq!(count, 300 + 395);
    }

    #[test]
    fn a_time_that_no_bucket_can_have_empties_it_for_one_filling() {
        let bucket = Bucket::new(2, Duration::from_secs(1));
        assert_eq!(bucket.take(u64::MAX, SECOND), Err(SECOND / 2));
        assert_eq!(bucket.take(5 * SECOND, 4 * SECOND), Err(SECOND / 2));
    }

    #[test]
    fn the_highest_rate_still_limits() {
        let bucket = Bucket::new(u32::MAX, Duration::from_nanos(1));
        assert_eq!(all(bucket, &mut 0, SECOND), 1);
    }
}
