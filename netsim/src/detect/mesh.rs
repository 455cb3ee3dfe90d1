//! Membership machines alone, every one linked to every other: their clock, the frames on their way, and machines that get
//! no processor. What they say of each other is kept for whoever measures; nothing is judged here.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

use rand::{Rng as _, RngExt, SeedableRng};
use skein_gossip::membership::{Input, Membership, MembershipConfig, Output};
use skein_gossip::{Instant, NodeId, Now, Rng};

use crate::link::profile::{Distance, Network};

/// How long a slow node gets no processor, in microseconds.
pub const STALL_US: std::ops::Range<u64> = 300_000..2_000_000;
/// How long a slow node runs between two such stretches, in microseconds.
pub const RUNS_US: std::ops::Range<u64> = 1_000_000..5_000_000;
/// How long after its overdue timers a node that gets the processor again reads what has piled up, in microseconds: the
/// timers are at hand, the frames still lie in its sockets. The other order would be kinder to it.
const READS_AFTER_US: u64 = 1_000;
/// By how much a bump grows from one life of a node to the next.
const BUMP_OF_A_LIFE: u64 = 1 << 20;

/// A word of one node about another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// When it was said, in microseconds.
    pub at_us: u64,
    /// Who said it.
    pub by: usize,
    /// About whom.
    pub of: usize,
    /// What.
    pub verdict: Verdict,
}

/// What is said of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is here.
    Alive,
    /// It did not answer.
    Suspect,
    /// It is gone.
    Down,
}

/// All nodes, and what is on its way between them.
pub struct Mesh {
    /// The time, in microseconds.
    pub now_us: u64,
    /// What nodes said of others since somebody took it away.
    pub words: Vec<Word>,
    /// How many frames were sent so far, lost ones included.
    pub frames: u64,
    /// How many bytes they had, without what the transport adds.
    pub bytes: u64,
    /// How many of a thousand frames are lost.
    pub loss_permille: u64,
    config: MembershipConfig,
    seats: Vec<Seat>,
    members: BTreeSet<NodeId>,
    rng: Rng,
    queue: BinaryHeap<Reverse<Due>>,
    sequence: u64,
    /// When the last frame of each direction arrives: later ones come after it.
    last_us: Vec<u64>,
}

/// A node's place in the network, which stays when the node does not.
struct Seat {
    machine: Membership,
    distance: Distance,
    runs: bool,
    lives: u64,
    is_slow: bool,
    /// It gets no processor before this.
    stalls_until_us: u64,
    /// What came meanwhile.
    piled: VecDeque<(usize, Vec<u8>)>,
    /// For when the next look at its timers is queued.
    look_us: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Frame { from: usize, to: usize, bytes: Vec<u8> },
    Look(usize),
    Stall(usize),
    Read(usize),
}

/// An event at its time; of those at the same time the one that was queued first comes first.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    at_us: u64,
    sequence: u64,
    event: Event,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_us, self.sequence).cmp(&(other.at_us, other.sequence))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The name of a node: its number at the end, and something like a key before it, so that the order of the names is not
/// that of the numbers.
fn id(number: usize) -> NodeId {
    let mut key = [0; 32];
    skein_gossip::random::from_seed(number as u64).fill_bytes(&mut key[..24]);
    key[24..].copy_from_slice(&(number as u64).to_be_bytes());
    NodeId(key)
}

fn number(id: &NodeId) -> usize {
    id.0[24..].iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

impl Mesh {
    /// Nodes that know who the members are, and have no links yet.
    #[must_use]
    pub fn new(config: MembershipConfig, count: usize, seed: u64) -> Self {
        let mut rng = skein_gossip::random::from_seed(seed);
        let members: BTreeSet<NodeId> = (0..count).map(id).collect();
        let seat = |number| Seat {
            machine: Membership::new(config, id(number), BUMP_OF_A_LIFE, Rng::from_rng(&mut rng)),
            distance: Network::Lan.access(&mut rng),
            runs: false,
            lives: 1,
            is_slow: false,
            stalls_until_us: 0,
            piled: VecDeque::new(),
            look_us: None,
        };
        Mesh {
            now_us: 0,
            words: Vec::new(),
            frames: 0,
            bytes: 0,
            loss_permille: 0,
            config,
            seats: (0..count).map(seat).collect(),
            members,
            rng,
            queue: BinaryHeap::new(),
            sequence: 0,
            last_us: vec![0; count * count],
        }
    }

    /// How many nodes there are, running or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seats.len()
    }

    /// Whether a node runs.
    #[must_use]
    pub fn runs(&self, number: usize) -> bool {
        self.seats[number].runs
    }

    /// Whether a node is slow.
    #[must_use]
    pub fn is_slow(&self, number: usize) -> bool {
        self.seats[number].is_slow
    }

    /// Whether one node takes another for alive, or only suspects it.
    #[must_use]
    pub fn sees(&self, by: usize, of: usize) -> bool {
        self.seats[by].machine.alive().contains(&id(of))
    }

    /// How many others a node takes for alive.
    #[must_use]
    pub fn seen_by(&self, by: usize) -> usize {
        self.seats[by].machine.alive().len()
    }

    /// Starts a node, with links to all that run.
    pub fn start(&mut self, number: usize) {
        self.seats[number].runs = true;
        self.input(number, Input::Members(self.members.clone()));
        for other in (0..self.count()).filter(|other| *other != number) {
            if self.seats[other].runs {
                self.input(other, Input::LinkUp(id(number)));
                self.input(number, Input::LinkUp(id(other)));
            }
        }
    }

    /// A node is gone without a word; its links stay up, and nothing comes over them.
    pub fn die(&mut self, number: usize) {
        self.seats[number].runs = false;
        self.seats[number].piled.clear();
    }

    /// A node that died starts as a new process; the old links end only now.
    pub fn revive(&mut self, number: usize) {
        self.seats[number].lives += 1;
        let bump = BUMP_OF_A_LIFE * self.seats[number].lives;
        self.seats[number].machine = Membership::new(self.config, id(number), bump, Rng::from_rng(&mut self.rng));
        for other in (0..self.count()).filter(|other| *other != number) {
            if self.seats[other].runs {
                self.input(other, Input::LinkDown(id(number)));
            }
        }
        self.start(number);
    }

    /// From now on a node gets no processor now and then.
    pub fn slow_down(&mut self, number: usize) {
        self.seats[number].is_slow = true;
        let wait_us = self.rng.random_range(0..RUNS_US.end);
        self.push(self.now_us + wait_us, Event::Stall(number));
    }

    /// Lets time pass.
    pub fn run_for(&mut self, us: u64) {
        let until_us = self.now_us + us;
        while self.queue.peek().is_some_and(|Reverse(due)| due.at_us <= until_us) {
            let Some(Reverse(due)) = self.queue.pop() else { break };
            self.now_us = due.at_us;
            match due.event {
                Event::Frame { from, to, bytes } => self.arrive(from, to, bytes),
                Event::Look(number) => self.look(number),
                Event::Stall(number) => self.stall(number),
                Event::Read(number) => self.read(number),
            }
        }
        self.now_us = until_us;
    }

    /// A number below `end`, from the run's chance.
    pub fn draw(&mut self, end: u64) -> u64 {
        self.rng.random_range(0..end)
    }

    fn arrive(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        let seat = &mut self.seats[to];
        if !seat.runs {
            return;
        }
        if seat.stalls_until_us > self.now_us || !seat.piled.is_empty() {
            seat.piled.push_back((from, bytes));
            return;
        }
        self.input(to, Input::Frame { from: id(from), bytes });
    }

    fn look(&mut self, number: usize) {
        let seat = &mut self.seats[number];
        if seat.look_us != Some(self.now_us) {
            return;
        }
        seat.look_us = None;
        let is_due = seat.machine.poll_timeout().is_some_and(|at| at.0 <= self.now_us);
        if seat.runs && is_due && seat.stalls_until_us <= self.now_us {
            self.input(number, Input::Timeout);
        } else {
            self.plan_look(number);
        }
    }

    fn stall(&mut self, number: usize) {
        let stall_us = self.rng.random_range(STALL_US);
        let runs_us = self.rng.random_range(RUNS_US);
        let until_us = self.now_us + stall_us;
        self.seats[number].stalls_until_us = until_us;
        self.push(until_us + READS_AFTER_US, Event::Read(number));
        self.push(until_us + runs_us, Event::Stall(number));
    }

    fn read(&mut self, number: usize) {
        for (from, bytes) in std::mem::take(&mut self.seats[number].piled) {
            self.input(number, Input::Frame { from: id(from), bytes });
        }
    }

    fn input(&mut self, number: usize, input: Input) {
        let now = Now { mono: Instant(self.now_us), wall_ms: 0 };
        self.seats[number].machine.handle(now, input);
        while let Some(output) = self.seats[number].machine.poll_output() {
            match output {
                Output::Send { to, bytes } => self.send(number, self::number(&to), bytes),
                Output::Alive(of) => self.note(number, &of, Verdict::Alive),
                Output::Suspect(of) => self.note(number, &of, Verdict::Suspect),
                Output::Down(of) => self.note(number, &of, Verdict::Down),
                // Links are made and ended by whoever measures.
                Output::Dial(_) => {}
            }
        }
        self.plan_look(number);
    }

    fn note(&mut self, by: usize, of: &NodeId, verdict: Verdict) {
        self.words.push(Word { at_us: self.now_us, by, of: number(of), verdict });
    }

    fn send(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        self.frames += 1;
        self.bytes += bytes.len() as u64;
        if self.loss_permille > 0 && self.rng.random_range(0..1000) < self.loss_permille {
            return;
        }
        let way_us = self.seats[from].distance.draw_us(&mut self.rng) + self.seats[to].distance.draw_us(&mut self.rng);
        let last_us = &mut self.last_us[from * self.seats.len() + to];
        *last_us = (*last_us + 1).max(self.now_us + way_us);
        let at_us = *last_us;
        self.push(at_us, Event::Frame { from, to, bytes });
    }

    /// Queues the next look at a node's timers, if none comes early enough.
    fn plan_look(&mut self, number: usize) {
        let seat = &mut self.seats[number];
        let Some(due) = seat.machine.poll_timeout().filter(|_| seat.runs) else { return };
        let at_us = due.0.max(seat.stalls_until_us).max(self.now_us);
        if seat.look_us.is_none_or(|planned| at_us < planned) {
            seat.look_us = Some(at_us);
            self.push(at_us, Event::Look(number));
        }
    }

    fn push(&mut self, at_us: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Due { at_us, sequence: self.sequence, event }));
    }
}
