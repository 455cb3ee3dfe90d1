//! A node gives at most one vote in a term, across all its restarts (Raft, section 5.2; here per component).

use std::collections::BTreeMap;

use skein_core::node::read_vote;
use skein_gossip::NodeId;

/// The votes that were seen on disks.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    given: BTreeMap<(usize, u64), NodeId>,
    terms: BTreeMap<usize, u64>,
}

impl Votes {
    /// A host begins anew with an empty disk: its peers know that its vote counts no more.
    pub(crate) fn forget(&mut self, host: usize) {
        self.given.retain(|(of, _), _| *of != host);
        self.terms.remove(&host);
    }

    /// A record that has come to a host's disk; what is broken by it.
    pub(crate) fn seen(&mut self, host: usize, row: &[u8]) -> Option<String> {
        let Some(record) = read_vote(row) else {
            return Some(format!("h{host} has a vote on its disk that cannot be read"));
        };
        let latest = self.terms.entry(host).or_default();
        if record.term < *latest {
            return Some(format!("h{host} went back from term {latest} to {}", record.term));
        }
        *latest = record.term;
        let vote = record.voted_for?;
        match self.given.insert((host, record.term), vote) {
            Some(before) if before != vote => {
                Some(format!("h{host} voted for {before:?} and for {vote:?} in term {}", record.term))
            }
            _ => None,
        }
    }
}
