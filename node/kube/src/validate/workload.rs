//! Deployments, ReplicaSets, StatefulSets and DaemonSets: selector, template and strategy must go together.

use serde_json::{Map, Value};

use super::{metadata, objects, pod};
use crate::quantity::CountOrPercent;
use crate::selector::LabelSelector;
use crate::status::Problem;

pub(super) fn deployment(object: &Value, problems: &mut Vec<Problem>) {
    let spec = &object["spec"];
    workload(object, problems);
    strategy(&spec["strategy"], problems);
    let (deadline, ready) = (spec["progressDeadlineSeconds"].as_i64(), spec["minReadySeconds"].as_i64());
    if deadline.is_some_and(|deadline| deadline <= ready.unwrap_or(0)) {
        let why = "must be greater than minReadySeconds";
        problems.push(Problem::invalid("spec.progressDeadlineSeconds", &spec["progressDeadlineSeconds"], why));
    }
}

pub(super) fn replica_set(object: &Value, problems: &mut Vec<Problem>) {
    workload(object, problems);
}

pub(super) fn stateful_set(object: &Value, problems: &mut Vec<Problem>) {
    workload(object, problems);
    let strategy = &object["spec"]["updateStrategy"];
    if strategy["type"] == "OnDelete" && strategy["rollingUpdate"].is_object() {
        let why = "only allowed for updateStrategy 'RollingUpdate'";
        let field = "spec.updateStrategy.rollingUpdate";
        problems.push(Problem::invalid(field, &strategy["rollingUpdate"], why));
    }
    for (i, claim) in object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten().enumerate() {
        let here = format!("spec.volumeClaimTemplates[{i}]");
        if claim["metadata"]["name"].as_str().is_none_or(str::is_empty) {
            problems.push(Problem::required(format!("{here}.metadata.name"), "name or generateName is required"));
        }
        objects::claim(&claim["spec"], &format!("{here}.spec"), problems);
    }
}

/// What a StatefulSet's pods and claims are called by stays.
pub(super) fn stateful_set_change(old: &Map<String, Value>, new: &Map<String, Value>, problems: &mut Vec<Problem>) {
    const MAY_CHANGE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let fixed = |object: &Map<String, Value>| {
        let mut spec = object.get("spec").and_then(Value::as_object).cloned().unwrap_or_default();
        spec.retain(|field, _| !MAY_CHANGE.contains(&field.as_str()));
        spec
    };
    if fixed(old) != fixed(new) {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                   'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                   'minReadySeconds' are forbidden";
        problems.push(Problem::forbidden("spec", why));
    }
}

pub(super) fn daemon_set(object: &Value, problems: &mut Vec<Problem>) {
    workload(object, problems);
    let rolling = &object["spec"]["updateStrategy"]["rollingUpdate"];
    let (unavailable, surge) =
        (CountOrPercent::of(&rolling["maxUnavailable"]), CountOrPercent::of(&rolling["maxSurge"]));
    let field = "spec.updateStrategy.rollingUpdate.maxUnavailable";
    match (unavailable.map(CountOrPercent::is_zero), surge.map(CountOrPercent::is_zero)) {
        (Some(true), Some(true)) => {
            problems.push(Problem::invalid(field, &rolling["maxUnavailable"], "cannot be 0 when maxSurge is 0"));
        }
        (Some(false), Some(false)) => {
            let why = "may not be set when maxUnavailable is non-zero";
            let field = "spec.updateStrategy.rollingUpdate.maxSurge";
            problems.push(Problem::invalid(field, &rolling["maxSurge"], why));
        }
        _ => {}
    }
}

fn workload(object: &Value, problems: &mut Vec<Problem>) {
    let (spec, template) = (&object["spec"], &object["spec"]["template"]);
    metadata::partition_policy(&object["metadata"], "metadata", problems);
    metadata::partition_policy(&template["metadata"], "spec.template.metadata", problems);
    metadata::annotations(&template["metadata"], "spec.template.metadata", problems);
    selector(spec, problems);
    if template["spec"].is_object() {
        pod::spec(&template["spec"], &template["metadata"]["labels"], "spec.template.spec", problems);
        if template["spec"]["activeDeadlineSeconds"].is_i64() {
            let why = "activeDeadlineSeconds in ReplicaSet is not Supported";
            problems.push(Problem::forbidden("spec.template.spec.activeDeadlineSeconds", why));
        }
        // OnFailure and Never are refused here only: anything else was refused before.
        if matches!(template["spec"]["restartPolicy"].as_str(), Some("OnFailure" | "Never")) {
            let policy = &template["spec"]["restartPolicy"];
            problems.push(Problem::not_supported("spec.template.spec.restartPolicy", policy, &["Always"]));
        }
    }
}

fn selector(spec: &Value, problems: &mut Vec<Problem>) {
    let wanted = &spec["selector"];
    if !wanted.is_object() {
        return;
    }
    selector_expressions(wanted, "spec.selector", problems);
    let Ok(read) = LabelSelector::of(wanted) else { return };
    if read.is_empty() {
        let why = "empty selector is invalid for a workload";
        problems.push(Problem::invalid("spec.selector", wanted, why));
    } else if spec["template"].is_object() && !read.matches(&spec["template"]["metadata"]["labels"]) {
        let labels = &spec["template"]["metadata"]["labels"];
        let why = "`selector` does not match template `labels`";
        problems.push(Problem::invalid("spec.template.metadata.labels", labels, why));
    }
}

/// The conditions of a selector, each by itself.
pub(super) fn selector_expressions(selector: &Value, path: &str, problems: &mut Vec<Problem>) {
    for (i, expression) in selector["matchExpressions"].as_array().into_iter().flatten().enumerate() {
        let field = format!("{path}.matchExpressions[{i}].values");
        let some = expression["values"].as_array().is_some_and(|values| !values.is_empty());
        match expression["operator"].as_str() {
            Some("In" | "NotIn") if !some => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                problems.push(Problem::required(field, why));
            }
            Some("Exists" | "DoesNotExist") if some => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                problems.push(Problem::forbidden(field, why));
            }
            _ => {}
        }
    }
}

fn strategy(strategy: &Value, problems: &mut Vec<Problem>) {
    let rolling = &strategy["rollingUpdate"];
    if strategy["type"] == "Recreate" && rolling.is_object() {
        let why = "may not be specified when strategy `type` is 'Recreate'";
        problems.push(Problem::forbidden("spec.strategy.rollingUpdate", why));
        return;
    }
    let (unavailable, surge) =
        (CountOrPercent::of(&rolling["maxUnavailable"]), CountOrPercent::of(&rolling["maxSurge"]));
    if let Some(CountOrPercent::Percent(101..)) = unavailable {
        let field = "spec.strategy.rollingUpdate.maxUnavailable";
        problems.push(Problem::invalid(field, &rolling["maxUnavailable"], "must not be greater than 100%"));
    }
    if unavailable.is_some_and(CountOrPercent::is_zero) && surge.is_some_and(CountOrPercent::is_zero) {
        let field = "spec.strategy.rollingUpdate.maxUnavailable";
        problems.push(Problem::invalid(field, &rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0"));
    }
}
