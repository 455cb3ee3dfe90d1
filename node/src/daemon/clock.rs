//! The clocks, read in one place and handed to the core as numbers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skein_gossip::{Instant, Now};

/// The daemon's clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    /// Starts at zero, now.
    pub(crate) fn start() -> Self {
        Clock { origin: tokio::time::Instant::now() }
    }

    /// What the clocks say.
    pub(crate) fn now(&self) -> Now {
        let mono = Instant(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX));
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono, wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The runtime's name for one of our instants.
    pub(crate) fn deadline(&self, at: Instant) -> tokio::time::Instant {
        // A deadline further away than a year is as good as none.
        self.origin + Duration::from_micros(at.0.min(365 * 24 * 3600 * 1_000_000))
    }
}
