//! Skein's side: ConfigMaps over the API, HTTPS and JSON. With plain processes as its runtime, of which none runs.

use std::time::Duration;

use nix::unistd::Pid;
use serde_json::json;

use super::Store;
use crate::api::MERGE_PATCH;
use crate::cluster::Cluster;
use crate::failure::{Failure, Outcome, ensure};
use crate::http::Connection;
use crate::lab::Lab;
use crate::manifests::{config_map, core};
use crate::netns::Netns;

const NAMESPACE: &str = "writes";
const WITHIN: Duration = Duration::from_secs(5);

/// A skein cluster.
pub struct Skein {
    cluster: Cluster,
    members: Vec<(Netns, Pid)>,
}

impl Skein {
    /// Forms one on the first hosts of a lab.
    ///
    /// # Errors
    /// When it does not form.
    pub fn form(lab: Lab, members: usize) -> Outcome<Self> {
        let mut cluster = Cluster::form(lab, members)?;
        cluster.namespace(NAMESPACE)?;
        let pids: Vec<Pid> = cluster.members().into_iter().map(|host| cluster.daemon(host).pid()).collect();
        let members =
            pids.into_iter().zip(cluster.lab().hosts()).map(|(pid, host)| (host.netns.clone(), pid)).collect();
        Ok(Self { cluster, members })
    }
}

impl Store for Skein {
    const NAME: &'static str = "skein";

    fn members(&self) -> Vec<(Netns, Pid)> {
        self.members.clone()
    }

    fn connect(&self, member: usize) -> Outcome<Connection> {
        Ok(self.cluster.api(member + 1).connect(WITHIN)?)
    }

    fn put(&self, member: usize, connection: &mut Connection, key: &str, value: &str, is_new: bool) -> Outcome<()> {
        let api = self.cluster.api(member + 1);
        let answer = if is_new {
            let body = config_map(key, "value", value).to_string();
            let request = ("POST", &*core(NAMESPACE, "configmaps"));
            api.call_on(connection, request, ("application/json", body.as_bytes()), WITHIN)?
        } else {
            let body = json!({"data": {"value": value}}).to_string();
            let request = ("PATCH", &*core(NAMESPACE, &format!("configmaps/{key}")));
            api.call_on(connection, request, (MERGE_PATCH, body.as_bytes()), WITHIN)?
        };
        // A warning says that one disk alone has it: that is no acknowledgement of the same worth.
        let is_warned = self.members.len() > 1 && answer.header("warning").is_some();
        ensure(answer.status < 300 && !is_warned, || format!("{}: {}", answer.status, answer.text()))
    }

    fn watch(&self, member: usize, connection: &mut Connection) -> Outcome<()> {
        let api = self.cluster.api(member + 1);
        let path = core(NAMESPACE, "configmaps");
        // A list of nothing says where all lists stand now.
        let version =
            api.get(&format!("{path}?fieldSelector=metadata.name%3Dnone"))?["metadata"]["resourceVersion"].clone();
        let version = version.as_str().ok_or_else(|| Failure::new("a list without a resourceVersion"))?.to_owned();
        let answer = api.open_on(connection, &format!("{path}?watch=1&resourceVersion={version}"), WITHIN)?;
        ensure(answer.status == 200, || format!("{}: {}", answer.status, answer.text()))
    }

    fn sign_of(&self, key: &str) -> String {
        format!("\"{key}\"")
    }
}
