//! `netsim diff`: where two runs, or two printed traces, part.

use std::path::{Path, PathBuf};

use skein_netsim::diff::{is_heading, lines, parting};
use skein_netsim::trace::Line;
use skein_netsim::{Knobs, Observer, overrides, run_watched};

use super::{AMISS, Failure, HELD, USAGE, say};

/// What is compared: two files, or two runs.
#[derive(clap::Args)]
pub(super) struct Sides {
    /// Two files with printed traces (`netsim run --trace`).
    #[arg(value_name = "FILE", num_args = 2, conflicts_with_all = ["seed", "sets", "against_seed", "against_sets"])]
    files: Vec<PathBuf>,
    /// The seed of the first run.
    #[arg(long, required_unless_present = "files")]
    seed: Option<u64>,
    /// Set a knob of both runs by hand.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    sets: Vec<String>,
    /// The seed of the second run, if it is another.
    #[arg(long, value_name = "SEED")]
    against_seed: Option<u64>,
    /// Set a knob of the second run alone.
    #[arg(long = "against-set", value_name = "NAME=VALUE")]
    against_sets: Vec<String>,
}

/// Prints the first lines in which they differ, and what was before.
pub(super) fn diff(sides: &Sides) -> Result<u8, Failure> {
    let [first, second] = match (&sides.files[..], sides.seed) {
        ([first, second], _) => [(name(first), read(first)?), (name(second), read(second)?)],
        (_, Some(seed)) => runs(sides, seed)?,
        _ => return Err(Failure { code: USAGE, what: "name two files, or a seed".to_owned() }),
    };
    let Some(parting) = parting(&first.1, &second.1) else {
        say(&format!("the {} lines are the same", first.1.len()));
        return Ok(HELD);
    };
    say(&format!("the first {} lines are the same, the knobs aside", parting.same));
    parting.before.iter().for_each(|line| say(&format!("  {line}")));
    for (mark, name, after) in [('-', first.0, parting.first), ('+', second.0, parting.second)] {
        say(&format!("{mark} {name}{}", if after.is_empty() { " is over" } else { "" }));
        after.iter().for_each(|line| say(&format!("{mark} {line}")));
    }
    Ok(AMISS)
}

fn runs(sides: &Sides, seed: u64) -> Result<[(String, Vec<String>); 2], Failure> {
    let against_seed = sides.against_seed.unwrap_or(seed);
    let against_sets = [&sides.sets[..], &sides.against_sets[..]].concat();
    let both = [overrides::drawn(seed, &sides.sets)?, overrides::drawn(against_seed, &against_sets)?];
    Ok(both.map(|knobs| (overrides::arguments(&knobs), trace(&knobs))))
}

fn trace(knobs: &Knobs) -> Vec<String> {
    let mut collector = Collector(Vec::new());
    run_watched(knobs, &mut collector);
    collector.0
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn read(path: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
    let lines = lines(&text);
    if lines.is_empty() {
        let what = format!("{} holds no trace; `netsim run --seed S --trace` prints one", path.display());
        return Err(Failure { code: AMISS, what });
    }
    Ok(lines)
}

/// Keeps a whole trace.
struct Collector(Vec<String>);

impl Observer for Collector {
    fn line(&mut self, line: &Line) {
        let text = line.to_string();
        if !is_heading(&text) {
            self.0.push(text);
        }
    }
}
