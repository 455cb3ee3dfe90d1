//! Links: who hears whom, which connections stand, and what is on its way on them. A connection is a reliable stream for
//! each direction: nothing overtakes within a lane, what is lost holds up what comes after it, and only the end of the
//! connection loses frames that were taken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use skein_core::node::Lane;

pub mod profile;

/// The most frames of one direction that wait in a lane, as in the daemon's network; one more is dropped and counted.
const MAX_WAITING: [usize; 2] = [1024, 32];

/// The network between hosts, by their numbers.
#[derive(Debug, Default)]
pub struct Links {
    /// Directions in which nothing passes.
    cut: BTreeSet<(usize, usize)>,
    /// Connections that stand, the lower number first.
    connections: BTreeMap<(usize, usize), Connection>,
    /// To whom each host has one.
    neighbours: BTreeMap<usize, BTreeSet<usize>>,
    next_life: u64,
    dropped: u64,
}

/// A connection that stands.
#[derive(Debug, Default)]
struct Connection {
    life: u64,
    /// Whether it is being looked at since nothing seemed to pass.
    doubted: bool,
    /// From the lower number to the higher, and back.
    ways: [Way; 2],
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Way {
    /// When the last frame of each lane arrives: later ones come after it.
    last: [u64; 2],
    /// How many frames of each lane are on their way.
    waiting: [usize; 2],
    /// Nothing arrives before this.
    held_until: u64,
    /// What cannot pass now.
    stalled: VecDeque<(Lane, Arc<[u8]>)>,
}

impl Links {
    /// Whether a frame from `from` reaches `to`.
    #[must_use]
    pub fn passes(&self, from: usize, to: usize) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Whether both hear each other.
    #[must_use]
    pub fn is_whole(&self, a: usize, b: usize) -> bool {
        self.passes(a, b) && self.passes(b, a)
    }

    /// The directions in which nothing passes.
    #[must_use]
    pub fn cuts(&self) -> &BTreeSet<(usize, usize)> {
        &self.cut
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: usize, to: usize) {
        if from != to {
            self.cut.insert((from, to));
        }
    }

    /// Mends one direction.
    pub fn mend(&mut self, from: usize, to: usize) {
        self.cut.remove(&(from, to));
    }

    /// The life of the connection between two hosts, if one stands.
    #[must_use]
    pub fn connection(&self, a: usize, b: usize) -> Option<u64> {
        Some(self.connections.get(&pair(a, b))?.life)
    }

    /// Connects two hosts; `None` if they were.
    pub fn connect(&mut self, a: usize, b: usize) -> Option<u64> {
        if self.connections.contains_key(&pair(a, b)) {
            return None;
        }
        self.next_life += 1;
        self.connections.insert(pair(a, b), Connection { life: self.next_life, ..Connection::default() });
        self.neighbours.entry(a).or_default().insert(b);
        self.neighbours.entry(b).or_default().insert(a);
        Some(self.next_life)
    }

    /// Ends a connection, and all that is on its way on it; whether it stood.
    pub fn disconnect(&mut self, a: usize, b: usize) -> bool {
        for (host, other) in [(a, b), (b, a)] {
            self.neighbours.entry(host).or_default().remove(&other);
        }
        self.connections.remove(&pair(a, b)).is_some()
    }

    /// Whom a host has connections to.
    #[must_use]
    pub fn of(&self, host: usize) -> Vec<usize> {
        self.neighbours.get(&host).into_iter().flatten().copied().collect()
    }

    /// All connections.
    #[must_use]
    pub fn all(&self) -> Vec<(usize, usize)> {
        self.connections.keys().copied().collect()
    }

    /// How many frames were dropped since too many waited.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes a frame that would arrive at `at`; when it does. `None`: too many wait, it is dropped.
    pub fn take(&mut self, from: usize, to: usize, lane: Lane, at: u64) -> Option<u64> {
        let way = self.way(from, to)?;
        let lane = lane_number(lane);
        if way.waiting[lane] >= MAX_WAITING[lane] {
            self.dropped += 1;
            return None;
        }
        way.waiting[lane] += 1;
        way.last[lane] = (way.last[lane] + 1).max(at).max(way.held_until);
        Some(way.last[lane])
    }

    /// A frame has arrived.
    pub fn arrived(&mut self, from: usize, to: usize, lane: Lane) {
        if let Some(way) = self.way(from, to) {
            let waiting = &mut way.waiting[lane_number(lane)];
            *waiting = waiting.saturating_sub(1);
        }
    }

    /// Holds up a direction of a connection: nothing that is sent from now on arrives before `until`.
    pub fn hold(&mut self, from: usize, to: usize, until: u64) {
        if let Some(way) = self.way(from, to) {
            way.held_until = way.held_until.max(until);
        }
    }

    /// Whether frames of a direction are stalled: then later ones wait behind them.
    #[must_use]
    pub fn is_stalled(&self, from: usize, to: usize) -> bool {
        let connection = self.connections.get(&pair(from, to));
        connection.is_some_and(|connection| !connection.ways[usize::from(from > to)].stalled.is_empty())
    }

    /// A frame cannot pass: it waits until it can, or the connection ends.
    pub fn stall(&mut self, from: usize, to: usize, lane: Lane, bytes: Arc<[u8]>) {
        if let Some(way) = self.way(from, to) {
            way.stalled.push_back((lane, bytes));
        }
    }

    /// What was stalled, in order.
    pub fn unstall(&mut self, from: usize, to: usize) -> VecDeque<(Lane, Arc<[u8]>)> {
        self.way(from, to).map(|way| std::mem::take(&mut way.stalled)).unwrap_or_default()
    }

    /// Begins to doubt a connection; whether nobody did already.
    pub fn doubt(&mut self, a: usize, b: usize) -> bool {
        let connection = self.connections.get_mut(&pair(a, b));
        connection.is_some_and(|connection| !std::mem::replace(&mut connection.doubted, true))
    }

    /// A connection was looked at, and it is sound.
    pub fn trust(&mut self, a: usize, b: usize) {
        if let Some(connection) = self.connections.get_mut(&pair(a, b)) {
            connection.doubted = false;
        }
    }

    fn way(&mut self, from: usize, to: usize) -> Option<&mut Way> {
        Some(&mut self.connections.get_mut(&pair(from, to))?.ways[usize::from(from > to)])
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

fn lane_number(lane: Lane) -> usize {
    usize::from(lane == Lane::Bulk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overtakes_within_a_lane_and_a_loss_holds_up_both() {
        let mut links = Links::default();
        links.connect(0, 1);
        assert_eq!(links.take(0, 1, Lane::Control, 500), Some(500));
        assert_eq!(links.take(0, 1, Lane::Control, 100), Some(501));
        assert_eq!(links.take(0, 1, Lane::Bulk, 100), Some(100));
        assert_eq!(links.take(1, 0, Lane::Control, 100), Some(100));
        links.hold(0, 1, 9_000);
        assert_eq!(links.take(0, 1, Lane::Control, 600), Some(9_000));
        assert_eq!(links.take(0, 1, Lane::Bulk, 600), Some(9_000));
        assert_eq!(links.take(1, 0, Lane::Control, 600), Some(600));
    }

    #[test]
    fn a_full_lane_drops_and_the_other_takes() {
        let mut links = Links::default();
        links.connect(3, 2);
        let taken = (0..100).filter(|_| links.take(3, 2, Lane::Bulk, 1).is_some()).count();
        assert_eq!((taken, links.dropped()), (MAX_WAITING[1], 100 - MAX_WAITING[1] as u64));
        assert!(links.take(3, 2, Lane::Control, 1).is_some());
        links.arrived(3, 2, Lane::Bulk);
        assert!(links.take(3, 2, Lane::Bulk, 1).is_some());
    }

    #[test]
    fn the_end_of_a_connection_loses_what_is_on_its_way() {
        let mut links = Links::default();
        let first = links.connect(0, 1);
        links.stall(0, 1, Lane::Control, Arc::from(&b"x"[..]));
        assert!(links.is_stalled(0, 1) && !links.is_stalled(1, 0));
        assert!(links.disconnect(1, 0));
        assert_ne!(links.connect(0, 1), first);
        assert!(!links.is_stalled(0, 1));
    }
}
