//! `netsim`: runs clusters in virtual time, from the command line.
#![expect(clippy::print_stdout, reason = "what a command line tool has to say goes to its standard output")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use skein_netsim::Knobs;
use skein_netsim::run::{End, Outcome, run};

/// Runs whole skein clusters in virtual time and checks their promises.
#[derive(Parser)]
#[command(name = "netsim", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one seed. The last line is the hash of its trace.
    Run {
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// Print the trace as it grows.
        #[arg(long)]
        trace: bool,
    },
    /// Run many seeds, and say which fail.
    Sweep {
        /// From A to B, B left out: A..B.
        #[arg(long, value_parser = parse_range)]
        seeds: std::ops::Range<u64>,
    },
}

fn parse_range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let wrong = || format!("\"{text}\" is no range of seeds; write A..B, such as 0..500");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let (from, to) = (from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?);
    if from < to { Ok(from..to) } else { Err(wrong()) }
}

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run { seed, trace } => run_one(seed, trace),
        Command::Sweep { seeds } => sweep(seeds),
    }
}

fn run_one(seed: u64, trace: bool) -> ExitCode {
    let knobs = Knobs::draw(seed);
    let outcome = run(&knobs, trace);
    let failed = report(&knobs, &outcome, trace);
    println!("{}", outcome.hash);
    code(failed)
}

fn sweep(seeds: std::ops::Range<u64>) -> ExitCode {
    let (mut clean, mut failed, mut worst) = (0u64, Vec::new(), 0);
    let mut code_of_all = 0;
    for seed in seeds {
        let knobs = Knobs::draw(seed);
        let outcome = run(&knobs, false);
        worst = worst.max(outcome.settled_ms);
        match report(&knobs, &outcome, false) {
            0 => clean += 1,
            code => {
                code_of_all = code_of_all.max(code);
                failed.push(seed);
            }
        }
    }
    println!("{clean} clean, {} failed {failed:?}; the slowest settled after {worst} virtual ms", failed.len());
    code(code_of_all)
}

/// Prints what went wrong, if anything did. 0: nothing; 3: a promise was broken; 4: it did not settle in time.
fn report(knobs: &Knobs, outcome: &Outcome, traced: bool) -> u8 {
    let (violation, kind, code) = match &outcome.end {
        End::Clean => return 0,
        End::Broken(violation) => (violation, "broken", 3),
        End::Late(violation) => (violation, "not settled", 4),
    };
    if !traced {
        for line in outcome.last.iter().rev().take(30).rev() {
            println!("{line}");
        }
    }
    println!("seed {}: {kind}: {}: {}", knobs.seed, violation.check, violation.what);
    println!("knobs: {knobs}");
    println!("replay: cargo run -p skein-netsim -- run --seed {} --trace", knobs.seed);
    code
}

fn code(code: u8) -> ExitCode {
    ExitCode::from(code)
}
