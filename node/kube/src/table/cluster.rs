//! The cells of nodes, namespaces, ConfigMaps, Secrets, Services and Events.

use serde_json::Value;

use super::{AGE, Cells, Column, NAME, count, elements, labels, text_or};

pub(super) const NAMESPACE: &[Column] =
    &[NAME, Column::text("Status", |object, _| text_or(&object["status"]["phase"], "Active")), AGE];

pub(super) const CONFIG_MAP: &[Column] = &[
    NAME,
    Column::number("Data", |object, _| {
        let size = |field: &str| object[field].as_object().map_or(0, serde_json::Map::len);
        (size("data") + size("binaryData")).into()
    }),
    AGE,
];

pub(super) const SECRET: &[Column] = &[
    NAME,
    Column::text("Type", |secret, _| text_or(&secret["type"], "Opaque")),
    Column::number("Data", |secret, _| secret["data"].as_object().map_or(0, serde_json::Map::len).into()),
    AGE,
];

pub(super) const NODE: &[Column] = &[
    NAME,
    Column::text("Status", node_status),
    Column::text("Roles", node_roles),
    AGE,
    Column::text("Version", |node, _| text_or(&node["status"]["nodeInfo"]["kubeletVersion"], "<unknown>")),
    Column::text("Internal-IP", |node, _| address(node, "InternalIP")).wide(),
    Column::text("External-IP", |node, _| address(node, "ExternalIP")).wide(),
    Column::text("OS-Image", |node, _| text_or(&node["status"]["nodeInfo"]["osImage"], "<unknown>")).wide(),
    Column::text("Kernel-Version", |node, _| text_or(&node["status"]["nodeInfo"]["kernelVersion"], "<unknown>")).wide(),
    Column::text("Container-Runtime", |node, _| {
        text_or(&node["status"]["nodeInfo"]["containerRuntimeVersion"], "<unknown>")
    })
    .wide(),
];

pub(super) const SERVICE: &[Column] = &[
    NAME,
    Column::text("Type", |service, _| text_or(&service["spec"]["type"], "ClusterIP")),
    Column::text("Cluster-IP", |service, _| text_or(&service["spec"]["clusterIP"], "<none>")),
    Column::text("External-IP", |service, _| {
        let addresses: Vec<&str> = elements(&service["spec"]["externalIPs"]).filter_map(Value::as_str).collect();
        if addresses.is_empty() { "<none>".into() } else { addresses.join(",").into() }
    }),
    Column::text("Port(s)", service_ports),
    AGE,
    Column::text("Selector", |service, _| labels(&service["spec"]["selector"])).wide(),
];

pub(super) const EVENT: &[Column] = &[
    Column::text("Last Seen", |event, cells| cells.age(&event["lastTimestamp"])),
    Column::text("Type", |event, _| event["type"].clone()),
    Column::text("Reason", |event, _| event["reason"].clone()),
    Column::text("Object", |event, _| {
        let about = &event["involvedObject"];
        let kind = about["kind"].as_str().unwrap_or_default().to_lowercase();
        format!("{kind}/{}", about["name"].as_str().unwrap_or_default()).into()
    }),
    Column::text("Subobject", |event, _| text_or(&event["involvedObject"]["fieldPath"], "")).wide(),
    Column::text("Source", |event, _| {
        let source = &event["source"];
        let parts = [&source["component"], &source["host"]];
        parts.iter().filter_map(|part| part.as_str()).collect::<Vec<_>>().join(", ").into()
    })
    .wide(),
    Column::text("Message", |event, _| text_or(&event["message"], "").as_str().unwrap_or_default().trim().into()),
    Column::text("First Seen", |event, cells| cells.age(&event["firstTimestamp"])).wide(),
    Column::number("Count", |event, _| count(&event["count"]).max(1).into()).wide(),
    Column { wide: true, ..NAME },
];

fn node_status(node: &Value, _: &Cells) -> Value {
    let condition = elements(&node["status"]["conditions"]).find(|condition| condition["type"] == "Ready");
    let mut word = match condition.map(|condition| &condition["status"]) {
        Some(status) if status == "True" => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node["spec"]["unschedulable"] == true {
        word.push_str(",SchedulingDisabled");
    }
    word.into()
}

fn node_roles(node: &Value, _: &Cells) -> Value {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let roles: Vec<&str> = labels.filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/")).collect();
    if roles.is_empty() { "<none>".into() } else { roles.join(",").into() }
}

fn address(node: &Value, kind: &str) -> Value {
    let found = elements(&node["status"]["addresses"]).find(|address| address["type"] == kind);
    found.map_or_else(|| "<none>".into(), |address| address["address"].clone())
}

fn service_ports(service: &Value, _: &Cells) -> Value {
    let port = |port: &Value| {
        let (number, protocol) = (count(&port["port"]), port["protocol"].as_str().unwrap_or("TCP"));
        match count(&port["nodePort"]) {
            0 => format!("{number}/{protocol}"),
            node_port => format!("{number}:{node_port}/{protocol}"),
        }
    };
    let ports: Vec<String> = elements(&service["spec"]["ports"]).map(port).collect();
    if ports.is_empty() { "<none>".into() } else { ports.join(",").into() }
}
