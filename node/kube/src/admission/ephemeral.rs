//! Containers that are added to a pod while it runs: they may be added, and neither changed nor taken away.

use serde_json::{Map, Value};

use crate::defaults;
use crate::resource::Resource;
use crate::status::{Problem, Status};
use crate::structure::{FieldValidation, normalise};
use crate::validate;

const LIST: &str = "spec.ephemeralContainers";
/// What a container that is added cannot have: it is neither looked at nor counted.
const NOT_FOR_THEM: [&str; 6] = ["lifecycle", "livenessProbe", "ports", "readinessProbe", "resources", "startupProbe"];

/// All containers that were added to a pod once `new` takes the place of `old`, with their defaults. Both are pods as clients
/// see them; of the new one only these containers count, as with Kubernetes.
///
/// # Errors
/// 422 when one is not valid, or one that is there would be changed or go.
pub fn ephemeral_containers(
    resource: &Resource,
    old: &Value,
    new: &Value,
    fields: FieldValidation,
) -> Result<(Vec<Value>, Vec<String>), Status> {
    let list = |pod: &Value| pod["spec"]["ephemeralContainers"].as_array().cloned().unwrap_or_default();
    let (before, mut whole) = (list(old), old.as_object().cloned().unwrap_or_default());
    // Checked as a part of the pod, so that paths read as they should and what the pod has can be referred to.
    if let Some(spec) = whole.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("ephemeralContainers".to_owned(), list(new).into());
    }
    let findings = normalise(resource.schema, &mut whole, fields);
    if !findings.problems.is_empty() {
        return Err(Status::undecodable(resource, &findings.problems));
    }
    defaults::fields(resource.schema, &mut whole);
    let mut problems = validate::create(resource, &whole);
    problems.retain(|problem| problem.field.starts_with(LIST));
    let all = list(&Value::Object(whole));
    for (i, container) in all.iter().enumerate() {
        check(old, container, &format!("{LIST}[{i}]"), &mut problems);
    }
    for known in &before {
        let found = all.iter().find(|container| container["name"] == known["name"]);
        let name = known["name"].as_str().unwrap_or_default();
        match found {
            None => {
                let why = format!("existing ephemeral containers {name:?} may not be removed");
                problems.push(Problem::forbidden(LIST, &why));
            }
            Some(found) if found != known => {
                let why = format!("existing ephemeral containers {name:?} may not be changed");
                problems.push(Problem::forbidden(LIST, &why));
            }
            Some(_) => {}
        }
    }
    if problems.is_empty() {
        return Ok((all, findings.warnings));
    }
    let name = old["metadata"]["name"].as_str().unwrap_or_default();
    Err(Status::invalid(resource.group, resource.kind_name, name, &problems))
}

/// What is added while a pod runs cannot be there before.
pub(super) fn not_on_create(resource: &Resource, pod: &Map<String, Value>) -> Option<Problem> {
    let added = pod.get("spec").map(|spec| &spec["ephemeralContainers"]);
    let is_there = resource.stored_kind == "Pod" && added.is_some_and(|list| !validate::is_empty(list));
    is_there.then(|| Problem::forbidden(LIST, "cannot be set on create"))
}

fn check(pod: &Value, container: &Value, here: &str, problems: &mut Vec<Problem>) {
    for field in NOT_FOR_THEM {
        if !validate::is_empty(&container[field]) {
            problems.push(Problem::forbidden(format!("{here}.{field}"), "cannot be set for an Ephemeral Container"));
        }
    }
    let names = |list: &str| -> Vec<Value> {
        pod["spec"][list].as_array().into_iter().flatten().map(|container| container["name"].clone()).collect()
    };
    let main = names("containers");
    if main.contains(&container["name"]) || names("initContainers").contains(&container["name"]) {
        problems.push(Problem::duplicate(format!("{here}.name"), &container["name"]));
    }
    let target = &container["targetContainerName"];
    if target.as_str().is_some_and(|name| !name.is_empty()) && !main.contains(target) {
        problems.push(Problem::not_found(format!("{here}.targetContainerName"), target));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::resource::PODS;
    use serde_json::json;

    #[expect(clippy::needless_pass_by_value, reason = "each value is made where it is handed over")]
    fn pod(added: Value) -> Value {
        let containers = json!([{"name": "web", "image": "web:1"}]);
        json!({"metadata": {"name": "p"}, "spec": {"containers": containers, "ephemeralContainers": added}})
    }

    fn add(before: Value, after: Value) -> Result<Vec<Value>, String> {
        let added = ephemeral_containers(&PODS, &pod(before), &pod(after), FieldValidation::Strict);
        added.map(|(all, _)| all).map_err(|status| status.message)
    }

    #[test]
    fn what_is_added_gets_its_defaults_and_is_sent_back_as_it_is() {
        let debugger = json!({"name": "debugger", "image": "bb", "stdin": true, "targetContainerName": "web"});
        let first = add(json!(null), json!([debugger])).unwrap();
        assert_eq!((&first[0]["imagePullPolicy"], &first[0]["stdin"]), (&json!("Always"), &json!(true)));
        let second = add(json!(first), json!([first[0], {"name": "more", "image": "bb:1"}])).unwrap();
        assert_eq!((&second[0], &second[1]["imagePullPolicy"]), (&first[0], &json!("IfNotPresent")));
    }

    #[test]
    fn what_is_not_right_is_refused_in_kubernetes_words() {
        let sound = json!({"name": "debugger", "image": "bb:1"});
        let known = add(json!(null), json!([sound])).unwrap();
        for (before, after, says) in [
            (
                json!(known),
                json!([]),
                "ephemeralContainers: Forbidden: existing ephemeral containers \"debugger\" may not be removed",
            ),
            (json!(known), json!([{"name": "debugger", "image": "bb:2"}]), "may not be changed"),
            (
                json!(null),
                json!([{"name": "web", "image": "bb:1"}]),
                "spec.ephemeralContainers[0].name: Duplicate value",
            ),
            (json!(null), json!([sound, sound]), "spec.ephemeralContainers[1].name: Duplicate value"),
            (json!(null), json!([{"image": "bb:1"}]), "spec.ephemeralContainers[0].name: Required value"),
            (
                json!(null),
                json!([{"name": "a", "image": "b", "targetContainerName": "x"}]),
                "targetContainerName: Not found: \"x\"",
            ),
            (
                json!(null),
                json!([{"name": "a", "image": "b", "ports": [{"containerPort": 80}]}]),
                "ports: Forbidden: cannot be set",
            ),
            (json!(null), json!([{"name": "a", "image": "b", "imagee": "c"}]), "unknown field"),
            (json!(null), json!([1]), "ephemeralContainers"),
        ] {
            let message = add(before, after).unwrap_err();
            assert!(message.contains(says), "{message}");
        }
    }
}
