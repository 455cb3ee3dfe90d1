//! Tests of strategic merge patch: what Kubernetes documents of it, and what kubectl sends.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema::{cluster, pod, service, workload};

fn patched(to: Value, patch: Value) -> Value {
    merge(&workload::DEPLOYMENT, &to, &patch).unwrap()
}

fn template(spec: Value) -> Value {
    json!({"spec": {"template": {"spec": spec}}})
}

#[test]
fn containers_are_merged_by_name() {
    let old = template(json!({"containers": [{"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]}]}));
    let patch = template(json!({"containers": [
        {"name": "b", "image": "b:1"},
        {"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "2"}]},
    ]}));
    // The patch's own order holds where it gives none; what it does not name comes after what is new.
    let expected = json!([
        {"name": "b", "image": "b:1"},
        {"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]},
    ]);
    assert_eq!(patched(old, patch)["spec"]["template"]["spec"]["containers"], expected);
}

#[test]
fn lists_without_a_key_are_replaced() {
    let old = template(json!({"tolerations": [{"key": "a"}], "containers": [{"name": "a", "args": ["x", "y"]}]}));
    let patch = template(json!({"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["z"]}]}));
    let spec = &patched(old, patch)["spec"]["template"]["spec"];
    assert_eq!(spec["tolerations"], json!([{"key": "b"}]));
    assert_eq!(spec["containers"][0]["args"], json!(["z"]));
}

#[test]
fn an_element_is_deleted_by_its_key_and_the_order_is_kept() {
    let old = template(json!({"containers": [{"name": "a"}, {"name": "b", "image": "x"}, {"name": "c"}]}));
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "d"}, {"name": "a"}],
        "containers": [{"name": "d"}, {"$patch": "delete", "name": "b"}],
    }}}});
    assert_eq!(
        patched(old, patch)["spec"]["template"]["spec"]["containers"],
        json!([{"name": "c"}, {"name": "d"}, {"name": "a"}])
    );
}

#[test]
fn what_others_put_into_a_list_stays_where_it_was() {
    let old = template(json!({"containers": [{"name": "a"}, {"name": "theirs"}, {"name": "b"}]}));
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
        "containers": [{"name": "c"}],
    }}}});
    let names = |value: &Value| {
        let list = value["spec"]["template"]["spec"]["containers"].as_array().unwrap().clone();
        list.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&patched(old.clone(), patch)), ["a", "theirs", "b", "c"]);
    let only_order =
        json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}}});
    let reordered = names(&patched(old, only_order));
    assert_eq!(reordered.iter().position(|n| n == "b").unwrap() + 1, reordered.iter().position(|n| n == "a").unwrap());
}

#[test]
fn maps_can_be_replaced_emptied_and_cleared_field_by_field() {
    let old = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"replicas": 1, "paused": true}});
    let replace = json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}});
    assert_eq!(patched(old.clone(), replace)["metadata"]["labels"], json!({"c": "3"}));
    let delete = json!({"metadata": {"labels": {"$patch": "delete"}}});
    assert_eq!(patched(old.clone(), delete)["metadata"]["labels"], json!({}));
    let clear = json!({"metadata": {"labels": {"a": null}}, "spec": {"paused": null}});
    assert_eq!(patched(old, clear), json!({"metadata": {"labels": {"b": "2"}}, "spec": {"replicas": 1}}));
}

#[test]
fn a_whole_list_can_be_replaced() {
    let old = template(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    let patch = template(json!({"containers": [{"$patch": "replace"}, {"name": "c", "image": null}]}));
    assert_eq!(patched(old, patch)["spec"]["template"]["spec"]["containers"], json!([{"name": "c"}]));
}

#[test]
fn changing_the_strategy_drops_what_belonged_to_the_other_one() {
    let old = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(patched(old.clone(), patch)["spec"]["strategy"], json!({"type": "Recreate"}));
    let wrong = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": {}}}});
    assert!(matches!(merge(&workload::DEPLOYMENT, &old, &wrong), Err(StrategicError::NotRetained { .. })));
}

#[test]
fn finalizers_are_a_set() {
    let old = json!({"metadata": {"finalizers": ["a.b/c", "d.e/f"]}});
    let add = json!({"metadata": {"finalizers": ["g.h/i", "a.b/c"]}});
    assert_eq!(patched(old.clone(), add)["metadata"]["finalizers"], json!(["g.h/i", "a.b/c", "d.e/f"]));
    let remove = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a.b/c"], "$setElementOrder/finalizers": ["d.e/f"]}});
    assert_eq!(patched(old, remove)["metadata"]["finalizers"], json!(["d.e/f"]));
}

#[test]
fn a_port_in_two_protocols_is_two_ports() {
    let old = template(json!({"containers": [{"name": "a", "ports": [
        {"containerPort": 53, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}]}]}));
    let patch = template(
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 53, "protocol": "UDP", "name": "dns"}]}]}),
    );
    assert_eq!(
        patched(old, patch)["spec"]["template"]["spec"]["containers"][0]["ports"],
        json!([{"containerPort": 53, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP", "name": "dns"}])
    );
}

#[test]
fn a_port_is_added_in_a_second_protocol_or_changes_its_only_one() {
    let with = |ports: Value| json!({"ports": ports});
    let (tcp, udp) = (json!({"port": 53, "protocol": "TCP"}), json!({"port": 53, "protocol": "UDP"}));
    let after = |old: &Value, patch: Value| {
        let (old, patch) = (json!({"spec": old}), json!({"spec": patch}));
        merge(&service::SERVICE, &old, &patch).unwrap()["spec"]["ports"].take()
    };
    let both = json!([tcp, udp]);
    assert_eq!(after(&json!({}), with(both.clone())), both);
    let order = json!([{"port": 53}, {"port": 53}]);
    let second = json!({"$setElementOrder/ports": order, "ports": [udp]});
    assert_eq!(after(&with(json!([tcp])), second), both);
    let only = json!({"$setElementOrder/ports": [{"port": 53}], "ports": [udp]});
    assert_eq!(after(&with(json!([tcp])), only), json!([udp]));
    let gone = json!({"$patch": "delete", "port": 53, "protocol": "TCP"});
    assert_eq!(after(&with(both.clone()), with(json!([gone]))), json!([udp]));
    assert_eq!(after(&with(both), with(json!([{"$patch": "delete", "port": 53}]))), json!([]));
}

#[test]
fn what_is_deleted_and_named_again_is_new() {
    let old = template(json!({"containers": [{"name": "a", "image": "a:1", "tty": true}]}));
    let patch = template(json!({"containers": [{"name": "a", "image": "a:2"}, {"name": "a", "$patch": "delete"}]}));
    let expected = json!([{"name": "a", "image": "a:2"}]);
    assert_eq!(patched(old, patch)["spec"]["template"]["spec"]["containers"], expected);
}

#[test]
fn very_long_lists_are_merged_in_time() {
    let list = |from: usize| (from..from + 40_000).map(|i| json!({"name": format!("c{i}")})).collect::<Vec<_>>();
    let (old, new) = (list(0), list(20_000));
    let patch = json!({"spec": {"containers": new, "$setElementOrder/containers": new}});
    let result = merge(&pod::POD, &json!({"spec": {"containers": old}}), &patch).unwrap();
    let names = result["spec"]["containers"].as_array().unwrap();
    assert_eq!((names.len(), &names[59_999]["name"]), (60_000, &json!("c59999")));
    let same: Vec<Value> = (0..40_000).map(|i| json!({"containerPort": 1, "protocol": i.to_string()})).collect();
    let patch = json!({"spec": {"containers": [{"name": "a", "ports": same}]}});
    assert_eq!(merge(&pod::POD, &json!({}), &patch).unwrap(), patch);
}

#[test]
fn taints_are_replaced_as_a_whole() {
    let old = json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}});
    let patch = json!({"spec": {"taints": [{"key": "b", "effect": "NoExecute"}]}});
    assert_eq!(merge(&cluster::NODE, &old, &patch).unwrap(), patch);
    assert_eq!(merge(&cluster::NODE, &old, &json!({"spec": {"taints": null}})).unwrap(), json!({"spec": {}}));
}

#[test]
fn nulls_and_directives_in_what_is_new_leave_no_trace() {
    let patch = json!({"metadata": {"annotations": {"a": null, "b": "1"}}, "spec": {"containers": [{"name": "a", "image": null,
        "$setElementOrder/env": [{"name": "X"}], "env": [{"name": "X", "value": "1"}]}]}});
    assert_eq!(
        merge(&pod::POD, &json!({}), &patch).unwrap(),
        json!({"metadata": {"annotations": {"b": "1"}}, "spec": {"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}]}]}})
    );
}

#[test]
fn a_patch_that_makes_no_sense_is_refused_with_the_place() {
    let refused = |patch: Value| merge(&workload::DEPLOYMENT, &json!({}), &patch).unwrap_err().to_string();
    assert!(
        refused(json!({"spec": {"$patch": "remove"}})).starts_with("spec.$patch: \"remove\" is no patch directive")
    );
    assert!(refused(template(json!({"containers": [{"image": "a"}]}))).contains("merge key: name"));
    assert!(refused(template(json!({"containers": [{"name": null}]}))).contains("merge key: name"));
    let below = template(json!({"containers": [{"name": "a", "env": [{"name": "X", "$patch": 1}]}]}));
    let place = "spec.template.spec.containers[name=\"a\"].env[name=\"X\"].$patch: \"1\"";
    assert!(refused(below.clone()).starts_with(place), "{}", refused(below));
    assert!(refused(json!({"spec": {"strategy": {"$retainKeys": "type"}}})).contains("must be a list"));
    assert!(
        refused(json!({"metadata": {"$setElementOrder/finalizers": 1, "finalizers": ["a"]}}))
            .contains("must be a list")
    );
}

fn containers() -> impl Strategy<Value = Vec<Value>> {
    let container = ("[a-e]", "[x-z]").prop_map(|(name, image)| json!({"name": name, "image": image}));
    prop::collection::vec(container, 0..6).prop_map(|list| {
        let mut seen = std::collections::BTreeSet::new();
        list.into_iter().filter(|c| seen.insert(c["name"].to_string())).collect()
    })
}

proptest! {
    /// kubectl's own computation in short: elements that go are deleted, all others are sent, the order is given.
    #[test]
    fn the_patch_between_two_lists_leads_from_one_to_the_other(old in containers(), new in containers()) {
        let mut changes: Vec<Value> = new.clone();
        for gone in old.iter().filter(|o| !new.iter().any(|n| n["name"] == o["name"])) {
            changes.push(json!({"$patch": "delete", "name": gone["name"]}));
        }
        let order: Vec<Value> = new.iter().map(|c| json!({"name": c["name"]})).collect();
        let patch = json!({"spec": {"$setElementOrder/containers": order, "containers": changes}});
        let result = merge(&pod::POD, &json!({"spec": {"containers": old}}), &patch).unwrap();
        prop_assert_eq!(&result, &json!({"spec": {"containers": new}}));
        prop_assert_eq!(merge(&pod::POD, &result, &patch).unwrap(), result);
    }

    #[test]
    fn elements_that_a_patch_does_not_name_keep_their_order(old in containers(), new in containers()) {
        let order: Vec<Value> = new.iter().map(|c| json!({"name": c["name"]})).collect();
        let patch = json!({"spec": {"$setElementOrder/containers": order, "containers": new}});
        let result = merge(&pod::POD, &json!({"spec": {"containers": old.clone()}}), &patch).unwrap();
        let names = |list: &[Value], keep: &dyn Fn(&Value) -> bool| -> Vec<Value> {
            list.iter().filter(|c| keep(c)).map(|c| c["name"].clone()).collect()
        };
        let others = |c: &Value| !new.iter().any(|n| n["name"] == c["name"]);
        let result = result["spec"]["containers"].as_array().unwrap();
        prop_assert_eq!(names(result, &others), names(&old, &others));
        prop_assert_eq!(names(result, &|c| !others(c)), names(&new, &|_| true));
    }
}
