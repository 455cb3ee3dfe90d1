//! How far away hosts are: what each kind of access adds to the way of a frame. `docs/netsim-world.md` states the figures.

use std::fmt;

use rand::RngExt;
use serde::{Deserialize, Serialize};
use skein_gossip::Rng;

/// How a host is connected. A frame takes what the accesses of both ends add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Access {
    /// Wired, in one building: 25 to 150 µs, now and then 1 ms.
    #[default]
    Lan,
    /// Wireless: 0.5 to 3 ms, one frame in twenty waits for the air up to 40 ms.
    Wifi,
    /// Across the world: 8 to 40 ms, the same for all frames of one host, and up to a tenth more.
    Wan,
}

/// Which accesses the hosts of a run have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// All are wired, in one building.
    #[default]
    Lan,
    /// All are wireless.
    Wifi,
    /// All are across the world.
    Wan,
    /// Each has another.
    Mixed,
}

impl Network {
    /// Any of them, the LAN most often.
    pub fn draw(rng: &mut Rng) -> Self {
        match rng.random_range(0..6) {
            0..3 => Network::Lan,
            3 => Network::Wifi,
            4 => Network::Wan,
            _ => Network::Mixed,
        }
    }

    /// A host's access.
    pub fn access(self, rng: &mut Rng) -> Distance {
        let access = match self {
            Network::Lan => Access::Lan,
            Network::Wifi => Access::Wifi,
            Network::Wan => Access::Wan,
            Network::Mixed => [Access::Lan, Access::Wifi, Access::Wan][rng.random_range(0..3)],
        };
        Distance { access, base_us: rng.random_range(8_000..40_000) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Network::Lan => "lan",
            Network::Wifi => "wifi",
            Network::Wan => "wan",
            Network::Mixed => "mixed",
        })
    }
}

/// How far one host is from the middle of the network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Distance {
    access: Access,
    /// What it is for a host across the world, in microseconds.
    base_us: u64,
}

impl Distance {
    /// What this end adds to one frame's way, in microseconds.
    pub fn draw_us(&self, rng: &mut Rng) -> u64 {
        match self.access {
            Access::Lan if rng.random_bool(0.005) => rng.random_range(150..1_000),
            Access::Lan => rng.random_range(25..150),
            Access::Wifi if rng.random_bool(0.05) => rng.random_range(3_000..40_000),
            Access::Wifi => rng.random_range(500..3_000),
            Access::Wan => self.base_us + rng.random_range(0..=self.base_us / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_gossip::random;

    fn drawn(network: Network) -> Vec<u64> {
        let mut rng = random::from_seed(1);
        let distance = network.access(&mut rng);
        let mut all: Vec<u64> = (0..10_000).map(|_| distance.draw_us(&mut rng)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn each_access_keeps_to_what_the_docs_say() {
        for (network, least, median, most) in
            [(Network::Lan, 25, 90, 1_000), (Network::Wifi, 500, 1_900, 40_000), (Network::Wan, 8_000, 44_000, 44_000)]
        {
            let all = drawn(network);
            assert!(
                all[0] >= least && all[5_000] <= median && all[9_999] <= most,
                "{network} {} {}",
                all[0],
                all[9_999]
            );
        }
        let wifi = drawn(Network::Wifi);
        let late = wifi.iter().filter(|us| **us >= 3_000).count();
        assert!((300..700).contains(&late), "{late} of 10000 frames waited for the air");
    }
}
