//! `skein`: the one binary, daemon and client. Which verb was asked for is decided here; what it does lives in `verbs`. It is a
//! library so that `skein-planted`, whose daemons break a rule on purpose, is the same program and never takes its place.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

mod args;
mod client;
mod demo;
mod failure;
mod kinds;
mod logging;
#[cfg(feature = "planted-bugs")]
mod planted;
mod screen;
mod settings;
mod table;
mod units;
mod verbs;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The whole of the program.
#[must_use]
pub fn main() -> ExitCode {
    logging::tell_panics_in_one_line();
    let mut words = std::env::args_os().skip(1);
    // Before any thread is started and before arguments cost anything: there is one shim for every container.
    if words.next().is_some_and(|verb| verb == args::SHIM_VERB) {
        let Some(dir) = words.next() else { return ExitCode::from(failure::USAGE) };
        std::process::exit(skein_node::runtime::shim_main(Path::new(&dir)));
    }
    let args = args::Args::parse();
    // A defect is a failure like any other to whoever asked: the hook has said it in one line already.
    let outcome = std::panic::catch_unwind(move || verbs::run(args));
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => failure.tell(),
        Err(_) => ExitCode::from(failure::FAILED),
    }
}
