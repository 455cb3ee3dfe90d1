//! The commands and their arguments, and what they have in common: how a run is named, its exit code, its report.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use skein_netsim::{Knobs, overrides};

mod detect;
mod diff;
mod growth;
mod minimise;
mod plan;
mod progress;
mod report;
mod scale;
mod single;
mod story;
mod sweep;
mod tally;

/// The exit code when everything held.
const HELD: u8 = 0;
/// The exit code when two traces differ, or a file could not be read or written.
const AMISS: u8 = 1;
/// The exit code of arguments that are wrong; clap uses it, too.
const USAGE: u8 = 2;
/// The exit code when a promise was broken.
const BROKEN: u8 = 3;
/// The exit code when a cluster did not settle in time.
const LATE: u8 = 4;
/// The exit code when the simulated code panicked.
const CRASHED: u8 = 5;

/// What `--help` says of exit codes, and of knobs.
const AFTER_HELP: &str = "\
Exit codes:
  0  every promise held
  1  a file could not be read or written, or (diff) the traces differ
  2  the arguments are wrong
  3  a promise was broken
  4  the cluster did not settle in time once all was mended
  5  the simulated code panicked
Of several runs the worst counts: a panic, then a broken promise, then a missed deadline.

Knobs: a seed draws all of them; `--set NAME=VALUE` sets one by hand, as often as wanted. A name that is none is
answered with all names, and every failure prints the values of its run.";

/// Runs whole skein clusters in virtual time and checks their promises.
#[derive(Parser)]
#[command(name = "netsim", version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one seed. The last line is the hash of its trace.
    #[command(after_help = AFTER_HELP)]
    Run {
        #[command(flatten)]
        which: Which,
        /// Print the trace as it grows.
        #[arg(long)]
        trace: bool,
    },
    /// Run many seeds on all cores, and say which fail.
    #[command(after_help = AFTER_HELP)]
    Sweep {
        /// From A to B, B left out: A..B.
        #[arg(long, value_name = "A..B", value_parser = parse_range)]
        seeds: std::ops::Range<u64>,
        /// Set a knob in all of them.
        #[arg(long = "set", value_name = "NAME=VALUE")]
        sets: Vec<String>,
        /// How many run at once; all cores if not said.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
        jobs: Option<u16>,
        /// Keep in this file what has been run, and skip what this very program has run already with the same knobs.
        #[arg(long, value_name = "FILE")]
        resume: Option<PathBuf>,
    },
    /// Look for a smaller run that fails by the same check: fewer faults, hosts and writes, a shorter time.
    #[command(after_help = AFTER_HELP)]
    Minimise {
        #[command(flatten)]
        which: Which,
    },
    /// Show where two runs part: two seeds, one seed with other knobs, or two printed traces.
    #[command(after_help = AFTER_HELP)]
    Diff {
        #[command(flatten)]
        sides: diff::Sides,
    },
    /// Measure what a large cluster costs: it forms, runs pods, is edited, and may lose a third of its nodes.
    Scale {
        #[command(flatten)]
        size: scale::Size,
    },
    /// Show what a node costs as its cluster grows: a table, and a picture.
    Growth {
        #[command(flatten)]
        growth: growth::Growth,
    },
    /// Measure the failure detector: how soon deaths are seen, how often a node that lives is called down, what it costs.
    Detect {
        #[command(flatten)]
        case: detect::Case,
    },
    /// Measure what the scheduler and the controllers cost by themselves: pods are placed, a tenth of the nodes is lost, a
    /// template changes.
    Plan {
        #[command(flatten)]
        size: plan::Size,
    },
    /// Write a run as one page to look at in a browser: who led when, what was cut, what ran where.
    #[command(after_help = AFTER_HELP)]
    Story {
        #[command(flatten)]
        which: Which,
        /// Where to write the page.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

/// One run: a seed, and what is set by hand.
#[derive(clap::Args)]
struct Which {
    /// The seed that everything is drawn from.
    #[arg(long)]
    seed: u64,
    /// Set a knob by hand.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    sets: Vec<String>,
}

impl Which {
    fn knobs(&self) -> Result<Knobs, Failure> {
        Ok(overrides::drawn(self.seed, &self.sets)?)
    }
}

/// Why a command could not do what was asked; a run that fails is not among it.
struct Failure {
    code: u8,
    what: String,
}

impl From<overrides::KnobError> for Failure {
    fn from(error: overrides::KnobError) -> Self {
        Failure { code: USAGE, what: error.to_string() }
    }
}

impl Failure {
    fn file(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Failure { code: AMISS, what: format!("cannot {what} {}: {error}", path.display()) }
    }
}

/// Does what the arguments ask for.
pub(crate) fn main(args: Args) -> ExitCode {
    report::note_panics();
    let done = match args.command {
        Command::Run { which, trace } => single::run_one(&which, trace),
        Command::Sweep { seeds, sets, jobs, resume } => sweep::sweep(&sweep::Plan { seeds, sets, jobs, resume }),
        Command::Minimise { which } => minimise::minimise_one(&which),
        Command::Diff { sides } => diff::diff(&sides),
        Command::Growth { growth } => growth::growth(&growth),
        Command::Scale { size } => scale::scale(&size),
        Command::Detect { case } => detect::detect(&case),
        Command::Plan { size } => plan::plan(&size),
        Command::Story { which, output } => story::story(&which, &output),
    };
    ExitCode::from(done.unwrap_or_else(|failure| {
        complain(&format!("netsim: {}", failure.what));
        failure.code
    }))
}

fn parse_range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let wrong = || format!("\"{text}\" is no range of seeds; write A..B, such as 0..500");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let (from, to) = (from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?);
    if from < to { Ok(from..to) } else { Err(wrong()) }
}

/// Prints a line. Whoever reads may have heard enough (`| head`): then there is nothing left to do.
fn say(line: &str) {
    if writeln!(std::io::stdout().lock(), "{line}").is_err() {
        std::process::exit(AMISS.into());
    }
}

/// Prints a line to standard error; nothing can be done where that fails.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
