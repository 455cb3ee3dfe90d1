//! What is done to either side in one run, and what is measured meanwhile. Containers are counted by asking the engines, never
//! the orchestrator.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{HOSTS, Orchestrator, REPLICAS};
use crate::failure::{Failure, Outcome, ensure};
use crate::measure::figures::short;
use crate::measure::web;
use crate::steps::say;
use crate::wait::{eventually, settles};

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long without a majority is looked on when nothing comes back.
const LONELY: Duration = Duration::from_secs(30);
/// How long a number must stay to be believed.
const STEADY: Duration = Duration::from_secs(3);
/// For how long a cut lasts at least: shorter ones would measure how a side overlooks them.
const CUT_LASTS: Duration = Duration::from_secs(10);
/// How often each surviving host is written to.
const WRITE_EVERY: Duration = Duration::from_millis(200);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// From asking until all replicas run.
    Deploy,
    /// From the cut of a host that does not lead until all run on the others.
    HostReplicas,
    /// The longest time in which a survivor took no write.
    HostWrites,
    /// From the heal until exactly as many run as were asked for.
    HostHeal,
    /// The same for the leader's host.
    LeaderReplicas,
    /// The same for the leader's host.
    LeaderWrites,
    /// The same for the leader's host.
    LeaderHeal,
    /// The same for three hosts of five.
    TwoReplicas,
    /// The same for three hosts of five.
    TwoWrites,
    /// The same for three hosts of five.
    TwoHeal,
    /// From asking for another version until all run it and none the old one.
    Update,
    /// Requests that failed meanwhile.
    UpdateFailed,
    /// Requests that were made meanwhile.
    UpdateRequests,
}

impl Metric {
    /// All, in the order in which they are shown.
    pub const ALL: [Metric; 13] = [
        Metric::Deploy,
        Metric::HostReplicas,
        Metric::HostWrites,
        Metric::HostHeal,
        Metric::LeaderReplicas,
        Metric::LeaderWrites,
        Metric::LeaderHeal,
        Metric::TwoReplicas,
        Metric::TwoWrites,
        Metric::TwoHeal,
        Metric::Update,
        Metric::UpdateFailed,
        Metric::UpdateRequests,
    ];

    /// What it is, for a table.
    pub fn words(self) -> &'static str {
        match self {
            Metric::Deploy => "deploy 10 replicas, s",
            Metric::HostReplicas => "a host cut off: 10 run on the others, s",
            Metric::HostWrites => "a host cut off: longest without a write, s",
            Metric::HostHeal => "a host cut off: exactly 10 after the heal, s",
            Metric::LeaderReplicas => "the leader cut off: 10 run on the others, s",
            Metric::LeaderWrites => "the leader cut off: longest without a write, s",
            Metric::LeaderHeal => "the leader cut off: exactly 10 after the heal, s",
            Metric::TwoReplicas => "two of five left: 10 run on them, s",
            Metric::TwoWrites => "two of five left: longest without a write, s",
            Metric::TwoHeal => "two of five left: exactly 10 after the heal, s",
            Metric::Update => "rolling update of 10 replicas, s",
            Metric::UpdateFailed => "rolling update: failed requests",
            Metric::UpdateRequests => "rolling update: requests",
        }
    }

    /// Whether it is one in seconds.
    pub fn is_a_time(self) -> bool {
        !matches!(self, Metric::UpdateFailed | Metric::UpdateRequests)
    }
}

/// Which hosts are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Host,
    Leader,
    Three,
}

/// Plays one run.
///
/// # Errors
/// When the lab itself fails, or a side does not come to its beginning again after a heal.
pub fn play<O: Orchestrator>(side: &O) -> Outcome<BTreeMap<Metric, f64>> {
    let mut figures = BTreeMap::new();
    let mut note = |metric: Metric, figure: f64| {
        say(&format!("   {}: {}", metric.words(), short(figure)));
        figures.insert(metric, figure);
    };
    note(Metric::Deploy, fresh(side)?.as_secs_f64());
    let cuts = [
        (Cut::Host, [Metric::HostReplicas, Metric::HostWrites, Metric::HostHeal]),
        (Cut::Leader, [Metric::LeaderReplicas, Metric::LeaderWrites, Metric::LeaderHeal]),
        (Cut::Three, [Metric::TwoReplicas, Metric::TwoWrites, Metric::TwoHeal]),
    ];
    for (number, (cut, metrics)) in cuts.into_iter().enumerate() {
        // Who had come back to fewer hosts would be cut more gently the next time.
        if number > 0 {
            fresh(side)?;
        }
        for (metric, figure) in metrics.into_iter().zip(cut_and_heal(side, cut)?) {
            note(metric, figure);
        }
    }
    fresh(side)?;
    let (took, load) = update(side)?;
    note(Metric::Update, took);
    note(Metric::UpdateFailed, load.failed.len() as f64);
    note(Metric::UpdateRequests, load.requests as f64);
    load.failed.iter().take(3).for_each(|why| say(&format!("      {why}")));
    Ok(figures)
}

/// Takes all replicas away and asks for them anew. Returns how long it took until they ran.
fn fresh<O: Orchestrator>(side: &O) -> Outcome<Duration> {
    side.remove()?;
    let none = || exactly(side, &HOSTS, 0);
    settles("no replica", PATIENCE, Duration::from_millis(500), none)?;
    let begun = Instant::now();
    side.deploy()?;
    eventually("all replicas", PATIENCE, || exactly(side, &HOSTS, REPLICAS))?;
    let took = begun.elapsed();
    settles("all replicas", PATIENCE, STEADY, || exactly(side, &HOSTS, REPLICAS))?;
    Ok(took)
}

/// Seconds until the replicas run on the survivors, without a write there, and until exactly as many run after the heal.
fn cut_and_heal<O: Orchestrator>(side: &O, cut: Cut) -> Outcome<[f64; 3]> {
    let (leader, _) = eventually("a leader", PATIENCE, || side.leader(1))?;
    let cut_off = match cut {
        Cut::Leader => vec![leader],
        Cut::Host => vec![busiest(side, leader)?],
        // The leader is among the three: whoever is left has to help themselves.
        Cut::Three => HOSTS.into_iter().filter(|host| *host != leader).take(2).chain([leader]).collect(),
    };
    let left: Vec<usize> = HOSTS.into_iter().filter(|host| !cut_off.contains(host)).collect();
    let patience = if cut == Cut::Three { LONELY } else { PATIENCE };
    let stop = AtomicBool::new(false);
    let (replicas, silence) = std::thread::scope(|scope| {
        let stop = &stop;
        let writers: Vec<_> = left.iter().map(|host| scope.spawn(move || written(side, *host, stop))).collect();
        std::thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        let cut = cut_off.iter().try_for_each(|host| side.lab().cut(*host));
        let back = cut.map(|()| eventually("all on the survivors", patience, || exactly(side, &left, REPLICAS)));
        let replicas = back.map(|back| back.map_or(f64::INFINITY, |(_, took)| took.as_secs_f64()));
        std::thread::sleep(CUT_LASTS.saturating_sub(begun.elapsed()));
        let ended = Instant::now();
        stop.store(true, Ordering::Relaxed);
        let silences =
            writers.into_iter().map(|writer| writer.join().map_or(f64::INFINITY, |at| silence(&at, begun, ended)));
        (replicas, silences.fold(0.0, f64::max))
    });
    let heal = side.lab().heal_all();
    let healed = Instant::now();
    heal?;
    let again = settles("exactly the asked-for replicas", PATIENCE, STEADY, || exactly(side, &HOSTS, REPLICAS));
    let again = again.map_or(f64::INFINITY, |took| took.as_secs_f64());
    // The next cut should begin from a whole cluster.
    let at_all = || HOSTS.into_iter().try_for_each(|host| side.leader(host).map(|_| ()));
    settles("a leader at all hosts", PATIENCE, STEADY, at_all)?;
    say(&format!("      whole again {:.0} s after the heal", healed.elapsed().as_secs_f64()));
    Ok([replicas?, silence, again])
}

/// Of the hosts that do not lead, the one with the most replicas: a cut that displaces nothing would measure nothing.
fn busiest<O: Orchestrator>(side: &O, leader: usize) -> Outcome<usize> {
    let mut hosts = Vec::new();
    for host in HOSTS.into_iter().filter(|host| *host != leader) {
        hosts.push((side.running(&[host])?.iter().sum::<usize>(), host));
    }
    let (replicas, host) = hosts.into_iter().max().unwrap_or_default();
    ensure(replicas > 0, || "only the leader's host runs replicas".to_owned())?;
    Ok(host)
}

/// Writes at a host until it is told to stop. Returns when writes were acknowledged.
fn written<O: Orchestrator>(side: &O, host: usize, stop: &AtomicBool) -> Vec<Instant> {
    let begun = Instant::now();
    let mut taken = Vec::new();
    let mut number = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        let due = begun + WRITE_EVERY * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if side.write(host, &format!("w-{host}-{number}")).is_ok() {
            taken.push(Instant::now());
        }
        // A write that took long makes the next ones late, and they are not made up for.
        number = u32::try_from(begun.elapsed().as_millis() / WRITE_EVERY.as_millis()).unwrap_or(u32::MAX) + 1;
    }
    taken
}

/// The longest stretch without an acknowledgement, in seconds; infinity when there was none at all.
fn silence(taken: &[Instant], begun: Instant, ended: Instant) -> f64 {
    let mut within: Vec<Instant> = taken.iter().copied().filter(|at| (begun..ended).contains(at)).collect();
    if within.is_empty() {
        return f64::INFINITY;
    }
    within.insert(0, begun);
    within.push(ended);
    within.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).fold(0.0, f64::max)
}

/// How long a rolling update took, and what became of the requests meanwhile.
fn update<O: Orchestrator>(side: &O) -> Outcome<(f64, web::Load)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| web::load(side.lab(), || side.endpoints(1), &stop));
        std::thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        let taken = side.update();
        let all_new = || {
            let [old, new] = side.running(&HOSTS)?;
            ensure(old == 0 && new == REPLICAS, || format!("{old} old and {new} new ones run"))
        };
        let took = taken.map(|()| {
            let took = eventually("all replicas new", PATIENCE, all_new)
                .map_or(f64::INFINITY, |_| begun.elapsed().as_secs_f64());
            std::thread::sleep(Duration::from_secs(1));
            took
        });
        stop.store(true, Ordering::Relaxed);
        let load = load.join().map_err(|_| Failure::new("the thread that made requests panicked"))?;
        Ok((took?, load))
    })
}

fn exactly<O: Orchestrator>(side: &O, hosts: &[usize], count: usize) -> Outcome<()> {
    let running = side.running(hosts)?.iter().sum::<usize>();
    ensure(running == count, || format!("{running} replicas run, not {count}"))
}
