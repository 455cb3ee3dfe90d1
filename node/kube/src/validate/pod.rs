//! Pods: what their containers, probes and tolerations must fulfil together.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::quantity::Quantity;
use crate::status::Problem;

mod affinity;
mod volumes;

const SOURCES: &str = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";

/// Checks the spec of a pod with some labels, or a template's.
pub(super) fn spec(spec: &Value, labels: &Value, path: &str, problems: &mut Vec<Problem>) {
    let host_network = spec["hostNetwork"] == true;
    let mut host_ports = BTreeSet::new();
    let volumes = volumes::volumes(spec, path, problems);
    init_containers(spec, path, problems);
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        problems.push(Problem::invalid(format!("{path}.shareProcessNamespace"), &true.into(), why));
    }
    if path != "spec" && list(&spec["ephemeralContainers"]).next().is_some() {
        let why = "ephemeral containers not allowed in pod template";
        problems.push(Problem::forbidden(format!("{path}.ephemeralContainers"), why));
    }
    for (container, here) in all_containers(spec, path) {
        // Init containers run one at a time and before the others, so that they keep no port from them.
        let (mut own, is_init) = (BTreeSet::new(), here.contains("initContainers"));
        ports(container, &here, host_network, if is_init { &mut own } else { &mut host_ports }, problems);
        environment(container, &here, problems);
        environment_sources(container, &here, problems);
        volumes::mounts(container, &volumes, &here, problems);
        resources(&container["resources"], &format!("{here}.resources"), problems);
        probes(container, &here, problems);
        hooks(container, spec, &here, problems);
        powers(&container["securityContext"], &format!("{here}.securityContext"), problems);
        if container["stdinOnce"] == true && container["stdin"] != true {
            problems.push(Problem::forbidden(format!("{here}.stdinOnce"), "only with stdin"));
        }
        if let Some(image) = container["image"].as_str().filter(|image| image.trim() != *image) {
            let why = "must not have leading or trailing whitespace";
            problems.push(Problem::invalid(format!("{here}.image"), &image.into(), why));
        }
    }
    affinity::affinity(&spec["affinity"], labels, &format!("{path}.affinity"), problems);
    for (i, toleration) in list(&spec["tolerations"]).enumerate() {
        check_toleration(toleration, &format!("{path}.tolerations[{i}]"), problems);
    }
}

/// The init containers, the others, and those that were added to a pod that runs, each with its path.
fn all_containers<'a>(spec: &'a Value, path: &str) -> Vec<(&'a Value, String)> {
    let lists = ["initContainers", "containers", "ephemeralContainers"].into_iter();
    let of = |name: &'static str| {
        list(&spec[name]).enumerate().map(move |(i, container)| (container, format!("{path}.{name}[{i}]")))
    };
    lists.flat_map(of).collect()
}

/// Init containers end before anything could look at them, and share the others' names.
fn init_containers(spec: &Value, path: &str, problems: &mut Vec<Problem>) {
    let names: BTreeSet<&str> = list(&spec["containers"]).filter_map(|container| text(&container["name"])).collect();
    for (i, container) in list(&spec["initContainers"]).enumerate() {
        let here = format!("{path}.initContainers[{i}]");
        if text(&container["name"]).is_some_and(|name| names.contains(name)) {
            problems.push(Problem::duplicate(format!("{here}.name"), &container["name"]));
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container[field].is_object() {
                let why = "may not be set for init containers without restartPolicy=Always";
                problems.push(Problem::forbidden(format!("{here}.{field}"), why));
            }
        }
    }
}

fn ports(
    container: &Value,
    path: &str,
    host_network: bool,
    host_ports: &mut BTreeSet<String>,
    problems: &mut Vec<Problem>,
) {
    let mut names = BTreeSet::new();
    for (i, port) in list(&container["ports"]).enumerate() {
        let here = format!("{path}.ports[{i}]");
        if let Some(name) = text(&port["name"])
            && !names.insert(name)
        {
            problems.push(Problem::duplicate(format!("{here}.name"), &port["name"]));
        }
        let Some(host_port) = port["hostPort"].as_i64().filter(|number| *number != 0) else { continue };
        if host_network && Some(host_port) != port["containerPort"].as_i64() {
            let why = "must match `hostPort` when `hostNetwork` is true";
            problems.push(Problem::invalid(format!("{here}.containerPort"), &port["containerPort"], why));
        }
        let taken = format!("{}/{}/{host_port}", port["protocol"], port["hostIP"].as_str().unwrap_or_default());
        if !host_ports.insert(taken) {
            problems.push(Problem::duplicate(format!("{here}.hostPort"), &port["hostPort"]));
        }
    }
}

fn environment_sources(container: &Value, path: &str, problems: &mut Vec<Problem>) {
    for (i, source) in list(&container["envFrom"]).enumerate() {
        let here = format!("{path}.envFrom[{i}]");
        match (source["configMapRef"].is_object(), source["secretRef"].is_object()) {
            (false, false) => {
                let why = "must specify one of: `configMapRef` or `secretRef`";
                problems.push(Problem::invalid(here, &"".into(), why));
            }
            (true, true) => {
                let why = "may not have more than one field specified at a time";
                problems.push(Problem::invalid(here, &"".into(), why));
            }
            _ => {}
        }
    }
}

fn environment(container: &Value, path: &str, problems: &mut Vec<Problem>) {
    for (i, variable) in list(&container["env"]).enumerate() {
        let Some(from) = variable["valueFrom"].as_object() else { continue };
        let here = format!("{path}.env[{i}].valueFrom");
        if text(&variable["value"]).is_some() {
            problems.push(Problem::invalid(here, &"".into(), "may not be specified when `value` is not empty"));
        } else if from.is_empty() {
            problems.push(Problem::invalid(here, &"".into(), SOURCES));
        } else if from.len() > 1 {
            problems.push(Problem::invalid(here, &"".into(), "may not have more than one field specified at a time"));
        }
    }
}

fn resources(resources: &Value, path: &str, problems: &mut Vec<Problem>) {
    let amount = |value: &Value| value.as_str().and_then(|text| text.parse::<Quantity>().ok());
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let (Some(asked), Some(limit)) = (amount(request), amount(&resources["limits"][name])) else { continue };
        if asked > limit {
            let why = format!("must be less than or equal to {name} limit of {limit}");
            problems.push(Problem::invalid(format!("{path}.requests"), request, &why));
        }
    }
}

fn probes(container: &Value, path: &str, problems: &mut Vec<Problem>) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let (probe, here) = (&container[name], format!("{path}.{name}"));
        if !probe.is_object() {
            continue;
        }
        probe_handler(probe, &here, problems);
        let threshold = &probe["successThreshold"];
        let grace = &probe["terminationGracePeriodSeconds"];
        if name == "readinessProbe" && grace.is_i64() {
            let why = "must not be set for readinessProbes";
            problems.push(Problem::invalid(format!("{here}.terminationGracePeriodSeconds"), grace, why));
        }
        // One success is enough to go on living; several in a row are only asked for by readiness.
        if name != "readinessProbe" && threshold.as_i64().is_some_and(|successes| successes > 1) {
            problems.push(Problem::invalid(format!("{here}.successThreshold"), threshold, "must be 1"));
        }
    }
}

fn hooks(container: &Value, spec: &Value, path: &str, problems: &mut Vec<Problem>) {
    let grace = spec["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    for name in ["postStart", "preStop"] {
        let (hook, here) = (&container["lifecycle"][name], format!("{path}.lifecycle.{name}"));
        if !hook.is_object() {
            continue;
        }
        let handlers = ["exec", "httpGet", "tcpSocket", "sleep"].into_iter().filter(|name| hook.get(*name).is_some());
        match handlers.collect::<Vec<_>>().as_slice() {
            [_] => {}
            [] => problems.push(Problem::required(here.as_str(), "must specify a handler type")),
            [_, others @ ..] => {
                for other in others {
                    let why = "may not specify more than 1 handler type";
                    problems.push(Problem::forbidden(format!("{here}.{other}"), why));
                }
            }
        }
        let seconds = &hook["sleep"]["seconds"];
        if seconds.as_i64().is_some_and(|seconds| seconds < 0 || seconds > grace) {
            let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
            problems.push(Problem::invalid(format!("{here}.sleep"), seconds, &why));
        }
    }
}

/// What cannot be had together.
fn powers(context: &Value, path: &str, problems: &mut Vec<Problem>) {
    if context["allowPrivilegeEscalation"] != false {
        return;
    }
    if context["privileged"] == true {
        let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        problems.push(Problem::invalid(path, context, why));
    }
    if list(&context["capabilities"]["add"]).any(|name| name == "CAP_SYS_ADMIN" || name == "SYS_ADMIN") {
        let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        problems.push(Problem::invalid(path, context, why));
    }
}

fn probe_handler(probe: &Value, path: &str, problems: &mut Vec<Problem>) {
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"].into_iter().filter(|name| probe.get(*name).is_some());
    match handlers.collect::<Vec<_>>().as_slice() {
        [_] => {}
        [] => problems.push(Problem::required(path, "must specify a handler type")),
        [_, others @ ..] => {
            for other in others {
                let why = "may not specify more than 1 handler type";
                problems.push(Problem::forbidden(format!("{path}.{other}"), why));
            }
        }
    }
}

fn check_toleration(toleration: &Value, path: &str, problems: &mut Vec<Problem>) {
    let operator = text(&toleration["operator"]).unwrap_or("Equal");
    if text(&toleration["key"]).is_none() && operator != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        problems.push(Problem::invalid(format!("{path}.operator"), &operator.into(), why));
    }
    if operator == "Exists" && text(&toleration["value"]).is_some() {
        let why = "value must be empty when `operator` is 'Exists'";
        problems.push(Problem::invalid(format!("{path}.operator"), &toleration["value"], why));
    }
    if toleration.get("tolerationSeconds").is_some() && text(&toleration["effect"]) != Some("NoExecute") {
        let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        problems.push(Problem::invalid(format!("{path}.effect"), &toleration["effect"], why));
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}
