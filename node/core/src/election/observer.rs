//! Observers: they follow whoever leads, neither vote nor lead, and what they say of either does not count.

use std::collections::BTreeSet;

use skein_gossip::{Instant, NodeId};

use super::wire::{Frame, Stand};
use super::{Election, Role};

impl Election {
    /// An observer has no say: what it answers to heartbeats tells which voters it knows of, and nothing else counts.
    pub(super) fn on_observer(&mut self, now: Instant, from: NodeId, frame: &Frame) {
        if let Frame::Ack { term, beat, state, .. } = *frame {
            self.on_ack(now, from, (term, beat), state, Stand::Follows, None);
        }
    }

    /// Who observes has changed. Whoever leads or asks for votes and may not any more follows.
    pub(super) fn on_observers(&mut self, now: Instant, observers: BTreeSet<NodeId>) {
        if self.observers == observers {
            return;
        }
        self.observers = observers;
        if self.observers.contains(&self.me) && !matches!(self.role, Role::Follower) {
            self.follow(now, None);
        }
        if self.followed.is_some_and(|followed| self.observers.contains(&followed.claim.leader)) {
            self.follow(now, None);
        }
        self.count_votes(now);
        self.improve_voters();
    }

    /// Whether this node may ask for votes.
    pub(super) fn may_campaign(&self) -> bool {
        !self.stopping
            && !self.retiring
            && !self.disk_refuses
            && !self.observers.contains(&self.me)
            && (self.members.is_empty() || self.members.contains(&self.me))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::simulation::{Knobs, World, id};
    use super::super::{Input, SetVersion, VoterSet};
    use super::*;

    /// A cluster whose first hosts are members and whose others observe.
    fn cluster(seed: u64, members: usize, observers: usize) -> World {
        let mut world = World::new(seed, members + observers, Knobs::default());
        world.observers = (members..members + observers).map(id).collect();
        let all = world.observers.clone();
        (0..members + observers).for_each(|host| world.give(host, Input::Observers(all.clone())));
        let everybody: Vec<usize> = (0..members + observers).collect();
        let wanted: BTreeSet<NodeId> = (0..members).map(id).collect();
        let settled = |w: &World| w.agree(&everybody) && voters(w).as_ref() == Some(&wanted);
        assert!(world.until(20_000, settled).is_some(), "seed {seed} does not settle");
        // All voters hold the last set after this.
        world.run_ms(2_000);
        world
    }

    fn voters(world: &World) -> Option<BTreeSet<NodeId>> {
        let leader = world.quorate_leader()?;
        let voters = &world.hosts[leader].machine.as_ref().unwrap().record().voters;
        Some(voters.weights.keys().copied().collect())
    }

    #[test]
    fn observers_follow_and_never_vote_nor_lead() {
        for seed in 0..30 {
            let mut world = cluster(seed, 3, 3);
            let members: BTreeSet<NodeId> = (0..3).map(id).collect();
            // Whoever leads goes, time and again: none of the others is an observer.
            for _ in 0..4 {
                let leader = world.quorate_leader().unwrap();
                assert!(leader < 3, "seed {seed}: h{leader} leads");
                world.crash(leader);
                let next = |w: &World| w.quorate_leader().is_some_and(|next| next != leader);
                assert!(world.until(6_000, next).is_some(), "seed {seed}: nobody takes over");
                world.start(leader);
                world.run_ms(3_000);
                assert_eq!(voters(&world), Some(members.clone()), "seed {seed}");
            }
            for host in 3..6 {
                let voted = world.hosts[host].disk.voted_for;
                assert_eq!(voted, None, "seed {seed}: h{host} has voted");
            }
        }
    }

    #[test]
    fn observers_alone_have_no_leader_and_do_not_make_one_quorate() {
        for seed in 0..20 {
            let mut world = cluster(seed, 3, 4);
            let leader = world.quorate_leader().unwrap();
            let rest: Vec<usize> = (0..3).filter(|host| *host != leader).collect();
            // With all observers on its side the leader still has one vote of three.
            world.partition(&[vec![leader, 3, 4, 5], rest.clone(), vec![6]]);
            world.run_ms(8_000);
            let now = world.quorate_leader();
            assert!(now.is_some_and(|now| rest.contains(&now)), "seed {seed}: {now:?}");
            assert_eq!(world.hosts[6].machine.as_ref().unwrap().leadership().leader, None);
        }
    }

    #[test]
    fn what_an_observer_says_of_terms_and_votes_moves_nobody() {
        let mut world = cluster(1, 3, 1);
        let (leader, before) = (world.quorate_leader().unwrap(), world.hosts[0].disk.clone());
        let set = VoterSet { at: SetVersion { term: 900, version: 1 }, weights: [(id(3), 1)].into() };
        let claim = Frame::Heartbeat { term: 900, beat: 1, set: set.at, quorate: true, tenure_left_ms: 9_000 };
        let vote = Frame::Vote { term: 901, set: set.at, handover: true };
        for frame in [claim, vote, Frame::Set(set), Frame::Handover { term: before.term }, Frame::Amnesia { term: 900 }]
        {
            (0..3).for_each(|host| world.give(host, Input::Frame { from: id(3), bytes: frame.encode() }));
        }
        world.run_ms(1_000);
        assert_eq!(world.quorate_leader(), Some(leader));
        assert_eq!((&world.hosts[0].disk.voters, world.hosts[0].disk.term), (&before.voters, before.term));
    }

    #[test]
    fn who_becomes_an_observer_gives_its_lead_up() {
        let mut world = cluster(3, 3, 0);
        let leader = world.quorate_leader().unwrap();
        world.observers = [id(leader)].into();
        let all = world.observers.clone();
        (0..3).for_each(|host| world.give(host, Input::Observers(all.clone())));
        let goes_on = |w: &World| voters(w).is_some_and(|voters| voters.len() == 2 && !voters.contains(&id(leader)));
        assert!(world.until(10_000, goes_on).is_some());
        assert!(!world.hosts[leader].machine.as_ref().unwrap().leadership().mine);
    }
}
