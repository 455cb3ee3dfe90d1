//! A host's clocks: they start apart, one runs a little faster than another, and the wall clock jumps.

use skein_gossip::{Instant, Now};

/// What the wall clocks show at the beginning, give or take: 15 June 2025.
const EPOCH_MS: u64 = 1_750_000_000_000;
/// Parts in a million, of one.
const MILLION: u64 = 1_000_000;

/// One host's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// How far the wall clock is from true time, in milliseconds. Jumps change it.
    pub wall_offset_ms: i64,
    /// How much faster than true time both clocks run, in parts per million; negative: slower.
    pub drift_ppm: i64,
    /// When the daemon was started, in true microseconds: where its monotonic clock has its origin.
    pub origin_us: u64,
}

impl Clock {
    /// What the clocks show at a true time.
    #[must_use]
    pub fn now(&self, true_us: u64) -> Now {
        let mono = Instant(self.scale(true_us.saturating_sub(self.origin_us)));
        Now { mono, wall_ms: self.wall_ms(true_us) }
    }

    /// What the wall clock shows at a true time.
    #[must_use]
    pub fn wall_ms(&self, true_us: u64) -> u64 {
        (EPOCH_MS + self.scale(true_us) / 1000).saturating_add_signed(self.wall_offset_ms)
    }

    /// The first true microsecond at which the monotonic clock shows `at` or more.
    #[must_use]
    pub fn true_us(&self, at: Instant) -> u64 {
        let rate = u128::from(self.rate());
        let elapsed = (u128::from(at.0) * u128::from(MILLION)).div_ceil(rate);
        u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(self.origin_us)
    }

    fn scale(&self, us: u64) -> u64 {
        u64::try_from(u128::from(us) * u128::from(self.rate()) / u128::from(MILLION)).unwrap_or(u64::MAX)
    }

    fn rate(&self) -> u64 {
        MILLION.saturating_add_signed(self.drift_ppm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_come_when_it_is_said_to_and_not_before() {
        for drift_ppm in [-10_000, -37, 0, 1, 10_000] {
            let clock = Clock { wall_offset_ms: 0, drift_ppm, origin_us: 77 };
            for at in [0, 1, 99, 100, 101, 1_000_003, 86_400_000_000] {
                let when = clock.true_us(Instant(at));
                assert!(clock.now(when).mono >= Instant(at), "{drift_ppm} {at}");
                assert!(at == 0 || clock.now(when - 1).mono < Instant(at), "{drift_ppm} {at}");
            }
        }
    }

    #[test]
    fn a_jump_moves_the_wall_clock_alone() {
        let before = Clock { wall_offset_ms: 5, drift_ppm: 100, origin_us: 0 };
        let after = Clock { wall_offset_ms: 5 - 60_000, ..before };
        let (before, after) = (before.now(9_000_000), after.now(9_000_000));
        assert_eq!(before.mono, after.mono);
        assert_eq!(before.wall_ms - after.wall_ms, 60_000);
    }
}
