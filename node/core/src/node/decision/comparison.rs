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
        // What it has learned in this term it must not forget with its power, once that counts.
        let after = self.batch_of_last_word();
        if peer != self.me {
            let known = self.known_of_leases();
            return self.send(peer, &Frame::Compare { at, known }, after);
        }
        if self.decisions.own.is_some_and(|own| own.at == at) {
            // With a batch that is later each time it is asked, a disk that takes long would never come to an end. What is learned
            // meanwhile counts with the voters that are sent it, which happens once it is on this disk.
            return self.own_is_written(now);
        }
        let whole = self.has_lost_nothing();
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
        if self.known_of_leases() != *known {
            return self.open_exchange_with(from);
        }
        let whole = self.has_lost_nothing();
        let after = self.batch_of_last_word().filter(|_| !planted::is(Bug::PromiseBeforeDisk));
        self.send(from, &Frame::Alike { at, whole }, after);
    }

    /// A hash of what is known of Leases. A leader compares with many voters at once, and there may be many Leases: it is found once for
    /// each state.
    fn known_of_leases(&mut self) -> [u8; 32] {
        let state = self.store.state_hash();
        match self.decisions.known_of_leases {
            Some((of, known)) if of == state => known,
            _ => {
                let known = self.store.hash_of(&Kind::new(LEASE_KIND));
                self.decisions.known_of_leases = Some((state, known));
                known
            }
        }
    }

    /// Whether this disk has neither damaged what it knew of Leases nor gone back in time.
    fn has_lost_nothing(&self) -> bool {
        !self.election.record().unseated && !self.store.has_lost_changes_of(&Kind::new(LEASE_KIND))
    }
}

#[cfg(test)]
mod tests;
