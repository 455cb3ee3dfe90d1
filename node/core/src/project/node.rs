//! Nodes: what people want of a node (its object) joined with what it says of itself (its report).

use serde_json::{Map, Value, json};
use skein_crdt_state::{ClusterId, Kind, ObjectKey, ObjectState};
use skein_gossip::NodeId;

use super::metadata::{self, time};
use crate::runtime::Capacity;
use crate::status::NodeStatus;

/// The kind of a node's object.
pub(super) const NODE_KIND: &str = "Node";

/// What is known of one node.
pub(super) struct About<'a> {
    pub(super) id: NodeId,
    pub(super) name: &'a str,
    pub(super) object: Option<&'a ObjectState>,
    pub(super) status: Option<&'a NodeStatus>,
    /// When its report was made, in milliseconds since the Unix epoch; 0: there is none.
    pub(super) reported_ms: u64,
    pub(super) alive: bool,
    /// Whether it is an observer: it takes no pods, which is shown as if it were cordoned for good.
    pub(super) observes: bool,
}

/// What Kubernetes' tools show as the role of an observer.
const OBSERVER_LABEL: &str = "node-role.kubernetes.io/observer";

/// The node as Kubernetes shows it.
pub(super) fn render(node: &About<'_>, cluster: &ClusterId) -> Value {
    let mut stored = node.object.map_or(Value::Null, ObjectState::to_json);
    let own = stored.as_object_mut().and_then(|fields| fields.remove("metadata"));
    let mut metadata = match node.object {
        Some(object) => metadata::of_object(object, own, cluster),
        None => without_object(node, cluster),
    };
    let mut labels: Map<String, Value> = Map::new();
    for (key, value) in node.status.iter().flat_map(|status| &status.labels) {
        labels.insert(key.clone(), value.as_str().into());
    }
    if let Some(Value::Object(wanted)) = metadata.remove("labels") {
        labels.extend(wanted);
    }
    if node.observes {
        labels.insert(OBSERVER_LABEL.to_owned(), "".into());
    } else {
        labels.remove(OBSERVER_LABEL);
    }
    metadata.insert("labels".into(), labels.into());
    let mut spec = match stored.as_object_mut().and_then(|fields| fields.remove("spec")) {
        Some(Value::Object(spec)) => spec,
        _ => Map::new(),
    };
    if node.observes {
        spec.insert("unschedulable".into(), true.into());
    }
    spec.entry("providerID").or_insert_with(|| format!("skein://{}", node.id).into());
    json!({
        "apiVersion": "v1",
        "kind": NODE_KIND,
        "metadata": metadata,
        "spec": spec,
        "status": status(node),
    })
}

fn without_object(node: &About<'_>, cluster: &ClusterId) -> Map<String, Value> {
    let mut metadata = Map::new();
    let key = ObjectKey::root(&Kind::new("Member"), &node.id.to_string(), 1);
    metadata.insert("name".into(), node.name.into());
    metadata.insert("uid".into(), key.uid(cluster).to_string().into());
    metadata.insert("creationTimestamp".into(), time(node.status.map_or(0, |status| status.started_at_ms)));
    metadata
}

fn status(node: &About<'_>) -> Value {
    let Some(status) = node.status else {
        return json!({"conditions": conditions(node), "addresses": [{"type": "Hostname", "address": node.name}]});
    };
    let capacity = &status.capacity;
    let is_ip = status.address.parse::<std::net::IpAddr>().is_ok();
    let mut addresses = vec![json!({"type": "Hostname", "address": node.name})];
    if !status.address.is_empty() {
        let kind = if is_ip { "InternalIP" } else { "InternalDNS" };
        addresses.insert(0, json!({"type": kind, "address": status.address}));
    }
    let images: Vec<Value> =
        capacity.images.iter().map(|(name, bytes)| json!({"names": [name], "sizeBytes": bytes})).collect();
    json!({
        "capacity": resources(capacity),
        "allocatable": resources(capacity),
        "conditions": conditions(node),
        "addresses": addresses,
        "nodeInfo": {
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
            "kernelVersion": capacity.kernel_version,
            "osImage": capacity.os_image,
            "containerRuntimeVersion": capacity.runtime_version,
            "kubeletVersion": status.version,
            "kubeProxyVersion": "",
            "operatingSystem": status.labels.get("kubernetes.io/os").map_or("linux", String::as_str),
            "architecture": capacity.architecture,
        },
        "images": images,
    })
}

fn resources(capacity: &Capacity) -> Value {
    let cpu = match capacity.cpu_millis {
        millis if millis.is_multiple_of(1000) => (millis / 1000).to_string(),
        millis => format!("{millis}m"),
    };
    let memory = match capacity.memory_bytes {
        bytes if bytes.is_multiple_of(1024) => format!("{}Ki", bytes / 1024),
        bytes => bytes.to_string(),
    };
    json!({"cpu": cpu, "memory": memory, "pods": capacity.max_pods.to_string()})
}

fn conditions(node: &About<'_>) -> Value {
    let since = node.status.map_or(0, |status| status.started_at_ms);
    let heard = time(node.reported_ms);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": heard,
            "lastTransitionTime": time(since),
        })
    };
    let ready = match node.status {
        _ if !node.alive => condition("Ready", "Unknown", "NodeStatusUnknown", "the node does not answer its peers"),
        None => condition("Ready", "Unknown", "NodeStatusNeverUpdated", "the node has not reported yet"),
        Some(status) if status.capacity.ready => {
            condition("Ready", "True", "KubeletReady", "the daemon and its container engine answer")
        }
        Some(status) => condition("Ready", "False", "ContainerRuntimeNotReady", &status.capacity.message),
    };
    let pressures = [
        ("MemoryPressure", "KubeletHasSufficientMemory"),
        ("DiskPressure", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "KubeletHasSufficientPID"),
    ];
    let disk = node.status.map_or("", |status| status.disk.as_str());
    let pressure = |(kind, reason): (&str, &str)| match node.alive {
        true if kind == "DiskPressure" && !disk.is_empty() => condition(kind, "True", "DiskRefusesWrites", disk),
        true => condition(kind, "False", reason, ""),
        false => condition(kind, "Unknown", "NodeStatusUnknown", "the node does not answer its peers"),
    };
    pressures.into_iter().map(pressure).chain([ready]).collect()
}
