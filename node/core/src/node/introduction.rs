//! Introductions: a node that a peer does not take for a member shows it what makes it one, and hears why it is none any more.
//!
//! The admission of a node is passed on by who let it in. If that one is gone before it could, nobody else knows the node; and
//! a node that was away when it was removed, or whose disk went back, hears it from nobody, since nobody talks to it. Both are
//! refused wherever they knock, which is when they introduce themselves. How that travels does not live here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skein_crdt_state::Envelope;
use skein_crdt_state::exchange::Exchange;
use skein_crdt_state::members::Ended;
use skein_gossip::{Instant, NodeId, Now};

use super::credentials::{MAX_INTRODUCTION, introduction, why_out};
use super::{Effect, Node};
use crate::request::{AdmissionError, RequestId};

/// How long a peer must have refused this node before it introduces itself: an admission spreads within a second or two.
const AFTER: Duration = Duration::from_secs(3);
/// How often it does to one peer.
const EVERY: Duration = Duration::from_secs(10);
/// The most statements that are looked at in an answer.
const MAX_ANSWER: usize = 2048;

/// Which members refuse this node: at most all of them.
#[derive(Debug, Default)]
pub(crate) struct Introductions {
    refused: BTreeMap<NodeId, Refused>,
}

#[derive(Debug)]
struct Refused {
    since: Instant,
    introduced: Option<Instant>,
}

impl Introductions {
    /// A peer takes this node for a member.
    pub(super) fn welcome(&mut self, peer: &NodeId) {
        self.refused.remove(peer);
    }

    /// A peer does not; whether it is time to introduce oneself.
    fn is_due(&mut self, now: Instant, peer: NodeId) -> bool {
        let refused = self.refused.entry(peer).or_insert(Refused { since: now, introduced: None });
        let is_due = match refused.introduced {
            None => now >= refused.since + AFTER,
            Some(last) => now >= last + EVERY,
        };
        if is_due {
            refused.introduced = Some(now);
        }
        is_due
    }
}

impl Node {
    /// A peer refuses this node.
    pub(super) fn unwelcome(&mut self, now: Now, peer: NodeId) {
        let members = self.store.members();
        if !members.is_active(&peer) || self.peers.linked.contains(&peer) {
            return;
        }
        self.introductions.refused.retain(|peer, _| members.is_active(peer));
        if self.introductions.is_due(now.mono, peer) {
            let said = introduction(members, &self.me);
            self.effects.push_back(Effect::Introduce { to: peer, said });
        }
    }

    /// A stranger shows what makes it a member. If it does, that is taken in, and the stranger is one here. If it did once, the
    /// stranger is told why not any more. Nothing else is taken in: whoever was removed must not fill up the statements.
    pub(super) fn introduced(&mut self, now: Now, id: RequestId, stranger: NodeId, said: &[Arc<Envelope>]) {
        let answer = self.look_at_introduction(now, stranger, said);
        self.effects.push_back(Effect::Acquainted(id, answer));
    }

    fn look_at_introduction(
        &mut self,
        now: Now,
        stranger: NodeId,
        said: &[Arc<Envelope>],
    ) -> Result<Vec<Arc<Envelope>>, AdmissionError> {
        if self.store.members().is_active(&stranger) {
            return Ok(Vec::new());
        }
        if said.len() > MAX_INTRODUCTION {
            return Err(AdmissionError::Unproved);
        }
        let members = self.store.members_with(said);
        let member = members.get(&stranger).ok_or(AdmissionError::Unproved)?;
        match member.ended {
            None => {
                let envelopes = introduction(&members, &stranger);
                let outcome = self.store.exchange(now, Exchange::Give { envelopes, answer: false });
                self.push(&outcome.applied);
                Ok(Vec::new())
            }
            // It may have forgotten that it left, if its disk went back.
            Some(Ended::Left(_)) => Ok(members.departure_of(&stranger).into_iter().cloned().collect()),
            Some(_) => Ok(why_out(&members, &stranger)),
        }
    }

    /// A member has answered why it does not take this node for one.
    pub(super) fn acquainted(&mut self, now: Now, peer: NodeId, said: &[Arc<Envelope>]) {
        if self.store.members().is_active(&peer) {
            self.pushed(now, peer, &said[..said.len().min(MAX_ANSWER)], None, &[]);
        }
    }
}

#[cfg(test)]
mod tests;
