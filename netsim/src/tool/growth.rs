//! `netsim growth`: what a node costs as its cluster grows, as a table and as a picture. Each size is a run of `netsim scale` in a
//! process of its own, so that none counts another's memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{AMISS, Failure, HELD, say};

mod plot;

/// Which sizes, and where the picture goes.
#[derive(clap::Args)]
pub(super) struct Growth {
    /// How many nodes, one size after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [5, 10, 30, 100, 300])]
    sizes: Vec<usize>,
    /// How many pods for each node.
    #[arg(long, default_value_t = 10)]
    pods_per_node: usize,
    /// Where to write the picture.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What one size cost.
#[derive(Debug, Clone, Default)]
struct Cost {
    nodes: usize,
    pods: usize,
    /// While nothing changes: frames and bytes a second that each node sends, and the share of a core that it takes.
    frames: f64,
    bytes: f64,
    core_percent: f64,
    /// The same with an edit a second and a frame in a hundred lost.
    edited_bytes: f64,
    edited_core_percent: f64,
    /// The memory of each node, in megabytes.
    memory_mb: f64,
}

/// Runs all sizes, prints the table, and writes the picture.
pub(super) fn growth(growth: &Growth) -> Result<u8, Failure> {
    say("| nodes | pods | frames/s | bytes/s | core | bytes/s, an edit a second | core, an edit a second | memory |");
    say("|---|---|---|---|---|---|---|---|");
    let mut costs = Vec::new();
    for nodes in &growth.sizes {
        let cost = measure(*nodes, nodes * growth.pods_per_node)?;
        say(&row(&cost));
        costs.push(cost);
    }
    say("");
    say("All figures are for one node. Its share of a core includes that of the simulated network, disk and engine.");
    if let Some(path) = &growth.output {
        write(path, &plot::svg(&costs))?;
        say(&format!("{} is written", path.display()));
    }
    Ok(HELD)
}

#[expect(clippy::disallowed_methods, reason = "the picture is asked for as a file")]
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::file("write", path, &error))
}

#[expect(clippy::disallowed_methods, reason = "each size is measured in a process of its own")]
fn measure(nodes: usize, pods: usize) -> Result<Cost, Failure> {
    let failed = |what: String| Failure { code: AMISS, what: format!("{nodes} nodes: {what}") };
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let arguments = ["scale", "--csv", "--edits", "20", "--nodes", &nodes.to_string(), "--pods", &pods.to_string()];
    let output = Command::new(program).args(arguments).output().map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let mut cost = Cost { nodes, pods, ..Cost::default() };
    for line in text.lines() {
        let Some((name, figures)) = line.split_once(',') else { continue };
        let figures: Vec<f64> = figures.split(',').filter_map(|figure| figure.parse().ok()).collect();
        let [virtual_s, real_s, frames, bytes, memory_mb] = figures[..] else { continue };
        let core_percent = 100.0 * real_s / virtual_s.max(0.001) / nodes as f64;
        match name {
            "idle" => {
                (cost.frames, cost.bytes, cost.core_percent) = (frames, bytes, core_percent);
                cost.memory_mb = memory_mb / nodes as f64;
            }
            "edits" => (cost.edited_bytes, cost.edited_core_percent) = (bytes, core_percent),
            _ => {}
        }
    }
    Ok(cost)
}

fn row(cost: &Cost) -> String {
    format!(
        "| {} | {} | {:.1} | {:.0} | {:.2} % | {:.0} | {:.2} % | {:.1} MB |",
        cost.nodes,
        cost.pods,
        cost.frames,
        cost.bytes,
        cost.core_percent,
        cost.edited_bytes,
        cost.edited_core_percent,
        cost.memory_mb
    )
}
