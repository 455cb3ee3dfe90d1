//! Defaults that depend on other fields, of kinds that are stored and that no controller acts on yet.

use serde_json::{Map, Value, json};

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

/// A Job runs one pod once unless it says otherwise, and is labelled as its pods are unless it has labels of its own.
pub(super) fn job(object: &mut Map<String, Value>) {
    if let Some(Value::Object(spec)) = object.get_mut("spec") {
        if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
            spec.insert("completions".to_owned(), 1.into());
        }
        let limited_by_index = spec.get("backoffLimitPerIndex").is_some();
        let judged = spec.get("podFailurePolicy").is_some();
        for (field, default) in [
            ("parallelism", json!(1)),
            ("backoffLimit", if limited_by_index { json!(i32::MAX) } else { json!(6) }),
            ("completionMode", json!("NonIndexed")),
            ("suspend", json!(false)),
            ("podReplacementPolicy", if judged { json!("Failed") } else { json!("TerminatingOrFailed") }),
        ] {
            spec.entry(field).or_insert(default);
        }
    }
    let labels = object.get("spec").map_or(Value::Null, |spec| spec["template"]["metadata"]["labels"].clone());
    if let (Value::Object(labels), Some(Value::Object(metadata))) = (labels, object.get_mut("metadata"))
        && !labels.is_empty()
        && metadata.get("labels").is_none_or(crate::validate::is_empty)
    {
        metadata.insert("labels".to_owned(), labels.into());
    }
}

/// An autoscaler that names no metric scales by the processor.
pub(super) fn autoscaler(object: &mut Map<String, Value>) {
    let Some(Value::Object(spec)) = object.get_mut("spec") else { return };
    if spec.get("metrics").is_none_or(crate::validate::is_empty) {
        spec.insert("metrics".to_owned(), json!([crate::convert::processor_metric(80)]));
    }
}

/// How fast to scale, for what an autoscaler that says something of it leaves out.
pub(super) fn behavior(object: &mut Map<String, Value>) {
    let double = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let four = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let (up, down) = (json!([four, double]), json!([double]));
    for (direction, policies, window) in [("scaleUp", up, Some(0)), ("scaleDown", down, None)] {
        let Value::Object(rules) = object.entry(direction).or_insert_with(|| json!({})) else { continue };
        rules.entry("selectPolicy").or_insert_with(|| json!("Max"));
        rules.entry("policies").or_insert(policies);
        if let Some(window) = window {
            rules.entry("stabilizationWindowSeconds").or_insert_with(|| json!(window));
        }
    }
}

/// A policy is about what comes in, and about what goes out if it has rules for that.
pub(super) fn network_policy(object: &mut Map<String, Value>) {
    if object.get("policyTypes").is_none_or(crate::validate::is_empty) {
        let out = !object.get("egress").is_none_or(crate::validate::is_empty);
        let types = if out { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        object.insert("policyTypes".to_owned(), types);
    }
}

/// What a container gets that says nothing: the most that it may have, and as much at the start.
pub(super) fn limit_range_item(object: &mut Map<String, Value>) {
    if object.get("type").and_then(Value::as_str) != Some("Container") {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let Some(Value::Object(amounts)) = object.get(from).cloned() else { continue };
        let Value::Object(target) = object.entry(to).or_insert_with(|| json!({})) else { continue };
        for (resource, amount) in amounts {
            target.entry(resource).or_insert(amount);
        }
    }
}

/// Users and groups are of the roles' own group.
pub(super) fn subject(object: &mut Map<String, Value>) {
    if matches!(object.get("kind").and_then(Value::as_str), Some("User" | "Group"))
        && object.get("apiGroup").is_none_or(crate::validate::is_empty)
    {
        object.insert("apiGroup".to_owned(), RBAC_GROUP.into());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::filled;
    use crate::resource;
    use serde_json::{Value, json};

    fn template() -> Value {
        json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}})
    }

    #[test]
    fn a_job_runs_one_pod_once() {
        let job = filled(&resource::JOBS, json!({"metadata": {"name": "a"}, "spec": {"template": template()}}));
        assert_eq!(job["metadata"]["labels"], json!({"app": "a"}));
        let mut spec = job["spec"].clone();
        spec.as_object_mut().unwrap().remove("template");
        assert_eq!(
            spec,
            json!({"completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
                "suspend": false, "podReplacementPolicy": "TerminatingOrFailed"})
        );
        let queue = json!({"metadata": {"labels": {"b": "c"}}, "spec": {"parallelism": 3, "template": template()}});
        let queue = filled(&resource::JOBS, queue);
        assert!(queue["spec"].get("completions").is_none());
        assert_eq!(queue["metadata"]["labels"], json!({"b": "c"}));
    }

    #[test]
    fn the_job_of_a_cron_job_has_no_defaults_before_it_is_made() {
        let spec = json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template()}}});
        let made = filled(&resource::CRON_JOBS, json!({ "spec": spec }));
        assert!(made["spec"]["jobTemplate"]["spec"].get("backoffLimit").is_none());
        assert_eq!(made["spec"]["jobTemplate"]["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst");
        let own = ["concurrencyPolicy", "suspend", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
        assert_eq!(own.map(|field| made["spec"][field].clone()), [json!("Allow"), json!(false), json!(3), json!(1)]);
    }

    #[test]
    fn sets_are_filled_as_by_a_real_server() {
        let set = filled(
            &resource::STATEFUL_SETS,
            json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {}}]}}),
        );
        assert_eq!(
            set["spec"],
            json!({
                "replicas": 1, "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
                "volumeClaimTemplates": [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "d"},
                    "spec": {"volumeMode": "Filesystem", "resources": {}}}],
            })
        );
        let set = filled(&resource::DAEMON_SETS, json!({"spec": {}}));
        assert_eq!(
            set["spec"],
            json!({"revisionHistoryLimit": 10,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}})
        );
        let set = filled(&resource::DAEMON_SETS, json!({"spec": {"updateStrategy": {"type": "OnDelete"}}}));
        assert_eq!(set["spec"]["updateStrategy"], json!({"type": "OnDelete"}));
    }

    #[test]
    fn an_autoscaler_scales_by_the_processor_and_by_its_own_rules() {
        let spec = json!({"maxReplicas": 3, "behavior": {"scaleDown": {"policies": [], "selectPolicy": "Disabled"}}});
        let made = filled(&resource::HORIZONTAL_POD_AUTOSCALERS, json!({ "spec": spec }));
        assert_eq!(made["spec"]["minReplicas"], 1);
        assert_eq!(made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        let behavior = &made["spec"]["behavior"];
        assert_eq!(behavior["scaleDown"], json!({"policies": [], "selectPolicy": "Disabled"}));
        assert_eq!(behavior["scaleUp"]["policies"][1], json!({"type": "Percent", "value": 100, "periodSeconds": 15}));
        assert_eq!(behavior["scaleUp"]["stabilizationWindowSeconds"], 0);
    }

    #[test]
    fn policies_ranges_and_subjects_follow_from_what_they_hold() {
        let policy = filled(&resource::NETWORK_POLICIES, json!({"spec": {"egress": [{}]}}));
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(policy["spec"]["podSelector"], json!({}));
        let limits = json!([{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}]);
        let range = filled(&resource::LIMIT_RANGES, json!({"spec": {"limits": limits}}));
        assert_eq!(range["spec"]["limits"][0]["defaultRequest"], json!({"cpu": "2", "memory": "1Mi"}));
        let subjects =
            json!([{"kind": "User", "name": "a"}, {"kind": "ServiceAccount", "name": "a", "namespace": "b"}]);
        let binding =
            filled(&resource::ROLE_BINDINGS, json!({"subjects": subjects, "roleRef": {"kind": "Role", "name": "r"}}));
        assert_eq!(binding["subjects"][0]["apiGroup"], "rbac.authorization.k8s.io");
        assert!(binding["subjects"][1].get("apiGroup").is_none());
        assert_eq!(binding["roleRef"]["apiGroup"], "rbac.authorization.k8s.io");
    }
}
