//! Autoscalers, disruption budgets, quotas and ranges of limits.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{elements, is_empty, workload};
use crate::quantity::Quantity;
use crate::status::Problem;

/// Where each type of metric says what it is about.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

pub(super) fn autoscaler(object: &Value, problems: &mut Vec<Problem>) {
    let spec = &object["spec"];
    let (least, most) = (spec["minReplicas"].as_i64(), spec["maxReplicas"].as_i64());
    if least.is_some_and(|least| least < 1) {
        let why = "must be greater than or equal to 1";
        problems.push(Problem::invalid("spec.minReplicas", &spec["minReplicas"], why));
    }
    match (least, most) {
        (_, Some(most)) if most < 0 => {
            problems.push(Problem::invalid("spec.maxReplicas", &spec["maxReplicas"], "must be greater than 0"));
        }
        (Some(least), Some(most)) if most < least && most > 0 => {
            let why = "must be greater than or equal to `minReplicas`";
            problems.push(Problem::invalid("spec.maxReplicas", &spec["maxReplicas"], why));
        }
        _ => {}
    }
    for (i, metric) in elements(&spec["metrics"]).enumerate() {
        check_metric(metric, &format!("spec.metrics[{i}]"), problems);
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = &spec["behavior"][direction];
        if rules["policies"].as_array().is_some_and(Vec::is_empty) {
            let field = format!("spec.behavior.{direction}.policies");
            problems.push(Problem::required(field, "must specify at least one Policy"));
        }
    }
}

fn check_metric(metric: &Value, path: &str, problems: &mut Vec<Problem>) {
    for (kind, field) in SOURCES {
        let (wanted, there) = (metric["type"] == kind, metric[field].is_object());
        if wanted && !there {
            let why = "must populate information for the given metric source";
            problems.push(Problem::required(format!("{path}.{field}"), why));
        } else if there && !wanted {
            problems.push(Problem::forbidden(format!("{path}.{field}"), "must populate the given metric source only"));
        }
        if !there {
            continue;
        }
        let (target, here) = (&metric[field]["target"], format!("{path}.{field}.target"));
        for (kind, value) in
            [("Utilization", "averageUtilization"), ("Value", "value"), ("AverageValue", "averageValue")]
        {
            if target["type"] == kind && target[value].is_null() {
                let why = format!("must set a positive {value} when type is {kind}");
                problems.push(Problem::required(format!("{here}.{value}"), &why));
            }
            let amount = target[value].as_str().and_then(|text| text.parse::<Quantity>().ok());
            if amount.is_some_and(|amount| amount.nanos() <= 0) {
                problems.push(Problem::invalid(format!("{here}.{value}"), &target[value], "must be positive"));
            }
        }
    }
}

pub(super) fn disruption_budget(object: &Value, problems: &mut Vec<Problem>) {
    let spec = &object["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        problems.push(Problem::invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        let percent = spec[field].as_str().and_then(|text| text.strip_suffix('%')?.parse::<u64>().ok());
        if percent.is_some_and(|percent| percent > 100) {
            problems.push(Problem::invalid(format!("spec.{field}"), &spec[field], "must not be greater than 100%"));
        }
    }
    workload::selector_expressions(&spec["selector"], "spec.selector", problems);
}

pub(super) fn resource_quota(object: &Value, problems: &mut Vec<Problem>) {
    let scopes: BTreeSet<&str> = elements(&object["spec"]["scopes"]).filter_map(Value::as_str).collect();
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(one) && scopes.contains(other) {
            let why = "conflicting scopes";
            problems.push(Problem::invalid("spec.scopes", &object["spec"]["scopes"], why));
        }
    }
    for (i, expression) in elements(&object["spec"]["scopeSelector"]["matchExpressions"]).enumerate() {
        let field = format!("spec.scopeSelector.matchExpressions[{i}].values");
        match (expression["operator"].as_str(), is_empty(&expression["values"])) {
            (Some("In" | "NotIn"), true) => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                problems.push(Problem::required(field, why));
            }
            (Some("Exists" | "DoesNotExist"), false) => {
                let why = "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector";
                problems.push(Problem::invalid(field, &expression["values"], why));
            }
            _ => {}
        }
    }
}

pub(super) fn limit_range(object: &Value, problems: &mut Vec<Problem>) {
    let mut types = BTreeSet::new();
    for (i, item) in elements(&object["spec"]["limits"]).enumerate() {
        let here = format!("spec.limits[{i}]");
        if let Some(kind) = item["type"].as_str()
            && !types.insert(kind)
        {
            problems.push(Problem::duplicate(format!("{here}.type"), &item["type"]));
        }
        if item["type"] == "Pod" {
            for field in ["default", "defaultRequest"].into_iter().filter(|field| !is_empty(&item[*field])) {
                let why = "may not be specified when `type` is 'Pod'";
                problems.push(Problem::forbidden(format!("{here}.{field}"), why));
            }
        }
        for (less, more) in [("min", "max"), ("min", "default"), ("defaultRequest", "default"), ("default", "max")] {
            ordered(item, less, more, &here, problems);
        }
    }
}

/// What one field of a range has must not be more than what another has.
fn ordered(item: &Value, less: &str, more: &str, path: &str, problems: &mut Vec<Problem>) {
    let amount = |field: &str, resource: &str| item[field][resource].as_str()?.parse::<Quantity>().ok();
    for (resource, value) in item[less].as_object().into_iter().flatten() {
        let (Some(low), Some(high)) = (amount(less, resource), amount(more, resource)) else { continue };
        if low > high {
            let why = format!("{less} value {low} is greater than {more} value {high}");
            problems.push(Problem::invalid(format!("{path}.{less}[{resource}]"), value, &why));
        }
    }
}
