//! Making a history: a cluster of its own, clients at every peer, the faults of a seed, and the end of all of it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::check::History;
use super::client::{Client, KEPT_MAPS, KEPT_WORKLOADS, NAMESPACE};
use super::entry::{Begun, Fault, Line};
use super::record::Record;
use super::schedule::{self, Kind, Planned};
use super::settle;
use crate::cluster::Cluster;
use crate::failure::{Failure, Outcome, ensure};
use crate::lab::Lab;
use crate::manifests::{apps, core};
use crate::steps::say;
use crate::wait::eventually;

/// How long what stays may take to be at all peers.
const SPREAD: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// What faults and clients are drawn from.
    pub seed: u64,
    /// How many hosts.
    pub hosts: usize,
    /// Whether each has an engine; plain processes if not.
    pub engines: bool,
    /// How long clients work and things break, in ms.
    pub busy_ms: u64,
    /// How long peers may take to agree after that, in ms; then the end is written down as it is.
    pub settle_ms: u64,
}

/// One change that the schedule asks for.
struct Turn {
    at: u64,
    fault: usize,
    step: Step,
}

/// What becomes of a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Begins,
    Worsens,
    Ends,
}

/// Makes a history and writes it to `path`. The cluster is gone when it returns; its logs are beside the history.
///
/// # Errors
/// When the cluster does not form, a fault cannot be made or healed, or a peer cannot be read in the end.
pub fn make(plan: Plan, path: &Path) -> Outcome<History> {
    let faults = schedule::draw(plan.seed, plan.hosts, plan.busy_ms);
    let (engines, bare) = if plan.engines { (plan.hosts, 0) } else { (0, plan.hosts) };
    let mut cluster = Cluster::form(Lab::build(engines, bare)?, plan.hosts)?;
    let record = Record::begin(path)?;
    let runtime = if plan.engines { "docker" } else { "process" };
    record.add(Line::Begun(Begun { seed: plan.seed, hosts: plan.hosts, runtime: runtime.to_owned() }));
    let outcome = play(plan, &faults, &record, &mut cluster);
    keep_logs(&cluster, path)?;
    outcome?;
    record.finish()
}

fn play(plan: Plan, faults: &[Planned], record: &Record, cluster: &mut Cluster) -> Outcome<()> {
    cluster.namespace(NAMESPACE)?;
    let client = |cluster: &Cluster, peer: usize, name: &str| {
        Client::new(record, cluster.api(peer), (peer, plan.hosts), name, plan.seed)
    };
    client(cluster, 1, "first").create_kept();
    wait_for_kept(cluster)?;
    let begun = record.now();
    let stop = AtomicBool::new(false);
    let mut clients: Vec<(bool, Client<'_>)> = Vec::new();
    for peer in cluster.members() {
        clients.push((true, client(cluster, peer, "maps")));
        clients.push((false, client(cluster, peer, "workloads")));
    }
    std::thread::scope(|scope| {
        for (on_maps, mut client) in clients {
            let stop = &stop;
            scope.spawn(move || if on_maps { client.work_on_maps(stop) } else { client.work_on_workloads(stop) });
        }
        let broken = break_and_heal(faults, begun, record, cluster);
        record.wait_until(begun + plan.busy_ms);
        stop.store(true, Ordering::Relaxed);
        broken
    })?;
    say(&format!("   {} faults in {} s; waiting for all to settle", faults.len(), plan.busy_ms / 1000));
    let workloads: Vec<String> =
        (1..=KEPT_WORKLOADS).map(|number| format!("web-{number}")).chain(["job-1".to_owned()]).collect();
    let is_lost = |peer: &usize| faults.iter().any(|fault| fault.kind == Kind::Lost && fault.hosts.contains(peer));
    let left: Vec<usize> = cluster.members().into_iter().filter(|peer| !is_lost(peer)).collect();
    let patience = Duration::from_millis(plan.settle_ms);
    settle::write_end(record, cluster, &left, &workloads.iter().map(String::as_str).collect::<Vec<_>>(), patience)
}

/// Does one turn after the other. A fault is written down when it is over.
fn break_and_heal(faults: &[Planned], begun: u64, record: &Record, cluster: &mut Cluster) -> Outcome<()> {
    let mut started = vec![0; faults.len()];
    for turn in turns(faults) {
        let planned = &faults[turn.fault];
        record.wait_until(begun + turn.at);
        match turn.step {
            Step::Begins => {
                started[turn.fault] = record.now();
                say(&format!("   {:6.1} s  {}", seconds(record), planned.in_words()));
                make_broken(planned, cluster)?;
                continue;
            }
            Step::Worsens => {
                planned.hosts.iter().try_for_each(|host| cluster.power_off(*host))?;
                continue;
            }
            Step::Ends => mend(planned, cluster)?,
        }
        say(&format!("   {:6.1} s  over: {}", seconds(record), planned.in_words()));
        record.add(Line::Fault(Fault {
            what: planned.in_words(),
            hosts: planned.hosts.clone(),
            down: planned.is_down(),
            lost: planned.kind == Kind::Lost,
            start: started[turn.fault],
            end: record.now(),
        }));
    }
    let lost = |host: &usize| faults.iter().any(|fault| fault.kind == Kind::Lost && fault.hosts.contains(host));
    cluster.members().into_iter().filter(|host| !lost(host)).try_for_each(|host| cluster.lab().heal(host))
}

/// All changes in their order. A fault that ends at once has got worse before.
fn turns(faults: &[Planned]) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    for (fault, planned) in faults.iter().enumerate() {
        turns.push(Turn { at: planned.from_ms, fault, step: Step::Begins });
        turns.extend(planned.worsens_ms().map(|at| Turn { at, fault, step: Step::Worsens }));
        turns.push(Turn { at: planned.until_ms, fault, step: Step::Ends });
    }
    turns.sort_by_key(|turn| turn.at);
    turns
}

fn make_broken(planned: &Planned, cluster: &mut Cluster) -> Outcome<()> {
    let others: Vec<usize> = cluster.members().into_iter().filter(|host| !planned.hosts.contains(host)).collect();
    if planned.kind == Kind::Apart {
        return cluster.lab().partition(&planned.hosts, &others);
    }
    for host in planned.hosts.iter().copied() {
        let lab = cluster.lab();
        match planned.kind {
            Kind::Cut | Kind::Stranded(_) => lab.cut(host)?,
            Kind::Deaf => lab.cut_incoming(host)?,
            Kind::Mute => lab.cut_outgoing(host)?,
            Kind::Lossy(percent) => {
                lab.lose(host, percent)?;
                lab.lose_outgoing(host, percent)?;
            }
            Kind::Killed => cluster.daemon(host).kill9(),
            Kind::Off | Kind::Lost => cluster.power_off(host)?,
            Kind::Apart => {}
        }
    }
    Ok(())
}

fn mend(planned: &Planned, cluster: &mut Cluster) -> Outcome<()> {
    for host in planned.hosts.iter().copied() {
        match planned.kind {
            Kind::Killed => drop(cluster.start_again(host)?),
            Kind::Off | Kind::Stranded(_) => drop(cluster.power_on(host)?),
            Kind::Lost => {}
            _ => cluster.lab().heal(host)?,
        }
    }
    Ok(())
}

/// The clients find what stays at every peer from their first request on.
fn wait_for_kept(cluster: &Cluster) -> Outcome<()> {
    let maps = (1..=KEPT_MAPS).map(|number| core(NAMESPACE, &format!("configmaps/keep-{number}")));
    let workloads = (1..=KEPT_WORKLOADS).map(|number| apps(NAMESPACE, &format!("deployments/web-{number}")));
    for path in maps.chain(workloads) {
        for peer in cluster.members() {
            let look = || ensure(cluster.api(peer).exists(&path)?, || "it is not there".to_owned());
            eventually(&format!("{path} at h{peer}"), SPREAD, look)?;
        }
    }
    Ok(())
}

/// Copies the daemons' logs to a directory beside the history.
fn keep_logs(cluster: &Cluster, path: &Path) -> Outcome<()> {
    let directory = path.with_extension("logs");
    std::fs::create_dir_all(&directory).map_err(|e| Failure::new(format!("{}: {e}", directory.display())))?;
    for host in cluster.lab().hosts() {
        // A log that is not there was never written.
        let _ = std::fs::copy(host.directory.join("skein.log"), directory.join(format!("{}.log", host.name)));
    }
    Ok(())
}

fn seconds(record: &Record) -> f64 {
    Duration::from_millis(record.now()).as_secs_f64()
}
