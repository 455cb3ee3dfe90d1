//! What nodes and pods use, as `metrics.k8s.io` shows it. Who measures it, and how, does not live here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::resource::{NODE_METRICS, POD_METRICS, Resource};
use crate::time::rfc3339;

/// How much of a machine something uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Billionths of a core, on average over the time that was looked at.
    pub cpu_nanocores: u64,
    /// Bytes of memory that could not be taken away from it at once.
    pub memory_bytes: u64,
}

/// When it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// At the end, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// For how long, in milliseconds.
    pub window_ms: u64,
}

/// What a node uses. `node` is the Node object.
#[must_use]
pub fn of_node(node: &Value, taken: Taken, usage: Usage) -> Value {
    let mut object = head(&NODE_METRICS, node, taken);
    object["usage"] = amounts(usage);
    object
}

/// What a pod uses, by the names of its containers. `pod` is the Pod object. `None` as long as one of those that are said to run
/// was not measured: half of a pod's use would be taken for all of it.
#[must_use]
pub fn of_pod(pod: &Value, taken: Taken, usage: &BTreeMap<&str, Usage>) -> Option<Value> {
    let names = |of: &Value| -> Vec<String> {
        of.as_array().into_iter().flatten().filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
    };
    let lists = ["containerStatuses", "ephemeralContainerStatuses"];
    let statuses = lists.into_iter().filter_map(|list| pod["status"][list].as_array()).flatten();
    let running: Vec<&str> =
        statuses.filter(|status| status["state"]["running"].is_object()).filter_map(|s| s["name"].as_str()).collect();
    if running.is_empty() || running.iter().any(|name| !usage.contains_key(name)) {
        return None;
    }
    // In the order in which the pod names them.
    let order = [names(&pod["spec"]["containers"]), names(&pod["spec"]["ephemeralContainers"])].concat();
    let row = |name: &String| {
        let usage = usage.get(name.as_str()).filter(|_| running.contains(&name.as_str()))?;
        Some(json!({"name": name, "usage": amounts(*usage)}))
    };
    let mut object = head(&POD_METRICS, pod, taken);
    object["containers"] = order.iter().filter_map(row).collect();
    Some(object)
}

/// A list of what was measured.
#[must_use]
pub fn list(resource: &Resource, items: &[Value]) -> Value {
    json!({
        "kind": format!("{}List", resource.kind_name),
        "apiVersion": resource.api_version(),
        "metadata": {},
        "items": items,
    })
}

fn head(resource: &Resource, of: &Value, taken: Taken) -> Value {
    let mut metadata = json!({"name": of["metadata"]["name"], "creationTimestamp": rfc3339(taken.at_ms)});
    for field in ["namespace", "labels"] {
        if !of["metadata"][field].is_null() {
            metadata[field] = of["metadata"][field].clone();
        }
    }
    json!({
        "kind": resource.kind_name,
        "apiVersion": resource.api_version(),
        "metadata": metadata,
        "timestamp": rfc3339(taken.at_ms),
        "window": window(taken.window_ms),
    })
}

fn amounts(usage: Usage) -> Value {
    json!({"cpu": format!("{}n", usage.cpu_nanocores), "memory": format!("{}Ki", usage.memory_bytes / 1024)})
}

/// A duration as Go writes it, such as `15.043s`.
fn window(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1000, ms % 1000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TAKEN: Taken = Taken { at_ms: 1_795_478_400_000, window_ms: 15_040 };

    fn usage(cpu_nanocores: u64, memory_bytes: u64) -> Usage {
        Usage { cpu_nanocores, memory_bytes }
    }

    #[test]
    fn a_node_says_how_many_cores_and_bytes_it_uses() {
        let node = json!({"metadata": {"name": "goose", "uid": "u", "labels": {"a": "b"}}});
        let shown = of_node(&node, TAKEN, usage(1_234_567, 3 << 20));
        assert_eq!(shown["kind"], "NodeMetrics");
        assert_eq!(shown["apiVersion"], "metrics.k8s.io/v1beta1");
        assert_eq!(shown["usage"], json!({"cpu": "1234567n", "memory": "3072Ki"}));
        assert_eq!((&shown["window"], &shown["timestamp"]), (&json!("15.04s"), &json!(rfc3339(TAKEN.at_ms))));
        assert_eq!(shown["metadata"]["labels"]["a"], "b");
        assert!(shown["metadata"]["uid"].is_null(), "it is no object that is stored");
    }

    #[test]
    fn a_pod_shows_its_containers_in_its_own_order_once_all_that_run_were_measured() {
        let running = |name: &str| json!({"name": name, "state": {"running": {}}});
        let pod = json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"containers": [{"name": "web"}, {"name": "beside"}, {"name": "over"}]},
            "status": {"containerStatuses": [
                running("beside"), running("web"), {"name": "over", "state": {"terminated": {}}},
            ]},
        });
        let mut measured = BTreeMap::from([("web", usage(1, 1024))]);
        assert_eq!(of_pod(&pod, TAKEN, &measured), None);
        measured.extend([("beside", usage(2, 2048)), ("over", usage(3, 0))]);
        let shown = of_pod(&pod, TAKEN, &measured).unwrap();
        let names: Vec<&str> =
            shown["containers"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["web", "beside"]);
        assert_eq!(shown["metadata"]["namespace"], "shop");
        let waiting = json!({"metadata": {"name": "w"}, "spec": {}, "status": {}});
        assert_eq!(of_pod(&waiting, TAKEN, &measured), None);
    }

    #[test]
    fn a_window_is_written_as_go_writes_it() {
        assert_eq!([window(1000), window(15_043), window(500), window(0)], ["1s", "15.043s", "0.5s", "0s"]);
    }
}
