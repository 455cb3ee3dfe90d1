//! The agent: runs this node's own pods. It is told what the slots that concern this node say, and what the runtime
//! does; it asks the runtime for actions and says how its pods are.
//!
//! Which pods are wanted is judged in `judge`, one pod is driven in `pod`, one container in `container`. What is wanted
//! of the whole cluster does not live here, and neither do the runtimes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use skein_crdt_state::{ClusterId, ObjectKey, WriteId};
use skein_gossip::{Instant, NodeId, Now, Rng, Timers};

use self::images::{Images, Wait};
use self::pod::{Identity, Pod};
use crate::ephemeral::Added;
use crate::model::pod::{PodSpecError, PodTemplateSpec};
use crate::model::source::{SourceName, Sources};
use crate::runtime::{Capacity, Login, PullPolicy, RuntimeAction, RuntimeEvent};
use crate::slot::{SLOT_KIND, Value, pod_name, pod_uid};
use crate::status::{Claim, Event, PodStatus};

pub mod judge;

mod admission;
mod backoff;
mod container;
mod engine;
mod environment;
mod hooks;
mod images;
mod instance;
mod logins;
mod pod;
mod probe;
mod security;
mod settle;
mod spec;
mod volumes;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod stories;

/// What the agent is told once.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// This node.
    pub me: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// What it is called: `spec.nodeName` of its pods.
    pub node_name: String,
    /// Where it is reached, without port: `status.hostIP` of its pods. Empty: not known.
    pub node_address: String,
    /// Where its API is reached by its pods; `None`: there is none.
    pub api: Option<SocketAddr>,
}

/// What the state says of one slot, or of a pod without an owner, that concerns this node.
///
/// A slot concerns this node if a current value names it, places or displaces, or if [`Agent::knows`] it.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotFacts {
    /// The slot's or the ownerless pod's key.
    pub slot: ObjectKey,
    /// Whether it and all its owners live. If not, the rest does not matter.
    pub live: bool,
    /// All current values of its placement.
    pub values: Vec<Value>,
    /// What nodes claim of it. This node's own claims are passed over: the agent knows them better.
    pub claims: Vec<(NodeId, Claim)>,
    /// The values (or the values that claims keep) whose pod is reported ready by its node, and that node is alive. What it
    /// says of this node's own pods is passed over.
    pub ready: BTreeSet<WriteId>,
    /// What its pods are made from: its ReplicaSet's template with the slot's own labels and annotations over it, or the
    /// pod itself. A pod waits while this is an error: its ReplicaSet may be on its way, or be mended.
    pub template: Result<Arc<PodTemplateSpec>, PodSpecError>,
    /// What there is of the ConfigMaps and Secrets that the template names.
    pub sources: Sources,
    /// What was added to its pods while they run.
    pub added: Added,
}

/// What happens to the agent.
// Handled at once and never kept, so the largest one's size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Input {
    /// What the state says of some slots became different.
    Slots {
        /// All that is said now of slots that concern this node.
        changed: Vec<SlotFacts>,
        /// Slots that are not live any more, or do not concern this node any more.
        removed: Vec<ObjectKey>,
    },
    /// The state on disk was loaded, and [`Input::Slots`] has said all that it says. Given once. Before it, and before the
    /// runtime has listed its containers, the agent starts, stops, removes and claims nothing.
    Synced {
        /// The claims in this node's own last report.
        claims: BTreeSet<Claim>,
        /// This node's own last reports of its pods, by uid.
        pods: BTreeMap<String, PodStatus>,
    },
    /// What peers know is known here, or there is nobody to ask. Before it the agent starts nothing: what it would start may
    /// have been started elsewhere while this node was away.
    CaughtUp,
    /// The runtime says something.
    Runtime(RuntimeEvent),
    /// What signs tokens is another one now: all that pods have are signed anew.
    SignAnew,
    /// This node belongs to the cluster no more: whatever it runs ends, and so does what an earlier life had asked for and is
    /// found later. Nothing takes it back.
    Leave,
    /// The deadline has come.
    Timeout,
}

/// What the agent asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Ask the runtime for something.
    Act(RuntimeAction),
    /// Say how a pod is; `None`: it is gone with all its containers.
    PodReport {
        /// The pod's uid.
        uid: Arc<str>,
        /// How it is.
        status: Option<PodStatus>,
    },
    /// All claims that this node makes from now on.
    Claims(BTreeSet<Claim>),
    /// Something worth a Kubernetes event.
    Event(Event),
    /// What the engine offers became different.
    Capacity(Capacity),
}

/// What the pods that this node has admitted ask for, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allocated {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
    /// How many pods.
    pub pods: u32,
}

/// What waits for a deadline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Deadline {
    /// To ask for the list of containers again.
    List,
    /// Something of this pod.
    Pod(Arc<str>),
}

/// The agent of one node.
pub struct Agent {
    config: AgentConfig,
    rng: Rng,
    /// Counts inputs.
    seq: u64,
    tokens: u64,
    /// How often it was asked to sign all tokens anew.
    signing_round: u64,
    facts: BTreeMap<ObjectKey, SlotFacts>,
    pods: BTreeMap<Arc<str>, Pod>,
    /// The pods of each slot that the state knows.
    pods_of: BTreeMap<ObjectKey, BTreeSet<Arc<str>>>,
    /// The pods of slots that the state does not know, by the slots' keys as text.
    strays: BTreeMap<String, BTreeSet<Arc<str>>>,
    claims: BTreeMap<ObjectKey, BTreeSet<Claim>>,
    said_claims: BTreeSet<Claim>,
    images: Images,
    capacity: Option<Capacity>,
    engine: engine::Listing,
    caught_up: bool,
    has_left: bool,
    /// The last reports of an earlier life, until it is known what became of their pods.
    before: BTreeMap<String, PodStatus>,
    timers: Timers<Deadline>,
    judge_next: BTreeSet<ObjectKey>,
    step_next: BTreeSet<Arc<str>>,
    outputs: VecDeque<Output>,
}

impl Agent {
    /// An agent that knows nothing yet.
    #[must_use]
    pub fn new(config: AgentConfig, rng: Rng) -> Self {
        Agent {
            config,
            rng,
            seq: 0,
            tokens: 0,
            signing_round: 0,
            facts: BTreeMap::new(),
            pods: BTreeMap::new(),
            pods_of: BTreeMap::new(),
            strays: BTreeMap::new(),
            claims: BTreeMap::new(),
            said_claims: BTreeSet::new(),
            images: Images::default(),
            capacity: None,
            engine: engine::Listing::default(),
            caught_up: false,
            has_left: false,
            before: BTreeMap::new(),
            timers: Timers::default(),
            judge_next: BTreeSet::new(),
            step_next: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Handles one input. Total: it neither blocks nor panics.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.seq += 1;
        match input {
            Input::Slots { changed, removed } => self.learn(changed, &removed),
            Input::Synced { claims, pods } => self.synced(claims, pods),
            Input::CaughtUp => {
                self.caught_up = true;
                self.step_next.extend(self.pods.keys().cloned());
            }
            Input::Runtime(event) => self.runtime_said(now, event),
            Input::SignAnew => {
                self.signing_round += 1;
                self.step_next.extend(self.pods.keys().cloned());
            }
            Input::Leave => self.leave(now),
            Input::Timeout => self.timeout(now),
        }
        self.settle(now);
    }

    /// The next thing that it asks for.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to give it [`Input::Timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Whether it has facts about a slot or runs a pod of it: then it must hear whatever becomes of it.
    #[must_use]
    pub fn knows(&self, slot: &ObjectKey) -> bool {
        self.facts.contains_key(slot) || self.pods_of.contains_key(slot)
    }

    /// Whether a pod of the slot serves here, and is not being stopped.
    #[must_use]
    pub fn serves(&self, slot: &ObjectKey) -> bool {
        let pods = self.pods_of.get(slot).into_iter().flatten().filter_map(|uid| self.pods.get(uid));
        pods.into_iter().any(|pod| pod.is_ready() && !pod.is_stopping())
    }

    /// All slots that it has facts about, in the order of their keys.
    pub fn slots(&self) -> impl Iterator<Item = &ObjectKey> {
        self.facts.keys()
    }

    /// The slots of a namespace whose pods use a ConfigMap or a Secret, as far as it has facts about them.
    pub fn slots_that_use<'a>(
        &'a self,
        namespace: &'a str,
        source: &'a SourceName,
    ) -> impl Iterator<Item = &'a ObjectKey> {
        let uses = move |facts: &&SlotFacts| {
            let names = facts.template.as_ref().is_ok_and(|template| template.sources.contains(source));
            names && facts.slot.namespace() == Some(namespace)
        };
        self.facts.values().filter(uses).map(|facts| &facts.slot)
    }

    /// Its pods of slots that the state does not know, by uid: nobody knows what they ask for, and they are stopped after a while.
    pub fn strays(&self) -> impl Iterator<Item = &Arc<str>> {
        self.strays.values().flatten()
    }

    /// What its pods ask for, together, strays aside.
    #[must_use]
    pub fn allocated(&self) -> Allocated {
        admission::sum(self.tenants().iter())
    }

    /// Whether it runs nothing and nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pods.is_empty()
    }

    fn learn(&mut self, changed: Vec<SlotFacts>, removed: &[ObjectKey]) {
        for slot in removed {
            self.facts.remove(slot);
            self.judge_next.insert(slot.clone());
        }
        for facts in changed.into_iter().filter(|_| !self.has_left) {
            self.judge_next.insert(facts.slot.clone());
            let is_news = |before: &SlotFacts| before.sources != facts.sources || before.added != facts.added;
            if self.facts.get(&facts.slot).is_some_and(is_news) {
                self.step_next.extend(self.pods_of.get(&facts.slot).into_iter().flatten().cloned());
            }
            self.facts.insert(facts.slot.clone(), facts);
        }
    }

    fn leave(&mut self, now: Now) {
        if std::mem::replace(&mut self.has_left, true) {
            return;
        }
        self.judge_next.extend(std::mem::take(&mut self.facts).into_keys());
        let known: Vec<Arc<str>> = self.pods.keys().cloned().collect();
        for uid in known {
            self.with_pod(now, &uid, |pod, ctx| pod.stop(ctx));
        }
        self.look_anew();
    }

    fn timeout(&mut self, now: Now) {
        while let Some(due) = self.timers.pop_due(now.mono) {
            match due {
                Deadline::List => self.list(),
                Deadline::Pod(uid) => drop(self.step_next.insert(uid)),
            }
        }
    }

    /// Which pod a value of a slot is.
    fn identity(&self, slot: &ObjectKey, write: &WriteId) -> Identity {
        let owned = slot.kind().as_str() == SLOT_KIND;
        Identity {
            uid: pod_uid(&self.config.cluster, slot, write).into(),
            slot: Some(slot.clone()),
            slot_text: slot.to_string(),
            write: Some(*write),
            write_label: if owned { write.to_string() } else { String::new() },
            namespace: slot.namespace().unwrap_or_default().to_owned(),
            name: pod_name(&self.config.cluster, slot, write),
        }
    }

    fn add(&mut self, pod: Pod) {
        let uid = pod.identity.uid.clone();
        if let Some(slot) = &pod.identity.slot {
            self.pods_of.entry(slot.clone()).or_default().insert(uid.clone());
            self.judge_next.insert(slot.clone());
        } else {
            self.strays.entry(pod.identity.slot_text.clone()).or_default().insert(uid.clone());
        }
        self.step_next.insert(uid.clone());
        self.pods.insert(uid, pod);
    }

    /// Lends a pod, and everything that it needs meanwhile, to `f`; then the pod's next step is due.
    fn with_pod<T>(&mut self, now: Now, uid: &str, f: impl FnOnce(&mut Pod, &mut Context<'_>) -> T) -> Option<T> {
        let mut pod = self.pods.remove(uid)?;
        let mut ctx = self.context(now);
        let result = f(&mut pod, &mut ctx);
        let uid = pod.identity.uid.clone();
        self.step_next.insert(uid.clone());
        self.pods.insert(uid, pod);
        Some(result)
    }

    fn context(&mut self, now: Now) -> Context<'_> {
        const NOTHING: &Capacity = &Capacity {
            ready: false,
            message: String::new(),
            runtime_version: String::new(),
            cpu_millis: 0,
            memory_bytes: 0,
            max_pods: 0,
            images: BTreeMap::new(),
            os_image: String::new(),
            kernel_version: String::new(),
            architecture: String::new(),
        };
        Context {
            now,
            config: &self.config,
            seq: self.seq,
            capacity: self.capacity.as_ref().unwrap_or(NOTHING),
            caught_up: self.caught_up,
            rng: &mut self.rng,
            images: &mut self.images,
            tokens: &mut self.tokens,
            signing_round: self.signing_round,
            outputs: &mut self.outputs,
            sources: Sources::default(),
            wake: None,
        }
    }
}

/// What a pod needs while it does its next step.
struct Context<'a> {
    now: Now,
    config: &'a AgentConfig,
    /// Which input this is.
    seq: u64,
    capacity: &'a Capacity,
    /// Whether this node knows what its peers know: before, nothing is started.
    caught_up: bool,
    rng: &'a mut Rng,
    images: &'a mut Images,
    tokens: &'a mut u64,
    /// How often it was asked to sign all tokens anew.
    signing_round: u64,
    outputs: &'a mut VecDeque<Output>,
    /// The ConfigMaps and Secrets that the pod names.
    sources: Sources,
    /// When the pod is to do its next step although nothing happens.
    wake: Option<Instant>,
}

impl Context<'_> {
    fn act(&mut self, action: RuntimeAction) {
        self.outputs.push_back(Output::Act(action));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Names a probe.
    fn token(&mut self) -> u64 {
        *self.tokens += 1;
        *self.tokens
    }

    fn may_start(&self) -> bool {
        self.caught_up && self.capacity.ready
    }

    /// Why a container has to wait for its image, and whether the runtime was asked for it only now.
    fn want_image(&mut self, image: &str, policy: PullPolicy, logins: Vec<Login>) -> (Wait, bool) {
        let (wait, action) = self.images.want(self.now.mono, image, policy, logins);
        let is_news = action.is_some();
        action.into_iter().for_each(|action| self.act(action));
        (wait, is_news)
    }
}
