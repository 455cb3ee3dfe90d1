//! What becomes of pods, told with a runtime in memory.
#![allow(clippy::unwrap_used)]

mod before;
mod ephemeral;
mod found;
mod tokens;

use serde_json::json;
use skein_crdt_state::{Kind, ObjectKey};

use super::fake::{World, facts, facts_of, node, slot, value, write};
use super::{Input, SlotFacts};
use crate::model::pod::PodSpecError;
use crate::runtime::{Capacity, ContainerRef, RuntimeAction, RuntimeEvent};
use crate::slot::pod_uid;
use crate::status::{Claim, ContainerPhase, Phase};

fn mine(n: u32) -> SlotFacts {
    facts(n, vec![value(1, Some(1), None)])
}

fn id(n: u32, by: u8, attempt: u32) -> ContainerRef {
    let uid = pod_uid(&super::fake::CLUSTER, &slot(n), &write(by)).as_str().into();
    ContainerRef { uid, container: "web".into(), attempt }
}

fn waiting(world: &World) -> &str {
    match &world.report().containers[0].state {
        ContainerPhase::Waiting { reason, .. } => reason,
        _ => "",
    }
}

#[test]
fn a_pod_is_started_reported_ready_and_left_alone() {
    let mut world = World::ready();
    world.learn(mine(0));
    assert_eq!(world.report().phase, Phase::Pending);
    world.work();
    let report = world.report();
    assert_eq!((report.phase, report.ready, report.ip.as_str()), (Phase::Running, true, "10.1.0.1"));
    assert_eq!(report.write, write(1).to_string());
    world.pass(120_000);
    assert_eq!(world.agent.poll_timeout(), None);
    world.learn(mine(0));
    assert!(world.runtime.asked.is_empty());
    assert!(world.events.iter().any(|event| event.reason == "Started"));
}

#[test]
fn nothing_happens_before_the_state_is_loaded_and_the_containers_are_listed() {
    let mut world = World::new();
    world.learn(mine(0));
    assert!(world.runtime.asked.is_empty() && world.reports.is_empty());
    world.sync();
    assert_eq!(world.runtime.asked, [RuntimeAction::List]);
    world.carry_out(0, false);
    assert!(world.runtime.asked.is_empty() && world.reports.is_empty());
    world.pass(1000);
    assert_eq!(world.running(), [("web".into(), 0)], "the list is asked for again");
}

#[test]
fn a_slot_that_is_gone_stops_its_pod_and_its_report_goes_after_its_containers() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.work();
    world.give(Input::Slots { changed: Vec::new(), removed: vec![slot(0)] });
    assert!(world.report().stopping_since_ms > 0 && !world.report().ready);
    assert!(matches!(&world.runtime.asked[0], RuntimeAction::Stop { grace, .. } if grace.as_secs() == 3));
    world.carry_out(0, true);
    assert_eq!(world.reports.len(), 1);
    world.work();
    assert!(world.reports.is_empty() && world.runtime.containers.is_empty() && world.agent.is_idle());
}

#[test]
fn a_container_that_ends_is_restarted_in_place_with_growing_pauses() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.work();
    world.end(&id(0, 1, 0), 1);
    world.work();
    assert_eq!(world.running(), [("web".into(), 1)], "the first time at once");
    world.end(&id(0, 1, 1), 1);
    world.work();
    assert_eq!((waiting(&world), world.running().len()), ("CrashLoopBackOff", 0));
    assert_eq!(world.report().containers[0].last.as_ref().map(|last| last.exit_code), Some(1));
    assert_eq!(world.report().phase, Phase::Running);
    world.pass(9_999);
    assert!(world.running().is_empty());
    world.pass(1);
    assert_eq!(world.running(), [("web".into(), 2)]);
    assert_eq!(world.report().containers[0].restart_count, 2);
    let kept: Vec<u32> = world.runtime.containers.keys().map(|id| id.attempt).collect();
    assert_eq!(kept, [1, 2], "the one before is kept for its logs, older ones are removed");
    world.pass(600_000);
    world.end(&id(0, 1, 2), 1);
    world.work();
    assert_eq!(world.running(), [("web".into(), 3)], "it ran long enough to start anew");
}

#[test]
fn a_pod_that_never_restarts_succeeds_or_fails() {
    for (code, phase) in [(0, Phase::Succeeded), (3, Phase::Failed)] {
        let mut world = World::ready();
        let mut facts = mine(0);
        let template = std::sync::Arc::make_mut(facts.template.as_mut().unwrap());
        template.spec.restart_policy = crate::model::pod::RestartPolicy::Never;
        world.learn(facts.clone());
        world.work();
        world.end(&id(0, 1, 0), code);
        world.pass(1000);
        assert_eq!(world.report().phase, phase);
        let exit = match &world.report().containers[0].state {
            ContainerPhase::Terminated(end) => end.exit_code,
            other => panic!("{other:?}"),
        };
        assert_eq!(exit, code);
        world.runtime.containers.clear();
        world.restart(vec![facts]);
        world.pass(1000);
        assert_eq!(
            (world.report().phase, world.running().len()),
            (phase, 0),
            "also after a restart without containers"
        );
    }
}

#[test]
fn an_image_that_cannot_be_had_is_tried_again() {
    let mut world = World::ready();
    world.runtime.missing.insert("web:1".into());
    world.learn(mine(0));
    world.pass(1999);
    assert_eq!((waiting(&world), world.report().phase), ("ErrImagePull", Phase::Pending));
    world.pass(1);
    assert_eq!(waiting(&world), "ImagePullBackOff");
    world.runtime.missing.clear();
    world.pass(10_000);
    assert_eq!(world.running().len(), 1);
}

#[test]
fn a_start_that_fails_is_tried_again_as_the_same_attempt() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.carry_out(0, true);
    world.carry_out(0, false);
    assert_eq!(waiting(&world), "CreateContainerError");
    world.pass(2000);
    assert_eq!(world.running(), [("web".into(), 0)]);
    assert_eq!(world.report().containers[0].restart_count, 0);
}

#[test]
fn an_engine_that_fails_to_stop_and_remove_is_asked_again() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.work();
    world.give(Input::Slots { changed: Vec::new(), removed: vec![slot(0)] });
    world.carry_out(0, false);
    assert_eq!(world.running().len(), 1);
    world.tick(world.agent.poll_timeout().unwrap());
    world.carry_out(0, true);
    world.carry_out(0, false);
    assert_eq!(world.runtime.containers.len(), 1);
    world.pass(5000);
    assert!(world.runtime.containers.is_empty() && world.reports.is_empty());
}

#[test]
fn a_restarted_daemon_touches_no_container_of_a_pod_that_is_wanted() {
    let mut world = World::ready();
    let probed = json!([{"name": "web", "image": "web:1", "readinessProbe": {"tcpSocket": {"port": 80}}}]);
    let facts = facts_of(0, vec![value(1, Some(1), None)], &probed);
    world.learn(facts.clone());
    world.work();
    world.end(&id(0, 1, 0), 1);
    world.work();
    let before = (world.report().clone(), world.runtime.containers.clone());
    assert!(before.0.ready);
    world.restart(vec![facts]);
    world.carry_out(0, true);
    assert_eq!(world.report(), &before.0, "not even its readiness changes");
    world.pass(1000);
    assert_eq!(world.runtime.containers, before.1);
}

#[test]
fn containers_of_what_is_gone_are_stopped_and_removed_after_a_restart() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.learn(mine(1));
    world.work();
    world.restart(vec![mine(1)]);
    world.pass(9_000);
    assert_eq!(world.running().len(), 2, "the state may be behind");
    world.pass(2_000);
    assert_eq!(world.runtime.running(), [id(1, 1, 0)]);
    assert_eq!(world.runtime.containers.len(), 1);
    assert_eq!(world.report().slot, slot(1).to_string());
}

#[test]
fn a_report_of_a_pod_that_is_gone_is_retracted_after_a_restart() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.restart(vec![]);
    world.work();
    assert!(world.reports.is_empty());
}

#[test]
fn a_displaced_pod_that_is_ready_claims_and_keeps_its_claim_over_a_restart() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.work();
    let refilled = facts(0, vec![value(5, Some(2), Some((1, 1)))]);
    world.learn(refilled.clone());
    let claim = Claim { slot: slot(0), against: write(5), kept: write(1) };
    assert_eq!(world.claims, [claim.clone()].into());
    world.restart(vec![refilled]);
    world.work();
    assert_eq!((world.claims.clone(), world.running().len()), ([claim].into(), 1));
    world.learn(facts(0, vec![value(6, Some(2), None)]));
    world.work();
    assert!(world.claims.is_empty() && world.running().is_empty(), "it was taken back on purpose");
}

#[test]
fn what_only_looks_like_the_displaced_pod_claims_nothing_and_ends_with_the_first_that_is_ready() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.work();
    let (pod, mut like) = world.runtime.containers.pop_first().unwrap();
    like.id = ContainerRef { uid: "00000000-0000-5000-8000-000000000000".into(), ..pod };
    world.runtime.containers.insert(like.id.clone(), like);
    let mut refilled = facts(0, vec![value(5, Some(2), Some((1, 1)))]);
    world.restart(vec![refilled.clone()]);
    world.work();
    assert!(world.claims.is_empty(), "nobody would ever see the pod that is claimed");
    refilled.ready.insert(write(5));
    world.learn(refilled);
    world.pass(1000);
    assert!(world.runtime.containers.is_empty() && world.reports.is_empty());
}

#[test]
fn a_displaced_pod_that_is_not_ready_stops_without_a_claim() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.work();
    world.end(&id(0, 1, 0), 1);
    world.learn(facts(0, vec![value(5, Some(2), Some((1, 1)))]));
    world.work();
    assert!(world.claims.is_empty() && world.runtime.containers.is_empty() && world.reports.is_empty());
}

#[test]
fn a_loser_runs_on_until_the_winner_is_ready() {
    let mut world = World::ready();
    world.learn(facts(0, vec![value(2, Some(1), None)]));
    world.work();
    let mut both = facts(0, vec![value(1, Some(2), None), value(2, Some(1), None)]);
    world.learn(both.clone());
    world.work();
    assert_eq!(world.running().len(), 1);
    both.ready.insert(write(1));
    world.learn(both);
    world.work();
    assert!(world.running().is_empty() && world.reports.is_empty());
}

#[test]
fn two_pods_of_one_slot_on_this_node_become_one_when_the_winner_is_ready() {
    let mut world = World::ready();
    world.learn(facts(0, vec![value(2, Some(1), None)]));
    world.work();
    world.learn(facts(0, vec![value(1, Some(1), None), value(2, Some(1), None)]));
    world.carry_out(0, true);
    assert_eq!(world.runtime.running(), [id(0, 2, 0)]);
    world.work();
    assert_eq!(world.runtime.running(), [id(0, 1, 0)]);
}

#[test]
fn a_pod_that_stops_is_not_unstopped_but_may_start_anew_when_it_is_gone() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.work();
    world.learn(facts(0, vec![value(5, None, None)]));
    world.learn(mine(0));
    assert!(world.report().stopping_since_ms > 0);
    world.carry_out(0, true);
    assert!(world.running().is_empty());
    world.work();
    assert_eq!(world.running(), [("web".into(), 0)]);
    assert_eq!(world.report().stopping_since_ms, 0);
}

#[test]
fn what_does_not_fit_fails_with_its_reason_and_stays_so() {
    let big = json!([{"name": "web", "image": "web:1", "resources": {"requests": {"cpu": "3"}}}]);
    let mut world = World::ready();
    world.learn(facts_of(0, vec![value(1, Some(1), None)], &big));
    world.work();
    world.learn(facts_of(1, vec![value(2, Some(1), None)], &big));
    world.work();
    let refused = world.reports.values().find(|report| report.phase == Phase::Failed).unwrap();
    assert_eq!((refused.reason.as_str(), world.running().len()), ("OutOfcpu", 1));
    assert_eq!(world.agent.allocated().cpu_millis, 3000);
    let known =
        vec![facts_of(0, vec![value(1, Some(1), None)], &big), facts_of(1, vec![value(2, Some(1), None)], &big)];
    world.restart(known);
    world.work();
    assert!(world.reports.values().any(|report| report.reason == "OutOfcpu"));
}

#[test]
fn what_fits_once_another_has_stopped_waits_for_it() {
    let port = json!([{"name": "web", "image": "web:1", "ports": [{"containerPort": 80, "hostPort": 80}]}]);
    let mut world = World::ready();
    world.learn(facts_of(0, vec![value(1, Some(1), None)], &port));
    world.work();
    let next = facts_of(1, vec![value(2, Some(1), None)], &port);
    world.give(Input::Slots { changed: vec![next], removed: vec![slot(0)] });
    assert!(world.reports.values().all(|report| report.phase != Phase::Failed));
    world.work();
    assert_eq!(world.runtime.running(), [id(1, 2, 0)]);
}

#[test]
fn the_containers_of_a_pod_start_in_order_and_follow_the_first_to_its_new_network() {
    let two = json!([{"name": "web", "image": "web:1"}, {"name": "side", "image": "side:1"}]);
    let mut world = World::ready();
    world.learn(facts_of(0, vec![value(1, Some(1), None)], &two));
    world.carry_out(0, true);
    assert!(matches!(&world.runtime.asked[0], RuntimeAction::Start(spec) if &*spec.id.container == "web"));
    assert_eq!(world.runtime.asked.len(), 1);
    world.work();
    assert!(world.report().ready);
    world.end(&id(0, 1, 0), 1);
    world.work();
    assert_eq!(world.running(), [("side".into(), 1), ("web".into(), 1)]);
    assert_eq!(world.report().containers[1].restart_count, 1);
}

#[test]
fn a_pod_is_ready_when_its_probe_says_so_and_restarted_when_its_liveness_fails() {
    let probed = json!([{"name": "web", "image": "web:1",
        "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 2, "failureThreshold": 1},
        "livenessProbe": {"tcpSocket": {"port": 80}, "initialDelaySeconds": 60, "failureThreshold": 1}}]);
    let mut world = World::ready();
    world.runtime.healthy = false;
    world.learn(facts_of(0, vec![value(1, Some(1), None)], &probed));
    world.pass(3000);
    assert_eq!((world.report().phase, world.report().ready), (Phase::Running, false));
    world.runtime.healthy = true;
    world.pass(1000);
    assert!(world.report().ready);
    world.runtime.healthy = false;
    world.pass(2000);
    assert!(!world.report().ready);
    assert!(world.events.iter().any(|event| event.reason == "Unhealthy"));
    world.pass(60_000);
    assert!(world.report().containers[0].restart_count >= 1);
}

#[test]
fn a_pod_without_an_owner_is_one_pod_whichever_value_placed_it() {
    let key = ObjectKey::root(&Kind::new("Namespace"), "shop", 1).child(&Kind::new("Pod"), "solo", 1);
    let solo = |values| SlotFacts { slot: key.clone(), ..facts(0, values) };
    let mut world = World::ready();
    world.learn(solo(vec![value(1, Some(1), None)]));
    world.work();
    let started = world.runtime.containers.clone();
    assert!(started.values().all(|info| info.write.is_empty() && info.pod == "solo"));
    world.learn(solo(vec![value(2, Some(1), None)]));
    world.work();
    assert_eq!(world.runtime.containers, started);
    world.restart(vec![solo(vec![value(2, Some(1), None)])]);
    world.work();
    assert_eq!(world.runtime.containers, started);
}

#[test]
fn a_claim_of_a_node_that_is_this_one_counts_only_if_the_agent_makes_it() {
    let mut refilled = facts(0, vec![value(5, Some(1), Some((1, 4)))]);
    refilled.claims = vec![(node(1), Claim { slot: slot(0), against: write(5), kept: write(4) })];
    let mut world = World::ready();
    world.learn(refilled);
    world.work();
    assert_eq!(world.runtime.running(), [id(0, 5, 0)]);
}

#[test]
fn what_ended_while_the_engine_was_away_is_learned_when_it_is_back() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.work();
    let away = Capacity { ready: false, ..super::fake::capacity() };
    world.give(Input::Runtime(RuntimeEvent::Capacity(away)));
    world.runtime.containers.clear();
    world.give(Input::Runtime(RuntimeEvent::Capacity(super::fake::capacity())));
    world.work();
    assert_eq!(world.running(), [("web".into(), 1)]);
    let last = world.report().containers[0].last.clone().unwrap();
    assert_eq!(last.reason, "ContainerStatusUnknown");
}

#[test]
fn events_of_containers_that_nobody_knows_change_nothing() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.work();
    let before = world.report().clone();
    for wrong in [id(7, 7, 0), id(0, 1, 9)] {
        world.give(Input::Runtime(RuntimeEvent::Removed { id: wrong.clone() }));
        world.give(Input::Runtime(RuntimeEvent::Exited { id: wrong.clone(), exit: Default::default() }));
        world.give(Input::Runtime(RuntimeEvent::Probed { id: wrong, token: 1, result: Ok(()) }));
    }
    world.work();
    assert_eq!((world.report(), world.running().len()), (&before, 1));
}

#[test]
fn a_pod_waits_for_its_template_and_a_running_one_does_not_care() {
    let unknown = || SlotFacts { template: Err(PodSpecError("its ReplicaSet is not here yet".into())), ..mine(0) };
    let mut world = World::ready();
    world.learn(unknown());
    world.work();
    assert_eq!((world.report().phase, world.report().reason.as_str()), (Phase::Pending, "InvalidSpec"));
    world.learn(mine(0));
    world.work();
    let before = world.runtime.containers.clone();
    assert_eq!(world.running().len(), 1);
    world.restart(vec![unknown()]);
    world.work();
    assert!(world.report().ready);
    world.learn(mine(0));
    world.work();
    assert_eq!((&world.runtime.containers, world.report().ready), (&before, true));
}

#[test]
fn a_start_of_an_earlier_life_that_comes_true_late_is_found_and_undone() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.carry_out(0, true);
    world.restart(Vec::new());
    world.work();
    world.runtime.carry_out_late(world.now.wall_ms);
    assert_eq!(world.running().len(), 1);
    world.pass(120_000);
    assert!(world.runtime.containers.is_empty() && world.reports.is_empty());
}

#[test]
fn a_pod_that_the_state_learns_of_again_after_a_restart_goes_on() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.work();
    let before = world.runtime.containers.clone();
    world.restart(Vec::new());
    world.pass(3_000);
    world.learn(mine(0));
    world.pass(120_000);
    assert_eq!((&world.runtime.containers, world.report().ready), (&before, true));
}

#[test]
fn a_pod_that_the_state_learns_of_again_too_late_starts_anew_when_it_is_gone() {
    let mut world = World::ready();
    world.learn(mine(0));
    world.work();
    world.restart(Vec::new());
    world.carry_out(0, true);
    world.tick(world.now.mono + std::time::Duration::from_secs(10));
    world.learn(mine(0));
    assert!(world.report().stopping_since_ms > 0);
    world.pass(120_000);
    assert_eq!(world.runtime.running(), [id(0, 1, 0)]);
    assert_eq!((world.report().stopping_since_ms, world.runtime.containers.len()), (0, 1));
}
