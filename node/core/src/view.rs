//! What the controllers look at: a typed snapshot of the store and of who is here.
//!
//! How it is taken lives in `build`; what is the same as in the snapshot before is shared with it, through [`ViewCache`].
//! Nothing here decides anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use skein_crdt_state::{ClusterId, Edit, NameKey, ObjectKey, Scalar, WriteId};
use skein_gossip::{Instant, NodeId, Now};

use crate::model::needs::PodNeeds;
use crate::model::taint::Taint;
use crate::model::workload::{DeploymentSpec, ReplicaSetSpec};
use crate::runtime::Capacity;
use crate::scheduler::images::Images;
use crate::scheduler::used::Used;
use crate::slot::{PLACEMENT_LEAF, Placement, Value};
use crate::status::{Phase, PodStatus};

mod build;
mod cache;
mod changes;
mod failures;
mod nodes;
mod owners;
mod workloads;

pub use cache::ViewCache;

/// A node that was not heard of for this long is lost, if the pod does not say otherwise.
pub const LOST_AFTER: Duration = Duration::from_millis(1500);

/// Who is here, as this node's failure detector says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// This node.
    pub me: NodeId,
    /// The members that are alive now, this node included or not.
    pub alive: BTreeSet<NodeId>,
    /// When each was last in contact, by this node's own clock. One that is missing counts from when it was first missed.
    pub last_contact: BTreeMap<NodeId, Instant>,
    /// The members that were seen within 24 hours and did not leave.
    pub seen_24h: BTreeSet<NodeId>,
    /// Whether more than half of the voters are behind this leader.
    pub quorate: bool,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// When it was taken.
    pub now: Now,
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub me: NodeId,
    /// Whether more than half of the voters are behind this leader.
    pub quorate: bool,
    /// How many of the nodes seen within 24 hours are here.
    pub here: usize,
    /// How many nodes were seen within 24 hours and did not leave.
    pub seen: usize,
    /// The members that did not leave.
    pub nodes: BTreeMap<NodeId, NodeView>,
    /// Those that left for good.
    pub left: BTreeSet<NodeId>,
    /// Objects of kind Node that stand for no member any more.
    pub stale_nodes: Vec<ObjectKey>,
    /// The Deployments, in the order of their keys.
    pub deployments: Vec<Arc<DeploymentView>>,
    /// The ReplicaSets that no Deployment owns, in the order of their keys.
    pub replica_sets: Vec<Arc<ReplicaSetView>>,
    /// The pods that nothing owns, in the order of their keys.
    pub pods: Vec<Arc<SoloView>>,
    /// Slots (as text) of pods that still run though nothing wants them any more. Known only of what Deployments with
    /// the strategy `Recreate` own, and workloads that go after their pods.
    pub lingering: BTreeSet<String>,
    /// Objects all of whose owners, named in `metadata.ownerReferences`, are gone.
    pub orphans: Vec<ObjectKey>,
    /// Objects that go once their pods are gone, and that nothing else holds which names them as its owner; each with the
    /// finalizers that it keeps.
    pub closing: Vec<(ObjectKey, Arc<[String]>)>,
    /// When an object whose owner is not known yet counts as an orphan.
    pub next_orphan: Option<Instant>,
}

/// A node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    /// Who.
    pub id: NodeId,
    /// Its name: that of its object, else what it calls itself.
    pub name: Arc<str>,
    /// Its object, if there is one.
    pub object: Option<ObjectKey>,
    /// The life that an object of this name would take, if it has none and the name is free.
    pub free_name: Option<NameKey>,
    /// Whether its object was deleted, and there is no other. One that is merely not here, such as a damaged one, was not.
    pub given_up: bool,
    /// Whether it reports what it is.
    pub reported: bool,
    /// The labels it gives itself, under those that people give it.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Its taints, each with when this node first saw it.
    pub taints: Arc<[(Taint, Instant)]>,
    /// Whether people want no new pods there.
    pub unschedulable: bool,
    /// Whether it only observes: it runs nothing, whatever people want of it.
    pub observes: bool,
    /// What its engine offers.
    pub capacity: Arc<Capacity>,
    /// The images that it has, once more, for asking all nodes for one.
    pub images: Images,
    /// What the pods that are placed there take together, those that have ended left out.
    pub used: Used,
    /// Since when this node has seen its engine not answer.
    pub engine_down_since: Option<Instant>,
    /// Whether the failure detector says that it is alive.
    pub alive: bool,
    /// When it was last in contact.
    pub last_contact: Instant,
    /// Whether it is lost: not alive, or not in contact for [`LOST_AFTER`].
    pub lost: bool,
}

impl NodeView {
    /// Whether it is here and its engine answers.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.lost && self.reported && self.capacity.ready
    }
}

/// A Deployment with all that it owns.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentView {
    /// Its key.
    pub key: ObjectKey,
    /// What it wants.
    pub spec: Arc<DeploymentSpec>,
    /// The key that the ReplicaSet of its template has or takes.
    pub current: ObjectKey,
    /// Its ReplicaSets, in the order of their keys.
    pub replica_sets: Vec<ReplicaSetView>,
}

/// A ReplicaSet with its slots.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaSetView {
    /// Its key.
    pub key: ObjectKey,
    /// What it wants.
    pub spec: Arc<ReplicaSetSpec>,
    /// Its live slots, by number.
    pub slots: Vec<SlotView>,
}

/// A slot.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotView {
    /// Its key.
    pub key: ObjectKey,
    /// Its number.
    pub number: u32,
    /// The pod that is wanted of those that its values name; `None`: it waits to be filled.
    pub pod: Option<PodView>,
    /// The value that names the pod that is wanted, or the one that waits for a node; `None`: there is no value at all.
    pub value: Option<WriteId>,
    /// Its one value; `None`: there are several, or none.
    pub sole: Option<Value>,
    /// Before this, a pod that failed is not replaced: set when pods of this slot fail again and again.
    pub not_before: Option<Instant>,
}

/// A pod that nothing owns.
#[derive(Debug, Clone, PartialEq)]
pub struct SoloView {
    /// Its key.
    pub key: ObjectKey,
    /// What it asks of a node.
    pub needs: Arc<PodNeeds>,
    /// Where it was placed.
    pub pod: Option<PodView>,
}

/// A pod that was placed.
#[derive(Debug, Clone, PartialEq)]
pub struct PodView {
    /// Where.
    pub node: NodeId,
    /// The value that placed it.
    pub write: WriteId,
    /// Its uid.
    pub uid: Arc<str>,
    /// Whether a claim of its node decided.
    pub claimed: bool,
    /// What its node says of it.
    pub status: Option<Arc<PodStatus>>,
    /// When this node first saw the value.
    pub first_seen: Instant,
    /// Since when this node has seen it ready.
    pub ready_since: Option<Instant>,
}

impl PodView {
    /// Whether it ended and stays so, or was refused by its node.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.status.as_ref().is_some_and(|status| matches!(status.phase, Phase::Failed | Phase::Succeeded))
    }
}

impl View {
    /// Whether half or more of the nodes that were seen within 24 hours are here.
    #[must_use]
    pub fn has_half(&self) -> bool {
        self.here * 2 >= self.seen
    }

    /// Whether a pod's node is lost or left.
    #[must_use]
    pub fn is_lost(&self, node: &NodeId) -> bool {
        // Of a node whose admission has not arrived yet nothing is known, so nothing is taken from it.
        self.nodes.get(node).map_or_else(|| self.left.contains(node), |node| node.lost)
    }

    /// Whether a pod serves now, as far as this node can tell.
    #[must_use]
    pub fn is_ready(&self, pod: &PodView) -> bool {
        pod.ready_since.is_some() && !self.is_lost(&pod.node)
    }

    /// Whether a pod has been ready for long enough, and if it is only ready: when it will have been.
    #[must_use]
    pub fn availability(&self, pod: Option<&PodView>, min_ready_seconds: u32) -> Availability {
        let Some(pod) = pod.filter(|pod| self.is_ready(pod)) else { return Availability::No };
        let from = pod.ready_since.unwrap_or(self.now.mono) + Duration::from_secs(u64::from(min_ready_seconds));
        if from <= self.now.mono { Availability::Yes } else { Availability::From(from) }
    }

    /// A node's name, or the end of its id when it has none.
    #[must_use]
    pub fn node_name(&self, node: &NodeId) -> String {
        self.nodes.get(node).map_or_else(|| node.short(), |node| node.name.to_string())
    }

    /// All slots with what they ask of a node.
    pub fn slots(&self) -> impl Iterator<Item = (&ReplicaSetView, &SlotView)> {
        let owned = self.deployments.iter().flat_map(|deployment| deployment.replica_sets.iter());
        let unowned = self.replica_sets.iter().map(|set| &**set);
        owned.chain(unowned).flat_map(|set| set.slots.iter().map(move |slot| (set, slot)))
    }

    /// The ReplicaSets of a workload: of a Deployment, or the one that nothing owns. `None`: there is no such workload.
    #[must_use]
    pub fn replica_sets_of(&self, workload: &ObjectKey) -> Option<&[ReplicaSetView]> {
        if let Ok(found) = self.deployments.binary_search_by(|deployment| deployment.key.cmp(workload)) {
            return Some(&self.deployments[found].replica_sets);
        }
        let found = self.replica_sets.binary_search_by(|set| set.key.cmp(workload)).ok()?;
        Some(std::slice::from_ref(&*self.replica_sets[found]))
    }

    /// A slot.
    #[must_use]
    pub fn slot(&self, key: &ObjectKey) -> Option<&SlotView> {
        let sets = self.replica_sets_of(&key.outermost(workloads::LINKS)?)?;
        let set = sets.iter().find(|set| key.is_within(&set.key))?;
        set.slots.iter().find(|slot| slot.key == *key)
    }
}

/// Whether a pod counts as available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It does.
    Yes,
    /// It is ready and will count at this instant, if it stays so.
    From(Instant),
    /// It does not.
    No,
}

/// The edit that places a pod.
#[must_use]
pub fn place(placement: &Placement) -> Edit {
    // Two options of byte arrays: serde has nothing to refuse.
    let text = serde_json::to_string(placement).unwrap_or_default();
    Edit::set(PLACEMENT_LEAF, Scalar::Json(text.into()))
}
