//! Roles and who has them.

use serde_json::Value;

use super::{elements, is_empty};
use crate::status::Problem;

/// A role of a namespace, or of the cluster.
pub(super) fn role(object: &Value, namespaced: bool, problems: &mut Vec<Problem>) {
    for (i, rule) in elements(&object["rules"]).enumerate() {
        let here = format!("rules[{i}]");
        if is_empty(&rule["verbs"]) {
            problems.push(Problem::required(format!("{here}.verbs"), "verbs must contain at least one value"));
        }
        let urls = &rule["nonResourceURLs"];
        if !is_empty(urls) {
            let field = format!("{here}.nonResourceURLs");
            if namespaced {
                problems.push(Problem::invalid(field, urls, "namespaced rules cannot apply to non-resource URLs"));
            } else if ["apiGroups", "resources", "resourceNames"].iter().any(|field| !is_empty(&rule[*field])) {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                problems.push(Problem::invalid(field, urls, why));
            }
            continue;
        }
        for (field, why) in [
            ("apiGroups", "resource rules must supply at least one api group"),
            ("resources", "resource rules must supply at least one resource"),
        ] {
            if is_empty(&rule[field]) {
                problems.push(Problem::required(format!("{here}.{field}"), why));
            }
        }
    }
}

/// A binding to a role of one of these kinds.
pub(super) fn binding(object: &Value, kinds: &[&str], problems: &mut Vec<Problem>) {
    let kind = &object["roleRef"]["kind"];
    if kind.as_str().is_some_and(|kind| !kind.is_empty() && !kinds.contains(&kind)) {
        problems.push(Problem::not_supported("roleRef.kind", kind, kinds));
    }
    for (i, subject) in elements(&object["subjects"]).enumerate() {
        let here = format!("subjects[{i}]");
        let group = if subject["kind"] == "ServiceAccount" { "" } else { "rbac.authorization.k8s.io" };
        if subject["apiGroup"].as_str().unwrap_or_default() != group {
            problems.push(Problem::not_supported(format!("{here}.apiGroup"), &subject["apiGroup"], &[group]));
        }
        if subject["kind"] == "ServiceAccount" && is_empty(&subject["namespace"]) {
            problems.push(Problem::required(format!("{here}.namespace"), ""));
        }
    }
}
