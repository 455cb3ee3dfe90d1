//! `lab`: hosts, engines and daemons on this one machine, for a person to cut, kill and look at. The verbs and their flags
//! are here; what they do lives in `skein_tests::standing`.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use skein_tests::daemon;
use skein_tests::failure::Outcome;
use skein_tests::lab::MAX_HOSTS;
use skein_tests::standing::faults::{Cut, Way};
use skein_tests::standing::inside::Log;
use skein_tests::standing::{self, Runtime, Standing, watch};

/// A cluster of hosts on this machine, to cut apart and put together again. Needs root.
#[derive(Parser)]
#[command(name = "lab", subcommand_required = true, arg_required_else_help = true)]
struct Args {
    /// Where the lab's files are
    #[arg(long, global = true, default_value = standing::DIRECTORY, value_name = "DIR")]
    dir: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring up hosts with a daemon each, all in one cluster, and leave them running
    Up {
        /// How many hosts
        #[arg(value_parser = clap::value_parser!(u8).range(1..=MAX_HOSTS as i64))]
        hosts: u8,
        /// What runs containers: a Docker engine on each host, or plain processes
        #[arg(long, value_enum, default_value = "docker")]
        runtime: RuntimeName,
        /// The skein to run [default: what SKEIN_BIN names, else the one of this build]
        #[arg(long, value_name = "PATH")]
        skein: Option<PathBuf>,
    },
    /// Show each host: what runs, who leads in its eyes, what is cut
    Status,
    /// Cut hosts off (3 or 1,2), or groups from each other (1,2 from 3,4,5), silently
    Cut {
        /// Which hosts, or which from which
        #[arg(required = true, num_args = 1..=3, value_name = "HOSTS")]
        hosts: Vec<String>,
        /// Cut one direction alone: what arrives, or what is sent
        #[arg(long, value_enum)]
        one_way: Option<WayName>,
        /// Lose this share of the packets (percent) instead of all
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=99))]
        loss: Option<u8>,
    },
    /// Undo all cuts of these hosts, or of all
    Heal {
        /// Which hosts, as in 3 or 1,2
        #[arg(value_delimiter = ',')]
        hosts: Vec<usize>,
    },
    /// Kill a host's daemon as a crash would, or switch the whole host off
    Kill {
        /// Which host
        host: usize,
        /// The daemon alone, which is the default; its containers go on
        #[arg(long, conflicts_with = "host_off")]
        daemon: bool,
        /// The whole host: cable, daemon, engine, containers
        #[arg(long = "host")]
        host_off: bool,
    },
    /// Start a host's daemon again, or switch the host on
    Start {
        /// Which host
        host: usize,
    },
    /// Run a program on a host
    Exec {
        /// Which host
        host: usize,
        /// The program and its arguments, after --
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Open a shell on a host
    Shell {
        /// Which host
        host: usize,
    },
    /// Show the log of a host's daemon
    Logs {
        /// Which host
        host: usize,
        /// The engine's log instead
        #[arg(long)]
        engine: bool,
        /// How many of the last lines
        #[arg(short = 'n', long, default_value_t = 50)]
        lines: u32,
        /// Go on with what comes
        #[arg(short, long)]
        follow: bool,
    },
    /// Show what was done to whom and when, and what the peers saw
    Timeline,
    /// Take all of it away, also what a killed tool left behind
    Down,
    /// Watch the peers of a lab.
    #[command(name = watch::VERB, hide = true)]
    Watch { record: PathBuf },
}

#[derive(Clone, Copy, ValueEnum)]
enum RuntimeName {
    Docker,
    Process,
}

#[derive(Clone, Copy, ValueEnum)]
enum WayName {
    In,
    Out,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(said) => {
            // Nobody reads it any more, and all is done.
            let _ = std::io::stdout().write_all(said.as_bytes());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "lab: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Does what is asked for. Returns what to print.
fn run(args: Args) -> Outcome<String> {
    let open = || Standing::open(&args.dir);
    match args.verb {
        Verb::Up { hosts, runtime, skein } => {
            if let Some(path) = skein {
                daemon::use_binary(&path)?;
            }
            let runtime = match runtime {
                RuntimeName::Docker => Runtime::Docker,
                RuntimeName::Process => Runtime::Process,
            };
            Ok(Standing::up(&args.dir, hosts.into(), runtime)?.how_to_use())
        }
        Verb::Status => open()?.status(),
        Verb::Cut { hosts, one_way, loss } => {
            let way = one_way.map(|way| match way {
                WayName::In => Way::In,
                WayName::Out => Way::Out,
            });
            line(open()?.cut(&Cut::parse(&hosts, way, loss)?))
        }
        Verb::Heal { hosts } => line(open()?.heal(&hosts)),
        Verb::Kill { host, host_off: true, .. } => line(open()?.kill_host(host)),
        Verb::Kill { host, .. } => line(open()?.kill_daemon(host)),
        Verb::Start { host } => line(open()?.start(host)),
        Verb::Exec { host, command } => nothing(open()?.exec(host, &command)),
        Verb::Shell { host } => nothing(open()?.shell(host)),
        Verb::Logs { host, engine, lines, follow } => {
            let log = if engine { Log::Engine } else { Log::Daemon };
            nothing(open()?.logs(host, log, lines, follow))
        }
        Verb::Timeline => open()?.timeline().text(),
        Verb::Down if Standing::down(&args.dir)? => {
            Ok(format!("nothing is left of the lab in {}\n", args.dir.display()))
        }
        Verb::Down => Ok(format!("there was no lab in {}\n", args.dir.display())),
        Verb::Watch { record } => nothing(watch::run(&record)),
    }
}

fn line(said: Outcome<String>) -> Outcome<String> {
    Ok(said? + "\n")
}

fn nothing(done: Outcome<()>) -> Outcome<String> {
    done.map(|()| String::new())
}
