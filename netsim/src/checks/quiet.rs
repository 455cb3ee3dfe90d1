//! Once all is settled nobody writes any more, so no two controllers fight; and the traffic is what it costs to stay
//! together (INVARIANTS I2).

use crate::world::World;

/// The most frames a second and node that may be sent once all is settled, besides one for each peer.
const FRAMES_PER_NODE: u64 = 24;

/// What was there when the quiet began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calm {
    since_us: u64,
    frames: u64,
    wanted: Vec<[u8; 32]>,
    reported: Vec<[u8; 32]>,
}

impl Calm {
    /// What is there now.
    #[must_use]
    pub fn now(world: &World) -> Self {
        let stores = || world.hosts.iter().filter_map(|host| host.node.as_ref()).map(|node| node.store());
        Calm {
            since_us: world.now_us,
            frames: world.watch.traffic.frames,
            wanted: stores().map(|store| store.state_hash()).collect(),
            reported: stores().map(|store| store.reported().root()).collect(),
        }
    }

    /// When it began, in virtual microseconds.
    #[must_use]
    pub fn since_us(&self) -> u64 {
        self.since_us
    }

    /// What was not quiet since.
    #[must_use]
    pub fn broken(&self, world: &World) -> Option<String> {
        let now = Calm::now(world);
        if now.wanted != self.wanted {
            return Some("somebody wrote though all was settled".into());
        }
        if now.reported != self.reported {
            return Some("somebody reported though all was settled".into());
        }
        let (nodes, ms) = (now.wanted.len() as u64, (now.since_us - self.since_us) / 1000);
        let (frames, most) = (now.frames - self.frames, nodes * (FRAMES_PER_NODE + 2 * nodes) * ms / 1000);
        (ms >= 1000 && frames > most).then(|| format!("{frames} frames were sent in {ms} ms; at most {most} should be"))
    }
}
