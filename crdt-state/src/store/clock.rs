//! The node's own hybrid logical clock: what its writes are stamped with, and whose stamps it follows.

use skein_gossip::planted::{self, Bug};
use skein_gossip::{NodeId, Now};

use super::Store;
use crate::Hlc;

/// A stamp of a peer's that is further ahead than this is not followed, so that one wrong clock does not drag all.
pub const MAX_CLOCK_AHEAD_MS: u64 = 60_000;

impl Store {
    pub(super) fn tick(&mut self, now: Now) -> Hlc {
        let before = if planted::is(Bug::WallClockOrder) { Hlc::default() } else { self.clock };
        self.clock = before.next(now.wall_ms);
        self.clock
    }

    /// A stamp after all that was said of a node: of an admission and a departure the later holds, and clocks may be far
    /// apart.
    pub(super) fn tick_on_member(&mut self, now: Now, node: &NodeId) -> Hlc {
        self.tick(now).max(self.members.latest_word_on(node).next(0))
    }

    pub(super) fn observe(&mut self, now: Now, stamp: Hlc) {
        if stamp.millis() <= now.wall_ms.saturating_add(MAX_CLOCK_AHEAD_MS) {
            self.clock = self.clock.max(stamp);
        }
    }
}
