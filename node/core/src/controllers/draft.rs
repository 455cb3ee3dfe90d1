//! A plan in the making: what the controllers ask for, before the scheduler has found nodes for it.
//!
//! A plan holds [`MAX_WRITES`] writes. Once that many are certain, no further workload is looked at: what would be found there
//! comes with the next plan, and to look for it in each would make a plan cost what all of them together do.

use std::collections::BTreeSet;

use skein_crdt_state::{Edit, NameKey, ObjectKey};
use skein_gossip::{Instant, NodeId};

use super::announced::unschedulable_bytes;
use super::{MAX_UNSCHEDULABLE_BYTES, MAX_WRITES, Plan, Step};
use crate::model::needs::PodNeeds;
use crate::scheduler::{Ask, Leaving, Room, takes_room};
use crate::slot::{Displaced, Placement, Value};
use crate::status::Event;
use crate::view::{PodView, ReplicaSetView, SlotView, View, place};

/// What a pod that needs a node fills.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A slot that is made with its placement, in one change.
    NewSlot(NameKey),
    /// A slot, or a pod that nothing owns.
    There(ObjectKey),
}

/// A pod that needs a node.
#[derive(Debug, Clone)]
pub(super) struct Want<'v> {
    pub(super) target: Target,
    pub(super) needs: &'v PodNeeds,
    pub(super) group: ObjectKey,
    pub(super) workload: &'v ObjectKey,
    pub(super) avoid: Option<NodeId>,
    pub(super) displaces: Option<Displaced>,
    /// The slot's one value.
    pub(super) sole: Option<Value>,
    /// Whether the pod there must go even if no node will do for its successor.
    pub(super) evicted: bool,
}

/// A plan in the making.
#[derive(Debug)]
pub(super) struct Draft<'v> {
    pub(super) view: &'v View,
    /// Objects to make before any slot, and edits of objects.
    pub(super) objects: Vec<Step>,
    /// Objects whose life ends.
    pub(super) ending: BTreeSet<ObjectKey>,
    /// Pods to place, the most important first.
    pub(super) wants: Vec<Want<'v>>,
    /// Pods whose slots end or are filled anew.
    leaving: Vec<Leaving<'v>>,
    /// How many of the wants make a slot: whether a node is found or not, each is a write.
    new_slots: usize,
    /// Whether there is more to do than was looked at.
    is_cut: bool,
    /// Events.
    pub(super) events: Vec<Event>,
    /// When to look again.
    pub(super) next: Option<Instant>,
}

impl<'v> Draft<'v> {
    pub(super) fn new(view: &'v View) -> Self {
        Draft {
            view,
            objects: Vec::new(),
            ending: BTreeSet::new(),
            wants: Vec::new(),
            leaving: Vec::new(),
            new_slots: 0,
            is_cut: false,
            events: Vec::new(),
            next: None,
        }
    }

    /// Whether as many writes are certain as a plan may have.
    pub(super) fn is_full(&self) -> bool {
        self.objects.len() + self.ending.len() + self.new_slots >= MAX_WRITES
    }

    /// Leaves the rest to the next plan.
    pub(super) fn cut_off(&mut self) {
        self.is_cut = true;
    }

    /// How many of so many new slots this plan may make.
    pub(super) fn claim_new_slots(&mut self, count: usize) -> usize {
        let certain = self.objects.len() + self.ending.len() + self.new_slots;
        let allowed = count.min(MAX_WRITES.saturating_sub(certain));
        self.new_slots += allowed;
        self.is_cut |= allowed < count;
        allowed
    }

    /// How much was asked for so far: more after each thing that is.
    pub(super) fn size(&self) -> (usize, usize, usize, usize, bool) {
        (self.objects.len(), self.ending.len(), self.wants.len(), self.events.len(), self.is_cut)
    }

    /// Ends a slot; whether it was not to end already.
    pub(super) fn end_slot(&mut self, slot: &'v SlotView, set: &'v ReplicaSetView, workload: &'v ObjectKey) -> bool {
        let is_new = self.ending.insert(slot.key.clone());
        if let Some(pod) = slot.pod.as_ref().filter(|_| is_new) {
            self.leaves(pod, set, workload);
        }
        is_new
    }

    /// Says that a pod's room is free for others.
    pub(super) fn leaves(&mut self, pod: &PodView, set: &'v ReplicaSetView, workload: &'v ObjectKey) {
        if takes_room(pod) {
            let needs = &set.spec.template.needs;
            self.leaving.push(Leaving { node: pod.node, needs, group: &set.key, workload });
        }
    }

    /// Looks again at `at` or before.
    pub(super) fn look_again(&mut self, at: Instant) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Says something about an object.
    pub(super) fn event(&mut self, about: &ObjectKey, warning: bool, reason: &str, message: String, source: &str) {
        let event = Event {
            kind: about.kind().to_string(),
            namespace: about.namespace().unwrap_or_default().to_owned(),
            name: about.name().to_owned(),
            uid: about.uid(&self.view.cluster).to_string(),
            warning,
            reason: reason.to_owned(),
            message,
            source: source.to_owned(),
            first_ms: self.view.now.wall_ms,
            last_ms: self.view.now.wall_ms,
            count: 1,
        };
        self.events.push(event);
    }

    /// Finds nodes, and puts the steps in order: what owns before what is owned, what is made before what ends.
    pub(super) fn finish(self) -> Plan {
        let mut plan = Plan { items: self.objects, next: self.next, is_cut: self.is_cut };
        let mut unschedulable = Vec::new();
        if !self.wants.is_empty() {
            let room = Room::new(self.view, self.leaving);
            unschedulable = place_all(&mut plan, room, &self.wants);
        }
        // The children of what ends are over with it, but they are named all the same: each is one write and no more.
        plan.items.extend(self.ending.into_iter().map(|key| Step::Delete { key }));
        if plan.items.len() > MAX_WRITES {
            plan.items.truncate(MAX_WRITES);
            plan.is_cut = true;
        }
        if plan.is_cut {
            plan.look_again(self.view.now.mono);
        }
        plan.items.extend(unschedulable);
        plan.items.extend(self.events.into_iter().map(Step::Event));
        plan
    }
}

/// Places pods while the plan has room for their writes; says of those that no node will do for why not.
fn place_all(plan: &mut Plan, mut room: Room<'_>, wants: &[Want<'_>]) -> Vec<Step> {
    let (mut unschedulable, mut bytes) = (Vec::new(), 0);
    for want in wants {
        if plan.items.len() >= MAX_WRITES {
            plan.is_cut = true;
            break;
        }
        let name = match &want.target {
            Target::NewSlot(name) => name.to_string(),
            Target::There(key) => key.name_key().to_string(),
        };
        let (needs, group, workload) = (want.needs, &want.group, want.workload);
        let ask = Ask { name: &name, needs, group, workload, avoid: want.avoid };
        let node = room.place(&ask);
        plan.items.extend(want.step(node));
        if let (None, Target::There(slot)) = (node, &want.target)
            && bytes <= MAX_UNSCHEDULABLE_BYTES
        {
            let message = room.why_not(&ask);
            bytes += unschedulable_bytes(slot, &message);
            if bytes <= MAX_UNSCHEDULABLE_BYTES {
                unschedulable.push(Step::Unschedulable { slot: slot.clone(), message: message.to_string() });
            }
        }
    }
    unschedulable
}

impl Want<'_> {
    /// What to write when this node was found, or none.
    fn step(&self, node: Option<NodeId>) -> Option<Step> {
        match &self.target {
            Target::NewSlot(name) => {
                let edits = vec![place(&Placement { node, ..Placement::default() })];
                Some(Step::Create { name: name.clone(), edits })
            }
            Target::There(key) if node.is_some() => {
                // A pod is a value, so the same again would be the same pod. Whom it displaces is still said, so that this
                // one may claim, and the pod that is there goes on until another serves.
                let same = |sole: &Value| (sole.placement.node, sole.placement.displaces) == (node, self.displaces);
                let again = self.sole.filter(same).is_some_and(|sole| !sole.placement.again);
                let placement = Placement { node, displaces: self.displaces, again };
                Some(Step::Edit { key: key.clone(), edits: vec![place(&placement)] })
            }
            Target::There(key) if self.evicted => {
                Some(Step::Edit { key: key.clone(), edits: vec![place(&Placement::default())] })
            }
            Target::There(_) => None,
        }
    }
}

/// The edit of one text field.
pub(super) fn set_text(path: &str, text: &str) -> Edit {
    Edit::set(path, skein_crdt_state::Scalar::str(text))
}
