//! Docker Swarm's side of a duel: all hosts are managers, spoken to over the socket of the engine of the host that is asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use super::{Endpoint, HOSTS, Orchestrator, REPLICAS};
use crate::failure::{Failure, Outcome, ensure};
use crate::image;
use crate::lab::Lab;
use crate::manifests::SERVE_AND_DRAIN;
use crate::wait::eventually;

const SERVICE: &str = "web";
/// Where managers meet.
const PORT: u16 = 2377;
/// How long a write may take.
const WITHIN: Duration = Duration::from_secs(3);
/// How long other questions may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long forming and leaving may take.
const FORMED: Duration = Duration::from_secs(60);
/// How Swarm counts time.
const SECOND_NS: u64 = 1_000_000_000;

/// A swarm of managers.
pub struct Swarm {
    lab: Lab,
    hosts: BTreeMap<String, usize>,
    /// The addresses of containers that were asked for.
    addresses: Mutex<BTreeMap<String, std::net::IpAddr>>,
    /// How many objects were written.
    written: AtomicU64,
}

impl Orchestrator for Swarm {
    const NAME: &'static str = "Docker Swarm";

    fn form(lab: Lab) -> Outcome<Self> {
        let address = |host: usize| format!("{}:{PORT}", lab.host(host).address());
        let first = lab.host(1).engine()?;
        first.ask(
            "POST",
            "/swarm/init",
            Some(&json!({"ListenAddr": address(1), "AdvertiseAddr": address(1)})),
            FORMED,
        )?;
        let token = first.ask("GET", "/swarm", None, PATIENCE)?["JoinTokens"]["Manager"].clone();
        for host in HOSTS.into_iter().skip(1) {
            let join = json!({
                "ListenAddr": address(host), "AdvertiseAddr": address(host),
                "RemoteAddrs": [address(1)], "JoinToken": token,
            });
            lab.host(host).engine()?.ask("POST", "/swarm/join", Some(&join), FORMED)?;
        }
        let mut hosts = BTreeMap::new();
        for host in HOSTS {
            let info = lab.host(host).engine()?.ask("GET", "/info", None, PATIENCE)?;
            hosts.insert(info["Swarm"]["NodeID"].as_str().unwrap_or_default().to_owned(), host);
        }
        let this = Self { lab, hosts, addresses: Mutex::default(), written: AtomicU64::new(0) };
        for host in HOSTS {
            let all = || {
                let nodes = this.ask(host, "GET", "/nodes", None, PATIENCE)?;
                let ready =
                    nodes.as_array().into_iter().flatten().filter(|node| node["Status"]["State"] == "ready").count();
                ensure(ready == HOSTS.len(), || format!("{ready} nodes are ready"))
            };
            eventually(&format!("all managers at h{host}"), FORMED, all)?;
        }
        Ok(this)
    }

    fn dissolve(self) -> Outcome<Lab> {
        self.remove()?;
        for host in HOSTS {
            self.ask(host, "POST", "/swarm/leave?force=1", None, FORMED)?;
        }
        for host in HOSTS {
            self.lab.host(host).engine()?.remove_containers("com.docker.swarm.service.name")?;
        }
        Ok(self.lab)
    }

    fn lab(&self) -> &Lab {
        &self.lab
    }

    fn deploy(&self) -> Outcome<()> {
        self.ask(1, "POST", "/services/create", Some(&service(image::NAME)), PATIENCE).map(|_| ())
    }

    fn remove(&self) -> Outcome<()> {
        let services = self.ask(1, "GET", "/services", None, PATIENCE)?;
        if services.as_array().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        self.ask(1, "DELETE", &format!("/services/{SERVICE}"), None, PATIENCE).map(|_| ())
    }

    fn update(&self) -> Outcome<()> {
        let version = self.ask(1, "GET", &format!("/services/{SERVICE}"), None, PATIENCE)?["Version"]["Index"].clone();
        let path = format!("/services/{SERVICE}/update?version={version}");
        self.ask(1, "POST", &path, Some(&service(image::SECOND_NAME)), PATIENCE).map(|_| ())
    }

    fn running(&self, hosts: &[usize]) -> Outcome<[usize; 2]> {
        let mut counts = [0, 0];
        for host in hosts {
            let listed =
                self.lab.host(*host).engine()?.containers(&format!("com.docker.swarm.service.name={SERVICE}"))?;
            for container in listed.iter().filter(|container| container.is_running()) {
                counts[usize::from(container.image == image::SECOND_NAME)] += 1;
            }
        }
        Ok(counts)
    }

    fn endpoints(&self, at: usize) -> Outcome<Vec<Endpoint>> {
        let tasks = self.ask(at, "GET", "/tasks", None, PATIENCE)?;
        let serves = |task: &&Value| task["DesiredState"] == "running" && task["Status"]["State"] == "running";
        tasks.as_array().into_iter().flatten().filter(serves).map(|task| self.endpoint(task)).collect()
    }

    fn leader(&self, at: usize) -> Outcome<usize> {
        let nodes = self.ask(at, "GET", "/nodes", None, PATIENCE)?;
        let leads = |node: &&Value| node["ManagerStatus"]["Leader"] == true;
        let leader = nodes.as_array().into_iter().flatten().find(leads).and_then(|node| node["ID"].as_str());
        let host = leader.and_then(|id| self.hosts.get(id));
        host.copied().ok_or_else(|| Failure::new(format!("h{at} knows of no leader")))
    }

    fn write(&self, at: usize, name: &str) -> Outcome<()> {
        let data = base64::engine::general_purpose::STANDARD.encode("value");
        // Names of an earlier cut may be there.
        let name = format!("{name}-{}", self.written.fetch_add(1, Ordering::Relaxed));
        self.ask(at, "POST", "/configs/create", Some(&json!({"Name": name, "Data": data})), WITHIN).map(|_| ())
    }
}

impl Swarm {
    fn ask(&self, host: usize, method: &str, path: &str, body: Option<&Value>, within: Duration) -> Outcome<Value> {
        self.lab.host(host).engine()?.ask(method, path, body, within)
    }

    fn endpoint(&self, task: &Value) -> Outcome<Endpoint> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (node, id) = (text(&task["NodeID"]), text(&task["Status"]["ContainerStatus"]["ContainerID"]));
        let host = *self.hosts.get(&node).ok_or_else(|| Failure::new(format!("no host is the node {node:?}")))?;
        let known = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied();
        if let Some(address) = known {
            return Ok(Endpoint { host, address });
        }
        let container = self.lab.host(host).engine()?.inspect(&id)?;
        let networks = container["NetworkSettings"]["Networks"].as_object().into_iter().flatten();
        let address = networks.filter_map(|(_, network)| network["IPAddress"].as_str()?.parse().ok()).next();
        let address = address.ok_or_else(|| Failure::new(format!("the container {id} has no address")))?;
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).insert(id, address);
        Ok(Endpoint { host, address })
    }
}

/// The web server with the same numbers as skein's: as many new ones at a time, none less than asked for, the same probe.
fn service(image: &str) -> Value {
    json!({
        "Name": SERVICE,
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": image,
                "Command": ["sh", "-c", SERVE_AND_DRAIN],
                "StopGracePeriod": 10 * SECOND_NS,
                "Healthcheck": {
                    "Test": ["CMD-SHELL", "wget -q -O /dev/null http://127.0.0.1:8080/"],
                    "Interval": SECOND_NS, "Timeout": SECOND_NS, "Retries": 3,
                },
            },
            "RestartPolicy": {"Condition": "any", "Delay": 0},
        },
        "Mode": {"Replicated": {"Replicas": REPLICAS}},
        "UpdateConfig": {"Parallelism": 3, "Delay": 0, "Order": "start-first", "Monitor": SECOND_NS},
    })
}
