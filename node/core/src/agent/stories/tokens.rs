//! Tokens of accounts that pods mount: whose they are, when they are signed anew, and what does without them.

use std::sync::Arc;

use serde_json::{Value, json};
use skein_crdt_state::{Kind, ObjectKey};

use super::super::fake::{CLUSTER, World, slot, write};
use super::super::{Input, SlotFacts};
use crate::model::account::{self, Account};
use crate::model::pod::PodTemplateSpec;
use crate::model::source::{SourceData, SourceKind, SourceName, Sources};
use crate::runtime::{Capacity, RuntimeAction, RuntimeEvent, TokenSpec, VolumeKind};
use crate::slot::pod_uid;
use crate::status::ContainerPhase;

const HOUR_MS: u64 = 3600 * 1000;

/// What there is of an account with this uid, and of the cluster's certificate.
fn sources(uid: Option<&str>, certificate: &str) -> Sources {
    let account = uid.map(|uid| {
        let account = Some(Account { uid: uid.to_owned(), ..Account::default() });
        (SourceName::new(SourceKind::Account, "robot"), Arc::new(SourceData { account, ..SourceData::default() }))
    });
    let root = SourceData::of(SourceKind::ConfigMap, &json!({"data": {"ca.crt": certificate}}));
    let root = (SourceName::new(SourceKind::ConfigMap, "kube-root-ca.crt"), Arc::new(root));
    account.into_iter().chain([root]).collect()
}

fn facts(spec: &Value, sources: Sources) -> SlotFacts {
    SlotFacts { template: PodTemplateSpec::of(&json!({ "spec": spec })).map(Arc::new), sources, ..super::mine(0) }
}

/// A pod as it is given its token.
fn with_token() -> Value {
    let mut spec = json!({"serviceAccountName": "robot", "containers": [{"name": "web", "image": "web:1"}]});
    let maker = ObjectKey::root(&Kind::new("Namespace"), "shop", 1);
    account::admit(&mut spec, &maker, None, true);
    spec
}

/// A pod with a token of its own wish.
fn with_projected(token: &Value) -> Value {
    json!({
        "serviceAccountName": "robot",
        "containers": [{"name": "web", "image": "web:1", "volumeMounts": [{"name": "t", "mountPath": "/t"}]}],
        "volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": token}]}}],
    })
}

/// The token that was last asked for, and what else is beside it.
fn held(world: &World) -> (TokenSpec, Vec<(String, String)>) {
    let volumes = world.runtime.volumes.values().next().unwrap();
    let VolumeKind::Files { files, memory: true } = &volumes[0].kind else { panic!("{volumes:?}") };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let others = files.iter().filter(|(_, file)| file.token.is_none());
    let others = others.map(|(path, file)| (path.clone(), text(&file.bytes))).collect();
    (files.values().find_map(|file| file.token.clone()).unwrap(), others)
}

/// Lets time pass, and counts how often the volumes were asked for meanwhile.
fn asked_within(world: &mut World, ms: u64) -> usize {
    let (mut count, end) = (0, world.now.mono + std::time::Duration::from_millis(ms));
    while world.now.mono < end {
        while let Some(action) = world.runtime.asked.front() {
            count += usize::from(matches!(action, RuntimeAction::WriteVolumes { .. }));
            world.carry_out(0, true);
        }
        let next = world.agent.poll_timeout().filter(|at| *at <= end).unwrap_or(end);
        world.tick(next);
    }
    count
}

#[test]
fn a_pod_mounts_a_token_of_its_account_in_memory_that_ends_with_it() {
    let mut world = World::ready();
    world.learn(facts(&with_token(), sources(Some("u7"), "PEM")));
    world.pass(1000);
    let uid = pod_uid(&CLUSTER, &slot(0), &write(1));
    let (token, others) = held(&world);
    assert_eq!((token.namespace.as_str(), token.account.as_str(), token.account_uid.as_str()), ("shop", "robot", "u7"));
    assert_eq!((token.pod_uid, token.audience.as_str(), token.seconds), (uid, "", 3607));
    let wanted = [("ca.crt", "PEM"), ("namespace", "shop")].map(|(path, text)| (path.to_owned(), text.to_owned()));
    assert_eq!(others, wanted);
    assert_eq!(world.running(), [("web".to_owned(), 0)]);
}

#[test]
fn a_token_is_asked_for_anew_before_four_fifths_of_its_life_and_after_a_restart() {
    let mut world = World::ready();
    let token = json!({"path": "t", "audience": "vault", "expirationSeconds": 600});
    let facts = facts(&with_projected(&token), sources(Some("u7"), "PEM"));
    world.learn(facts.clone());
    world.pass(1000);
    assert_eq!((held(&world).0.audience.as_str(), held(&world).0.seconds), ("vault", 600));
    assert_eq!(asked_within(&mut world, 468_000), 0);
    assert_eq!(asked_within(&mut world, 12_000), 1, "within ten seconds before 480");
    assert_eq!(asked_within(&mut world, HOUR_MS), 7);
    world.restart(vec![facts]);
    assert_eq!(asked_within(&mut world, 1000), 1);
}

#[test]
fn a_token_that_lasts_is_asked_for_anew_each_day() {
    let mut world = World::ready();
    let token = json!({"path": "t", "expirationSeconds": 365 * 24 * 3600});
    world.learn(facts(&with_projected(&token), sources(Some("u7"), "PEM")));
    world.pass(1000);
    assert_eq!(asked_within(&mut world, 23 * HOUR_MS), 0);
    assert_eq!(asked_within(&mut world, HOUR_MS), 1);
}

#[test]
fn tokens_are_asked_for_anew_when_the_key_is_another_and_when_the_clock_went_elsewhere() {
    let mut world = World::ready();
    world.learn(facts(&with_token(), sources(Some("u7"), "PEM")));
    world.pass(1000);
    world.give(Input::SignAnew);
    assert_eq!(asked_within(&mut world, 120_000), 1, "once for each wish");
    world.now.wall_ms += HOUR_MS;
    assert_eq!(asked_within(&mut world, 120_000), 1, "the machine slept");
    world.now.wall_ms -= HOUR_MS;
    assert_eq!(asked_within(&mut world, 120_000), 1, "the clock was put back");
}

#[test]
fn tokens_are_asked_for_anew_with_the_certificate_and_with_another_life_of_the_account() {
    let mut world = World::ready();
    world.learn(facts(&with_token(), sources(Some("u7"), "PEM")));
    world.pass(1000);
    world.learn(facts(&with_token(), sources(Some("u7"), "OTHER")));
    world.pass(1000);
    assert_eq!(held(&world).1[0].1, "OTHER");
    world.learn(facts(&with_token(), sources(Some("u8"), "OTHER")));
    world.pass(1000);
    assert_eq!(held(&world).0.account_uid, "u8");
    assert_eq!(world.running(), [("web".to_owned(), 0)]);
}

#[test]
fn a_pod_waits_for_its_account_and_goes_on_without_it_once_it_runs() {
    let mut world = World::ready();
    world.learn(facts(&with_token(), sources(None, "PEM")));
    world.pass(1000);
    let ContainerPhase::Waiting { message, .. } = &world.report().containers[0].state else { panic!() };
    assert!(message.ends_with("failed to fetch token: serviceaccounts \"robot\" not found"), "{message}");
    world.learn(facts(&with_token(), sources(Some("u7"), "PEM")));
    world.pass(1000);
    assert_eq!(world.running().len(), 1);
    world.learn(facts(&with_token(), sources(None, "PEM")));
    world.pass(2 * HOUR_MS);
    assert_eq!(world.running().len(), 1);
    world.learn(facts(&with_token(), sources(Some("u7"), "PEM")));
    assert_eq!(asked_within(&mut world, 1000), 1, "what it holds has ended meanwhile");
}

#[test]
fn a_pod_that_waits_heeds_an_account_that_comes_late_and_one_that_runs_keeps_what_it_has() {
    let mut world = World::ready();
    world.learn(facts(&with_token(), sources(None, "PEM")));
    world.pass(1000);
    assert!(world.running().is_empty());
    let without = json!({"serviceAccountName": "robot", "containers": [{"name": "web", "image": "web:1"}]});
    world.learn(facts(&without, sources(Some("u7"), "PEM")));
    world.pass(1000);
    assert_eq!((world.running().len(), world.runtime.volumes.len()), (1, 0), "the account says that it gets none");
    let mut world = World::ready();
    world.learn(facts(&with_token(), sources(Some("u7"), "PEM")));
    world.pass(1000);
    world.learn(facts(&without, sources(Some("u7"), "OTHER")));
    world.pass(1000);
    assert_eq!((world.running().len(), held(&world).1[0].1.as_str()), (1, "OTHER"));
}

#[test]
fn a_token_that_could_not_be_signed_is_asked_for_again_and_also_while_the_engine_is_away() {
    let mut world = World::ready();
    world.learn(facts(&with_token(), sources(Some("u7"), "PEM")));
    world.pass(1000);
    world.give(Input::SignAnew);
    world.carry_out(0, false);
    assert_eq!(asked_within(&mut world, 60_000), 1);
    let away = Capacity { ready: false, ..super::super::fake::capacity() };
    world.give(Input::Runtime(RuntimeEvent::Capacity(away)));
    assert_eq!(asked_within(&mut world, HOUR_MS), 1);
}

#[test]
fn a_pod_that_has_ended_gets_no_tokens_any_more() {
    let mut world = World::ready();
    let mut spec = with_token();
    spec["restartPolicy"] = "Never".into();
    world.learn(facts(&spec, sources(Some("u7"), "PEM")));
    world.pass(1000);
    let id = world.runtime.running().remove(0);
    world.end(&id, 0);
    assert_eq!(asked_within(&mut world, 10 * HOUR_MS), 0);
}
