//! Leading: while this node is the leader, the controllers look at the state and their plans are carried out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skein_crdt_state::{Envelope, Kind, ObjectKey};
use skein_gossip::{Instant, NodeId, Now};

use super::spread::batches;
use super::{Node, Wait};
use crate::controllers::{Notes, Plan, Step, reconcile};
use crate::slot::{self, PLACEMENT_LEAF, SLOT_KIND, pod_name, pod_uid};
use crate::status::Event;
use crate::view::{Component, View};

/// How soon after a change the controllers look, so that changes that come together are seen together.
const RECONCILE_AFTER: Duration = Duration::from_millis(20);
/// How much later for each thousand slots that there are. In a large cluster something changes all the time, and to look at
/// 150 000 slots takes some 20 ms even if little did: without this a leader would do nothing else.
const RECONCILE_LATER_PER_1000_SLOTS: Duration = Duration::from_micros(500);
/// How often they look although nothing changed: a leader that was elected without noticing misses nothing for long.
const RECONCILE_EVERY: Duration = Duration::from_secs(5);
/// The most steps of one plan that are carried out at once; the rest follows from the next look.
const MAX_STEPS: usize = 1000;
/// How long a node counts as one of those that are to be expected after it was last seen, in milliseconds.
const EXPECTED_MS: u64 = 24 * 3600 * 1000;
/// The section of the leader's report that says what cannot be placed, and why.
const SCHEDULING: &str = "scheduling";

impl Node {
    /// What the controllers may know of who is there.
    #[must_use]
    pub fn component(&self, now: Now) -> Component {
        let members = self.store.members();
        let expected = |id: &NodeId| {
            let seen = self.peers.seen_ms.get(id).copied().unwrap_or(now.wall_ms);
            self.peers.alive.contains(id) || now.wall_ms.saturating_sub(seen) < EXPECTED_MS
        };
        Component {
            me: self.me,
            alive: self.peers.alive.intersection(members.active()).copied().collect(),
            last_contact: self.last_contacts(),
            seen_24h: members.active().iter().copied().filter(expected).collect(),
            quorate: self.leadership().quorate,
        }
    }

    /// The state as the controllers see it: for questions such as why a pod is where it is.
    pub fn view(&mut self, now: Now) -> View {
        let component = self.component(now);
        View::build(&self.store, &component, now, &mut self.view_cache)
    }

    pub(super) fn want_reconcile(&mut self, now: Now) {
        if self.leadership().mine && !self.reconcile_wanted {
            self.reconcile_wanted = true;
            self.timers.set(Wait::Reconcile, now.mono + self.pause());
        }
    }

    /// How soon after a change the controllers look.
    fn pause(&self) -> Duration {
        pause_for(self.store.count(&Kind::new(SLOT_KIND)))
    }

    pub(super) fn leadership_changed(&mut self, now: Now) {
        if self.leadership().mine {
            self.want_reseal(now);
            return self.want_reconcile(now);
        }
        self.reconcile_wanted = false;
        self.notes = Notes::default();
        self.timers.clear(&Wait::Reconcile);
        if !self.said_unschedulable.is_empty() {
            self.said_unschedulable.clear();
            self.say(now, SCHEDULING, &[]);
        }
    }

    pub(super) fn reconcile(&mut self, now: Now) {
        self.reconcile_wanted = false;
        if !self.leadership().mine || self.left {
            return;
        }
        let view = self.view(now);
        let plan = reconcile(&view, &mut self.notes);
        let next = plan.next.unwrap_or(Instant(u64::MAX)).min(now.mono + RECONCILE_EVERY);
        let is_cut = plan.is_cut;
        self.carry_out(now, plan);
        if is_cut {
            // What is left of the plan is known to be needed, and waits for nothing.
            self.reconcile_wanted = true;
            self.timers.set(Wait::Reconcile, now.mono + RECONCILE_AFTER);
        } else if !self.reconcile_wanted {
            // What was carried out asks for another look by itself, which is sooner.
            self.timers.set(Wait::Reconcile, next.max(now.mono + self.pause()));
        }
    }

    fn carry_out(&mut self, now: Now, plan: Plan) {
        let mut said: Vec<Arc<Envelope>> = Vec::new();
        let mut unschedulable = BTreeMap::new();
        let mut placed = Vec::new();
        for step in plan.items.into_iter().take(MAX_STEPS) {
            let message = "controller\tsystem:leader";
            match step {
                Step::Create { name, edits } if self.store.current_life(&name).is_none() => {
                    let key = self.store.next_life(&name);
                    // A refusal means that the state moved on under the plan; the next look sees how.
                    said.extend(self.store.edit(now, &key, &edits, message).unwrap_or_default());
                    placed.push((key, edits));
                }
                Step::Create { .. } => {}
                Step::Edit { key, edits } => {
                    said.extend(self.store.edit(now, &key, &edits, message).unwrap_or_default());
                    placed.push((key, edits));
                }
                Step::Delete { key } => said.extend(self.store.delete(now, &key)),
                Step::Event(event) => self.event(event),
                Step::Unschedulable { slot, message } => {
                    unschedulable.insert(slot.to_string(), message);
                }
            }
        }
        for batch in batches(said) {
            self.push(&batch);
        }
        for (key, edits) in placed {
            if edits.iter().any(|edit| &*edit.path == PLACEMENT_LEAF) {
                self.say_scheduled(now, &key);
            }
        }
        if unschedulable != self.said_unschedulable {
            let entries: Vec<(&String, &String)> = unschedulable.iter().collect();
            let body = if entries.is_empty() { Vec::new() } else { postcard::to_stdvec(&entries).unwrap_or_default() };
            self.say(now, SCHEDULING, &body);
            self.said_unschedulable = unschedulable;
        }
    }

    /// Tells people where a pod was placed.
    fn say_scheduled(&mut self, now: Now, slot: &ObjectKey) {
        let Some(object) = self.store.object(slot) else { return };
        let placed = slot::values(object).into_iter().find_map(|value| Some((value.placement.node?, value.write)));
        let Some((node, write)) = placed else { return };
        let node = self.store.members().get(&node).map_or_else(|| node.short(), |member| member.name.clone());
        let cluster = self.config.cluster;
        let (namespace, name) = (slot.namespace().unwrap_or_default(), pod_name(&cluster, slot, &write));
        let event = Event {
            kind: "Pod".into(),
            namespace: namespace.to_owned(),
            uid: pod_uid(&cluster, slot, &write),
            warning: false,
            reason: "Scheduled".into(),
            message: format!("Successfully assigned {namespace}/{name} to {node}"),
            name,
            source: "scheduler".into(),
            first_ms: now.wall_ms,
            last_ms: now.wall_ms,
            count: 1,
        };
        self.event(event);
    }

    /// When each member was last in contact: any frame of its counts.
    fn last_contacts(&self) -> BTreeMap<NodeId, Instant> {
        let mut contacts = self.peers.heard.clone();
        for peer in &self.peers.alive {
            let Some(at) = self.election.last_contact(peer) else { continue };
            let known = contacts.entry(*peer).or_insert(at);
            *known = (*known).max(at);
        }
        contacts
    }
}

/// How soon after a change the controllers look at so many slots.
fn pause_for(slots: usize) -> Duration {
    RECONCILE_AFTER + RECONCILE_LATER_PER_1000_SLOTS * u32::try_from(slots / 1000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_of_few_slots_looks_at_once_and_one_of_many_lets_more_changes_come_together() {
        assert_eq!([0, 999].map(pause_for), [RECONCILE_AFTER; 2]);
        assert_eq!(pause_for(150_000), Duration::from_millis(95));
    }
}
