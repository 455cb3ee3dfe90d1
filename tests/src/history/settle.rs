//! The end of a history: everything is healed, and once the peers agree and what runs stays as it is, the final reads and counts
//! are written down. Also when that does not happen in time: the judge decides, not this.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::check::exact::REPLICAS;
use super::client::{NAMESPACE, fields_of};
use super::entry::{Final, Line, Object, Objects, Running};
use super::record::Record;
use crate::cluster::Cluster;
use crate::containers::{count_of, running_pods};
use crate::failure::Outcome;
use crate::manifests::{apps, core};
use crate::wait::eventually;

/// How long it must stay so.
const STEADY: Duration = Duration::from_secs(5);
/// How often is looked.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a peer that is busy catching up may take until it can be read.
const READ: Duration = Duration::from_secs(30);

/// What is so in the end.
struct End {
    finals: Vec<Final>,
    running: Vec<Running>,
}

/// Waits until the cluster of `peers` is settled, for as long as `patience` lasts, and writes the end of the history.
/// `workloads` are the Deployments that ever were.
///
/// # Errors
/// When a peer cannot be read, or an engine not be asked.
pub fn write_end(
    record: &Record,
    cluster: &Cluster,
    peers: &[usize],
    workloads: &[&str],
    patience: Duration,
) -> Outcome<()> {
    let begun = Instant::now();
    let mut since: Option<Instant> = None;
    let (end, settled_after) = loop {
        let end = look(cluster, peers, workloads)?;
        if !end.is_settled() {
            since = None;
        }
        if end.is_settled() && since.get_or_insert_with(Instant::now).elapsed() >= STEADY {
            let took = since.map_or(Duration::ZERO, |since| since.duration_since(begun));
            break (end, u64::try_from(took.as_millis()).ok());
        }
        if begun.elapsed() >= patience {
            break (end, None);
        }
        std::thread::sleep(INTERVAL);
    };
    end.finals.into_iter().for_each(|held| record.add(Line::Final(held)));
    end.running.into_iter().for_each(|running| record.add(Line::Running(running)));
    record.add(Line::Ended { at: record.now(), settled_after });
    Ok(())
}

impl End {
    fn is_settled(&self) -> bool {
        let Some(first) = self.finals.first() else { return false };
        let same = self.finals.iter().all(|other| other.objects == first.objects && other.hash == first.hash);
        let workloads: std::collections::BTreeSet<&String> = self.running.iter().map(|r| &r.workload).collect();
        same && workloads.into_iter().all(|workload| {
            let object = first.objects.get(&format!("deployments/{workload}"));
            let wanted = object.and_then(|object| object.fields.get(REPLICAS)?.parse::<usize>().ok()).unwrap_or(0);
            let found: usize = self.running.iter().filter(|r| r.workload == *workload).map(|r| r.count).sum();
            wanted == found
        })
    }
}

fn look(cluster: &Cluster, peers: &[usize], workloads: &[&str]) -> Outcome<End> {
    let mut end = End { finals: Vec::new(), running: Vec::new() };
    for peer in peers.iter().copied() {
        let (held, _) = eventually(&format!("the state at h{peer}"), READ, || read(cluster, peer))?;
        end.finals.push(held);
        let pods = running_pods(cluster.lab().host(peer))?;
        for workload in workloads {
            let count = count_of(&pods, workload);
            end.running.push(Running { workload: (*workload).to_owned(), host: peer, count });
        }
    }
    Ok(end)
}

fn read(cluster: &Cluster, peer: usize) -> Outcome<Final> {
    let api = cluster.api(peer);
    let mut objects = Objects::new();
    for (collection, path) in
        [("configmaps", core(NAMESPACE, "configmaps")), ("deployments", apps(NAMESPACE, "deployments"))]
    {
        let list: Value = api.get(&path)?;
        for item in list["items"].as_array().into_iter().flatten() {
            let text = |field: &str| item["metadata"][field].as_str().unwrap_or_default().to_owned();
            let object = Object { uid: text("uid"), fields: fields_of(item) };
            objects.insert(format!("{collection}/{}", text("name")), object);
        }
    }
    Ok(Final { peer, objects, hash: cluster.state_hash(peer)? })
}
