//! Deployments and ReplicaSets while all nodes are here.

use std::time::Duration;

use serde_json::json;
use skein_crdt_state::{Edit, Kind, Scalar};

use super::world::{World, deployment};
use crate::controllers::{Step, may_stop};
use crate::slot::{Claims, SLOT_KIND};
use crate::status::Phase;

fn web(world: &mut World, replicas: u32) -> skein_crdt_state::ObjectKey {
    world.create_in("Deployment.apps", "web", &deployment(replicas, "web:1", json!({})))
}

fn scale(world: &mut World, key: &skein_crdt_state::ObjectKey, replicas: i64) {
    world.edit(key, &[Edit::set("spec.replicas", Scalar::Int(replicas))]);
}

#[test]
fn ten_replicas_on_five_nodes_are_two_each_after_one_plan() {
    let mut world = World::new(5);
    world.settle();
    web(&mut world, 10);
    assert_eq!(world.settle(), 1);
    assert_eq!(world.spread(), [2; 5]);
    let said: Vec<&str> = world.events.iter().map(|event| event.message.as_str()).collect();
    assert!(said.iter().any(|message| message.ends_with("from 0 to 10")), "{said:?}");
}

#[test]
fn each_node_that_is_here_gets_an_object_and_one_that_left_loses_it() {
    let mut world = World::new(3);
    world.settle();
    let names = |world: &World| {
        world.store.live(&Kind::new("Node")).map(|node| node.key().name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&world), ["n0", "n1", "n2"]);
    let mut leaver = world.fork(2);
    let departed = leaver.store.depart(leaver.now);
    leaver.log.push(departed);
    world.learn(&leaver);
    world.settle();
    assert_eq!(names(&world), ["n0", "n1"]);
}

#[test]
fn scaling_down_takes_the_highest_slots() {
    let mut world = World::new(3);
    let key = web(&mut world, 5);
    world.settle_running();
    scale(&mut world, &key, 2);
    world.settle_running();
    let left: Vec<String> = world.pods().iter().map(|(slot, _)| slot.name().to_owned()).collect();
    assert_eq!(left, ["0", "1"]);
    scale(&mut world, &key, 0);
    world.settle_running();
    assert_eq!(world.counts(), (0, 0));
    scale(&mut world, &key, 3);
    world.settle_running();
    assert_eq!(world.counts(), (3, 3));
}

#[test]
fn a_surplus_pod_that_serves_waits_for_a_lower_slot_that_is_starting() {
    let mut world = World::new(3);
    let key = web(&mut world, 3);
    world.settle();
    world.run_pods(|slot| slot.name() == "2");
    scale(&mut world, &key, 1);
    world.settle();
    let left = |world: &mut World| world.pods().iter().map(|(slot, _)| slot.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(left(&mut world), ["0", "2"]);
    // It does not wait for ever.
    for _ in 0..4 {
        world.pass(Duration::from_secs(10));
        world.settle();
    }
    assert_eq!(left(&mut world), ["0"]);
}

#[test]
fn a_template_that_never_gets_ready_takes_no_more_than_it_may_along() {
    let mut world = World::new(3);
    let key = web(&mut world, 10);
    world.settle_running();
    world.apply(&key, &deployment(10, "broken:1", json!({})));
    for _ in 0..5 {
        world.settle();
        world.run_pods(|_| false);
        world.pass(Duration::from_secs(60));
    }
    // A quarter of ten: three more, two fewer.
    assert_eq!(world.counts(), (13, 8));
}

#[test]
fn a_rollback_takes_the_old_replica_set_up_again_and_makes_it_the_newest() {
    let mut world = World::new(3);
    let key = web(&mut world, 4);
    world.settle_running();
    world.apply(&key, &deployment(4, "web:2", json!({})));
    world.settle_running();
    world.apply(&key, &deployment(4, "web:1", json!({})));
    world.settle_running();
    let view = world.view();
    let mut sets: Vec<(u64, usize)> =
        view.deployments[0].replica_sets.iter().map(|set| (set.spec.revision, set.slots.len())).collect();
    sets.sort_unstable();
    assert_eq!(sets, [(2, 0), (3, 4)]);
}

#[test]
fn old_replica_sets_beyond_the_limit_are_let_go() {
    let mut world = World::new(2);
    let limit = json!({"spec": {"revisionHistoryLimit": 2}});
    let key = world.create_in("Deployment.apps", "web", &deployment(2, "web:0", limit.clone()));
    world.settle_running();
    for n in 1..6 {
        world.apply(&key, &deployment(2, &format!("web:{n}"), limit.clone()));
        world.settle_running();
    }
    let view = world.view();
    let mut revisions: Vec<u64> = view.deployments[0].replica_sets.iter().map(|set| set.spec.revision).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [4, 5, 6]);
}

#[test]
fn a_paused_deployment_is_scaled_and_not_rolled_out() {
    let mut world = World::new(2);
    let key = web(&mut world, 2);
    world.settle_running();
    world.apply(&key, &deployment(4, "web:2", json!({"spec": {"paused": true}})));
    world.settle_running();
    let view = world.view();
    assert_eq!(view.deployments[0].replica_sets.iter().map(|set| set.slots.len()).collect::<Vec<_>>(), [4]);
    world.apply(&key, &deployment(4, "web:2", json!({})));
    world.settle_running();
    let view = world.view();
    let current = &view.deployments[0].current;
    let of_current = view.slots().filter(|(set, _)| set.key == *current).count();
    assert_eq!((of_current, view.slots().count()), (4, 4));
}

#[test]
fn recreate_waits_until_the_old_pods_have_stopped() {
    let mut world = World::new(2);
    let recreate = json!({"spec": {"strategy": {"type": "Recreate"}}});
    let key = world.create_in("Deployment.apps", "web", &deployment(2, "web:1", recreate.clone()));
    world.settle_running();
    let old = world.pods();
    world.apply(&key, &deployment(2, "web:2", recreate));
    world.settle();
    assert_eq!(world.counts(), (0, 0));
    for (_, pod) in &old {
        world.retract_pod(pod);
    }
    world.settle_running();
    assert_eq!(world.counts(), (2, 2));
}

#[test]
fn a_deployment_whose_selector_does_not_match_keeps_its_last_template_and_says_so() {
    let mut world = World::new(2);
    let key = web(&mut world, 2);
    world.settle_running();
    let other = json!({"spec": {"template": {"metadata": {"labels": {"app": "other"}}}}});
    world.apply(&key, &deployment(3, "web:2", other));
    world.settle_running();
    assert_eq!(world.counts(), (3, 3));
    assert_eq!(world.view().deployments[0].replica_sets.len(), 1);
    let complaints = world.events.iter().filter(|event| event.reason == "InvalidTemplate").count();
    assert_eq!(complaints, 1);
}

#[test]
fn a_pod_must_be_ready_for_min_ready_seconds_to_count() {
    let mut world = World::new(2);
    let slow =
        json!({"spec": {"minReadySeconds": 5, "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}});
    let key = world.create_in("Deployment.apps", "web", &deployment(1, "web:1", slow.clone()));
    world.settle();
    world.run_all();
    world.settle();
    world.pass(Duration::from_secs(6));
    world.apply(&key, &deployment(1, "web:2", slow));
    world.settle();
    world.run_all();
    world.settle();
    assert_eq!(world.view().slots().count(), 2);
    let next = world.plan().next.unwrap();
    assert!(next <= world.now.mono + Duration::from_secs(5));
    world.pass(Duration::from_secs(5));
    world.settle();
    assert_eq!(world.view().slots().count(), 1);
}

#[test]
fn a_replica_set_of_a_user_has_as_many_slots_as_it_asks_for() {
    let mut world = World::new(3);
    let mut object = deployment(3, "web:1", json!({}));
    let key = world.create_in("ReplicaSet.apps", "own", &object);
    world.settle_running();
    assert_eq!(world.counts(), (3, 3));
    object["spec"]["replicas"] = json!(1);
    world.apply(&key, &object);
    world.settle_running();
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn a_pod_that_was_refused_goes_elsewhere_and_one_that_fails_again_and_again_waits() {
    let mut world = World::new(3);
    web(&mut world, 1);
    world.settle();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (slot, pod) = world.pods().remove(0);
        seen.push(pod.node);
        world.say_pod(&slot, &pod, Phase::Failed, false);
        world.settle();
    }
    assert_ne!(seen[0], seen[1]);
    // The first failure is replaced at once, the second after ten seconds.
    assert_eq!(seen[1], seen[2]);
    world.pass(Duration::from_secs(10));
    world.settle();
    assert_ne!(world.pods()[0].1.node, seen[2]);
}

#[test]
fn where_there_is_one_node_a_pod_that_failed_is_replaced_there() {
    let mut world = World::new(1);
    web(&mut world, 1);
    world.settle();
    let (slot, old) = world.pods().remove(0);
    world.say_pod(&slot, &old, Phase::Failed, false);
    world.settle();
    let (_, new) = world.pods().remove(0);
    assert_eq!((new.node, new.write == old.write), (old.node, false));
}

#[test]
fn a_pod_that_nobody_owns_is_placed_once() {
    let mut world = World::new(2);
    let key = world.create_in("Pod", "solo", &json!({"spec": {"containers": [{"name": "a", "image": "i"}]}}));
    world.settle();
    let first = world.view().pods[0].pod.clone().unwrap();
    world.lose(&[world.keys.iter().position(|keys| keys.node_id() == first.node).unwrap()]);
    world.pass(Duration::from_secs(60));
    assert!(world.round().writes_nothing());
    assert_eq!(world.view().pods[0].pod.as_ref().map(|pod| pod.write), Some(first.write));
    assert!(world.store.is_live(&key));
}

#[test]
fn what_cannot_be_placed_says_for_each_node_why_not_and_one_event_does() {
    let mut world = World::with(&[(1000, 1 << 30), (4000, 1 << 30)]);
    let big = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "web", "image": "i", "resources": {"requests": {"cpu": "3", "memory": "64Mi"}}}]}}}});
    world.create_in("Deployment.apps", "web", &deployment(2, "i", big));
    world.settle();
    let message = world.unschedulable.values().next().unwrap().clone();
    assert!(message.starts_with("0/2 nodes are available: 2 Insufficient cpu."), "{message}");
    assert!(message.contains("n0: 3000m cpu asked for, 1000m of 1000m free"), "{message}");
    assert!(message.contains("n1: 3000m cpu asked for, 1000m of 4000m free"), "{message}");
    for _ in 0..3 {
        world.round();
    }
    let events = world.events.iter().filter(|event| event.reason == "FailedScheduling").count();
    assert_eq!((world.unschedulable.len(), events), (1, 1));
}

#[test]
fn objects_whose_owners_are_gone_are_collected_and_others_are_not() {
    let mut world = World::new(1);
    let owner = web(&mut world, 0);
    let uid = owner.uid(&world.store.cluster()).to_string();
    let owned = |uid: &str| json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid}]}, "data": {"a": "b"}});
    let ours = world.create_in("ConfigMap", "ours", &owned(&uid));
    let unknown = world.create_in("ConfigMap", "unknown", &owned("3d4a0e0c-0000-0000-0000-000000000000"));
    let free = world.create_in("ConfigMap", "free", &json!({"data": {"a": "b"}}));
    world.settle();
    assert!(world.store.is_live(&ours) && world.store.is_live(&unknown));
    world.delete(&owner);
    world.settle();
    assert!(!world.store.is_live(&ours) && world.store.is_live(&unknown));
    // An owner that nobody knows may be on its way from a peer; after half a minute it is not.
    for _ in 0..4 {
        world.pass(Duration::from_secs(10));
        world.settle();
    }
    assert!(!world.store.is_live(&unknown) && world.store.is_live(&free));
}

/// The only disk that had the ReplicaSet was damaged. What makes it again may be on its way for a moment; then its slot counts for
/// nobody and is ended, however often the leader changes.
#[test]
fn a_slot_whose_replica_set_is_missing_is_collected() {
    let mut world = World::new(2);
    let owner = web(&mut world, 2);
    world.settle();
    let set = owner.child(&Kind::new("ReplicaSet.apps"), "web-0123456789", 1);
    let stray = set.child(&Kind::new(SLOT_KIND), "7", 1);
    world.edit(&stray, &[Edit::set("x", Scalar::Int(1))]);
    world.settle();
    assert!(world.store.is_live(&stray), "its ReplicaSet may be on its way");
    world.pass(Duration::from_secs(6));
    world.settle();
    assert!(!world.store.is_live(&stray));
    assert_eq!(world.counts().0, 2, "the workload's own slots stay");
}

#[test]
fn equal_views_make_equal_plans() {
    let mut world = World::new(4);
    web(&mut world, 7);
    let mut other = world.fork(3);
    let writes = |plan: &crate::controllers::Plan| {
        let writes = plan.items.iter().filter(|step| !matches!(step, Step::Event(_)));
        writes.cloned().collect::<Vec<_>>()
    };
    assert_eq!(writes(&world.plan()), writes(&other.plan()));
}

#[test]
fn when_a_merge_leaves_no_slot_the_pods_that_serve_run_on_until_others_do() {
    let limits = json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}});
    let mut a = World::new(2);
    let key = a.create_in("Deployment.apps", "web", &deployment(1, "web:1", limits.clone()));
    a.settle_running();
    a.apply(&key, &deployment(1, "web:2", limits.clone()));
    a.round();
    a.run_all();
    // Both pods serve. Here the rollout ends, there it is taken back.
    let both = a.pods();
    let mut b = a.fork(1);
    b.apply(&key, &deployment(1, "web:1", limits));
    a.settle();
    b.settle();
    a.learn(&b);
    assert_eq!((both.len(), a.counts().0), (2, 0), "each side has deleted what the other one kept");
    let may_stop = |world: &mut World| {
        let view = world.view();
        let ready: Vec<String> = view
            .slots()
            .filter_map(|(_, slot)| slot.pod.as_ref())
            .filter(|pod| view.is_ready(pod))
            .map(|pod| pod.uid.to_string())
            .collect();
        let serves = |_: &skein_gossip::NodeId, uid: &str| ready.iter().any(|known| known == uid);
        both.iter().all(|(slot, _)| may_stop(&world.store, &Claims::default(), slot, serves))
    };
    assert!(!may_stop(&mut a));
    a.round();
    assert!(!may_stop(&mut a), "the new pod has not started yet");
    a.run_all();
    assert!(may_stop(&mut a));
    a.delete(&key);
    assert!(may_stop(&mut a));
}

#[test]
fn where_no_pod_need_serve_none_runs_on() {
    for more in [json!({"spec": {"strategy": {"type": "Recreate"}}}), json!({"spec": {"replicas": 0}})] {
        let mut world = World::new(1);
        let key = world.create_in("Deployment.apps", "web", &deployment(1, "web:1", more));
        let slot = world.view().deployments[0].current.child(&Kind::new("Slot.skein.dev"), "0", 1);
        assert!(slot.is_within(&key));
        assert!(may_stop(&world.store, &Claims::default(), &slot, |_, _| false));
    }
}
