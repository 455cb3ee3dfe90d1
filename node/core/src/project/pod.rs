//! Pods: for each slot the one that is wanted, others that still run, and what is reported of those that are over.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use skein_crdt_state::{Kind, ObjectKey, ObjectState, Store, WriteId};
use skein_gossip::NodeId;

use super::facts::{Facts, POD_KIND, Reported};
use super::metadata::{self, controller, later, time};
use super::pod_status::{self, Circumstances};
use super::workload::{REPLICA_SET_KIND, Summary};
use super::{ApiRef, Made, Sources, Unit, Whereabouts};
use crate::ephemeral;
use crate::model::account;
use crate::slot::{self, SLOT_KIND, pod_name, pod_uid};
use crate::status::{Phase, PodStatus};

/// Kubernetes' default for `terminationGracePeriodSeconds`.
const DEFAULT_GRACE_S: u64 = 30;
/// The label that ties pods and ReplicaSets to one template of a Deployment.
const TEMPLATE_HASH_LABEL: &str = "pod-template-hash";

/// What a ReplicaSet's pods are made from.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Template {
    labels: Map<String, Value>,
    annotations: Map<String, Value>,
    spec: Value,
}

impl Template {
    pub(super) fn of_replica_set(object: &ObjectState) -> Self {
        let json = object.to_json();
        let mut template = json.pointer("/spec/template").map(Template::of).unwrap_or_default();
        if let Some(hash) = json.pointer("/metadata/labels").and_then(|labels| labels.get(TEMPLATE_HASH_LABEL)) {
            template.labels.insert(TEMPLATE_HASH_LABEL.into(), hash.clone());
        }
        template
    }

    /// Reads a template, or a whole pod.
    fn of(json: &Value) -> Self {
        let map = |field: &str| json.pointer(field).and_then(Value::as_object).cloned().unwrap_or_default();
        let spec = json.get("spec").cloned().unwrap_or_else(|| json!({}));
        Template { labels: map("/metadata/labels"), annotations: map("/metadata/annotations"), spec }
    }

    /// What is left to show of a pod whose template is gone.
    fn of_report(status: &PodStatus) -> Self {
        let container = |c: &crate::status::ContainerStatus| json!({"name": &*c.name, "image": c.image});
        let containers: Vec<Value> = status.containers.iter().map(container).collect();
        Template { spec: json!({"containers": containers}), ..Template::default() }
    }
}

/// One pod to show.
struct Pod<'a> {
    /// Where; `None`: it waits for a node.
    node: Option<NodeId>,
    write: WriteId,
    placed_ms: Option<u64>,
    reported: Option<&'a Reported>,
    /// Whether nothing wants it any more.
    over: bool,
    wanted: bool,
}

impl Facts {
    pub(super) fn render_pods(
        &mut self,
        sources: &Sources<'_>,
        slot: &ObjectKey,
        open: &mut BTreeSet<Unit>,
    ) -> Vec<Made> {
        let live = sources.store.object(slot).filter(|_| sources.store.is_live(slot)).cloned();
        let pods = self.pods(slot, live.as_deref());
        let template = self.template(sources.store, slot, live.as_deref());
        let made = pods.iter().map(|pod| self.pod(sources, slot, live.as_deref(), template.as_deref(), pod)).collect();
        let nodes = pods.iter().filter_map(|pod| pod.node).collect();
        let summary = live.as_ref().map(|object| self.summary(object, pods.iter().find(|pod| pod.wanted)));
        self.set_nodes_of(slot, nodes);
        self.set_summary(slot, summary, open);
        made
    }

    /// The pods of a slot, or the one that nothing owns.
    fn pods(&self, slot: &ObjectKey, live: Option<&ObjectState>) -> Vec<Pod<'_>> {
        let values = live.map(slot::values).unwrap_or_default();
        let reported = self.reported.get(slot);
        let report_of = |node: &NodeId, write: &WriteId| {
            let of_pod =
                |((n, _), r): &(&(NodeId, String), &Reported)| n == node && (r.write == *write || is_solo(slot));
            reported.into_iter().flatten().find(of_pod).map(|(_, reported)| reported)
        };
        let mut pods: Vec<Pod<'_>> = Vec::new();
        let winner = slot::winner(&values, self.claims.on(slot));
        if let Some(won) = &winner {
            let reported = report_of(&won.node, &won.write);
            let of_value = values.iter().find(|value| value.write == won.write).map(|value| value.stamp.millis());
            let placed_ms = of_value.or_else(|| reported.map(|r| r.status.started_at_ms)).or(Some(0));
            pods.push(Pod { node: Some(won.node), write: won.write, placed_ms, reported, over: false, wanted: true });
        } else if live.is_some() {
            let write = values.first().map_or(WriteId([0; 32]), |value| value.write);
            pods.push(Pod { node: None, write, placed_ms: None, reported: None, over: false, wanted: true });
        }
        if is_solo(slot) && !pods.is_empty() {
            return pods;
        }
        // Values that lost, while their pods run on.
        for value in values.iter().filter(|value| winner.is_none_or(|won| won.write != value.write)) {
            let Some(node) = value.placement.node else { continue };
            let Some(reported) = report_of(&node, &value.write) else { continue };
            let placed_ms = Some(value.stamp.millis());
            pods.push(Pod {
                node: Some(node),
                write: value.write,
                placed_ms,
                reported: Some(reported),
                over: false,
                wanted: false,
            });
        }
        for ((node, _), reported) in reported.into_iter().flatten() {
            let known = pods.iter().any(|pod| pod.node == Some(*node) && pod.write == reported.write);
            if known || self.nodes.get(node).is_some_and(|facts| facts.left) || (is_solo(slot) && !pods.is_empty()) {
                continue;
            }
            let placed_ms = Some(reported.status.started_at_ms);
            pods.push(Pod {
                node: Some(*node),
                write: reported.write,
                placed_ms,
                reported: Some(reported),
                over: true,
                wanted: false,
            });
        }
        pods
    }

    fn template(&self, store: &Store, slot: &ObjectKey, live: Option<&ObjectState>) -> Option<Arc<Template>> {
        if is_solo(slot) {
            return live.map(|object| Arc::new(Template::of(&store.json_of(object))));
        }
        self.templates.get(&slot.owner()?).cloned()
    }

    fn pod(
        &self,
        sources: &Sources<'_>,
        slot: &ObjectKey,
        live: Option<&ObjectState>,
        template: Option<&Template>,
        pod: &Pod<'_>,
    ) -> Made {
        let cluster = sources.store.cluster();
        let (uid, name) = (pod_uid(&cluster, slot, &pod.write), pod_name(&cluster, slot, &pod.write));
        let status = pod.reported.map(|reported| &*reported.status);
        let from_report = template.is_none().then(|| status.map(Template::of_report).unwrap_or_default());
        let Template { mut labels, mut annotations, mut spec } = template.cloned().or(from_report).unwrap_or_default();
        if template.is_some() {
            self.admit(sources, slot, &mut spec);
        }
        if let (false, Some(object)) = (is_solo(slot), live) {
            overlay(sources.store, object, &mut labels, &mut annotations);
        }
        let node = pod.node.map(|node| (node, self.nodes.get(&node).cloned().unwrap_or_default()));
        let node_name = pod.node.map(|node| self.node_name(&node));
        if let (Some(name), Some(fields)) = (&node_name, spec.as_object_mut()) {
            fields.insert("nodeName".into(), (**name).into());
        }
        add_ephemeral(&mut spec, sources.store, live, &uid);
        let unschedulable = self.unschedulable(slot).filter(|_| pod.node.is_none());
        let born_ms = live.map_or(0, |object| object.born().millis());
        let about = Circumstances {
            placed_ms: pod.placed_ms,
            unschedulable: unschedulable.map(|(message, _)| message),
            node: node_name.as_deref().unwrap_or_default(),
            host_ip: node.as_ref().map_or("", |(_, facts)| &facts.address),
            node_lost: node.as_ref().is_some_and(|(_, facts)| !facts.alive),
            spec: &spec,
            born_ms,
        };
        let status_json = pod_status::render(status, &about);
        let mut metadata = match live.filter(|_| is_solo(slot)) {
            Some(object) => {
                metadata::of_object(object, sources.store.json_of(object).get("metadata").cloned(), &cluster)
            }
            None => identity(slot, &name, &uid, pod.placed_ms.unwrap_or(born_ms)),
        };
        for (field, map) in [("labels", labels), ("annotations", annotations)] {
            if !map.is_empty() {
                metadata.insert(field.into(), map.into());
            }
        }
        if let Some(owner) = slot.owner().filter(|_| !is_solo(slot)) {
            metadata.insert("generateName".into(), format!("{}-", owner.name()).into());
            metadata.insert("ownerReferences".into(), json!([controller(&owner, &cluster)]));
        }
        ends(&mut metadata, pod, &spec);
        let mut newest_ms = pod.placed_ms.unwrap_or(0).max(unschedulable.map_or(0, |(_, ms)| ms));
        newest_ms = live.map_or(newest_ms, |object| later(newest_ms, object.newest()));
        newest_ms = pod.reported.map_or(newest_ms, |reported| later(newest_ms, reported.stamp));
        Made {
            object: ApiRef {
                kind: Kind::new(POD_KIND),
                namespace: slot.namespace().unwrap_or_default().into(),
                name: name.into(),
            },
            value: json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status_json}),
            key: (!pod.over).then(|| slot.clone()),
            heads: live.filter(|_| !pod.over).map(|object| object.heads().to_vec()).unwrap_or_default(),
            newest_ms,
            over: pod.over,
            at: pod.node.map(|node| Whereabouts { node, slot: slot.clone(), write: pod.write, uid }),
        }
    }

    /// Adds what pods get by their account.
    fn admit(&self, sources: &Sources<'_>, slot: &ObjectKey, spec: &mut Value) {
        let account = self.account(slot.namespace().unwrap_or_default(), account::name_of(spec));
        let owner = slot.owner().filter(|_| !is_solo(slot));
        account::admit(spec, owner.as_ref().unwrap_or(slot), account, !sources.ca_certificate.is_empty());
    }

    fn summary(&self, slot: &ObjectState, pod: Option<&Pod<'_>>) -> Summary {
        let alive = |node: &NodeId| self.nodes.get(node).is_some_and(|facts| facts.alive);
        let here = pod.filter(|pod| pod.node.is_some_and(|node| alive(&node)));
        let status = here.and_then(|pod| pod.reported).map(|reported| &*reported.status);
        let ready = status.filter(|s| s.ready && s.phase == Phase::Running && s.stopping_since_ms == 0);
        let placed_ms = pod.and_then(|pod| pod.placed_ms).unwrap_or(0);
        let changed_ms = pod.and_then(|pod| pod.reported).map_or(0, |reported| reported.status.ready_changed_ms);
        Summary {
            ready_since_ms: ready.map(|status| status.ready_changed_ms),
            progress_ms: later(placed_ms.max(changed_ms), slot.born()),
        }
    }

    fn set_summary(&mut self, slot: &ObjectKey, summary: Option<Summary>, open: &mut BTreeSet<Unit>) {
        let Some(set) = slot.owner().filter(|owner| owner.kind().as_str() == REPLICA_SET_KIND) else { return };
        let tally = self.tallies.entry(set.clone()).or_default();
        let news = tally.set(slot, summary);
        if tally.is_empty() {
            self.tallies.remove(&set);
        }
        if news {
            open.extend(set.owner().filter(|owner| owner.namespace().is_some()).map(Unit::Object));
            open.insert(Unit::Object(set));
        }
    }
}

fn is_solo(slot: &ObjectKey) -> bool {
    slot.kind().as_str() != SLOT_KIND
}

/// What a slot's own document says of its pod's labels and annotations.
fn overlay(store: &Store, object: &ObjectState, labels: &mut Map<String, Value>, annotations: &mut Map<String, Value>) {
    if !object.leaves().keys().any(|path| path.starts_with("metadata")) {
        return;
    }
    let json = store.json_of(object);
    for (field, map) in [("/metadata/labels", labels), ("/metadata/annotations", annotations)] {
        let own = json.pointer(field).and_then(Value::as_object).into_iter().flatten();
        map.extend(own.map(|(key, value)| (key.clone(), value.clone())));
    }
}

/// Adds to a pod's spec what was added to the pod.
fn add_ephemeral(spec: &mut Value, store: &Store, live: Option<&ObjectState>, uid: &str) {
    let object = live.filter(|object| ephemeral::has_any(object));
    let added = object.map(|object| ephemeral::shown(&store.json_of(object), uid)).unwrap_or_default();
    if let Some(fields) = spec.as_object_mut().filter(|_| !added.is_empty()) {
        fields.insert("ephemeralContainers".into(), added.into());
    }
}

fn identity(slot: &ObjectKey, name: &str, uid: &str, created_ms: u64) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("name".into(), name.into());
    metadata.insert("namespace".into(), slot.namespace().unwrap_or_default().into());
    metadata.insert("uid".into(), uid.into());
    metadata.insert("creationTimestamp".into(), time(created_ms));
    metadata
}

/// Says since when a pod is on its way out, if it is.
fn ends(metadata: &mut Map<String, Value>, pod: &Pod<'_>, spec: &Value) {
    let stopping = pod.reported.map(|reported| (reported.status.stopping_since_ms, reported.stamp.millis()));
    let since_ms = match stopping {
        Some((since_ms, _)) if since_ms > 0 => since_ms,
        Some((_, reported_ms)) if pod.over => reported_ms,
        _ => return,
    };
    let grace_s = spec.get("terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(DEFAULT_GRACE_S);
    metadata.insert("deletionTimestamp".into(), time(since_ms.saturating_add(grace_s.saturating_mul(1000))));
    metadata.insert("deletionGracePeriodSeconds".into(), grace_s.into());
}
