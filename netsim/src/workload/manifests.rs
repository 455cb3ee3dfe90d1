//! What users write: whole Deployments and pods, as manifests.

use std::collections::BTreeMap;

use rand::RngExt;
use serde_json::{Value, json};
use skein_core::model::partition::PARTITION_ANNOTATION;
use skein_core::request::WriteOp;
use skein_crdt_state::{Edit, NameKey, ObjectState, layout};

use super::{MAX_REPLICAS, any, current};
use crate::world::World;

/// Creates a Deployment, or makes all of it as the user wants it now.
pub(super) fn apply(world: &mut World, peer: usize, name: NameKey) -> WriteOp {
    let replicas = world.chance.users.random_range(1..=MAX_REPLICAS);
    let version = world.chance.users.random_range(0..5);
    let policy = any(world, &["alive", "alive", "alive", "full", "hold", "quorum"]);
    deployment(world, peer, name, &manifest(replicas, version, policy))
}

/// Creates a Deployment from a manifest, or makes all of it so.
#[must_use]
pub fn deployment(world: &World, peer: usize, name: NameKey, manifest: &Value) -> WriteOp {
    let Some(key) = current(world, peer, &name) else {
        return WriteOp::Create { edits: edits(None, &name, manifest), name };
    };
    let object = world.hosts[peer].node.as_ref().and_then(|node| node.store().object(&key));
    // As `kubectl apply` does, what others have added stays.
    let mut edits = edits(object.map(|object| &**object), &name, manifest);
    edits.retain(|edit| edit.value.is_some());
    WriteOp::Edit { edits, key, if_heads: None }
}

/// What a user writes of a Deployment. Each version asks for another image and another share of the processor.
#[must_use]
pub fn manifest(replicas: i64, version: u32, policy: &str) -> Value {
    json!({
        "metadata": {"annotations": {PARTITION_ANNOTATION: policy}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "a"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": pod_spec(version)},
        },
    })
}

/// Creates a pod that nobody owns.
pub(super) fn pod(world: &mut World, name: NameKey) -> WriteOp {
    let version = world.chance.users.random_range(0..5);
    WriteOp::Create { edits: edits(None, &name, &json!({"spec": pod_spec(version)})), name }
}

fn pod_spec(version: u32) -> Value {
    json!({
        "containers": [{
            "name": "main",
            "image": format!("image:{version}"),
            "resources": {"requests": {"cpu": format!("{}m", 50 + 50 * version), "memory": "32Mi"}},
        }],
        "terminationGracePeriodSeconds": 2,
    })
}

/// What must be edited of an object, or of one that does not exist yet, so that it is as a manifest says.
fn edits(object: Option<&ObjectState>, name: &NameKey, manifest: &Value) -> Vec<Edit> {
    let empty = BTreeMap::new();
    let before = object.map_or(&empty, |object| object.leaves());
    let after = crate::world::layout().flatten(name.kind(), manifest, before).unwrap_or_default();
    layout::diff(before, &after)
}
