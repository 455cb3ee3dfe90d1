//! Skein's side of a duel: a daemon on each host, spoken to over the API of the host that is asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Endpoint, HOSTS, Orchestrator, REPLICAS, host_of};
use crate::cluster::Cluster;
use crate::failure::{Failure, Outcome, ensure};
use crate::image;
use crate::lab::Lab;
use crate::manifests::{SERVE_AND_DRAIN, apps, config_map, core, web};

const NAMESPACE: &str = "duel";
const WORKLOAD: &str = "web";
/// How long a write may take.
const WITHIN: Duration = Duration::from_secs(3);

/// A skein cluster.
pub struct Skein {
    cluster: Cluster,
    /// How many objects were written.
    written: AtomicU64,
}

impl Orchestrator for Skein {
    const NAME: &'static str = "skein";

    fn form(lab: Lab) -> Outcome<Self> {
        let cluster = Cluster::form(lab, HOSTS.len())?;
        cluster.namespace(NAMESPACE)?;
        Ok(Self { cluster, written: AtomicU64::new(0) })
    }

    fn dissolve(self) -> Outcome<Lab> {
        self.cluster.dissolve()
    }

    fn lab(&self) -> &Lab {
        self.cluster.lab()
    }

    fn deploy(&self) -> Outcome<()> {
        self.cluster.api(1).create(&apps(NAMESPACE, "deployments"), &deployment()).map(|_| ())
    }

    fn remove(&self) -> Outcome<()> {
        let path = apps(NAMESPACE, &format!("deployments/{WORKLOAD}"));
        let api = self.cluster.api(1);
        if api.exists(&path)? { api.delete(&path).map(|_| ()) } else { Ok(()) }
    }

    fn update(&self) -> Outcome<()> {
        let path = apps(NAMESPACE, &format!("deployments/{WORKLOAD}"));
        let api = self.cluster.api(1);
        let mut changed = api.get(&path)?;
        changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image::SECOND_NAME);
        let patch =
            json!({"spec": {"template": {"spec": {"containers": changed["spec"]["template"]["spec"]["containers"]}}}});
        api.patch(&path, &patch).map(|_| ())
    }

    fn running(&self, hosts: &[usize]) -> Outcome<[usize; 2]> {
        let running = self.cluster.running(hosts, NAMESPACE, WORKLOAD)?;
        let new = running.iter().filter(|(_, container)| container.image == image::SECOND_NAME).count();
        Ok([running.len() - new, new])
    }

    fn endpoints(&self, at: usize) -> Outcome<Vec<Endpoint>> {
        let pods = self.cluster.api(at).get(&core(NAMESPACE, "pods"))?;
        let ready = pods["items"].as_array().into_iter().flatten().filter(|pod| is_ready(pod));
        ready.map(|pod| endpoint(self.lab(), pod)).collect()
    }

    fn leader(&self, at: usize) -> Outcome<usize> {
        self.cluster.leader(at)
    }

    fn write(&self, at: usize, name: &str) -> Outcome<()> {
        // Names of an earlier cut may be there.
        let name = format!("{name}-{}", self.written.fetch_add(1, Ordering::Relaxed));
        let (path, body) = (core(NAMESPACE, "configmaps"), config_map(&name, "key", "value").to_string());
        let body = ("application/json", body.as_bytes());
        let answer = self.cluster.api(at).call(("POST", &path), body, WITHIN)?;
        ensure(answer.status < 300, || format!("{}: {}", answer.status, answer.text()))
    }
}

fn deployment() -> Value {
    let mut deployment = web(WORKLOAD, REPLICAS);
    deployment["spec"]["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 0}});
    // Two hosts of five are to run all replicas, as caches would want it; the default is one of each there.
    deployment["metadata"]["annotations"] = json!({"skein.dev/partition": "full"});
    let pod = &mut deployment["spec"]["template"]["spec"];
    pod["terminationGracePeriodSeconds"] = json!(10);
    pod["containers"][0]["command"] = json!(["sh", "-c", SERVE_AND_DRAIN]);
    pod["containers"][0]["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
    deployment
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let mut ready = conditions.filter(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    pod["metadata"]["deletionTimestamp"].is_null() && ready.next().is_some()
}

fn endpoint(lab: &Lab, pod: &Value) -> Outcome<Endpoint> {
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let address = pod["status"]["podIP"].as_str().unwrap_or_default();
    let address = address.parse().map_err(|_| Failure::new(format!("a ready pod has the address {address:?}")))?;
    Ok(Endpoint { host: host_of(lab, node)?, address })
}
