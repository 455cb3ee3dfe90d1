//! Whom a node asks whether they are here, whom it suspects, and how long a suspect has to speak up. The random probes are
//! the protocol's; here is what stands beside them.

use std::time::Duration;

use foca::{Member, State};
use rand::seq::IndexedRandom;

use super::{GREETINGS_AT_ONCE, Membership, Wait};
use crate::membership::swim::Identity;
use crate::membership::{PeerState, wire};
use crate::{Instant, NodeId};

/// How many members are asked to reach one that is not heard.
const ASKED_TO_REACH: usize = 3;
/// Up to how many members each one watches all others for silence, besides the random probes. Beyond it each watches one.
const WATCHED_MEMBERS: usize = 20;
/// After how many periods without a word a member, or everybody, counts as silent.
const SILENT_PERIODS: u32 = 2;

impl Membership {
    /// In a single period nobody is heard now and then, since probes are random and the own one may have met a dead node.
    pub(super) fn hears_nobody(&self, now: Instant) -> bool {
        self.heard_any.is_none_or(|at| now.since(at) > self.tempo().period * SILENT_PERIODS)
    }

    /// Random probes leave a long tail: in bad luck nobody probes a dead node for seconds. With few members each can be
    /// asked when it has been silent for two periods. With many each asks the one that comes after it, in each period in
    /// which it has not heard it just now: so every member is watched by one other.
    pub(super) fn ask_the_silent(&mut self, now: Instant) {
        let period = self.tempo().period;
        let patience = self.health.stretch(if self.watches_all() { period * SILENT_PERIODS } else { period / 2 });
        let silent = |peer: &NodeId| self.heard_at.get(peer).is_none_or(|at| now.since(*at) > patience);
        let pending = |peer: NodeId| {
            self.timers.get(&Wait::Unheard(peer)).or_else(|| self.timers.get(&Wait::Asked(peer))).is_some()
        };
        let is_asked = |peer: &NodeId| {
            self.links.contains(peer) && self.state(peer) == Some(PeerState::Alive) && silent(peer) && !pending(*peer)
        };
        let watched: Vec<_> = if self.watches_all() {
            self.alive.iter().filter(|peer| is_asked(peer)).copied().collect()
        } else {
            let me = self.swim.me().node;
            let next = self.alive.range(me..).next().or_else(|| self.alive.first());
            next.filter(|peer| is_asked(peer)).into_iter().copied().collect()
        };
        for peer in watched {
            self.send(peer, wire::write_ask(&peer, &self.swim.me().node));
            self.timers.set(Wait::Unheard(peer), now + self.health.stretch(self.tempo().round_trip));
        }
    }

    fn watches_all(&self) -> bool {
        self.members.len() <= WATCHED_MEMBERS
    }

    /// A suspect is told so directly, again in each period: rumours alone may miss it, and then nobody would hear it
    /// speak up. In a large cluster only who suspected it does, since the suspect has to answer them all.
    pub(super) fn tell_suspects(&mut self) {
        let is_suspect = |member: &Member<Identity>| member.state() == State::Suspect;
        self.accused.retain(|peer| self.known.get(peer).is_some_and(is_suspect));
        let suspects: Vec<_> = if self.large {
            self.accused.iter().filter_map(|peer| self.known.get(peer)).take(GREETINGS_AT_ONCE).cloned().collect()
        } else {
            self.known.values().filter(|member| is_suspect(member)).take(GREETINGS_AT_ONCE).cloned().collect()
        };
        for suspect in suspects {
            for frame in wire::write_roster(std::slice::from_ref(&suspect), false) {
                self.send(suspect.id().node, frame);
            }
        }
    }

    pub(super) fn asked(&mut self, from: NodeId, target: NodeId, origin: NodeId) {
        if target == self.swim.me().node {
            self.send(from, wire::write_vouch(&target, &origin));
        } else if from == origin {
            self.send(target, wire::write_ask(&target, &origin));
        }
    }

    pub(super) fn vouched(&mut self, now: Instant, from: NodeId, target: NodeId, origin: NodeId) {
        if from == target && origin != self.swim.me().node {
            self.send(origin, wire::write_vouch(&target, &origin));
        } else if origin == self.swim.me().node {
            self.hear(now, target);
        }
    }

    pub(super) fn ask_about(&mut self, now: Instant, peer: NodeId) {
        // One that is only silent has as much time as one that is probed; a lost link says more.
        let tempo = self.tempo();
        let probed_too = !self.watches_all() && self.links.contains(&peer);
        let wait = if probed_too { tempo.period.saturating_sub(tempo.round_trip) } else { tempo.round_trip };
        self.timers.set(Wait::Asked(peer), now + self.health.stretch(wait));
        let others: Vec<_> = self.links.intersection(&self.alive).filter(|other| **other != peer).copied().collect();
        let asked: Vec<_> = others.sample(&mut self.rng, ASKED_TO_REACH).copied().collect();
        for other in asked {
            self.send(other, wire::write_ask(&peer, &self.swim.me().node));
        }
    }

    /// The member did not speak up: it is suspected, and has the usual time to speak up through anybody.
    pub(super) fn suspect_lost(&mut self, now: Instant, peer: NodeId) {
        let Some(member) = self.known.get(&peer).filter(|member| member.state() == State::Alive) else { return };
        let suspect = Member::new(*member.id(), member.incarnation(), State::Suspect);
        self.suspects.insert(peer, suspect.clone());
        self.accused.insert(peer);
        self.timers.set(Wait::Verdict(peer), now + self.suspicion_of(now, peer));
        self.swim.learn([suspect]);
    }

    /// How long a suspect has to speak up.
    pub(super) fn suspicion_of(&self, now: Instant, peer: NodeId) -> Duration {
        let wait = self.health.stretch(self.tempo().suspicion);
        if self.health.doubts_itself() { wait + self.comebacks.more_for(now, peer, wait) } else { wait }
    }

    pub(super) fn give_verdict(&mut self, peer: NodeId) {
        let Some(suspect) = self.suspects.remove(&peer) else { return };
        if self.known.get(&peer) == Some(&suspect) {
            self.swim.learn([Member::new(*suspect.id(), suspect.incarnation(), State::Down)]);
        }
    }
}
