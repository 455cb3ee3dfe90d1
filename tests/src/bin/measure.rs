//! `measure`: what skein costs and how soon it acts, beside what people would pick instead. The verbs and their flags are here;
//! what they do lives in `skein_tests::measure`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use skein_tests::daemon;
use skein_tests::failure::{Failure, Outcome};
use skein_tests::measure::{duel, idle, requests, soak, writes};

/// Measures skein on hosts and engines of this machine, beside what people would pick instead (needs root).
#[derive(Parser)]
#[command(name = "measure", subcommand_required = true, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// The skein to measure [default: what SKEIN_BIN names, else the one of this build]
    #[arg(long, global = true, value_name = "PATH")]
    skein: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Verb {
    /// Deploy, cuts, heals and a rolling update beside Docker Swarm: same hosts, same engines, same image
    Swarm {
        /// How many times each side runs
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
        runs: u8,
        /// Where to write a picture of it
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Acknowledged writes and watches beside etcd, with three members and with one
    Etcd {
        /// How often each number of clients is tried with each side
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
        rounds: u8,
        /// For how long each time
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
    },
    /// Creates, gets, lists and watches at three peers with 1, 16 and 64 clients, beside the store alone
    Api {
        /// For how long each is done
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
    },
    /// Cuts every 20 s under load; fails unless every promise held and nothing leaked or grew
    Soak {
        /// For how long
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
        minutes: u64,
    },
    /// Memory, processor, network and disk of a daemon while nothing changes, with plain processes as pods
    Idle {
        /// Sizes of clusters
        #[arg(long, value_delimiter = ',', default_values_t = [5, 30])]
        nodes: Vec<usize>,
        /// How many pods run on each of them
        #[arg(long, value_delimiter = ',', default_values_t = [0, 300])]
        pods: Vec<usize>,
        /// For how long each is looked at
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    match measure(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "measure: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: Args) -> Outcome<()> {
    if let Some(path) = args.skein {
        daemon::use_binary(&path)?;
    }
    match args.verb {
        Verb::Swarm { runs, output } => {
            let results = duel::run(runs.into())?;
            print(&results.table());
            output.map_or(Ok(()), |path| write(&path, &results.picture()))
        }
        Verb::Idle { nodes, pods, seconds } => {
            print(&idle::run(&idle::Plan { nodes, pods, seconds })?);
            Ok(())
        }
        Verb::Api { seconds } => {
            print(&requests::run(Duration::from_secs(seconds))?);
            Ok(())
        }
        Verb::Soak { minutes } => soak::run(Duration::from_secs(minutes * 60)),
        Verb::Etcd { rounds, seconds } => {
            print(&writes::run(writes::Plan { rounds: rounds.into(), seconds })?);
            Ok(())
        }
    }
}

fn write(path: &Path, text: &str) -> Outcome<()> {
    std::fs::write(path, text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn print(text: &str) {
    // Nobody reads it any more; the exit code says the rest.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
