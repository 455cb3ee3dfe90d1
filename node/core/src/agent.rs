//! The agent: runs this node's own pods. It is told what the slots that concern this node say, and what the runtime
//! does; it asks the runtime for actions and says how its pods are.
//!
//! Which pods are wanted is judged in `judge`, one pod is driven in `pod`, one container in `container`. What is wanted
//! of the whole cluster does not live here, and neither do the runtimes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use skein_crdt_state::{ClusterId, ObjectKey, WriteId};
use skein_gossip::{Instant, NodeId, Now, Rng};

use crate::model::pod::{PodSpecError, PodTemplateSpec};
use crate::runtime::{Capacity, RuntimeAction, RuntimeEvent};
use crate::slot::Value;
use crate::status::{Claim, Event, PodStatus};

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
    /// pod itself.
    pub template: Result<Arc<PodTemplateSpec>, PodSpecError>,
}

/// What happens to the agent.
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
    /// The runtime says something.
    Runtime(RuntimeEvent),
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

/// The agent of one node.
pub struct Agent {
    config: AgentConfig,
    rng: Rng,
    facts: BTreeMap<ObjectKey, SlotFacts>,
    capacity: Option<Capacity>,
    outputs: VecDeque<Output>,
}

impl Agent {
    /// An agent that knows nothing yet.
    #[must_use]
    pub fn new(config: AgentConfig, rng: Rng) -> Self {
        Agent { config, rng, facts: BTreeMap::new(), capacity: None, outputs: VecDeque::new() }
    }

    /// Handles one input.
    pub fn handle(&mut self, _now: Now, input: Input) {
        match input {
            Input::Slots { changed, removed } => {
                removed.iter().for_each(|slot| drop(self.facts.remove(slot)));
                self.facts.extend(changed.into_iter().map(|facts| (facts.slot.clone(), facts)));
            }
            Input::Synced { .. } => self.outputs.push_back(Output::Act(RuntimeAction::List)),
            Input::Runtime(RuntimeEvent::Capacity(capacity)) => {
                if self.capacity.as_ref() != Some(&capacity) {
                    self.outputs.push_back(Output::Capacity(capacity.clone()));
                    self.capacity = Some(capacity);
                }
            }
            Input::Runtime(_) | Input::Timeout => {}
        }
    }

    /// The next thing that it asks for.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to give it [`Input::Timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Whether it has facts about a slot or runs a pod of it: then it must hear whatever becomes of it.
    #[must_use]
    pub fn knows(&self, slot: &ObjectKey) -> bool {
        self.facts.contains_key(slot)
    }

    /// All slots that it knows, in the order of their keys: those to remove when this node leaves the cluster.
    pub fn slots(&self) -> impl Iterator<Item = &ObjectKey> {
        self.facts.keys()
    }

    /// What its pods ask for, together.
    #[must_use]
    pub fn allocated(&self) -> Allocated {
        Allocated::default()
    }
}
