//! One look at the cluster through one peer: who is alive, who leads, and which pods are where. And how that is shown.

use serde_json::Value;

use super::manifest::NAMESPACE;
use crate::client::{Client, ClientError};
use crate::table::Table;

/// What one peer says at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// The nodes, by name.
    pub(crate) nodes: Vec<NodeLook>,
    /// Who leads, if that is known.
    pub(crate) leader: Option<String>,
    /// All pods.
    pub(crate) pods: Vec<PodLook>,
}

/// A node as a peer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeLook {
    /// Its name.
    pub(crate) name: String,
    /// Its id.
    pub(crate) id: String,
    /// `alive`, `down` ..
    pub(crate) state: String,
}

/// A pod as a peer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodLook {
    /// Its name.
    pub(crate) name: String,
    /// Its node; empty while it has none.
    pub(crate) node: String,
    /// Its address; empty while it has none.
    pub(crate) ip: String,
    /// Whether it is ready, and not on its way out.
    pub(crate) ready: bool,
}

impl Look {
    /// Asks a peer.
    ///
    /// # Errors
    /// When it does not answer. That it knows no leader is no failure.
    pub(crate) async fn at(client: &Client) -> Result<Self, ClientError> {
        let leader = leader(client).await?;
        let peers = client.get("/skein/v1/peers").await?;
        let pods = client.get(&format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3Dweb")).await?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut look = Look {
            nodes: list(&peers["peers"]).iter().map(NodeLook::of).collect(),
            leader,
            pods: list(&pods["items"]).iter().map(PodLook::of).collect(),
        };
        look.pods.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(look)
    }

    /// How many pods are ready on these nodes.
    pub(crate) fn ready_on(&self, nodes: &[&str]) -> usize {
        self.pods.iter().filter(|pod| pod.ready && nodes.contains(&pod.node.as_str())).count()
    }

    /// Whether a node is alive.
    pub(crate) fn is_alive(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| node.name == name && node.state == "alive")
    }

    /// The id of a node; empty when it is not known.
    pub(crate) fn id_of(&self, name: &str) -> String {
        self.nodes.iter().find(|node| node.name == name).map(|node| node.id.clone()).unwrap_or_default()
    }

    /// As a table, for a terminal.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut table = Table::new(&["NODE", "STATE", "LEADER", "PODS"]);
        for node in &self.nodes {
            let leads = self.leader.as_deref() == Some(&node.name);
            let leader = if leads { "leader" } else { "-" }.to_owned();
            table.rows.push(vec![node.name.clone(), node.state.clone(), leader, self.names_on(&node.name)]);
        }
        if self.pods.iter().any(|pod| pod.node.is_empty()) {
            table.rows.push(vec!["(none)".to_owned(), "-".to_owned(), "-".to_owned(), self.names_on("")]);
        }
        table.lines()
    }

    /// In one line, for a log.
    pub(crate) fn line(&self) -> String {
        let words = self.nodes.iter().map(|node| {
            let all = self.pods.iter().filter(|pod| pod.node == node.name).count();
            let ready = self.ready_on(&[&node.name]);
            let state = if node.state == "alive" { String::new() } else { format!(" {}", node.state) };
            let leads = if self.leader.as_deref() == Some(&node.name) { " leads" } else { "" };
            let pods = if all == ready { format!("{all}") } else { format!("{ready} of {all}") };
            format!("{}{state}{leads}: {pods} ready", node.name)
        });
        words.collect::<Vec<_>>().join("   ")
    }

    /// What tells a node's pods apart of each other: the ends of their names. Those that are not ready are in brackets.
    fn names_on(&self, node: &str) -> String {
        let of_node = self.pods.iter().filter(|pod| pod.node == node);
        let names = of_node.map(|pod| {
            let end = pod.name.rsplit('-').next().unwrap_or(&pod.name);
            if pod.ready { end.to_owned() } else { format!("({end})") }
        });
        names.collect::<Vec<_>>().join(" ")
    }
}

/// Who leads, as a peer says; `None` while it knows nobody.
///
/// # Errors
/// When it does not answer.
pub(crate) async fn leader(client: &Client) -> Result<Option<String>, ClientError> {
    match client.get("/skein/v1/leader").await {
        Ok(leader) => Ok(leader["name"].as_str().map(str::to_owned)),
        Err(ClientError::Refused { code: 503, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The names of the nodes that are ready to run pods, as a peer says.
///
/// # Errors
/// When it does not answer.
pub(crate) async fn ready_nodes(client: &Client) -> Result<Vec<String>, ClientError> {
    let nodes = client.get("/api/v1/nodes").await?;
    let ready = nodes["items"].as_array().into_iter().flatten().filter(|node| is_ready(node));
    Ok(ready.filter_map(|node| Some(node["metadata"]["name"].as_str()?.to_owned())).collect())
}

impl NodeLook {
    fn of(peer: &Value) -> Self {
        NodeLook { name: text(&peer["name"]), id: text(&peer["id"]), state: text(&peer["state"]) }
    }
}

impl PodLook {
    fn of(pod: &Value) -> Self {
        PodLook {
            name: text(&pod["metadata"]["name"]),
            node: text(&pod["spec"]["nodeName"]),
            ip: text(&pod["status"]["podIP"]),
            ready: is_ready(pod) && pod["metadata"]["deletionTimestamp"].is_null(),
        }
    }
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: &str, ready: &str, going: bool) -> PodLook {
        let mut pod = json!({"metadata": {"name": name}, "spec": {"nodeName": node},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        if going {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        PodLook::of(&pod)
    }

    fn look() -> Look {
        let node =
            |name: &str, state: &str| NodeLook { name: name.into(), id: format!("id-{name}"), state: state.into() };
        Look {
            nodes: vec![node("n1", "down"), node("n2", "alive")],
            leader: Some("n2".into()),
            pods: vec![
                pod("web-5d-a", "n1", "True", false),
                pod("web-5d-b", "n2", "True", false),
                pod("web-5d-c", "n2", "False", false),
                pod("web-5d-d", "n2", "True", true),
                pod("web-5d-e", "", "False", false),
            ],
        }
    }

    #[test]
    fn a_pod_that_is_on_its_way_out_is_not_ready() {
        assert_eq!(look().ready_on(&["n2"]), 1);
        assert_eq!(look().ready_on(&["n1", "n2"]), 2);
    }

    #[test]
    fn the_table_and_the_line_say_who_is_down_who_leads_and_what_is_ready() {
        let lines = look().lines();
        assert_eq!(lines[1], "n1       down    -        a");
        assert_eq!(lines[2], "n2       alive   leader   b (c) (d)");
        assert_eq!(lines[3], "(none)   -       -        (e)");
        assert_eq!(look().line(), "n1 down: 1 ready   n2 leads: 1 of 3 ready");
    }

    #[test]
    fn nodes_are_known_by_name() {
        assert!(look().is_alive("n2") && !look().is_alive("n1") && !look().is_alive("n3"));
        assert_eq!((look().id_of("n1"), look().id_of("n3")), ("id-n1".to_owned(), String::new()));
    }
}
