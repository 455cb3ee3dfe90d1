//! For tests: short names for nodes, writes and slots, and a runtime that does what it is asked when the test says so.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use skein_crdt_state::{ClusterId, Hlc, Kind, ObjectKey, WriteId};
use skein_gossip::{Instant, NodeId, Now, random};

use super::images::Images;
use super::{Agent, AgentConfig, Context, Input, Output, SlotFacts};
use crate::model::pod::PodTemplateSpec;
use crate::model::source::Sources;
use crate::runtime::{
    Capacity, ContainerInfo, ContainerRef, ContainerSpec, ContainerState, Exit, RuntimeAction, RuntimeEvent, VolumeSpec,
};
use crate::slot::{Displaced, Placement, SLOT_KIND, Value};
use crate::status::{Claim, Event, PodStatus};

pub(super) const CLUSTER: ClusterId = ClusterId([9; 16]);

pub(super) fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

pub(super) fn write(n: u8) -> WriteId {
    WriteId([n; 32])
}

pub(super) fn slot(n: u32) -> ObjectKey {
    let set = ObjectKey::root(&Kind::new("Namespace"), "shop", 1).child(&Kind::new("ReplicaSet.apps"), "web", 1);
    set.child(&Kind::new(SLOT_KIND), &n.to_string(), 1)
}

pub(super) fn value(n: u8, on: Option<u8>, displaces: Option<(u8, u8)>) -> Value {
    let displaces = displaces.map(|(on, by)| Displaced { node: node(on), write: write(by) });
    Value {
        write: write(n),
        stamp: Hlc(n.into()),
        placement: Placement { node: on.map(node), displaces, again: false },
    }
}

pub(super) fn facts(n: u32, values: Vec<Value>) -> SlotFacts {
    facts_of(n, values, &json!([{"name": "web", "image": "web:1"}]))
}

pub(super) fn facts_of(n: u32, values: Vec<Value>, containers: &serde_json::Value) -> SlotFacts {
    let template = json!({"spec": {"containers": containers, "terminationGracePeriodSeconds": 3}});
    SlotFacts {
        slot: slot(n),
        live: true,
        values,
        claims: Vec::new(),
        ready: BTreeSet::new(),
        template: PodTemplateSpec::of(&template).map(Arc::new),
        sources: Sources::default(),
        added: Default::default(),
    }
}

pub(super) fn config() -> AgentConfig {
    AgentConfig { me: node(1), cluster: CLUSTER, node_name: "n1".into(), node_address: "10.0.0.1".into(), api: None }
}

pub(super) fn capacity() -> Capacity {
    Capacity { ready: true, cpu_millis: 4000, memory_bytes: 1 << 30, max_pods: 10, ..Capacity::default() }
}

/// Runs `f` with a context of its own and collects the actions.
pub(super) fn with_context(at_ms: u64, actions: &mut Vec<RuntimeAction>, f: impl FnOnce(&mut Context<'_>)) {
    let (config, capacity, mut rng, mut images) = (config(), capacity(), random::from_seed(1), Images::default());
    let (mut tokens, mut outputs) = (at_ms, VecDeque::new());
    let now = Now { mono: Instant::from_millis(at_ms), wall_ms: at_ms };
    f(&mut Context {
        now,
        config: &config,
        seq: 1,
        capacity: &capacity,
        caught_up: true,
        rng: &mut rng,
        images: &mut images,
        tokens: &mut tokens,
        signing_round: 0,
        outputs: &mut outputs,
        sources: Sources::default(),
        wake: None,
    });
    actions.extend(outputs.into_iter().filter_map(|output| match output {
        super::Output::Act(action) => Some(action),
        _ => None,
    }));
}

/// How long a start may take, by the word of the runtimes.
const START_LIMIT_MS: u64 = 60_000;

/// A runtime in memory. Asserts that no agent starts a second attempt of a container beside one that it could know of.
#[derive(Debug, Default)]
pub(super) struct FakeRuntime {
    /// What was asked and not done yet.
    pub(super) asked: VecDeque<RuntimeAction>,
    pub(super) containers: BTreeMap<ContainerRef, ContainerInfo>,
    /// The volumes of each pod.
    pub(super) volumes: BTreeMap<Arc<str>, Arc<[VolumeSpec]>>,
    /// The pods whose volumes were asked for in this life of the daemon.
    pub(super) touched: BTreeSet<Arc<str>>,
    /// Images that cannot be had.
    pub(super) missing: BTreeSet<String>,
    /// Whether probes succeed.
    pub(super) healthy: bool,
    /// Starts that an earlier life of the daemon asked for and that are under way still, with when they are given up.
    pub(super) late: VecDeque<(u64, Box<ContainerSpec>)>,
    /// Those of them that came true: the next list shows them.
    unseen: BTreeSet<ContainerRef>,
}

impl FakeRuntime {
    /// Does one of the things that were asked, or fails to. What is asked of one container is done in order, as a runtime
    /// has to.
    pub(super) fn carry_out(&mut self, n: usize, works: bool, wall_ms: u64) -> Option<RuntimeEvent> {
        let lane = container_of(self.asked.get(n)?);
        let first = self.asked.iter().position(|action| lane.is_some() && container_of(action) == lane);
        let action = self.asked.remove(first.unwrap_or(n))?;
        let message = || "the engine is out of order".to_owned();
        Some(match action {
            RuntimeAction::List if works => {
                let (containers, touched) = (&self.containers, &self.touched);
                self.volumes.retain(|uid, _| touched.contains(uid) || containers.keys().any(|id| id.uid == *uid));
                RuntimeEvent::Listed(self.containers.values().cloned().collect())
            }
            RuntimeAction::List => RuntimeEvent::ListFailed { message: message() },
            RuntimeAction::EnsureImage { image, .. } if works && !self.missing.contains(&image) => {
                RuntimeEvent::ImageReady { image }
            }
            RuntimeAction::EnsureImage { image, .. } => {
                RuntimeEvent::ImageFailed { image, message: message(), permanent: false }
            }
            RuntimeAction::WriteVolumes { uid, volumes } if works => {
                self.touched.insert(uid.clone());
                self.volumes.insert(uid.clone(), volumes);
                RuntimeEvent::VolumesWritten { uid }
            }
            RuntimeAction::WriteVolumes { uid, .. } => RuntimeEvent::VolumesFailed { uid, message: message() },
            RuntimeAction::RemoveVolumes { uid } if works => {
                let known = self.containers.keys().filter(|id| !self.unseen.contains(id));
                assert!(known.into_iter().all(|id| id.uid != uid), "containers outlive their volumes");
                self.volumes.remove(&uid);
                self.touched.remove(&uid);
                RuntimeEvent::VolumesRemoved { uid }
            }
            RuntimeAction::RemoveVolumes { uid } => RuntimeEvent::VolumesNotRemoved { uid, message: message() },
            RuntimeAction::Start(spec) if works => self.start(&spec, wall_ms),
            RuntimeAction::Start(spec) => {
                let reason = "CreateContainerError".into();
                RuntimeEvent::StartFailed { id: spec.id, reason, message: message() }
            }
            RuntimeAction::Stop { id, .. } if works => {
                let exit = self.end(&id, 143, wall_ms).unwrap_or_default();
                RuntimeEvent::Exited { id, exit }
            }
            RuntimeAction::Stop { id, .. } => RuntimeEvent::StopFailed { id, message: message() },
            RuntimeAction::Remove { id } if works => {
                self.containers.remove(&id);
                RuntimeEvent::Removed { id }
            }
            RuntimeAction::Remove { id } => RuntimeEvent::RemoveFailed { id, message: message() },
            RuntimeAction::Probe { id, token, .. } => {
                let result = if self.healthy { Ok(()) } else { Err("refused".to_owned()) };
                RuntimeEvent::Probed { id, token, result }
            }
        })
    }

    /// Carries out a start of an earlier life, which nobody hears of. What this life asked for since cannot prevent it,
    /// other than by having made the very same container.
    pub(super) fn carry_out_late(&mut self, wall_ms: u64) {
        let Some((until_ms, spec)) = self.late.pop_front() else { return };
        if wall_ms <= until_ms && !self.containers.contains_key(&spec.id) {
            self.unseen.insert(spec.id.clone());
            self.run(&spec, wall_ms);
        }
    }

    /// A container ends by itself. `None`: it did not run.
    pub(super) fn end(&mut self, id: &ContainerRef, code: i32, wall_ms: u64) -> Option<Exit> {
        let info = self.containers.get_mut(id)?;
        if let ContainerState::Exited(exit) = &info.state {
            return Some(exit.clone());
        }
        let exit = Exit { code: Some(code), finished_at_ms: wall_ms, ..Exit::default() };
        info.state = ContainerState::Exited(exit.clone());
        Some(exit)
    }

    pub(super) fn running(&self) -> Vec<ContainerRef> {
        let running = self.containers.values().filter(|info| info.state == ContainerState::Running);
        running.map(|info| info.id.clone()).collect()
    }

    /// One that exists is adopted as it is.
    fn start(&mut self, spec: &ContainerSpec, wall_ms: u64) -> RuntimeEvent {
        if self.unseen.remove(&spec.id)
            && let Some(info) = self.containers.get(&spec.id)
        {
            let id = spec.id.clone();
            return match info.state.clone() {
                ContainerState::Exited(exit) => RuntimeEvent::Exited { id, exit },
                _ => RuntimeEvent::Started(info.clone()),
            };
        }
        let same = |id: &&ContainerRef| id.uid == spec.id.uid && id.container == spec.id.container && **id != spec.id;
        let another = self.running().iter().filter(same).any(|id| !self.unseen.contains(id));
        assert!(!another, "two attempts of {:?} would run", spec.id);
        if let Some(first) = &spec.network_of {
            assert!(self.running().contains(first), "{:?} joins the network of what does not run", spec.id);
        }
        for mount in &spec.mounts {
            let volumes = self.volumes.get(&spec.id.uid).map_or(&[][..], |volumes| volumes);
            assert!(volumes.iter().any(|volume| volume.name == mount.volume), "{mount:?} is not laid out");
        }
        let info = self.run(spec, wall_ms);
        match &info.state {
            ContainerState::Exited(exit) => RuntimeEvent::Exited { id: info.id, exit: exit.clone() },
            _ => RuntimeEvent::Started(info),
        }
    }

    /// One of this name has done its work at once.
    fn run(&mut self, spec: &ContainerSpec, wall_ms: u64) -> ContainerInfo {
        let done = Exit { code: Some(0), finished_at_ms: wall_ms, ..Exit::default() };
        let info = ContainerInfo {
            id: spec.id.clone(),
            namespace: spec.namespace.clone(),
            pod: spec.pod.clone(),
            slot: spec.slot.clone(),
            write: spec.write.clone(),
            state: if &*spec.id.container == "init" { ContainerState::Exited(done) } else { ContainerState::Running },
            runtime_id: format!("fake://{}-{}-{}", spec.id.uid, spec.id.container, spec.id.attempt),
            image: spec.image.clone(),
            image_id: format!("sha256:{}", spec.image),
            ip: Some("10.1.0.1".into()),
            started_at_ms: wall_ms,
            before_boot: false,
        };
        self.containers.insert(spec.id.clone(), info.clone());
        info
    }
}

/// Which container an action makes or changes.
fn container_of(action: &RuntimeAction) -> Option<&ContainerRef> {
    match action {
        RuntimeAction::Start(spec) => Some(&spec.id),
        RuntimeAction::Stop { id, .. } | RuntimeAction::Remove { id } => Some(id),
        RuntimeAction::List
        | RuntimeAction::EnsureImage { .. }
        | RuntimeAction::Probe { .. }
        | RuntimeAction::WriteVolumes { .. }
        | RuntimeAction::RemoveVolumes { .. } => None,
    }
}

/// An agent with its runtime and everything that it said.
pub(super) struct World {
    pub(super) agent: Agent,
    pub(super) runtime: FakeRuntime,
    pub(super) now: Now,
    pub(super) reports: BTreeMap<String, PodStatus>,
    pub(super) claims: BTreeSet<Claim>,
    pub(super) events: Vec<Event>,
}

impl World {
    /// An agent that was told what the engine offers and nothing else.
    pub(super) fn new() -> Self {
        let now = Now { mono: Instant::from_millis(1_000_000), wall_ms: 1_700_000_000_000 };
        let agent = Agent::new(config(), random::from_seed(1));
        let runtime = FakeRuntime { healthy: true, ..FakeRuntime::default() };
        let (reports, claims, events) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        let mut world = World { agent, runtime, now, reports, claims, events };
        world.give(Input::Runtime(RuntimeEvent::Capacity(capacity())));
        world.give(Input::CaughtUp);
        world
    }

    /// One that has loaded its state and listed its containers, of which there are none.
    pub(super) fn ready() -> Self {
        let mut world = World::new();
        world.sync();
        world.work();
        world
    }

    pub(super) fn sync(&mut self) {
        let (claims, pods) = (self.claims.clone(), self.reports.clone());
        self.give(Input::Synced { claims, pods });
    }

    pub(super) fn give(&mut self, input: Input) {
        self.agent.handle(self.now, input);
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Act(action) => self.runtime.asked.push_back(action),
                Output::PodReport { uid, status: Some(status) } => drop(self.reports.insert(uid.to_string(), status)),
                Output::PodReport { uid, status: None } => drop(self.reports.remove(&*uid)),
                Output::Claims(claims) => self.claims = claims,
                Output::Event(event) => self.events.push(event),
                Output::Capacity(_) => {}
            }
        }
    }

    pub(super) fn learn(&mut self, facts: SlotFacts) {
        self.give(Input::Slots { changed: vec![facts], removed: Vec::new() });
    }

    /// Lets the runtime do one thing.
    pub(super) fn carry_out(&mut self, n: usize, works: bool) {
        if let Some(event) = self.runtime.carry_out(n, works, self.now.wall_ms) {
            self.give(Input::Runtime(event));
        }
    }

    /// Lets the runtime do all that it is asked, until nothing is left.
    pub(super) fn work(&mut self) {
        for _ in 0..1000 {
            if self.runtime.asked.is_empty() {
                return;
            }
            self.carry_out(0, true);
        }
        panic!("the agent never stops asking");
    }

    /// Lets a container end by itself.
    pub(super) fn end(&mut self, id: &ContainerRef, code: i32) {
        if self.runtime.running().contains(id) {
            let exit = self.runtime.end(id, code, self.now.wall_ms).unwrap_or_default();
            self.give(Input::Runtime(RuntimeEvent::Exited { id: id.clone(), exit }));
        }
    }

    /// Lets time pass, with all deadlines and all work on the way.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.mono + Duration::from_millis(ms);
        for _ in 0..10_000 {
            self.work();
            match self.agent.poll_timeout().filter(|at| *at <= end) {
                Some(at) => self.tick(at),
                None => return self.set(end),
            }
        }
        panic!("the agent never stops waking up");
    }

    /// Jumps to an instant and gives the deadline.
    pub(super) fn tick(&mut self, at: Instant) {
        self.set(at.max(self.now.mono));
        self.give(Input::Timeout);
    }

    /// Another life of the daemon: it knows what it last reported, and asks the same runtime.
    pub(super) fn restart(&mut self, known: Vec<SlotFacts>) {
        let asked = std::mem::take(&mut self.runtime.asked);
        self.runtime.touched.clear();
        let until_ms = self.now.wall_ms + START_LIMIT_MS;
        self.runtime.late.extend(asked.into_iter().filter_map(|action| match action {
            RuntimeAction::Start(spec) => Some((until_ms, spec)),
            _ => None,
        }));
        self.agent = Agent::new(config(), random::from_seed(2));
        self.give(Input::Runtime(RuntimeEvent::Capacity(capacity())));
        self.give(Input::Slots { changed: known, removed: Vec::new() });
        self.sync();
        self.give(Input::CaughtUp);
    }

    /// Another life of the daemon finds on its disk that its node belongs to the cluster no more.
    pub(super) fn restart_outside(&mut self, known: Vec<SlotFacts>) {
        self.agent = Agent::new(config(), random::from_seed(2));
        self.give(Input::Runtime(RuntimeEvent::Capacity(capacity())));
        self.give(Input::Slots { changed: known, removed: Vec::new() });
        self.sync();
        self.give(Input::Leave);
    }

    /// The machine is started again, and the daemon with it: nothing goes on, and what was asked for is lost.
    pub(super) fn reboot(&mut self, known: Vec<SlotFacts>) {
        self.runtime.asked.clear();
        self.runtime.late.clear();
        for info in self.runtime.containers.values_mut() {
            if info.state == ContainerState::Running {
                let exit = Exit { code: Some(255), finished_at_ms: self.now.wall_ms, ..Exit::default() };
                info.state = ContainerState::Exited(exit);
            }
            info.before_boot = true;
        }
        self.restart(known);
    }

    /// The names of the containers that run, with their attempts.
    pub(super) fn running(&self) -> Vec<(String, u32)> {
        self.runtime.running().iter().map(|id| (id.container.to_string(), id.attempt)).collect()
    }

    /// The only report.
    pub(super) fn report(&self) -> &PodStatus {
        assert_eq!(self.reports.len(), 1);
        self.reports.values().next().unwrap()
    }

    fn set(&mut self, at: Instant) {
        self.now.wall_ms += u64::try_from(at.since(self.now.mono).as_millis()).unwrap();
        self.now.mono = at;
    }
}
