//! How a leader changes the voters: when it may, to what, and what it compares with them before. What a next set is lives in `voters.rs`.

use std::collections::BTreeSet;

use skein_gossip::{Instant, NodeId};

use super::leader::{Answers, Reign};
use super::voters::{SetVersion, VoterSet, Wish};
use super::wire::Frame;
use super::{Election, Output, Role};

impl Election {
    /// Takes the voter set one step further, if this leader may: quorate, in its own term, and the last step is held by a
    /// majority in this term, which knows the same decisions.
    ///
    /// Without the last what a majority has decided could be known to no majority of the next set but one: of any two majorities of
    /// neighbouring sets one voter is in both, and of those farther apart none need be.
    pub(super) fn improve_voters(&mut self) {
        let Some(holders) = self.holders().filter(|holders| self.is_carried_by(holders)) else { return };
        let Role::Leader(reign) = &self.role else { return };
        let next = if self.record.voters.at.term == reign.term {
            let next = self.next_voters(reign);
            if next.is_some() && !self.have_compared(&holders) {
                return self.compare();
            }
            next
        } else {
            Some(self.record.voters.rewritten(reign.term))
        };
        if let Some(next) = next {
            let old = std::mem::replace(&mut self.record.voters, next);
            self.persist();
            self.spread_voters(old.weights.keys().copied().collect());
        }
    }

    /// The voters that back this leader and hold its set, if it is one of its own term. `None`: it may not change the set.
    fn holders(&self) -> Option<Vec<NodeId>> {
        let Role::Leader(reign) = &self.role else { return None };
        let latest = reign.beats.back().map(|(_, at)| *at)?;
        let voters = &self.record.voters;
        if !self.backs_itself(reign) && voters.weights.contains_key(&self.me) || self.record.term != reign.term {
            return None;
        }
        let confirms = |answers: &Answers| answers.backed.is_some_and(|at| latest.since(at) < self.config.silence);
        let holds = |node: &NodeId| match reign.answers.get(node) {
            _ if *node == self.me => voters.at.term != reign.term || self.persisted == self.seq,
            Some(answers) => confirms(answers) && (voters.at.term != reign.term || answers.holds == voters.at),
            None => false,
        };
        Some(voters.weights.keys().copied().filter(holds).collect())
    }

    fn next_voters(&self, reign: &Reign) -> Option<VoterSet> {
        let latest = reign.beats.back().map(|(_, at)| *at)?;
        let fresh = |(_, a): &(&NodeId, &Answers)| a.answered.is_some_and(|at| latest.since(at) < self.config.silence);
        let answering = reign.answers.iter().filter(fresh).map(|(node, _)| *node);
        let reachable = answering.filter(|node| self.alive.contains(node)).chain([self.me]).collect();
        let unwanted = reign.answers.iter().filter(|(_, a)| a.unwanted).map(|(node, _)| *node).collect();
        let members = if self.members.is_empty() { &self.alive } else { &self.members };
        let members = &members.difference(&self.observers).copied().collect();
        self.record.voters.step(&Wish { members, reachable: &reachable, unwanted: &unwanted, leader: self.me })
    }

    /// Whether those of these voters that were seen to know the same decisions since this set was written speak for all. One whose disk has
    /// damaged what it knew, or gone back in time, counts only where all are asked that are members still: what it has lost one of the
    /// others would know, or the heir of one that has left.
    fn have_compared(&self, holders: &[NodeId]) -> bool {
        let Role::Leader(reign) = &self.role else { return false };
        let alike = |node: &NodeId| reign.answers.get(node).filter(|answers| answers.alike == self.record.voters.at);
        let is_whole = |node: &&NodeId| alike(node).is_some_and(|answers| answers.whole);
        let mut rest = self.record.voters.weights.keys().filter(|voter| self.members.contains(*voter));
        self.is_carried_by(holders.iter().filter(is_whole))
            || (!self.members.is_empty() && rest.all(|voter| alike(voter).is_some()))
    }

    /// Asks for a comparison with those that were not seen to know the same, once after each heartbeat.
    fn compare(&mut self) {
        let Role::Leader(reign) = &mut self.role else { return };
        let (at, beat) = (self.record.voters.at, reign.beat);
        let mut due = Vec::new();
        for peer in self.record.voters.weights.keys().filter(|voter| self.alive.contains(*voter)) {
            let answers = reign.answers.entry(*peer).or_default();
            if answers.alike != at && answers.compared < beat {
                answers.compared = beat;
                due.push(*peer);
            }
        }
        due.into_iter().for_each(|peer| self.push(Output::Compare { peer, at }));
    }

    /// A voter knows the same decisions.
    pub(super) fn on_alike(&mut self, peer: NodeId, at: SetVersion, whole: bool) {
        let Role::Leader(reign) = &mut self.role else { return };
        let is_voter = self.record.voters.weights.contains_key(&peer);
        if is_voter && at == self.record.voters.at && at.term == reign.term {
            let answers = reign.answers.entry(peer).or_default();
            (answers.alike, answers.whole) = (at, whole);
            self.improve_voters();
        }
    }

    /// A leader that is a voter and whose vote does not count, since its disk went back in time, may change nothing of the voters: neither
    /// it nor anybody else would get a vote back, and those that were removed would keep theirs, until its tenure is over. Once it is
    /// backed it asks another to take over.
    pub(super) fn give_way(&mut self, now: Instant) {
        let Role::Leader(reign) = &self.role else { return };
        let has_no_say = self.record.unseated && self.record.voters.weights.contains_key(&self.me);
        if has_no_say && reign.asked.is_empty() && self.is_quorate(reign, now) {
            self.hand_over(now);
        }
    }

    /// Sends the voters, and those who were, the set that has just been written; the others learn of it by heartbeat.
    fn spread_voters(&mut self, mut peers: BTreeSet<NodeId>) {
        let voters = self.record.voters.clone();
        peers.extend(voters.weights.keys());
        peers.retain(|peer| *peer != self.me && self.alive.contains(peer));
        for peer in peers {
            self.send(peer, &Frame::Set(voters.clone()));
        }
    }
}
