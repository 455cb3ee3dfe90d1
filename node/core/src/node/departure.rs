//! How this node leaves: the voters go on without it, a peer takes over all that it holds, and somebody hears that it has left.
//! Being removed by others lives in `admission.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use skein_crdt_state::{Envelope, Kind, NameKey};
use skein_gossip::{NodeId, Now};

use super::durability::{ReplyTo, Rule, statement_write};
use super::{Effect, Frame, Node, Wait};
use crate::request::{LeaveError, RequestId, WriteOp};

/// How long a node that leaves waits for the voters to go on without it, and for a peer to hold all that it holds.
const RETIRE_PATIENCE: Duration = Duration::from_secs(5);
/// How often a node that has left tells whoever it can reach, until one of them says that it knows; then it gives up.
const TELL_DEPARTURE: u32 = 20;

/// To whom a node that makes ready to leave leaves all that it holds. Peers that know as much are asked to say when that is on their
/// disks: what a peer has in memory alone goes with its power, and this node's disk is given up.
#[derive(Debug, Default)]
pub(crate) struct Inheritance {
    /// What the peers answer with that were asked since this node wrote something last.
    token: u64,
    asked: BTreeSet<NodeId>,
    heir: Option<NodeId>,
}

impl Inheritance {
    /// The peer on whose disk all is that this node holds.
    pub(crate) fn heir(&self) -> Option<NodeId> {
        self.heir
    }

    /// What is written from now on no peer has yet.
    pub(crate) fn begin_anew(&mut self) {
        (self.asked, self.heir) = (BTreeSet::new(), None);
    }

    /// A peer that is started anew may have lost what it was to say that its disk has.
    pub(super) fn forget(&mut self, peer: &NodeId) {
        self.asked.remove(peer);
    }
}

impl Node {
    /// Begins to leave: the voters are asked to go on without this node first, or most of a small cluster's votes would
    /// leave with it; and a peer must hold all that this node holds, or writes that no other disk has would.
    pub(super) fn leave(&mut self, now: Now, id: RequestId) {
        let refusal = match self.retiring {
            Some(_) => Some(LeaveError::Underway),
            None => (!self.has_state()).then_some(LeaveError::Lost),
        };
        if let Some(error) = refusal {
            return self.effects.push_back(Effect::Left(id, Err(error)));
        }
        self.retiring = Some(id);
        self.inheritance.begin_anew();
        self.timers.set(Wait::Depart, now.mono + RETIRE_PATIENCE);
        self.election.handle(now, crate::election::Input::Retire);
    }

    /// A peer knows all that this node knows. While this one makes ready to leave, it is asked to say when that is on its disk.
    pub(super) fn knows_as_much(&mut self, peer: NodeId) {
        if self.retiring.is_none() || self.has_given() || !self.may_inherit(&peer) {
            return;
        }
        if self.inheritance.asked.is_empty() {
            self.inheritance.token = self.durable.take_token();
        }
        self.inheritance.asked.insert(peer);
        let frame = Frame::Push { envelopes: Vec::new(), token: Some(self.inheritance.token), pass_to: Vec::new() };
        self.send(peer, &frame, None);
    }

    /// A peer has on its disk what it was asked for: this is the heir if that was everything.
    pub(super) fn may_be_heir(&mut self, peer: NodeId, token: u64) {
        let inheritance = &mut self.inheritance;
        if self.retiring.is_some() && token == inheritance.token && inheritance.asked.contains(&peer) {
            inheritance.heir = Some(peer);
        }
    }

    /// Whether what this node leaves to a peer is there for others: not if nobody else has heard yet that the peer was let in, which only
    /// this node could tell them.
    fn may_inherit(&self, peer: &NodeId) -> bool {
        let members = self.store.members();
        let was_let_in_here = members.get(peer).is_some_and(|member| member.admitted_by == self.me);
        !was_let_in_here || members.active().len() <= 2 || self.known_elsewhere.contains(peer)
    }

    /// Whether this node's own disk stays, for somebody who asks whether it holds everything and is about to leave. Of two that leave at one
    /// time each would leave all to the other.
    pub(super) fn may_be_left_everything(&self) -> bool {
        self.retiring.is_none()
    }

    /// Whether a peer's disk holds all that this node holds, or there is nobody else. A peer that was removed meanwhile is none. What is
    /// to be made again is in no state that peers compare, and this node may be the only one that can make it.
    fn has_heir(&self) -> bool {
        let is_to_make = self.rebirths.keys().any(|key| self.store.current_life(&key.name_key()).is_none());
        self.store.members().active().len() <= 1 || (!is_to_make && self.has_given())
    }

    /// Whether a member's disk had all that this node held when it wrote something last.
    fn has_given(&self) -> bool {
        self.inheritance.heir.is_some_and(|heir| self.store.members().is_active(&heir))
    }

    /// Leaves once all is ready for it; whether it did.
    pub(super) fn depart_when_ready(&mut self, now: Now) -> bool {
        let is_ready = self.retiring.is_some() && self.has_heir() && self.election.is_retired();
        if is_ready {
            self.depart(now);
        }
        is_ready
    }

    /// The time to make ready is over: leaves without the voters' consent, but not with what only this disk may have.
    pub(super) fn depart_or_stay(&mut self, now: Now) {
        if self.has_heir() {
            return self.depart(now);
        }
        if let Some(id) = self.retiring.take() {
            self.election.handle(now, crate::election::Input::Stay);
            self.effects.push_back(Effect::Left(id, Err(LeaveError::Alone)));
        }
    }

    fn depart(&mut self, now: Now) {
        let Some(id) = self.retiring.take() else { return };
        self.timers.clear(&Wait::Depart);
        self.leaving = Some(id);
        let node = NameKey::root(&Kind::new("Node"), &self.config.name);
        let mut said = vec![self.store.depart(now)];
        if let Some(key) = self.store.current_life(&node) {
            said.extend(self.store.delete(now, &key));
        }
        let departure = said[0].clone();
        self.push(&said);
        self.await_departure(now, id, departure);
        self.go(now);
    }

    /// Runs nothing, votes for nobody and is nobody's member any more.
    pub(super) fn go(&mut self, now: Now) {
        self.election.handle(now, crate::election::Input::StepDown);
        self.membership.handle(now, skein_gossip::membership::Input::Leave);
        self.agent.handle(now, crate::agent::Input::Leave);
        self.left = true;
    }

    /// The node is out while it makes ready to leave: whoever asked it to has what was asked for.
    pub(super) fn is_out_before_leaving(&mut self, now: Now) {
        if let Some(id) = self.retiring.take() {
            self.timers.clear(&Wait::Depart);
            self.leave_again(now, id);
        }
    }

    /// The user repeats the wish to leave at a node that has left: whoever has not heard of it is told. It leaves anew, since somebody may
    /// have let it in meanwhile by a request of long ago.
    pub(super) fn leave_again(&mut self, now: Now, id: RequestId) {
        if self.departure().is_none() {
            return self.effects.push_back(Effect::Left(id, Ok(())));
        }
        self.leaving = Some(id);
        let departure = self.store.depart(now);
        self.await_departure(now, id, departure);
    }

    fn departure(&self) -> Option<Arc<Envelope>> {
        self.store.members().departure_of(&self.me).cloned()
    }

    fn await_departure(&mut self, now: Now, id: RequestId, departure: Arc<Envelope>) {
        let node = NameKey::root(&Kind::new("Node"), &self.config.name);
        let request = statement_write(WriteOp::Delete { key: node.life(1), if_heads: None });
        self.departure_told = 0;
        self.await_durable(now, ReplyTo::Client(id), &request, node.life(1), &[departure], Rule::Disks);
    }

    /// Nobody has said yet that it knows of this node's departure: tells whoever can be reached once more. `false`: it was
    /// tried for long enough.
    pub(super) fn tell_departure_again(&mut self, token: u64) -> bool {
        let peers: Vec<NodeId> = self.peers.linked.iter().copied().collect();
        self.departure_told += 1;
        if self.departure_told > TELL_DEPARTURE {
            let text = "no peer has said that it knows of this node's departure; those that do not know wait for it to come back";
            self.effects.push_back(Effect::Notice(text.into()));
            return false;
        }
        let Some(departure) = self.departure() else { return false };
        let after = self.batch_of_last_word();
        let frame = Frame::Push { envelopes: vec![departure], token: Some(token), pass_to: Vec::new() };
        peers.into_iter().for_each(|peer| self.send(peer, &frame, after));
        true
    }
}

#[cfg(test)]
mod tests;
