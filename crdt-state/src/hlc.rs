//! Order in time without a shared clock: the hybrid logical clock that stamps every write, and the write's own name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A hybrid logical clock's stamp: 48 bits of milliseconds since the Unix epoch, then a 15-bit counter (Kulkarni et al.,
/// "Logical Physical Clocks", 2014). Carried as an Automerge change's commit time, so it is never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Hlc(pub u64);

const COUNTER_BITS: u32 = 15;

impl Hlc {
    /// The first stamp of a millisecond.
    #[must_use]
    pub fn from_millis(ms: u64) -> Self {
        Hlc((ms & ((1 << 48) - 1)) << COUNTER_BITS)
    }

    /// The milliseconds since the Unix epoch.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The smallest stamp after `self` that is not before the wall clock.
    #[must_use]
    pub fn next(self, wall_ms: u64) -> Self {
        Hlc(self.0.saturating_add(1)).max(Hlc::from_millis(wall_ms))
    }
}

/// The change that wrote a value: its hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WriteId(pub [u8; 32]);

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
