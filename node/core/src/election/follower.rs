//! A node that follows: it answers heartbeats, chooses between leaders that meet, and notices silence.

use skein_gossip::{Instant, NodeId};

use super::rank::place;
use super::voters::SetVersion;
use super::wire::{Claim, Frame, Stand};
use super::{Election, Followed, Role, Timer};

/// From this place in the order on, all wait equally long (with a random part), so that an election among hundreds does
/// not take minutes.
const LAST_PLACE: usize = 7;

impl Election {
    pub(super) fn on_heartbeat(
        &mut self,
        now: Instant,
        claim: Claim,
        beat: u64,
        set: SetVersion,
        tenure_ends: Instant,
    ) {
        let better = self.better_than(now, claim);
        if better.is_none() {
            if !matches!(self.role, Role::Follower) && !self.gives_way_to(claim) {
                return;
            }
            self.follow(now, Some(Followed { claim, heard: now, tenure_ends: Some(tenure_ends), at_first_hand: true }));
        }
        let stand = if better.is_some() { Stand::Declines } else { self.back(claim, set) };
        let frame = Frame::Ack { term: claim.term, beat, state: self.state(), stand, better };
        self.send(claim.leader, &frame);
        if set < self.record.voters.at {
            let voters = self.record.voters.clone();
            self.send(claim.leader, &Frame::Set(voters));
        }
    }

    /// The leader that this node leads as or follows, and prefers to the one that claims.
    fn better_than(&self, now: Instant, claim: Claim) -> Option<Claim> {
        if let Role::Leader(reign) = &self.role {
            let own = Claim { leader: self.me, term: reign.term, quorate: self.is_quorate(reign, now) };
            return (own.strength() > claim.strength()).then_some(own);
        }
        let followed = self.followed.filter(|f| now.since(f.heard) < self.config.silence)?;
        if followed.claim.leader == claim.leader {
            // What an earlier tenure still has on the way.
            return (followed.claim.term > claim.term).then_some(followed.claim);
        }
        // A leader that cannot hear this node, as far as the failure detector knows, is not one to change to.
        let stays = followed.claim.strength() > claim.strength() || !self.alive.contains(&claim.leader);
        (stays && followed.at_first_hand).then_some(followed.claim)
    }

    /// Whether a heartbeat ends what this node was about: an own campaign goes on against leaders of earlier terms that
    /// are not quorate, if it asks for a new term on their behalf or has been told to take over.
    fn gives_way_to(&self, claim: Claim) -> bool {
        match &self.role {
            Role::Candidate(campaign) => claim.term >= campaign.term || !campaign.insists(),
            _ => true,
        }
    }

    /// Gives the leader this node's one vote of the term, if it is free and the leader knows the voters as well.
    fn back(&mut self, claim: Claim, set: SetVersion) -> Stand {
        if self.record.term > claim.term && !self.observers.contains(&self.me) {
            return Stand::Bound;
        }
        if set < self.record.voters.at || self.observers.contains(&self.me) {
            return Stand::Follows;
        }
        let free = self.record.term < claim.term || self.record.voted_for.is_none();
        if free {
            (self.record.term, self.record.voted_for) = (claim.term, Some(claim.leader));
            self.persist();
        }
        if self.record.voted_for == Some(claim.leader) { Stand::Backs } else { Stand::Bound }
    }

    /// Becomes a follower, of nobody if nobody leads.
    pub(super) fn follow(&mut self, now: Instant, leader: Option<Followed>) {
        if !matches!(self.role, Role::Follower) {
            self.role = Role::Follower;
            for timer in [Timer::Answers, Timer::Heartbeat, Timer::Tenure] {
                self.timers.clear(&timer);
            }
        }
        self.followed = leader;
        self.wait_for_leader(now);
    }

    /// Starts the wait for a (next) heartbeat.
    pub(super) fn wait_for_leader(&mut self, now: Instant) {
        self.timers.clear(&Timer::Turn);
        self.timers.set(Timer::Silence, now + self.config.silence);
    }

    /// No heartbeat for a second: the first in rank campaigns now, the others a little later each.
    pub(super) fn on_silence(&mut self, now: Instant) {
        if !matches!(self.role, Role::Follower) {
            return;
        }
        if let Some(patience) = self.booted.map(|booted| booted + self.config.boot_patience)
            && now < patience
            && self.alive.len() == 1
            && self.members.len() > 1
        {
            return self.timers.set(Timer::Silence, patience);
        }
        // A leader that only others hear is kept until asking around shows that they do not either.
        if let Some(lost) = self.followed.take_if(|f| f.at_first_hand) {
            self.silent = Some(lost.claim.leader);
        }
        let place = place(self.next_term(), &self.me, &self.electorate()).min(LAST_PLACE);
        let stagger = self.config.stagger;
        let wait = stagger * u32::try_from(place).unwrap_or(0);
        let spread = if place == LAST_PLACE { stagger * 8 } else { stagger / 4 };
        let wait = if place == 0 { wait } else { wait + self.jitter(spread) };
        self.timers.set(Timer::Turn, now + wait);
    }

    /// A leader that this node heard itself, so lately that it cannot be given up.
    pub(super) fn fresh_leader(&self, now: Instant) -> Option<Claim> {
        if let Role::Leader(reign) = &self.role {
            return Some(Claim { leader: self.me, term: reign.term, quorate: self.is_quorate(reign, now) });
        }
        // One heartbeat less than the silence: peers whose leader fell silent hear its last one at slightly other times.
        let fresh = self.config.silence.saturating_sub(self.config.heartbeat);
        self.followed.filter(|f| f.at_first_hand && now.since(f.heard) < fresh).map(|f| f.claim)
    }

    /// A peer says who leads: good enough to know whom to ask, and to leave that leader alone.
    pub(super) fn follow_by_hearsay(&mut self, now: Instant, claim: Claim) {
        if claim.leader == self.me {
            return;
        }
        let kept = self.followed.filter(|f| f.claim.leader == claim.leader && f.claim.term == claim.term);
        let tenure_ends = kept.and_then(|f| f.tenure_ends);
        self.follow(now, Some(Followed { claim, heard: now, tenure_ends, at_first_hand: false }));
    }

    /// The leader this node follows asks for its vote, so it does not lead any more.
    pub(super) fn lost_leader(&mut self, now: Instant, leader: NodeId) {
        if self.followed.is_some_and(|f| f.claim.leader == leader) && matches!(self.role, Role::Follower) {
            self.followed = None;
            self.wait_for_leader(now);
        }
    }
}
