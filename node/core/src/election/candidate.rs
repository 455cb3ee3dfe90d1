//! A node that wants to lead: it asks first who would vote for it, then for the votes. The majority of the alive elects.

use std::collections::BTreeSet;

use skein_gossip::planted::{self, Bug};
use skein_gossip::{Instant, NodeId};

use super::leader::Reign;
use super::voters::SetVersion;
use super::wire::{Claim, Frame, State};
use super::{Election, Role, Timer};

/// Who would vote, so far.
#[derive(Debug)]
pub(super) struct Canvass {
    term: u64,
    granted: BTreeSet<NodeId>,
    refused: BTreeSet<NodeId>,
}

/// Who has voted, so far.
#[derive(Debug)]
pub(super) struct Campaign {
    pub(super) term: u64,
    /// When the votes were asked for.
    since: Instant,
    why: Why,
    /// The record that holds the own vote.
    own_vote: u64,
    granted: BTreeSet<NodeId>,
    /// Those among them whose vote counts among the voters.
    seated: BTreeSet<NodeId>,
    refused: BTreeSet<NodeId>,
    /// Until when the tenure goes that this campaign only renews.
    tenure_ends: Option<Instant>,
}

/// What a campaign is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// There is no leader.
    Vacancy,
    /// The leader asked this node to take over.
    Handover,
    /// This node leads, but peers are bound to later terms: it asks for one that is later still.
    Renewal,
}

impl Campaign {
    /// Whether a live leader of an earlier term is no reason to stop.
    pub(super) fn insists(&self) -> bool {
        self.why != Why::Vacancy
    }
}

impl Election {
    /// Asks around who would vote.
    pub(super) fn canvass(&mut self, now: Instant) {
        if !self.may_campaign() {
            return self.follow(now, None);
        }
        let term = self.next_term();
        self.timers.clear(&Timer::Silence);
        self.timers.set(Timer::Answers, now + self.config.campaign);
        self.role = Role::Canvassing(Canvass { term, granted: [self.me].into(), refused: BTreeSet::new() });
        let set = self.record.voters.at;
        self.ask_all(&Frame::PreVote { term, set });
        self.count_votes(now);
    }

    /// Asks for the votes.
    pub(super) fn campaign(&mut self, now: Instant, why: Why, tenure_ends: Option<Instant>) {
        let term = self.next_term();
        (self.record.term, self.record.voted_for) = (term, Some(self.me));
        self.persist();
        self.followed = None;
        for timer in [Timer::Silence, Timer::Turn, Timer::Heartbeat, Timer::Tenure] {
            self.timers.clear(&timer);
        }
        self.timers.set(Timer::Answers, now + self.config.campaign);
        let (granted, seated, refused) = <(BTreeSet<_>, BTreeSet<_>, BTreeSet<_>)>::default();
        self.role = Role::Candidate(Campaign {
            term,
            since: now,
            why,
            own_vote: self.seq,
            granted,
            seated,
            refused,
            tenure_ends,
        });
        self.ask_all(&Frame::Vote { term, set: self.record.voters.at, handover: why == Why::Handover });
        self.count_votes(now);
    }

    /// The term after all that this node has heard of from those alive.
    pub(super) fn next_term(&self) -> u64 {
        let told = self.alive.iter().filter_map(|peer| self.peers.get(peer)).map(|peer| peer.term);
        told.fold(self.record.term, u64::max) + 1
    }

    fn ask_all(&mut self, frame: &Frame) {
        let mut peers = self.electorate();
        peers.remove(&self.me);
        peers.into_iter().for_each(|peer| self.send(peer, frame));
    }

    pub(super) fn on_pre_vote(&mut self, now: Instant, from: NodeId, term: u64, set: SetVersion) {
        self.lost_leader(now, from);
        let leader = self.fresh_leader(now);
        let votes = !self.observers.contains(&self.me);
        let granted = votes && leader.is_none() && term > self.record.term && set >= self.record.voters.at;
        let frame = Frame::PreVoteReply { term, granted, state: self.state(), leader };
        self.reply(from, &frame, set);
    }

    pub(super) fn on_vote(&mut self, now: Instant, from: NodeId, term: u64, set: SetVersion, handover: bool) {
        // A leader that asks for its own next term, or that asked this candidate to take over, is no reason to refuse.
        let leader = self.fresh_leader(now).filter(|claim| claim.leader != from && !handover);
        let free =
            term > self.record.term || (term == self.record.term && self.record.voted_for.is_none_or(|v| v == from));
        let votes = !self.observers.contains(&self.me);
        let granted = votes && leader.is_none() && free && set >= self.record.voters.at;
        if granted && (self.record.term, self.record.voted_for) != (term, Some(from)) {
            (self.record.term, self.record.voted_for) = (term, Some(from));
            self.persist();
            self.follow(now, None);
        }
        let frame = Frame::VoteReply { term, granted, state: self.state(), leader };
        self.reply(from, &frame, set);
    }

    /// A peer that is alive and cannot vote: the others elect without it, or a full disk would leave all without a leader.
    pub(super) fn on_mute(&mut self, now: Instant, from: NodeId) {
        if self.alive.contains(&from) && self.mute.insert(from) {
            self.count_votes(now);
        }
    }

    fn reply(&mut self, to: NodeId, frame: &Frame, set: SetVersion) {
        self.send(to, frame);
        if set < self.record.voters.at {
            let voters = self.record.voters.clone();
            self.send(to, &Frame::Set(voters));
        }
    }

    pub(super) fn on_pre_vote_reply(
        &mut self,
        now: Instant,
        from: NodeId,
        term: u64,
        granted: bool,
        state: State,
        leader: Option<Claim>,
    ) {
        let Role::Canvassing(canvass) = &mut self.role else { return };
        if canvass.term != term {
            return;
        }
        if granted {
            canvass.granted.insert(from);
            return self.count_votes(now);
        }
        canvass.refused.insert(from);
        self.refused(now, state, leader);
    }

    pub(super) fn on_vote_reply(
        &mut self,
        now: Instant,
        from: NodeId,
        term: u64,
        granted: bool,
        state: State,
        leader: Option<Claim>,
    ) {
        if let Role::Leader(reign) = &mut self.role {
            if granted && reign.term == term && state.seated {
                reign.backed_at_election(from);
            }
            return;
        }
        let Role::Candidate(campaign) = &mut self.role else { return };
        if campaign.term != term {
            return;
        }
        if granted {
            campaign.granted.insert(from);
            if state.seated {
                campaign.seated.insert(from);
            }
            return self.count_votes(now);
        }
        campaign.refused.insert(from);
        self.refused(now, state, leader);
    }

    /// What a refusal teaches: a leader, or a later term. Without either the others may still elect.
    fn refused(&mut self, now: Instant, state: State, leader: Option<Claim>) {
        let insists = matches!(&self.role, Role::Candidate(campaign) if campaign.insists());
        if let Some(claim) = leader.filter(|claim| claim.leader != self.me && !insists) {
            return self.follow_by_hearsay(now, claim);
        }
        if state.term > self.record.term {
            (self.record.term, self.record.voted_for) = (state.term, None);
            self.persist();
            return if insists { self.campaign_again(now) } else { self.canvass(now) };
        }
        let (Role::Canvassing(Canvass { refused, .. }) | Role::Candidate(Campaign { refused, .. })) = &self.role else {
            return;
        };
        let electorate = self.electorate();
        if refused.intersection(&electorate).count() * 2 >= electorate.len() {
            self.on_no_answers(now);
        }
    }

    fn campaign_again(&mut self, now: Instant) {
        if let Role::Candidate(Campaign { why, tenure_ends, .. }) = self.role {
            self.campaign(now, why, tenure_ends);
        }
    }

    /// Goes on to the next stage once a majority of the alive has said yes.
    pub(super) fn count_votes(&mut self, now: Instant) {
        let electorate = self.electorate();
        let needed = if planted::is(Bug::ElectionNeedsAll) { self.members.len() } else { electorate.len() / 2 + 1 };
        let wins = |granted: &BTreeSet<NodeId>| granted.intersection(&electorate).count() >= needed;
        match &mut self.role {
            Role::Canvassing(canvass) if wins(&canvass.granted) => {
                self.followed = None;
                self.campaign(now, Why::Vacancy, None);
            }
            Role::Candidate(campaign) => {
                if self.persisted >= campaign.own_vote {
                    campaign.granted.insert(self.me);
                }
                if campaign.granted.contains(&self.me) && wins(&campaign.granted) {
                    let reign = Reign::new(campaign.term, campaign.since, std::mem::take(&mut campaign.seated));
                    let tenure_ends = campaign.tenure_ends;
                    self.lead(now, reign, tenure_ends);
                }
            }
            _ => {}
        }
    }

    /// Not enough answers: this node tries again a little later, unless another was faster.
    pub(super) fn on_no_answers(&mut self, now: Instant) {
        if matches!(self.role, Role::Follower | Role::Leader(_)) {
            return;
        }
        self.follow(now, None);
        let wait = self.config.stagger + self.jitter(self.config.stagger * 2);
        self.timers.set(Timer::Silence, now + wait);
    }

    pub(super) fn on_handover(&mut self, now: Instant, term: u64) {
        let current = self.followed.is_some_and(|f| f.claim.term == term);
        if current && self.may_campaign() && matches!(self.role, Role::Follower) {
            self.campaign(now, Why::Handover, None);
        }
    }
}
