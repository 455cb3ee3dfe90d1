//! `judge`: makes histories of clusters under faults, and decides about them. The verbs and their flags are here; what they do
//! lives in `skein_tests::history`.

use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use skein_tests::daemon;
use skein_tests::failure::{Failure, Outcome};
use skein_tests::history::check::{History, Limits};
use skein_tests::history::run::{self, Plan};

/// The exit code when a promise was broken, or nothing could be decided.
const BROKEN: u8 = 1;

/// Runs clusters under faults with clients at every peer, and decides from what they were answered whether the promises held.
#[derive(Parser)]
#[command(name = "judge", subcommand_required = true, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make histories on clusters of their own, and decide about them (needs root)
    Run {
        /// What to draw the faults from: a seed, or A..B with B left out
        #[arg(value_parser = parse_seeds, value_name = "SEED|A..B")]
        seeds: Range<u64>,
        /// How many hosts
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=9))]
        hosts: u8,
        /// What runs containers
        #[arg(long, value_enum, default_value = "process")]
        runtime: RuntimeName,
        /// How long clients work and things break
        #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(5..=600))]
        seconds: u64,
        /// How long the peers may take to agree after that, and what runs to be what was asked for
        #[arg(long, value_name = "SECONDS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(10..=600))]
        settle: u64,
        /// The skein to run [default: what SKEIN_BIN names, else the one of this build]
        #[arg(long, value_name = "PATH")]
        skein: Option<PathBuf>,
        /// Where histories and logs go
        #[arg(long, default_value = "histories", value_name = "DIR")]
        into: PathBuf,
    },
    /// Decide about a history that is there already
    Check {
        /// The file with its lines
        history: PathBuf,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RuntimeName {
    Docker,
    Process,
}

fn main() -> ExitCode {
    match decide(Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(BROKEN),
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "judge: {failure}");
            ExitCode::from(BROKEN)
        }
    }
}

/// Whether all held.
fn decide(args: Args) -> Outcome<bool> {
    match args.verb {
        Verb::Check { history } => {
            let named = |error: String| Failure::new(format!("{}: {error}", history.display()));
            let text = std::fs::read_to_string(&history).map_err(|error| named(error.to_string()))?;
            Ok(tell(&History::read(&text).map_err(named)?, &history))
        }
        Verb::Run { seeds, hosts, runtime, seconds, settle, skein, into } => {
            if let Some(path) = skein {
                daemon::use_binary(&path)?;
            }
            std::fs::create_dir_all(&into).map_err(|e| Failure::new(format!("{}: {e}", into.display())))?;
            let mut broken = Vec::new();
            for seed in seeds {
                let engines = runtime == RuntimeName::Docker;
                let (busy_ms, settle_ms) = (seconds * 1000, settle * 1000);
                let plan = Plan { seed, hosts: hosts.into(), engines, busy_ms, settle_ms };
                let path = into.join(format!("{seed}.jsonl"));
                print(&format!("seed {seed}\n"));
                if !tell(&run::make(plan, &path)?, &path) {
                    broken.push(seed.to_string());
                }
            }
            if !broken.is_empty() {
                print(&format!("broken with the seeds {}\n", broken.join(", ")));
            }
            Ok(broken.is_empty())
        }
    }
}

/// Prints the verdicts about a history. Returns whether all held.
fn tell(history: &History, path: &Path) -> bool {
    let verdicts = history.judge(Limits::default());
    for verdict in &verdicts {
        print(&format!("{verdict}\n"));
    }
    let held = verdicts.iter().all(|verdict| verdict.held());
    let word = if held { "all held" } else { "BROKEN" };
    print(&format!("{word}: {}\n", path.display()));
    held
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no seed; a seed is a whole number"));
    match text.split_once("..") {
        Some((from, to)) => Ok(number(from)?..number(to)?),
        None => number(text).map(|seed| seed..seed.saturating_add(1)),
    }
}

fn print(text: &str) {
    // Nobody reads it any more; the exit code says the rest.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
