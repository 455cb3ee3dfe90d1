//! How a snapshot is taken: nodes first, since claims come from their reports, then workloads with their slots and pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_crdt_state::{Kind, NameKey, ObjectKey, ObjectState, Scalar, Store};
use skein_gossip::{NodeId, Now};

use super::cache::{ObjectMemory, Parsed};
use super::{
    Component, DeploymentView, LOST_AFTER, NodeView, PodView, ReplicaSetView, SlotView, SoloView, View, ViewCache,
    owners,
};
use crate::model::needs::{PodNeeds, text_map};
use crate::model::taint::Taint;
use crate::model::workload::{DeploymentSpec, ReplicaSetSpec, Strategy};
use crate::model::{DEPLOYMENT_KIND, NODE_KIND, POD_KIND, PROVIDER_ID_LEAF, PROVIDER_ID_PREFIX, REPLICA_SET_KIND};
use crate::slot::{self, Claims, SLOT_KIND, Value};
use crate::status::{Phase, PodStatus};

/// What people want of a node.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeSpec {
    id: Option<NodeId>,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    unschedulable: bool,
}

impl NodeSpec {
    fn of(state: &ObjectState) -> Self {
        let json = state.to_json();
        let provider = state.get(PROVIDER_ID_LEAF).and_then(Scalar::as_str);
        NodeSpec {
            id: provider.and_then(|text| text.strip_prefix(PROVIDER_ID_PREFIX)?.parse().ok()),
            labels: text_map(json.pointer("/metadata/labels")),
            taints: json.pointer("/spec/taints").map(Taint::list).unwrap_or_default(),
            unschedulable: matches!(state.get("spec.unschedulable"), Some(Scalar::Bool(true))),
        }
    }
}

impl View {
    /// Takes a snapshot.
    #[must_use]
    pub fn build(store: &Store, component: &Component, now: Now, cache: &mut ViewCache) -> View {
        cache.begin(now.mono);
        let mut builder = Builder { store, component, now, cache, claims: Claims::default() };
        let members = store.members();
        let left = members.iter().filter(|member| !member.is_active()).map(|member| member.id).collect();
        let (nodes, stale_nodes) = builder.nodes(&left);
        let mut seen = component.seen_24h.clone();
        seen.insert(component.me);
        let here = seen.iter().filter(|id| nodes.get(*id).is_some_and(|node| !node.lost)).count();
        let mut view = View {
            now,
            cluster: store.cluster(),
            me: component.me,
            quorate: component.quorate,
            here,
            seen: seen.len(),
            nodes,
            left,
            stale_nodes,
            deployments: builder.deployments(),
            replica_sets: builder.replica_sets(),
            pods: builder.pods(),
            lingering: BTreeSet::new(),
            orphans: Vec::new(),
            next_orphan: None,
        };
        view.lingering = lingering(store, &view);
        (view.orphans, view.next_orphan) = owners::orphans(store, now, cache, &view);
        cache.sweep(|key| store.is_live(key));
        view
    }
}

struct Builder<'a> {
    store: &'a Store,
    component: &'a Component,
    now: Now,
    cache: &'a mut ViewCache,
    claims: Claims,
}

impl Builder<'_> {
    fn nodes(&mut self, left: &BTreeSet<NodeId>) -> (BTreeMap<NodeId, NodeView>, Vec<ObjectKey>) {
        let mut objects: BTreeMap<NodeId, (ObjectKey, Arc<NodeSpec>)> = BTreeMap::new();
        let mut stale = Vec::new();
        for object in self.store.live(&Kind::new(NODE_KIND)) {
            let parsed = self.cache.parsed(object, |state| Parsed::Node(NodeSpec::of(state).into()));
            let (Parsed::Node(spec), key) = (parsed, object.key()) else { continue };
            match spec.id {
                Some(id) if left.contains(&id) => stale.push(key.clone()),
                // Of two objects for one node the first in order stands.
                Some(id) => drop(objects.entry(id).or_insert((key.clone(), spec))),
                None => {}
            }
        }
        let active = self.store.members().active().clone();
        let nodes = active.into_iter().map(|id| (id, self.node(id, objects.remove(&id)))).collect();
        (nodes, stale)
    }

    fn node(&mut self, id: NodeId, object: Option<(ObjectKey, Arc<NodeSpec>)>) -> NodeView {
        let now = self.now.mono;
        let report = self.store.report(&id, "node").cloned();
        let status = report.and_then(|report| self.cache.node_status(&report));
        if let Some(status) = &status {
            self.claims.add(id, status.claims.iter().cloned());
        }
        let me = id == self.component.me;
        let told = if me { Some(now) } else { self.component.last_contact.get(&id).copied() };
        let last_contact = self.cache.last_contact(id, told, now);
        let alive = me || self.component.alive.contains(&id);
        let capacity = status.as_ref().map(|status| status.capacity.clone()).unwrap_or_default();
        let down = status.is_some() && !capacity.ready;
        let (key, spec) = object.map_or((None, Arc::default()), |(key, spec)| (Some(key), spec));
        let own_name = status.as_ref().map(|status| status.name.as_str()).filter(|name| !name.is_empty());
        let mut labels = status.as_ref().map(|status| status.labels.clone()).unwrap_or_default();
        labels.extend(spec.labels.clone());
        let name = key
            .as_ref()
            .map_or_else(|| own_name.map_or_else(|| id.short(), str::to_owned), |key| key.name().to_owned());
        NodeView {
            id,
            free_name: if key.is_none() { own_name.and_then(|name| self.free_name(id, name)) } else { None },
            name: name.into(),
            given_up: key.is_none() && own_name.is_some_and(|name| self.was_deleted(id, name)),
            object: key,
            reported: status.is_some(),
            labels,
            taints: self.cache.taints(id, &spec.taints, now),
            unschedulable: spec.unschedulable,
            capacity,
            engine_down_since: self.cache.engine_down_since(id, down, now),
            alive,
            last_contact,
            lost: !me && (!alive || now.since(last_contact) >= LOST_AFTER),
        }
    }

    /// The names that an object for this node may have: its own, or with the end of its id if another node has that.
    fn names(id: NodeId, name: &str) -> [NameKey; 2] {
        let longer = format!("{name}-{}", id.short().to_lowercase());
        [name, &longer].map(|name| NameKey::root(&Kind::new(NODE_KIND), name))
    }

    /// Whether an object for this node was deleted.
    fn was_deleted(&self, id: NodeId, name: &str) -> bool {
        Self::names(id, name).iter().any(|name| self.store.next_life(name).incarnation() > 1)
    }

    /// The name that an object for this node may take.
    fn free_name(&self, id: NodeId, name: &str) -> Option<NameKey> {
        Self::names(id, name).into_iter().find(|name| name.life(1).check() && self.store.current_life(name).is_none())
    }

    fn deployments(&mut self) -> Vec<DeploymentView> {
        let kind = Kind::new(DEPLOYMENT_KIND);
        let objects: Vec<_> = self.store.live(&kind).cloned().collect();
        objects.iter().filter_map(|object| self.deployment(object)).collect()
    }

    fn deployment(&mut self, object: &ObjectState) -> Option<DeploymentView> {
        let parsed = self.cache.parsed(object, |state| Parsed::Deployment(DeploymentSpec::of(state).into()));
        let (Parsed::Deployment(spec), key) = (parsed, object.key().clone()) else { return None };
        let set_kind = Kind::new(REPLICA_SET_KIND);
        let name = format!("{}-{}", key.name(), spec.template_hash);
        let current = self.store.next_life(&key.name_of_child(&set_kind, &name));
        let mut replica_sets: Vec<ReplicaSetView> = Vec::new();
        for child in self.store.children(&key) {
            if *child.key().kind() == set_kind {
                replica_sets.extend(self.replica_set(child));
            } else if let Some(set) = replica_sets.last_mut() {
                set.slots.extend(self.slot(&set.key, child));
            }
        }
        replica_sets.iter_mut().for_each(|set| set.slots.sort_by_key(|slot| slot.number));
        Some(DeploymentView { key, spec, current, replica_sets })
    }

    fn replica_sets(&mut self) -> Vec<ReplicaSetView> {
        // One that a Deployment owns has four links with its own.
        let of_users = |object: &&Arc<ObjectState>| object.key().segments().len() == 2;
        let objects: Vec<_> = self.store.live(&Kind::new(REPLICA_SET_KIND)).filter(of_users).cloned().collect();
        let mut sets = Vec::new();
        for object in &objects {
            let Some(mut set) = self.replica_set(object) else { continue };
            for child in self.store.children(object.key()) {
                set.slots.extend(self.slot(&set.key, child));
            }
            set.slots.sort_by_key(|slot| slot.number);
            sets.push(set);
        }
        sets
    }

    fn replica_set(&mut self, object: &ObjectState) -> Option<ReplicaSetView> {
        let parsed = self.cache.parsed(object, |state| Parsed::ReplicaSet(ReplicaSetSpec::of(state).into()));
        let Parsed::ReplicaSet(spec) = parsed else { return None };
        Some(ReplicaSetView { key: object.key().clone(), spec, slots: Vec::new() })
    }

    fn slot(&mut self, set: &ObjectKey, object: &ObjectState) -> Option<SlotView> {
        let key = object.key();
        let of_set = key.kind().as_str() == SLOT_KIND && key.is_within(set);
        let number = key.name().parse().ok().filter(|_| of_set)?;
        let memory = self.cache.object(object, |state| Parsed::Slot(slot::values(state).into()));
        let Parsed::Slot(values) = memory.parsed.clone() else { return None };
        let pod = pod(self.store, &self.claims, self.now, memory, key, &values);
        let waiting = values.iter().map(|value| (value.stamp, value.write)).min().map(|(_, write)| write);
        let value = pod.as_ref().map(|pod| pod.write).or(waiting);
        let sole = values.first().filter(|_| values.len() == 1).copied();
        let not_before =
            pod.as_ref().and_then(|pod| self.cache.back_off(key, pod.write, pod.status.as_deref(), self.now.mono));
        Some(SlotView { key: key.clone(), number, pod, value, sole, not_before })
    }

    fn pods(&mut self) -> Vec<SoloView> {
        let objects: Vec<_> = self.store.live(&Kind::new(POD_KIND)).cloned().collect();
        objects.iter().filter_map(|object| self.solo(object)).collect()
    }

    fn solo(&mut self, object: &ObjectState) -> Option<SoloView> {
        let parse = |state: &ObjectState| {
            let needs = state.to_json().get("spec").map(PodNeeds::of).unwrap_or_default();
            Parsed::Pod(needs.into(), slot::values(state).into())
        };
        let memory = self.cache.object(object, parse);
        let Parsed::Pod(needs, values) = memory.parsed.clone() else { return None };
        let pod = pod(self.store, &self.claims, self.now, memory, object.key(), &values);
        Some(SoloView { key: object.key().clone(), needs, pod })
    }
}

/// The pod that is wanted of those that a slot's values name.
fn pod(
    store: &Store,
    claims: &Claims,
    now: Now,
    memory: &mut ObjectMemory,
    slot: &ObjectKey,
    values: &[Value],
) -> Option<PodView> {
    let won = slot::winner(values, claims.on(slot))?;
    let memory = memory.pod(won.write, now.mono, || slot::pod_uid(&store.cluster(), slot, &won.write));
    let status = memory.status(store.report(&won.node, &memory.section));
    Some(PodView {
        node: won.node,
        write: won.write,
        uid: memory.uid.clone(),
        claimed: won.claimed,
        status,
        first_seen: memory.first_seen,
        ready_since: memory.ready_since(now.mono),
    })
}

/// The slots of pods that still run though their slot is gone, for Deployments that wait for that.
fn lingering(store: &Store, view: &View) -> BTreeSet<String> {
    let waits = |deployment: &&DeploymentView| {
        let current = deployment.replica_sets.iter().find(|set| set.key == deployment.current);
        let slots = current.map_or(0, |set| set.slots.len());
        deployment.spec.strategy == Strategy::Recreate && slots < deployment.spec.replicas as usize
    };
    let prefixes: Vec<String> =
        view.deployments.iter().filter(waits).map(|deployment| format!("{}/", deployment.key)).collect();
    if prefixes.is_empty() {
        return BTreeSet::new();
    }
    let wanted: BTreeSet<String> = view.slots().map(|(_, slot)| slot.key.to_string()).collect();
    let pods = store.reports().filter(|(node, section, _)| section.starts_with("pod/") && !view.is_lost(node));
    let pods = pods.filter_map(|(_, _, report)| postcard::from_bytes::<PodStatus>(&report.body).ok());
    pods.filter(|status| matches!(status.phase, Phase::Pending | Phase::Running))
        .map(|status| status.slot)
        .filter(|slot| prefixes.iter().any(|prefix| slot.starts_with(prefix)) && !wanted.contains(slot))
        .collect()
}
