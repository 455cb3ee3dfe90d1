//! How long to wait after failures: longer each time, up to a limit. What failed is known to those who wait.

use std::time::Duration;

use skein_gossip::Instant;

/// How waits grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// The wait after the first failure.
    first: Duration,
    /// The wait after the second; it doubles from there.
    second: Duration,
    /// The longest wait.
    longest: Duration,
}

impl Pace {
    /// For images and for starts that fail: once quickly, since many failures are short, then as Kubernetes does.
    pub(super) const START: Pace = Pace::of(2, 10, 300);
    /// For containers that end: as Kubernetes does, the first restart at once.
    pub(super) const CRASH: Pace = Pace::of(0, 10, 300);
    /// For an engine that does not do what it is asked.
    pub(super) const ENGINE: Pace = Pace::of(1, 2, 30);

    const fn of(first: u64, second: u64, longest: u64) -> Self {
        Pace {
            first: Duration::from_secs(first),
            second: Duration::from_secs(second),
            longest: Duration::from_secs(longest),
        }
    }

    /// The wait after so many failures in a row; at least one.
    fn wait(self, failures: u32) -> Duration {
        match failures {
            0 | 1 => self.first,
            n => self.second.saturating_mul(1_u32.checked_shl(n - 2).unwrap_or(u32::MAX)).min(self.longest),
        }
    }
}

/// Failures in a row, and until when to wait because of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Backoff {
    failures: u32,
    wait: Duration,
    until: Instant,
}

impl Backoff {
    /// As after so many failures, without waiting.
    pub(super) fn after(failures: u32) -> Self {
        Backoff { failures, ..Backoff::default() }
    }

    /// Counts a failure and says how long to wait.
    pub(super) fn fail(&mut self, now: Instant, pace: Pace) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.wait = pace.wait(self.failures);
        self.until = now + self.wait;
        self.wait
    }

    /// Counts a failure that is not worth many retries.
    pub(super) fn fail_for_long(&mut self, now: Instant, pace: Pace) {
        self.failures = self.failures.saturating_add(1);
        self.wait = pace.longest;
        self.until = now + self.wait;
    }

    /// It worked.
    pub(super) fn clear(&mut self) {
        *self = Backoff::default();
    }

    /// How often it failed in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// How long the present wait is as a whole.
    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// Until when to wait, if the time has not come.
    pub(super) fn pending(&self, now: Instant) -> Option<Instant> {
        (self.until > now).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let now = Instant::from_millis(1);
        let waits: Vec<u64> = (0..9).map(|_| backoff.fail(now, Pace::CRASH).as_secs()).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(backoff.pending(now), Some(now + Duration::from_secs(300)));
        backoff.clear();
        assert_eq!((backoff.pending(now), backoff.fail(now, Pace::START).as_secs()), (None, 2));
        assert_eq!(Backoff::after(u32::MAX).fail(now, Pace::CRASH).as_secs(), 300);
    }
}
