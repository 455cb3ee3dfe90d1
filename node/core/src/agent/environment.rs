//! A container's environment and command line: where values come from, and the expansion of `$(NAME)`.

use std::collections::BTreeMap;

use crate::model::pod::{Container, EnvVar, ObjectFieldSelector, PodTemplateSpec, ResourceFieldSelector};
use crate::model::quantity::Quantity;
use crate::runtime::Capacity;

/// What a pod's containers can learn about it.
pub(super) struct PodFields<'a> {
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    pub(super) uid: &'a str,
    pub(super) node_name: &'a str,
    pub(super) host_ip: &'a str,
    /// `None` until the first container runs.
    pub(super) pod_ip: Option<&'a str>,
    pub(super) template: &'a PodTemplateSpec,
    /// Stands in for limits that are not set.
    pub(super) capacity: &'a Capacity,
}

/// The environment of a container, in order, expanded. Variables whose value nobody knows yet (`status.podIP` of the first
/// container: its address comes with its start) are left out.
///
/// # Errors
/// When a variable refers to what does not exist, in words for a person.
pub(super) fn environment(container: &Container, pod: &PodFields<'_>) -> Result<Vec<(String, String)>, String> {
    let mut env: Vec<(String, String)> = Vec::with_capacity(container.env.len());
    for variable in &container.env {
        let value = match &variable.value_from {
            None => Some(expand(&variable.value, &env)),
            Some(_) => sourced(variable, container, pod)?,
        };
        if let Some(value) = value {
            env.retain(|(name, _)| *name != variable.name);
            env.push((variable.name.clone(), value));
        }
    }
    Ok(env)
}

/// Replaces `$(NAME)` by the variable's value; `$$` is one dollar, and what names no variable stays as it is.
pub(super) fn expand(text: &str, env: &[(String, String)]) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let after = &after[1..];
        if let Some(next) = after.strip_prefix('$') {
            out.push('$');
            rest = next;
            continue;
        }
        let name = after.strip_prefix('(').and_then(|tail| tail.split_once(')'));
        match name {
            Some((name, tail)) => {
                match env.iter().find(|(known, _)| known == name) {
                    Some((_, value)) => out.push_str(value),
                    None => out.extend(["$(", name, ")"]),
                }
                rest = tail;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn sourced(variable: &EnvVar, container: &Container, pod: &PodFields<'_>) -> Result<Option<String>, String> {
    let source = variable.value_from.clone().unwrap_or_default();
    if let Some(field) = &source.field_ref {
        return field_value(field, pod).map_err(|error| format!("env {}: {error}", variable.name));
    }
    if let Some(resource) = &source.resource_field_ref {
        return resource_value(resource, container, pod).map(Some).map_err(|e| format!("env {}: {e}", variable.name));
    }
    let keys = [("configMapKeyRef", &source.config_map_key_ref), ("secretKeyRef", &source.secret_key_ref)];
    match keys.iter().find_map(|(kind, key)| key.as_ref().map(|key| (kind, key))) {
        Some((_, key)) if key.optional => Ok(None),
        Some((kind, key)) => Err(format!(
            "env {}: {kind} {}/{} is not supported by this version; write the value into the manifest",
            variable.name, key.name, key.key
        )),
        None => Err(format!("env {}: valueFrom names no source", variable.name)),
    }
}

fn field_value(field: &ObjectFieldSelector, pod: &PodFields<'_>) -> Result<Option<String>, String> {
    let metadata = &pod.template.metadata;
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(match field.field_path.as_str() {
        "metadata.name" => known(pod.name),
        "metadata.namespace" => known(pod.namespace),
        "metadata.uid" => known(pod.uid),
        "spec.nodeName" => known(pod.node_name),
        "spec.serviceAccountName" => {
            let account = &pod.template.spec.service_account_name;
            Some(if account.is_empty() { "default".to_owned() } else { account.clone() })
        }
        "status.hostIP" | "status.hostIPs" => known(pod.host_ip),
        "status.podIP" | "status.podIPs" => pod.pod_ip.map(str::to_owned),
        path => {
            let within = |of: &str, map: &BTreeMap<String, String>| {
                let key = path.strip_prefix(of)?.strip_prefix("['")?.strip_suffix("']")?;
                Some(map.get(key).cloned().unwrap_or_default())
            };
            let found = within("metadata.labels", &metadata.labels);
            let found = found.or_else(|| within("metadata.annotations", &metadata.annotations));
            Some(found.ok_or_else(|| format!("\"{path}\" is not a field that a container can refer to"))?)
        }
    })
}

fn resource_value(
    selector: &ResourceFieldSelector,
    container: &Container,
    pod: &PodFields<'_>,
) -> Result<String, String> {
    let containers = &pod.template.spec.containers;
    let of = match selector.container_name.as_str() {
        "" => container,
        name => containers.iter().find(|c| c.name == name).ok_or_else(|| format!("no container \"{name}\""))?,
    };
    let wrong = || format!("\"{}\" is not a resource that a container can refer to", selector.resource);
    let (which, name) = selector.resource.split_once('.').ok_or_else(wrong)?;
    let amount: Option<Quantity> = match which {
        "limits" => of.resources.limits.get(name).copied(),
        "requests" => of.request(name),
        _ => return Err(wrong()),
    };
    let all = match name {
        "cpu" => pod.capacity.cpu_millis,
        "memory" => pod.capacity.memory_bytes.saturating_mul(1000),
        _ => 0,
    };
    // In thousandths; what has no limit may take all of the node.
    let amount = match (amount, which) {
        (Some(amount), _) => amount.millis(),
        (None, "limits") => all,
        (None, _) => 0,
    };
    let divisor = selector.divisor.map_or(1000, Quantity::millis).max(1);
    Ok(amount.div_ceil(divisor).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn env_of(container: &serde_json::Value) -> Result<Vec<(String, String)>, String> {
        let template = PodTemplateSpec::of(&json!({
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}))
        .unwrap();
        let pod = PodFields {
            name: "web-1",
            namespace: "shop",
            uid: "u",
            node_name: "n1",
            host_ip: "10.0.0.1",
            pod_ip: None,
            template: &template,
            capacity: &Capacity { cpu_millis: 2000, ..Capacity::default() },
        };
        environment(&template.spec.containers[0], &pod)
    }

    fn pairs(env: &[(String, String)]) -> Vec<(&str, &str)> {
        env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn fields_of_the_pod_and_earlier_variables_can_be_used() {
        let env = env_of(&json!({"name": "a", "env": [
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "WHO", "value": "$(NAME) on $(NODE), not $(LATER), for $$(NAME) and $5 $("},
            {"name": "LATER", "value": "x"},
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ]}))
        .unwrap();
        let want = [
            ("NAME", "web-1"),
            ("NODE", "n1"),
            ("APP", "web"),
            ("WHO", "web-1 on n1, not $(LATER), for $(NAME) and $5 $("),
            ("LATER", "x"),
            ("CPUS", "2"),
        ];
        assert_eq!(pairs(&env), want);
    }

    #[test]
    fn a_variable_from_nowhere_is_an_error_unless_it_is_optional() {
        let from =
            |source: serde_json::Value| env_of(&json!({"name": "a", "env": [{"name": "X", "valueFrom": source}]}));
        assert!(from(json!({"fieldRef": {"fieldPath": "status.phase"}})).is_err());
        assert!(from(json!({"secretKeyRef": {"name": "s", "key": "k"}})).unwrap_err().contains("secretKeyRef s/k"));
        assert_eq!(from(json!({"configMapKeyRef": {"name": "s", "key": "k", "optional": true}})), Ok(vec![]));
    }
}
