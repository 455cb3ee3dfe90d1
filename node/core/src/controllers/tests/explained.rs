//! What people are told when they ask why a pod is where it is.

use std::time::Duration;

use serde_json::json;

use super::world::{World, deployment};
use crate::controllers::explain;

fn told(world: &mut World, slot: &skein_crdt_state::ObjectKey) -> String {
    let view = world.view();
    explain(&view, slot).join("\n")
}

#[test]
fn a_pod_that_runs_says_what_it_fills_and_that_it_stays() {
    let mut world = World::new(2);
    world.create_in("Deployment.apps", "web", &deployment(2, "web:1", json!({})));
    world.settle_running();
    let (slot, pod) = world.pods().remove(0);
    let node = world.view().node_name(&pod.node);
    let said = told(&mut world, &slot);
    assert!(said.contains("It fills slot 0 of ReplicaSet web-"), "{said}");
    assert!(said.contains("of Deployment web."), "{said}");
    assert!(said.contains(&format!("It runs on {node}.\n{node} says: it runs and is ready.")), "{said}");
    assert!(said.contains("Nothing asks for it to be moved."), "{said}");
    assert!(said.contains("has n0 1, n1 1.") || said.contains("has n1 1, n0 1."), "{said}");
}

#[test]
fn the_pods_of_a_replica_set_that_nothing_owns_are_counted_once() {
    let mut world = World::new(2);
    world.create_in("ReplicaSet.apps", "own", &deployment(4, "web:1", json!({})));
    world.settle_running();
    let (slot, _) = world.pods().remove(0);
    let said = told(&mut world, &slot);
    assert!(said.contains("has n0 2, n1 2.") || said.contains("has n1 2, n0 2."), "{said}");
}

#[test]
fn a_pod_on_a_lost_node_says_what_its_policy_makes_of_that() {
    let mut world = World::new(5);
    world.create_in("Deployment.apps", "web", &deployment(5, "web:1", json!({})));
    world.settle_running();
    let lost = world.id(4);
    let (slot, _) = world.pods().into_iter().find(|(_, pod)| pod.node == lost).unwrap();
    world.lose(&[4]);
    world.pass(Duration::from_millis(1000));
    let said = told(&mut world, &slot);
    assert!(said.contains("n4, which has not been heard of here for 1.0 s."), "{said}");
    assert!(said.contains("It is replaced in 0.5 s unless that changes."), "{said}");
    world.lose(&[1, 2, 3]);
    world.pass(Duration::from_millis(1500));
    let said = told(&mut world, &slot);
    assert!(said.contains("`alive`, and 1 of the 5 nodes seen within 24 hours are here, fewer than half"), "{said}");
    world.find(&[1, 2, 3]);
    world.settle();
    let said = told(&mut world, &slot);
    assert!(said.contains("It replaces a pod on n4, which was lost."), "{said}");
}

#[test]
fn a_pod_without_a_node_says_for_each_node_why_not() {
    let mut world = World::new(2);
    let key = world.create_in(
        "Pod",
        "solo",
        &json!({"spec": {"nodeSelector": {"disk": "ssd"}, "containers": [{"name": "a", "image": "i"}]}}),
    );
    world.settle();
    let said = told(&mut world, &key);
    assert!(said.contains("It waits for a node."), "{said}");
    for node in ["n0", "n1"] {
        assert!(said.contains(&format!("{node}: no, it lacks the label disk=ssd.")), "{said}");
    }
    let nobody = World::namespace().child(&skein_crdt_state::Kind::new("Pod"), "nobody", 1);
    assert!(told(&mut world, &nobody).starts_with("Nothing is known of"));
}
