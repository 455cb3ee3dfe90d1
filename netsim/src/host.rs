//! A host: a machine with a disk, an engine and clocks, on which a daemon runs or does not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use skein_core::node::{Lane, Node};
use skein_crdt_state::{DataKey, EpochId, Keyring};
use skein_gossip::{Instant, Keypair, NodeId, Now};

use crate::clock::Clock;
use crate::disk::{Disk, RowKey};
use crate::engine::Engine;
use crate::link::profile::Distance;
use crate::world::Event;

/// A frame that waits for the disk.
#[derive(Debug)]
pub struct HeldFrame {
    /// To which node.
    pub to: NodeId,
    /// By which lane.
    pub lane: Lane,
    /// The frame.
    pub bytes: Arc<[u8]>,
}

/// Whether a host belongs to the cluster, as those who run it see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Standing {
    /// It never did, or it has left: its daemon does not run.
    #[default]
    Out,
    /// It asks to be let in.
    Joining,
    /// It does.
    Member,
    /// Its user has asked it to leave.
    Leaving,
    /// Somebody has removed it. Its daemon may not know, and goes on.
    Removed,
}

/// One host.
pub struct Host {
    /// Its number.
    pub number: usize,
    /// Its key.
    pub keys: Keypair,
    /// Its name.
    pub name: String,
    /// Its disk.
    pub disk: Disk,
    /// Its engine.
    pub engine: Engine,
    /// Its clocks.
    pub clock: Clock,
    /// How far away it is.
    pub distance: Distance,
    /// The daemon, while it runs.
    pub node: Option<Node>,
    /// How often the daemon was started: what belongs to an earlier start does not reach a later one.
    pub start: u64,
    /// How often it lost its power.
    pub power: u64,
    /// Whether it belongs to the cluster.
    pub standing: Standing,
    /// Whether it founded the cluster and never left it.
    pub is_founder: bool,
    /// How often it was let in: each time it begins with an empty disk.
    pub let_in: u32,
    /// Whether it was removed and taken away.
    pub gone_for_good: bool,
    /// Whether the machine stands still.
    pub paused: bool,
    /// The keys in its data directory. They outlive its daemon's starts, and a disk that is corrupted.
    pub keyring: Keyring,
    /// The keys that came with its last admission.
    pub offered: Option<Keyring>,
    /// What happened while it stood still.
    pub backlog: VecDeque<Event>,
    /// For when a deadline is in the queue already.
    pub timeout_at: Option<u64>,
    /// Frames that wait for the disk, by batch.
    pub held: BTreeMap<u64, Vec<HeldFrame>>,
    /// The last batch that is on disk.
    pub on_disk: u64,
    /// What was on disks that it has lost.
    pub lost: BTreeSet<RowKey>,
}

impl Host {
    /// A host that was never switched on.
    #[must_use]
    pub fn new(number: usize, seed: u64, clock: Clock, distance: Distance) -> Self {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&seed.to_be_bytes());
        secret[8..16].copy_from_slice(&(number as u64 + 1).to_be_bytes());
        Host {
            number,
            keys: Keypair::from_secret(secret),
            name: format!("h{number}"),
            disk: Disk::default(),
            engine: Engine::default(),
            clock,
            distance,
            node: None,
            start: 0,
            power: 0,
            standing: Standing::Out,
            is_founder: false,
            let_in: 0,
            lost: BTreeSet::new(),
            gone_for_good: false,
            paused: false,
            keyring: founding_keyring(),
            offered: None,
            backlog: VecDeque::new(),
            timeout_at: None,
            held: BTreeMap::new(),
            on_disk: 0,
        }
    }

    /// Whether its daemon runs and answers.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.node.is_some() && !self.paused
    }

    /// What its clocks show at a true time.
    #[must_use]
    pub fn now(&self, true_us: u64) -> Now {
        self.clock.now(true_us)
    }

    /// What its wall clock shows at a true time.
    #[must_use]
    pub fn wall_ms(&self, true_us: u64) -> u64 {
        self.clock.wall_ms(true_us)
    }

    /// The true time of one of the daemon's instants.
    #[must_use]
    pub fn true_us(&self, at: Instant) -> u64 {
        self.clock.true_us(at)
    }
}

/// The keys of a cluster whose secrets were never rotated.
#[must_use]
pub fn founding_keyring() -> Keyring {
    Keyring::new(EpochId([1; 16]), DataKey::new([1; 32]))
}
