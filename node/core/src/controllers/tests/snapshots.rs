//! What is taken over from the snapshot before is what a look at everything shows, and what is not looked at since it was quiet
//! changes no plan. The world checks both at every step; here it is driven through anything.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use skein_crdt_state::{Kind, NameKey, ObjectKey};

use super::world::{World, deployment};
use crate::controllers::{MAX_WRITES, Step};
use crate::status::{Claim, Phase};
use crate::view::View;

const NODES: usize = 4;

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    Apply { name: usize, kind: usize, replicas: u32, image: u32 },
    Delete { name: usize, kind: usize },
    CreatePod { name: usize },
    Own { name: usize, owner: Index },
    Plan,
    Run { bits: u16 },
    Say { pod: Index, phase: usize, ready: bool },
    Retract { pod: Index },
    Claim { slot: Index },
    Lose { node: usize },
    Find { node: usize },
    Pass { ms: u64 },
    Mark { node: usize, effect: usize },
    Unmark { node: usize },
    Engine { node: usize, ready: bool },
}

const KINDS: [&str; 2] = ["Deployment.apps", "ReplicaSet.apps"];

fn event() -> impl Strategy<Value = Event> {
    let (name, node, index) = (0..3_usize, 1..NODES, any::<Index>);
    prop_oneof![
        4 => (name.clone(), 0..2_usize, 0..6_u32, 0..3_u32)
            .prop_map(|(name, kind, replicas, image)| Event::Apply { name, kind, replicas, image }),
        1 => (name.clone(), 0..2_usize).prop_map(|(name, kind)| Event::Delete { name, kind }),
        1 => name.clone().prop_map(|name| Event::CreatePod { name }),
        1 => (name, index()).prop_map(|(name, owner)| Event::Own { name, owner }),
        8 => Just(Event::Plan),
        6 => any::<u16>().prop_map(|bits| Event::Run { bits }),
        2 => (index(), 0..3_usize, any::<bool>()).prop_map(|(pod, phase, ready)| Event::Say { pod, phase, ready }),
        1 => index().prop_map(|pod| Event::Retract { pod }),
        1 => index().prop_map(|slot| Event::Claim { slot }),
        2 => node.clone().prop_map(|node| Event::Lose { node }),
        2 => node.clone().prop_map(|node| Event::Find { node }),
        3 => (20..20_000_u64).prop_map(|ms| Event::Pass { ms }),
        1 => (node.clone(), 0..2_usize).prop_map(|(node, effect)| Event::Mark { node, effect }),
        1 => node.clone().prop_map(|node| Event::Unmark { node }),
        1 => (node, any::<bool>()).prop_map(|(node, ready)| Event::Engine { node, ready }),
    ]
}

fn name_of(name: usize, kind: usize) -> NameKey {
    World::namespace().name_of_child(&Kind::new(KINDS[kind]), &format!("w{name}"))
}

fn node_object(node: usize) -> NameKey {
    NameKey::root(&Kind::new("Node"), &format!("n{node}"))
}

fn happens(world: &mut World, event: &Event) {
    match event {
        Event::Apply { name, kind, replicas, image } => {
            let strategy = if *image == 2 { "Recreate" } else { "RollingUpdate" };
            let more = json!({"spec": {"strategy": {"type": strategy}, "minReadySeconds": name}});
            let object = deployment(*replicas, &format!("web:{image}"), more);
            let name = name_of(*name, *kind);
            match world.store.current_life(&name) {
                Some(key) => world.apply(&key, &object),
                None => drop(world.create(&name, &object)),
            }
        }
        Event::Delete { name, kind } => {
            let key = world.store.current_life(&name_of(*name, *kind));
            key.iter().for_each(|key| world.delete(key));
        }
        Event::CreatePod { name } => {
            let name = World::namespace().name_of_child(&Kind::new("Pod"), &format!("p{name}"));
            if world.store.current_life(&name).is_none() {
                world.create(&name, &json!({"spec": {"containers": [{"image": "web:1"}]}}));
            }
        }
        Event::Own { name, owner } => own(world, *name, owner),
        Event::Plan => drop(world.round()),
        Event::Run { bits } => world.run_pods(|slot| bits >> (slot.name().len() + slot.segments().len()) & 1 == 1),
        Event::Say { pod, phase, ready } => {
            let phase = [Phase::Pending, Phase::Running, Phase::Failed][*phase];
            some_pod(world, pod, |world, slot, pod| world.say_pod(slot, pod, phase, *ready && phase == Phase::Running));
        }
        Event::Retract { pod } => some_pod(world, pod, |world, _, pod| world.retract_pod(pod)),
        Event::Claim { slot } => claim(world, slot),
        Event::Lose { node } => world.lose(&[*node]),
        Event::Find { node } => world.find(&[*node]),
        Event::Pass { ms } => world.pass(Duration::from_millis(*ms)),
        Event::Mark { node, effect } => {
            let effect = ["NoSchedule", "NoExecute"][*effect];
            let taints = json!([{"key": "a", "effect": effect}]);
            if let Some(key) = world.store.current_life(&node_object(*node)) {
                let provider = format!("skein://{}", world.id(*node));
                let object =
                    json!({"spec": {"taints": taints, "providerID": provider}, "metadata": {"labels": {"x": "y"}}});
                world.apply(&key, &object);
            }
        }
        Event::Unmark { node } => {
            let key = world.store.current_life(&node_object(*node));
            key.iter().for_each(|key| world.delete(key));
        }
        Event::Engine { node, ready } => world.say_node(*node, |capacity| capacity.ready = *ready),
    }
}

/// Somebody writes an owner into an object: one of the objects that are there, or one that nobody knows.
fn own(world: &mut World, name: usize, owner: &Index) {
    let keys: Vec<ObjectKey> = world.store.objects().map(|object| object.key().clone()).collect();
    let owner = owner.get(&keys);
    let uid = if name == 0 { "nobody".to_owned() } else { owner.uid(&world.store.cluster()).to_string() };
    let reference = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": owner.name(), "uid": uid}]);
    let object = json!({"metadata": {"ownerReferences": reference}, "data": {"a": "b"}});
    let name = World::namespace().name_of_child(&Kind::new("ConfigMap"), &format!("c{name}"));
    match world.store.current_life(&name) {
        Some(key) => world.apply(&key, &object),
        None => drop(world.create(&name, &object)),
    }
}

/// A node claims a slot of which its pod was displaced.
fn claim(world: &mut World, slot: &Index) {
    let displaced = |world: &mut World| {
        let view = world.view();
        let all = view.slots().filter_map(|(_, slot)| {
            let value = slot.sole?;
            let displaced = value.placement.displaces?;
            Some((displaced.node, Claim { slot: slot.key.clone(), against: value.write, kept: displaced.write }))
        });
        all.collect::<Vec<_>>()
    };
    let all = displaced(world);
    if let Some((node, claim)) = all.get(slot.index(all.len().max(1))) {
        let n = world.keys.iter().position(|keys| keys.node_id() == *node).unwrap();
        world.claim(n, claim.clone());
    }
}

fn some_pod(world: &mut World, which: &Index, act: impl FnOnce(&mut World, &ObjectKey, &crate::view::PodView)) {
    let pods = world.pods();
    if let Some((slot, pod)) = pods.get(which.index(pods.len().max(1))) {
        act(world, slot, pod);
    }
}

/// What a snapshot says of nodes and slots, without the times at which this node first saw something.
fn said(view: &View) -> impl PartialEq + std::fmt::Debug + use<> {
    let nodes = view.nodes.values().map(|node| (node.name.clone(), node.used.clone(), node.taints.len(), node.lost));
    let pod = |pod: &crate::view::PodView| (pod.node, pod.write, pod.status.clone(), pod.claimed);
    let slots = view.slots().map(|(_, slot)| (slot.key.clone(), slot.pod.as_ref().map(pod), slot.value, slot.sole));
    let solo = view.pods.iter().map(|solo| (solo.key.clone(), solo.pod.as_ref().map(pod)));
    let orphans: Vec<ObjectKey> = view.orphans.clone();
    (nodes.collect::<Vec<_>>(), slots.collect::<Vec<_>>(), solo.collect::<Vec<_>>(), orphans)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shared_with_the_snapshot_before_is_what_is_there(events in prop::collection::vec(event(), 1..60)) {
        let mut world = World::new(NODES);
        world.settle();
        for event in &events {
            happens(&mut world, event);
            world.plan();
        }
        let view = world.view();
        // Since when an owner is not known is this leader's own sighting.
        let mut first = world.first_view();
        first.orphans.clone_from(&view.orphans);
        for (node, known) in first.nodes.values_mut().zip(view.nodes.values()) {
            node.lost = known.lost;
        }
        prop_assert_eq!(said(&view), said(&first));
    }
}

#[test]
fn a_plan_that_is_cut_off_still_says_what_could_not_be_placed() {
    // Each takes 110 pods.
    let mut world = World::with(&[(1_000_000, 1 << 40); 12]);
    world.settle();
    // Its pods find no node, and come after what is made next.
    let more = json!({"spec": {"template": {"spec": {"nodeSelector": {"disk": "ssd"}}}}});
    world.create_in("Deployment.apps", "z", &deployment(3, "web:1", more));
    world.settle();
    assert_eq!(world.unschedulable.len(), 3);
    world.create_in("Deployment.apps", "a", &deployment(1200, "web:1", json!({})));
    for writes in [MAX_WRITES, MAX_WRITES, 1201 - 2 * MAX_WRITES] {
        let plan = world.round();
        let count = plan.items.iter().filter(|step| matches!(step, Step::Create { .. } | Step::Edit { .. })).count();
        assert_eq!((count, plan.is_cut), (writes, writes == MAX_WRITES));
        assert!(world.unschedulable.keys().all(|slot| slot.contains(":z@1")) && world.unschedulable.len() == 3);
    }
    assert!(world.round().writes_nothing());
    assert_eq!((world.pods().len(), world.unschedulable.len()), (1200, 3));
}
