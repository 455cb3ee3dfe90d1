//! What the nodes are and what the Deployments ask for, by their numbers: plain ones mostly, and some for each of the
//! scheduler's filters. What becomes of them does not live here.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use skein_core::runtime::Capacity;
use skein_core::status::NodeStatus;

/// How many replicas each Deployment has.
pub(super) const REPLICAS: usize = 50;
/// The label of nodes with a fast disk.
pub(super) const DISK: &str = "disk";
/// The taint of nodes that are kept for batches.
pub(super) const DEDICATED: &str = "dedicated";
/// The first of the host ports that are asked for.
const FIRST_PORT: usize = 20_000;
/// How many different host ports are asked for.
const PORTS: usize = 16;

/// What a node says of itself: every seventh is small, all have the images that half of the Deployments run.
pub(super) fn node(number: usize) -> NodeStatus {
    let (cpu_millis, memory_bytes) = if number % 7 == 3 { (4_000, 8 << 30) } else { (16_000, 64 << 30) };
    let images: BTreeMap<String, u64> = (0..5).map(|image| (format!("image-{image}:1"), 300 << 20)).collect();
    let capacity = Capacity { ready: true, cpu_millis, memory_bytes, max_pods: 110, images, ..Capacity::default() };
    let labels = [("kubernetes.io/hostname".to_owned(), name(number)), ("kubernetes.io/os".to_owned(), "linux".into())];
    NodeStatus { name: name(number), capacity, labels: labels.into(), ..NodeStatus::default() }
}

/// A node's name.
pub(super) fn name(number: usize) -> String {
    format!("n{number}")
}

/// Whether people have given a node a fast disk's label.
pub(super) fn has_disk(number: usize) -> bool {
    number % 4 == 1
}

/// Whether people keep a node for batches.
pub(super) fn is_dedicated(number: usize) -> bool {
    number % 10 == 7
}

/// Whether people want no new pods on a node.
pub(super) fn is_cordoned(number: usize) -> bool {
    number % 50 == 49
}

/// What a Deployment's pods ask for besides processor time and memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing.
    Plain,
    /// A node with a fast disk.
    Disk,
    /// Any node, also those that are kept for batches.
    Batch,
    /// A port of the host.
    Port(u16),
}

/// What a Deployment asks for.
pub(super) fn wish(number: usize) -> Wish {
    match number % 10 {
        3 => Wish::Disk,
        6 => Wish::Batch,
        9 => Wish::Port(u16::try_from(FIRST_PORT + number / 10 % PORTS).unwrap_or(u16::MAX)),
        _ => Wish::Plain,
    }
}

/// What one pod of a Deployment asks for: thousandths of a core and bytes.
pub(super) fn request(number: usize) -> (u64, u64) {
    (100 + 50 * (number as u64 % 5), (64 << 20) * (1 + number as u64 % 4))
}

/// A Deployment as people write it, with so many changes of its image.
pub(super) fn deployment(number: usize, version: usize) -> Value {
    let (cpu_millis, memory_bytes) = request(number);
    let mut container = json!({
        "name": "main",
        "image": format!("image-{}:{version}", number % 10),
        "resources": {"requests": {"cpu": format!("{cpu_millis}m"), "memory": memory_bytes.to_string()}},
    });
    let mut spec = json!({});
    match wish(number) {
        Wish::Plain => {}
        Wish::Disk => spec["nodeSelector"] = json!({DISK: "fast"}),
        Wish::Batch => spec["tolerations"] = json!([{"key": DEDICATED, "operator": "Exists"}]),
        Wish::Port(port) => {
            spec["tolerations"] = json!([{"key": DEDICATED, "operator": "Exists"}]);
            container["ports"] = json!([{"containerPort": 80, "hostPort": port}]);
        }
    }
    spec["containers"] = json!([container]);
    json!({"spec": {
        "replicas": REPLICAS,
        "selector": {"matchLabels": {"app": format!("app-{number}")}},
        "template": {"metadata": {"labels": {"app": format!("app-{number}")}}, "spec": spec},
    }})
}
