//! What a view remembers from one snapshot to the next: parsed objects, decoded reports, and when this node first saw
//! something. It never changes what a snapshot says of the store, only how long taking it lasts; the sightings are what
//! graces and back-offs count from, since another node's clock cannot be trusted for that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use skein_crdt_state::{ClusterId, ObjectKey, ObjectState, Report, Sequence, WriteId};
use skein_gossip::{Instant, NodeId};

use super::owners::OwnerReference;
use crate::model::needs::PodNeeds;
use crate::model::taint::Taint;
use crate::model::workload::{DeploymentSpec, ReplicaSetSpec};
use crate::slot::Value;
use crate::status::{NodeStatus, Phase, PodStatus};

/// How long the second replacement of a pod that failed waits; doubled with each that fails too.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
/// The longest wait.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);

/// After a longer pause between two snapshots sightings count for nothing: a node that leads takes them every few seconds,
/// and what happened while it did not lead it has not seen.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What is kept between snapshots.
#[derive(Debug, Default)]
pub struct ViewCache {
    last: Instant,
    round: u64,
    objects: BTreeMap<ObjectKey, ObjectMemory>,
    owners: BTreeMap<ObjectKey, (u64, Arc<[OwnerReference]>)>,
    nodes: BTreeMap<NodeId, NodeMemory>,
    failures: BTreeMap<ObjectKey, Failures>,
    orphans: BTreeMap<ObjectKey, Instant>,
    uids: BTreeMap<ObjectKey, Arc<str>>,
}

/// An object as it was parsed.
#[derive(Debug, Clone)]
pub(super) enum Parsed {
    Deployment(Arc<DeploymentSpec>),
    ReplicaSet(Arc<ReplicaSetSpec>),
    Slot(Arc<[Value]>),
    Pod(Arc<PodNeeds>, Arc<[Value]>),
    Node(Arc<super::build::NodeSpec>),
}

/// What is kept of a node.
#[derive(Debug, Default)]
pub(super) struct NodeMemory {
    status: Option<(Sequence, Arc<NodeStatus>)>,
    missed_since: Option<Instant>,
    engine_down_since: Option<Instant>,
    taints: BTreeMap<Taint, Instant>,
}

/// What is kept of an object.
#[derive(Debug)]
pub(super) struct ObjectMemory {
    version: u64,
    round: u64,
    pub(super) parsed: Parsed,
    /// Of a slot or an ownerless pod: its pod.
    pod: Option<PodMemory>,
}

/// What is kept of a pod.
#[derive(Debug)]
pub(super) struct PodMemory {
    write: WriteId,
    pub(super) first_seen: Instant,
    pub(super) uid: Arc<str>,
    pub(super) section: Arc<str>,
    status: Option<(Sequence, Arc<PodStatus>)>,
    ready: Option<(u64, Instant)>,
}

/// How a slot's pods failed, one after the other.
#[derive(Debug)]
struct Failures {
    write: WriteId,
    count: u32,
    at: Instant,
}

impl ViewCache {
    /// A snapshot is taken now.
    pub(super) fn begin(&mut self, now: Instant) {
        if now.since(self.last) > LONGEST_PAUSE {
            self.nodes.clear();
            self.objects.values_mut().for_each(|memory| memory.pod = None);
            self.failures.clear();
            self.orphans.clear();
        }
        self.last = now;
        self.round += 1;
    }

    /// What is kept of an object, parsed as it is now.
    pub(super) fn object(&mut self, object: &ObjectState, parse: impl Fn(&ObjectState) -> Parsed) -> &mut ObjectMemory {
        let version = object.version();
        let memory = self.objects.entry(object.key().clone());
        let memory = memory.or_insert_with(|| ObjectMemory { version, round: 0, parsed: parse(object), pod: None });
        if memory.version != version {
            (memory.version, memory.parsed) = (version, parse(object));
        }
        memory.round = self.round;
        memory
    }

    /// What an object parses to.
    pub(super) fn parsed(&mut self, object: &ObjectState, parse: impl Fn(&ObjectState) -> Parsed) -> Parsed {
        self.object(object, parse).parsed.clone()
    }

    /// The owner references of an object.
    pub(super) fn owners(&mut self, object: &ObjectState) -> Arc<[OwnerReference]> {
        match self.owners.get(object.key()) {
            Some((version, owners)) if *version == object.version() => owners.clone(),
            _ => {
                let owners: Arc<[OwnerReference]> = OwnerReference::list(object).into();
                self.owners.insert(object.key().clone(), (object.version(), owners.clone()));
                owners
            }
        }
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

    /// When a node was last in contact: as it is told, else when it was first missed.
    pub(super) fn last_contact(&mut self, node: NodeId, told: Option<Instant>, now: Instant) -> Instant {
        let memory = self.nodes.entry(node).or_default();
        match told {
            Some(contact) => {
                memory.missed_since = None;
                contact
            }
            None => *memory.missed_since.get_or_insert(now),
        }
    }

    /// Since when a node's engine does not answer.
    pub(super) fn engine_down_since(&mut self, node: NodeId, down: bool, now: Instant) -> Option<Instant> {
        let memory = self.nodes.entry(node).or_default();
        memory.engine_down_since = down.then(|| memory.engine_down_since.unwrap_or(now));
        memory.engine_down_since
    }

    /// A node's taints with when they were first seen.
    pub(super) fn taints(&mut self, node: NodeId, taints: &[Taint], now: Instant) -> Vec<(Taint, Instant)> {
        let memory = self.nodes.entry(node).or_default();
        memory.taints.retain(|taint, _| taints.contains(taint));
        taints.iter().map(|taint| (taint.clone(), *memory.taints.entry(taint.clone()).or_insert(now))).collect()
    }

    /// Counts how often a slot's pods failed in a row, and says until when the last of them is not replaced.
    pub(super) fn back_off(
        &mut self,
        slot: &ObjectKey,
        write: WriteId,
        status: Option<&PodStatus>,
        now: Instant,
    ) -> Option<Instant> {
        let failed = status.is_some_and(|status| status.phase == Phase::Failed);
        if !failed && self.failures.is_empty() {
            return None;
        }
        if status.is_some_and(|status| status.ready) {
            self.failures.remove(slot);
        }
        if !failed {
            return None;
        }
        let failures = self.failures.entry(slot.clone()).or_insert(Failures { write, count: 1, at: now });
        if failures.write != write {
            // One that held for long after the last failure starts the count anew.
            let count =
                if now.since(failures.at) > LONGEST_BACK_OFF * 2 { 1 } else { failures.count.saturating_add(1) };
            *failures = Failures { write, count, at: now };
        }
        let wait = match failures.count {
            0 | 1 => Duration::ZERO,
            count => FIRST_BACK_OFF.saturating_mul(1 << (count - 2).min(10)).min(LONGEST_BACK_OFF),
        };
        Some(failures.at + wait)
    }

    /// Since when an object's owners have been unknown.
    pub(super) fn unknown_since(&mut self, object: &ObjectKey, now: Instant) -> Instant {
        *self.orphans.entry(object.clone()).or_insert(now)
    }

    /// An object's owners are known.
    pub(super) fn owners_known(&mut self, object: &ObjectKey) {
        self.orphans.remove(object);
    }

    /// Lets go of what the last snapshot did not use. `live` says whether an object is there still.
    pub(super) fn sweep(&mut self, live: impl Fn(&ObjectKey) -> bool) {
        let round = self.round;
        self.objects.retain(|_, memory| memory.round == round);
        self.owners.retain(|key, _| live(key));
        self.uids.retain(|key, _| live(key));
        self.orphans.retain(|key, _| live(key));
        self.failures.retain(|key, _| live(key));
    }
}

impl ObjectMemory {
    /// What is kept of the pod that this value placed; `uid` is asked for once.
    pub(super) fn pod(&mut self, write: WriteId, now: Instant, uid: impl FnOnce() -> String) -> &mut PodMemory {
        let same = self.pod.take().filter(|pod| pod.write == write);
        self.pod.insert(same.unwrap_or_else(|| {
            let uid = uid();
            let section = format!("pod/{uid}").into();
            PodMemory { write, first_seen: now, uid: uid.into(), section, status: None, ready: None }
        }))
    }
}

impl PodMemory {
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
