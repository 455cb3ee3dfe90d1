//! A host: a machine with a disk, an engine and clocks, on which a daemon runs or does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_core::node::{Lane, Node};
use skein_gossip::{Instant, Keypair, NodeId, Now};

use crate::disk::Disk;
use crate::engine::Engine;

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
    /// The daemon, while it runs.
    pub node: Option<Node>,
    /// How often the daemon was started: what belongs to an earlier start does not reach a later one.
    pub start: u64,
    /// Until when the machine is paused, in true time; 0: it is not.
    pub paused_until: u64,
    /// How far its wall clock is from true time, in milliseconds.
    pub wall_offset_ms: u64,
    /// When the daemon was started, in true time: where its monotonic clock has its origin.
    pub origin_us: u64,
    /// For when a deadline is in the queue already.
    pub timeout_at: Option<u64>,
    /// Frames that wait for the disk, by batch.
    pub held: BTreeMap<u64, Vec<HeldFrame>>,
    /// The last batch that is on disk.
    pub on_disk: u64,
    /// Whether it is a member: it was admitted.
    pub admitted: bool,
}

impl Host {
    /// A host that was never switched on.
    #[must_use]
    pub fn new(number: usize, seed: u64, wall_offset_ms: u64) -> Self {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&seed.to_be_bytes());
        secret[8..16].copy_from_slice(&(number as u64 + 1).to_be_bytes());
        Host {
            number,
            keys: Keypair::from_secret(secret),
            name: format!("h{number}"),
            disk: Disk::default(),
            engine: Engine::default(),
            node: None,
            start: 0,
            paused_until: 0,
            wall_offset_ms,
            origin_us: 0,
            timeout_at: None,
            held: BTreeMap::new(),
            on_disk: 0,
            admitted: false,
        }
    }

    /// What its clocks say at a true time.
    #[must_use]
    pub fn now(&self, true_us: u64) -> Now {
        Now { mono: Instant(true_us.saturating_sub(self.origin_us)), wall_ms: self.wall_ms(true_us) }
    }

    /// What its wall clock says at a true time: 2025 and a bit, and wrong by its offset.
    #[must_use]
    pub fn wall_ms(&self, true_us: u64) -> u64 {
        1_750_000_000_000 + self.wall_offset_ms + true_us / 1000
    }

    /// The true time of one of the daemon's instants.
    #[must_use]
    pub fn true_us(&self, at: Instant) -> u64 {
        at.0.saturating_add(self.origin_us)
    }
}
