//! What a leader and its voters compare before it changes who votes. A majority of the set knows what was decided; two changes later
//! no voter of it need be left in a majority. So before each change most voters must know what the leader knows, and the leader what
//! they know. Where they differ they exchange what they have, as peers always do, and are asked again.

use skein_crdt_state::Kind;
use skein_gossip::planted::{self, Bug};
use skein_gossip::{NodeId, Now};

use super::super::{Frame, Node};
use super::LEASE_KIND;
use crate::election::{self, SetVersion};

/// That this node knows itself what it compares with others, once that is on its disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own {
    at: SetVersion,
    whole: bool,
    batch: u64,
}

impl Node {
    /// This leader is about to change the voters.
    pub(in super::super) fn compare_decisions(&mut self, now: Now, peer: NodeId, at: SetVersion) {
        let kind = Kind::new(LEASE_KIND);
        // What it has learned in this term it must not forget with its power, once that counts.
        let after = self.batch_of_last_word();
        if peer != self.me {
            return self.send(peer, &Frame::Compare { at, known: self.store.hash_of(&kind) }, after);
        }
        let whole = !self.election.record().unseated && !self.store.has_lost_changes_of(&kind);
        self.decisions.own = Some(Own { at, whole, batch: after.unwrap_or_default() });
        self.own_is_written(now);
    }

    /// More is on this disk.
    pub(in super::super) fn own_is_written(&mut self, now: Now) {
        let on_disk = self.outbox.on_disk();
        if let Some(own) = self.decisions.own.take_if(|own| own.batch <= on_disk) {
            self.election.handle(now, election::Input::Alike { peer: self.me, at: own.at, whole: own.whole });
        }
    }

    /// A leader compares what is known here. Who upholds decisions of earlier terms still does not answer.
    pub(in super::super) fn asked_to_compare(&mut self, from: NodeId, at: SetVersion, known: &[u8; 32]) {
        let record = self.election.record();
        let takes_part = record.term == at.term || (record.unseated && record.term < at.term);
        if !takes_part || self.outbox.refusal().is_some() {
            return;
        }
        let kind = Kind::new(LEASE_KIND);
        if self.store.hash_of(&kind) != *known {
            return self.open_exchange_with(from);
        }
        let whole = !self.election.record().unseated && !self.store.has_lost_changes_of(&kind);
        let after = self.batch_of_last_word().filter(|_| !planted::is(Bug::PromiseBeforeDisk));
        self.send(from, &Frame::Alike { at, whole }, after);
    }
}

#[cfg(test)]
mod tests;
