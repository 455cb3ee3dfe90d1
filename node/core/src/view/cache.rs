//! What is kept between snapshots: the parts that did not become different, parsed objects, decoded reports, and when this
//! node first saw something. It never changes what a snapshot says of the store, only how long taking it lasts; the sightings
//! are what graces and back-offs count from, since another node's clock cannot be trusted for that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use skein_crdt_state::{ClusterId, ObjectKey, ObjectState, Report, Sequence, Store, StoreChange, WriteId};
use skein_gossip::{Instant, NodeId};

use super::changes::Changes;
use super::failures::Failures;
use super::nodes::NodeSpec;
use super::owners::Dependents;
use super::{DeploymentView, NodeView, ReplicaSetView, SoloView};
use crate::model::needs::PodNeeds;
use crate::model::taint::Taint;
use crate::model::workload::{DeploymentSpec, ReplicaSetSpec};
use crate::scheduler::used::Used;
use crate::slot::{Claims, Value};
use crate::status::{Claim, NodeStatus, PodStatus};

/// After a longer pause between two snapshots sightings count for nothing: a node that leads takes them every few seconds,
/// and what happened while it did not lead it has not seen.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What is kept between snapshots.
#[derive(Debug, Clone, Default)]
pub struct ViewCache {
    last: Instant,
    /// Whether a snapshot was taken, and all that changed since is known.
    is_warm: bool,
    changes: Changes,
    /// How many changes it was told of, or had no need to be told of.
    noted: u64,
    pub(super) nodes: BTreeMap<NodeId, NodeMemory>,
    /// Objects that stand for nodes as they were parsed, with their versions.
    pub(super) node_specs: BTreeMap<ObjectKey, (u64, Arc<NodeSpec>)>,
    pub(super) node_objects: BTreeMap<NodeId, (ObjectKey, Arc<NodeSpec>)>,
    pub(super) stale_nodes: Vec<ObjectKey>,
    pub(super) claims: Claims,
    pub(super) deployments: Kept<DeploymentView>,
    pub(super) replica_sets: Kept<ReplicaSetView>,
    pub(super) pods: Kept<SoloView>,
    /// What the pods on each node take together, whether it is known as a member or not.
    pub(super) used: BTreeMap<NodeId, Used>,
    /// Sections in which nodes speak of pods, with the pod's workload.
    pub(super) sections: BTreeMap<Arc<str>, ObjectKey>,
    pub(super) failures: Failures,
    pub(super) dependents: Dependents,
    uids: BTreeMap<ObjectKey, Arc<str>>,
}

/// Workloads of one kind, as they were when they were last looked at.
#[derive(Debug, Clone)]
pub(super) struct Kept<T>(BTreeMap<ObjectKey, (Arc<T>, Memories)>);

/// What is kept of the objects of one workload.
pub(super) type Memories = BTreeMap<ObjectKey, ObjectMemory>;

/// An object as it was parsed.
#[derive(Debug, Clone)]
pub(super) enum Parsed {
    Deployment(Arc<DeploymentSpec>),
    ReplicaSet(Arc<ReplicaSetSpec>),
    Slot(Arc<[Value]>),
    Pod(Arc<PodNeeds>, Arc<[Value]>),
}

/// What is kept of a node.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeMemory {
    status: Option<(Sequence, Arc<NodeStatus>)>,
    missed_since: Option<Instant>,
    engine_down_since: Option<Instant>,
    taints: BTreeMap<Taint, Instant>,
    /// What follows from its report and its object.
    pub(super) view: Option<NodeView>,
    /// What it claims.
    pub(super) claims: BTreeSet<Claim>,
}

/// What is kept of an object.
#[derive(Debug, Clone)]
pub(super) struct ObjectMemory {
    version: u64,
    pub(super) parsed: Parsed,
    /// Of a slot or an ownerless pod: its pod.
    pub(super) pod: Option<PodMemory>,
}

/// What is kept of a pod.
#[derive(Debug, Clone)]
pub(super) struct PodMemory {
    pub(super) write: WriteId,
    pub(super) first_seen: Instant,
    pub(super) uid: Arc<str>,
    pub(super) section: Arc<str>,
    status: Option<(Sequence, Arc<PodStatus>)>,
    ready: Option<(u64, Instant)>,
}

impl ViewCache {
    /// The store has changed: all that it drains must be told here. A cache that was not told of something looks at everything
    /// the next time.
    pub fn note(&mut self, changes: &BTreeSet<StoreChange>) {
        self.noted += changes.len() as u64;
        if !self.is_warm {
            return;
        }
        self.changes.add(changes);
        if self.changes.are_too_many() {
            self.changes = Changes::default();
            self.is_warm = false;
        }
    }

    /// Looks at everything the next time.
    #[cfg(test)]
    pub(crate) fn distrust(&mut self) {
        self.is_warm = false;
    }

    /// A snapshot is taken now: what has to be looked at again.
    pub(super) fn begin(&mut self, store: &Store, now: Instant) -> Changes {
        let paused = now.since(self.last) > LONGEST_PAUSE;
        if paused {
            self.nodes.clear();
            self.deployments.forget_pods();
            self.replica_sets.forget_pods();
            self.pods.forget_pods();
            self.sections.clear();
            self.failures.clear();
            self.dependents.forget_unknown();
        }
        self.last = now;
        let knows_all = self.is_warm && self.noted == store.drained() && !paused;
        let mut changes = std::mem::take(&mut self.changes);
        if knows_all {
            changes.add(store.pending_changes());
        } else {
            changes = Changes::everything();
        }
        (self.is_warm, self.noted) = (true, store.drained());
        changes
    }

    /// An object's uid.
    pub(super) fn uid(&mut self, cluster: &ClusterId, key: &ObjectKey) -> Arc<str> {
        self.uids.entry(key.clone()).or_insert_with(|| key.uid(cluster).to_string().into()).clone()
    }

    /// What a node says of itself; `None`: it says nothing that can be read.
    pub(super) fn node_status(&mut self, report: &Report) -> Option<Arc<NodeStatus>> {
        let memory = self.nodes.entry(report.node).or_default();
        decoded(&mut memory.status, report)
    }

    /// Since when a node's engine does not answer.
    pub(super) fn engine_down_since(&mut self, node: NodeId, down: bool, now: Instant) -> Option<Instant> {
        let memory = self.nodes.entry(node).or_default();
        memory.engine_down_since = down.then(|| memory.engine_down_since.unwrap_or(now));
        memory.engine_down_since
    }

    /// A node's taints with when they were first seen.
    pub(super) fn taints(&mut self, node: NodeId, taints: &[Taint], now: Instant) -> Arc<[(Taint, Instant)]> {
        let memory = self.nodes.entry(node).or_default();
        memory.taints.retain(|taint, _| taints.contains(taint));
        taints.iter().map(|taint| (taint.clone(), *memory.taints.entry(taint.clone()).or_insert(now))).collect()
    }

    /// Lets go of what is about objects that are gone.
    pub(super) fn sweep(&mut self, changes: &Changes, live: impl Fn(&ObjectKey) -> bool) {
        if changes.everything {
            self.uids.retain(|key, _| live(key));
            self.failures.retain(live);
            return;
        }
        for key in changes.objects.iter().filter(|key| !live(key)) {
            self.uids.remove(key);
            self.failures.remove(key);
        }
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept(BTreeMap::new())
    }
}

impl<T> Kept<T> {
    /// All, in the order of their keys.
    pub(super) fn views(&self) -> Vec<Arc<T>> {
        self.0.values().map(|(view, _)| view.clone()).collect()
    }

    /// Their keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.0.keys()
    }

    /// Takes one out.
    pub(super) fn take(&mut self, key: &ObjectKey) -> Option<(Arc<T>, Memories)> {
        self.0.remove(key)
    }

    /// Puts one in.
    pub(super) fn put(&mut self, key: &ObjectKey, view: Arc<T>, memories: Memories) {
        self.0.insert(key.clone(), (view, memories));
    }

    fn forget_pods(&mut self) {
        self.0.values_mut().flat_map(|(_, memories)| memories.values_mut()).for_each(|memory| memory.pod = None);
    }
}

impl NodeMemory {
    /// When it was last in contact: as it is told, else when it was first missed.
    pub(super) fn last_contact(&mut self, told: Option<Instant>, now: Instant) -> Instant {
        match told {
            Some(contact) => {
                self.missed_since = None;
                contact
            }
            None => *self.missed_since.get_or_insert(now),
        }
    }
}

impl ObjectMemory {
    /// What is kept of an object, parsed as it is now.
    pub(super) fn refreshed(
        known: Option<ObjectMemory>,
        object: &ObjectState,
        parse: impl Fn(&ObjectState) -> Parsed,
    ) -> ObjectMemory {
        let version = object.version();
        match known {
            Some(memory) if memory.version == version => memory,
            Some(memory) => ObjectMemory { version, parsed: parse(object), ..memory },
            None => ObjectMemory { version, parsed: parse(object), pod: None },
        }
    }
}

impl PodMemory {
    /// Of a pod that is seen for the first time.
    pub(super) fn new(write: WriteId, now: Instant, uid: String) -> Self {
        let section = format!("pod/{uid}").into();
        PodMemory { write, first_seen: now, uid: uid.into(), section, status: None, ready: None }
    }

    /// What its node says of it.
    pub(super) fn status(&mut self, report: Option<&Arc<Report>>) -> Option<Arc<PodStatus>> {
        let Some(report) = report else {
            self.status = None;
            return None;
        };
        decoded(&mut self.status, report)
    }

    /// Since when it has been seen ready.
    pub(super) fn ready_since(&mut self, now: Instant) -> Option<Instant> {
        let status = self.status.as_ref().map(|(_, status)| status);
        let ready = status.filter(|status| status.ready && status.stopping_since_ms == 0);
        self.ready = ready.map(|status| {
            let known = self.ready.filter(|(changed_ms, _)| *changed_ms == status.ready_changed_ms);
            known.unwrap_or((status.ready_changed_ms, now))
        });
        self.ready.map(|(_, since)| since)
    }
}

/// A report's body, decoded once. One that cannot be read is passed over: its author may be newer than this node.
fn decoded<T: DeserializeOwned>(known: &mut Option<(Sequence, Arc<T>)>, report: &Report) -> Option<Arc<T>> {
    if let Some((_, status)) = known.as_ref().filter(|(sequence, _)| *sequence == report.sequence) {
        return Some(status.clone());
    }
    *known = postcard::from_bytes(&report.body).ok().map(|status| (report.sequence, Arc::new(status)));
    known.as_ref().map(|(_, status)| status.clone())
}
