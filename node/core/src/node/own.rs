//! What this node says of itself: its status, its events, and the Node object that people put labels and taints on.

use skein_crdt_state::{Edit, Kind, NameKey, ObjectKey, Scalar};
use skein_gossip::{NodeId, Now};

use super::Node;
use crate::status::{Event, MAX_EVENTS, NodeStatus};

impl Node {
    pub(super) fn say_status(&mut self, now: Now) {
        let body = postcard::to_stdvec(&self.status).unwrap_or_default();
        self.say(now, "node", &body);
    }

    /// Adds an event to the ring; one that says the same as an earlier one counts that one up.
    pub(super) fn event(&mut self, event: Event) {
        let same = |known: &Event| {
            (&known.kind, &known.uid, &known.namespace, &known.name)
                == (&event.kind, &event.uid, &event.namespace, &event.name)
                && (&known.reason, &known.message, &known.source) == (&event.reason, &event.message, &event.source)
        };
        match self.events.ring.iter().position(same) {
            Some(at) => {
                let mut known = self.events.ring.remove(at);
                known.count = known.count.saturating_add(1);
                known.last_ms = event.last_ms;
                self.events.ring.push(known);
            }
            None => self.events.ring.push(event),
        }
        let surplus = self.events.ring.len().saturating_sub(MAX_EVENTS);
        self.events.ring.drain(..surplus);
        self.events_unsaid = true;
    }

    /// Says all that came together at once: each word of the ring is a whole ring.
    pub(super) fn say_events(&mut self, now: Now) {
        self.events_unsaid = false;
        let mut body = postcard::to_stdvec(&self.events).unwrap_or_default();
        // Long messages may make the ring too long for a section; then the oldest half goes.
        while body.len() > skein_crdt_state::store::MAX_REPORT_BYTES && !self.events.ring.is_empty() {
            let half = self.events.ring.len().div_ceil(2);
            self.events.ring.drain(..half);
            body = postcard::to_stdvec(&self.events).unwrap_or_default();
        }
        self.say(now, "events", &body);
    }

    /// An edit that a deletion had not seen is lost with the object: whoever made it must be able to learn that.
    pub(super) fn edit_lost(&mut self, now: Now, key: &ObjectKey, by: &NodeId) {
        let by = self.store.members().get(by).map_or_else(|| by.short(), |member| member.name.clone());
        let cluster = self.store.cluster();
        self.event(Event {
            kind: key.kind().to_string(),
            namespace: key.namespace().unwrap_or_default().to_owned(),
            name: key.name().to_owned(),
            uid: key.uid(&cluster).to_string(),
            warning: true,
            reason: "EditLost".into(),
            message: format!("it was deleted on {by} by somebody who had not seen its latest edit; that edit is lost"),
            source: "state".into(),
            first_ms: now.wall_ms,
            last_ms: now.wall_ms,
            count: 1,
        });
    }

    /// Another node's word on itself changed: its claims decide about slots.
    pub(super) fn node_reported(&mut self, now: Now, node: NodeId) {
        // Whoever has left holds on to nothing.
        let report = self.store.report(&node, "node").filter(|_| self.store.members().is_active(&node));
        let status = report.and_then(|report| postcard::from_bytes::<NodeStatus>(&report.body).ok());
        let claims = status.map(|status| status.claims).unwrap_or_default();
        let before = self.claims_by_node.get(&node).cloned().unwrap_or_default();
        if claims == before {
            return;
        }
        let slots = before.symmetric_difference(&claims).map(|claim| claim.slot.clone()).collect();
        self.claims_by_node.insert(node, claims);
        self.claims = crate::slot::Claims::default();
        for (node, claims) in &self.claims_by_node {
            self.claims.add(*node, claims.iter().cloned());
        }
        self.refresh_slots(now, &slots);
    }

    /// Makes sure that this node has its Node object, which says whose it is.
    pub(super) fn ensure_node_object(&mut self, now: Now) {
        let name = NameKey::root(&Kind::new("Node"), &self.config.name);
        if self.left || self.store.current_life(&name).is_some() {
            return;
        }
        let key = self.store.next_life(&name);
        let provider = format!("skein://{}", self.me);
        let edits = [Edit::set("spec.providerID", Scalar::str(&provider))];
        if let Ok(said) = self.store.edit(now, &key, &edits, "agent\tsystem:node") {
            self.push(&said);
        }
    }
}
