//! What a pod asks of a node: the part of its spec that placing it looks at.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::affinity::NodeAffinity;
use super::quantity::Quantity;
use super::taint::Toleration;

/// A port of the host that a container wants for itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// The address; empty: all of them.
    pub ip: String,
}

impl HostPort {
    /// Whether both cannot be had on one host.
    #[must_use]
    pub fn collides(&self, other: &HostPort) -> bool {
        let all = |ip: &str| matches!(ip, "" | "0.0.0.0" | "::");
        let address = all(&self.ip) || all(&other.ip) || self.ip == other.ip;
        self.port == other.port && self.protocol == other.protocol && address
    }
}

/// What a pod asks of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodNeeds {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
    /// Other resources by name. No node of ours offers any, so a pod that asks for one waits and says so.
    pub other: BTreeMap<String, u64>,
    /// Ports of the host.
    pub host_ports: BTreeSet<HostPort>,
    /// Labels that the node must have.
    pub node_selector: BTreeMap<String, String>,
    /// What else is said about the node by its labels and its name.
    pub node_affinity: NodeAffinity,
    /// The one node to run on, by name; empty: any.
    pub node_name: String,
    /// Taints that it bears.
    pub tolerations: Vec<Toleration>,
    /// The images of its containers.
    pub images: BTreeSet<String>,
}

impl PodNeeds {
    /// Reads a pod's spec. What is missing or makes no sense asks for nothing.
    #[must_use]
    pub fn of(spec: &Value) -> Self {
        let list = |field: &str| spec.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let (containers, init) = (list("containers"), list("initContainers"));
        let mut needs = PodNeeds {
            node_selector: text_map(spec.get("nodeSelector")),
            node_affinity: spec.get("affinity").map(NodeAffinity::of).unwrap_or_default(),
            node_name: spec.get("nodeName").and_then(Value::as_str).unwrap_or_default().to_owned(),
            tolerations: spec.get("tolerations").map(Toleration::list).unwrap_or_default(),
            images: containers.iter().chain(init).filter_map(image).collect(),
            ..PodNeeds::default()
        };
        let host_network = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false);
        needs.host_ports = containers.iter().flat_map(|container| host_ports(container, host_network)).collect();
        let mut asks: BTreeMap<String, u64> = BTreeMap::new();
        for container in containers {
            for (name, amount) in requests(container) {
                let sum = asks.entry(name).or_default();
                *sum = sum.saturating_add(amount);
            }
        }
        // The init containers run one after the other before the others, so the greatest of them counts.
        for (name, amount) in init.iter().flat_map(requests) {
            let sum = asks.entry(name).or_default();
            *sum = amount.max(*sum);
        }
        for (name, amount) in asks {
            match name.as_str() {
                "cpu" => needs.cpu_millis = amount,
                "memory" => needs.memory_bytes = amount,
                // Local disk is not accounted for: images and logs share it with everything else on the host.
                "ephemeral-storage" => {}
                _ if amount == 0 => {}
                _ => drop(needs.other.insert(name, amount)),
            }
        }
        needs
    }
}

/// A map of texts; what is no text is passed over.
#[must_use]
pub(crate) fn text_map(value: Option<&Value>) -> BTreeMap<String, String> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn image(container: &Value) -> Option<String> {
    container.get("image").and_then(Value::as_str).map(str::to_owned)
}

fn host_ports(container: &Value, host_network: bool) -> Vec<HostPort> {
    let ports = container.get("ports").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let read = |port: &Value| {
        let number = |field: &str| port.get(field).and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
        let own = number("containerPort").filter(|_| host_network);
        let wanted = number("hostPort").filter(|port| *port > 0).or(own)?;
        let text = |field: &str| port.get(field).and_then(Value::as_str).unwrap_or_default();
        let protocol = if text("protocol").is_empty() { "TCP" } else { text("protocol") };
        Some(HostPort { protocol: protocol.to_owned(), port: wanted, ip: text("hostIP").to_owned() })
    };
    ports.iter().filter_map(read).collect()
}

/// A container's requests, of `cpu` in thousandths; what has a limit and no request asks for its limit.
fn requests(container: &Value) -> BTreeMap<String, u64> {
    let resources = |field: &str| {
        let map = container.get("resources").and_then(|resources| resources.get(field)).and_then(Value::as_object);
        map.into_iter().flatten().filter_map(|(name, amount)| {
            let quantity = Quantity::deserialize(amount).ok()?;
            Some((name.clone(), if name == "cpu" { quantity.millis() } else { quantity.units() }))
        })
    };
    let mut asks: BTreeMap<String, u64> = resources("limits").collect();
    asks.extend(resources("requests"));
    asks
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_asks_for_the_sum_of_its_containers_or_the_greatest_init_container() {
        let needs = PodNeeds::of(&json!({
            "containers": [
                {"image": "a", "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}},
                {"image": "b", "resources": {"limits": {"cpu": "500m"}}, "ports": [{"containerPort": 80, "hostPort": 8080}]},
            ],
            "initContainers": [{"image": "c", "resources": {"requests": {"memory": "1Gi", "vendor.example/gpu": 1}}}],
        }));
        assert_eq!((needs.cpu_millis, needs.memory_bytes), (750, 1 << 30));
        assert_eq!(needs.other.get("vendor.example/gpu"), Some(&1));
        assert_eq!(needs.host_ports.iter().map(|port| port.port).collect::<Vec<_>>(), [8080]);
        assert_eq!(needs.images.len(), 3);
    }

    #[test]
    fn on_the_hosts_network_every_port_is_a_host_port() {
        let needs = PodNeeds::of(
            &json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 53, "protocol": "UDP"}]}]}),
        );
        let port = needs.host_ports.first().map(|port| (port.port, port.protocol.as_str()));
        assert_eq!(port, Some((53, "UDP")));
    }

    #[test]
    fn two_host_ports_collide_unless_their_addresses_differ() {
        let port = |ip: &str| HostPort { protocol: "TCP".into(), port: 80, ip: ip.into() };
        assert!(port("").collides(&port("10.0.0.1")));
        assert!(!port("10.0.0.2").collides(&port("10.0.0.1")));
    }

    #[test]
    fn nonsense_asks_for_nothing() {
        let needs =
            PodNeeds::of(&json!({"containers": [3, {"resources": {"requests": {"cpu": []}}}], "tolerations": 1}));
        assert_eq!(needs, PodNeeds::default());
    }
}
