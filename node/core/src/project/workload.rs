//! Deployments and ReplicaSets: what is wanted as it is stored, and a status counted from their pods.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use skein_crdt_state::{ObjectKey, ObjectState};

use super::facts::Facts;
use super::metadata::{later, time};
use super::node::NODE_KIND;
use super::{Made, Sources};
use crate::model::template::template_hash;
use crate::model::workload::{DeploymentSpec, REVISION_ANNOTATION, ReplicaSetSpec};

/// The kind of a ReplicaSet.
pub(super) const REPLICA_SET_KIND: &str = "ReplicaSet.apps";
/// The kind of a Deployment.
pub(super) const DEPLOYMENT_KIND: &str = "Deployment.apps";
/// Kubernetes' default for `progressDeadlineSeconds`.
const DEFAULT_DEADLINE_S: u64 = 600;

/// How the pod of one slot does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Summary {
    /// Since when it is ready, in milliseconds since the Unix epoch; `None`: it is not.
    pub(super) ready_since_ms: Option<u64>,
    /// When it last got further: was made, placed, or became ready or unready.
    pub(super) progress_ms: u64,
}

/// How the pods of a workload do.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    replicas: u64,
    ready: u64,
    available: u64,
    progress_ms: u64,
    /// When the next one that is ready counts as available.
    due_ms: Option<u64>,
}

/// How the pods of one ReplicaSet do, counted as they change: thousands are not looked at for one.
#[derive(Debug, Default)]
pub(super) struct Tally {
    by_slot: BTreeMap<ObjectKey, Summary>,
    ready: u64,
    /// How many got further last at each moment.
    progress: BTreeMap<u64, u64>,
}

impl Tally {
    /// Takes in how the pod of a slot does, or that the slot is gone. Whether that is news.
    pub(super) fn set(&mut self, slot: &ObjectKey, summary: Option<Summary>) -> bool {
        let old = match summary {
            Some(summary) => self.by_slot.insert(slot.clone(), summary),
            None => self.by_slot.remove(slot),
        };
        if let Some(old) = old {
            self.ready -= u64::from(old.ready_since_ms.is_some());
            if let Some(count) = self.progress.get_mut(&old.progress_ms) {
                *count -= 1;
                if *count == 0 {
                    self.progress.remove(&old.progress_ms);
                }
            }
        }
        if let Some(new) = summary {
            self.ready += u64::from(new.ready_since_ms.is_some());
            *self.progress.entry(new.progress_ms).or_default() += 1;
        }
        old != summary
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_slot.is_empty()
    }

    fn count(&self, min_ready_s: u32, wall_ms: u64) -> Count {
        let progress_ms = self.progress.last_key_value().map_or(0, |(ms, _)| *ms);
        let replicas = self.by_slot.len() as u64;
        let mut count = Count { replicas, ready: self.ready, available: self.ready, progress_ms, due_ms: None };
        if min_ready_s > 0 {
            // A node's clock that is ahead of this one makes its pods wait for longer, at most by that.
            let from = |since_ms: u64| since_ms.saturating_add(u64::from(min_ready_s) * 1000);
            let waits = self.by_slot.values().filter_map(|s| s.ready_since_ms).map(from).filter(|ms| *ms > wall_ms);
            for from_ms in waits {
                count.available -= 1;
                count.due_ms = earlier(count.due_ms, Some(from_ms));
            }
        }
        count
    }
}

impl Count {
    fn add(&mut self, other: Count) {
        self.replicas += other.replicas;
        self.ready += other.ready;
        self.available += other.available;
        self.progress_ms = self.progress_ms.max(other.progress_ms);
        self.due_ms = earlier(self.due_ms, other.due_ms);
    }
}

impl Facts {
    /// A stored object, and when it becomes different by itself.
    pub(super) fn render_object(&self, sources: &Sources<'_>, key: &ObjectKey) -> (Option<Made>, Option<u64>) {
        let Some(object) = sources.store.object(key).filter(|_| sources.store.is_live(key)) else {
            return (None, None);
        };
        match key.kind().as_str() {
            DEPLOYMENT_KIND => self.deployment(sources, object),
            REPLICA_SET_KIND => self.replica_set_object(sources, object),
            NODE_KIND if !self.stands_alone(sources, key) => (None, None),
            _ => (Some(self.render_plain(sources, object)), None),
        }
    }

    fn count(&self, set: &ObjectKey, min_ready_s: u32, wall_ms: u64) -> Count {
        self.tallies.get(set).map_or_else(Count::default, |tally| tally.count(min_ready_s, wall_ms))
    }

    fn replica_set_object(&self, sources: &Sources<'_>, object: &ObjectState) -> (Option<Made>, Option<u64>) {
        let (key, spec) = (object.key(), ReplicaSetSpec::of(object));
        let count = self.count(key, spec.min_ready_seconds, sources.wall_ms);
        let mut made = self.render_plain(sources, object);
        if key.owner().is_some_and(|owner| owner.kind().as_str() == DEPLOYMENT_KIND) {
            set(&mut made.value, "spec", "replicas", count.replicas.into());
        }
        let mut status = counts(&count);
        status.insert("replicas".into(), count.replicas.into());
        status.insert("observedGeneration".into(), object.generation().into());
        if count.replicas > 0 {
            status.insert("fullyLabeledReplicas".into(), count.replicas.into());
        }
        set_status(&mut made.value, status);
        made.newest_ms = made.newest_ms.max(count.progress_ms);
        (Some(made), count.due_ms)
    }

    fn deployment(&self, sources: &Sources<'_>, object: &ObjectState) -> (Option<Made>, Option<u64>) {
        let (key, spec) = (object.key(), DeploymentSpec::of(object));
        let json = object.to_json();
        let hash = template_hash(json.pointer("/spec/template").unwrap_or(&Value::Null));
        let current_name = format!("{}-{hash}", key.name());
        let (mut all, mut updated, mut current) = (Count::default(), Count::default(), None);
        for set in self.sets_of.get(key).into_iter().flatten() {
            let count = self.count(set, spec.min_ready_seconds, sources.wall_ms);
            all.add(count);
            if set.name() == current_name {
                (updated, current) = (count, sources.store.object(set));
            }
        }
        let deadline_s =
            json.pointer("/spec/progressDeadlineSeconds").and_then(Value::as_u64).unwrap_or(DEFAULT_DEADLINE_S);
        let born_ms = current.map_or(object.born(), |set| set.born()).millis();
        let rollout = Rollout {
            wanted: u64::from(spec.replicas),
            max_unavailable: u64::from(spec.strategy.bounds(spec.replicas).1),
            paused: spec.paused,
            current: current.map(|set| set.key().name()),
            progress_ms: born_ms.max(all.progress_ms),
            deadline_ms: deadline_s.saturating_mul(1000),
            wall_ms: sources.wall_ms,
            all,
            updated,
        };
        let mut made = self.render_plain(sources, object);
        made.newest_ms =
            later(made.newest_ms.max(all.progress_ms), current.map_or(object.newest(), |set| set.newest()));
        if let Some(revision) = current.and_then(|set| ReplicaSetSpec::of(set).revision_text()) {
            annotate(&mut made.value, REVISION_ANNOTATION, &revision);
        }
        // The leader has seen the newest template once there is a ReplicaSet of it.
        let seen = current.is_some() || spec.paused;
        let observed = if seen { object.generation() } else { object.generation().saturating_sub(1) };
        let mut status = rollout.status();
        status.insert("observedGeneration".into(), observed.into());
        set_status(&mut made.value, status);
        (Some(made), earlier(all.due_ms, rollout.due_ms()))
    }
}

impl ReplicaSetSpec {
    fn revision_text(&self) -> Option<String> {
        (self.revision > 0).then(|| self.revision.to_string())
    }
}

/// How far a Deployment has got.
struct Rollout<'a> {
    wanted: u64,
    max_unavailable: u64,
    paused: bool,
    /// The ReplicaSet of the newest template, if there is one.
    current: Option<&'a str>,
    /// When it last got further.
    progress_ms: u64,
    deadline_ms: u64,
    wall_ms: u64,
    all: Count,
    updated: Count,
}

impl Rollout<'_> {
    fn is_complete(&self) -> bool {
        self.updated.replicas == self.wanted && self.all.replicas == self.wanted && self.all.available == self.wanted
    }

    /// When it will have made no progress for too long.
    fn due_ms(&self) -> Option<u64> {
        let ends_ms = self.progress_ms.saturating_add(self.deadline_ms);
        (!self.is_complete() && !self.paused && ends_ms > self.wall_ms).then_some(ends_ms)
    }

    fn status(&self) -> Map<String, Value> {
        let mut status = counts(&self.all);
        let unavailable = self.wanted.max(self.all.replicas) - self.all.available.min(self.all.replicas);
        let numbers = [
            ("replicas", self.all.replicas),
            ("updatedReplicas", self.updated.replicas),
            ("unavailableReplicas", unavailable),
        ];
        status.extend(numbers.into_iter().filter(|(_, n)| *n > 0).map(|(field, n)| (field.to_owned(), n.into())));
        status.insert("conditions".into(), json!([self.available(), self.progressing()]));
        status
    }

    fn available(&self) -> Value {
        let enough = self.all.available >= self.wanted.saturating_sub(self.max_unavailable);
        match enough {
            true => {
                self.condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
            }
            false => self.condition(
                "Available",
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            ),
        }
    }

    fn progressing(&self) -> Value {
        let set = self.current.map_or_else(|| "The new ReplicaSet".to_owned(), |name| format!("ReplicaSet \"{name}\""));
        if self.is_complete() && self.current.is_some() {
            let message = format!("{set} has successfully progressed.");
            return self.condition("Progressing", "True", "NewReplicaSetAvailable", &message);
        }
        if self.paused {
            return self.condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused");
        }
        if self.due_ms().is_none() {
            let message = format!("{set} has timed out progressing.");
            return self.condition("Progressing", "False", "ProgressDeadlineExceeded", &message);
        }
        self.condition("Progressing", "True", "ReplicaSetUpdated", &format!("{set} is progressing."))
    }

    fn condition(&self, kind: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastUpdateTime": time(self.progress_ms),
            "lastTransitionTime": time(self.progress_ms),
        })
    }
}

/// The counts that are left out when they are zero, as Kubernetes does.
fn counts(count: &Count) -> Map<String, Value> {
    let numbers = [("readyReplicas", count.ready), ("availableReplicas", count.available)];
    numbers.into_iter().filter(|(_, n)| *n > 0).map(|(field, n)| (field.to_owned(), n.into())).collect()
}

fn set(value: &mut Value, part: &str, field: &str, to: Value) {
    if let Some(fields) = value.get_mut(part).and_then(Value::as_object_mut) {
        fields.insert(field.into(), to);
    }
}

fn set_status(value: &mut Value, status: Map<String, Value>) {
    if let Some(fields) = value.as_object_mut() {
        fields.insert("status".into(), status.into());
    }
}

fn annotate(value: &mut Value, name: &str, text: &str) {
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(name.into(), text.into());
    }
}

fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}
