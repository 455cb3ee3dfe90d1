//! What happens to the pods of nodes that are lost, by partition policy, and of nodes that repel them.

use std::time::Duration;

use serde_json::json;
use skein_crdt_state::{Edit, Kind, NameKey, Scalar};

use super::world::{World, deployment};
use crate::slot;
use crate::status::Claim;

const GRACE: Duration = Duration::from_millis(1500);

fn running(nodes: usize, replicas: u32, policy: &str) -> World {
    let mut world = World::new(nodes);
    let more = json!({"metadata": {"annotations": {"skein.dev/partition": policy}}});
    world.create_in("Deployment.apps", "web", &deployment(replicas, "web:1", more));
    world.settle_running();
    world
}

#[test]
fn the_pods_of_a_lost_node_run_elsewhere_after_the_grace_and_name_whom_they_displace() {
    let mut world = running(5, 10, "alive");
    let before = world.pods();
    world.lose(&[4]);
    world.pass(Duration::from_millis(1400));
    assert!(world.round().writes_nothing(), "not before the grace is over");
    let next = world.plan().next.unwrap();
    assert_eq!(next, world.now.mono + Duration::from_millis(100));
    world.pass(Duration::from_millis(100));
    world.settle();
    let pods = world.pods();
    assert_eq!(pods.len(), 10);
    let lost = world.id(4);
    for (slot, old) in before.iter().filter(|(_, pod)| pod.node == lost) {
        let values = slot::values(world.store.object(slot).unwrap());
        let displaced = values[0].placement.displaces.unwrap();
        assert_eq!((values.len(), displaced.node, displaced.write), (1, old.node, old.write));
    }
    for (slot, old) in before.iter().filter(|(_, pod)| pod.node != lost) {
        assert!(pods.iter().any(|(known, pod)| known == slot && pod.write == old.write), "others stay where they are");
    }
}

#[test]
fn a_node_that_is_back_before_the_grace_is_over_keeps_its_pods() {
    let mut world = running(3, 3, "full");
    world.lose(&[1]);
    world.pass(Duration::from_millis(1400));
    world.settle();
    world.find(&[1]);
    world.pass(GRACE);
    assert!(world.round().writes_nothing());
}

#[test]
fn a_minority_runs_at_least_one_of_each_workload_under_alive_and_all_under_full() {
    for (policy, wanted) in [("alive", 1), ("full", 4), ("hold", 0), ("quorum", 0)] {
        let mut world = running(5, 4, policy);
        world.create_in(
            "ReplicaSet.apps",
            "own",
            &deployment(1, "web:1", json!({"metadata": {"annotations": {"skein.dev/partition": policy}}})),
        );
        world.settle_running();
        // Only node 0 is left, and whatever it runs is taken from it so that the count is of what was moved.
        let mine = world.id(0);
        let slots: Vec<_> =
            world.pods().into_iter().filter(|(_, pod)| pod.node == mine).map(|(slot, _)| slot).collect();
        for slot in slots {
            let placement = slot::Placement { node: Some(world.id(1)), displaces: None, again: false };
            world.edit(&slot, &[crate::view::place(&placement)]);
        }
        world.lose(&[1, 2, 3, 4]);
        world.pass(GRACE);
        world.settle();
        let of_web = world.pods().iter().filter(|(slot, _)| slot.to_string().contains("Deployment")).count();
        let own = world.pods().len() - of_web;
        assert_eq!((of_web, own), (wanted, wanted.min(1)), "{policy}");
        assert!(world.round().writes_nothing());
    }
}

#[test]
fn half_of_the_nodes_is_enough_to_replace_all() {
    let mut world = running(4, 4, "alive");
    world.lose(&[2, 3]);
    world.pass(GRACE);
    world.settle();
    assert_eq!(world.pods().len(), 4);
}

#[test]
fn a_minority_still_places_what_is_new() {
    let mut world = running(5, 2, "alive");
    world.lose(&[1, 2, 3, 4]);
    world.pass(GRACE);
    world.create_in("Deployment.apps", "new", &deployment(3, "web:1", json!({})));
    world.settle();
    assert_eq!(world.pods().iter().filter(|(slot, _)| slot.to_string().contains("new")).count(), 3);
}

#[test]
fn a_pods_own_toleration_says_how_long_it_waits() {
    let mut world = World::new(3);
    let bears = |seconds: i64| {
        json!({"spec": {"template": {"spec": {"tolerations": [
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]}}}})
    };
    world.create_in("Deployment.apps", "web", &deployment(3, "web:1", bears(30)));
    world.settle_running();
    world.lose(&[1, 2]);
    world.pass(Duration::from_secs(29));
    assert!(world.round().writes_nothing());
    world.pass(Duration::from_secs(1));
    world.settle();
    assert!(!world.pods().is_empty());
}

#[test]
fn after_the_heal_a_claim_keeps_the_pod_that_was_never_interrupted() {
    let mut world = running(3, 3, "full");
    let lost = world.id(2);
    let (slot, old) = world.pods().into_iter().find(|(_, pod)| pod.node == lost).unwrap();
    world.lose(&[2]);
    world.pass(GRACE);
    world.settle();
    world.run_all();
    let against = slot::values(world.store.object(&slot).unwrap())[0].write;
    world.find(&[2]);
    world.claim(2, Claim { slot: slot.clone(), against, kept: old.write });
    assert!(world.round().writes_nothing());
    let (_, pod) = world.pods().into_iter().find(|(known, _)| *known == slot).unwrap();
    assert_eq!((pod.node, pod.write, pod.claimed), (lost, old.write, true));
    // Lost once more, the claim does not hold the slot back.
    world.lose(&[2]);
    world.pass(GRACE);
    world.settle();
    let values = slot::values(world.store.object(&slot).unwrap());
    // The same node fills the slot in its place once more, by a new pod; the one that was lost may claim again.
    assert_ne!(values[0].write, against);
    assert_eq!(values[0].placement.displaces.map(|displaced| displaced.write), Some(old.write));
    assert!(values[0].placement.node.is_some_and(|node| node != lost));
}

#[test]
fn a_node_that_only_others_reach_keeps_what_it_claims() {
    let mut world = running(3, 3, "full");
    let deaf = world.id(2);
    let (slot, old) = world.pods().into_iter().find(|(_, pod)| pod.node == deaf).unwrap();
    let before = world.now.mono;
    world.pass(GRACE);
    world.contact.insert(deaf, before);
    world.settle();
    let against = slot::values(world.store.object(&slot).unwrap())[0].write;
    assert_ne!(against, old.write, "this node has not heard of it, so the slot is filled elsewhere");
    world.claim(2, Claim { slot: slot.clone(), against, kept: old.write });
    for _ in 0..5 {
        world.pass(GRACE);
        world.contact.insert(deaf, before);
        assert!(world.round().writes_nothing());
    }
    // Once nobody reaches it any more it is lost like any other.
    world.lose(&[2]);
    assert!(!world.round().writes_nothing());
}

#[test]
fn two_leaders_that_fill_a_slot_apart_do_not_fight_after_the_merge() {
    let mut a = running(4, 4, "full");
    let mut b = a.fork(3);
    a.lose(&[2, 3]);
    b.lose(&[0, 1]);
    for side in [&mut a, &mut b] {
        side.pass(GRACE);
        side.settle();
        side.run_all();
        assert_eq!(side.pods().len(), 4);
    }
    let snapshot = a.fork(0);
    a.learn(&b);
    b.learn(&snapshot);
    a.find(&[2, 3]);
    b.find(&[0, 1]);
    assert!(a.round().writes_nothing() && b.round().writes_nothing());
    let writes = |world: &mut World| world.pods().into_iter().map(|(slot, pod)| (slot, pod.write)).collect::<Vec<_>>();
    assert_eq!(writes(&mut a), writes(&mut b));
    assert_eq!(a.pods().len(), 4);
}

#[test]
fn an_emptied_slot_is_filled_again() {
    let mut world = running(2, 2, "alive");
    let (slot, old) = world.pods().remove(0);
    world.edit(&slot, &[crate::view::place(&slot::Placement::default())]);
    world.settle();
    let (_, new) = world.pods().remove(0);
    assert_ne!(new.write, old.write);
}

#[test]
fn a_node_that_left_or_whose_object_was_deleted_while_it_is_away_is_not_waited_for() {
    let mut world = running(5, 5, "hold");
    world.lose(&[4]);
    world.pass(Duration::from_secs(10));
    assert!(world.round().writes_nothing());
    let node = world.store.current_life(&NameKey::root(&Kind::new("Node"), "n4")).unwrap();
    world.delete(&node);
    world.settle();
    assert_eq!(world.pods().len(), 5);
    let mut leaver = world.fork(3);
    let departed = leaver.store.depart(leaver.now);
    leaver.log.push(departed);
    world.learn(&leaver);
    world.lose(&[3]);
    world.settle();
    assert_eq!(world.pods().len(), 5);
}

#[test]
fn a_taint_moves_pods_away_and_keeps_new_ones_out() {
    let mut world = running(3, 3, "alive");
    let node = world.store.current_life(&NameKey::root(&Kind::new("Node"), "n1")).unwrap();
    let taint = |effect: &str| {
        Edit::set("spec.taints", Scalar::Json(json!([{"key": "a", "value": "b", "effect": effect}]).to_string().into()))
    };
    world.edit(&node, &[taint("NoSchedule")]);
    assert!(world.round().writes_nothing(), "NoSchedule moves nothing");
    world.edit(&node, &[taint("NoExecute")]);
    world.settle();
    assert_eq!(world.spread()[1], 0);
    assert_eq!(world.pods().len(), 3);
    // Where nothing else will do the pods go all the same, and wait.
    for n in ["n0", "n2"] {
        let node = world.store.current_life(&NameKey::root(&Kind::new("Node"), n)).unwrap();
        world.edit(&node, &[taint("NoExecute")]);
    }
    world.settle();
    assert_eq!((world.pods().len(), world.unschedulable.len()), (0, 3));
    let message = world.unschedulable.values().next().unwrap();
    assert!(message.starts_with("0/3 nodes are available: 3 node(s) had untolerated taint {a: b}."), "{message}");
}

#[test]
fn a_cordoned_node_gets_no_new_pods_and_keeps_its_own() {
    let mut world = running(2, 2, "alive");
    let node = world.store.current_life(&NameKey::root(&Kind::new("Node"), "n0")).unwrap();
    world.edit(&node, &[Edit::set("spec.unschedulable", Scalar::Bool(true))]);
    let web = world.view().deployments[0].key.clone();
    world.edit(&web, &[Edit::set("spec.replicas", Scalar::Int(4))]);
    world.settle();
    assert_eq!(world.spread(), [1, 3]);
}

#[test]
fn an_engine_that_stays_silent_loses_its_pods_and_one_that_restarts_does_not() {
    let mut world = running(2, 2, "alive");
    world.say_node(1, |capacity| capacity.ready = false);
    for _ in 0..2 {
        world.pass(Duration::from_secs(10));
        world.settle();
    }
    assert_eq!(world.spread(), [1, 1]);
    for _ in 0..2 {
        world.pass(Duration::from_secs(10));
        world.settle();
    }
    assert_eq!(world.spread(), [2, 0]);
}

#[test]
fn nodes_that_come_and_go_are_said_once() {
    let mut world = running(3, 1, "alive");
    world.lose(&[2]);
    world.pass(GRACE);
    world.settle();
    world.settle();
    world.find(&[2]);
    world.settle();
    let said: Vec<&str> = world.events.iter().filter(|e| e.kind == "Node").map(|e| e.reason.as_str()).collect();
    assert_eq!(said, ["NodeNotReady", "NodeReady"]);
}
