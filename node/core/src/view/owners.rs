//! Owner references that people wrote (`metadata.ownerReferences`), and which objects they leave without an owner.
//!
//! Objects whose key names their owner need none of this: they die with it. But a slot's ReplicaSet may be missing though nobody
//! has ended it, where the only disk that had it was damaged: such a slot counts for no workload and is collected here.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use skein_crdt_state::{Kind, ObjectKey, ObjectState, Store};
use skein_gossip::{Instant, Now};

use super::changes::Changes;
use super::{View, ViewCache};
use crate::model::closing::closing;
use crate::model::{NAMESPACE_KIND, REPLICA_SET_KIND};
use crate::slot::SLOT_KIND;

/// How long an owner may be unknown before its dependents are collected: its creation may be on its way from a peer.
const UNKNOWN_OWNER_GRACE: Duration = Duration::from_secs(30);
/// How long a slot's ReplicaSet may be missing: it may be on its way from a peer. Shorter than any leader's tenure, since the next one
/// begins to count anew.
const MISSING_SET_GRACE: Duration = Duration::from_secs(5);
/// How many past lives of an owner's name are compared.
const PAST_LIVES: u32 = 64;

/// One entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnerReference {
    uid: String,
    kind: Kind,
    name: String,
    /// Whether its owner, if it goes in the foreground, goes after it.
    blocks: bool,
}

impl OwnerReference {
    /// Whether an object has any: most have none, and making JSON of them would cost more than all the rest.
    fn any(object: &ObjectState) -> bool {
        const PATH: &str = "metadata.ownerReferences";
        let first = object.leaves().range::<str, _>((Bound::Included(PATH), Bound::Unbounded)).next();
        first.is_some_and(|(path, _)| path.starts_with(PATH))
    }

    /// Reads an object's.
    pub(super) fn list(object: &ObjectState) -> Vec<Self> {
        let json = object.to_json();
        let entries = json.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        entries.into_iter().flatten().map(OwnerReference::read).collect()
    }

    fn read(entry: &Value) -> Self {
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
        let kind = if group.is_empty() { text("kind").to_owned() } else { format!("{}.{group}", text("kind")) };
        let blocks = entry.get("blockOwnerDeletion").and_then(Value::as_bool).unwrap_or(false);
        OwnerReference { uid: text("uid").to_owned(), kind: Kind::new(&kind), name: text("name").to_owned(), blocks }
    }

    /// Whether it names a life that is known to be over: of an object directly below the namespace.
    fn is_known_dead(&self, store: &Store, namespace: &ObjectKey) -> bool {
        if !namespace.child(&self.kind, &self.name, 1).check() {
            return false;
        }
        let name = namespace.name_of_child(&self.kind, &self.name);
        let next = store.next_life(&name);
        let over = if store.is_live(&next) { next.incarnation() - 1 } else { next.incarnation().saturating_sub(1) };
        let past = over.saturating_sub(PAST_LIVES)..=over;
        past.filter(|life| *life > 0).any(|life| name.life(life).uid(&store.cluster()).to_string() == self.uid)
    }
}

/// The objects in which people wrote owners.
#[derive(Debug, Clone, Default)]
pub(super) struct Dependents {
    owners: BTreeMap<ObjectKey, Arc<[OwnerReference]>>,
    /// What goes after its dependents, each with the finalizers that it keeps.
    closing: BTreeMap<ObjectKey, Arc<[String]>>,
    /// Since when none of an object's owners is known.
    unknown_since: BTreeMap<ObjectKey, Instant>,
    /// The slots whose ReplicaSet is missing, and since when it is.
    strays: BTreeMap<ObjectKey, Option<Instant>>,
}

impl Dependents {
    /// Forgets since when owners are not known.
    pub(super) fn forget_unknown(&mut self) {
        self.unknown_since.clear();
        self.strays.values_mut().for_each(|since| *since = None);
    }

    /// Looks again at what became different.
    fn refresh(&mut self, store: &Store, changes: &Changes) {
        self.refresh_strays(store, changes);
        if changes.everything {
            let kind = Kind::new(NAMESPACE_KIND);
            let objects = store.live(&kind).flat_map(|namespace| store.children(namespace.key()));
            (self.owners, self.closing) = (BTreeMap::new(), BTreeMap::new());
            for object in objects {
                if OwnerReference::any(object) {
                    self.owners.insert(object.key().clone(), OwnerReference::list(object).into());
                }
                if let Some(finalizers) = closing(object) {
                    self.closing.insert(object.key().clone(), finalizers.into());
                }
            }
            self.unknown_since.retain(|key, _| self.owners.contains_key(key));
        }
        for key in changes.objects.iter().filter(|key| key.namespace().is_some()) {
            match store.object(key).filter(|_| store.is_live(key)).and_then(|object| closing(object)) {
                Some(finalizers) => drop(self.closing.insert(key.clone(), finalizers.into())),
                None => drop(self.closing.remove(key)),
            }
            match store.object(key).filter(|object| store.is_live(key) && OwnerReference::any(object)) {
                Some(object) => drop(self.owners.insert(key.clone(), OwnerReference::list(object).into())),
                None => {
                    self.owners.remove(key);
                    self.unknown_since.remove(key);
                }
            }
        }
    }
}

impl Dependents {
    fn refresh_strays(&mut self, store: &Store, changes: &Changes) {
        let kind = Kind::new(SLOT_KIND);
        let mut came: Vec<&ObjectKey> = Vec::new();
        if changes.everything {
            came.extend(store.live(&kind).map(|slot| slot.key()));
        }
        came.extend(changes.objects.iter().filter(|key| *key.kind() == kind));
        for key in came.into_iter().filter(|key| is_stray(store, key)) {
            self.strays.entry(key.clone()).or_default();
        }
        // There are none but after damage.
        self.strays.retain(|key, _| is_stray(store, key));
    }

    /// The slots whose ReplicaSet has been missing for long enough, and when to look again for the others.
    fn collectable(&mut self, now: Instant) -> (Vec<ObjectKey>, Option<Instant>) {
        let (mut orphans, mut next) = (Vec::new(), None);
        for (key, since) in &mut self.strays {
            let counts_from = *since.get_or_insert(now) + MISSING_SET_GRACE;
            if counts_from <= now {
                orphans.push(key.clone());
            } else {
                next = Some(next.map_or(counts_from, |next: Instant| next.min(counts_from)));
            }
        }
        (orphans, next)
    }
}

/// Whether a slot is there and its ReplicaSet is not.
fn is_stray(store: &Store, key: &ObjectKey) -> bool {
    let lacks_set = |set: ObjectKey| set.kind().as_str() == REPLICA_SET_KIND && store.object(&set).is_none();
    store.is_live(key) && store.object(key).is_some() && key.owner().is_some_and(lacks_set)
}

/// What owners leave behind, or go after.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The objects all of whose owners are gone, or go after them.
    pub(super) orphans: Vec<ObjectKey>,
    /// When to look again for those whose owners are not known yet.
    pub(super) next: Option<Instant>,
    /// The objects that go after others, once there are none of these.
    pub(super) closing: Vec<(ObjectKey, Arc<[String]>)>,
}

/// Finds the objects whose owners are all gone or going, and the owners that nothing holds any more.
pub(super) fn orphans(store: &Store, now: Now, cache: &mut ViewCache, changes: &Changes, view: &View) -> Found {
    cache.dependents.refresh(store, changes);
    let mut closing = cache.dependents.closing.clone();
    closing.retain(|key, _| store.is_live(key));
    let (mut orphans, mut next) = cache.dependents.collectable(now.mono);
    if cache.dependents.owners.is_empty() {
        return Found { orphans, next, closing: closing.into_iter().collect() };
    }
    let alive = live_uids(store, cache, view);
    let cluster = store.cluster();
    let going: BTreeMap<Arc<str>, ObjectKey> =
        closing.keys().map(|key| (cache.uid(&cluster, key), key.clone())).collect();
    let Dependents { owners, unknown_since, .. } = &mut cache.dependents;
    for (object, owners) in owners {
        let Some(namespace) = object.outermost(1).filter(|namespace| store.is_live(namespace)) else { continue };
        let goes = |owner: &&OwnerReference| going.contains_key(&*owner.uid);
        if owners.iter().any(|owner| alive.contains(&*owner.uid) && !goes(&owner)) {
            unknown_since.remove(object);
            continue;
        }
        if owners.iter().any(|owner| goes(&owner)) {
            unknown_since.remove(object);
            for owner in owners.iter().filter(|owner| owner.blocks).filter_map(|owner| going.get(&*owner.uid)) {
                closing.remove(owner);
            }
            orphans.push(object.clone());
            continue;
        }
        let counts_from = *unknown_since.entry(object.clone()).or_insert(now.mono) + UNKNOWN_OWNER_GRACE;
        if counts_from <= now.mono || owners.iter().all(|owner| owner.is_known_dead(store, &namespace)) {
            orphans.push(object.clone());
        } else {
            next = Some(next.map_or(counts_from, |next: Instant| next.min(counts_from)));
        }
    }
    Found { orphans, next, closing: closing.into_iter().collect() }
}

/// The uids of all that is there: objects, and the pods of slots.
fn live_uids(store: &Store, cache: &mut ViewCache, view: &View) -> BTreeSet<Arc<str>> {
    let cluster = store.cluster();
    let mut uids = BTreeSet::new();
    for namespace in store.live(&Kind::new(NAMESPACE_KIND)) {
        uids.insert(cache.uid(&cluster, namespace.key()));
        uids.extend(store.children(namespace.key()).map(|object| cache.uid(&cluster, object.key())));
    }
    uids.extend(view.nodes.values().filter_map(|node| node.object.as_ref()).map(|key| cache.uid(&cluster, key)));
    uids.extend(view.slots().filter_map(|(_, slot)| slot.pod.as_ref()).map(|pod| pod.uid.clone()));
    uids
}
