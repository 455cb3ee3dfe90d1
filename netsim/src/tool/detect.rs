//! `netsim detect`: how good the failure detector is, measured: one case by its arguments, or the table of all that is
//! stated in `docs/detection.md`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use skein_netsim::detect::mesh::{RUNS_US, STALL_US};
use skein_netsim::detect::{self, Death, Figures, Plan};

use super::{AMISS, Failure, HELD, LATE, complain, say};

/// The table's clusters: nodes, deaths, minutes of watching. The largest is watched for less than an hour, since it takes
/// a second of a processor for some seconds of its own; it has as many hours of nodes as five have in a day and more.
const CLUSTERS: [(usize, usize, u64); 3] = [(5, 200, 1440), (100, 100, 120), (1000, 20, 10)];
/// The table's troubles: frames lost of a thousand, slow nodes of a hundred.
const TROUBLES: [(u64, u64); 3] = [(0, 0), (50, 0), (0, 5)];

/// What is measured. Without `--nodes` it is the whole table.
#[derive(clap::Args)]
pub(super) struct Case {
    /// How many nodes. If it is not said, 5, 100 and 1000 nodes are measured, with and without losses, slow nodes and
    /// local health.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=5000))]
    nodes: Option<u16>,
    /// For how many virtual minutes false alarms are counted.
    #[arg(long, default_value_t = 60, requires = "nodes", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: u64,
    /// How many nodes die, one after the other.
    #[arg(long, default_value_t = 20, requires = "nodes")]
    deaths: usize,
    /// How many of a thousand frames never arrive.
    #[arg(long, default_value_t = 0, requires = "nodes", value_parser = clap::value_parser!(u64).range(0..=1000))]
    loss_permille: u64,
    /// How many of a hundred nodes get no processor now and then.
    #[arg(long, default_value_t = 0, requires = "nodes", value_parser = clap::value_parser!(u64).range(0..=100))]
    slow_percent: u64,
    /// Nodes never doubt themselves.
    #[arg(long, requires = "nodes")]
    no_local_health: bool,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Case {
    fn plans(&self) -> Vec<Plan> {
        let Some(nodes) = self.nodes else { return table(self.seed) };
        vec![Plan {
            nodes: nodes.into(),
            watch_us: self.minutes * 60_000_000,
            deaths: self.deaths,
            loss_permille: self.loss_permille,
            slow_percent: self.slow_percent,
            local_health: !self.no_local_health,
            seed: self.seed,
        }]
    }
}

fn table(seed: u64) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (nodes, deaths, minutes) in CLUSTERS {
        for (loss_permille, slow_percent) in TROUBLES {
            for local_health in [true, false] {
                let watch_us = minutes * 60_000_000;
                plans.push(Plan { nodes, watch_us, deaths, loss_permille, slow_percent, local_health, seed });
            }
        }
    }
    plans
}

/// Runs it and prints a line for each case.
pub(super) fn detect(case: &Case) -> Result<u8, Failure> {
    let plans = case.plans();
    preface(&plans);
    let mut code = HELD;
    measure(&plans, |plan, figures| match figures {
        Ok(figures) => say(&row(plan, &figures)),
        Err(what) => {
            complain(&format!("{}: {what}", name(plan)));
            code = LATE;
        }
    })?;
    Ok(code)
}

/// Measures all on all cores, and hands the results over in the order of the plans.
fn measure(plans: &[Plan], mut done: impl FnMut(&Plan, Result<Figures, String>)) -> Result<(), Failure> {
    let jobs = thread::available_parallelism().map_or(1, usize::from).min(plans.len());
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next) = (sender.clone(), &next);
            let work = move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(plan) = plans.get(at) else { return };
                    if sender.send((at, detect::run(plan))).is_err() {
                        return;
                    }
                }
            };
            let thread = thread::Builder::new().spawn_scoped(scope, work);
            thread.map_err(|error| Failure { code: AMISS, what: format!("cannot start a thread: {error}") })?;
        }
        drop(sender);
        let (mut waiting, mut told) = (BTreeMap::new(), 0);
        for (at, figures) in results {
            waiting.insert(at, figures);
            while let Some(figures) = waiting.remove(&told) {
                done(&plans[told], figures);
                told += 1;
            }
        }
        Ok(())
    })
}

fn preface(plans: &[Plan]) {
    let seconds =
        |range: &std::ops::Range<u64>| format!("{} to {} s", range.start as f64 / 1e6, range.end as f64 / 1e6);
    say(
        "Deaths: seconds until the first, half and all of the survivors call a silently dead node down, median / worst.",
    );
    say(
        "False alarms an hour, in the whole cluster: times that a node that lives is called down; of these about nodes",
    );
    say(
        "that are not slow; and how often any node says it. Scaled to an hour from the minutes watched. Frames and bytes",
    );
    say("are those of one node in a second. Network lan; a lost frame never arrives.");
    if plans.iter().any(|plan| plan.slow() > 0) {
        say(&format!("A slow node gets no processor for {} after every {}.", seconds(&STALL_US), seconds(&RUNS_US)));
    }
    say("");
    say("                                        seconds until a death is seen by         false alarms an hour");
    say(
        "nodes loss    slow health deaths     the first         half          all  minutes  alarms  of well    words suspicions  frames/s   bytes/s",
    );
}

fn name(plan: &Plan) -> String {
    let percent = plan.loss_permille as f64 / 10.0;
    let health = if plan.local_health { "on" } else { "off" };
    format!("{:>5} {percent:>3} % {:>6} {health:>6}", plan.nodes, plan.slow())
}

fn row(plan: &Plan, figures: &Figures) -> String {
    let hour = |count: u64| rate(count as f64 * 3.6e9 / figures.watched_us as f64);
    let second = |count: u64| count as f64 * 1e6 / figures.watched_us as f64 / plan.nodes as f64;
    format!(
        "{} {:>6} {:>13} {:>12} {:>12} {:>8} {:>7} {:>8} {:>8} {:>10} {:>9.1} {:>9.0}",
        name(plan),
        figures.deaths.len(),
        seen(&figures.deaths, |death| death.first_us),
        seen(&figures.deaths, |death| death.median_us),
        seen(&figures.deaths, |death| death.last_us),
        figures.watched_us / 60_000_000,
        hour(figures.alarms),
        hour(figures.alarms_of_well),
        hour(figures.words),
        hour(figures.suspicions),
        second(figures.frames),
        second(figures.bytes)
    )
}

/// A rate with as many digits as it is worth.
fn rate(an_hour: f64) -> String {
    if an_hour == 0.0 || an_hour >= 10.0 { format!("{an_hour:.0}") } else { format!("{an_hour:.2}") }
}

/// The median and the worst of a figure over all deaths, in seconds.
fn seen(deaths: &[Death], figure: impl Fn(&Death) -> u64) -> String {
    let mut all: Vec<u64> = deaths.iter().map(figure).collect();
    all.sort_unstable();
    let s = |us: u64| us as f64 / 1e6;
    all.last().map_or_else(|| "-".into(), |worst| format!("{:.1} / {:.1}", s(all[all.len() / 2]), s(*worst)))
}
