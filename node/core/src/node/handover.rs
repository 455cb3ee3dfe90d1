//! Pods of slots that were deleted while nothing else of their workload serves: they run on until something does, or their
//! patience ends. When they may stop is judged by `controllers::may_stop`.

use std::collections::{BTreeMap, BTreeSet};

use skein_crdt_state::{ObjectKey, StoreChange};
use skein_gossip::{Instant, Now};

use super::{Node, Wait};
use crate::controllers::{HANDOVER_PATIENCE, may_stop};

/// Slots that are over and whose pods here run on, with how long they may at most.
pub(crate) type Handovers = BTreeMap<ObjectKey, Instant>;

impl Node {
    /// Whether the pod of a slot that is over may stop now.
    pub(super) fn may_go(&mut self, now: Now, slot: &ObjectKey) -> bool {
        let serves = |node: &_, uid: &str| self.serves(node, uid);
        if !self.agent.serves(slot) || may_stop(&self.store, &self.claims, slot, serves) {
            self.handovers.remove(slot);
            return true;
        }
        let until = *self.handovers.entry(slot.clone()).or_insert(now.mono + HANDOVER_PATIENCE);
        if until <= now.mono {
            self.handovers.remove(slot);
            return true;
        }
        // Any of them may run what serves.
        for peer in self.peers.alive.clone() {
            self.want_word_of(peer);
        }
        self.timers.set(Wait::Handover, self.handovers.values().copied().min().unwrap_or(until));
        false
    }

    /// Something that the handovers may wait for has happened.
    pub(super) fn look_at_handovers(&mut self, now: Now) {
        let slots: BTreeSet<ObjectKey> = self.handovers.keys().cloned().collect();
        self.refresh_slots(now, &slots);
    }

    /// Whether that is something that the handovers may wait for: how pods are, and which there are.
    pub(super) fn concerns_handovers(&self, changes: &BTreeSet<StoreChange>) -> bool {
        let is_one = |change: &StoreChange| matches!(change, StoreChange::Report(..) | StoreChange::Object(_));
        !self.handovers.is_empty() && changes.iter().any(is_one)
    }
}
