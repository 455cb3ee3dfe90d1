//! Affinity: what its conditions must hold together, and what of it the scheduler knows.

use serde_json::Value;

use super::{list, text};
use crate::selector::LabelSelector;
use crate::status::Problem;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
/// The label that tells hosts apart.
const HOSTNAME: &str = "kubernetes.io/hostname";
/// The one field of a node that can be asked for.
const NAME: &str = "metadata.name";

/// Checks the affinity of a pod with some labels.
pub(super) fn affinity(affinity: &Value, labels: &Value, path: &str, problems: &mut Vec<Problem>) {
    let (nodes, here) = (&affinity["nodeAffinity"], format!("{path}.nodeAffinity"));
    for (i, found) in list(&nodes[REQUIRED]["nodeSelectorTerms"]).enumerate() {
        term(found, &format!("{here}.{REQUIRED}.nodeSelectorTerms[{i}]"), problems);
    }
    for (i, found) in list(&nodes[PREFERRED]).enumerate() {
        term(&found["preference"], &format!("{here}.{PREFERRED}[{i}].preference"), problems);
    }
    for (i, found) in list(&affinity["podAntiAffinity"][PREFERRED]).enumerate() {
        let here = format!("{path}.podAntiAffinity.{PREFERRED}[{i}].podAffinityTerm");
        apart(&found["podAffinityTerm"], labels, &here, problems);
    }
}

/// The scheduler puts the pods of a workload on different hosts, and looks at no other pods.
fn apart(term: &Value, labels: &Value, path: &str, problems: &mut Vec<Problem>) {
    if text(&term["topologyKey"]).is_some_and(|key| key != HOSTNAME) {
        let why = format!("skein supports no other places than hosts yet: {HOSTNAME}");
        problems.push(Problem::forbidden(format!("{path}.topologyKey"), &why));
    }
    crate::validate::workload::selector_expressions(&term["labelSelector"], &format!("{path}.labelSelector"), problems);
    let selects = LabelSelector::of(&term["labelSelector"]).is_ok_and(|selector| selector.matches(labels));
    if !selects || !term["labelSelector"].is_object() {
        let why = "skein supports anti-affinity to other pods than those of the same workload not yet: it must select the labels of the pod itself";
        problems.push(Problem::forbidden(format!("{path}.labelSelector"), why));
    }
}

fn term(term: &Value, path: &str, problems: &mut Vec<Problem>) {
    for (i, requirement) in list(&term["matchExpressions"]).enumerate() {
        values(requirement, &format!("{path}.matchExpressions[{i}]"), problems);
    }
    for (i, requirement) in list(&term["matchFields"]).enumerate() {
        let here = format!("{path}.matchFields[{i}]");
        let count = list(&requirement["values"]).count();
        if !matches!(text(&requirement["operator"]), Some("In" | "NotIn")) {
            let why = "not a valid selector operator";
            problems.push(Problem::invalid(format!("{here}.operator"), &requirement["operator"], why));
        } else if count != 1 {
            let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            problems.push(Problem::required(format!("{here}.values"), why));
        }
        if text(&requirement["key"]).is_some_and(|key| key != NAME) {
            let why = "not a valid field selector key";
            problems.push(Problem::invalid(format!("{here}.key"), &requirement["key"], why));
        }
    }
}

fn values(requirement: &Value, path: &str, problems: &mut Vec<Problem>) {
    let (here, count) = (format!("{path}.values"), list(&requirement["values"]).count());
    match text(&requirement["operator"]) {
        Some("In" | "NotIn") if count == 0 => {
            problems.push(Problem::required(here, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        Some("Exists" | "DoesNotExist") if count > 0 => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            problems.push(Problem::forbidden(here, why));
        }
        Some("Gt" | "Lt") if count != 1 => {
            let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            problems.push(Problem::required(here, why));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(given: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        affinity(given, &json!({"app": "web"}), "affinity", &mut problems);
        problems.iter().map(|problem| problem.field.to_string()).collect()
    }

    fn rather_apart(selector: &Value, key: &str) -> Value {
        let term = json!({"labelSelector": selector, "topologyKey": key});
        json!({"podAntiAffinity": {PREFERRED: [{"weight": 100, "podAffinityTerm": term}]}})
    }

    #[test]
    fn pods_may_wish_to_be_on_other_hosts_than_their_like_and_no_more() {
        let like = json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]});
        assert!(wrong(&rather_apart(&like, HOSTNAME)).is_empty());
        let other = json!({"matchLabels": {"app": "db"}});
        for (given, words) in [
            (rather_apart(&other, HOSTNAME), "labelSelector"),
            (rather_apart(&Value::Null, HOSTNAME), "labelSelector"),
            (rather_apart(&like, "topology.kubernetes.io/zone"), "topologyKey"),
        ] {
            let problems = wrong(&given);
            assert!(problems.len() == 1 && problems[0].contains(words), "{problems:?}");
        }
    }

    #[test]
    fn conditions_on_nodes_have_as_many_values_as_they_need() {
        let of = |requirement: Value| {
            wrong(&json!({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}}}))
        };
        assert!(of(json!({"key": "disk", "operator": "In", "values": ["ssd"]})).is_empty());
        assert!(of(json!({"key": "disk", "operator": "Exists"})).is_empty());
        assert!(of(json!({"key": "cores", "operator": "Gt", "values": ["4"]})).is_empty());
        assert_eq!(of(json!({"key": "disk", "operator": "In"})).len(), 1);
        assert_eq!(of(json!({"key": "disk", "operator": "Exists", "values": ["ssd"]})).len(), 1);
        assert_eq!(of(json!({"key": "cores", "operator": "Lt", "values": ["4", "5"]})).len(), 1);
    }

    #[test]
    fn of_the_fields_of_a_node_its_name_can_be_asked_for() {
        let of = |requirement: Value| {
            wrong(&json!({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [requirement]}]}}}))
        };
        assert!(of(json!({"key": NAME, "operator": "In", "values": ["h1"]})).is_empty());
        assert_eq!(of(json!({"key": "spec.x", "operator": "In", "values": ["h1"]})).len(), 1);
        assert_eq!(of(json!({"key": NAME, "operator": "Exists"})).len(), 1);
    }
}
