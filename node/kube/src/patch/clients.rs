//! Tests of patches as clients send them: kubectl's verbs one by one, and the examples of Kubernetes' documentation.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Patch;
use crate::resource::{self, Resource};
use crate::status::Status;

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

fn apply(resource: &Resource, kind: &str, to: &Value, patch: &Value) -> Result<Value, Status> {
    Patch::read(Some(kind), patch.to_string().as_bytes())?.apply(resource, to)
}

fn patched(kind: &str, to: &Value, patch: &Value) -> Value {
    apply(&resource::DEPLOYMENTS, kind, to, patch).unwrap()
}

fn web() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}, "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
                {"name": "web", "image": "web:1", "imagePullPolicy": "IfNotPresent", "env": [
                    {"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    "ports": [{"containerPort": 80, "protocol": "TCP"}]},
                {"name": "log", "image": "log:1", "imagePullPolicy": "IfNotPresent"},
            ]}}},
    })
}

fn containers(of: &Value) -> &Value {
    &of["spec"]["template"]["spec"]["containers"]
}

#[test]
fn kubectl_apply_changes_adds_and_removes_what_the_file_did() {
    let patch = json!({
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{\"new\":1}"}},
        "spec": {"replicas": null, "template": {"spec": {
            "$setElementOrder/containers": [{"name": "web"}, {"name": "cache"}],
            "containers": [
                {"name": "web", "image": "web:2", "$setElementOrder/env": [{"name": "C"}, {"name": "A"}],
                    "env": [{"name": "C", "value": "3"}, {"$patch": "delete", "name": "B"}]},
                {"name": "cache", "image": "cache:1"},
                {"$patch": "delete", "name": "log"},
            ]}}},
    });
    let result = patched(STRATEGIC, &web(), &patch);
    assert_eq!(
        containers(&result),
        &json!([
            {"name": "web", "image": "web:2", "imagePullPolicy": "IfNotPresent",
                "env": [{"name": "C", "value": "3"}, {"name": "A", "value": "1"}],
                "ports": [{"containerPort": 80, "protocol": "TCP"}]},
            {"name": "cache", "image": "cache:1"},
        ])
    );
    assert_eq!(result["spec"].get("replicas"), None);
    assert_eq!(
        result["metadata"]["annotations"],
        json!({"kubectl.kubernetes.io/last-applied-configuration": "{\"new\":1}"})
    );
    assert_eq!(patched(STRATEGIC, &result, &patch), result);
}

#[test]
fn kubectl_apply_with_another_strategy_drops_the_old_ones_settings() {
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": null, "type": "Recreate"}}});
    assert_eq!(patched(STRATEGIC, &web(), &patch)["spec"]["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn kubectl_set_image_changes_one_image() {
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "web"}, {"name": "log"}],
        "containers": [{"image": "log:2", "name": "log"}]}}}});
    let mut expected = web();
    expected["spec"]["template"]["spec"]["containers"][1]["image"] = "log:2".into();
    assert_eq!(patched(STRATEGIC, &web(), &patch), expected);
}

#[test]
fn kubectl_rollout_restarts_pauses_and_resumes() {
    let at = json!({"kubectl.kubernetes.io/restartedAt": "2026-01-02T03:04:05Z"});
    let restarted =
        patched(STRATEGIC, &web(), &json!({"spec": {"template": {"metadata": {"annotations": at.clone()}}}}));
    assert_eq!(restarted["spec"]["template"]["metadata"], json!({"labels": {"app": "web"}, "annotations": at}));
    let paused = patched(STRATEGIC, &web(), &json!({"spec": {"paused": true}}));
    assert_eq!(paused["spec"]["paused"], true);
    assert_eq!(patched(STRATEGIC, &paused, &json!({"spec": {"paused": null}})), web());
}

#[test]
fn kubectl_rollout_undo_replaces_the_template() {
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web"}]}});
    let patch = json!([
        {"op": "replace", "path": "/spec/template", "value": template},
        {"op": "replace", "path": "/metadata/annotations", "value": {"deployment.kubernetes.io/revision": "1"}},
    ]);
    let undone = patched(JSON, &web(), &patch);
    assert_eq!(undone["spec"]["template"], template);
    assert_eq!(undone["metadata"]["annotations"], json!({"deployment.kubernetes.io/revision": "1"}));
}

#[test]
fn kubectl_edit_removes_a_field_and_a_label() {
    let patch = json!({"metadata": {"labels": {"app": null, "tier": "front"}}, "spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "log"}, {"name": "web"}],
        "containers": [{"name": "web", "env": null}]}}}});
    let edited = patched(STRATEGIC, &web(), &patch);
    assert_eq!(edited["metadata"]["labels"], json!({"tier": "front"}));
    assert_eq!(containers(&edited)[0]["name"], "log");
    assert_eq!(containers(&edited)[1].get("env"), None);
}

#[test]
fn kubectl_label_and_scale_send_merge_patches() {
    let patch = json!({"metadata": {"labels": {"app": null, "env": "prod"}}});
    assert_eq!(patched(MERGE, &web(), &patch)["metadata"]["labels"], json!({"env": "prod"}));
    assert_eq!(patched(MERGE, &web(), &json!({"spec": {"replicas": 3}}))["spec"]["replicas"], 3);
}

#[test]
fn kubectl_cordons_and_taints_a_node() {
    let node = json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}});
    let on = |to: &Value, patch: Value| apply(&resource::NODES, STRATEGIC, to, &patch).unwrap();
    let cordoned = on(&node, json!({"spec": {"unschedulable": true}}));
    assert_eq!(cordoned["spec"]["unschedulable"], true);
    assert_eq!(on(&cordoned, json!({"spec": {"unschedulable": null}})), node);
    let both = json!([{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute"}]);
    assert_eq!(on(&node, json!({"spec": {"taints": both.clone()}}))["spec"]["taints"], both);
    assert_eq!(on(&node, json!({"spec": {"taints": null}}))["spec"], json!({}));
}

#[test]
fn the_documented_example_puts_the_new_container_first() {
    let to = json!({"spec": {"template": {"spec": {
        "containers": [{"name": "patch-demo-ctr", "image": "nginx"}],
        "tolerations": [{"effect": "NoSchedule", "key": "dedicated", "value": "test-team"}]}}}});
    let redis = json!({"name": "patch-demo-ctr-2", "image": "redis"});
    let patch = json!({"spec": {"template": {"spec": {"containers": [redis],
        "tolerations": [{"effect": "NoSchedule", "key": "disktype", "value": "ssd"}]}}}});
    let spec = patched(STRATEGIC, &to, &patch)["spec"]["template"]["spec"].take();
    assert_eq!(spec["containers"], json!([redis, {"name": "patch-demo-ctr", "image": "nginx"}]));
    assert_eq!(spec["tolerations"], json!([{"effect": "NoSchedule", "key": "disktype", "value": "ssd"}]));
    assert_eq!(patched(MERGE, &to, &patch)["spec"]["template"]["spec"]["containers"], json!([redis]));
}

#[test]
fn what_is_applied_is_not_taken_for_a_patch() {
    let error = Patch::read(Some("application/apply-patch+yaml"), b"{}").unwrap_err();
    assert_eq!(error.code, 415);
    assert!(!error.message.contains("apply-patch"), "{}", error.message);
}

#[test]
fn a_test_that_does_not_hold_refuses_the_whole_patch() {
    let patch = json!([
        {"op": "replace", "path": "/spec/replicas", "value": 9},
        {"op": "test", "path": "/metadata/name", "value": "other"},
    ]);
    let error = apply(&resource::DEPLOYMENTS, JSON, &web(), &patch).unwrap_err();
    assert_eq!((error.code, error.reason), (422, "Invalid"));
    assert_eq!(
        error.message,
        r#"operation 2 of the JSON patch, test at "/metadata/name", cannot be applied: value did not match"#
    );
}

#[test]
fn a_json_patch_cannot_nest_deeper_than_a_body_or_shuffle_endlessly() {
    let deep = |levels: usize| (0..levels).fold(json!(1), |value, _| json!({"a": value}));
    let steps = |n: usize| "/a".repeat(n);
    let patch =
        json!([{"op": "add", "path": "/a", "value": deep(60)}, {"op": "add", "path": steps(60), "value": deep(100)}]);
    assert_eq!(apply(&resource::DEPLOYMENTS, JSON, &json!({}), &patch).unwrap_err().code, 413);
    let long = json!({"a": vec![0; 100_000]});
    let removes = |n: usize| (0..n).map(|_| json!({"op": "remove", "path": "/a/0"})).collect::<Value>();
    assert_eq!(apply(&resource::DEPLOYMENTS, JSON, &long, &removes(10)).unwrap()["a"], json!(vec![0; 99_990]));
    assert_eq!(apply(&resource::DEPLOYMENTS, JSON, &long, &removes(1_000)).unwrap_err().code, 413);
}

/// Any JSON, with the names of real fields and of directives in it.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "spec",
        "metadata",
        "template",
        "containers",
        "ports",
        "env",
        "name",
        "containerPort",
        "protocol",
        "finalizers",
        "labels",
        "strategy",
        "type",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$setElementOrder/finalizers",
        "$deleteFromPrimitiveList/finalizers",
        "$other",
    ]);
    let text = prop::sample::select(vec!["a", "b", "replace", "delete", "merge", "type", ""]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3).prop_map(Value::from),
        text.prop_map(Value::from)
    ];
    leaf.prop_recursive(6, 64, 5, move |inner| {
        let map = prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner.clone(), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            map.prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A pod with lists that have keys, each element once, the containers in any order.
fn pod() -> impl Strategy<Value = Value> {
    let env = prop::collection::btree_map("[A-C]", "[x-z]", 1..3)
        .prop_map(|env| env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect::<Value>());
    let port = (1..4_u16, prop::sample::select(vec!["TCP", "UDP", "SCTP"]));
    let ports = prop::collection::btree_set(port, 1..5).prop_map(|ports| {
        ports
            .into_iter()
            .map(|(port, protocol)| json!({"containerPort": port, "protocol": protocol}))
            .collect::<Value>()
    });
    let container = (env, ports, prop::collection::vec("[a-c]", 1..3));
    let containers = prop::collection::vec(container, 1..4);
    let names = Just(vec!["a", "b", "c", "d"]).prop_shuffle();
    (containers, names, prop::collection::btree_set("[a-e]", 1..4)).prop_map(|(containers, names, finalizers)| {
        let container = |((env, ports, args), name)| json!({"name": name, "env": env, "ports": ports, "args": args});
        let containers: Value = containers.into_iter().zip(names).map(container).collect();
        json!({"metadata": {"name": "p", "finalizers": finalizers}, "spec": {"containers": containers}})
    })
}

proptest! {
    #[test]
    fn a_patch_that_sets_the_whole_object_gives_that_object(pod in pod(), other in pod()) {
        let to = |to: &Value, patch: &Value| apply(&resource::PODS, STRATEGIC, to, patch).unwrap();
        prop_assert_eq!(&to(&json!({}), &pod), &pod);
        prop_assert_eq!(&to(&pod, &pod), &pod);
        let mut replace = pod.clone();
        replace["$patch"] = "replace".into();
        prop_assert_eq!(&to(&other, &replace), &pod);
        // Whatever was there before, all that the patch says holds afterwards, and saying it again changes nothing.
        let merged = to(&other, &pod);
        prop_assert_eq!(&to(&merged, &pod), &merged);
    }

    #[test]
    fn an_empty_patch_changes_nothing(value in any_json()) {
        prop_assume!(value.is_object());
        for (kind, patch) in [(JSON, json!([])), (MERGE, json!({})), (STRATEGIC, json!({}))] {
            prop_assert_eq!(&apply(&resource::PODS, kind, &value, &patch).unwrap(), &value);
        }
    }

    #[test]
    fn any_json_can_be_patched_with_any_other(to in any_json(), patch in any_json()) {
        for resource in [&resource::PODS, &resource::DEPLOYMENTS, &resource::SERVICES] {
            for kind in [JSON, MERGE, STRATEGIC] {
                let once = apply(resource, kind, &to, &patch);
                prop_assert!(once.is_ok() || (400..500).contains(&once.unwrap_err().code));
            }
        }
    }
}
