//! Ends a turn of many small pieces of work after about a millisecond, so that other tasks run, with few looks at the
//! clock: a look costs a quarter of a small piece.
//!
//! The first look in a turn comes after as many pieces as used to take a quarter of the time; the more a piece takes,
//! the earlier. Pieces before the first look are not counted, so a turn is bounded only about as well as pieces
//! resemble each other.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// Time after which a turn ends, if nothing allows more.
const TURN: Duration = Duration::from_millis(1);
/// Most time that is allowed for a turn.
const TURN_MAX: Duration = Duration::from_millis(10);
/// Aim for the time between two looks.
const STEP: Duration = Duration::from_micros(250);
/// Most pieces between two looks.
const STRIDE_MAX: u32 = 32;

/// Measures turns.
#[derive(Debug)]
pub struct Pace {
    /// Pieces to the next look.
    countdown: Cell<u32>,
    /// Pieces between two looks.
    stride: Cell<u32>,
    /// The last look, if there was one in this turn.
    looked_at: Cell<Option<Instant>>,
    /// Measured time of this turn.
    spent: Cell<Duration>,
    /// Time after which a turn ends.
    turn: Cell<Duration>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            countdown: Cell::new(1),
            stride: Cell::new(1),
            looked_at: Cell::new(None),
            spent: Cell::new(Duration::ZERO),
            turn: Cell::new(TURN),
        }
    }
}

impl Pace {
    /// Allows a turn as much time as each turn costs behind it, from 1 to 10 ms: shorter turns would multiply that cost.
    pub fn allow(&self, cost: Duration) {
        self.turn.set(cost.clamp(TURN, TURN_MAX));
    }

    /// Time after which a turn ends.
    pub fn turn(&self) -> Duration {
        self.turn.get()
    }

    /// Before each piece: whether the turn is over. The piece then belongs to the next turn.
    #[inline]
    pub fn is_over(&self) -> bool {
        let left = self.countdown.get() - 1;
        self.countdown.set(left);
        left == 0 && self.look()
    }

    #[cold]
    fn look(&self) -> bool {
        let now = Instant::now();
        let stride = self.stride.get();
        if let Some(before) = self.looked_at.replace(Some(now)) {
            self.learn(now - before, stride);
        }
        self.countdown.set(self.stride.get());
        let is_over = self.spent.get() >= self.turn.get();
        if is_over {
            self.looked_at.set(None);
        }
        is_over
    }

    /// Ends the turn; returns its measured time.
    #[inline]
    pub fn end_turn(&self) -> Duration {
        match self.looked_at.take() {
            None => self.spent.take(),
            Some(before) => self.end_measured_turn(before),
        }
    }

    #[cold]
    fn end_measured_turn(&self, before: Instant) -> Duration {
        // The piece behind a look is not counted down.
        let pieces = self.stride.get() - self.countdown.get() + 1;
        self.learn(before.elapsed(), pieces);
        let stride = self.stride.get();
        // Two looks, one of them here: twice as many pieces of short turns lie between them.
        self.countdown.set(if stride == STRIDE_MAX { 2 * stride } else { stride });
        self.spent.take()
    }

    /// Shortens the stride at once, and lengthens it slowly.
    fn learn(&self, took: Duration, pieces: u32) {
        self.spent.set(self.spent.get() + took);
        let aim = STEP.as_nanos() * u128::from(pieces) / took.as_nanos().max(1);
        let most = STRIDE_MAX.min(2 * self.stride.get());
        self.stride.set(u32::try_from(aim).unwrap_or(most).clamp(1, most));
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// A turn with pieces that take that long; returns how many fit.
    async fn turn(pace: &Pace, piece: Duration, most: usize) -> usize {
        let mut pieces = 0;
        while pieces < most && !pace.is_over() {
            advance(piece).await;
            pieces += 1;
        }
        pace.end_turn();
        pieces
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_ends_after_a_millisecond_whatever_a_piece_takes() {
        for (micros, pieces) in [(1, 1000), (10, 100), (100, 10), (400, 3), (5_000, 1)] {
            let (pace, piece) = (Pace::default(), Duration::from_micros(micros));
            for number in 0..10 {
                let count = turn(&pace, piece, usize::MAX).await;
                assert!(
                    (pieces..=pieces + 2 * STRIDE_MAX as usize).contains(&count) && count <= 2 * pieces,
                    "{count} pieces of {micros} us in turn {number}"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_may_take_as_long_as_what_it_costs_behind_it() {
        let (pace, piece) = (Pace::default(), Duration::from_micros(100));
        for (cost, pieces) in [(0, 10), (5, 50), (1000, 100), (0, 10)] {
            pace.allow(Duration::from_millis(cost));
            // The stride is learned.
            turn(&pace, piece, usize::MAX).await;
            let count = turn(&pace, piece, usize::MAX).await;
            assert!((pieces..=pieces + 4).contains(&count), "{count} pieces after a cost of {cost} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_that_begin_to_take_long_are_noticed_within_two_strides() {
        let pace = Pace::default();
        for _ in 0..20 {
            turn(&pace, Duration::from_micros(1), usize::MAX).await;
        }
        let count = turn(&pace, Duration::from_millis(1), usize::MAX).await;
        assert!(count <= 3 * STRIDE_MAX as usize, "{count}");
        assert!(turn(&pace, Duration::from_millis(1), usize::MAX).await <= 2);
    }

    #[tokio::test(start_paused = true)]
    async fn short_turns_are_measured_too() {
        for length in [1, 2, 16, 20, 32, 64] {
            let pace = Pace::default();
            for _ in 0..200 {
                turn(&pace, Duration::from_micros(1), length).await;
            }
            // So slow that only one piece fits. A turn of one piece is never cut.
            for _ in 0..100 {
                turn(&pace, Duration::from_millis(50), length).await;
            }
            assert!(turn(&pace, Duration::from_millis(50), length).await <= 2, "turns of {length}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn small_pieces_cost_one_look_for_each_stride() {
        let pace = Pace::default();
        for _ in 0..20 {
            turn(&pace, Duration::from_nanos(100), 1000).await;
        }
        assert_eq!(pace.stride.get(), STRIDE_MAX);
        // Turns of one piece: one of 64 is measured, with two looks.
        let looks = (0..640).filter(|_| {
            let _ = pace.is_over();
            let looked = pace.looked_at.get().is_some();
            pace.end_turn();
            looked
        });
        assert_eq!(looks.count(), 10);
    }
}
