//! What becomes of pods whose containers were found before anybody knew what the pods are made from.

use serde_json::{Value, json};

use super::super::fake::{World, facts_of, slot, value};
use super::super::{Input, SlotFacts};
use super::{id, mine};
use crate::model::pod::{PodSpecError, RestartPolicy};
use crate::status::Phase;

fn unknown() -> SlotFacts {
    SlotFacts { template: Err(PodSpecError("its ReplicaSet is not here yet".into())), ..mine(0) }
}

fn made_of(containers: &Value) -> SlotFacts {
    facts_of(0, vec![value(1, Some(1), None)], containers)
}

#[test]
fn a_container_that_ended_for_good_does_not_start_again_once_the_template_is_known() {
    let cases = [
        (RestartPolicy::Never, Some(3), Phase::Failed),
        (RestartPolicy::Never, Some(0), Phase::Succeeded),
        (RestartPolicy::OnFailure, Some(0), Phase::Succeeded),
        // It is gone, and nobody saw how it ended.
        (RestartPolicy::Never, None, Phase::Failed),
    ];
    for (policy, code, phase) in cases {
        let mut world = World::ready();
        let mut facts = mine(0);
        std::sync::Arc::make_mut(facts.template.as_mut().unwrap()).spec.restart_policy = policy;
        world.learn(facts.clone());
        world.work();
        match code {
            Some(code) => drop(world.runtime.end(&id(0, 1, 0), code, world.now.wall_ms)),
            None => world.runtime.containers.clear(),
        }
        world.restart(vec![unknown()]);
        world.pass(1000);
        world.learn(facts);
        world.pass(600_000);
        assert_eq!((world.report().phase, world.running().len()), (phase, 0), "{policy:?} {code:?}");
        assert_eq!(world.report().containers[0].last, None, "it was not started again");
    }
}

#[test]
fn a_container_that_goes_on_is_started_again_once_the_template_is_known() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.work();
    world.runtime.end(&id(0, 1, 0), 0, world.now.wall_ms);
    world.restart(vec![unknown()]);
    world.pass(1000);
    assert_eq!((world.running().len(), world.report().phase), (0, Phase::Running));
    world.learn(mine(0));
    world.pass(1000);
    assert_eq!((world.running(), world.report().ready), (vec![("web".into(), 1)], true));
}

#[test]
fn the_containers_of_a_pod_stay_in_their_network_whatever_they_are_called() {
    let three =
        json!([{"name": "web", "image": "web:1"}, {"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]);
    let mut world = World::ready();
    world.learn(made_of(&three));
    world.work();
    world.end(&id(0, 1, 0), 1);
    world.pass(60_000);
    let before = world.runtime.containers.clone();
    assert_eq!(world.running().len(), 3);
    world.restart(vec![unknown()]);
    world.pass(1000);
    world.learn(made_of(&three));
    world.pass(60_000);
    assert_eq!(world.runtime.containers, before);
}

#[test]
fn a_pod_that_was_not_ready_is_not_said_to_be_before_the_template_is_known() {
    let probed = json!([{"name": "web", "image": "web:1", "readinessProbe": {"tcpSocket": {"port": 80}}}]);
    let mut world = World::ready();
    world.runtime.healthy = false;
    world.learn(made_of(&probed));
    world.pass(1000);
    assert!(!world.report().ready);
    world.restart(vec![unknown()]);
    world.pass(1000);
    assert!(!world.report().ready);
    world.learn(made_of(&probed));
    world.pass(1000);
    assert!(!world.report().ready);
    world.runtime.healthy = true;
    world.pass(60_000);
    assert!(world.report().ready);
}

#[test]
fn the_volumes_of_a_pod_that_was_deleted_while_the_daemon_was_away_go_with_it() {
    let mut world = World::ready();
    let mut facts = mine(0);
    facts.template = crate::model::pod::PodTemplateSpec::of(&json!({"spec": {
        "containers": [{"name": "web", "image": "web:1", "volumeMounts": [{"name": "e", "mountPath": "/e"}]}],
        "volumes": [{"name": "e", "emptyDir": {}}],
    }}))
    .map(std::sync::Arc::new);
    world.learn(facts);
    world.work();
    assert_eq!(world.runtime.volumes.len(), 1);
    world.restart(Vec::new());
    world.pass(20_000);
    assert!(world.runtime.containers.is_empty() && world.runtime.volumes.is_empty() && world.reports.is_empty());
    world.give(Input::Slots { changed: Vec::new(), removed: vec![slot(0)] });
}

#[test]
fn a_start_of_an_earlier_life_that_comes_true_after_this_node_has_left_is_found_and_ended() {
    let mut world = World::ready();
    world.learn(mine(0));
    while !matches!(world.runtime.asked.front(), Some(crate::runtime::RuntimeAction::Start(_))) {
        world.carry_out(0, true);
    }
    world.restart(vec![mine(0)]);
    world.give(Input::Leave);
    world.work();
    let wall_ms = world.now.wall_ms;
    world.runtime.carry_out_late(wall_ms);
    assert_eq!(world.running().len(), 1, "the engine does its work whether or not anybody waits for it");
    world.pass(10_000);
    assert_eq!(world.running(), vec![]);
}

#[test]
fn a_daemon_that_starts_where_its_node_was_removed_ends_what_runs_there() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.work();
    assert_eq!(world.running().len(), 1);
    world.restart_outside(vec![mine(0)]);
    world.pass(1_000);
    assert_eq!(world.running(), vec![]);
}
