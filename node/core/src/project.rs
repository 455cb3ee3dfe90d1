//! The projection: the API's objects, rendered as Kubernetes shows them from objects, reports and who is alive.
//!
//! It is kept up to date from what changed: each object of the API is made by one *unit* (a stored object, a slot, a node,
//! a node's events), and `facts` knows which units a change concerns. What is rendered is the same at all peers that
//! know the same and see the same nodes alive. How a kind looks is in the modules below; watches, tables and versions for
//! clients are the API's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use skein_crdt_state::{Kind, ObjectKey, Store, StoreChange, WriteId};
use skein_gossip::NodeId;

mod conflict;
mod event;
mod facts;
mod metadata;
mod node;
mod pod;
mod pod_status;
mod stored;
mod workload;

#[cfg(test)]
mod tests;

use facts::Facts;

pub use metadata::rfc3339;
pub(crate) use stored::given_uid;

/// How long an object is not shown anew while texts that it mentions are missing: peers give them within an exchange or two.
const PATIENCE_WITH_TEXTS_MS: u64 = 5000;

/// Names an object as a client does: the API knows no incarnations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiRef {
    /// The kind with its group.
    pub kind: Kind,
    /// The namespace; empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

/// An object as clients see it at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The whole object but for `metadata.resourceVersion`, which the API adds.
    pub value: Arc<Value>,
    /// What a write must name; of a slot's pod it is the slot. `None`: it exists in reports only, such as an Event, or a
    /// pod that is not wanted any more.
    pub key: Option<ObjectKey>,
    /// The heads of the stored object.
    pub heads: Vec<WriteId>,
    /// 47 bits, the same at all peers: milliseconds since 2024-01-01 of the newest contribution, then a hash of the value.
    /// It differs from that of the value before, at this peer.
    pub stamp: u64,
}

/// One object that changed for clients. `None` to `Some`: it came; `Some` to `None`: it went.
#[derive(Debug, Clone)]
pub struct ProjectedChange {
    /// Which one.
    pub object: ApiRef,
    /// Before.
    pub old: Option<Arc<Rendered>>,
    /// After.
    pub new: Option<Arc<Rendered>>,
}

/// Where a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// On which node.
    pub node: NodeId,
    /// Its slot, or its own key when nothing owns it.
    pub slot: ObjectKey,
    /// The value that placed it.
    pub write: WriteId,
    /// Its uid.
    pub uid: String,
}

/// What is rendered from.
pub struct Sources<'a> {
    /// Objects and reports.
    pub store: &'a Store,
    /// Whom the failure detector sees alive.
    pub alive: &'a BTreeSet<NodeId>,
    /// Milliseconds since the Unix epoch: whether a pod has been ready for long enough, or a rollout has taken too long.
    pub wall_ms: u64,
    /// What clients trust the API by, as PEM; empty: there is none.
    pub ca_certificate: &'a str,
}

/// The API's objects.
#[derive(Debug, Default)]
pub struct Projection {
    shown: BTreeMap<ApiRef, Vec<Offer>>,
    made: BTreeMap<Unit, BTreeSet<ApiRef>>,
    facts: Facts,
    due: BTreeSet<(u64, Unit)>,
    due_of: BTreeMap<Unit, u64>,
    /// Objects of which texts that are kept beside the document have not arrived, and until when that is waited for.
    incomplete: BTreeMap<ObjectKey, u64>,
    /// What every cluster has without anybody writing it.
    built_in: Vec<Value>,
}

/// What makes objects of the API. The order is that in which units are rendered: workloads count the pods before them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Node(NodeId),
    Events(NodeId),
    /// A slot's pods, or the pod that nothing owns.
    Pods(ObjectKey),
    Object(ObjectKey),
}

/// An object as one unit makes it. Of several units that make objects of one name the first offer is shown.
#[derive(Debug)]
struct Offer {
    /// Whether it is over and only lingers; then anything else of that name is shown instead.
    over: bool,
    unit: Unit,
    rendered: Arc<Rendered>,
    at: Option<Whereabouts>,
}

/// What rendering a unit gives, for each object.
struct Made {
    object: ApiRef,
    value: Value,
    key: Option<ObjectKey>,
    heads: Vec<WriteId>,
    newest_ms: u64,
    over: bool,
    at: Option<Whereabouts>,
}

impl Projection {
    /// An empty one. `built_in` are objects in no namespace that are shown as long as nobody stores one of their name.
    #[must_use]
    pub fn with_built_in(built_in: Vec<Value>) -> Self {
        Projection { built_in, ..Projection::default() }
    }

    /// An object.
    #[must_use]
    pub fn get(&self, object: &ApiRef) -> Option<&Arc<Rendered>> {
        self.shown.get(object)?.first().map(|offer| &offer.rendered)
    }

    /// All objects of a kind, in one namespace or in all, by namespace and name.
    pub fn list(&self, kind: &Kind, namespace: Option<&str>) -> impl Iterator<Item = (&ApiRef, &Arc<Rendered>)> {
        let from = ApiRef { kind: kind.clone(), namespace: namespace.unwrap_or_default().into(), name: "".into() };
        let (kind, namespace) = (kind.clone(), namespace.map(str::to_owned));
        let all = self.shown.range(from..).take_while(move |(object, _)| {
            object.kind == kind && namespace.as_deref().is_none_or(|namespace| *object.namespace == *namespace)
        });
        all.filter_map(|(object, offers)| Some((object, &offers.first()?.rendered)))
    }

    /// What a write to an object must name.
    #[must_use]
    pub fn key_of(&self, object: &ApiRef) -> Option<&ObjectKey> {
        self.get(object)?.key.as_ref()
    }

    /// Where a pod is; `None`: there is no such pod, or it waits for a node.
    #[must_use]
    pub fn where_is(&self, pod: &ApiRef) -> Option<&Whereabouts> {
        self.shown.get(pod)?.first()?.at.as_ref()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shown.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }

    /// When something becomes different although nothing is written, in milliseconds since the Unix epoch: call
    /// [`Projection::refresh`] then.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Renders everything that the store holds: what a daemon does first.
    pub fn rebuild(&mut self, sources: &Sources<'_>) -> Vec<ProjectedChange> {
        let objects = sources.store.objects().map(|object| StoreChange::Object(object.key().clone()));
        let reports = sources.store.reports().map(|(node, section, _)| StoreChange::Report(*node, section.into()));
        let changes = objects.chain(reports).chain([StoreChange::Members]).collect();
        self.refresh(sources, &changes)
    }

    /// Takes in what the store says has changed, and who is alive now. Returns what became different for clients.
    pub fn refresh(&mut self, sources: &Sources<'_>, changes: &BTreeSet<StoreChange>) -> Vec<ProjectedChange> {
        let mut open = self.facts.take_in(sources, changes);
        while self.due.first().is_some_and(|(at, _)| *at <= sources.wall_ms) {
            open.extend(self.due.pop_first().map(|(_, unit)| unit));
        }
        let mut before: BTreeMap<ApiRef, Option<Arc<Rendered>>> = BTreeMap::new();
        while let Some(unit) = open.pop_first() {
            let mut made = match &unit {
                Unit::Node(node) => self.facts.render_node(sources, node),
                Unit::Events(node) => self.facts.render_events(sources, node),
                Unit::Pods(slot) => self.facts.render_pods(sources, slot, &mut open),
                Unit::Object(key) if self.waits_for_texts(sources, key) => continue,
                Unit::Object(key) => {
                    let (made, due_ms) = self.facts.render_object(sources, key);
                    self.set_due(&unit, due_ms);
                    let built_in = stored::built_in(sources, key, &self.built_in);
                    made.into_iter().chain(self.facts.given(sources, key)).chain(built_in).collect()
                }
            };
            if let Unit::Object(key) | Unit::Pods(key) = &unit {
                made.extend(conflict::events(sources, key));
            }
            self.put(unit, made, &mut before);
        }
        self.changes_since(before)
    }

    /// Until all of an object has arrived, clients see what they saw before; its arrival is a change. If nobody who is here has
    /// the rest, they see it as it is, which an annotation says.
    fn waits_for_texts(&mut self, sources: &Sources<'_>, key: &ObjectKey) -> bool {
        if sources.store.object(key).is_none_or(|object| sources.store.is_complete(object)) {
            self.incomplete.remove(key);
            return false;
        }
        // A clock that goes back makes nobody wait longer.
        let latest = sources.wall_ms + PATIENCE_WITH_TEXTS_MS;
        let until = self.incomplete.entry(key.clone()).or_insert(latest);
        *until = latest.min(*until);
        let until = *until;
        let waits = sources.wall_ms < until;
        if waits {
            self.set_due(&Unit::Object(key.clone()), Some(until));
        }
        waits
    }

    fn set_due(&mut self, unit: &Unit, due_ms: Option<u64>) {
        if let Some(old) = self.due_of.remove(unit) {
            self.due.remove(&(old, unit.clone()));
        }
        if let Some(due_ms) = due_ms {
            self.due_of.insert(unit.clone(), due_ms);
            self.due.insert((due_ms, unit.clone()));
        }
    }

    /// Puts what a unit makes in the place of what it made before.
    fn put(&mut self, unit: Unit, made: Vec<Made>, before: &mut BTreeMap<ApiRef, Option<Arc<Rendered>>>) {
        let now: BTreeSet<ApiRef> = made.iter().map(|made| made.object.clone()).collect();
        let gone = self.made.remove(&unit).unwrap_or_default();
        for object in gone.difference(&now) {
            let shown = self.get(object).cloned();
            before.entry(object.clone()).or_insert(shown);
            if let Some(offers) = self.shown.get_mut(object) {
                offers.retain(|offer| offer.unit != unit);
                if offers.is_empty() {
                    self.shown.remove(object);
                }
            }
        }
        for Made { object, value, key, heads, newest_ms, over, at } in made {
            let shown = self.get(&object).cloned();
            before.entry(object.clone()).or_insert(shown);
            let stamp = metadata::stamp(newest_ms, &value);
            let rendered = Arc::new(Rendered { value: Arc::new(value), key, heads, stamp });
            let offers = self.shown.entry(object).or_default();
            offers.retain(|offer| offer.unit != unit);
            offers.push(Offer { over, unit: unit.clone(), rendered, at });
            offers.sort_by(|a, b| (a.over, &a.unit).cmp(&(b.over, &b.unit)));
        }
        if !now.is_empty() {
            self.made.insert(unit, now);
        }
    }

    fn changes_since(&mut self, before: BTreeMap<ApiRef, Option<Arc<Rendered>>>) -> Vec<ProjectedChange> {
        let mut changes = Vec::new();
        for (object, old) in before {
            if let (Some(old), Some(offer)) = (&old, self.shown.get_mut(&object).and_then(|offers| offers.first_mut()))
            {
                if old.value != offer.rendered.value && old.stamp == offer.rendered.stamp {
                    let stamp = metadata::another(old.stamp);
                    offer.rendered = Arc::new(Rendered { stamp, ..(*offer.rendered).clone() });
                } else if old.value == offer.rendered.value && old.stamp >> 6 == offer.rendered.stamp >> 6 {
                    // A stamp that was moved to differ from the value before stays while the value does.
                    offer.rendered = Arc::new(Rendered { stamp: old.stamp, ..(*offer.rendered).clone() });
                }
            }
            let new = self.get(&object).cloned();
            if old != new {
                changes.push(ProjectedChange { object, old, new });
            }
        }
        changes
    }
}

/// The name of a stored object at the API.
fn api_ref(key: &ObjectKey) -> ApiRef {
    ApiRef { kind: key.kind().clone(), namespace: key.namespace().unwrap_or_default().into(), name: key.name().into() }
}
