//! Who leads this component: an elected, temporary leader, and whether it is backed by most of the voters.
//!
//! Here are the machine's doors and what all its roles share: the vote record, what is known of the peers, what is said
//! to the router. The roles are in `follower`, `candidate` and `leader`; the voter set in [`voters`], the frames in
//! `wire`, the order in which nodes come to the front in `rank`. Being leader makes nothing
//! correct; it only says who plans. What a leader plans does not live here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand::RngExt;
use serde::{Deserialize, Serialize};
use skein_gossip::planted::{self, Bug};
use skein_gossip::{Instant, NodeId, Now, Offence, Rng, Timers};

mod candidate;
mod change;
mod follower;
mod leader;
mod observer;
mod rank;
mod told;
pub mod voters;
mod wire;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod stories;

pub use voters::{MAX_VOTERS, SetVersion, VoterSet};
pub use wire::MAX_FRAME_BYTES;

use candidate::{Campaign, Canvass};
use leader::Reign;
use wire::{Claim, Frame, State};

/// The most outputs that wait for the router; it drains them after each input, so this is only reached by a mistake of
/// ours. Then the oldest frames are dropped, which the protocol survives; a `Persist` never is.
const MAX_OUTPUTS: usize = 8192;

/// How fast it goes. All durations are the node's own monotonic time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionConfig {
    /// Between two heartbeats of a leader.
    pub heartbeat: Duration,
    /// How long a leader may be silent before its followers elect another.
    pub silence: Duration,
    /// How much later each next one in rank campaigns.
    pub stagger: Duration,
    /// How long a candidate waits for answers.
    pub campaign: Duration,
    /// How long a node that sees nobody waits after its start, when it knows of other members.
    pub boot_patience: Duration,
    /// How long a leader may go without answers from half of those that it sees alive.
    pub deaf: Duration,
    /// One leader's time at the front.
    pub tenure: Duration,
}

impl Default for ElectionConfig {
    fn default() -> Self {
        ElectionConfig {
            heartbeat: Duration::from_millis(250),
            silence: Duration::from_secs(1),
            stagger: Duration::from_millis(150),
            campaign: Duration::from_millis(400),
            boot_patience: Duration::from_secs(2),
            deaf: Duration::from_secs(3),
            tenure: Duration::from_secs(600),
        }
    }
}

/// What must outlive a restart: the latest term, the vote in it, and the voters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VoteRecord {
    /// The latest term that this node took part in.
    pub term: u64,
    /// Its vote in that term.
    pub voted_for: Option<NodeId>,
    /// The voters, as far as it knows.
    pub voters: VoterSet,
    /// Whether its disk does not hold what it voted for, as far as it knows: it is new, or was lost, damaged or set back. Then its vote
    /// does not count among the voters until they have gone on without it once.
    pub unseated: bool,
}

impl VoteRecord {
    /// What a node starts with that founds a cluster.
    #[must_use]
    pub fn founder(me: NodeId) -> Self {
        VoteRecord { voters: VoterSet::founded_by(me), ..VoteRecord::default() }
    }

    /// What a node starts with that knows nothing of the votes: none of them counts on it before it has heard of some without it.
    #[must_use]
    pub fn newcomer() -> Self {
        VoteRecord { unseated: true, ..VoteRecord::default() }
    }
}

/// What happens to the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A peer's frame.
    Frame {
        /// The author, as the connection has proved it.
        from: NodeId,
        /// What an [`Output::Send`] of the peer's held.
        bytes: Vec<u8>,
    },
    /// The members that the failure detector sees alive now, this node included.
    Alive(BTreeSet<NodeId>),
    /// The nodes that were admitted and did not leave. Until the first of these all that are alive count as members.
    Members(BTreeSet<NodeId>),
    /// Those among the members that only observe: they neither vote nor lead, and are not asked.
    Observers(BTreeSet<NodeId>),
    /// A peer, or this node itself, knows the same decisions as this leader has known at some time since it wrote this set, and has them on
    /// disk: the answer to [`Output::Compare`].
    Alike {
        /// Who.
        peer: NodeId,
        /// Which set.
        at: SetVersion,
        /// Whether its disk has damaged nothing of what it knew.
        whole: bool,
    },
    /// All records up to this one are on disk.
    Persisted(u64),
    /// Whether the disk refuses what is to be written: this node cannot vote then.
    DiskRefuses(bool),
    /// The deadline has come.
    Timeout,
    /// The daemon is shutting down: hand over if leading, and campaign no more.
    StepDown,
    /// The node does not leave after all.
    Stay,
    /// The node is about to leave the cluster: hand over if leading, campaign no more, and ask the leader to go on without
    /// this node's vote. It must be heard until [`Election::is_retired`], or most of a small cluster's votes leave with it.
    Retire,
}

/// What the machine asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a frame to a peer. May be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// The frame, at most [`MAX_FRAME_BYTES`].
        bytes: Vec<u8>,
        /// The record that must be on disk before the frame leaves, since the frame tells of it.
        after: Option<u64>,
    },
    /// Write this record to disk in place of the last, then give [`Input::Persisted`]. Of several that wait only the last
    /// needs writing.
    Persist {
        /// Names the record; rises by one each time.
        seq: u64,
        /// What to write.
        record: VoteRecord,
    },
    /// This leader is about to change the voters: compare what was decided with one of them, which may be this node itself. It is asked
    /// for again until there is an [`Input::Alike`].
    Compare {
        /// With whom.
        peer: NodeId,
        /// For which set.
        at: SetVersion,
    },
    /// Who leads has changed.
    Changed(Leadership),
}

/// Who leads, as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The leader; `None` while there is none.
    pub leader: Option<NodeId>,
    /// Its term; without a leader the latest that this node took part in.
    pub term: u64,
    /// Whether more than half of the voters' weight backs it.
    pub quorate: bool,
    /// Whether it is this node.
    pub mine: bool,
    /// When its tenure is over, by this node's clock.
    pub tenure_ends: Option<Instant>,
    /// The voters in short.
    pub voters: VoterSummary,
}

/// The voters in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VoterSummary {
    /// Which set.
    pub at: SetVersion,
    /// How many they are.
    pub count: usize,
    /// What they weigh together.
    pub weight: u32,
    /// Whether this node is one of them.
    pub me: bool,
}

/// The machine.
#[derive(Debug)]
pub struct Election {
    config: ElectionConfig,
    me: NodeId,
    rng: Rng,
    /// Drawn at this start, so that peers can tell a restart.
    boot: u64,
    booted: Option<Instant>,
    restored_term: u64,
    record: VoteRecord,
    /// The last record handed out, and the last that is on disk.
    seq: u64,
    persisted: u64,
    alive: BTreeSet<NodeId>,
    members: BTreeSet<NodeId>,
    observers: BTreeSet<NodeId>,
    /// Those that were removed: they have no vote any more.
    removed: BTreeSet<NodeId>,
    role: Role,
    followed: Option<Followed>,
    /// The leader whose silence started the current election: it is not counted alive until it is heard again.
    silent: Option<NodeId>,
    /// Peers whose disks take no votes: they are not counted until they say something that is on their disk.
    mute: BTreeSet<NodeId>,
    disk_refuses: bool,
    peers: BTreeMap<NodeId, Peer>,
    renewed: Option<Instant>,
    stopping: bool,
    retiring: bool,
    timers: Timers<Timer>,
    outputs: VecDeque<Output>,
    told: Leadership,
}

#[derive(Debug)]
enum Role {
    Follower,
    /// Asking who would vote.
    Canvassing(Canvass),
    Candidate(Campaign),
    Leader(Reign),
}

/// The leader that this node follows.
#[derive(Debug, Clone, Copy)]
struct Followed {
    claim: Claim,
    heard: Instant,
    tenure_ends: Option<Instant>,
    /// Heard itself, or a peer says so.
    at_first_hand: bool,
}

/// What is known of a peer.
#[derive(Debug, Clone, Copy, Default)]
struct Peer {
    contact: Option<Instant>,
    /// Its boot, and the latest term that it has told of.
    boot: u64,
    term: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A follower has waited long enough for its leader.
    Silence,
    /// It is this node's turn to campaign.
    Turn,
    /// A candidate has waited long enough for answers.
    Answers,
    /// The next heartbeat is due.
    Heartbeat,
    /// The tenure is over.
    Tenure,
}

impl Election {
    /// The machine of a node that has just started, with what its disk holds. Its first deadline has come already.
    #[must_use]
    pub fn new(config: ElectionConfig, me: NodeId, restored: VoteRecord, mut rng: Rng) -> Self {
        Election {
            boot: rng.random(),
            rng,
            booted: None,
            restored_term: restored.term,
            record: restored,
            seq: 0,
            persisted: 0,
            alive: [me].into(),
            members: BTreeSet::new(),
            observers: BTreeSet::new(),
            removed: BTreeSet::new(),
            role: Role::Follower,
            followed: None,
            silent: None,
            mute: BTreeSet::new(),
            disk_refuses: false,
            peers: BTreeMap::new(),
            renewed: None,
            stopping: false,
            retiring: false,
            timers: Timers::default(),
            outputs: VecDeque::new(),
            told: Leadership::default(),
            config,
            me,
        }
    }

    /// Takes one input. Bytes that are no frame of ours are dropped.
    pub fn handle(&mut self, now: Now, input: Input) {
        let now = now.mono;
        if self.booted.is_none() {
            self.booted = Some(now);
            self.wait_for_leader(now);
        }
        match input {
            Input::Frame { from, bytes } => self.on_frame(now, from, &bytes),
            Input::Alive(alive) => self.on_alive(now, alive),
            Input::Members(members) => {
                self.members = members;
                self.peers.retain(|node, _| self.members.contains(node) || self.alive.contains(node));
                self.improve_voters();
            }
            Input::Observers(observers) => self.on_observers(now, observers),
            Input::Alike { peer, at, whole } => self.on_alike(peer, at, whole),
            Input::Persisted(seq) => {
                self.persisted = self.persisted.max(seq.min(self.seq));
                self.count_votes(now);
                self.improve_voters();
            }
            Input::DiskRefuses(refuses) => self.disk_refuses = refuses,
            Input::Timeout => {}
            Input::StepDown => self.stop(now),
            Input::Stay => self.retiring = false,
            Input::Retire => {
                self.retiring = true;
                self.hand_over(now);
            }
        }
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Silence => self.on_silence(now),
                Timer::Turn => self.canvass(now),
                Timer::Answers => self.on_no_answers(now),
                Timer::Heartbeat => self.on_heartbeat_due(now),
                Timer::Tenure => self.hand_over(now),
            }
        }
        self.tell(now);
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to give [`Input::Timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.booted.is_none() { Some(Instant::ZERO) } else { self.timers.next() }
    }

    /// Who leads, as last told in [`Output::Changed`].
    #[must_use]
    pub fn leadership(&self) -> &Leadership {
        &self.told
    }

    /// When this node last heard anything from a peer's election. A new leader counts those that it sees alive as heard
    /// at its election, so that nobody is lost for want of an answer that was never asked for.
    #[must_use]
    pub fn last_contact(&self, peer: &NodeId) -> Option<Instant> {
        self.peers.get(peer)?.contact
    }

    /// The latest moment at which this leader is known to have been backed by a majority of the voters: each of them has
    /// answered a heartbeat that was sent then or later, and none had voted in a later term. `None`: it does not lead, or
    /// never was. Whoever grants a lease asks that this be after the request came in.
    #[must_use]
    pub fn confirmed_at(&self, now: Now) -> Option<Instant> {
        match &self.role {
            Role::Leader(reign) => self.majority_since(reign, now.mono),
            _ => None,
        }
    }

    /// Whether nothing would be lost with this node's vote: it leads nobody and the voters are known to have gone on without
    /// it, or nobody else is alive to take its place.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        let alone = self.electorate().len() == 1;
        let votes = self.record.voters.weights.contains_key(&self.me);
        alone || (!votes && !matches!(self.role, Role::Leader(_)))
    }

    /// What this node last asked to have on disk.
    #[must_use]
    pub fn record(&self) -> &VoteRecord {
        &self.record
    }

    /// The term in which a frame gives its receiver the author's vote, if it does: for whoever watches what is said.
    #[must_use]
    pub fn vote_in(bytes: &[u8]) -> Option<u64> {
        match Frame::decode(bytes)? {
            Frame::VoteReply { term, granted: true, .. } => Some(term),
            _ => None,
        }
    }

    /// What a member did that sent this frame, if no honest one would have.
    ///
    /// A node raises its term, on its disk too, before it asks for votes in it: so no vote for it is honest in a later one.
    #[must_use]
    pub fn offence_in(&self, bytes: &[u8]) -> Option<(Offence, &'static str)> {
        match Frame::decode(bytes) {
            Some(Frame::VoteReply { term, granted: true, .. }) if term > self.record.term => {
                Some((Offence::ForgedVote, "a vote in a term in which nobody asked for it"))
            }
            Some(_) => None,
            None => Some((Offence::Unreadable, "a frame of the election that cannot be read")),
        }
    }

    fn on_frame(&mut self, now: Instant, from: NodeId, bytes: &[u8]) {
        let Some(frame) = Frame::decode(bytes).filter(|_| from != self.me) else { return };
        if self.alive.contains(&from) || self.members.contains(&from) {
            self.peers.entry(from).or_default().contact = Some(now);
        }
        if self.silent == Some(from) {
            self.silent = None;
        }
        if self.observers.contains(&from) {
            return self.on_observer(now, from, &frame);
        }
        if frame == Frame::Mute {
            return self.on_mute(now, from);
        }
        self.mute.remove(&from);
        match frame {
            Frame::Heartbeat { term, beat, set, quorate, tenure_left_ms } => {
                let claim = Claim { leader: from, term, quorate };
                let tenure_ends = now + Duration::from_millis(tenure_left_ms.into());
                self.on_heartbeat(now, claim, beat, set, tenure_ends);
            }
            Frame::Ack { term, beat, state, stand, better } => {
                let state = self.witness(from, state);
                self.on_ack(now, from, (term, beat), state, stand, better);
            }
            Frame::PreVote { term, set } => self.on_pre_vote(now, from, term, set),
            Frame::PreVoteReply { term, granted, state, leader } => {
                let state = self.witness(from, state);
                self.on_pre_vote_reply(now, from, term, granted, state, leader);
            }
            Frame::Vote { term, set, handover } => self.on_vote(now, from, term, set, handover),
            Frame::VoteReply { term, granted, state, leader } => {
                let state = self.witness(from, state);
                self.on_vote_reply(now, from, term, granted, state, leader);
            }
            Frame::Set(set) => self.on_set(now, set),
            Frame::Handover { term } => self.on_handover(now, term),
            Frame::Amnesia { term } => self.on_amnesia(now, term),
            Frame::Mute => {}
        }
    }

    fn on_alive(&mut self, now: Instant, mut alive: BTreeSet<NodeId>) {
        alive.insert(self.me);
        let new: Vec<NodeId> = alive.difference(&self.alive).copied().collect();
        let was_alone = self.alive.len() == 1;
        self.alive = alive;
        self.mute.retain(|peer| self.alive.contains(peer));
        self.peers.retain(|node, _| self.members.contains(node) || self.alive.contains(node));
        match &self.role {
            Role::Leader(_) => self.greet(now, new),
            Role::Follower if self.followed.is_none() && was_alone && !new.is_empty() => self.wait_for_leader(now),
            _ => self.count_votes(now),
        }
    }

    /// Compares what a peer says of its record with what it said before it restarted. Its vote does not count among the
    /// voters when it has forgotten one, and it is told.
    fn witness(&mut self, from: NodeId, mut state: State) -> State {
        let Some(peer) = self.peers.get_mut(&from) else { return state };
        if state.seated && peer.boot != state.boot && state.restored < peer.term {
            let term = peer.term;
            state.seated = false;
            self.send_now(from, &Frame::Amnesia { term });
        } else {
            *peer = Peer { boot: state.boot, term: peer.term.max(state.term), ..*peer };
        }
        state
    }

    /// A peer remembers a term of this node's that its disk does not.
    fn on_amnesia(&mut self, now: Instant, term: u64) {
        if term <= self.restored_term || self.record.unseated {
            return;
        }
        self.record.unseated = true;
        if term >= self.record.term {
            // It may have voted in that term for anybody; a vote for itself is one for nobody.
            (self.record.term, self.record.voted_for) = (term, Some(self.me));
        }
        self.persist();
        if !matches!(self.role, Role::Follower) {
            self.follow(now, None);
        }
    }

    /// Takes over a newer set; it raises the term, and ends a campaign that an older one carried.
    fn on_set(&mut self, now: Instant, set: VoterSet) {
        if set.at <= self.record.voters.at {
            return;
        }
        if set.at.term > self.record.term {
            (self.record.term, self.record.voted_for) = (set.at.term, None);
        }
        self.record.unseated &= set.weights.contains_key(&self.me);
        self.record.voters = set;
        self.persist();
        match self.role {
            Role::Follower => {}
            // A leader's voters changed without it: its term is spoilt, so it asks for another.
            Role::Leader(_) => self.renew(now),
            _ => self.canvass(now),
        }
    }

    fn stop(&mut self, now: Instant) {
        self.stopping = true;
        if matches!(self.role, Role::Leader(_)) {
            self.hand_over(now);
        }
        self.follow(now, None);
    }

    /// The nodes whose majority elects: alive, admitted, no observers, with a disk that takes votes, and not the leader that fell silent.
    fn electorate(&self) -> BTreeSet<NodeId> {
        let counts = |node: &&NodeId| {
            let is_heard = self.silent != Some(**node) && !self.mute.contains(*node);
            let votes = is_heard && !self.observers.contains(*node);
            votes && (self.members.is_empty() || self.members.contains(*node))
        };
        self.alive.iter().filter(counts).copied().chain([self.me]).collect()
    }

    fn state(&self) -> State {
        let VoteRecord { term, unseated, voters, .. } = &self.record;
        State {
            boot: self.boot,
            restored: self.restored_term,
            term: *term,
            seated: !unseated,
            retiring: self.retiring,
            set: voters.at,
        }
    }

    fn persist(&mut self) {
        self.seq += 1;
        let (seq, record) = (self.seq, self.record.clone());
        self.push(Output::Persist { seq, record });
    }

    /// Sends a frame that tells of this node's record: it waits for the disk.
    fn send(&mut self, to: NodeId, frame: &Frame) {
        let is_due = self.persisted < self.seq && !planted::is(Bug::VoteBeforeDisk);
        if is_due && self.disk_refuses {
            return self.send_now(to, &Frame::Mute);
        }
        let after = is_due.then_some(self.seq);
        self.push(Output::Send { to, bytes: frame.encode(), after });
    }

    /// Sends a frame that promises nothing.
    fn send_now(&mut self, to: NodeId, frame: &Frame) {
        self.push(Output::Send { to, bytes: frame.encode(), after: None });
    }

    fn push(&mut self, output: Output) {
        if self.outputs.len() >= MAX_OUTPUTS
            && let Some(oldest) = self.outputs.iter().position(|o| matches!(o, Output::Send { .. }))
        {
            self.outputs.remove(oldest);
        }
        self.outputs.push_back(output);
    }

    fn jitter(&mut self, up_to: Duration) -> Duration {
        Duration::from_micros(self.rng.random_range(0..=u64::try_from(up_to.as_micros()).unwrap_or(u64::MAX)))
    }
}
