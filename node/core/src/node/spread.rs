//! Spreading: news goes at once to a few peers and on from there; what that misses is found by comparing notes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::seq::IteratorRandom;
use skein_crdt_state::exchange::Exchange;
use skein_crdt_state::{Envelope, Store};
use skein_gossip::planted::{self, Bug};
use skein_gossip::{NodeId, Now};

use super::{Effect, Frame, Node, Wait};

/// In a cluster of up to this many nodes the author pushes to all and nobody passes on.
const SMALL_CLUSTER: usize = 8;
/// To how many peers news goes in a larger one, from its author and from everybody to whom it is news.
const FAN_OUT: usize = 3;
/// The time between two exchanges that this node opens, and how much it varies.
const EXCHANGE_EVERY: Duration = Duration::from_millis(800);
const EXCHANGE_JITTER_MS: u64 = 400;

impl Node {
    /// Pushes news to peers that are alive; to how many.
    pub(super) fn push(&mut self, _now: Now, envelopes: Vec<Arc<Envelope>>, token: Option<u64>) -> usize {
        let me = self.me;
        self.push_from(envelopes, token, &[me])
    }

    fn push_from(&mut self, envelopes: Vec<Arc<Envelope>>, token: Option<u64>, except: &[NodeId]) -> usize {
        if envelopes.is_empty() {
            return 0;
        }
        let peers = self.peers_for_push(except);
        let bytes: Arc<[u8]> = postcard::to_stdvec(&Frame::Push { envelopes, token }).unwrap_or_default().into();
        for peer in &peers {
            self.send_bytes(*peer, bytes.clone(), self.outbox.unnumbered());
        }
        peers.len()
    }

    fn peers_for_push(&mut self, except: &[NodeId]) -> BTreeSet<NodeId> {
        let reachable = self.peers.linked.intersection(&self.peers.alive).copied();
        let candidates: Vec<NodeId> = reachable.filter(|peer| !except.contains(peer)).collect();
        if self.peers.alive.len() <= SMALL_CLUSTER {
            return candidates.into_iter().collect();
        }
        candidates.into_iter().sample(&mut self.rng, FAN_OUT).into_iter().collect()
    }

    /// Takes in news that a peer pushed, passes it on where it is news, and promises what it asks for.
    pub(super) fn pushed(&mut self, now: Now, from: NodeId, envelopes: &[Arc<Envelope>], token: Option<u64>) {
        let news = Exchange::Give { envelopes: envelopes.to_vec(), answer: false };
        let outcome = self.store.exchange(now, news);
        self.note_offence(from, outcome.refused);
        for reply in outcome.replies {
            self.send(from, &Frame::Exchange(reply), None);
        }
        if self.peers.alive.len() > SMALL_CLUSTER {
            self.push_from(outcome.applied, None, &[self.me, from]);
        }
        if let Some(token) = token {
            self.owe_stored(from, token, envelopes);
        }
    }

    /// Handles a message of an exchange.
    pub(super) fn exchange(&mut self, now: Now, from: NodeId, message: Exchange) {
        let heard = self.heard(&message);
        if let Exchange::Root { wanted, .. } = &message {
            self.peer_holds_all |= self.retiring.is_some() && *wanted == self.store.state_hash();
        }
        let outcome = self.store.exchange(now, message);
        self.catch_up_by(now, from, heard, &outcome);
        self.note_offence(from, outcome.refused);
        for reply in outcome.replies {
            self.send(from, &Frame::Exchange(reply), None);
        }
    }

    /// Everybody checks what it takes in before it passes it on, so whoever sends what breaks a rule broke it too. One for
    /// each message is enough.
    fn note_offence(&mut self, peer: NodeId, refused: Vec<String>) {
        if let Some(what) = refused.into_iter().next() {
            self.effects.push_back(Effect::Offence { peer, what });
        }
    }

    pub(super) fn open_exchange_with(&mut self, peer: NodeId) {
        if planted::is(Bug::NoAntiEntropy) {
            return;
        }
        let root = self.store.exchange_root();
        self.send(peer, &Frame::Exchange(root), None);
    }

    pub(super) fn exchange_with_somebody(&mut self, now: Now) {
        let peer = self.peers.linked.iter().filter(|peer| **peer != self.me).choose(&mut self.rng).copied();
        if let Some(peer) = peer {
            self.open_exchange_with(peer);
        }
        self.ask_again();
        self.set_exchange_timer(now);
    }

    pub(super) fn set_exchange_timer(&mut self, now: Now) {
        let jitter = Duration::from_millis(self.rng.random_range(0..EXCHANGE_JITTER_MS));
        self.timers.set(Wait::Exchange, now.mono + EXCHANGE_EVERY + jitter);
    }

    /// Says a section of this node's report and pushes it.
    pub(super) fn say(&mut self, now: Now, section: &str, body: &[u8]) {
        match self.store.set_report(now, section, body) {
            Ok(Some(envelope)) => {
                self.push(now, vec![envelope], None);
            }
            Ok(None) => {}
            Err(error) => self.effects.push_back(Effect::Notice(format!("this node's report \"{section}\": {error}"))),
        }
    }

    /// Whether nothing waits to be put into the next batch.
    pub(super) fn records_are_settled(&self) -> bool {
        self.outbox.is_empty() && !self.store.has_records()
    }
}

/// Splits what is pushed so that no frame grows beyond bounds.
pub(super) fn batches(envelopes: Vec<Arc<Envelope>>) -> Vec<Vec<Arc<Envelope>>> {
    let gives = Store::gives(envelopes, false).into_iter();
    gives.filter_map(|give| if let Exchange::Give { envelopes, .. } = give { Some(envelopes) } else { None }).collect()
}
