//! Containers that are added to a pod while it runs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::SlotFacts;
use super::super::fake::{CLUSTER, World, facts_of, slot, value, write};
use crate::ephemeral::{added, stored};
use crate::model::pod::PodTemplateSpec;
use crate::runtime::{ContainerRef, ContainerSpec, RuntimeAction};
use crate::slot::pod_uid;
use crate::status::{ContainerPhase, Phase};

fn uid() -> String {
    pod_uid(&CLUSTER, &slot(0), &write(1))
}

fn id(container: &str, attempt: u32) -> ContainerRef {
    ContainerRef { uid: uid().as_str().into(), container: container.into(), attempt }
}

fn with(containers: &[Value]) -> SlotFacts {
    let web = json!([{"name": "web", "image": "web:1"}]);
    SlotFacts { added: added(&stored(&uid(), containers)), ..facts_of(0, vec![value(1, Some(1), None)], &web) }
}

fn debugger(target: &str) -> Value {
    json!({"name": "debugger", "image": "bb:1", "command": ["sh"], "targetContainerName": target})
}

fn started(world: &World) -> Option<&ContainerSpec> {
    world.runtime.asked.iter().find_map(|action| match action {
        RuntimeAction::Start(spec) => Some(&**spec),
        _ => None,
    })
}

#[test]
fn what_is_added_starts_beside_the_others_and_is_never_started_again() {
    let mut world = World::ready();
    world.learn(with(&[]));
    world.work();
    world.learn(with(&[debugger("web")]));
    assert!(matches!(&world.runtime.asked[0], RuntimeAction::EnsureImage { image, .. } if image == "bb:1"));
    world.carry_out(0, true);
    let spec = started(&world).unwrap();
    assert_eq!((spec.network_of.as_ref(), spec.pid_of.as_ref()), (Some(&id("web", 0)), Some(&id("web", 0))));
    world.work();
    let report = world.report();
    assert!(report.ready, "it says nothing about the pod");
    assert_eq!((report.containers.len(), report.containers[1].ready), (2, false));
    assert!(matches!(report.containers[1].state, ContainerPhase::Running { .. }));
    world.end(&id("debugger", 0), 3);
    world.pass(600_000);
    let ContainerPhase::Terminated(end) = &world.report().containers[1].state else { panic!("it ended") };
    assert_eq!((end.exit_code, world.report().phase, world.report().ready), (3, Phase::Running, true));
    assert_eq!(world.running(), [("web".into(), 0)]);
    // Another one, while the first is over.
    let more = json!({"name": "a-second", "image": "bb:1"});
    world.learn(with(&[debugger("web"), more]));
    world.work();
    assert_eq!(world.running(), [("a-second".into(), 0), ("web".into(), 0)]);
}

#[test]
fn whose_processes_are_not_there_yet_is_waited_for() {
    let mut world = World::ready();
    world.learn(with(&[debugger("nobody")]));
    world.work();
    let ContainerPhase::Waiting { reason, message } = &world.report().containers[1].state else { panic!("it waits") };
    assert_eq!(
        (reason.as_str(), message.as_str()),
        ("CreateContainerConfigError", "unable to find target container \"nobody\"",)
    );
    assert!(world.report().ready);
}

#[test]
fn what_was_added_goes_on_over_a_restart_of_the_daemon_and_ends_with_its_pod() {
    let mut world = World::ready();
    let facts = with(&[debugger("")]);
    world.learn(facts.clone());
    world.work();
    let before = (world.report().clone(), world.runtime.containers.clone());
    assert_eq!(world.running().len(), 2);
    world.restart(vec![facts]);
    world.pass(1000);
    assert_eq!((world.report(), &world.runtime.containers), (&before.0, &before.1));
    // The pod that comes after it in the slot has none of it.
    world.learn(SlotFacts { values: vec![value(2, Some(1), None)], ..with(&[debugger("")]) });
    world.pass(60_000);
    let second = pod_uid(&CLUSTER, &slot(0), &write(2));
    let all: Vec<(&str, &str)> = world.runtime.containers.keys().map(|id| (&*id.uid, &*id.container)).collect();
    assert_eq!(all, [(second.as_str(), "web")]);
}

#[test]
fn containers_that_share_their_processes_end_and_start_again_with_the_first() {
    let spec = json!({"shareProcessNamespace": true, "containers": [
        {"name": "web", "image": "web:1"}, {"name": "side", "image": "web:1"},
    ]});
    let template = PodTemplateSpec::of(&json!({ "spec": spec })).map(Arc::new);
    let facts = || SlotFacts { template: template.clone(), ..with(&[]) };
    let mut world = World::ready();
    world.learn(facts());
    while started(&world).is_none_or(|spec| &*spec.id.container == "web") {
        world.carry_out(0, true);
    }
    assert_eq!(started(&world).unwrap().pid_of, Some(id("web", 0)));
    world.work();
    world.end(&id("web", 0), 1);
    world.end(&id("side", 0), 137);
    world.work();
    assert_eq!(world.running(), [("side".into(), 1), ("web".into(), 1)], "it does not wait");
    world.learn(SlotFacts { added: added(&stored(&uid(), &[debugger("")])), ..facts() });
    world.carry_out(0, true);
    assert_eq!(started(&world).unwrap().pid_of, Some(id("web", 1)));
}
