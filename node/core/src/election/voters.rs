//! The voters: who decides whether a leader is quorate, and how that set may change without ever allowing two.
//!
//! The set is ordered by (term, version). A quorate leader first writes it again in its own term, then changes it by one
//! unit of weight at a time, each step only when a majority holds the step before. Any two majorities of neighbouring
//! sets share a voter, and that voter has one vote for each term. How sets travel does not live here.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skein_gossip::NodeId;
use skein_gossip::planted::{self, Bug};

/// The most voters; members beyond that follow without a say in who is quorate. Keeps the set in one frame.
pub const MAX_VOTERS: usize = 99;
/// The most that one voter weighs.
pub const MAX_WEIGHT: u8 = 2;

/// Which set: the term of the leader that wrote it, then its count of changes. The later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct SetVersion {
    /// The term of the leader that wrote it; 0: written when the cluster was founded.
    pub term: u64,
    /// Which of that leader's sets.
    pub version: u64,
}

/// The voters and what each weighs. Empty: this node has not heard yet who votes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VoterSet {
    /// Which set this is.
    pub at: SetVersion,
    /// The voters with their weight, 1 or 2.
    pub weights: BTreeMap<NodeId, u8>,
}

impl VoterSet {
    /// The set of a cluster that was just founded: its founder alone.
    #[must_use]
    pub fn founded_by(founder: NodeId) -> Self {
        VoterSet { at: SetVersion { term: 0, version: 1 }, weights: BTreeMap::from([(founder, 1)]) }
    }

    /// What all voters weigh together.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.weights.values().map(|w| u32::from(*w)).sum()
    }

    /// What `backers` weigh together; those that are no voters weigh nothing.
    #[must_use]
    pub fn weight_of<'a>(&self, backers: impl IntoIterator<Item = &'a NodeId>) -> u32 {
        backers.into_iter().filter_map(|n| self.weights.get(n)).map(|w| u32::from(*w)).sum()
    }

    /// Whether `weight` is strictly more than half.
    #[must_use]
    pub fn is_majority(&self, weight: u32) -> bool {
        weight * 2 > self.total()
    }

    /// Whether these voters speak for all: they weigh more than half, or they are all that were not removed. Of voters most of whom
    /// were removed no half could ever be had again; and whoever has not heard of it and leads by the votes of those that were
    /// removed alone leads nobody who counts.
    #[must_use]
    pub fn is_carried_by<'a>(&self, backers: impl IntoIterator<Item = &'a NodeId>, removed: &BTreeSet<NodeId>) -> bool {
        let backers: BTreeSet<&NodeId> = backers.into_iter().collect();
        let mut rest = self.weights.keys().filter(|voter| !removed.contains(voter)).peekable();
        self.is_majority(self.weight_of(backers.iter().copied()))
            || (rest.peek().is_some() && rest.all(|voter| backers.contains(voter)))
    }

    /// Whether a set that came from outside is one that a leader could have written.
    #[must_use]
    pub(super) fn check(&self) -> bool {
        self.weights.len() <= MAX_VOTERS && self.weights.values().all(|w| (1..=MAX_WEIGHT).contains(w))
    }

    /// The same voters, written in a leader's own term: what it must do before it may change anything.
    pub(super) fn rewritten(&self, term: u64) -> Self {
        VoterSet { at: SetVersion { term, version: 0 }, weights: self.weights.clone() }
    }

    /// The next set on the way to what `wish` asks for, one unit of weight away from this one; `None`: it is there.
    ///
    /// Who must go goes first, then who may come comes, and last an even number of voters gets one that weighs 2, so that
    /// one half of a cluster cut in two is quorate, and an odd number gets none.
    pub(super) fn step(&self, wish: &Wish<'_>) -> Option<Self> {
        let mut weights = self.weights.clone();
        let has_gone = |n: &NodeId| !wish.members.contains(n) && !planted::is(Bug::RemovedKeepsVote);
        let gone = self.weights.iter().find(|(n, _)| has_gone(n) || wish.unwanted.contains(n));
        let heavy = self.weights.iter().find(|(_, weight)| **weight > 1).map(|(n, _)| *n);
        let comes = wish
            .reachable
            .iter()
            .find(|n| wish.members.contains(n) && !wish.unwanted.contains(n) && !self.weights.contains_key(n));
        if let Some((node, weight)) = gone.filter(|(n, w)| **n != wish.leader && (**w > 1 || self.weights.len() > 1)) {
            if *weight > 1 {
                weights.insert(*node, weight - 1)
            } else {
                weights.remove(node)
            };
        } else if let Some(node) = comes.filter(|_| self.weights.len() < MAX_VOTERS) {
            weights.insert(*node, 1);
        } else {
            let even = self.weights.len().is_multiple_of(2);
            match heavy {
                Some(node) if !even || !wish.reachable.contains(&node) => weights.insert(node, 1),
                None if even && self.weights.contains_key(&wish.leader) => weights.insert(wish.leader, MAX_WEIGHT),
                _ => return None,
            };
        }
        let at = SetVersion { term: self.at.term, version: self.at.version + 1 };
        Some(VoterSet { at, weights })
    }
}

/// What a leader wants the set to become.
pub(super) struct Wish<'a> {
    /// Who is admitted, did not leave, and is no observer.
    pub(super) members: &'a BTreeSet<NodeId>,
    /// Who answers the leader now, itself included.
    pub(super) reachable: &'a BTreeSet<NodeId>,
    /// Those that must not stay: their disk went back in time, so they must leave before they may come again, or they are
    /// about to leave the cluster.
    pub(super) unwanted: &'a BTreeSet<NodeId>,
    /// The leader.
    pub(super) leader: NodeId,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn set(n: impl IntoIterator<Item = u8>) -> BTreeSet<NodeId> {
        n.into_iter().map(|n| NodeId([n; 32])).collect()
    }

    fn all_the_way(mut voters: VoterSet, members: &BTreeSet<NodeId>, reachable: &BTreeSet<NodeId>) -> Vec<VoterSet> {
        let (leader, unwanted) = (NodeId([1; 32]), BTreeSet::new());
        let mut path = vec![voters.clone()];
        while let Some(next) = voters.step(&Wish { members, reachable, unwanted: &unwanted, leader }) {
            assert!(path.len() < 300, "no end: {voters:?}");
            path.push(next.clone());
            voters = next;
        }
        path
    }

    #[test]
    fn of_two_voters_the_leader_weighs_two() {
        let path = all_the_way(VoterSet::founded_by(NodeId([1; 32])), &set([1, 2]), &set([1, 2]));
        let last = path.last().unwrap();
        assert_eq!(last.weights.values().copied().collect::<Vec<_>>(), [2, 1]);
        assert!(last.is_majority(last.weight_of(&set([1]))) && !last.is_majority(last.weight_of(&set([2]))));
    }

    #[test]
    fn a_member_that_does_not_answer_does_not_become_a_voter() {
        let path = all_the_way(VoterSet::founded_by(NodeId([1; 32])), &set([1, 2, 3]), &set([1, 2]));
        assert!(!path.last().unwrap().weights.contains_key(&NodeId([3; 32])));
    }

    #[test]
    fn where_most_voters_were_removed_all_that_remain_speak_for_them_and_no_fewer() {
        let voters = VoterSet { weights: (1..=5).map(|n| (NodeId([n; 32]), 1)).collect(), ..VoterSet::default() };
        let by = |backers: [u8; 2], removed: &[u8]| voters.is_carried_by(&set(backers), &set(removed.iter().copied()));
        assert!(by([1, 2], &[3, 4, 5]) && !by([1, 1], &[3, 4, 5]) && !by([1, 2], &[3, 4]) && !by([1, 2], &[]));
        assert!(!voters.is_carried_by(&set([]), &set(1..=5)), "nobody speaks for nobody");
    }

    #[test]
    fn nothing_is_never_a_majority() {
        assert!(!VoterSet::default().is_majority(0));
    }

    proptest! {
        #[test]
        fn majorities_of_neighbouring_sets_share_a_voter(
            from in proptest::collection::btree_map(2u8..9, 1u8..=2, 0..6),
            members in proptest::collection::btree_set(2u8..9, 0..7),
            reachable in proptest::collection::btree_set(2u8..9, 0..7),
        ) {
            let mut weights: BTreeMap<NodeId, u8> = from.into_iter().map(|(n, w)| (NodeId([n; 32]), w)).collect();
            weights.insert(NodeId([1; 32]), 1);
            let (mut members, mut reachable) = (set(members), set(reachable));
            members.insert(NodeId([1; 32]));
            reachable.insert(NodeId([1; 32]));
            let path = all_the_way(VoterSet { weights, ..VoterSet::default() }, &members, &reachable);
            for (a, b) in path.iter().zip(&path[1..]) {
                prop_assert!(a.at < b.at);
                let all: Vec<NodeId> = a.weights.keys().chain(b.weights.keys()).copied().collect::<BTreeSet<_>>().into_iter().collect();
                for half in 0u32..1 << all.len() {
                    let (one, other): (Vec<&NodeId>, Vec<&NodeId>) = all.iter().partition(|n| half >> all.iter().position(|m| &m == n).unwrap() & 1 == 1);
                    prop_assert!(!(a.is_majority(a.weight_of(one)) && b.is_majority(b.weight_of(other))), "{a:?} {b:?}");
                }
            }
        }
    }
}
