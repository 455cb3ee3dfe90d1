//! The one random source: a seeded generator that is handed in, so that a run can be repeated.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// A seeded, reproducible generator. Implements the traits of the `rand` crate.
pub type Rng = ChaCha8Rng;

/// A generator from a seed. The daemon takes the seed from the operating system, the simulator from its own.
#[must_use]
pub fn from_seed(seed: u64) -> Rng {
    ChaCha8Rng::seed_from_u64(seed)
}
