//! The workloads of a snapshot: Deployments, ReplicaSets and pods that nothing owns, each with its slots and pods. A workload
//! is looked at as a whole when something of it became different.

use std::collections::BTreeSet;
use std::sync::Arc;

use skein_crdt_state::{Kind, ObjectKey, ObjectState, Store};
use skein_gossip::Now;

use super::cache::{Kept, Memories, ObjectMemory, Parsed, PodMemory};
use super::changes::Changes;
use super::failures::Failures;
use super::{DeploymentView, PodView, ReplicaSetView, SlotView, SoloView, ViewCache};
use crate::model::needs::PodNeeds;
use crate::model::workload::{DeploymentSpec, ReplicaSetSpec};
use crate::model::{DEPLOYMENT_KIND, POD_KIND, REPLICA_SET_KIND};
use crate::scheduler::takes_room;
use crate::slot::{self, Claims, SLOT_KIND, Value};

/// How many links the key of a workload has: its namespace and itself.
pub(super) const LINKS: usize = 2;

/// A workload in a snapshot.
pub(super) trait Workload {
    /// Its pods that were placed, each with what it asks of its node.
    fn pods(&self) -> impl Iterator<Item = (&PodView, &PodNeeds)>;
}

impl Workload for DeploymentView {
    fn pods(&self) -> impl Iterator<Item = (&PodView, &PodNeeds)> {
        self.replica_sets.iter().flat_map(Workload::pods)
    }
}

impl Workload for ReplicaSetView {
    fn pods(&self) -> impl Iterator<Item = (&PodView, &PodNeeds)> {
        self.slots.iter().filter_map(|slot| Some((slot.pod.as_ref()?, &self.spec.template.needs)))
    }
}

impl Workload for SoloView {
    fn pods(&self) -> impl Iterator<Item = (&PodView, &PodNeeds)> {
        self.pod.iter().map(|pod| (pod, &*self.needs))
    }
}

/// The workloads that have to be looked at again.
pub(super) fn to_refresh(
    store: &Store,
    cache: &ViewCache,
    changes: &Changes,
    claimed: &BTreeSet<ObjectKey>,
) -> BTreeSet<ObjectKey> {
    if changes.everything {
        let kinds = [DEPLOYMENT_KIND, REPLICA_SET_KIND, POD_KIND].map(Kind::new);
        let there = kinds.iter().flat_map(|kind| store.live(kind)).map(|object| object.key());
        let known = cache.deployments.keys().chain(cache.replica_sets.keys()).chain(cache.pods.keys());
        // A ReplicaSet that a Deployment owns has more links.
        return there.chain(known).filter(|key| key.segments().len() == LINKS).cloned().collect();
    }
    let of_objects = changes.objects.iter().chain(claimed).filter_map(|key| key.outermost(LINKS));
    let of_pods = changes.pods.iter().filter_map(|section| cache.sections.get(section).cloned());
    of_objects.chain(of_pods).collect()
}

/// Looks at a workload again.
pub(super) fn refresh(store: &Store, now: Now, cache: &mut ViewCache, root: &ObjectKey) {
    match root.kind().as_str() {
        DEPLOYMENT_KIND => {
            one(store, now, cache, root, |cache| &mut cache.deployments, |look, object| look.deployment(object));
        }
        REPLICA_SET_KIND => {
            one(
                store,
                now,
                cache,
                root,
                |cache| &mut cache.replica_sets,
                |look, object| look.replica_set_alone(object),
            );
        }
        POD_KIND => one(store, now, cache, root, |cache| &mut cache.pods, |look, object| look.solo(object)),
        _ => {}
    }
}

fn one<T: Workload>(
    store: &Store,
    now: Now,
    cache: &mut ViewCache,
    root: &ObjectKey,
    kept: fn(&mut ViewCache) -> &mut Kept<T>,
    look: fn(&mut Look<'_>, &ObjectState) -> Option<T>,
) {
    let (old, before) = kept(cache).take(root).unzip();
    let (claims, failures) = (&cache.claims, &mut cache.failures);
    let mut looking = Look {
        store,
        now,
        claims,
        failures,
        before: before.unwrap_or_default(),
        after: Memories::new(),
        pods_gone: Vec::new(),
        pods_seen: Vec::new(),
    };
    let object = store.object(root).filter(|_| store.is_live(root));
    let view = object.and_then(|object| look(&mut looking, object)).map(Arc::new);
    let Look { before, after, mut pods_gone, pods_seen, .. } = looking;
    // What was not looked at again is gone; with the workload itself all is.
    let gone = before.values().chain(after.values().filter(|_| view.is_none()));
    pods_gone.extend(gone.filter_map(|memory| Some(memory.pod.as_ref()?.section.clone())));
    cache.sections.extend(pods_seen.into_iter().map(|section| (section, root.clone())));
    pods_gone.iter().for_each(|section| drop(cache.sections.remove(section)));
    account(cache, old.as_deref(), view.as_deref());
    if let Some(view) = view {
        kept(cache).put(root, view, after);
    }
}

/// Counts what pods take of their nodes: no more as they were, but as they are.
fn account<T: Workload>(cache: &mut ViewCache, old: Option<&T>, new: Option<&T>) {
    for (pod, needs) in old.into_iter().flat_map(Workload::pods).filter(|(pod, _)| takes_room(pod)) {
        let Some(used) = cache.used.get_mut(&pod.node) else { continue };
        used.remove(needs);
        if used.pods() == 0 {
            cache.used.remove(&pod.node);
        }
    }
    for (pod, needs) in new.into_iter().flat_map(Workload::pods).filter(|(pod, _)| takes_room(pod)) {
        cache.used.entry(pod.node).or_default().add(needs);
    }
}

/// One workload being looked at.
struct Look<'a> {
    store: &'a Store,
    now: Now,
    claims: &'a Claims,
    failures: &'a mut Failures,
    /// What is kept of its objects: what was not looked at again yet, and what was.
    before: Memories,
    after: Memories,
    /// The sections of pods that are not wanted any more, and of those that are seen for the first time.
    pods_gone: Vec<Arc<str>>,
    pods_seen: Vec<Arc<str>>,
}

impl Look<'_> {
    fn deployment(&mut self, object: &ObjectState) -> Option<DeploymentView> {
        let parsed = self.parsed(object, |state| Parsed::Deployment(DeploymentSpec::of(state).into()));
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

    /// A ReplicaSet that no Deployment owns, with its slots.
    fn replica_set_alone(&mut self, object: &ObjectState) -> Option<ReplicaSetView> {
        let mut set = self.replica_set(object)?;
        for child in self.store.children(object.key()) {
            set.slots.extend(self.slot(&set.key, child));
        }
        set.slots.sort_by_key(|slot| slot.number);
        Some(set)
    }

    fn replica_set(&mut self, object: &ObjectState) -> Option<ReplicaSetView> {
        let parsed = self.parsed(object, |state| Parsed::ReplicaSet(ReplicaSetSpec::of(state).into()));
        let Parsed::ReplicaSet(spec) = parsed else { return None };
        Some(ReplicaSetView { key: object.key().clone(), spec, slots: Vec::new() })
    }

    fn slot(&mut self, set: &ObjectKey, object: &ObjectState) -> Option<SlotView> {
        let key = object.key();
        let of_set = key.kind().as_str() == SLOT_KIND && key.is_within(set);
        let number = key.name().parse().ok().filter(|_| of_set)?;
        let parsed = self.parsed(object, |state| Parsed::Slot(slot::values(state).into()));
        let Parsed::Slot(values) = parsed else { return None };
        let pod = self.pod(key, &values);
        let waiting = values.iter().map(|value| (value.stamp, value.write)).min().map(|(_, write)| write);
        let value = pod.as_ref().map(|pod| pod.write).or(waiting);
        let sole = values.first().filter(|_| values.len() == 1).copied();
        let back_off = |pod: &PodView| self.failures.back_off(key, pod.write, pod.status.as_deref(), self.now.mono);
        let not_before = pod.as_ref().and_then(back_off);
        Some(SlotView { key: key.clone(), number, pod, value, sole, not_before })
    }

    fn solo(&mut self, object: &ObjectState) -> Option<SoloView> {
        let parse = |state: &ObjectState| {
            let needs = state.to_json().get("spec").map(PodNeeds::of).unwrap_or_default();
            Parsed::Pod(needs.into(), slot::values(state).into())
        };
        let Parsed::Pod(needs, values) = self.parsed(object, parse) else { return None };
        let pod = self.pod(object.key(), &values);
        Some(SoloView { key: object.key().clone(), needs, pod })
    }

    /// What an object parses to.
    fn parsed(&mut self, object: &ObjectState, parse: impl Fn(&ObjectState) -> Parsed) -> Parsed {
        let memory = ObjectMemory::refreshed(self.before.remove(object.key()), object, parse);
        let parsed = memory.parsed.clone();
        self.after.insert(object.key().clone(), memory);
        parsed
    }

    /// The pod that is wanted of those that a slot's values name.
    fn pod(&mut self, slot: &ObjectKey, values: &[Value]) -> Option<PodView> {
        let memory = self.after.get_mut(slot)?;
        let won = slot::winner(values, self.claims.on(slot))?;
        if let Some(old) = memory.pod.take_if(|pod| pod.write != won.write) {
            self.pods_gone.push(old.section);
        }
        let pod = memory.pod.get_or_insert_with(|| {
            let pod = PodMemory::new(won.write, self.now.mono, slot::pod_uid(&self.store.cluster(), slot, &won.write));
            self.pods_seen.push(pod.section.clone());
            pod
        });
        let status = pod.status(self.store.report(&won.node, &pod.section));
        Some(PodView {
            node: won.node,
            write: won.write,
            uid: pod.uid.clone(),
            claimed: won.claimed,
            status,
            first_seen: pod.first_seen,
            ready_since: pod.ready_since(self.now.mono),
        })
    }
}
