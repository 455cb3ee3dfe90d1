//! What the election tells the rest of the node of who leads, whenever that changes.

use std::time::Duration;

use skein_gossip::Instant;

use super::{Election, Followed, Leadership, Output, Role, VoterSummary};

impl Election {
    /// Tells the router who leads, if that has changed.
    pub(super) fn tell(&mut self, now: Instant) {
        let voters = VoterSummary {
            at: self.record.voters.at,
            count: self.record.voters.weights.len(),
            weight: self.record.voters.total(),
            me: self.record.voters.weights.contains_key(&self.me),
        };
        let next = match (&self.role, self.followed) {
            (Role::Leader(reign), _) => Leadership {
                leader: Some(self.me),
                term: reign.term,
                quorate: self.is_quorate(reign, now),
                mine: true,
                tenure_ends: Some(reign.tenure_ends),
                voters,
            },
            (_, Some(Followed { claim, tenure_ends, .. })) => Leadership {
                leader: Some(claim.leader),
                term: claim.term,
                quorate: claim.quorate,
                mine: false,
                // Each heartbeat moves this by the network's delay; only a new tenure is news.
                tenure_ends: self
                    .told
                    .tenure_ends
                    .filter(|old| {
                        self.told.leader == Some(claim.leader) && tenure_ends.is_some_and(|new| close(*old, new))
                    })
                    .or(tenure_ends),
                voters,
            },
            (_, None) => Leadership { term: self.record.term, voters, ..Leadership::default() },
        };
        if next != self.told {
            self.told = next.clone();
            self.push(Output::Changed(next));
        }
    }
}

fn close(a: Instant, b: Instant) -> bool {
    a.since(b).max(b.since(a)) < Duration::from_secs(5)
}
