//! Deployments and ReplicaSets: selector, template and strategy must go together.

use serde_json::Value;

use super::{metadata, pod};
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

fn workload(object: &Value, problems: &mut Vec<Problem>) {
    let (spec, template) = (&object["spec"], &object["spec"]["template"]);
    metadata::partition_policy(&object["metadata"], "metadata", problems);
    metadata::partition_policy(&template["metadata"], "spec.template.metadata", problems);
    metadata::annotations(&template["metadata"], "spec.template.metadata", problems);
    selector(spec, problems);
    if template["spec"].is_object() {
        pod::spec(&template["spec"], "spec.template.spec", problems);
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
    for (i, expression) in wanted["matchExpressions"].as_array().into_iter().flatten().enumerate() {
        let field = format!("spec.selector.matchExpressions[{i}].values");
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
