//! A container's environment and command line: where values come from, and the expansion of `$(NAME)`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::model::pod::{
    Container, EnvFromSource, EnvVar, KeySelector, ObjectFieldSelector, PodTemplateSpec, ResourceFieldSelector,
};
use crate::model::quantity::Quantity;
use crate::model::source::{SourceKind, SourceName, Sources};
use crate::runtime::Capacity;

/// The most that a container's environment may take, in bytes. The kernel takes no more than about twice as much with the
/// command line, and says nothing that a person would understand.
const MAX_ENV_BYTES: usize = 1024 * 1024;

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
    /// The ConfigMaps and Secrets that it names.
    pub(super) sources: &'a Sources,
    /// Stands in for limits that are not set.
    pub(super) capacity: &'a Capacity,
    /// Where its node's API is.
    pub(super) api: Option<SocketAddr>,
}

/// The environment of a container, in order, expanded. Variables whose value nobody knows yet (`status.podIP` of the first
/// container: its address comes with its start) are left out.
///
/// # Errors
/// When a variable refers to what does not exist, in words for a person.
pub(super) fn environment(container: &Container, pod: &PodFields<'_>) -> Result<Vec<(String, String)>, String> {
    // What the container says of itself comes later, and so counts more.
    let mut env: Vec<(String, String)> = pod.api.map(of_api).unwrap_or_default();
    for from in &container.env_from {
        env.extend(all_keys(from, pod)?);
    }
    for variable in &container.env {
        let value = match &variable.value_from {
            None => Some(expand(&variable.value, &env)),
            Some(_) => sourced(variable, container, pod)?,
        };
        env.extend(value.map(|value| (variable.name.clone(), value)));
    }
    let bytes: usize = env.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    if bytes > MAX_ENV_BYTES {
        return Err(format!("its environment takes {bytes} bytes, more than {MAX_ENV_BYTES}"));
    }
    // A later value takes the place of an earlier one.
    let mut seen = BTreeSet::new();
    let is_last: Vec<bool> = env.iter().rev().map(|(name, _)| seen.insert(name.clone())).collect();
    let kept = env.into_iter().zip(is_last.into_iter().rev()).filter(|(_, is_last)| *is_last);
    Ok(kept.map(|(variable, _)| variable).collect())
}

/// The variables by which clients find the API: those of the Service `kubernetes`, which each container has, whether it wants
/// those of other Services or not.
fn of_api(at: SocketAddr) -> Vec<(String, String)> {
    let (host, port) = (at.ip().to_string(), at.port().to_string());
    let url = format!("tcp://{at}");
    let tcp = format!("KUBERNETES_PORT_{port}_TCP");
    let of_port = |part: &str| format!("{tcp}_{part}");
    vec![
        ("KUBERNETES_SERVICE_HOST".to_owned(), host.clone()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), port.clone()),
        ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), port.clone()),
        ("KUBERNETES_PORT".to_owned(), url.clone()),
        (of_port("PROTO"), "tcp".to_owned()),
        (of_port("PORT"), port),
        (of_port("ADDR"), host),
        (tcp, url),
    ]
}

/// A variable for each key of an object.
fn all_keys(from: &EnvFromSource, pod: &PodFields<'_>) -> Result<Vec<(String, String)>, String> {
    let kinds = [(SourceKind::ConfigMap, &from.config_map_ref), (SourceKind::Secret, &from.secret_ref)];
    let Some((kind, of)) = kinds.into_iter().find_map(|(kind, of)| Some((kind, of.as_ref()?))) else {
        return Ok(Vec::new());
    };
    let name = SourceName::new(kind, &of.name);
    match pod.sources.get(&name) {
        Some(source) => {
            let pairs = source.data.iter();
            pairs.map(|(key, value)| Ok((format!("{}{key}", from.prefix), text(key, value, &name, pod)?))).collect()
        }
        None if of.optional => Ok(Vec::new()),
        None => Err(name.not_found()),
    }
}

fn one_key(kind: SourceKind, of: &KeySelector, pod: &PodFields<'_>) -> Result<Option<String>, String> {
    let name = SourceName::new(kind, &of.name);
    let Some(source) = pod.sources.get(&name) else {
        return if of.optional { Ok(None) } else { Err(name.not_found()) };
    };
    match source.data.get(&of.key) {
        Some(value) => text(&of.key, value, &name, pod).map(Some),
        None if of.optional => Ok(None),
        None => Err(format!("couldn't find key {} in {} {}/{}", of.key, kind.as_str(), pod.namespace, of.name)),
    }
}

fn text(key: &str, value: &[u8], of: &SourceName, pod: &PodFields<'_>) -> Result<String, String> {
    let fit = std::str::from_utf8(value).ok().filter(|text| !text.contains('\0'));
    fit.map(str::to_owned).ok_or_else(|| {
        let (kind, namespace, name) = (of.kind.as_str(), pod.namespace, &of.name);
        format!("key {key} in {kind} {namespace}/{name} is no text, which a variable must be")
    })
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
                match env.iter().rev().find(|(known, _)| known == name) {
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
    let keys = [(SourceKind::ConfigMap, &source.config_map_key_ref), (SourceKind::Secret, &source.secret_key_ref)];
    match keys.into_iter().find_map(|(kind, key)| key.as_ref().map(|key| (kind, key))) {
        Some((kind, key)) => one_key(kind, key, pod),
        None => Err(format!("env {}: valueFrom names no source", variable.name)),
    }
}

pub(super) fn field_value(field: &ObjectFieldSelector, pod: &PodFields<'_>) -> Result<Option<String>, String> {
    let metadata = &pod.template.metadata;
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(match field.field_path.as_str() {
        "metadata.name" => known(pod.name),
        "metadata.namespace" => known(pod.namespace),
        "metadata.uid" => known(pod.uid),
        "spec.nodeName" => known(pod.node_name),
        "spec.serviceAccountName" => Some(pod.template.spec.account().to_owned()),
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

pub(super) fn resource_value(
    selector: &ResourceFieldSelector,
    container: &Container,
    pod: &PodFields<'_>,
) -> Result<String, String> {
    let of = match selector.container_name.as_str() {
        "" => container,
        name => pod.template.spec.container(name).ok_or_else(|| format!("no container \"{name}\""))?,
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
    use crate::model::source::SourceData;
    use serde_json::json;

    fn env_of(container: &serde_json::Value) -> Result<Vec<(String, String)>, String> {
        env_with(container, &Sources::default())
    }

    fn env_with(container: &serde_json::Value, sources: &Sources) -> Result<Vec<(String, String)>, String> {
        env_at(None, container, sources)
    }

    fn env_at(
        api: Option<SocketAddr>,
        container: &serde_json::Value,
        sources: &Sources,
    ) -> Result<Vec<(String, String)>, String> {
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
            sources,
            capacity: &Capacity { cpu_millis: 2000, ..Capacity::default() },
            api,
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
        let missing = from(json!({"secretKeyRef": {"name": "s", "key": "k"}}));
        assert_eq!(missing, Err("secret \"s\" not found".into()));
        assert_eq!(from(json!({"configMapKeyRef": {"name": "s", "key": "k", "optional": true}})), Ok(vec![]));
    }

    #[test]
    fn keys_of_config_maps_and_secrets_become_variables_in_kubernetes_order() {
        let source = |kind, name: &str, json: serde_json::Value| {
            (SourceName::new(kind, name), std::sync::Arc::new(SourceData::of(kind, &json)))
        };
        let sources: Sources = [
            source(SourceKind::ConfigMap, "c", json!({"data": {"A": "1", "B": "2"}, "binaryData": {"D": "eA=="}})),
            source(SourceKind::Secret, "s", json!({"data": {"A": "c2VjcmV0", "RAW": "/w=="}})),
        ]
        .into_iter()
        .collect();
        let env = env_with(
            &json!({"name": "a", "envFrom": [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "x", "optional": true}}],
                "env": [{"name": "B", "value": "own $(A)"},
                    {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "A"}}},
                    {"name": "N", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "Z", "optional": true}}}]}),
            &sources,
        );
        assert_eq!(pairs(&env.unwrap()), [("A", "1"), ("B", "own 1"), ("S", "secret")]);
        let prefixed = env_with(&json!({"envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}]}), &sources);
        assert_eq!(pairs(&prefixed.unwrap()), [("P_A", "1"), ("P_B", "2")]);
        let fails = |container: serde_json::Value| env_with(&container, &sources).unwrap_err();
        let missing = json!({"env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "Z"}}}]});
        assert_eq!(fails(missing), "couldn't find key Z in ConfigMap shop/c");
        assert!(fails(json!({"envFrom": [{"secretRef": {"name": "s"}}]})).contains("RAW in Secret shop/s is no text"));
        assert_eq!(fails(json!({"envFrom": [{"configMapRef": {"name": "y"}}]})), "configmap \"y\" not found");
    }

    #[test]
    fn each_container_is_told_where_its_nodes_api_is_unless_it_says_so_itself() {
        let at = |api: &str, container: serde_json::Value| {
            env_at(Some(api.parse().unwrap()), &container, &Sources::default()).unwrap()
        };
        let env = at(
            "10.99.0.1:7443",
            json!({"env": [{"name": "URL", "value": "https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)"}]}),
        );
        let want = [
            ("KUBERNETES_SERVICE_HOST", "10.99.0.1"),
            ("KUBERNETES_SERVICE_PORT", "7443"),
            ("KUBERNETES_SERVICE_PORT_HTTPS", "7443"),
            ("KUBERNETES_PORT", "tcp://10.99.0.1:7443"),
            ("KUBERNETES_PORT_7443_TCP_PROTO", "tcp"),
            ("KUBERNETES_PORT_7443_TCP_PORT", "7443"),
            ("KUBERNETES_PORT_7443_TCP_ADDR", "10.99.0.1"),
            ("KUBERNETES_PORT_7443_TCP", "tcp://10.99.0.1:7443"),
            ("URL", "https://10.99.0.1:7443"),
        ];
        assert_eq!(pairs(&env), want);
        let own = at("[fd00::1]:7443", json!({"env": [{"name": "KUBERNETES_SERVICE_HOST", "value": "elsewhere"}]}));
        assert_eq!(own.iter().filter(|(name, _)| name == "KUBERNETES_SERVICE_HOST").count(), 1);
        assert!(pairs(&own).contains(&("KUBERNETES_SERVICE_HOST", "elsewhere")));
        assert!(pairs(&own).contains(&("KUBERNETES_PORT", "tcp://[fd00::1]:7443")));
    }

    #[test]
    fn an_environment_without_bound_is_refused() {
        let json = json!({"data": {"A": "x".repeat(MAX_ENV_BYTES)}});
        let big = std::sync::Arc::new(SourceData::of(SourceKind::ConfigMap, &json));
        let sources: Sources = [(SourceName::new(SourceKind::ConfigMap, "c"), big)].into_iter().collect();
        let from = json!({"envFrom": [{"configMapRef": {"name": "c"}}]});
        assert!(env_with(&from, &sources).unwrap_err().contains("more than"));
    }
}
