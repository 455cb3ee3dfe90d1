//! Links: who hears whom, how late, and which connections stand.

use std::collections::{BTreeMap, BTreeSet};

/// The network between hosts, by their numbers.
#[derive(Debug, Default)]
pub struct Links {
    /// Directions in which nothing passes.
    cut: BTreeSet<(usize, usize)>,
    /// Connections that stand, the lower number first, with the life of the connection.
    connected: BTreeMap<(usize, usize), u64>,
    next_life: u64,
    /// When the last frame of a direction and lane arrives: later ones come after it.
    busy_until: BTreeMap<(usize, usize, u8), u64>,
}

impl Links {
    /// Whether a frame from `from` reaches `to`.
    #[must_use]
    pub fn passes(&self, from: usize, to: usize) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    /// Heals everything.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// The life of the connection between two hosts, if one stands.
    #[must_use]
    pub fn connection(&self, a: usize, b: usize) -> Option<u64> {
        self.connected.get(&(a.min(b), a.max(b))).copied()
    }

    /// Connects two hosts; `None` if they were.
    pub fn connect(&mut self, a: usize, b: usize) -> Option<u64> {
        if self.connection(a, b).is_some() {
            return None;
        }
        self.next_life += 1;
        self.connected.insert((a.min(b), a.max(b)), self.next_life);
        Some(self.next_life)
    }

    /// Ends a connection; whether it stood.
    pub fn disconnect(&mut self, a: usize, b: usize) -> bool {
        for lane in 0..2 {
            self.busy_until.remove(&(a, b, lane));
            self.busy_until.remove(&(b, a, lane));
        }
        self.connected.remove(&(a.min(b), a.max(b))).is_some()
    }

    /// The connections of a host.
    #[must_use]
    pub fn of(&self, host: usize) -> Vec<usize> {
        let other = |(a, b): &(usize, usize)| if *a == host { Some(*b) } else { (*b == host).then_some(*a) };
        self.connected.keys().filter_map(other).collect()
    }

    /// All connections.
    #[must_use]
    pub fn all(&self) -> Vec<(usize, usize)> {
        self.connected.keys().copied().collect()
    }

    /// When a frame that would arrive at `at` does, in the order of its lane.
    pub fn in_order(&mut self, from: usize, to: usize, lane: u8, at: u64) -> u64 {
        let last = self.busy_until.entry((from, to, lane)).or_default();
        *last = (*last + 1).max(at);
        *last
    }
}
