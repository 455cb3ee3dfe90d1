//! Who has been heard since they were last out of reach. What a node said of its pods before that may have changed while
//! nobody could hear it, so whoever is about to stop a pod because another one serves asks first.
//!
//! Asking is lazy: only a slot that concerns this node makes it ask, and it asks only the nodes of that slot's pods.

use std::collections::BTreeSet;
use std::sync::Arc;

use skein_crdt_state::exchange::Exchange;
use skein_crdt_state::{Envelope, Store};
use skein_gossip::{NodeId, Now};

use super::{Frame, Node};

/// Whose word on their pods counts.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// They said how all their pods are since the link to them came up.
    confirmed: BTreeSet<NodeId>,
    /// They were asked, or will be when there is a link.
    wanted: BTreeSet<NodeId>,
}

impl Node {
    /// Whether a pod is ready, by a word of its node that is no older than this node's link to it.
    pub(super) fn serves(&self, node: &NodeId, uid: &str) -> bool {
        let is_heard = *node == self.me || self.reach.confirmed.contains(node);
        is_heard && self.peers.alive.contains(node) && self.is_reported_ready(node, uid)
    }

    /// Wants a node's word, if a slot depends on it and an old one is all there is.
    pub(super) fn want_word_of(&mut self, node: NodeId) {
        let known = node == self.me || self.reach.confirmed.contains(&node);
        if !known && self.reach.wanted.insert(node) && self.peers.linked.contains(&node) {
            self.send(node, &Frame::AskReports, None);
        }
    }

    /// Asks again whoever has not answered: questions get lost with their links.
    pub(super) fn ask_again(&mut self) {
        for node in self.reach.wanted.intersection(&self.peers.linked).copied().collect::<Vec<_>>() {
            self.send(node, &Frame::AskReports, None);
        }
    }

    /// A node went out of reach: whatever it says next counts, and nothing that it said before.
    pub(super) fn out_of_reach(&mut self, now: Now, node: NodeId) {
        if self.reach.confirmed.remove(&node) {
            self.refresh_pods_of(now, &[node].into());
        }
    }

    /// A node can be asked.
    pub(super) fn in_reach(&mut self, node: NodeId) {
        if self.reach.wanted.contains(&node) {
            self.send(node, &Frame::AskReports, None);
        }
    }

    /// Says all that this node says of itself to a peer that asks.
    pub(super) fn tell_reports(&mut self, to: NodeId) {
        let me = self.me;
        let own = self.store.reports().filter(|(node, _, _)| **node == me);
        let envelopes: Vec<Arc<Envelope>> = own.map(|(_, _, report)| report.envelope.clone()).collect();
        let mut batches = Store::gives(envelopes, true).into_iter().peekable();
        while let Some(Exchange::Give { envelopes, .. }) = batches.next() {
            let last = batches.peek().is_none();
            self.send(to, &Frame::Reports { envelopes, last }, None);
        }
    }

    /// A node said what it says of itself.
    pub(super) fn told_reports(&mut self, now: Now, from: NodeId, envelopes: Vec<Arc<Envelope>>, last: bool) {
        self.exchange(now, from, Exchange::Give { envelopes, answer: true });
        if last && self.peers.linked.contains(&from) && self.reach.confirmed.insert(from) {
            self.reach.wanted.remove(&from);
            // Pods whose readiness was known and did not count until now.
            self.refresh_pods_of(now, &[from].into());
            self.look_at_handovers(now);
        }
    }
}
