//! `netsim scale`: what a large cluster costs, measured.

use std::time::{Duration, Instant};

use skein_netsim::link::profile::Network;
use skein_netsim::scale::{self, Lap, Plan, Spread};

use super::{Failure, HELD, LATE, complain, say};

/// How large the cluster is, and what it goes through.
#[derive(clap::Args)]
pub(super) struct Size {
    /// How many nodes.
    #[arg(long, default_value_t = 100)]
    nodes: usize,
    /// How many pods.
    #[arg(long, default_value_t = 1000)]
    pods: usize,
    /// How many edits, one a second.
    #[arg(long, default_value_t = 30)]
    edits: u64,
    /// How many of a thousand frames are lost while there are edits.
    #[arg(long, default_value_t = 10)]
    loss_permille: u64,
    /// How the hosts are connected: lan, wifi, wan or mixed.
    #[arg(long, default_value = "lan", value_parser = parse_network)]
    network: Network,
    /// Lose a third of the nodes at once, and get them back.
    #[arg(long)]
    lose_a_third: bool,
    /// The seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print figures alone, for programs: phase, virtual and real seconds, frames and bytes a second and node, megabytes.
    #[arg(long)]
    csv: bool,
}

fn parse_network(text: &str) -> Result<Network, String> {
    match text {
        "lan" => Ok(Network::Lan),
        "wifi" => Ok(Network::Wifi),
        "wan" => Ok(Network::Wan),
        "mixed" => Ok(Network::Mixed),
        _ => Err(format!("\"{text}\" is no network; lan, wifi, wan or mixed")),
    }
}

/// Runs it and prints a line for each phase as it ends.
#[expect(clippy::disallowed_methods, reason = "how long it really takes is what is asked for")]
pub(super) fn scale(size: &Size) -> Result<u8, Failure> {
    let plan = Plan {
        nodes: size.nodes.max(1),
        pods: size.pods,
        edits: size.edits,
        loss_permille: size.loss_permille,
        network: size.network,
        loses_a_third: size.lose_a_third,
        seed: size.seed,
    };
    if !size.csv {
        say(&format!("{} nodes, {} pods, network {}, seed {}", plan.nodes, plan.pods, plan.network, plan.seed));
        say("phase          virtual s   real s   times real   frames/s/node    bytes/s/node   memory MB");
    }
    let mut began = Instant::now();
    let done = scale::run(&plan, &mut |lap| {
        let figures = Figures::of(&lap, plan.nodes, began.elapsed());
        if size.csv {
            say(&figures.csv(lap.name));
        } else {
            say(&figures.row(lap.name));
            spread_rows(&lap.spreads).iter().for_each(|row| say(row));
        }
        began = Instant::now();
    });
    Ok(match done {
        Ok(()) => HELD,
        Err(what) => {
            complain(&what);
            LATE
        }
    })
}

/// What is printed of a phase.
struct Figures {
    virtual_s: f64,
    real_s: f64,
    /// Frames and bytes that each node sent in a second.
    frames: f64,
    bytes: f64,
    memory_mb: u64,
}

impl Figures {
    fn of(lap: &Lap, nodes: usize, real: Duration) -> Self {
        let virtual_s = (lap.virtual_us as f64 / 1e6).max(0.001);
        let rate = |count: u64| count as f64 / virtual_s / nodes as f64;
        let (frames, bytes) = (rate(lap.frames), rate(lap.bytes));
        Figures { virtual_s, real_s: real.as_secs_f64(), frames, bytes, memory_mb: memory_mb() }
    }

    fn csv(&self, name: &str) -> String {
        let Figures { virtual_s, real_s, frames, bytes, memory_mb } = self;
        format!("{name},{virtual_s:.3},{real_s:.4},{frames:.2},{bytes:.1},{memory_mb}")
    }

    fn row(&self, name: &str) -> String {
        let Figures { virtual_s, real_s, frames, bytes, memory_mb } = self;
        let times_real = virtual_s / real_s.max(0.001);
        format!(
            "{name:<14} {virtual_s:>9.2} {real_s:>8.2} {times_real:>12.2} {frames:>15.1} {bytes:>15.0} {memory_mb:>11}"
        )
    }
}

/// How edits reached all nodes: over all edits the median and the worst of each figure.
fn spread_rows(spreads: &[Spread]) -> Vec<String> {
    if spreads.is_empty() {
        return Vec::new();
    }
    let missed = spreads.iter().filter(|spread| spread.reached_us(1000).is_none()).count();
    let figure = |of: &dyn Fn(&Spread) -> u64| {
        let mut all: Vec<u64> = spreads.iter().map(of).collect();
        all.sort_unstable();
        (all[all.len() / 2], all[(all.len() * 99).div_ceil(100) - 1], all[all.len() - 1])
    };
    let ms = |permille: usize| {
        let (median, p99, worst) = figure(&|spread| spread.reached_us(permille).unwrap_or(1_000_000));
        let ms = |us: u64| us as f64 / 1000.0;
        format!("median {:.1} ms, p99 {:.1} ms, worst {:.1} ms", ms(median), ms(p99), ms(worst))
    };
    let (median, _, worst) = figure(&Spread::sends);
    vec![
        format!("  an edit reached half of the nodes in:  {}", ms(500)),
        format!("  an edit reached 99 % of them in:       {}", ms(990)),
        format!("  an edit reached all of them in:        {}", ms(1000)),
        format!("  frames that carried it: median {median}, worst {worst}; not everywhere within a second: {missed}"),
    ]
}

/// The most memory that this process had so far, in megabytes.
pub(super) fn memory_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kb| kb / 1024)
}
