//! What was said already: a plan names conditions as they are, and an event is for when one becomes another.

use std::collections::{BTreeMap, BTreeSet};

use skein_crdt_state::{ObjectKey, WriteId};
use skein_gossip::NodeId;

use super::draft::Draft;
use super::{MAX_UNSCHEDULABLE_BYTES, Plan, Step};
use crate::slot;
use crate::status::Event;
use crate::view::View;

/// The most pods of which one plan says anew that they cannot be placed; their conditions say it of all.
const MAX_NEWS: usize = 50;

/// What was said already. A node that starts to lead has said nothing, and says once again what is wrong.
#[derive(Debug, Default)]
pub(super) struct Announced {
    nodes: BTreeMap<NodeId, bool>,
    unschedulable: BTreeMap<ObjectKey, String>,
    complaints: BTreeMap<ObjectKey, String>,
}

impl Announced {
    /// Says that nodes became ready or not.
    pub(super) fn nodes(&mut self, draft: &mut Draft<'_>) {
        let view = draft.view;
        for node in view.nodes.values() {
            let ready = node.is_ready();
            let before = self.nodes.insert(node.id, ready);
            let Some(object) = node.object.as_ref().filter(|_| before.is_some_and(|before| before != ready)) else {
                continue;
            };
            let (reason, word) = if ready { ("NodeReady", "NodeReady") } else { ("NodeNotReady", "NodeNotReady") };
            let message = format!("Node {} status is now: {word}", node.name);
            draft.event(object, !ready, reason, message, "node-controller");
        }
        self.nodes.retain(|id, _| view.nodes.contains_key(id));
    }

    /// Says what is wrong with an object, once. An empty message: nothing any more.
    pub(super) fn complain(
        &mut self,
        draft: &mut Draft<'_>,
        about: &ObjectKey,
        reason: &str,
        message: &str,
        source: &str,
    ) {
        if message.is_empty() {
            self.complaints.remove(about);
        } else if self.complaints.get(about).is_none_or(|said| said != message) {
            self.complaints.insert(about.clone(), message.to_owned());
            draft.event(about, true, reason, message.to_owned(), source);
        }
    }

    /// Says which pods cannot be placed, as the steps of a plan name them.
    pub(super) fn unschedulable(&mut self, view: &View, plan: &mut Plan) {
        if plan.is_cut {
            self.repeat(plan);
        }
        let mut now = BTreeMap::new();
        let mut news = Vec::new();
        for step in &plan.items {
            let Step::Unschedulable { slot, message } = step else { continue };
            if self.unschedulable.get(slot).is_none_or(|said| said != message) {
                news.push((slot.clone(), message.clone()));
            }
            now.insert(slot.clone(), message.clone());
        }
        self.unschedulable = now;
        let events = news.iter().take(MAX_NEWS).map(|(slot, message)| {
            let value = view.slot(slot).and_then(|slot| slot.value);
            Step::Event(failed_scheduling(view, slot, value, message))
        });
        plan.items.extend(events);
    }

    /// A plan that was cut off has not tried all: what was said of the others stands, as far as one report may be long.
    fn repeat(&self, plan: &mut Plan) {
        let mut tried: BTreeSet<&ObjectKey> = BTreeSet::new();
        let mut bytes = 0;
        for step in &plan.items {
            match step {
                Step::Edit { key, .. } | Step::Delete { key } => drop(tried.insert(key)),
                Step::Unschedulable { slot, message } => {
                    tried.insert(slot);
                    bytes += unschedulable_bytes(slot, message);
                }
                Step::Create { .. } | Step::Event(_) => {}
            }
        }
        let said = self.unschedulable.iter().filter(|(slot, _)| !tried.contains(slot));
        let fitting = said.take_while(|(slot, message)| {
            bytes += unschedulable_bytes(slot, message);
            bytes <= MAX_UNSCHEDULABLE_BYTES
        });
        let again: Vec<Step> = fitting
            .map(|(slot, message)| Step::Unschedulable { slot: slot.clone(), message: message.clone() })
            .collect();
        // Before the events: of these some may be left out when a plan is carried out.
        let events = plan.items.iter().position(|step| matches!(step, Step::Event(_))).unwrap_or(plan.items.len());
        plan.items.splice(events..events, again);
    }

    /// Lets go of what is about objects that are gone.
    pub(super) fn sweep(&mut self, view: &View) {
        self.complaints.retain(|key, _| view.replica_sets_of(key).is_some());
    }
}

/// How long a message about a pod that cannot be placed is in a report, in bytes.
pub(super) fn unschedulable_bytes(slot: &ObjectKey, message: &str) -> usize {
    slot.to_string().len() + message.len() + 16
}

fn failed_scheduling(view: &View, slot: &ObjectKey, value: Option<WriteId>, message: &str) -> Event {
    let (name, uid) = match value {
        Some(value) => (slot::pod_name(&view.cluster, slot, &value), slot::pod_uid(&view.cluster, slot, &value)),
        None => (slot.name().to_owned(), slot.uid(&view.cluster).to_string()),
    };
    Event {
        kind: crate::model::POD_KIND.to_owned(),
        namespace: slot.namespace().unwrap_or_default().to_owned(),
        name,
        uid,
        warning: true,
        reason: "FailedScheduling".to_owned(),
        message: message.to_owned(),
        source: "scheduler".to_owned(),
        first_ms: view.now.wall_ms,
        last_ms: view.now.wall_ms,
        count: 1,
    }
}
