//! A long stretch of cuts under load: every peer is written to all the time, every so often a host's cable is pulled, closed one
//! way or made lossy, and in the end all that was promised must hold, and nothing may be left or have grown.
//!
//! What clients do lives in `writers`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use self::writers::{Account, writers};
use super::figures::{Figures, short};
use crate::cluster::Cluster;
use crate::failure::{Failure, Outcome, ensure};
use crate::lab::Lab;
use crate::leftovers;
use crate::manifests::{apps, core, web};
use crate::process;
use crate::steps::{Steps, say};
use crate::wait::{eventually, settles};

pub mod writers;

const HOSTS: usize = 5;
const REPLICAS: usize = 10;
const NAMESPACE: &str = "soak";
/// How often something is broken, and for how long.
const BREAK_EVERY: Duration = Duration::from_secs(20);
const BROKEN_FOR: Duration = Duration::from_secs(8);
/// How often a daemon is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How many changes are written before the first look.
const LOG_CHANGES: usize = 5000;
/// How long anything may take in the end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a number must stay to be believed.
const STEADY: Duration = Duration::from_secs(5);
/// How many file descriptors more than in the beginning are no leak: connections come and go.
const SPARE_DESCRIPTORS: usize = 20;
/// How much more memory in the last quarter than in the second is no growth: the history of what was written is kept.
const SPARE_MB: f64 = 12.0;

/// What a daemon took at one time.
#[derive(Debug, Clone, Copy)]
struct Look {
    resident_mb: f64,
    descriptors: usize,
}

/// Breaks and writes for so long. Prints what it sees.
///
/// # Errors
/// Names what did not hold in the end.
pub fn run(lasts: Duration) -> Outcome<()> {
    let mut steps = Steps::of("soak");
    let mut cluster = Cluster::form(Lab::with_engines(HOSTS)?, HOSTS)?;
    let directory = cluster.lab().directory().to_owned();
    begin(&cluster)?;
    let daemons: BTreeMap<usize, Pid> =
        cluster.members().into_iter().map(|host| (host, cluster.daemon(host).pid())).collect();
    let living = living(&cluster);
    let (account, looks) = soak(&cluster, &daemons, lasts)?;
    say(&format!("   {}", account.line()));
    let none = String::new;
    steps.run("no write failed at any peer", || account.none_failed(), none);
    steps.run("exactly the asked-for replicas run", || replicas(&cluster).map(|()| String::new()), none);
    steps.run("what was acknowledged is at every peer", || account.is_at_all(&cluster), none);
    steps.run("all peers hold the same", || same_hash(&cluster), none);
    steps.run("no daemon was started anew", || still_the_same(&mut cluster, &daemons), none);
    steps.run("no file descriptor leaked", || descriptors(&looks), none);
    steps.run("memory did not grow", || memory(&looks), none);
    steps.run("no process and no container leaked", || nothing_more_lives(&cluster, &living), none);
    drop(cluster);
    let gone = || {
        let left = leftovers::left_of(&directory);
        ensure(left.is_empty(), || left.join("; ")).map(|()| String::new())
    };
    steps.run("nothing is left of the hosts", gone, none);
    steps.end()
}

/// All daemons at one time.
type Looks = BTreeMap<usize, Look>;

fn begin(cluster: &Cluster) -> Outcome<()> {
    cluster.namespace(NAMESPACE)?;
    cluster.api(1).create(&apps(NAMESPACE, "deployments"), &web("web", REPLICAS))?;
    for host in cluster.members() {
        writers::make_map(cluster, host, NAMESPACE)?;
    }
    fill_logs(cluster)?;
    for (host, other) in cluster.members().into_iter().flat_map(|a| (1..=HOSTS).map(move |b| (a, b))) {
        let path = core(NAMESPACE, &format!("configmaps/{}", writers::map_of(other)));
        let there = || ensure(cluster.api(host).exists(&path)?, || "it is not there".to_owned());
        eventually(&path, PATIENCE, there)?;
    }
    replicas(cluster)
}

/// Each peer remembers its last few thousand changes for watches. Until that is full it grows, which is no leak.
fn fill_logs(cluster: &Cluster) -> Outcome<()> {
    std::thread::scope(|scope| {
        let writing: Vec<_> = cluster
            .members()
            .into_iter()
            .map(|host| scope.spawn(move || writers::fill(&cluster.api(host), host, NAMESPACE, LOG_CHANGES / HOSTS)))
            .collect();
        let panicked = |_| Err(Failure::new("a thread that writes panicked"));
        writing.into_iter().try_for_each(|writing| writing.join().unwrap_or_else(panicked))
    })
}

/// Writes and breaks until the time is over and all is healed.
fn soak(cluster: &Cluster, daemons: &BTreeMap<usize, Pid>, lasts: Duration) -> Outcome<(Account, Vec<Looks>)> {
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| writers(cluster, NAMESPACE, &stop));
        let looking = scope.spawn(|| {
            let mut looks = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                looks.push(daemons.iter().map(|(host, pid)| Ok((*host, look(*pid)?))).collect::<Outcome<_>>()?);
                std::thread::sleep(LOOK_EVERY);
            }
            Ok(looks)
        });
        let broken = break_and_heal(cluster, begun, lasts);
        stop.store(true, Ordering::Relaxed);
        let panicked = || Failure::new("a thread of the soak panicked");
        let account = writing.join().map_err(|_| panicked());
        let looks: Outcome<Vec<_>> = looking.join().map_err(|_| panicked())?;
        broken?;
        Ok((account?, looks?))
    })
}

fn break_and_heal(cluster: &Cluster, begun: Instant, lasts: Duration) -> Outcome<()> {
    let lab = cluster.lab();
    for number in 0_u32.. {
        let due = begun + BREAK_EVERY * number + BREAK_EVERY / 4;
        if due + BROKEN_FOR > begun + lasts {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // Every host gets its turn of every kind; the leader's comes as it happens to lead.
        let host = number as usize % HOSTS + 1;
        let what = match number as usize / HOSTS % 4 {
            0 => lab.cut(host).map(|()| "its cable is pulled"),
            1 => lab.cut_incoming(host).map(|()| "nothing arrives at it"),
            2 => lab.cut_outgoing(host).map(|()| "nothing that it sends arrives"),
            _ => lab.lose(host, 30).map(|()| "30 % of what is sent to it is lost"),
        }?;
        say(&format!("   {:6.1} s  h{host}: {what}", begun.elapsed().as_secs_f64()));
        std::thread::sleep(BROKEN_FOR);
        lab.heal(host)?;
    }
    std::thread::sleep((begun + lasts).saturating_duration_since(Instant::now()));
    lab.heal_all()
}

fn look(pid: Pid) -> Outcome<Look> {
    let resident_mb = process::resident_bytes(pid)? as f64 / f64::from(1 << 20);
    Ok(Look { resident_mb, descriptors: std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() })
}

fn replicas(cluster: &Cluster) -> Outcome<()> {
    let exactly = || cluster.exactly(REPLICAS, &cluster.members(), NAMESPACE, "web");
    settles("the replicas", PATIENCE, STEADY, exactly).map(|_| ())
}

fn same_hash(cluster: &Cluster) -> Outcome<String> {
    let same = || {
        let hashes: Vec<String> =
            cluster.members().into_iter().map(|host| cluster.state_hash(host)).collect::<Outcome<_>>()?;
        ensure(hashes.windows(2).all(|pair| pair[0] == pair[1]), || hashes.join(", "))
    };
    eventually("one state hash", PATIENCE, same).map(|_| String::new())
}

fn still_the_same(cluster: &mut Cluster, daemons: &BTreeMap<usize, Pid>) -> Outcome<String> {
    for (host, pid) in daemons {
        let daemon = cluster.daemon(*host);
        ensure(daemon.is_running() && daemon.pid() == *pid, || format!("h{host}: {}", daemon.log_end(5)))?;
    }
    Ok(String::new())
}

fn descriptors(looks: &[Looks]) -> Outcome<String> {
    let (first, last) = ends(looks)?;
    let each = first.iter().map(|(host, first)| (*host, first.descriptors, last[host].descriptors));
    let words: Vec<String> = each.clone().map(|(host, first, last)| format!("h{host} {first} to {last}")).collect();
    ensure(each.clone().all(|(_, first, last)| last <= first + SPARE_DESCRIPTORS), || words.join(", "))?;
    Ok(words.join(", "))
}

/// The second quarter against the last: in the first a daemon still grows to its size.
fn memory(looks: &[Looks]) -> Outcome<String> {
    let (first, _) = ends(looks)?;
    let quarter = |number: usize, host: usize| -> Figures {
        let (from, until) = (looks.len() * number / 4, looks.len() * (number + 1) / 4);
        looks[from..until].iter().map(|look| look[&host].resident_mb).collect()
    };
    let grown: Vec<(usize, f64, f64)> =
        first.keys().map(|host| (*host, quarter(1, *host).median(), quarter(3, *host).median())).collect();
    let words = grown.iter().map(|(host, before, after)| format!("h{host} {} to {} MB", short(*before), short(*after)));
    let words = words.collect::<Vec<_>>().join(", ");
    ensure(grown.iter().all(|(_, before, after)| after - before < SPARE_MB), || words.clone())?;
    Ok(words)
}

fn ends(looks: &[Looks]) -> Outcome<(&Looks, &Looks)> {
    let enough = looks.len() >= 4;
    ensure(enough, || format!("{} looks are too few; soak for longer", looks.len()))?;
    Ok((&looks[0], &looks[looks.len() - 1]))
}

/// How many processes live on each host, and how many containers its engine knows, ended ones included.
fn living(cluster: &Cluster) -> Vec<(usize, usize)> {
    let hosts = cluster.lab().hosts().iter();
    let containers = |host: &crate::lab::Host| {
        let listed = host.engine().and_then(|engine| engine.containers("io.kubernetes.pod.name"));
        listed.map_or(usize::MAX, |listed| listed.len())
    };
    hosts.map(|host| (leftovers::living_in(&host.netns).len(), containers(host))).collect()
}

/// Pods may be elsewhere than they were, so hosts are counted together.
fn nothing_more_lives(cluster: &Cluster, before: &[(usize, usize)]) -> Outcome<String> {
    let sum = |living: &[(usize, usize)]| {
        living.iter().fold((0_usize, 0_usize), |sum, host| (sum.0 + host.0, sum.1.saturating_add(host.1)))
    };
    let (processes, containers) = sum(before);
    let as_before = || {
        let now = sum(&living(cluster));
        let words = || format!("{} processes, then {}; {containers} containers, then {}", processes, now.0, now.1);
        ensure(now.0 <= processes && now.1 <= containers, words).map(|()| words())
    };
    eventually("no more than before", PATIENCE, as_before).map(|(words, _)| words)
}
