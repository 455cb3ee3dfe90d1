//! `fuzz`: gives hostile bytes to every decoder and parser that meets bytes from outside, and says how many and what came of it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use skein_fuzz::run::{Limits, Run, distil, execute};
use skein_fuzz::target::{Target, all};
use skein_fuzz::totals::{Total, Totals};

/// After this long what was found is written, and counted among the totals: a run may be ended at any time.
const SLICE: Duration = Duration::from_secs(30);

/// Gives hostile bytes to decoders and parsers.
#[derive(Debug, Parser)]
#[command(
    name = "fuzz",
    after_help = "Exit codes: 0 nothing broke, 1 a file or a name is wrong, 3 something broke; its input is kept and named."
)]
struct Arguments {
    /// Which targets, by name; all of them if none is named.
    targets: Vec<String>,
    /// How many executions of each.
    #[arg(long, default_value_t = 100_000)]
    executions: u64,
    /// The longest time for each, in seconds.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// Counts what earlier runs on the same corpus did: goes on where they ended, until either number is reached in all.
    #[arg(long)]
    cumulative: bool,
    /// Prints what all runs on the corpus have come to, and runs nothing.
    #[arg(long)]
    totals: bool,
    /// What the mutations are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where inputs are kept that were answered in a new way, and those that broke something.
    #[arg(long, default_value = "target/fuzz")]
    corpus: PathBuf,
    /// Chooses at most so many inputs of each target to come with the source, the shortest of each kind of answer, and runs nothing.
    #[arg(long, value_name = "MOST")]
    distil: Option<usize>,
    /// Gives one target the contents of this file once, and nothing else.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

#[expect(clippy::print_stderr, reason = "it is what the program is for")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic is caught and told with its input; the hook would print each of the merge library's that the gate contains.
    std::panic::set_hook(Box::new(|_| ()));
    let mut targets: Vec<Box<dyn Target>> = all();
    let names: Vec<&str> = targets.iter().map(|target| target.name()).collect();
    if let Some(unknown) = arguments.targets.iter().find(|name| !names.contains(&name.as_str())) {
        eprintln!("fuzz: there is no target \"{unknown}\"; there are {}", names.join(", "));
        return ExitCode::from(1);
    }
    targets.retain(|target| arguments.targets.is_empty() || arguments.targets.iter().any(|name| name == target.name()));
    if let Some(file) = &arguments.replay {
        let [target] = &mut targets[..] else {
            eprintln!("fuzz: --replay needs one target");
            return ExitCode::from(1);
        };
        return replay(target.as_mut(), file);
    }
    let outcome = match arguments.distil {
        Some(most) => {
            let mut each = targets.iter_mut();
            each.try_for_each(|target| distil(target.as_mut(), &arguments.corpus, most)).map(|()| ExitCode::SUCCESS)
        }
        None => run_all(&mut targets, &arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fuzz: {}: {error}", arguments.corpus.display());
            ExitCode::from(1)
        }
    }
}

#[expect(clippy::print_stdout, reason = "it is what the program is for")]
fn run_all(targets: &mut [Box<dyn Target>], arguments: &Arguments) -> std::io::Result<ExitCode> {
    let totals = Totals::of_corpus(&arguments.corpus);
    let mut code = ExitCode::SUCCESS;
    println!("| target | executions | kinds of answers | seconds |\n|---|---|---|---|");
    for target in targets {
        let name = target.name();
        let mut done = if arguments.cumulative || arguments.totals { totals.of(name)? } else { Total::default() };
        let mut run = Run::new(target.as_mut(), &arguments.corpus);
        while !arguments.totals && done.executions < arguments.executions && done.seconds < arguments.seconds as f64 {
            let left = Duration::from_secs_f64(arguments.seconds as f64 - done.seconds);
            let limits = Limits { executions: arguments.executions - done.executions, time: left.min(SLICE) };
            // Each slice draws other mutations than those before it.
            let report = run.slice(arguments.seed.wrapping_add(done.executions), limits)?;
            let slice = Total {
                executions: report.executions,
                seconds: report.took.as_secs_f64(),
                kinds: report.kinds,
                broken: u64::from(report.broken.is_some()),
            };
            totals.add(name, slice)?;
            done.executions += slice.executions;
            done.seconds += slice.seconds;
            done.kinds = slice.kinds;
            if let Some((path, what)) = report.broken {
                println!("{name}: {what}\nreplay: fuzz {name} --replay {}", path.display());
                code = ExitCode::from(3);
                break;
            }
        }
        println!("| `{name}` | {} | {} | {:.0} |", done.executions, done.kinds, done.seconds);
    }
    Ok(code)
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what the program is for")]
fn replay(target: &mut dyn Target, file: &std::path::Path) -> ExitCode {
    match std::fs::read(file).map(|input| execute(target, &input)) {
        Ok(Ok(answer)) => {
            println!("{}", answer.escape_debug());
            ExitCode::SUCCESS
        }
        Ok(Err(what)) => {
            println!("{what}");
            ExitCode::from(3)
        }
        Err(error) => {
            eprintln!("fuzz: {}: {error}", file.display());
            ExitCode::from(1)
        }
    }
}
