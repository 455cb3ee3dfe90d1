//! What a daemon costs while nothing changes: memory, processor, network, disk, in clusters of several sizes, without pods and
//! with many. The kernel's own counters are read at the beginning and at the end of a while; nobody is asked meanwhile.

use std::time::Duration;

use nix::unistd::Pid;
use serde_json::json;

use super::figures::{Figures, short, table};
use crate::cluster::Cluster;
use crate::containers::running_pods;
use crate::failure::{Failure, Outcome, ensure};
use crate::lab::Lab;
use crate::manifests::{apps, sleeper};
use crate::netns::Netns;
use crate::process;
use crate::steps::say;
use crate::wait::eventually;

const NAMESPACE: &str = "idle";
/// How long pods may take to run.
const DEPLOYED: Duration = Duration::from_secs(180);
/// How long a cluster is left alone before it is looked at, so that what came to rest is measured and not the way there.
const REST: Duration = Duration::from_secs(30);

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Sizes of clusters.
    pub nodes: Vec<usize>,
    /// How many pods run on each of them.
    pub pods: Vec<usize>,
    /// For how long each is looked at, in seconds.
    pub seconds: u64,
}

/// The counters of one daemon at one time.
#[derive(Debug, Clone, Copy)]
struct Counters {
    cpu: Duration,
    wire_bytes: u64,
    payload_bytes: f64,
    written_bytes: u64,
}

/// Measures all sizes, and returns a table.
///
/// # Errors
/// When a cluster does not form, or its pods do not run.
pub fn run(plan: &Plan) -> Outcome<String> {
    let mut rows = Vec::new();
    for nodes in &plan.nodes {
        for pods in &plan.pods {
            say(&format!("-- {nodes} nodes, {pods} pods"));
            rows.push(row(*nodes, *pods, Duration::from_secs(plan.seconds))?);
        }
    }
    let titles = ["nodes", "pods", "resident MB", "% of a core", "payload B/s", "wire B/s", "written MB/h"];
    Ok(table(&titles, &rows))
}

fn row(nodes: usize, pods: usize, lasts: Duration) -> Outcome<Vec<String>> {
    let mut cluster = Cluster::form(Lab::build(0, nodes)?, nodes)?;
    if pods > 0 {
        deploy(&cluster, pods)?;
    }
    std::thread::sleep(REST);
    let daemons: Vec<(usize, Pid, Netns)> = cluster
        .members()
        .into_iter()
        .map(|host| (host, cluster.daemon(host).pid(), cluster.lab().host(host).netns.clone()))
        .collect();
    let look = || -> Outcome<Vec<Counters>> {
        daemons.iter().map(|(host, pid, netns)| counters(&cluster, *host, *pid, netns)).collect()
    };
    let before = look()?;
    std::thread::sleep(lasts);
    let after = look()?;
    let seconds = lasts.as_secs_f64();
    let each = |of: fn(&Counters) -> f64| -> Figures {
        before.iter().zip(&after).map(|(before, after)| (of(after) - of(before)) / seconds).collect()
    };
    let resident: Outcome<Figures> =
        daemons.iter().map(|(_, pid, _)| Ok(process::resident_bytes(*pid)? as f64 / f64::from(1 << 20))).collect();
    let cell = |figures: &Figures, factor: f64| {
        format!("{} (at most {})", short(figures.median() * factor), short(figures.greatest() * factor))
    };
    Ok(vec![
        nodes.to_string(),
        pods.to_string(),
        cell(&resident?, 1.0),
        cell(&each(|counters| counters.cpu.as_secs_f64()), 100.0),
        cell(&each(|counters| counters.payload_bytes), 1.0),
        cell(&each(|counters| counters.wire_bytes as f64), 1.0),
        cell(&each(|counters| counters.written_bytes as f64), 3600.0 / f64::from(1 << 20)),
    ])
}

/// Runs pods that do nothing, not even now and then.
fn deploy(cluster: &Cluster, pods: usize) -> Outcome<()> {
    cluster.namespace(NAMESPACE)?;
    let mut deployment = sleeper("sleeper", pods);
    deployment["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["sleep", "1000000"]);
    cluster.api(1).create(&apps(NAMESPACE, "deployments"), &deployment)?;
    let all = || {
        let counts = cluster.lab().hosts().iter().map(|host| Ok(running_pods(host)?.len()));
        let running = counts.sum::<Outcome<usize>>()?;
        ensure(running == pods, || format!("{running} of {pods} pods run"))
    };
    let (_, took) = eventually("all pods", DEPLOYED, all)?;
    say(&format!("   {pods} pods ran after {:.1} s", took.as_secs_f64()));
    Ok(())
}

fn counters(cluster: &Cluster, host: usize, pid: Pid, netns: &Netns) -> Outcome<Counters> {
    // The question itself goes over loopback, and what it costs falls into the while only once.
    let payload_bytes = ["skein_bytes_sent_total", "skein_bytes_received_total"]
        .into_iter()
        .map(|name| cluster.metric(host, name))
        .sum::<Outcome<f64>>()?;
    Ok(Counters {
        cpu: process::cpu_time(pid)?,
        wire_bytes: wire_bytes(netns)?,
        payload_bytes,
        written_bytes: process::written_bytes(pid)?,
    })
}

/// What a host has sent and received on its cable, in bytes, Ethernet's frames included.
fn wire_bytes(netns: &Netns) -> Outcome<u64> {
    let text = netns.inside(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
    let line = line.ok_or_else(|| Failure::new("the host has no eth0"))?;
    let numbers: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
    // Bytes received come first, bytes sent ninth.
    Ok(numbers.first().unwrap_or(&0) + numbers.get(8).unwrap_or(&0))
}
