//! A few nodes' elections in virtual time: latency, loss, cuts in one or both directions, crashes that lose all but the
//! disk, and a failure detector that takes its time. After each event the promises are checked that must hold always.
//! The stories that are told with it are in `stories`.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use skein_gossip::random::from_seed;
use skein_gossip::{Instant, NodeId, Now, Rng};

use super::wire::{Frame, Stand};
use super::{Election, ElectionConfig, Input, Output, Role, VoteRecord};

/// One node, running or not.
pub(super) struct Host {
    pub(super) machine: Option<Election>,
    pub(super) disk: VoteRecord,
    pub(super) members: BTreeSet<NodeId>,
    gone: BTreeSet<NodeId>,
    boot: u64,
    on_disk: u64,
    waiting: Vec<(u64, NodeId, Vec<u8>)>,
    seen: BTreeSet<NodeId>,
    /// Since when the failure detector's verdict on a peer is wrong, and when it will be put right.
    wrong: BTreeMap<NodeId, u64>,
}

enum Event {
    Frame { from: usize, to: usize, bytes: Vec<u8> },
    Disk { host: usize, boot: u64, seq: u64, record: VoteRecord },
    Detect,
}

/// All knobs of a run.
#[derive(Debug, Clone)]
pub(super) struct Knobs {
    pub(super) loss: f64,
    pub(super) latency_us: std::ops::Range<u64>,
    pub(super) disk_us: std::ops::Range<u64>,
    pub(super) death_ms: std::ops::Range<u64>,
    pub(super) return_ms: std::ops::Range<u64>,
    pub(super) config: ElectionConfig,
}

impl Default for Knobs {
    fn default() -> Self {
        Knobs {
            loss: 0.0,
            latency_us: 200..3_000,
            disk_us: 1_000..15_000,
            death_ms: 1_500..2_300,
            return_ms: 20..300,
            config: ElectionConfig::default(),
        }
    }
}

pub(super) struct World {
    pub(super) now_us: u64,
    pub(super) hosts: Vec<Host>,
    pub(super) rng: Rng,
    /// Directions that carry nothing.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// Who left the cluster. All learn of it from whoever is in reach of one that knows.
    pub(super) left: BTreeSet<NodeId>,
    /// Whether disks only go forward, so that the promises about votes hold.
    pub(super) disks_are_sane: bool,
    /// Who observes, as everybody knows.
    pub(super) observers: BTreeSet<NodeId>,
    /// Whose disk takes nothing.
    pub(super) full: BTreeSet<usize>,
    knobs: Knobs,
    events: BTreeMap<(u64, u64), Event>,
    count: u64,
    /// Each vote that was told to a peer.
    votes: BTreeMap<(usize, u64), NodeId>,
    quorate: BTreeMap<u64, NodeId>,
}

pub(super) fn id(host: usize) -> NodeId {
    let mut bytes = [0; 32];
    bytes[0] = u8::try_from(host + 1).unwrap_or(0);
    NodeId(bytes)
}

fn index(node: NodeId) -> usize {
    usize::from(node.0[0]) - 1
}

impl World {
    /// `n` members; the first has founded the cluster, and all know of each other.
    pub(super) fn new(seed: u64, n: usize, knobs: Knobs) -> Self {
        let members: BTreeSet<NodeId> = (0..n).map(id).collect();
        let mut world = World {
            now_us: 1_000_000,
            hosts: Vec::new(),
            rng: from_seed(seed),
            cut: BTreeSet::new(),
            left: BTreeSet::new(),
            disks_are_sane: true,
            observers: BTreeSet::new(),
            full: BTreeSet::new(),
            knobs,
            events: BTreeMap::new(),
            count: 0,
            votes: BTreeMap::new(),
            quorate: BTreeMap::new(),
        };
        for host in 0..n {
            let disk = if host == 0 { VoteRecord::founder(id(0)) } else { VoteRecord::newcomer() };
            world.add(disk, members.clone());
        }
        world.at(0, Event::Detect);
        world
    }

    pub(super) fn add(&mut self, disk: VoteRecord, members: BTreeSet<NodeId>) {
        let (seen, gone, wrong, waiting) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new(), Vec::new());
        self.hosts.push(Host { machine: None, disk, members, gone, boot: 0, on_disk: 0, waiting, seen, wrong });
        self.start(self.hosts.len() - 1);
    }

    pub(super) fn start(&mut self, host: usize) {
        let rng = from_seed(self.rng.random());
        let h = &mut self.hosts[host];
        h.boot += 1;
        h.on_disk = 0;
        h.waiting.clear();
        h.wrong.clear();
        h.seen = [id(host)].into();
        h.machine = Some(Election::new(self.knobs.config.clone(), id(host), h.disk.clone(), rng));
        let members = h.members.clone();
        self.give(host, Input::Observers(self.observers.clone()));
        self.give(host, Input::Members(members));
    }

    pub(super) fn crash(&mut self, host: usize) {
        self.hosts[host].machine = None;
    }

    pub(super) fn is_up(&self, host: usize) -> bool {
        self.hosts[host].machine.is_some()
    }

    /// Cuts all links between the groups; a host in no group is alone.
    pub(super) fn partition(&mut self, groups: &[Vec<usize>]) {
        let group = |host| groups.iter().position(|g| g.contains(&host)).unwrap_or(100 + host);
        let n = self.hosts.len();
        self.cut = (0..n).flat_map(|a| (0..n).map(move |b| (a, b))).filter(|(a, b)| group(*a) != group(*b)).collect();
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        let until = self.now_us + ms * 1000;
        while self.step(until) {}
    }

    /// Runs until `done`, at most so long; how long it took in milliseconds.
    pub(super) fn until(&mut self, at_most_ms: u64, done: impl Fn(&World) -> bool) -> Option<u64> {
        let start = self.now_us;
        while !done(self) {
            if !self.step(start + at_most_ms * 1000) {
                return None;
            }
        }
        Some((self.now_us - start) / 1000)
    }

    pub(super) fn leaders(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|h| self.leads(*h)).collect()
    }

    fn leads(&self, host: usize) -> bool {
        self.hosts[host].machine.as_ref().is_some_and(|m| m.leadership().mine)
    }

    /// Whether all of `group` that run agree on one leader, one of them.
    pub(super) fn agree(&self, group: &[usize]) -> bool {
        let running: Vec<&Election> = group.iter().filter_map(|h| self.hosts[*h].machine.as_ref()).collect();
        let leaders: BTreeSet<Option<NodeId>> = running.iter().map(|m| m.leadership().leader).collect();
        let mine = running.iter().filter(|m| m.leadership().mine).count();
        running.is_empty() || (leaders.len() == 1 && mine == 1)
    }

    pub(super) fn quorate_leader(&self) -> Option<usize> {
        self.leaders().into_iter().find(|h| self.hosts[*h].machine.as_ref().is_some_and(|m| m.leadership().quorate))
    }

    pub(super) fn admit(&mut self, by: usize) {
        let new = self.hosts.len();
        self.hosts[by].members.insert(id(new));
        let members = self.hosts[by].members.clone();
        self.give(by, Input::Members(members.clone()));
        self.add(VoteRecord::newcomer(), members);
        let blocked: Vec<(usize, usize)> = self.cut.iter().copied().filter(|(a, b)| *a == by || *b == by).collect();
        for (a, b) in blocked {
            self.cut.insert(if a == by { (new, b) } else { (a, new) });
        }
    }

    /// One node leaves for good. That it left is known at once to those in its reach, to the others when they meet.
    pub(super) fn leave_cluster(&mut self, host: usize) {
        self.left.insert(id(host));
        self.hosts[host].gone.insert(id(host));
        for near in self.in_reach(host) {
            self.hosts[near].gone.insert(id(host));
        }
        self.crash(host);
    }

    pub(super) fn give(&mut self, host: usize, input: Input) {
        let now = Now { mono: Instant(self.now_us), wall_ms: self.now_us / 1000 };
        let Some(machine) = &mut self.hosts[host].machine else { return };
        machine.handle(now, input);
        self.drain(host);
    }

    fn drain(&mut self, host: usize) {
        while let Some(output) = self.hosts[host].machine.as_mut().and_then(Election::poll_output) {
            match output {
                Output::Send { to, bytes, after } => {
                    assert!(bytes.len() <= super::MAX_FRAME_BYTES);
                    match after.filter(|seq| *seq > self.hosts[host].on_disk) {
                        Some(seq) => self.hosts[host].waiting.push((seq, to, bytes)),
                        None => self.leave(host, index(to), bytes),
                    }
                }
                Output::Persist { .. } if self.full.contains(&host) => self.give(host, Input::DiskRefuses(true)),
                Output::Persist { seq, record } => {
                    let delay = self.rng.random_range(self.knobs.disk_us.clone());
                    let boot = self.hosts[host].boot;
                    self.at(delay, Event::Disk { host, boot, seq, record });
                }
                Output::Compare { peer, at } => self.give(host, Input::Alike { peer, at, whole: true }),
                Output::Changed(leadership) => {
                    if leadership.mine && leadership.quorate {
                        let first = *self.quorate.entry(leadership.term).or_insert(id(host));
                        assert_eq!(first, id(host), "two quorate leaders in term {}", leadership.term);
                    }
                }
            }
        }
    }

    fn leave(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        self.check_vote(from, to, &bytes);
        if to >= self.hosts.len() || self.cut.contains(&(from, to)) || self.rng.random_bool(self.knobs.loss) {
            return;
        }
        let delay = self.rng.random_range(self.knobs.latency_us.clone());
        self.at(delay, Event::Frame { from, to, bytes });
    }

    fn check_vote(&mut self, from: usize, to: usize, bytes: &[u8]) {
        let vote = match Frame::decode(bytes) {
            Some(Frame::VoteReply { term, granted: true, state, .. }) if state.seated => Some((term, id(to))),
            Some(Frame::Ack { term, stand: Stand::Backs, state, .. }) if state.seated => Some((term, id(to))),
            Some(Frame::Vote { term, .. }) => Some((term, id(from))),
            _ => None,
        };
        if let Some((term, vote)) = vote.filter(|_| self.disks_are_sane) {
            let disk = &self.hosts[from].disk;
            assert!(disk.term >= term, "host {from} told of a vote in term {term}, its disk holds {}", disk.term);
            let first = *self.votes.entry((from, term)).or_insert(vote);
            assert_eq!(first, vote, "host {from} voted twice in term {term}");
        }
    }

    fn at(&mut self, delay_us: u64, event: Event) {
        self.count += 1;
        self.events.insert((self.now_us + delay_us, self.count), event);
    }

    fn step(&mut self, until: u64) -> bool {
        let timeouts =
            self.hosts.iter().enumerate().filter_map(|(i, h)| Some((h.machine.as_ref()?.poll_timeout()?.0, i)));
        let timeout = timeouts.min();
        let event = self.events.first_key_value().map(|(at, _)| at.0);
        let next = timeout.map(|t| t.0).into_iter().chain(event).min();
        match next.filter(|at| *at <= until) {
            None => {
                self.now_us = until;
                return false;
            }
            Some(at) => self.now_us = self.now_us.max(at),
        }
        match timeout.filter(|t| event.is_none_or(|event| t.0 <= event)) {
            Some((_, host)) => self.give(host, Input::Timeout),
            None => {
                if let Some((_, event)) = self.events.pop_first() {
                    self.happen(event);
                }
            }
        }
        self.check_one_can_confirm();
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Frame { from, to, bytes } => self.give(to, Input::Frame { from: id(from), bytes }),
            Event::Disk { host, boot, seq, record } => {
                let h = &mut self.hosts[host];
                if h.boot != boot || h.machine.is_none() || seq <= h.on_disk {
                    return;
                }
                (h.disk, h.on_disk) = (record, seq);
                let (go, stay) = std::mem::take(&mut h.waiting).into_iter().partition(|(after, ..)| *after <= seq);
                h.waiting = stay;
                let go: Vec<(u64, NodeId, Vec<u8>)> = go;
                go.into_iter().for_each(|(_, to, bytes)| self.leave(host, index(to), bytes));
                self.give(host, Input::Persisted(seq));
            }
            Event::Detect => {
                (0..self.hosts.len()).for_each(|host| self.detect(host));
                self.at(20_000, Event::Detect);
            }
        }
    }

    /// The failure detector: right after a while; members are learned from whoever is in reach.
    fn detect(&mut self, host: usize) {
        if !self.is_up(host) {
            return;
        }
        let in_reach: BTreeSet<usize> = self.in_reach(host);
        let gone: BTreeSet<NodeId> = in_reach.iter().flat_map(|h| self.hosts[*h].gone.clone()).collect();
        let members =
            in_reach.iter().flat_map(|h| self.hosts[*h].members.clone()).filter(|m| !gone.contains(m)).collect();
        self.hosts[host].gone = gone;
        if members != self.hosts[host].members {
            self.hosts[host].members = members;
            let members = self.hosts[host].members.clone();
            self.give(host, Input::Members(members));
        }
        let mut changed = false;
        for peer in (0..self.hosts.len()).filter(|p| *p != host) {
            let (node, truth) = (id(peer), in_reach.contains(&peer));
            let h = &mut self.hosts[host];
            if h.seen.contains(&node) == truth {
                h.wrong.remove(&node);
                continue;
            }
            let range = if truth { self.knobs.return_ms.clone() } else { self.knobs.death_ms.clone() };
            let due = *h.wrong.entry(node).or_insert(self.now_us + self.rng.random_range(range) * 1000);
            if due <= self.now_us {
                h.wrong.remove(&node);
                changed |= if truth { h.seen.insert(node) } else { h.seen.remove(&node) };
            }
        }
        if changed {
            let seen = self.hosts[host].seen.clone();
            self.give(host, Input::Alive(seen));
        }
    }

    /// Who can be reached both ways, through others if need be: what indirect probes find out.
    fn in_reach(&self, host: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::from([host]);
        let mut todo = vec![host];
        while let Some(a) = todo.pop() {
            for b in 0..self.hosts.len() {
                let open = self.is_up(b) && !self.cut.contains(&(a, b)) && !self.cut.contains(&(b, a));
                if open && found.insert(b) {
                    todo.push(b);
                }
            }
        }
        found
    }

    /// I7: at most one leader is able to confirm a majority of its own voters. A disk holds one vote, so this looks at
    /// the disks.
    fn check_one_can_confirm(&self) {
        if !self.disks_are_sane {
            return;
        }
        let able = |host: &usize| {
            let Some(machine) = &self.hosts[*host].machine else { return false };
            let Role::Leader(reign) = &machine.role else { return false };
            let voters = &machine.record.voters;
            let backs = |node: &&NodeId| {
                let disk = &self.hosts[index(**node)].disk;
                !disk.unseated && (disk.term, disk.voted_for) == (reign.term, Some(id(*host)))
            };
            voters.is_majority(voters.weight_of(voters.weights.keys().filter(backs)))
        };
        let able: Vec<usize> = (0..self.hosts.len()).filter(able).collect();
        assert!(able.len() <= 1, "hosts {able:?} can all confirm a majority of their voters");
    }
}
