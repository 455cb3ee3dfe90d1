//! The world: hosts, links and a queue of what happens next, by (time, order of arrival). What a daemon asks for is
//! carried out in `daemon`, frames travel in `network`, hosts come and go in `standing`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngExt;
use skein_core::node::{Input, Lane};
use skein_core::request::RequestId;
use skein_core::runtime::{RuntimeAction, RuntimeEvent};
use skein_crdt_state::memo::MemoLimits;
use skein_crdt_state::{ClusterId, Envelope, Kind, Layout, Memo, Sequence, members};
use skein_gossip::{NodeId, Rng, random};

use crate::checks::{self, Watch};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::faults::Fault;
use crate::host::{Host, Standing};
use crate::knobs::Knobs;
use crate::link::Links;
use crate::oracle::Oracle;
use crate::removals::Act;
use crate::run::Violation;
use crate::scale::Spread;
use crate::trace::Trace;
use crate::workload::{self, Workload};

mod daemon;
mod introductions;
mod keys;
mod network;
mod standing;

/// How often it is looked whether all that must hold does, in microseconds.
const LOOK_US: u64 = 250_000;

/// Something that happens. Hosts go by their numbers; a `start` or a `life` that is over by then means that it does not.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are the hosts, starts and lives that the variants speak of")]
pub enum Event {
    /// A frame arrives, if its connection still stands.
    Deliver { to: usize, from: usize, life: u64, lane: Lane, bytes: Arc<[u8]> },
    /// A dial succeeds, if it can.
    Connect { from: usize, to: usize },
    /// What was stalled in a direction is sent again.
    Resend { from: usize, to: usize, life: u64 },
    /// A connection that nothing seems to pass on is looked at.
    Doubt { a: usize, b: usize, life: u64 },
    /// A connection ends for no reason.
    Reset { a: usize, b: usize, life: u64 },
    /// A daemon hears something.
    Hear { host: usize, start: u64, input: Box<Input> },
    /// A daemon's deadline.
    Timeout { host: usize, start: u64 },
    /// A batch is on the disk.
    Synced { host: usize, start: u64, batch: u64 },
    /// The engine has carried something out.
    Performed { host: usize, start: u64, power: u64, action: Box<RuntimeAction> },
    /// A paused machine goes on.
    Resume { host: usize },
    /// A host asks to be let in, once more if nobody answered.
    Join { host: usize },
    /// A host was let in.
    Admitted { host: usize, statements: Vec<Arc<Envelope>> },
    /// A host is asked to leave.
    Leave { host: usize },
    /// A host that has left is switched off.
    Gone { host: usize, start: u64 },
    /// Something breaks or is mended.
    Fault(Fault),
    /// Something happens in a story of removals.
    Removal(Act),
    /// A user does something.
    User,
    /// Somebody wants a lock.
    Candidate,
    /// Somebody has the cluster's secrets rotated.
    Rotate,
    /// Members take the keys that they lack from those to whom they have a link.
    TakeKeys,
    /// It is looked whether all that must hold does.
    Look,
}

/// All chance, a stream for each of those who draw, so that one drawing more does not shift the others.
#[derive(Debug)]
pub struct Chance {
    /// Latencies and losses.
    pub network: Rng,
    /// What breaks.
    pub faults: Rng,
    /// What users do.
    pub users: Rng,
    /// What those do who want a lock.
    pub candidates: Rng,
    /// Where secrets are rotated, and when.
    pub rotations: Rng,
    /// What is told of removals.
    pub removals: Rng,
    /// How long engines take.
    pub engines: Rng,
    /// How long disks take.
    pub disks: Rng,
    /// What the nodes draw themselves.
    pub nodes: Rng,
}

impl Chance {
    fn new(seed: u64) -> Self {
        let stream = |part: u64| random::from_seed(seed ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Chance {
            network: stream(11),
            faults: stream(12),
            users: stream(13),
            candidates: stream(17),
            rotations: stream(18),
            removals: stream(19),
            engines: stream(14),
            disks: stream(15),
            nodes: stream(16),
        }
    }
}

/// Everything.
pub struct World {
    /// What the run is like.
    pub knobs: Knobs,
    /// True time, in microseconds.
    pub now_us: u64,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// The network.
    pub links: Links,
    /// What happened.
    pub trace: Trace,
    /// What users did.
    pub workload: Workload,
    /// What users were told.
    pub oracle: Oracle,
    /// What is checked while it runs.
    pub watch: Watch,
    /// All chance.
    pub chance: Chance,
    /// What is broken already.
    pub violation: Option<Violation>,
    /// The next frames with news that a host sends to another and that are lost, by (from, to).
    pub lose_news: BTreeMap<(usize, usize), usize>,
    /// Whether faults and users are at work.
    pub busy: bool,
    /// Whether what nodes say is watched. It need not be where nothing breaks and only the cost is asked for.
    pub is_watched: bool,
    /// Whether all is mended and those that were removed knock.
    pub knocking: bool,
    /// A change whose way is followed.
    pub spread: Option<Spread>,
    cluster: ClusterId,
    nonce: [u8; 32],
    memo: Memo,
    numbers: BTreeMap<NodeId, usize>,
    /// Who asked to be let in under which request, and where.
    asked: BTreeMap<RequestId, (usize, usize)>,
    /// How many tokens hosts made once the founder's counted no more.
    tokens_made: u64,
    introductions: Vec<introductions::Introduction>,
    /// When each host (the first) was let in by which other, and under which number of that one's words.
    pub admissions: BTreeMap<(usize, usize), (Sequence, u64)>,
    /// How many epochs of the cluster's secrets were made, besides the founding one.
    pub epochs: u8,
    /// What disks held before their hosts were removed.
    pub(crate) backups: BTreeMap<usize, Disk>,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
}

/// Which lists are keyed, as far as the simulator's manifests have any.
#[must_use]
pub fn layout() -> Layout {
    let lists = [("Deployment.apps", "spec.template.spec.containers"), ("Pod", "spec.containers")];
    Layout::new(1, lists.map(|(kind, path)| (Kind::new(kind), path, &["name"][..])))
}

impl World {
    /// A world in which the first host has founded a cluster and all others ask to be let in. Whoever follows its trace takes
    /// the lines out as they come, see [`Trace::take`].
    #[must_use]
    pub fn new(knobs: Knobs, followed: bool) -> Self {
        let mut chance = Chance::new(knobs.seed);
        let nonce = [7; 32];
        let hosts: Vec<Host> = (0..knobs.nodes).map(|number| host(number, &knobs, &mut chance)).collect();
        let cluster = members::cluster_id(&hosts[0].keys.node_id(), &nonce);
        let mut world = World {
            now_us: 0,
            numbers: hosts.iter().map(|host| (host.keys.node_id(), host.number)).collect(),
            hosts,
            links: Links::default(),
            trace: Trace::new(followed),
            workload: Workload::default(),
            oracle: Oracle::default(),
            watch: Watch::default(),
            chance,
            violation: None,
            lose_news: BTreeMap::new(),
            busy: true,
            is_watched: true,
            knocking: false,
            spread: None,
            cluster,
            nonce,
            memo: Memo::new(MemoLimits::SIMULATOR),
            asked: BTreeMap::new(),
            tokens_made: 0,
            introductions: Vec::new(),
            admissions: BTreeMap::new(),
            epochs: 0,
            backups: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            knobs,
        };
        world.trace.line(0, format_args!("{}", world.knobs));
        world.found();
        world
    }

    /// Puts something into the queue.
    pub fn at(&mut self, at_us: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((at_us.max(self.now_us), self.sequence), event);
        if self.queue.len() > self.knobs.queue_max {
            self.violate("bounds", format!("more than {} events wait", self.knobs.queue_max));
        }
    }

    /// Puts something into the queue for a while from now.
    pub fn after(&mut self, delay_us: u64, event: Event) {
        self.at(self.now_us + delay_us, event);
    }

    /// Lets the next thing happen, unless it is later than `until_us`; whether it did.
    pub fn step(&mut self, until_us: u64) -> bool {
        match self.queue.first_key_value() {
            Some(((at, _), _)) if *at <= until_us && self.violation.is_none() => {}
            _ => return false,
        }
        let Some(((at, _), event)) = self.queue.pop_first() else { return false };
        self.now_us = at;
        self.happen(event);
        true
    }

    /// Lets everything happen until a time, unless something is broken.
    pub fn run_to(&mut self, until_us: u64) {
        while self.step(until_us) {}
        if self.violation.is_none() {
            self.now_us = self.now_us.max(until_us);
        }
    }

    /// Notes the first thing that is broken.
    pub fn violate(&mut self, check: &'static str, what: String) {
        self.trace.line(self.now_us, format_args!("VIOLATION {check}: {what}"));
        if self.violation.is_none() {
            self.violation = Some(Violation { check, what, at_us: self.now_us });
        }
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The host of a node.
    #[must_use]
    pub fn host_of(&self, id: &NodeId) -> Option<usize> {
        self.numbers.get(id).copied()
    }

    /// The hosts whose daemons run and belong to the cluster, as their users see it.
    #[must_use]
    pub fn up(&self) -> BTreeSet<usize> {
        let up = self.hosts.iter().filter(|host| host.node.is_some() && host.standing == Standing::Member);
        up.map(|host| host.number).collect()
    }

    /// Whether a host was removed and knocks, perhaps with an old backup of its disk: what it says rests on nothing any more.
    #[must_use]
    pub fn is_knocking(&self, host: usize) -> bool {
        self.knocking && self.hosts[host].standing == Standing::Removed
    }

    /// How many events wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn happen(&mut self, event: Event) {
        if let Some(host) = event.concerns().filter(|host| self.hosts[*host].paused) {
            if let Event::Deliver { from, .. } = &event {
                self.doubt(*from, host);
            }
            return self.hosts[host].backlog.push_back(event);
        }
        match event {
            Event::Deliver { to, from, life, lane, bytes } => self.deliver(from, to, life, lane, bytes),
            Event::Connect { from, to } => self.connect(from, to),
            Event::Resend { from, to, life } => self.resend(from, to, life),
            Event::Doubt { a, b, life } => self.look_at(a, b, life),
            Event::Reset { a, b, life } => {
                if self.links.connection(a, b) == Some(life) {
                    self.trace.line(self.now_us, format_args!("the connection of h{a} and h{b} is reset"));
                    self.end_connection(a, b);
                }
            }
            Event::Timeout { host, start } if self.hosts[host].start == start => {
                self.hosts[host].timeout_at = None;
                self.input(host, Input::Timeout);
            }
            Event::Synced { host, start, batch } if self.hosts[host].start == start => self.synced(host, batch),
            // What the engine was at when the power went is not done any more.
            Event::Performed { host, start, power, action } if self.hosts[host].power == power => {
                self.performed(host, start, *action);
            }
            Event::Hear { host, start, input } if self.hosts[host].start == start => self.hear(host, *input),
            Event::Resume { host } => self.resume(host),
            Event::Join { host } => self.join(host),
            Event::Admitted { host, statements } => self.let_in(host, &statements),
            Event::Leave { host } => self.leave(host),
            Event::Gone { host, start } if self.hosts[host].start == start => self.gone(host),
            Event::Timeout { .. }
            | Event::Synced { .. }
            | Event::Hear { .. }
            | Event::Performed { .. }
            | Event::Gone { .. } => {}
            Event::Fault(fault) => fault.strike(self),
            Event::Removal(act) => act.happen(self),
            Event::User => Workload::act(self),
            Event::Candidate => workload::compete(self),
            Event::Rotate => self.rotate_somewhere(),
            Event::TakeKeys => self.take_keys(),
            Event::Look => self.look(),
        }
    }

    fn look(&mut self) {
        self.after(LOOK_US, Event::Look);
        self.note_removals();
        let found = checks::look(self);
        self.note(found);
    }

    /// Notes what a check has found, if anything.
    pub fn note(&mut self, found: Option<Violation>) {
        if let Some(Violation { check, what, .. }) = found {
            self.violate(check, what);
        }
    }

    /// Stops a machine as it stands.
    pub fn pause(&mut self, number: usize) {
        self.hosts[number].paused = true;
    }

    /// Lets a paused machine go on, with all that happened meanwhile.
    pub fn resume(&mut self, number: usize) {
        self.hosts[number].paused = false;
        for event in std::mem::take(&mut self.hosts[number].backlog) {
            self.happen(event);
        }
    }
}

impl Event {
    /// The host that must not stand still for it.
    fn concerns(&self) -> Option<usize> {
        match self {
            Event::Deliver { to: host, .. }
            | Event::Timeout { host, .. }
            | Event::Synced { host, .. }
            | Event::Performed { host, .. }
            | Event::Hear { host, .. }
            | Event::Admitted { host, .. }
            | Event::Leave { host }
            | Event::Gone { host, .. } => Some(*host),
            _ => None,
        }
    }
}

fn host(number: usize, knobs: &Knobs, chance: &mut Chance) -> Host {
    let (spread, drift) = (knobs.faults.clock_spread_ms, knobs.faults.drift_ppm.cast_signed());
    let clock = Clock {
        wall_offset_ms: chance.nodes.random_range(0..=spread).cast_signed(),
        drift_ppm: chance.nodes.random_range(-drift..=drift),
        origin_us: 0,
    };
    let distance = knobs.network.access(&mut chance.nodes);
    Host::new(number, knobs.seed, clock, distance)
}

/// Something that a daemon of a start hears.
#[must_use]
pub fn hears(host: usize, start: u64, event: RuntimeEvent) -> Event {
    Event::Hear { host, start, input: Box::new(Input::Runtime(event)) }
}
