//! The peers that uphold what another has decided, and answer for it if that one is lost: the next in an object's order, the
//! voters for Leases.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skein_crdt_state::{Envelope, NameKey, ObjectKey, WriteId};
use skein_gossip::planted::{self, Bug};
use skein_gossip::{NodeId, Now};

use super::super::spread::batches;
use super::super::{Frame, Node};

/// "I decided this: uphold it."
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Uphold {
    /// Names the decision among its author's.
    pub(in super::super) token: u64,
    /// The term of the leader that decided; `None`: the object's owner did.
    pub(in super::super) term: Option<u64>,
    /// Which object.
    pub(in super::super) key: ObjectKey,
    /// Its heads after the decision; if that ends the object's life, those before.
    pub(in super::super) heads: Vec<WriteId>,
    /// Whether it ends the object's life.
    pub(in super::super) ends: bool,
    /// The decision.
    pub(in super::super) envelopes: Vec<Arc<Envelope>>,
}

impl Node {
    /// Upholds a decision once it is on this disk, unless another one is known here that was made without it. Who cannot say
    /// either yet says nothing, and is asked again.
    pub(in super::super) fn uphold(&mut self, now: Now, from: NodeId, asked: &Uphold) {
        let Uphold { token, term, key, heads, ends, envelopes } = asked;
        match term.map(|term| self.takes_part_in(term)) {
            Some(Part::Later) => return self.send(from, &Frame::Overtaken { token: *token }, None),
            Some(Part::NotYet) => return,
            // What it has upheld may be what it has lost, and would be forgotten by a majority.
            Some(Part::Now) if !ends && self.store.has_lost_changes(key) => return,
            Some(Part::Now) | None => {}
        }
        // After a deletion nothing is there to compare.
        let mut apart = *ends && self.store.is_decided_apart(key, heads);
        if !apart {
            self.pushed(now, from, envelopes, None, &[]);
            if self.outbox.refusal().is_some() || !self.store.includes(envelopes) {
                return;
            }
            apart = !ends && self.store.is_decided_apart(key, heads);
        }
        if apart {
            return self.send(from, &Frame::Overtaken { token: *token }, None);
        }
        let after = self.batch_of_last_word().filter(|_| !planted::is(Bug::PromiseBeforeDisk));
        self.send(from, &Frame::Upheld { token: *token }, after);
    }

    /// Says what is known here of a name to a leader in whose term this voter takes part. That it does is on its disk before.
    pub(in super::super) fn asked_to_recall(
        &mut self,
        from: NodeId,
        (token, term): (u64, u64),
        name: &NameKey,
        heads: &[WriteId],
    ) {
        let is_hurt = self.store.has_lost_changes(&self.store.next_life(name));
        if self.takes_part_in(term) != Part::Now || self.outbox.refusal().is_some() || is_hurt {
            return;
        }
        let mut news = batches(self.store.all_since(name, heads));
        let last = news.pop().unwrap_or_default();
        let after = self.batch_of_last_word();
        for envelopes in news {
            self.send(from, &Frame::Push { envelopes, token: None, pass_to: Vec::new() }, after);
        }
        self.send(from, &Frame::Recalled { token, known: last }, after);
    }

    /// Where this voter stands to a leader's term. One whose disk has gone back in time may have taken part in any.
    fn takes_part_in(&self, term: u64) -> Part {
        let record = self.election.record();
        match record.term.cmp(&term) {
            std::cmp::Ordering::Greater => Part::Later,
            std::cmp::Ordering::Equal if !record.unseated => Part::Now,
            _ => Part::NotYet,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It has taken part in a later one.
    Later,
    /// In this one.
    Now,
    /// It has not heard of it, or cannot vouch for its past.
    NotYet,
}
