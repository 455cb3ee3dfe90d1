//! The world: hosts, links and a queue of what happens next, by (time, order of arrival).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngExt;
use skein_core::node::{Effect, Input, Lane, Node, NodeConfig, TOKEN_KIND};
use skein_core::request::{AdmissionRequest, Durability, RequestId, WriteError, WriteOp, WriteReply, WriteRequest};
use skein_core::runtime::{RuntimeAction, RuntimeEvent};
use skein_crdt_state::memo::MemoLimits;
use skein_crdt_state::store::tables;
use skein_crdt_state::{ClusterId, Edit, Envelope, Kind, Layout, Memo, NameKey, Record, Scalar, members};
use skein_gossip::{NodeId, Rng, random};

use crate::checks::Watch;
use crate::faults::Fault;
use crate::host::{HeldFrame, Host};
use crate::knobs::Knobs;
use crate::link::Links;
use crate::oracle::Oracle;
use crate::run::Violation;
use crate::trace::Trace;
use crate::workload::Workload;

/// How long a connection takes to notice that nothing passes, in microseconds.
const IDLE_US: std::ops::Range<u64> = 3_000_000..10_000_000;

/// Something that happens. Hosts go by their numbers; a `start` or a `life` that is over by then means that it does not.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are the hosts, starts and lives that the variants speak of")]
pub enum Event {
    /// A frame arrives, if its connection still stands.
    Deliver { to: usize, from: usize, life: u64, bytes: Arc<[u8]> },
    /// A dial succeeds, if it can.
    Connect { from: usize, to: usize },
    /// A connection that nothing passes on ends.
    Idle { a: usize, b: usize, life: u64 },
    /// A daemon's deadline.
    Timeout { host: usize, start: u64 },
    /// A batch is on the disk.
    Synced { host: usize, start: u64, batch: u64 },
    /// The engine has carried something out.
    Performed { host: usize, start: u64, action: Box<RuntimeAction> },
    /// The engine says something by itself.
    Runtime { host: usize, start: u64, event: Box<RuntimeEvent> },
    /// Something breaks or is mended.
    Fault(Fault),
    /// A user does something.
    User,
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
    pub rng: Rng,
    /// What is broken already.
    pub violation: Option<Violation>,
    /// Whether faults and users are at work.
    pub busy: bool,
    cluster: ClusterId,
    nonce: [u8; 32],
    memo: Memo,
    statements: Vec<Arc<Envelope>>,
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
    /// A world in which the first host has founded a cluster and all others have been admitted. Whoever follows its trace
    /// takes the lines out as they come, see [`Trace::take`].
    #[must_use]
    pub fn new(knobs: Knobs, followed: bool) -> Self {
        let mut rng = random::from_seed(knobs.seed);
        let nonce = [7; 32];
        let spread = knobs.clock_spread_ms;
        let hosts: Vec<Host> =
            (0..knobs.nodes).map(|n| Host::new(n, knobs.seed, rng.random_range(0..=spread))).collect();
        let cluster = members::cluster_id(&hosts[0].keys.node_id(), &nonce);
        let mut world = World {
            now_us: 0,
            hosts,
            links: Links::default(),
            trace: Trace::new(followed),
            workload: Workload::default(),
            oracle: Oracle::default(),
            watch: Watch::default(),
            rng,
            violation: None,
            busy: true,
            cluster,
            nonce,
            memo: Memo::new(MemoLimits::SIMULATOR),
            statements: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            knobs,
        };
        world.trace.line(0, format_args!("{}", world.knobs));
        world.hosts[0].admitted = true;
        world.boot(0);
        world.admit_all();
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
        self.hosts.iter().position(|host| host.keys.node_id() == *id)
    }

    /// Switches a daemon on, with what its disk holds.
    pub fn boot(&mut self, number: usize) {
        let (seed, now_us) = (self.rng.random(), self.now_us);
        let host = &mut self.hosts[number];
        if host.node.is_some() || !host.admitted {
            return;
        }
        host.start += 1;
        host.origin_us = now_us;
        host.timeout_at = None;
        host.on_disk = 0;
        host.held.clear();
        let config = NodeConfig {
            keys: host.keys.clone(),
            cluster: self.cluster,
            found: (number == 0).then_some(self.nonce),
            name: host.name.clone(),
            address: format!("10.0.0.{number}"),
            peer_addresses: vec![format!("10.0.0.{number}:7311")],
            api_address: format!("10.0.0.{number}:7443"),
            version: "netsim".into(),
            labels: BTreeMap::new(),
            seed,
            layout: layout(),
            memo: self.memo.clone(),
            serves_api: false,
            tenure: std::time::Duration::from_secs(20),
        };
        let now = host.now(now_us);
        match Node::start(config, now, host.disk.read()) {
            Ok((node, damaged)) => {
                self.trace.line(now_us, format_args!("h{number} boots, start {}", self.hosts[number].start));
                self.hosts[number].node = Some(node);
                if !damaged.is_empty() {
                    self.violate("disk", format!("h{number} found damage on a sound disk: {damaged:?}"));
                }
            }
            Err(error) => return self.violate("boot", format!("h{number} does not start: {error}")),
        }
        let (start, capacity) = (self.hosts[number].start, Box::new(self.hosts[number].engine.capacity()));
        self.after(1_000, Event::Runtime { host: number, start, event: Box::new(RuntimeEvent::Capacity(*capacity)) });
        self.drain(number);
    }

    /// Ends a daemon without a word. Its connections end, which peers see at once: the machine closes them.
    pub fn kill(&mut self, number: usize) {
        if self.hosts[number].node.take().is_none() {
            return;
        }
        self.hosts[number].disk.crash();
        for peer in self.links.of(number) {
            self.end_connection(number, peer);
        }
    }

    /// Gives a daemon an input.
    pub fn input(&mut self, number: usize, input: Input) {
        let now = self.hosts[number].now(self.now_us);
        if let Some(node) = self.hosts[number].node.as_mut() {
            node.handle(now, input);
            self.drain(number);
        }
    }

    /// Ends a connection for both.
    pub fn end_connection(&mut self, a: usize, b: usize) {
        if self.links.disconnect(a, b) {
            for (host, peer) in [(a, b), (b, a)] {
                let peer = self.hosts[peer].keys.node_id();
                self.input(host, Input::LinkDown(peer));
            }
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some(until) = self.paused(&event) {
            return self.at(until, event);
        }
        match event {
            Event::Deliver { to, from, life, bytes } => {
                if self.links.connection(from, to) == Some(life) && self.links.passes(from, to) {
                    let from = self.hosts[from].keys.node_id();
                    self.input(to, Input::Frame { from, bytes });
                }
            }
            Event::Connect { from, to } => self.connect(from, to),
            Event::Idle { a, b, life } => {
                let stands = self.links.connection(a, b) == Some(life);
                if stands && !(self.links.passes(a, b) && self.links.passes(b, a)) {
                    self.trace.line(self.now_us, format_args!("h{a} and h{b} lose their connection"));
                    self.end_connection(a, b);
                }
            }
            Event::Timeout { host, start } if self.hosts[host].start == start => {
                self.hosts[host].timeout_at = None;
                self.input(host, Input::Timeout);
            }
            Event::Synced { host, start, batch } if self.hosts[host].start == start => self.synced(host, batch),
            Event::Performed { host, start, action } => self.performed(host, start, *action),
            Event::Runtime { host, start, event } if self.hosts[host].start == start => {
                self.input(host, Input::Runtime(*event));
            }
            Event::Timeout { .. } | Event::Synced { .. } | Event::Runtime { .. } => {}
            Event::Fault(fault) => fault.strike(self),
            Event::User => Workload::act(self),
        }
    }

    /// Until when the host that an event happens at is paused, if it is.
    fn paused(&self, event: &Event) -> Option<u64> {
        let host = match event {
            Event::Deliver { to, .. } => *to,
            Event::Timeout { host, .. }
            | Event::Synced { host, .. }
            | Event::Performed { host, .. }
            | Event::Runtime { host, .. } => *host,
            _ => return None,
        };
        Some(self.hosts[host].paused_until).filter(|until| *until > self.now_us)
    }

    fn connect(&mut self, from: usize, to: usize) {
        let runs = |host: &Host| host.node.is_some() && host.paused_until <= self.now_us;
        if !runs(&self.hosts[from]) || !runs(&self.hosts[to]) {
            return;
        }
        if !self.links.passes(from, to) || !self.links.passes(to, from) {
            return;
        }
        let (a, b) = (self.hosts[from].keys.node_id(), self.hosts[to].keys.node_id());
        let knows =
            |host: &Host, peer: &NodeId| host.node.as_ref().is_some_and(|node| node.store().members().is_active(peer));
        // Whoever was not admitted, as far as the other knows, is not let in.
        if !knows(&self.hosts[from], &b) || !knows(&self.hosts[to], &a) || self.links.connect(from, to).is_none() {
            return;
        }
        self.input(from, Input::LinkUp(b));
        self.input(to, Input::LinkUp(a));
    }

    fn synced(&mut self, number: usize, batch: u64) {
        self.hosts[number].disk.sync(batch);
        self.hosts[number].on_disk = self.hosts[number].on_disk.max(batch);
        self.watch_votes(number);
        let later = self.hosts[number].held.split_off(&(batch + 1));
        let due = std::mem::replace(&mut self.hosts[number].held, later);
        for frame in due.into_values().flatten() {
            self.send(number, frame.to, frame.lane, frame.bytes);
        }
        self.input(number, Input::Persisted(batch));
    }

    fn performed(&mut self, number: usize, start: u64, action: RuntimeAction) {
        let wall_ms = self.hosts[number].wall_ms(self.now_us);
        let failures = if self.busy { self.knobs.start_failure_permille } else { 0 };
        let event = self.hosts[number].engine.perform(&mut self.rng, wall_ms, failures, action);
        // The engine does its work whether or not the daemon that asked is still there to hear of it.
        if self.hosts[number].start == start {
            self.input(number, Input::Runtime(event));
        }
    }

    /// Carries out what a daemon asks for.
    fn drain(&mut self, number: usize) {
        while let Some(effect) = self.hosts[number].node.as_mut().and_then(Node::poll_effect) {
            self.effect(number, effect);
        }
        let host = &mut self.hosts[number];
        let Some(at) = host.node.as_ref().and_then(Node::poll_timeout) else { return };
        let at = host.true_us(at).max(self.now_us);
        if host.timeout_at.is_none_or(|known| at < known) {
            host.timeout_at = Some(at);
            let start = host.start;
            self.at(at, Event::Timeout { host: number, start });
        }
    }

    fn effect(&mut self, number: usize, effect: Effect) {
        let start = self.hosts[number].start;
        match effect {
            Effect::Send { to, lane, bytes, after } => match after {
                Some(batch) if batch > self.hosts[number].on_disk => {
                    self.hosts[number].held.entry(batch).or_default().push(HeldFrame { to, lane, bytes });
                }
                _ => self.send(number, to, lane, bytes),
            },
            Effect::Persist { batch, records } => {
                self.hosts[number].disk.begin(batch, records);
                let delay = self.rng.random_range(50..=self.knobs.disk_us.max(51));
                self.after(delay, Event::Synced { host: number, start, batch });
            }
            Effect::Act(action) => {
                let delay = crate::engine::Engine::duration_us(&mut self.rng, &action);
                self.after(delay, Event::Performed { host: number, start, action: Box::new(action) });
            }
            Effect::Written(id, result) => self.written(number, id, result),
            Effect::Admitted(_, Ok(statements)) => self.statements = statements,
            Effect::Admitted(_, Err(error)) => self.violate("admission", error.to_string()),
            Effect::Dial(peer) => {
                if let Some(to) = self.host_of(&peer).filter(|to| self.links.connection(number, *to).is_none()) {
                    let delay = 2 * self.latency();
                    self.after(delay, Event::Connect { from: number, to });
                }
            }
            Effect::Leadership(leadership) => {
                let (mine, term) = (leadership.mine, leadership.term);
                self.trace.line(
                    self.now_us,
                    format_args!(
                        "h{number} leader {:?} term {term} mine {mine} quorate {}",
                        leadership.leader, leadership.quorate
                    ),
                );
                if let Some(what) = self.watch.leadership(number, &leadership) {
                    self.violate("leader", what);
                }
            }
            // Nobody here is dishonest.
            Effect::Offence { peer, what } => self.violate("honest", format!("h{number} is told by {peer}: {what}")),
            Effect::Notice(text) => self.trace.line(self.now_us, format_args!("h{number} notes: {text}")),
            Effect::Members(_) | Effect::Changed(_) | Effect::Left(_) => {}
        }
    }

    fn written(&mut self, number: usize, id: RequestId, result: Result<WriteReply, WriteError>) {
        match &result {
            Ok(reply) => {
                let warned = !reply.warnings.is_empty();
                self.trace
                    .line(self.now_us, format_args!("h{number} request {id} done: {} warned {warned}", reply.key));
            }
            Err(error) => self.trace.line(self.now_us, format_args!("h{number} request {id} refused: {error}")),
        }
        self.oracle.answered(id, result);
    }

    fn send(&mut self, from: usize, to: NodeId, lane: Lane, bytes: Arc<[u8]>) {
        let Some(to) = self.host_of(&to) else { return };
        let Some(life) = self.links.connection(from, to) else { return };
        if !self.links.passes(from, to) {
            // A connection that nothing passes on ends after a while.
            let delay = self.rng.random_range(IDLE_US);
            return self.after(delay, Event::Idle { a: from, b: to, life });
        }
        if self.busy && self.rng.random_range(0..1000) < self.knobs.loss_permille {
            return;
        }
        let at = self.now_us + self.latency();
        let at = self.links.in_order(from, to, u8::from(lane == Lane::Bulk), at);
        self.at(at, Event::Deliver { to, from, life, bytes });
    }

    fn latency(&mut self) -> u64 {
        self.knobs.latency_us + self.rng.random_range(0..=self.knobs.jitter_us)
    }

    /// The founder admits everybody with a token, and each starts with that on its disk.
    fn admit_all(&mut self) {
        let token = [9; 32];
        let name = NameKey::root(&Kind::new(TOKEN_KIND), &"09".repeat(32));
        let edits = vec![Edit::set("spec.expiresMs", Scalar::Int(i64::MAX)), Edit::set("spec.uses", Scalar::Int(1000))];
        let request = WriteRequest {
            op: WriteOp::Create { name, edits },
            durability: Durability::Local,
            user: "founder".into(),
            manager: "netsim".into(),
            request_id: "token".into(),
        };
        self.input(0, Input::Write(0, Box::new(request)));
        let others: Vec<(NodeId, String)> =
            self.hosts.iter().skip(1).map(|host| (host.keys.node_id(), host.name.clone())).collect();
        for (node, name) in others {
            self.input(0, Input::Admit(0, AdmissionRequest { node, name, token }));
        }
        for number in 1..self.hosts.len() {
            let records = self.statements.iter().map(|said| Record {
                table: tables::MEMBERS,
                key: said.digest().to_vec(),
                value: Some(said.encode()),
            });
            let records = records.collect();
            self.hosts[number].disk.begin(0, records);
            self.hosts[number].disk.sync(0);
            self.hosts[number].admitted = true;
            self.boot(number);
        }
    }

    fn watch_votes(&mut self, number: usize) {
        let row = self.hosts[number].disk.row("meta", b"vote").cloned();
        if let Some(what) = row.and_then(|row| self.watch.vote(number, &row)) {
            self.violate("vote", what);
        }
    }

    /// The hosts whose daemons run.
    #[must_use]
    pub fn up(&self) -> BTreeSet<usize> {
        self.hosts.iter().filter(|host| host.node.is_some()).map(|host| host.number).collect()
    }
}
