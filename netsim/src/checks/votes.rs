//! A node gives at most one vote in a term, across all its restarts (Raft, section 5.2; here per component).

use std::collections::{BTreeMap, BTreeSet};

use skein_core::node::read_vote;
use skein_gossip::NodeId;

/// The votes that were seen on disks.
#[derive(Debug, Default)]
pub(crate) struct Votes {
    given: BTreeMap<(usize, u64), NodeId>,
    terms: BTreeMap<usize, u64>,
    sent: BTreeMap<(usize, u64), usize>,
    /// Votes that were taken back by one for nobody: whoever does so has its seat again only with another set of voters.
    taken_back: BTreeSet<(usize, u64)>,
    /// Hosts whose disk was emptied or changed: they may have forgotten a vote.
    excused: BTreeSet<usize>,
}

impl Votes {
    /// A host begins anew with an empty disk: its peers know that its vote counts no more.
    pub(crate) fn forget(&mut self, host: usize) {
        self.given.retain(|(of, _), _| *of != host);
        self.terms.remove(&host);
        self.excused.insert(host);
        self.sent.retain(|(of, _), _| *of != host);
    }

    /// A vote that a host sends; what is broken by it.
    pub(crate) fn sent(&mut self, host: usize, to: usize, term: u64) -> Option<String> {
        let before = self.sent.insert((host, term), to)?;
        (before != to).then(|| format!("h{host} has sent its vote of term {term} to h{before} and to h{to}"))
    }

    /// A record that has come to a host's disk; what is broken by it.
    pub(crate) fn seen(&mut self, host: usize, me: NodeId, row: &[u8]) -> Option<String> {
        let Some(record) = read_vote(row) else {
            return Some(format!("h{host} has a vote on its disk that cannot be read"));
        };
        let latest = self.terms.entry(host).or_default();
        if record.term < *latest {
            return Some(format!("h{host} went back from term {latest} to {}", record.term));
        }
        *latest = record.term;
        if record.unseated && !self.excused.contains(&host) {
            return Some(format!("h{host} has forgotten what it said of its votes, as its peers tell it"));
        }
        // Whoever has forgotten a vote takes it back by one for itself, and neither counts until it has a seat again.
        if record.unseated {
            self.taken_back.insert((host, record.term));
        }
        let vote = record.voted_for.filter(|_| !self.taken_back.contains(&(host, record.term)))?;
        match self.given.insert((host, record.term), vote) {
            // It may have its seat again before the vote that it took back comes to the disk.
            Some(before) if before != vote && !(vote == me && self.excused.contains(&host)) => {
                Some(format!("h{host} voted for {before:?} and for {vote:?} in term {}", record.term))
            }
            _ => None,
        }
    }
}
