//! Everything that differs from seed to seed, drawn from the seed in one place and printed with every failure.

use std::fmt;

use rand::RngExt;
use serde::{Deserialize, Serialize};
use skein_gossip::random;

/// What a run is like. Its fields can be set from the command line by their names, see [`overrides`](crate::overrides).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Knobs {
    /// The seed that all of it is drawn from.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How long faults and users are at work, in virtual milliseconds.
    pub busy_ms: u64,
    /// The least latency of a link, in microseconds.
    pub latency_us: u64,
    /// How much latency varies, in microseconds.
    pub jitter_us: u64,
    /// How many of a thousand frames are lost.
    pub loss_permille: u32,
    /// How long a disk takes at most, in microseconds.
    pub disk_us: u64,
    /// How many of a thousand starts of containers fail.
    pub start_failure_permille: u32,
    /// The mean time between partitions, in milliseconds; 0: none.
    pub partition_every_ms: u64,
    /// The mean time between cuts of a single direction, in milliseconds; 0: none.
    pub one_way_every_ms: u64,
    /// The mean time between crashes of a daemon, in milliseconds; 0: none.
    pub crash_every_ms: u64,
    /// The mean time between losses of power of a machine, in milliseconds; 0: none.
    pub power_every_ms: u64,
    /// The mean time between pauses (a closed laptop), in milliseconds; 0: none.
    pub pause_every_ms: u64,
    /// The mean time between containers that end by themselves, in milliseconds; 0: none.
    pub exit_every_ms: u64,
    /// The mean time between what users do, in milliseconds; 0: they do nothing.
    pub user_every_ms: u64,
    /// How far apart the wall clocks start, in milliseconds.
    pub clock_spread_ms: u64,
    /// How long the cluster may take to settle once everything is mended, in virtual milliseconds.
    pub settle_ms: u64,
    /// The most events that may wait at once; more break the promise that queues are bounded.
    pub queue_max: usize,
    /// When the run is to panic, in virtual milliseconds; 0: never. It shows what becomes of a panic.
    pub panic_at_ms: u64,
}

impl Knobs {
    /// The knobs of a seed. Each seed turns on another subset of the faults.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = random::from_seed(seed ^ 0x6b6e_6f62);
        let mut sometimes = |low: u64, high: u64| {
            let every = rng.random_range(low..high);
            if rng.random_bool(0.5) { every } else { 0 }
        };
        let partition_every_ms = sometimes(4_000, 20_000);
        let one_way_every_ms = sometimes(5_000, 20_000);
        let crash_every_ms = sometimes(4_000, 20_000);
        let power_every_ms = sometimes(8_000, 30_000);
        let pause_every_ms = sometimes(6_000, 25_000);
        let exit_every_ms = sometimes(3_000, 15_000);
        let loss = sometimes(1, 50);
        let start_failures = sometimes(1, 200);
        Knobs {
            seed,
            nodes: rng.random_range(3..=7),
            busy_ms: rng.random_range(20_000..45_000),
            latency_us: rng.random_range(50..3_000),
            jitter_us: rng.random_range(10..5_000),
            loss_permille: u32::try_from(loss).unwrap_or(0),
            disk_us: rng.random_range(200..20_000),
            start_failure_permille: u32::try_from(start_failures).unwrap_or(0),
            partition_every_ms,
            one_way_every_ms,
            crash_every_ms,
            power_every_ms,
            pause_every_ms,
            exit_every_ms,
            user_every_ms: rng.random_range(200..1_500),
            clock_spread_ms: rng.random_range(0..600_000),
            settle_ms: 180_000,
            queue_max: 2_000_000,
            panic_at_ms: 0,
        }
    }

    /// The same cluster and users with no fault at all.
    #[must_use]
    pub fn calm(seed: u64, nodes: usize) -> Self {
        Knobs {
            nodes,
            loss_permille: 0,
            start_failure_permille: 0,
            partition_every_ms: 0,
            one_way_every_ms: 0,
            crash_every_ms: 0,
            power_every_ms: 0,
            pause_every_ms: 0,
            exit_every_ms: 0,
            ..Knobs::draw(seed)
        }
    }
}

impl fmt::Display for Knobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} nodes {} busy {} ms, ", self.seed, self.nodes, self.busy_ms)?;
        write!(f, "latency {}+{} us, loss {} per mille, ", self.latency_us, self.jitter_us, self.loss_permille)?;
        write!(f, "disk {} us, failed starts {} per mille, ", self.disk_us, self.start_failure_permille)?;
        write!(f, "every (ms): partition {}, one way {}, ", self.partition_every_ms, self.one_way_every_ms)?;
        write!(f, "crash {}, power {}, pause {}, ", self.crash_every_ms, self.power_every_ms, self.pause_every_ms)?;
        write!(f, "exit {}, user {}; clocks {} ms apart", self.exit_every_ms, self.user_every_ms, self.clock_spread_ms)
    }
}
