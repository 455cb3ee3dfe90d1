//! The nodes of a snapshot: what follows from their reports and their objects, which is kept while these stay as they are, and
//! whether they are here, which is asked anew each time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_crdt_state::{Kind, NameKey, ObjectKey, ObjectState, Scalar, Store};
use skein_gossip::{NodeId, Now};

use super::changes::Changes;
use super::{Component, LOST_AFTER, NodeView, ViewCache};
use crate::model::needs::text_map;
use crate::model::taint::Taint;
use crate::model::{NODE_KIND, PROVIDER_ID_LEAF, PROVIDER_ID_PREFIX};
use crate::scheduler::images::Images;
use crate::scheduler::used::Used;
use crate::slot::Claims;
use crate::status::Claim;

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

/// Looks again at nodes of which something became different; the slots that are claimed, or not any more, since.
pub(super) fn refresh(
    store: &Store,
    component: &Component,
    now: Now,
    cache: &mut ViewCache,
    changes: &Changes,
    left: &BTreeSet<NodeId>,
) -> BTreeSet<ObjectKey> {
    let active = store.members().active();
    let mut claimed = BTreeSet::new();
    let gone: Vec<NodeId> = if changes.members {
        cache.nodes.keys().filter(|id| !active.contains(id)).copied().collect()
    } else {
        Vec::new()
    };
    for id in gone {
        let memory = cache.nodes.remove(&id);
        claimed.extend(memory.iter().flat_map(|memory| &memory.claims).map(|claim| claim.slot.clone()));
    }
    let all = changes.members || changes.node_objects;
    if all {
        objects(store, cache, left);
    }
    let dirty = if all { active } else { &changes.nodes };
    for id in dirty.intersection(active) {
        let claims = look(store, component, now, cache, *id);
        let memory = cache.nodes.entry(*id).or_default();
        let before = std::mem::replace(&mut memory.claims, claims);
        claimed.extend(before.symmetric_difference(&memory.claims).map(|claim| claim.slot.clone()));
    }
    if changes.everything || !claimed.is_empty() {
        cache.claims = Claims::default();
        for (id, memory) in &cache.nodes {
            cache.claims.add(*id, memory.claims.iter().cloned());
        }
    }
    claimed
}

/// All nodes as they are now.
pub(super) fn views(
    store: &Store,
    component: &Component,
    now: Now,
    cache: &mut ViewCache,
) -> BTreeMap<NodeId, NodeView> {
    let active = store.members().active();
    let view = |id: &NodeId| {
        let me = *id == component.me;
        let told = if me { Some(now.mono) } else { component.last_contact.get(id).copied() };
        let memory = cache.nodes.get_mut(id)?;
        let last_contact = memory.last_contact(told, now.mono);
        let mut view = memory.view.clone()?;
        view.alive = me || component.alive.contains(id);
        view.lost = !me && (!view.alive || now.mono.since(last_contact) >= LOST_AFTER);
        view.last_contact = last_contact;
        view.used = cache.used.get(id).cloned().unwrap_or_default();
        Some((*id, view))
    };
    active.iter().filter_map(view).collect()
}

/// Which object stands for which node, and which stand for none any more.
fn objects(store: &Store, cache: &mut ViewCache, left: &BTreeSet<NodeId>) {
    let mut specs = BTreeMap::new();
    cache.node_objects.clear();
    cache.stale_nodes.clear();
    for object in store.live(&Kind::new(NODE_KIND)) {
        let key = object.key();
        let known = cache.node_specs.remove(key).filter(|(version, _)| *version == object.version());
        let (_, spec) = known.unwrap_or_else(|| (object.version(), Arc::new(NodeSpec::of(object))));
        match spec.id {
            Some(id) if left.contains(&id) => cache.stale_nodes.push(key.clone()),
            // Of two objects for one node the first in order stands.
            Some(id) => drop(cache.node_objects.entry(id).or_insert((key.clone(), spec.clone()))),
            None => {}
        }
        specs.insert(key.clone(), (object.version(), spec));
    }
    cache.node_specs = specs;
}

/// Looks at what a node's report and object say; what it claims.
fn look(store: &Store, component: &Component, now: Now, cache: &mut ViewCache, id: NodeId) -> BTreeSet<Claim> {
    let status = store.report(&id, "node").cloned().and_then(|report| cache.node_status(&report));
    let capacity = status.as_ref().map(|status| status.capacity.clone()).unwrap_or_default();
    let down = status.is_some() && !capacity.ready;
    let object = cache.node_objects.get(&id).cloned();
    let (key, spec) = object.map_or((None, Arc::default()), |(key, spec)| (Some(key), spec));
    let own_name = status.as_ref().map(|status| status.name.as_str()).filter(|name| !name.is_empty());
    let mut labels = status.as_ref().map(|status| status.labels.clone()).unwrap_or_default();
    labels.extend(spec.labels.clone());
    let name =
        key.as_ref().map_or_else(|| own_name.map_or_else(|| id.short(), str::to_owned), |key| key.name().to_owned());
    let view = NodeView {
        id,
        free_name: if key.is_none() { own_name.and_then(|name| free_name(store, id, name)) } else { None },
        name: name.into(),
        given_up: key.is_none() && own_name.is_some_and(|name| was_deleted(store, id, name)),
        object: key,
        reported: status.is_some(),
        labels: labels.into(),
        taints: cache.taints(id, &spec.taints, now.mono),
        unschedulable: spec.unschedulable,
        observes: store.members().is_observer(&id),
        images: Images::of(&capacity.images),
        capacity: capacity.into(),
        used: Used::default(),
        engine_down_since: cache.engine_down_since(id, down, now.mono),
        alive: id == component.me,
        last_contact: now.mono,
        lost: false,
    };
    cache.nodes.entry(id).or_default().view = Some(view);
    status.map(|status| status.claims.clone()).unwrap_or_default()
}

/// The names that an object for this node may have: its own, or with the end of its id if another node has that.
fn names(id: NodeId, name: &str) -> [NameKey; 2] {
    let longer = format!("{name}-{}", id.short().to_lowercase());
    [name, &longer].map(|name| NameKey::root(&Kind::new(NODE_KIND), name))
}

/// Whether an object for this node was deleted.
fn was_deleted(store: &Store, id: NodeId, name: &str) -> bool {
    names(id, name).iter().any(|name| store.next_life(name).incarnation() > 1)
}

/// The name that an object for this node may take.
fn free_name(store: &Store, id: NodeId, name: &str) -> Option<NameKey> {
    names(id, name).into_iter().find(|name| name.life(1).check() && store.current_life(name).is_none())
}
