//! The machine: what follows from each input. Who is asked and suspected besides what the protocol does is in the file
//! below; the words it takes and gives are in the module above, the frames and the protocol in the modules beside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use foca::{Member, State, Timer};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use super::comebacks::Comebacks;
use super::health::Health;
use super::swim::{Identity, Swim, is_newer};
use super::wire::{self, Frame, SwimPacket};
use super::{Counters, Input, MembershipConfig, Output, PeerState, Tempo};
use crate::{Instant, NodeId, Now, Rng, Timers};

mod suspicion;

/// How often members without a link are dialled, and members with a link that are not alive are greeted.
const TICK: Duration = Duration::from_secs(1);
/// How many members are dialled in one tick, in turn. So up to this many missing members are dialled every second, and
/// a large cluster dials each of them more rarely.
pub const DIALS_PER_TICK: usize = 20;
/// How many members are greeted at once, in turn or at random, so that a heal of a large cluster makes no storm.
pub const GREETINGS_AT_ONCE: usize = 64;
/// How many members hear a goodbye directly.
const GOODBYES: usize = 32;
/// How many outputs may wait to be polled. Beyond it frames are dropped and counted; words about members never are.
pub const MAX_OUTPUTS: usize = 8192;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wait {
    /// One of foca's, by its number in `swim_waits`.
    Swim(u64),
    Tick,
    Roster,
    /// A member was silent for long, or its link was lost: it has one round trip before others are asked.
    Unheard(NodeId),
    /// Others were asked to reach a member, and it has not spoken up yet.
    Asked(NodeId),
    /// A member that was suspected for its lost link has had its time.
    Verdict(NodeId),
}

/// The membership of one node. See the module.
pub struct Membership {
    config: MembershipConfig,
    swim: Swim,
    rng: Rng,
    health: Health,
    timers: Timers<Wait>,
    swim_waits: BTreeMap<u64, Timer<Identity>>,
    next_wait: u64,
    /// Set at the first input, which is when the clock is known.
    started: bool,
    left: bool,
    large: bool,
    /// Until when a node that was late reads what has piled up before it judges anybody.
    grace: Option<Instant>,
    members: BTreeSet<NodeId>,
    links: BTreeSet<NodeId>,
    /// Members without a link.
    unlinked: BTreeSet<NodeId>,
    /// Members that are not alive. Few, as a rule, so that what is done about them need not look at all.
    absent: BTreeSet<NodeId>,
    /// When any member was last heard.
    heard_any: Option<Instant>,
    /// When each member was last heard.
    heard_at: BTreeMap<NodeId, Instant>,
    known: BTreeMap<NodeId, Member<Identity>>,
    alive: BTreeSet<NodeId>,
    suspects: BTreeMap<NodeId, Member<Identity>>,
    /// Members that this node itself suspected.
    accused: BTreeSet<NodeId>,
    /// How often members came back from a suspicion lately.
    comebacks: Comebacks,
    /// Who suspects us, and is to hear from us.
    answer_to: Option<NodeId>,
    dial_after: NodeId,
    greet_after: NodeId,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl Membership {
    /// The membership of node `me`.
    ///
    /// `bump` says which life of the node this is and should grow with each start, leaving room for rejoins between two
    /// starts (for example boot count << 20). When it did not grow, the node finds out from its peers and rises above.
    #[must_use]
    pub fn new(config: MembershipConfig, me: NodeId, bump: u64, mut rng: Rng) -> Self {
        let swim_rng = Rng::from_rng(&mut rng);
        let identity = Identity { node: me, bump: bump.min(wire::MAX_BUMP / 2) };
        Self {
            swim: Swim::new(identity, config.small, swim_rng),
            health: Health::new(config.local_health),
            config,
            rng,
            timers: Timers::default(),
            swim_waits: BTreeMap::new(),
            next_wait: 0,
            started: false,
            left: false,
            large: false,
            grace: None,
            members: BTreeSet::new(),
            links: BTreeSet::new(),
            unlinked: BTreeSet::new(),
            absent: BTreeSet::new(),
            heard_any: None,
            heard_at: BTreeMap::new(),
            known: BTreeMap::new(),
            alive: BTreeSet::new(),
            suspects: BTreeMap::new(),
            accused: BTreeSet::new(),
            comebacks: Comebacks::default(),
            answer_to: None,
            dial_after: me,
            greet_after: me,
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Takes one input. Total: nothing that a peer sends makes it fail.
    pub fn handle(&mut self, now: Now, input: Input) {
        let now = now.mono;
        if self.left {
            return;
        }
        if !self.started {
            self.start(now);
        }
        self.notice_lateness(now);
        match input {
            Input::Frame { from, bytes } => self.frame(now, from, &bytes),
            Input::Timeout => self.timeout(now),
            Input::LinkUp(peer) => self.link_up(now, peer),
            Input::LinkDown(peer) => self.link_down(now, peer),
            Input::Members(members) => self.set_members(members),
            Input::Leave => self.leave(),
        }
        self.settle(now);
    }

    /// The next thing to do or to know, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.left {
            return None;
        }
        if !self.started {
            return Some(Instant::ZERO);
        }
        let next = self.timers.next()?;
        Some(self.grace.map_or(next, |grace| next.max(grace)))
    }

    /// The peers (so without this node) that are alive or only suspected. All of them are members.
    #[must_use]
    pub fn alive(&self) -> &BTreeSet<NodeId> {
        &self.alive
    }

    /// What is believed of a peer, if anything.
    #[must_use]
    pub fn state(&self, peer: &NodeId) -> Option<PeerState> {
        self.known.get(peer).map(|member| match member.state() {
            State::Alive => PeerState::Alive,
            State::Suspect => PeerState::Suspect,
            State::Down => PeerState::Down,
        })
    }

    /// Whether there is a link to this peer.
    #[must_use]
    pub fn is_linked(&self, peer: &NodeId) -> bool {
        self.links.contains(peer)
    }

    /// How much this node doubts itself: 0 not at all, 4 the most.
    #[must_use]
    pub fn doubt(&self) -> u32 {
        self.health.score()
    }

    /// What was ignored so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn start(&mut self, now: Instant) {
        self.started = true;
        // Nodes that start together must not tick together.
        let tick = self.random_part(TICK);
        self.timers.set(Wait::Tick, now + tick);
        let roster = self.random_part(self.config.roster_every);
        self.timers.set(Wait::Roster, now + roster);
    }

    fn tempo(&self) -> Tempo {
        if self.large { self.config.large } else { self.config.small }
    }

    /// A node that wakes late has a pile of unread frames, among them the answers that it is about to miss. It reads
    /// for one round trip before any of its timers fires, and trusts itself less for a while.
    fn notice_lateness(&mut self, now: Instant) {
        let Some(due) = self.timers.next() else { return };
        let (late, round_trip) = (now.since(due), self.tempo().round_trip);
        if self.grace.is_none() && late > round_trip {
            self.counters.late += 1;
            if self.health.doubts_itself() {
                self.grace = Some(now + round_trip);
            }
            let trips = late.as_micros() / round_trip.as_micros().max(1);
            self.health.was_late(u32::try_from(trips).unwrap_or(u32::MAX));
        }
    }

    fn timeout(&mut self, now: Instant) {
        if self.grace.is_some_and(|grace| now < grace) {
            return;
        }
        while let Some(wait) = self.timers.pop_due(now) {
            match wait {
                Wait::Swim(number) => self.swim_timer(now, number),
                Wait::Tick => self.tick(now),
                Wait::Roster => self.send_roster(now),
                Wait::Unheard(peer) => self.ask_about(now, peer),
                Wait::Asked(peer) => self.suspect_lost(now, peer),
                Wait::Verdict(peer) => self.give_verdict(peer),
            }
            self.settle(now);
        }
        self.grace = None;
    }

    fn swim_timer(&mut self, now: Instant, number: u64) {
        let Some(timer) = self.swim_waits.remove(&number) else { return };
        let ends_probe = matches!(timer, Timer::ProbeRandomMember(_));
        self.swim.effects.probe_failed = false;
        self.swim.timer(timer);
        if !ends_probe {
            return;
        }
        if !self.swim.effects.probe_failed {
            self.health.probe_was_answered();
        } else if self.alive.len() > 1 && self.hears_nobody(now) {
            self.health.heard_nobody();
        }
        self.tell_suspects();
        self.ask_the_silent(now);
    }

    fn frame(&mut self, now: Instant, from: NodeId, bytes: &[u8]) {
        if !self.members.contains(&from) {
            self.counters.strangers += 1;
            return;
        }
        let Some(frame) = wire::read(bytes) else {
            self.counters.malformed += 1;
            return;
        };
        self.heard_any = Some(now);
        self.hear(now, from);
        match frame {
            Frame::Swim(packet) => self.swim_packet(from, &packet),
            Frame::Roster { members, wants_reply } => self.roster(from, &members, wants_reply),
            Frame::Ask { target, origin } => self.asked(from, target, origin),
            Frame::Vouch { target, origin } => self.vouched(now, from, target, origin),
        }
    }

    fn hear(&mut self, now: Instant, peer: NodeId) {
        if self.members.contains(&peer) {
            self.heard_at.insert(peer, now);
        }
        self.timers.clear(&Wait::Unheard(peer));
        self.timers.clear(&Wait::Asked(peer));
    }

    fn swim_packet(&mut self, from: NodeId, packet: &SwimPacket<'_>) {
        let me = self.swim.me();
        if packet.header.src.node != from {
            self.counters.forged += 1;
            return;
        }
        if packet.header.dst.node == me.node && packet.header.dst.bump > me.bump {
            self.swim.rise_above(packet.header.dst.bump);
        }
        let kept = self.check_news(from, &packet.members);
        let sound = if kept.len() == packet.members.len() {
            self.swim.packet(packet.bytes())
        } else {
            self.swim.packet(&packet.rewritten(&kept))
        };
        if !sound {
            self.counters.malformed += 1;
        }
        let sender = Member::new(packet.header.src, packet.header.src_incarnation, State::Alive);
        let news = kept.iter().chain([&sender]).filter(|member| self.is_news(member));
        let news: Vec<NodeId> = news.map(|member| member.id().node).collect();
        self.swim.effects.touched.extend(news);
    }

    /// Leaves out what is said of nodes that are no members, and listens to what is said of us.
    fn check_news(&mut self, from: NodeId, news: &[Member<Identity>]) -> Vec<Member<Identity>> {
        let me = self.swim.me();
        for member in news.iter().filter(|member| member.id().node == me.node) {
            if member.id().bump > me.bump {
                self.swim.rise_above(member.id().bump);
            } else if *member.id() == me && member.state() == State::Suspect {
                self.health.was_suspected();
                self.swim.was_suspected(member.incarnation());
                self.answer_to = Some(from);
            }
        }
        let relevant =
            |member: &&Member<Identity>| self.members.contains(&member.id().node) || *member.id() == self.swim.me();
        news.iter().filter(relevant).cloned().collect()
    }

    fn is_news(&self, member: &Member<Identity>) -> bool {
        self.known.get(&member.id().node).is_none_or(|known| is_newer(member, known))
    }

    fn roster(&mut self, from: NodeId, members: &[Member<Identity>], wants_reply: bool) {
        // Most of a roster is what is known already, so that is sorted out first.
        let (mut better, mut news) = (Vec::new(), Vec::new());
        for theirs in members {
            match self.known.get(&theirs.id().node) {
                Some(ours) if ours == theirs => {}
                Some(ours) if is_newer(ours, theirs) => better.push(ours.clone()),
                Some(ours) if !is_newer(theirs, ours) => {}
                _ => news.push(theirs.clone()),
            }
        }
        let news = self.check_news(from, &news);
        if !news.is_empty() {
            self.swim.learn(news);
        }
        if wants_reply {
            // By now this node may have taken another identity, since the other took it for dead.
            let me = self.swim.own();
            if !members.iter().any(|member| member.id() == me.id() && member.state() == State::Alive) {
                better.push(me);
            }
            for frame in wire::write_roster(&better, false) {
                self.send(from, frame);
            }
        }
    }

    /// Tells a member that we are here, and it answers that it is. To an announcement foca answers with as much of the roster as
    /// fits, which is short in a small cluster; in a large one that would be most of what is sent after a heal.
    fn greet(&mut self, peer: NodeId) {
        if !self.large {
            return self.swim.announce_to(peer);
        }
        let said: Vec<_> = [self.swim.own()].into_iter().chain(self.known.get(&peer).cloned()).collect();
        for frame in wire::write_roster(&said, true) {
            self.send(peer, frame);
        }
    }

    /// Tells whoever suspects us that we are well. An announcement is answered with the roster; see [`Self::greet`].
    fn answer(&mut self, accuser: NodeId) {
        if !self.large {
            return self.swim.announce_to(accuser);
        }
        for frame in wire::write_roster(&[self.swim.own()], false) {
            self.send(accuser, frame);
        }
    }

    fn link_up(&mut self, now: Instant, peer: NodeId) {
        self.links.insert(peer);
        self.unlinked.remove(&peer);
        // A link takes a handshake, which takes a peer that lives.
        self.hear(now, peer);
        if self.members.contains(&peer) {
            self.greet(peer);
        }
    }

    fn link_down(&mut self, now: Instant, peer: NodeId) {
        if !self.links.remove(&peer) || !self.members.contains(&peer) {
            return;
        }
        self.unlinked.insert(peer);
        self.push(Output::Dial(peer));
        if self.alive.contains(&peer) {
            self.timers.set(Wait::Unheard(peer), now + self.health.stretch(self.tempo().round_trip));
        }
    }

    fn set_members(&mut self, mut members: BTreeSet<NodeId>) {
        members.remove(&self.swim.me().node);
        let gone: Vec<_> = self.known.values().map(|m| *m.id()).filter(|id| !members.contains(&id.node)).collect();
        let new: Vec<_> = members.difference(&self.members).copied().collect();
        self.members = members;
        self.unlinked = self.members.difference(&self.links).copied().collect();
        self.heard_at.retain(|peer, _| self.members.contains(peer));
        self.comebacks.retain(|peer| self.members.contains(peer));
        for member in gone {
            self.swim.forget(member);
            self.known.remove(&member.node);
            if self.alive.remove(&member.node) {
                self.push(Output::Down(member.node));
            }
        }
        self.absent = self.members.difference(&self.alive).copied().collect();
        let limit = self.config.large_above;
        self.large = self.members.len() + 1 > if self.large { limit * 4 / 5 } else { limit };
        self.swim.set_large(self.large);
        let linked: Vec<NodeId> = new.iter().filter(|peer| self.links.contains(peer)).copied().collect();
        linked.into_iter().take(GREETINGS_AT_ONCE).for_each(|peer| self.greet(peer));
        let unlinked: Vec<_> = new.into_iter().filter(|peer| !self.links.contains(peer)).take(DIALS_PER_TICK).collect();
        for peer in unlinked {
            self.push(Output::Dial(peer));
        }
    }

    fn leave(&mut self) {
        let goodbye = Member::down(self.swim.me());
        let hearers: Vec<_> = self.links.intersection(&self.alive).copied().take(GOODBYES).collect();
        self.swim.leave();
        for frame in wire::write_roster(&[goodbye], false) {
            for hearer in &hearers {
                self.send(*hearer, frame.clone());
            }
        }
        self.left = true;
    }

    fn tick(&mut self, now: Instant) {
        self.timers.set(Wait::Tick, now + TICK);
        let unlinked = in_turn(self.unlinked.iter(), self.dial_after, DIALS_PER_TICK);
        self.dial_after = unlinked.last().copied().unwrap_or(self.dial_after);
        for peer in unlinked {
            self.push(Output::Dial(peer));
        }
        let missing = in_turn(self.absent.intersection(&self.links), self.greet_after, GREETINGS_AT_ONCE);
        self.greet_after = missing.last().copied().unwrap_or(self.greet_after);
        missing.into_iter().for_each(|peer| self.greet(peer));
    }

    fn send_roster(&mut self, now: Instant) {
        let every = self.config.roster_every * if self.large { 2 } else { 1 };
        let jitter = self.random_part(every / 4);
        self.timers.set(Wait::Roster, now + every + jitter);
        let linked: Vec<_> = self.members.intersection(&self.links).copied().collect();
        let Some(to) = linked.choose(&mut self.rng).copied() else { return };
        let mut roster: Vec<_> = self.known.values().cloned().collect();
        roster.push(self.swim.own());
        for frame in wire::write_roster(&roster, true) {
            self.send(to, frame);
        }
    }

    /// Carries out what foca asked for, and finds out what it believes now.
    fn settle(&mut self, now: Instant) {
        if std::mem::take(&mut self.swim.effects.rejoined) {
            self.counters.rejoins += 1;
            let mut linked: Vec<_> = self.members.intersection(&self.links).copied().collect();
            linked.shuffle(&mut self.rng);
            linked.into_iter().take(GREETINGS_AT_ONCE).for_each(|peer| self.greet(peer));
        }
        // Whoever suspects us hears first that we are well: all that we send now carries the refutation.
        if let Some(accuser) = self.answer_to.take() {
            self.answer(accuser);
        }
        // Bad news does not wait for the next probe to ride on.
        let touched = std::mem::take(&mut self.swim.effects.touched);
        if !touched.is_empty() {
            match self.find_changes(now, &touched) {
                Some(State::Down) if self.large => (0..2).for_each(|_| self.swim.gossip()),
                Some(_) => self.swim.gossip(),
                None => {}
            }
        }
        for (timer, asked) in std::mem::take(&mut self.swim.effects.waits) {
            let tempo = self.tempo();
            let wait = match &timer {
                Timer::ProbeRandomMember(_) => self.health.stretch(tempo.period),
                Timer::SendIndirectProbe { .. } => self.health.stretch(tempo.round_trip),
                Timer::ChangeSuspectToDown { member_id, .. } => {
                    self.accused.insert(member_id.node);
                    self.suspicion_of(now, member_id.node)
                }
                _ => asked,
            };
            self.swim_waits.insert(self.next_wait, timer);
            self.timers.set(Wait::Swim(self.next_wait), now + wait);
            self.next_wait += 1;
        }
        for (to, bytes) in std::mem::take(&mut self.swim.effects.sends) {
            self.send(to, bytes);
        }
    }

    /// Compares what foca believes of these members with what was last said. Returns the worst news.
    fn find_changes(&mut self, now: Instant, touched: &BTreeSet<NodeId>) -> Option<State> {
        let mut worst = None;
        // Mostly it is a single one, and members are many.
        let one = touched.first().filter(|_| touched.len() == 1);
        for member in self.swim.members() {
            let node = member.id().node;
            if one.map_or_else(|| !touched.contains(&node), |one| *one != node) {
                continue;
            }
            if self.known.get(&node) == Some(member) || !self.members.contains(&node) {
                continue;
            }
            let before = self.known.insert(node, member.clone()).map(|known| known.state());
            if before == Some(member.state()) {
                continue;
            }
            if member.state() == State::Alive {
                self.absent.remove(&node);
                if before == Some(State::Suspect) {
                    self.comebacks.note(now, node);
                }
            } else if worst != Some(State::Down) {
                worst = Some(member.state());
            }
            // Straight into the queue: `swim` is borrowed, and words about members are never dropped.
            match member.state() {
                State::Alive => {
                    self.alive.insert(node);
                    self.outputs.push_back(Output::Alive(node));
                }
                State::Suspect => {
                    self.absent.remove(&node);
                    if self.alive.insert(node) {
                        self.outputs.push_back(Output::Alive(node));
                    }
                    self.outputs.push_back(Output::Suspect(node));
                }
                State::Down => {
                    self.absent.insert(node);
                    if self.alive.remove(&node) {
                        self.outputs.push_back(Output::Down(node));
                    }
                }
            }
        }
        worst
    }

    fn send(&mut self, to: NodeId, bytes: Vec<u8>) {
        if self.members.contains(&to) && self.links.contains(&to) {
            self.push(Output::Send { to, bytes });
        }
    }

    fn push(&mut self, output: Output) {
        let may_be_lost = matches!(output, Output::Send { .. } | Output::Dial(_));
        if may_be_lost && self.outputs.len() >= MAX_OUTPUTS {
            self.counters.dropped += 1;
        } else {
            self.outputs.push_back(output);
        }
    }

    fn random_part(&mut self, of: Duration) -> Duration {
        let micros = u64::try_from(of.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.rng.random_range(0..micros))
    }
}

/// The first `limit` nodes after `after`, starting over at the end.
fn in_turn<'a>(nodes: impl Iterator<Item = &'a NodeId>, after: NodeId, limit: usize) -> Vec<NodeId> {
    let (mut later, mut earlier) = (Vec::new(), Vec::new());
    for node in nodes {
        if *node > after { later.push(*node) } else { earlier.push(*node) }
    }
    later.extend(earlier);
    later.truncate(limit);
    later
}
