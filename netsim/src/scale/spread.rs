//! How one change reaches everybody: when each host had it, and how many frames carried it.

use skein_core::node::{Inspected, Node};
use skein_crdt_state::{Body, Envelope, ObjectKey, Sequence};
use skein_gossip::NodeId;

use crate::world::World;

/// The next change of an object that a host makes, on its way to the others.
#[derive(Debug, Clone)]
pub struct Spread {
    key: ObjectKey,
    author: NodeId,
    /// The author's changes of the object up to this were made before.
    after: Sequence,
    began_us: u64,
    /// How long it took to each host, in microseconds.
    reached_us: Vec<Option<u64>>,
    sends: u64,
}

impl Spread {
    /// Follows what a host will do to an object now; `None`: it has no such object.
    #[must_use]
    pub fn follow(world: &World, host: usize, key: ObjectKey) -> Option<Self> {
        let node = world.hosts[host].node.as_ref()?;
        let changes = node.store().object(&key)?.changes().values();
        let own = changes.map(|change| &change.envelope).filter(|said| said.author() == node.me());
        let after = own.map(|said| said.sequence()).max().unwrap_or_default();
        let reached_us = vec![None; world.hosts.len()];
        Some(Spread { key, author: node.me(), after, began_us: world.now_us, reached_us, sends: 0 })
    }

    /// A frame is sent.
    pub fn sent(&mut self, said: &Inspected) {
        if let Inspected::News(envelopes) | Inspected::Given(envelopes) = said {
            self.sends += u64::from(envelopes.iter().any(|said| self.is_it(said) && self.is_of_key(said)));
        }
    }

    /// A host was given something to do.
    pub fn look(&mut self, host: usize, now_us: u64, node: &Node) {
        if self.reached_us[host].is_some() {
            return;
        }
        let object = node.store().object(&self.key);
        if object.is_some_and(|object| object.changes().values().any(|change| self.is_it(&change.envelope))) {
            self.reached_us[host] = Some(now_us - self.began_us);
        }
    }

    /// How long it took until so many of a thousand hosts had it, in microseconds; `None`: not so many have.
    #[must_use]
    pub fn reached_us(&self, permille: usize) -> Option<u64> {
        let mut all: Vec<u64> = self.reached_us.iter().flatten().copied().collect();
        all.sort_unstable();
        let rank = (self.reached_us.len() * permille).div_ceil(1000).max(1);
        all.get(rank - 1).copied()
    }

    /// How many frames carried it.
    #[must_use]
    pub fn sends(&self) -> u64 {
        self.sends
    }

    fn is_it(&self, said: &Envelope) -> bool {
        said.author() == self.author && said.sequence() > self.after
    }

    fn is_of_key(&self, said: &Envelope) -> bool {
        matches!(said.open_verified(), Ok(Body::Change { key, .. }) if key == self.key)
    }
}
