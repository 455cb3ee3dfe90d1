//! Objects that go after what depends on them.

use std::time::Duration;

use serde_json::{Value, json};
use skein_crdt_state::{Edit, ObjectKey, Scalar};

use super::world::{World, deployment};
use crate::model::closing::set_finalizers;

/// Deletes in the foreground, as the API does.
fn close(world: &mut World, key: &ObjectKey, others: &[&str]) {
    let finalizers: Vec<String> = others.iter().chain(&["foregroundDeletion"]).map(|text| (*text).to_owned()).collect();
    let marked = Edit::set("metadata.deletionTimestamp", Scalar::str("2026-01-01T00:00:00Z"));
    world.edit(key, &[marked, set_finalizers(&finalizers)]);
}

fn owned_by(world: &World, owner: &ObjectKey, blocks: bool) -> Value {
    let uid = owner.uid(&world.store.cluster()).to_string();
    let reference = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner.name(), "uid": uid, "blockOwnerDeletion": blocks,
    });
    json!({"metadata": {"ownerReferences": [reference]}, "data": {"a": "b"}})
}

fn map(world: &mut World, name: &str) -> ObjectKey {
    world.create_in("ConfigMap", name, &json!({"data": {"a": "b"}}))
}

#[test]
fn a_workload_goes_after_its_pods_have_stopped() {
    for kind in ["Deployment.apps", "ReplicaSet.apps"] {
        let mut world = World::new(2);
        let key = world.create_in(kind, "web", &deployment(3, "web:1", json!({})));
        world.settle_running();
        let pods = world.pods();
        assert_eq!(pods.len(), 3);
        close(&mut world, &key, &[]);
        world.settle();
        assert_eq!((world.counts(), world.store.is_live(&key)), ((0, 0), true), "its pods are being stopped");
        for (_, pod) in &pods {
            assert!(world.store.is_live(&key));
            world.retract_pod(pod);
            world.settle();
        }
        assert!(!world.store.is_live(&key), "{kind}");
    }
}

#[test]
fn a_workload_does_not_wait_for_pods_of_nodes_that_are_lost() {
    let mut world = World::new(3);
    let key = world.create_in("Deployment.apps", "web", &deployment(3, "web:1", json!({})));
    world.settle_running();
    let here = world.id(0);
    let pods = world.pods();
    assert!(pods.iter().any(|(_, pod)| pod.node != here));
    world.lose(&[1, 2]);
    world.pass(Duration::from_secs(3));
    close(&mut world, &key, &[]);
    world.settle();
    for (_, pod) in pods.iter().filter(|(_, pod)| pod.node == here) {
        assert!(world.store.is_live(&key));
        world.retract_pod(pod);
    }
    world.settle();
    assert!(!world.store.is_live(&key));
}

#[test]
fn an_owner_goes_after_what_blocks_it_and_keeps_its_other_finalizers() {
    let mut world = World::new(1);
    let owner = map(&mut world, "owner");
    let other = map(&mut world, "other");
    let blocking = owned_by(&world, &owner, true);
    let blocking = world.create_in("ConfigMap", "blocking", &blocking);
    let mut shared = owned_by(&world, &owner, true);
    let second = owned_by(&world, &other, false)["metadata"]["ownerReferences"][0].clone();
    shared["metadata"]["ownerReferences"].as_array_mut().unwrap().push(second);
    let shared = world.create_in("ConfigMap", "shared", &shared);
    world.settle();
    close(&mut world, &owner, &["example.org/mine"]);
    let plan = world.plan();
    assert!(plan.items.contains(&crate::controllers::Step::Delete { key: blocking.clone() }), "{plan:?}");
    assert_eq!(plan.items.len(), 1, "the owner waits: {plan:?}");
    world.settle();
    assert!(!world.store.is_live(&blocking) && world.store.is_live(&shared), "another owner holds it");
    let finalizers = world.store.object(&owner).unwrap().get("metadata.finalizers").cloned();
    assert_eq!(finalizers, Some(Scalar::Json(r#"["example.org/mine"]"#.into())));
    // Without any other it goes itself, and what does not block goes with it.
    let free = owned_by(&world, &other, false);
    let free = world.create_in("ConfigMap", "free", &free);
    close(&mut world, &other, &[]);
    world.settle();
    assert!(!world.store.is_live(&other) && !world.store.is_live(&free));
}
