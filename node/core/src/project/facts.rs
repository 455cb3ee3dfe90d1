//! What rendering needs to know across objects, kept up to date from changes: nodes by id, claims, pods by slot as nodes
//! report them, what cannot be placed, templates, and how the pods of each ReplicaSet do. Says which units a change
//! concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_crdt_state::{Hlc, Kind, NameKey, ObjectKey, ObjectState, Scalar, StoreChange, WriteId};
use skein_gossip::NodeId;

use super::node::{self, NODE_KIND};
use super::pod::Template;
use super::workload::{DEPLOYMENT_KIND, REPLICA_SET_KIND, Tally};
use super::{ApiRef, Made, Sources, Unit, api_ref, event, metadata, stored};
use crate::model::NAMESPACE_KIND;
use crate::model::account::{ACCOUNT_KIND, Account};
use crate::slot::{Claims, SLOT_KIND, pod_uid};
use crate::status::{Claim, Events, NodeStatus, PodStatus};

/// What a Node object's `spec.providerID` starts with; the node's id follows.
const PROVIDER_PREFIX: &str = "skein://";
/// The kind of a pod that nothing owns.
pub(super) const POD_KIND: &str = "Pod";

#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) nodes: BTreeMap<NodeId, NodeFacts>,
    /// Which node a Node object stands for.
    provider: BTreeMap<ObjectKey, NodeId>,
    pub(super) claims: Claims,
    claims_by_node: BTreeMap<NodeId, BTreeSet<Claim>>,
    /// What nodes report of a slot's pods, by node and uid.
    pub(super) reported: BTreeMap<ObjectKey, BTreeMap<(NodeId, String), Reported>>,
    slot_of: BTreeMap<(NodeId, String), ObjectKey>,
    /// What cannot be placed and why, as each node that leads or led says.
    scheduling: BTreeMap<NodeId, (Hlc, BTreeMap<ObjectKey, String>)>,
    pub(super) templates: BTreeMap<ObjectKey, Arc<Template>>,
    /// What accounts say of their pods, by namespace and name, as far as somebody wrote them.
    accounts: BTreeMap<(String, String), Account>,
    /// The live ReplicaSets of each Deployment.
    pub(super) sets_of: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// How the pods of each ReplicaSet do.
    pub(super) tallies: BTreeMap<ObjectKey, Tally>,
    runs_on: BTreeMap<NodeId, BTreeSet<ObjectKey>>,
    nodes_of: BTreeMap<ObjectKey, BTreeSet<NodeId>>,
}

/// What is known of a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct NodeFacts {
    pub(super) name: Arc<str>,
    pub(super) address: Arc<str>,
    pub(super) alive: bool,
    /// Whether it left the cluster.
    pub(super) left: bool,
}

/// What a node reports of a pod.
#[derive(Debug, Clone)]
pub(super) struct Reported {
    pub(super) status: Arc<PodStatus>,
    pub(super) stamp: Hlc,
    pub(super) write: WriteId,
}

impl Facts {
    /// Takes in what has changed; the units that it concerns.
    pub(super) fn take_in(&mut self, sources: &Sources<'_>, changes: &BTreeSet<StoreChange>) -> BTreeSet<Unit> {
        let mut open = BTreeSet::new();
        let mut nodes: BTreeSet<NodeId> = BTreeSet::new();
        for change in changes {
            match change {
                StoreChange::Object(key) if key.kind().as_str() == NODE_KIND => {
                    nodes.extend(self.node_object(sources, key, &mut open));
                }
                StoreChange::Object(key) => self.object(sources, key, &mut open),
                StoreChange::Report(node, section) => match &**section {
                    "node" => {
                        nodes.insert(*node);
                        self.claimed(sources, *node, &mut open);
                    }
                    "events" => drop(open.insert(Unit::Events(*node))),
                    "scheduling" => self.scheduled(sources, *node, &mut open),
                    section => {
                        if let Some(uid) = section.strip_prefix("pod/") {
                            self.pod_reported(sources, *node, uid, &mut open);
                        }
                    }
                },
                StoreChange::Members => nodes.extend(sources.store.members().iter().map(|member| member.id)),
                StoreChange::EditLost(..) | StoreChange::Epochs => {}
            }
        }
        let turned = self.nodes.iter().filter(|(id, facts)| facts.alive != sources.alive.contains(id));
        nodes.extend(turned.map(|(id, _)| *id).collect::<Vec<_>>());
        for node in nodes {
            open.insert(Unit::Node(node));
            self.learn_node(sources, node, &mut open);
        }
        open
    }

    /// Why a slot cannot be filled: the newest word of a leader counts. With its time.
    pub(super) fn unschedulable(&self, slot: &ObjectKey) -> Option<(&str, u64)> {
        let (stamp, slots) = self.scheduling.values().max_by_key(|(stamp, _)| *stamp)?;
        slots.get(slot).map(|message| (message.as_str(), stamp.millis()))
    }

    /// A node's name, or the end of its id while it has none.
    pub(super) fn node_name(&self, node: &NodeId) -> Arc<str> {
        self.nodes.get(node).map_or_else(|| node.short().into(), |facts| facts.name.clone())
    }

    /// Remembers on which nodes a slot's pods are.
    pub(super) fn set_nodes_of(&mut self, slot: &ObjectKey, nodes: BTreeSet<NodeId>) {
        let old = self.nodes_of.remove(slot).unwrap_or_default();
        for node in old.difference(&nodes) {
            if let Some(slots) = self.runs_on.get_mut(node) {
                slots.remove(slot);
            }
        }
        for node in nodes.difference(&old) {
            self.runs_on.entry(*node).or_default().insert(slot.clone());
        }
        if !nodes.is_empty() {
            self.nodes_of.insert(slot.clone(), nodes);
        }
    }

    pub(super) fn render_node(&self, sources: &Sources<'_>, id: &NodeId) -> Vec<Made> {
        let (store, member) = (sources.store, sources.store.members().is_active(id));
        let Some(facts) = self.nodes.get(id).filter(|_| member) else { return Vec::new() };
        let object = self.object_of(id).and_then(|key| store.object(key));
        let report = store.report(id, "node");
        let status = report.and_then(|report| postcard::from_bytes::<NodeStatus>(&report.body).ok());
        let reported_ms = report.map_or(0, |report| report.stamp.millis());
        let about = node::About {
            id: *id,
            name: &facts.name,
            object: object.map(|object| &**object),
            status: status.as_ref(),
            reported_ms,
            alive: facts.alive,
            observes: store.members().is_observer(id),
        };
        vec![Made {
            object: ApiRef { kind: Kind::new(NODE_KIND), namespace: "".into(), name: facts.name.clone() },
            value: node::render(&about, &store.cluster()),
            key: object.map(|object| object.key().clone()),
            heads: object.map(|object| object.heads().to_vec()).unwrap_or_default(),
            newest_ms: object.map_or(reported_ms, |object| metadata::later(reported_ms, object.newest())),
            over: false,
            at: None,
        }]
    }

    pub(super) fn render_events(&self, sources: &Sources<'_>, node: &NodeId) -> Vec<Made> {
        let report = sources.store.report(node, "events");
        let events = report.and_then(|report| postcard::from_bytes::<Events>(&report.body).ok()).unwrap_or_default();
        let host = self.node_name(node);
        let make = |event: &crate::status::Event| {
            let object = event::name(node, event);
            let value = event::render(&object, &host, event);
            Made { object, value, key: None, heads: Vec::new(), newest_ms: event.last_ms, over: false, at: None }
        };
        events.ring.iter().map(make).collect()
    }

    /// The lowest Node object that stands for a node.
    fn object_of(&self, id: &NodeId) -> Option<&ObjectKey> {
        self.provider.iter().find(|(_, node)| *node == id).map(|(key, _)| key)
    }

    /// Whether a Node object is shown by itself, since the node it stands for is not there or has another.
    pub(super) fn stands_alone(&self, sources: &Sources<'_>, key: &ObjectKey) -> bool {
        self.provider
            .get(key)
            .is_none_or(|node| !sources.store.members().is_active(node) || self.object_of(node) != Some(key))
    }

    fn node_object(&mut self, sources: &Sources<'_>, key: &ObjectKey, open: &mut BTreeSet<Unit>) -> BTreeSet<NodeId> {
        let live = sources.store.object(key).filter(|_| sources.store.is_live(key));
        let new = live.and_then(|object| provider(object));
        let old = self.provider.remove(key);
        if let Some(node) = new {
            self.provider.insert(key.clone(), node);
        }
        let touched: BTreeSet<NodeId> = old.into_iter().chain(new).collect();
        open.insert(Unit::Object(key.clone()));
        open.extend(
            self.provider.iter().filter(|(_, node)| touched.contains(node)).map(|(k, _)| Unit::Object(k.clone())),
        );
        // A name that is taken or free now may name others differently.
        let named = self.nodes.iter().filter(|(_, facts)| facts.name.starts_with(key.name())).map(|(id, _)| *id);
        touched.iter().copied().chain(named).collect()
    }

    /// Learns what a node is called, where it is and whether it is alive; its pods show all three.
    fn learn_node(&mut self, sources: &Sources<'_>, id: NodeId, open: &mut BTreeSet<Unit>) {
        let members = sources.store.members();
        let report = sources.store.report(&id, "node");
        let status = report.and_then(|report| postcard::from_bytes::<NodeStatus>(&report.body).ok());
        let called = status.as_ref().map(|status| status.name.as_str()).filter(|name| !name.is_empty());
        let called =
            called.or_else(|| members.get(&id).map(|member| member.name.as_str()).filter(|name| !name.is_empty()));
        let name: Arc<str> = match (self.object_of(&id), called) {
            (Some(key), _) => key.name().into(),
            (None, Some(name)) if !self.provider.keys().any(|key| key.name() == name) => name.into(),
            (None, Some(name)) => format!("{name}-{}", id.short().to_lowercase()).into(),
            (None, None) => id.short().to_lowercase().into(),
        };
        let facts = NodeFacts {
            name,
            address: status.map_or("".into(), |status| status.address.into()),
            alive: sources.alive.contains(&id),
            left: members.get(&id).is_some_and(|member| !member.is_active()),
        };
        if self.nodes.get(&id) != Some(&facts) {
            open.extend(self.runs_on.get(&id).into_iter().flatten().map(|slot| Unit::Pods(slot.clone())));
            open.insert(Unit::Events(id));
            self.nodes.insert(id, facts);
        }
    }

    /// What the account of a namespace's pods says of them, as far as somebody wrote it.
    pub(super) fn account(&self, namespace: &str, name: &str) -> Option<&Account> {
        if self.accounts.is_empty() {
            return None;
        }
        self.accounts.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Learns what an account says of its pods; they show it.
    fn learn_account(&mut self, sources: &Sources<'_>, key: &ObjectKey, open: &mut BTreeSet<Unit>) {
        let Some(namespace) = key.namespace() else { return };
        let live = sources.store.current_life(&NameKey::root(&Kind::new(NAMESPACE_KIND), namespace));
        let live = live.and_then(|ns| sources.store.current_life(&ns.name_of_child(key.kind(), key.name())));
        let said = live.and_then(|key| sources.store.object(&key)).map(|object| Account::of(&object.to_json()));
        let name = (namespace.to_owned(), key.name().to_owned());
        // One that says nothing says as much as one that is not there.
        let said = said.filter(|said| *said != Account::default());
        if self.accounts.get(&name) == said.as_ref() {
            return;
        }
        match said {
            Some(said) => drop(self.accounts.insert(name, said)),
            None => drop(self.accounts.remove(&name)),
        }
        let kinds = [SLOT_KIND, POD_KIND].map(Kind::new);
        let slots = kinds.iter().flat_map(|kind| sources.store.live(kind)).map(|slot| slot.key());
        let within = slots.chain(self.reported.keys()).filter(|slot| slot.namespace() == Some(namespace));
        open.extend(within.cloned().map(Unit::Pods));
    }

    fn object(&mut self, sources: &Sources<'_>, key: &ObjectKey, open: &mut BTreeSet<Unit>) {
        match key.kind().as_str() {
            ACCOUNT_KIND => {
                self.learn_account(sources, key, open);
                open.insert(Unit::Object(key.clone()));
            }
            SLOT_KIND | POD_KIND => drop(open.insert(Unit::Pods(key.clone()))),
            REPLICA_SET_KIND => self.replica_set(sources, key, open),
            _ => drop(open.insert(Unit::Object(key.clone()))),
        }
    }

    fn replica_set(&mut self, sources: &Sources<'_>, key: &ObjectKey, open: &mut BTreeSet<Unit>) {
        let object = sources.store.object(key).filter(|_| sources.store.is_live(key));
        let template = object.map(|object| Arc::new(Template::of_replica_set(object)));
        open.insert(Unit::Object(key.clone()));
        if let Some(owner) = key.owner().filter(|owner| owner.kind().as_str() == DEPLOYMENT_KIND) {
            let sets = self.sets_of.entry(owner.clone()).or_default();
            if object.is_some() {
                sets.insert(key.clone())
            } else {
                sets.remove(key)
            };
            if sets.is_empty() {
                self.sets_of.remove(&owner);
            }
            open.insert(Unit::Object(owner));
        }
        if self.templates.get(key) != template.as_ref() {
            let slots = sources.store.children(key).map(|slot| slot.key().clone());
            let reported =
                self.reported.range(key.clone()..).map(|(slot, _)| slot).take_while(|slot| slot.is_within(key));
            open.extend(slots.chain(reported.cloned()).map(Unit::Pods));
            match template {
                Some(template) => drop(self.templates.insert(key.clone(), template)),
                None => drop(self.templates.remove(key)),
            }
        }
    }

    fn claimed(&mut self, sources: &Sources<'_>, node: NodeId, open: &mut BTreeSet<Unit>) {
        let report = sources.store.report(&node, "node");
        let status = report.and_then(|report| postcard::from_bytes::<NodeStatus>(&report.body).ok());
        let claims = status.map(|status| status.claims).unwrap_or_default();
        let old = self.claims_by_node.remove(&node).unwrap_or_default();
        let different: Vec<Unit> = old.symmetric_difference(&claims).map(|c| Unit::Pods(c.slot.clone())).collect();
        if !claims.is_empty() {
            self.claims_by_node.insert(node, claims);
        }
        if !different.is_empty() {
            self.claims = Claims::default();
            for (node, claims) in &self.claims_by_node {
                self.claims.add(*node, claims.iter().cloned());
            }
        }
        open.extend(different);
    }

    fn scheduled(&mut self, sources: &Sources<'_>, node: NodeId, open: &mut BTreeSet<Unit>) {
        let said = sources.store.report(&node, "scheduling").and_then(|report| {
            let entries = postcard::from_bytes::<Vec<(String, String)>>(&report.body).ok()?;
            let slots = entries.into_iter().filter_map(|(slot, message)| Some((slot.parse().ok()?, message)));
            Some((report.stamp, slots.collect::<BTreeMap<ObjectKey, String>>()))
        });
        // Whose word counts may change with it, so all that were or are said to wait are looked at.
        let all = |facts: &Self| -> Vec<Unit> {
            facts.scheduling.values().flat_map(|(_, slots)| slots.keys().cloned().map(Unit::Pods)).collect()
        };
        open.extend(all(self));
        match said {
            Some(said) => drop(self.scheduling.insert(node, said)),
            None => drop(self.scheduling.remove(&node)),
        }
        open.extend(all(self));
    }

    fn pod_reported(&mut self, sources: &Sources<'_>, node: NodeId, uid: &str, open: &mut BTreeSet<Unit>) {
        let name = (node, uid.to_owned());
        if let Some(slot) = self.slot_of.remove(&name) {
            if let Some(pods) = self.reported.get_mut(&slot) {
                pods.remove(&name);
                if pods.is_empty() {
                    self.reported.remove(&slot);
                }
            }
            open.insert(Unit::Pods(slot));
        }
        let Some(report) = sources.store.report(&node, &format!("pod/{uid}")) else { return };
        let Ok(status) = postcard::from_bytes::<PodStatus>(&report.body) else { return };
        let Ok(slot) = status.slot.parse::<ObjectKey>() else { return };
        let Some(write) = write_of(&status.write) else { return };
        // A report under another pod's uid is a mistake, and is not shown.
        if pod_uid(&sources.store.cluster(), &slot, &write) != uid {
            return;
        }
        let reported = Reported { status: Arc::new(status), stamp: report.stamp, write };
        self.slot_of.insert(name.clone(), slot.clone());
        self.reported.entry(slot.clone()).or_default().insert(name, reported);
        open.insert(Unit::Pods(slot));
    }

    /// What else a namespace makes: what every namespace is given.
    pub(super) fn given(&self, sources: &Sources<'_>, key: &ObjectKey) -> Vec<Made> {
        let is_namespace = key.kind().as_str() == "Namespace" && sources.store.is_live(key);
        let Some(namespace) = sources.store.object(key).filter(|_| is_namespace) else { return Vec::new() };
        let (cluster, ca) = (sources.store.cluster(), sources.ca_certificate);
        let root = (!ca.is_empty()).then(|| stored::root_certificate(namespace, &cluster, ca));
        [Some(stored::default_account(namespace, &cluster)), root].into_iter().flatten().collect()
    }

    /// Any stored object that no other unit shows.
    pub(super) fn render_plain(&self, sources: &Sources<'_>, object: &ObjectState) -> Made {
        let key = object.key();
        let mut value = sources.store.json_of(object);
        metadata::say_what_is_missing(sources.store, object, &mut value);
        let fields = value.as_object_mut();
        let stored = fields.and_then(|fields| fields.remove("metadata"));
        let mut metadata = metadata::of_object(object, stored, &sources.store.cluster());
        if value.get("spec").is_some() {
            metadata.insert("generation".into(), object.generation().into());
        }
        let (api_version, kind) = metadata::api_names(key.kind());
        if let Some(fields) = value.as_object_mut() {
            fields.insert("apiVersion".into(), api_version.into());
            fields.insert("kind".into(), kind.into());
            fields.insert("metadata".into(), metadata.into());
            stored::complete(key.kind().as_str(), fields, object);
        }
        Made {
            object: api_ref(key),
            value,
            key: Some(key.clone()),
            heads: object.heads().to_vec(),
            newest_ms: object.newest().millis(),
            over: false,
            at: None,
        }
    }
}

/// The node that a Node object stands for.
fn provider(object: &ObjectState) -> Option<NodeId> {
    object.get("spec.providerID").and_then(Scalar::as_str)?.strip_prefix(PROVIDER_PREFIX)?.parse().ok()
}

/// A write from its hexadecimal form; empty, as of a pod that nothing owns and that says no more, is zero.
fn write_of(hex: &str) -> Option<WriteId> {
    let mut bytes = [0; 32];
    if hex.is_empty() {
        return Some(WriteId(bytes));
    }
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(WriteId(bytes))
}
