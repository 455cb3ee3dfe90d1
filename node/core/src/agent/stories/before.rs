//! What comes before a pod's containers: values from ConfigMaps and Secrets, volumes, and init containers.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::super::fake::{CLUSTER, World, slot, write};
use super::super::{Input, SlotFacts};
use crate::model::pod::{PodSpecError, PodTemplateSpec};
use crate::model::source::{SourceData, SourceKind, SourceName, Sources};
use crate::runtime::{ContainerRef, ContainerState, ProbeAction, RuntimeAction, VolumeKind};
use crate::slot::pod_uid;
use crate::status::{ContainerPhase, Phase};

fn facts_of(spec: &Value, sources: &[(SourceKind, &str, Value)]) -> SlotFacts {
    let source = |(kind, name, json): &(SourceKind, &str, Value)| {
        (SourceName::new(*kind, name), Arc::new(SourceData::of(*kind, json)))
    };
    SlotFacts {
        template: PodTemplateSpec::of(&json!({ "spec": spec })).map(Arc::new),
        sources: sources.iter().map(source).collect::<Sources>(),
        ..super::mine(0)
    }
}

fn id(container: &str, attempt: u32) -> ContainerRef {
    let uid = pod_uid(&CLUSTER, &slot(0), &write(1)).as_str().into();
    ContainerRef { uid, container: container.into(), attempt }
}

/// Reason and message of the container at this place.
fn waits(world: &World, n: usize) -> (&str, &str) {
    match &world.report().containers[n].state {
        ContainerPhase::Waiting { reason, message } => (reason, message),
        other => panic!("{other:?}"),
    }
}

fn names(world: &World) -> Vec<String> {
    world.running().into_iter().map(|(name, _)| name).collect()
}

fn config(key: &str, text: &str) -> (SourceKind, &'static str, Value) {
    (SourceKind::ConfigMap, "c", json!({"data": {key: text}}))
}

#[test]
fn a_container_waits_for_the_config_map_of_its_environment_and_starts_when_it_comes() {
    let mut world = World::ready();
    let from = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]);
    let spec = json!({"containers": [{"name": "web", "image": "web:1", "env": from}]});
    world.learn(facts_of(&spec, &[]));
    world.pass(60_000);
    assert_eq!(waits(&world, 0), ("CreateContainerConfigError", "configmap \"c\" not found"));
    world.learn(facts_of(&spec, &[config("x", "1")]));
    world.pass(1000);
    assert_eq!(waits(&world, 0), ("CreateContainerConfigError", "couldn't find key k in ConfigMap shop/c"));
    let told = world.events.iter().filter(|event| event.reason == "Failed").count();
    assert_eq!(told, 2, "each reason is told once");
    world.learn(facts_of(&spec, &[config("k", "1")]));
    let started = world.runtime.asked.iter().find_map(|action| match action {
        RuntimeAction::Start(spec) => Some(spec.env.clone()),
        _ => None,
    });
    assert_eq!(started, Some(vec![("A".to_owned(), "1".to_owned())]));
    world.work();
    world.learn(facts_of(&spec, &[config("k", "2")]));
    assert!(world.runtime.asked.is_empty(), "values are taken at the start");
}

fn with_init(policy: &str) -> Value {
    json!({
        "restartPolicy": policy,
        "initContainers": [{"name": "one", "image": "web:1"}, {"name": "two", "image": "web:1"}],
        "containers": [{"name": "web", "image": "web:1"}],
    })
}

#[test]
fn init_containers_run_one_after_the_other_before_the_others() {
    let mut world = World::ready();
    let facts = facts_of(&with_init("Always"), &[]);
    world.learn(facts.clone());
    world.work();
    assert_eq!(names(&world), ["one"]);
    assert_eq!((waits(&world, 1), waits(&world, 2)), (("PodInitializing", ""), ("PodInitializing", "")));
    assert_eq!((world.report().phase, world.report().ip.as_str()), (Phase::Pending, ""));
    world.end(&id("one", 0), 1);
    world.work();
    assert_eq!(world.running(), [("one".to_owned(), 1)], "what fails is tried again");
    world.end(&id("one", 1), 0);
    world.work();
    assert_eq!(names(&world), ["two"]);
    world.restart(vec![facts.clone()]);
    world.pass(1000);
    assert_eq!(names(&world), ["two"], "a restarted daemon goes on where it was");
    world.end(&id("two", 0), 0);
    world.work();
    assert_eq!((names(&world), world.report().ready), (vec!["web".to_owned()], true));
    assert!(world.report().containers[0].ready, "as Kubernetes says of one that is done");
    assert_eq!(world.report().containers[0].restart_count, 1);
    world.end(&id("web", 0), 1);
    world.work();
    assert_eq!(world.running(), [("web".to_owned(), 1)], "what is done is not done again");
    world.runtime.containers.retain(|id, _| *id.container == *"web");
    world.restart(vec![facts]);
    world.pass(1000);
    assert_eq!(world.running(), [("web".to_owned(), 1)], "nor after its containers are gone");
    world.give(Input::Slots { changed: Vec::new(), removed: vec![slot(0)] });
    world.work();
    assert!(world.runtime.containers.is_empty() && world.reports.is_empty());
}

/// A pod whose init containers are done.
fn prepared(policy: &str) -> (World, SlotFacts) {
    let mut world = World::ready();
    let facts = facts_of(&with_init(policy), &[]);
    world.learn(facts.clone());
    world.work();
    for name in ["one", "two"] {
        world.end(&id(name, 0), 0);
        world.work();
    }
    assert_eq!(names(&world), ["web"]);
    (world, facts)
}

#[test]
fn init_containers_run_again_after_the_machine_was_restarted_even_if_the_daemon_is_restarted_meanwhile() {
    let late = SlotFacts { template: Err(PodSpecError("its ReplicaSet is not here yet".into())), ..super::mine(0) };
    for is_late in [false, true] {
        let (mut world, facts) = prepared("Always");
        world.reboot(vec![if is_late { late.clone() } else { facts.clone() }]);
        world.pass(1000);
        world.learn(facts.clone());
        world.pass(1000);
        assert_eq!(world.running(), [("one".to_owned(), 1)], "late: {is_late}");
        world.end(&id("one", 1), 0);
        world.work();
        world.restart(vec![facts.clone()]);
        world.pass(1000);
        assert_eq!(world.running(), [("two".to_owned(), 1)], "the first is not run a third time");
        world.end(&id("two", 1), 0);
        world.pass(60_000);
        assert_eq!((world.running(), world.report().ready), (vec![("web".to_owned(), 1)], true));
        world.end(&id("web", 1), 1);
        world.restart(vec![facts]);
        world.pass(60_000);
        assert_eq!(world.running(), [("web".to_owned(), 2)], "within one boot what is done stays done");
    }
}

#[test]
fn init_containers_do_not_run_again_for_containers_that_have_ended_for_good() {
    for policy in ["Never", "OnFailure"] {
        let (mut world, facts) = prepared(policy);
        if policy == "OnFailure" {
            world.end(&id("web", 0), 0);
            world.work();
        }
        world.reboot(vec![facts]);
        world.pass(60_000);
        let phase = if policy == "Never" { Phase::Failed } else { Phase::Succeeded };
        assert_eq!((world.report().phase, names(&world).len()), (phase, 0), "{policy}");
    }
}

#[test]
fn a_container_that_was_created_before_the_machine_was_restarted_makes_room_for_a_new_one() {
    let (mut world, facts) = prepared("Always");
    world.runtime.containers.get_mut(&id("web", 0)).unwrap().state = ContainerState::Created;
    world.reboot(vec![facts]);
    world.pass(1000);
    for name in ["one", "two"] {
        world.end(&id(name, 1), 0);
        world.pass(60_000);
    }
    assert_eq!(world.running(), [("web".to_owned(), 1)]);
    assert!(!world.runtime.containers.contains_key(&id("web", 0)));
}

#[test]
fn a_pod_that_never_restarts_fails_with_its_init_container() {
    let mut world = World::ready();
    let facts = facts_of(&with_init("Never"), &[]);
    world.learn(facts.clone());
    world.work();
    world.end(&id("one", 0), 3);
    world.pass(60_000);
    assert_eq!((world.report().phase, names(&world).len()), (Phase::Failed, 0));
    assert_eq!(world.agent.allocated().pods, 0, "it takes nothing of its node");
    world.restart(vec![facts]);
    world.pass(1000);
    assert_eq!((world.report().phase, names(&world).len()), (Phase::Failed, 0));
}

fn with_volumes() -> Value {
    json!({
        "containers": [{"name": "web", "image": "web:1", "volumeMounts": [
            {"name": "c", "mountPath": "/c"}, {"name": "e", "mountPath": "/e"}]}],
        "volumes": [{"name": "c", "configMap": {"name": "c"}}, {"name": "e", "emptyDir": {}}, {"name": "unused", "emptyDir": {}}],
    })
}

/// What the runtime holds of the first volume's file.
fn held(world: &World) -> Option<String> {
    let VolumeKind::Files { files, .. } = &world.runtime.volumes.get(&id("web", 0).uid)?.first()?.kind else {
        return None;
    };
    String::from_utf8(files.get("k")?.bytes.clone()).ok()
}

#[test]
fn volumes_are_there_before_a_container_starts_follow_their_sources_and_go_after_it() {
    let mut world = World::ready();
    let spec = with_volumes();
    world.learn(facts_of(&spec, &[]));
    world.pass(1000);
    let why = "MountVolume.SetUp failed for volume \"c\" : configmap \"c\" not found";
    assert_eq!(waits(&world, 0), ("ContainerCreating", why));
    assert_eq!(world.events.iter().filter(|event| event.reason == "FailedMount").count(), 1);
    world.learn(facts_of(&spec, &[config("k", "1")]));
    assert!(matches!(&world.runtime.asked[0], RuntimeAction::WriteVolumes { volumes, .. } if volumes.len() == 2));
    world.carry_out(0, false);
    assert!(world.running().is_empty());
    world.pass(2000);
    assert_eq!((names(&world).len(), held(&world).as_deref()), (1, Some("1")));
    world.learn(facts_of(&spec, &[config("k", "2")]));
    world.work();
    assert_eq!((names(&world).len(), held(&world).as_deref()), (1, Some("2")));
    world.learn(facts_of(&spec, &[]));
    world.pass(1000);
    assert_eq!((names(&world).len(), held(&world).as_deref()), (1, Some("2")), "what is gone stays in the volume");
    world.learn(facts_of(&spec, &[config("k", "2")]));
    assert!(world.runtime.asked.is_empty());
    world.restart(vec![facts_of(&spec, &[config("k", "3")])]);
    world.pass(1000);
    assert_eq!((world.running(), held(&world).as_deref()), (vec![("web".to_owned(), 0)], Some("3")));
    world.give(Input::Slots { changed: Vec::new(), removed: vec![slot(0)] });
    world.pass(10_000);
    assert!(world.runtime.volumes.is_empty() && world.reports.is_empty() && world.agent.is_idle());
}

#[test]
fn volumes_that_cannot_be_removed_are_tried_again_and_their_pod_is_shown_until_then() {
    let mut world = World::ready();
    world.learn(facts_of(&with_volumes(), &[config("k", "1")]));
    world.pass(1000);
    world.give(Input::Slots { changed: Vec::new(), removed: vec![slot(0)] });
    world.carry_out(0, true);
    world.carry_out(0, true);
    assert!(matches!(&world.runtime.asked[0], RuntimeAction::RemoveVolumes { .. }));
    world.carry_out(0, false);
    assert_eq!(world.reports.len(), 1);
    world.pass(5_000);
    assert!(world.reports.is_empty() && world.runtime.volumes.is_empty());
}

#[test]
fn a_pod_that_is_stopped_while_its_volumes_are_laid_out_leaves_none() {
    let mut world = World::ready();
    world.learn(facts_of(&with_volumes(), &[config("k", "1")]));
    assert!(matches!(&world.runtime.asked[0], RuntimeAction::WriteVolumes { .. }));
    world.give(Input::Slots { changed: Vec::new(), removed: vec![slot(0)] });
    world.pass(5_000);
    assert!(world.reports.is_empty() && world.runtime.volumes.is_empty());
}

#[test]
fn hooks_run_after_the_start_and_before_the_end() {
    let mut world = World::ready();
    let exec = |word: &str| json!({"exec": {"command": [word]}});
    let spec = json!({"terminationGracePeriodSeconds": 10, "containers": [{"name": "web", "image": "web:1",
        "readinessProbe": exec("ready"), "lifecycle": {"postStart": exec("start"), "preStop": exec("stop")}}]});
    world.learn(facts_of(&spec, &[]));
    world.carry_out(0, true);
    world.carry_out(0, true);
    let asked = |world: &World, word: &str| {
        let is = |action: &RuntimeAction| matches!(action, RuntimeAction::Probe { action: ProbeAction::Exec(command), .. } if command == &[word]);
        world.runtime.asked.iter().filter(|action| is(action)).count()
    };
    assert_eq!((asked(&world, "start"), asked(&world, "ready"), world.report().ready), (1, 0, false));
    world.carry_out(0, true);
    assert_eq!(asked(&world, "ready"), 1, "it is looked at once it has started up");
    world.work();
    assert!(world.report().ready);
    world.give(Input::Slots { changed: Vec::new(), removed: vec![slot(0)] });
    assert_eq!((asked(&world, "stop"), world.runtime.asked.len()), (1, 1));
    world.tick(world.now.mono + std::time::Duration::from_secs(3));
    assert_eq!(world.runtime.asked.len(), 1, "it is waited for");
    world.carry_out(0, true);
    let rest = world.runtime.asked.iter().find_map(|action| match action {
        RuntimeAction::Stop { grace, .. } => Some(grace.as_secs()),
        _ => None,
    });
    assert_eq!(rest, Some(7), "what the hook took is gone");
    world.work();
    assert!(world.reports.is_empty());
}

#[test]
fn a_hook_that_fails_after_the_start_ends_the_container_and_one_that_never_ends_is_not_waited_for() {
    let mut world = World::ready();
    let exec = json!({"exec": {"command": ["x"]}});
    let spec = json!({"terminationGracePeriodSeconds": 10, "containers": [{"name": "web", "image": "web:1",
        "lifecycle": {"postStart": exec, "preStop": {"sleep": {"seconds": 4}}}}]});
    world.runtime.healthy = false;
    world.learn(facts_of(&spec, &[]));
    world.work();
    assert!(world.events.iter().any(|event| event.reason == "FailedPostStartHook"));
    assert_eq!(world.running(), [("web".to_owned(), 0)], "its own hook comes before its end");
    world.runtime.healthy = true;
    world.pass(4000);
    assert_eq!((world.running(), world.report().ready), (vec![("web".to_owned(), 1)], true));
    world.give(Input::Slots { changed: Vec::new(), removed: vec![slot(0)] });
    let stops = world.runtime.asked.iter().any(|action| matches!(action, RuntimeAction::Stop { .. }));
    assert!(!stops, "it sleeps first");
    world.pass(4000);
    assert!(world.reports.is_empty());
}

#[test]
fn a_probe_may_have_a_grace_of_its_own() {
    let mut world = World::ready();
    let probe = json!({"exec": {"command": ["x"]}, "failureThreshold": 1, "terminationGracePeriodSeconds": 1});
    let spec = json!({"terminationGracePeriodSeconds": 10,
        "containers": [{"name": "web", "image": "web:1", "livenessProbe": probe}]});
    world.runtime.healthy = false;
    world.learn(facts_of(&spec, &[]));
    for _ in 0..3 {
        world.carry_out(0, true);
    }
    assert!(matches!(&world.runtime.asked[0], RuntimeAction::Stop { grace, .. } if grace.as_secs() == 1));
}

#[test]
fn a_pod_that_is_active_for_longer_than_it_may_has_failed() {
    let mut world = World::ready();
    let spec = json!({"activeDeadlineSeconds": 60, "containers": [{"name": "web", "image": "web:1"}]});
    world.learn(facts_of(&spec, &[]));
    world.pass(59_000);
    assert_eq!((world.report().phase, world.running().len()), (Phase::Running, 1));
    world.pass(1_000);
    let report = world.report();
    assert_eq!((report.phase, report.reason.as_str(), report.ready), (Phase::Failed, "DeadlineExceeded", false));
    assert_eq!((world.running().len(), world.runtime.containers.len()), (0, 1), "what it wrote can still be read");
    assert_eq!(world.agent.allocated().pods, 0);
    world.restart(vec![facts_of(&spec, &[])]);
    world.pass(60_000);
    assert_eq!((world.report().reason.as_str(), world.running().len()), ("DeadlineExceeded", 0));
}

#[test]
fn images_are_pulled_with_the_logins_that_the_pod_names_and_without_one_that_is_not_there() {
    let spec = json!({
        "imagePullSecrets": [{"name": "c"}],
        "containers": [{"name": "web", "image": "registry.example/web:1"}],
    });
    let asked = |world: &World| match world.runtime.asked.front() {
        Some(RuntimeAction::EnsureImage { logins, .. }) => {
            logins.iter().map(|login| login.username.clone()).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let mut world = World::ready();
    world.learn(facts_of(&spec, &[]));
    assert_eq!(asked(&world), [] as [&str; 0]);
    let told = |world: &World| world.events.iter().filter(|event| event.reason.contains("PullSecret")).count();
    assert_eq!(told(&world), 1);
    let config = json!({"auths": {"registry.example": {"username": "me", "password": "p"}}}).to_string();
    let data = json!({"data": {".dockerconfigjson": BASE64.encode(config)}});
    let mut world = World::ready();
    world.learn(facts_of(&spec, &[(SourceKind::Secret, "c", data)]));
    assert_eq!((asked(&world), told(&world)), (vec!["me".to_owned()], 0));
    world.work();
    assert!(world.report().ready);
}
