//! A node that leads: heartbeats, who answers them, the end of the tenure. How it changes the voters lives in `change.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use skein_gossip::{Instant, NodeId};

use super::candidate::Why;
use super::rank::in_order;
use super::voters::{MAX_VOTERS, SetVersion};
use super::wire::{Claim, Frame, Stand, State};
use super::{Election, Role, Timer};

/// How many heartbeats' times of sending are kept: answers to older ones back nothing.
const MAX_BEATS: usize = 32;
/// The least time between two campaigns of one leader for a later term.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);
/// How often a peer that is no voter is sent the set, while it holds an older one.
const SET_PAUSE: Duration = Duration::from_secs(2);
/// How long a leader whose tenure is over waits for its successor before it asks the next in rank.
const HANDOVER_PAUSE: Duration = Duration::from_secs(1);

/// One leader's time at the front.
#[derive(Debug)]
pub(super) struct Reign {
    pub(super) term: u64,
    pub(super) tenure_ends: Instant,
    since: Instant,
    /// The last heartbeats: number and time of sending.
    pub(super) beats: VecDeque<(u64, Instant)>,
    pub(super) beat: u64,
    pub(super) answers: BTreeMap<NodeId, Answers>,
    /// When half of those alive last answered.
    heard_half: Instant,
    /// Who was asked to take over already.
    pub(super) asked: BTreeSet<NodeId>,
}

/// What a peer has answered in this term.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answers {
    /// When the newest heartbeat was sent that it answered.
    pub(super) answered: Option<Instant>,
    /// When the newest was sent that it answered with its vote of this term, on disk.
    pub(super) backed: Option<Instant>,
    /// The newest set that it held while its vote was this leader's.
    pub(super) holds: SetVersion,
    /// The newest set since whose writing it was seen to know the same decisions.
    pub(super) alike: SetVersion,
    /// Whether its disk had damaged none of them then.
    pub(super) whole: bool,
    /// The heartbeat after which it was last asked for that.
    pub(super) compared: u64,
    /// Whether it must leave the voters: its disk went back in time, or it asked to.
    pub(super) unwanted: bool,
    /// When it was last sent the voters.
    set_sent: Option<Instant>,
}

impl Reign {
    /// A reign by votes that were asked for at `since`; `seated` are those that count among the voters.
    pub(super) fn new(term: u64, since: Instant, seated: BTreeSet<NodeId>) -> Self {
        let backed = |node| (node, Answers { answered: Some(since), backed: Some(since), ..Answers::default() });
        let answers = seated.into_iter().map(backed).collect();
        let (beats, asked) = (VecDeque::new(), BTreeSet::new());
        Reign { term, tenure_ends: since, since, beats, beat: 0, answers, heard_half: since, asked }
    }

    /// A vote that came in after the majority.
    pub(super) fn backed_at_election(&mut self, voter: NodeId) {
        let answers = self.answers.entry(voter).or_default();
        answers.backed = answers.backed.max(Some(self.since));
    }

    fn sent_at(&self, beat: u64) -> Option<Instant> {
        self.beats.iter().find(|(number, _)| *number == beat).map(|(_, at)| *at)
    }
}

impl Election {
    pub(super) fn lead(&mut self, now: Instant, mut reign: Reign, tenure_ends: Option<Instant>) {
        reign.tenure_ends = tenure_ends.filter(|ends| *ends > now).unwrap_or(now + self.config.tenure);
        reign.heard_half = now;
        self.timers.clear(&Timer::Answers);
        self.timers.set(Timer::Tenure, reign.tenure_ends);
        self.role = Role::Leader(reign);
        (self.followed, self.silent) = (None, None);
        for peer in self.alive.iter().filter(|peer| **peer != self.me) {
            self.peers.entry(*peer).or_default().contact = Some(now);
        }
        self.on_heartbeat_due(now);
        self.improve_voters();
    }

    pub(super) fn on_heartbeat_due(&mut self, now: Instant) {
        let Role::Leader(reign) = &mut self.role else { return };
        let answered = |peer: &&NodeId| {
            reign.answers.get(*peer).and_then(|a| a.answered).is_some_and(|at| now.since(at) < self.config.silence)
        };
        let others = || self.alive.iter().filter(|peer| **peer != self.me && !self.observers.contains(peer));
        if others().filter(answered).count() * 2 >= others().count() {
            reign.heard_half = now;
        }
        if now.since(reign.heard_half) >= self.config.deaf {
            return self.follow(now, None);
        }
        reign.beat += 1;
        reign.beats.push_back((reign.beat, now));
        if reign.beats.len() > MAX_BEATS {
            reign.beats.pop_front();
        }
        self.timers.set(Timer::Heartbeat, now + self.config.heartbeat);
        self.greet(now, self.alive.iter().copied().collect());
        self.improve_voters();
        self.give_way(now);
    }

    /// Sends peers a heartbeat.
    pub(super) fn greet(&mut self, now: Instant, peers: Vec<NodeId>) {
        let Role::Leader(reign) = &self.role else { return };
        let tenure_left_ms = u32::try_from(reign.tenure_ends.since(now).as_millis()).unwrap_or(u32::MAX);
        let quorate = self.is_quorate(reign, now);
        let (term, beat, set) = (reign.term, reign.beat, self.record.voters.at);
        let heartbeat = Frame::Heartbeat { term, beat, set, quorate, tenure_left_ms };
        let me = self.me;
        peers.into_iter().filter(|peer| *peer != me).for_each(|peer| self.send_now(peer, &heartbeat));
    }

    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        from: NodeId,
        (term, beat): (u64, u64),
        state: State,
        stand: Stand,
        better: Option<Claim>,
    ) {
        let Role::Leader(reign) = &mut self.role else { return };
        let Some(sent) = reign.sent_at(beat).filter(|_| reign.term == term) else { return };
        if !self.alive.contains(&from) && !self.record.voters.weights.contains_key(&from) {
            return;
        }
        let is_voter = self.record.voters.weights.contains_key(&from);
        let answers = reign.answers.entry(from).or_default();
        answers.answered = answers.answered.max(Some(sent));
        answers.unwanted = !state.seated || state.retiring;
        if stand == Stand::Backs && state.seated {
            answers.backed = answers.backed.max(Some(sent));
            // One that has voted in a later term since it backed this leader may have given that vote under an older set.
            answers.holds = answers.holds.max(state.set);
        }
        let pause = if is_voter { self.config.heartbeat } else { SET_PAUSE };
        if state.set < self.record.voters.at && answers.set_sent.is_none_or(|at| now.since(at) >= pause) {
            answers.set_sent = Some(now);
            let voters = self.record.voters.clone();
            self.send(from, &Frame::Set(voters));
        }
        match (stand, better) {
            (Stand::Declines, Some(claim)) => self.on_better(now, claim),
            (Stand::Bound, _) => self.renew(now),
            // Where there are voters enough one more peer that answers changes nothing.
            _ if is_voter || self.record.voters.weights.len() < MAX_VOTERS => self.improve_voters(),
            _ => {}
        }
    }

    /// A peer follows another leader: the weaker of the two steps down, even if the two cannot hear each other.
    fn on_better(&mut self, now: Instant, claim: Claim) {
        let Role::Leader(reign) = &self.role else { return };
        let own = Claim { leader: self.me, term: reign.term, quorate: self.is_quorate(reign, now) };
        if claim.leader != self.me && claim.strength() > own.strength() {
            self.follow_by_hearsay(now, claim);
        }
    }

    /// Asks for a later term: peers are bound to others in this one. The tenure goes on, unless a disk that takes no vote
    /// keeps it from being confirmed again: then another is told to ask.
    pub(super) fn renew(&mut self, now: Instant) {
        let Role::Leader(reign) = &self.role else { return };
        if self.renewed.is_some_and(|at| now.since(at) < RENEWAL_PAUSE) {
            return;
        }
        if self.disk_refuses && !self.is_quorate(reign, now) {
            self.renewed = Some(now);
            return self.hand_over(now);
        }
        if !self.may_campaign() {
            return;
        }
        let ends = reign.tenure_ends;
        self.renewed = Some(now);
        self.campaign(now, Why::Renewal, Some(ends));
    }

    pub(super) fn is_quorate(&self, reign: &Reign, now: Instant) -> bool {
        self.majority_since(reign, now).is_some_and(|at| now.since(at) < self.config.silence)
    }

    /// The latest moment since which voters of more than half the weight, or all that were not removed, have confirmed this reign.
    pub(super) fn majority_since(&self, reign: &Reign, now: Instant) -> Option<Instant> {
        let voters = &self.record.voters;
        let mut backed: Vec<(Instant, NodeId)> = Vec::with_capacity(voters.weights.len());
        for node in voters.weights.keys() {
            let own = (*node == self.me && self.backs_itself(reign)).then_some(now);
            backed.extend(own.or_else(|| reign.answers.get(node)?.backed).map(|at| (at, *node)));
        }
        backed.sort_unstable_by(|a, b| b.cmp(a));
        let mut weight = 0;
        for (at, node) in &backed {
            weight += voters.weight_of([node]);
            if voters.is_majority(weight) {
                return Some(*at);
            }
        }
        let all_that_remain = || voters.is_carried_by(backed.iter().map(|(_, node)| node), &self.removed);
        let latest = backed.iter().rfind(|(_, node)| !self.removed.contains(node));
        latest.map(|(at, _)| *at).filter(|_| all_that_remain())
    }

    /// The nodes that were removed from the cluster, who have no vote any more.
    pub fn on_removed(&mut self, removed: BTreeSet<NodeId>) {
        self.removed = removed;
    }

    /// Whether these voters speak for all, see [`VoterSet::is_carried_by`](super::voters::VoterSet::is_carried_by).
    pub fn is_carried_by<'a>(&self, backers: impl IntoIterator<Item = &'a NodeId>) -> bool {
        self.record.voters.is_carried_by(backers, &self.removed)
    }

    pub(super) fn backs_itself(&self, reign: &Reign) -> bool {
        !self.record.unseated && (self.record.term, self.record.voted_for) == (reign.term, Some(self.me))
    }

    /// The tenure is over: the next in rank that answers is told to campaign, one whose vote counts before others. Alone, the tenure
    /// starts again.
    pub(super) fn hand_over(&mut self, now: Instant) {
        let electorate = self.electorate();
        let Role::Leader(reign) = &mut self.role else { return };
        let answers = |node: &NodeId| {
            let answered = reign.answers.get(node).and_then(|a| a.answered);
            answered.is_some_and(|at| now.since(at) < self.config.silence)
        };
        let order = in_order(reign.term + 1, &electorate).into_iter();
        let may = order.filter(|node| *node != self.me && answers(node) && !reign.asked.contains(node));
        // Of equals this is the first.
        let next = may.min_by_key(|node| reign.answers.get(node).is_some_and(|answers| answers.unwanted));
        let term = reign.term;
        let Some(next) = next else {
            reign.asked.clear();
            reign.tenure_ends = now + self.config.tenure;
            return self.timers.set(Timer::Tenure, reign.tenure_ends);
        };
        reign.asked.insert(next);
        self.timers.set(Timer::Tenure, now + HANDOVER_PAUSE);
        self.send_now(next, &Frame::Handover { term });
    }
}

#[cfg(test)]
mod tests {
    use skein_gossip::Now;
    use skein_gossip::random::from_seed;

    use super::super::simulation::id;
    use super::super::{ElectionConfig, Input, Output, VoteRecord, VoterSet};
    use super::*;

    /// A machine whose disk is as fast as its memory, at a time in milliseconds.
    struct Desk {
        machine: Election,
        ms: u64,
        sent: Vec<(NodeId, Frame)>,
        /// Whether those with whom decisions are compared know the same.
        all_know: bool,
    }

    impl Desk {
        fn give(&mut self, input: Input) {
            let mut inputs = vec![input];
            while let Some(input) = inputs.pop() {
                self.machine.handle(Now { mono: Instant::from_millis(self.ms), wall_ms: self.ms }, input);
                while let Some(output) = self.machine.poll_output() {
                    match output {
                        Output::Persist { seq, .. } => inputs.push(Input::Persisted(seq)),
                        Output::Send { to, bytes, .. } => self.sent.extend(Frame::decode(&bytes).map(|f| (to, f))),
                        Output::Compare { peer, at } if self.all_know => {
                            inputs.push(Input::Alike { peer, at, whole: true });
                        }
                        Output::Compare { .. } | Output::Changed(_) => {}
                    }
                }
            }
        }

        fn hear(&mut self, from: usize, frame: &Frame) {
            self.give(Input::Frame { from: id(from), bytes: frame.encode() });
        }

        /// What a peer says of itself that has voted in `term` and holds the machine's set.
        fn state(&self, term: u64) -> State {
            let set = self.machine.record().voters.at;
            State { boot: 1, restored: 0, term, seated: true, retiring: false, set }
        }

        fn ack(&mut self, from: usize, term: u64, stand: Stand) {
            self.ack_as(from, self.state(term), stand);
        }

        fn ack_as(&mut self, from: usize, state: State, stand: Stand) {
            let Role::Leader(reign) = &self.machine.role else { panic!("it does not lead") };
            let (beat, term) = (reign.beat, reign.term);
            self.hear(from, &Frame::Ack { term, beat, state, stand, better: None });
        }

        /// Votes of the peers 2 and 3 make it the leader of its term.
        fn elect(&mut self) {
            let term = self.machine.record().term;
            for from in [2, 3] {
                let state = self.state(term);
                self.hear(from, &Frame::VoteReply { term, granted: true, state, leader: None });
            }
            assert!(matches!(self.machine.role, Role::Leader(_)));
        }
    }

    /// One of three voters that has been elected by the others.
    fn elected() -> Desk {
        let weights = (0..3).map(|n| (id(n), 1)).collect();
        let voters = VoterSet { at: SetVersion { term: 0, version: 9 }, weights };
        let record = VoteRecord { voters, ..VoteRecord::default() };
        let machine = Election::new(ElectionConfig::default(), id(0), record, from_seed(1));
        let mut desk = Desk { machine, ms: 0, sent: Vec::new(), all_know: true };
        let all: BTreeSet<NodeId> = (0..4).map(id).collect();
        desk.give(Input::Members(all.clone()));
        desk.give(Input::Alive(all));
        while matches!(desk.machine.role, Role::Follower) {
            desk.ms += 10;
            desk.give(Input::Timeout);
        }
        for from in [2, 3] {
            let (term, state) = (1, desk.state(0));
            desk.hear(from, &Frame::PreVoteReply { term, granted: true, state, leader: None });
        }
        desk.elect();
        desk
    }

    #[test]
    fn a_leader_that_can_write_no_later_vote_down_has_another_ask_for_one_once_nobody_confirms_it() {
        for (is_full, others) in [(true, Stand::Bound), (true, Stand::Backs), (false, Stand::Bound)] {
            let mut desk = elected();
            desk.give(Input::DiskRefuses(is_full));
            let term = desk.machine.record().term;
            for _ in 0..8 {
                desk.ms += 250;
                desk.give(Input::Timeout);
                for from in [1, 2] {
                    if matches!(desk.machine.role, Role::Leader(_)) {
                        desk.ack(from, term + 1, others);
                    }
                }
            }
            let asked = desk.sent.iter().any(|(_, frame)| *frame == Frame::Handover { term });
            assert_eq!(asked, is_full && others == Stand::Bound, "{is_full} {others:?}");
            assert_eq!(desk.machine.record().term > term, !is_full, "{is_full} {others:?}");
        }
    }

    #[test]
    fn a_leader_without_a_vote_of_its_own_has_one_take_over_that_means_to_stay() {
        for (backers, retiring) in [(&[1, 2, 3][..], 1), (&[1, 2, 3], 2), (&[1, 2, 3], 3), (&[2, 3], 3)] {
            let mut desk = elected();
            let term = desk.machine.record().term;
            desk.machine.record.unseated = true;
            for _ in 0..3 {
                for from in backers {
                    desk.ack_as(*from, State { retiring: *from == retiring, ..desk.state(term) }, Stand::Backs);
                }
                desk.ms += 250;
                desk.give(Input::Timeout);
            }
            let asked = desk.sent.iter().filter(|(_, frame)| *frame == Frame::Handover { term }).map(|(to, _)| *to);
            let stay = (1..4).filter(|n| *n != retiring).map(id).collect();
            // By 2 alone of three voters it is not quorate, so what it may not change nobody may.
            let next = in_order(term + 1, &stay).into_iter().take(backers.len() - 2);
            assert_eq!(asked.collect::<Vec<_>>(), next.collect::<Vec<_>>(), "{backers:?} back it, {retiring} retires");
        }
    }

    #[test]
    fn a_voter_that_has_gone_over_to_a_later_term_does_not_count_as_holding_the_set() {
        let mut desk = elected();
        // It has just asked for a later term, so it does not do so again within this second.
        desk.ack(1, 1, Stand::Bound);
        desk.elect();
        let term = desk.machine.record().term;
        assert_eq!(desk.machine.record().voters.at, SetVersion { term, version: 0 });
        desk.ack(3, term, Stand::Backs);
        // 2 has voted for it, then for another in the next term, and only then heard of the set.
        desk.ack(2, term + 1, Stand::Bound);
        desk.ack(3, term, Stand::Backs);
        desk.ms += 250;
        desk.give(Input::Timeout);
        assert_eq!(desk.machine.record().voters.at, SetVersion { term, version: 0 });
        desk.ack(1, term, Stand::Backs);
        assert_eq!(desk.machine.record().voters.at, SetVersion { term, version: 1 });
    }

    #[test]
    fn the_voters_are_not_changed_before_a_majority_of_them_knows_what_the_leader_knows_and_the_other_way_round() {
        let mut desk = elected();
        desk.all_know = false;
        let term = desk.machine.record().term;
        let at = |version| SetVersion { term, version };
        for _ in 0..3 {
            desk.ms += 250;
            desk.give(Input::Timeout);
            [1, 2, 3].iter().for_each(|from| desk.ack(*from, term, Stand::Backs));
        }
        assert_eq!(desk.machine.record().voters.at, at(0), "3 is to be a voter, and nobody has compared anything");
        let mut alike = |n: usize, at: SetVersion, whole: bool| {
            desk.give(Input::Alike { peer: id(n), at, whole });
            desk.machine.record().voters.at
        };
        alike(0, at(0), true);
        assert_eq!(alike(3, at(0), true), at(0), "3 is no voter yet");
        assert_eq!(alike(1, SetVersion { term: term - 1, version: 9 }, true), at(0), "that was about another set");
        assert_eq!(alike(1, at(0), false), at(0), "what its disk has damaged 2 may know");
        assert_eq!(alike(2, at(0), false), at(1), "nobody is left who could know more");
        [1, 2, 3].iter().for_each(|from| desk.ack(*from, term, Stand::Backs));
        assert_eq!(desk.machine.record().voters.at, at(1), "the next change needs another comparison");
    }
}
