//! `netsim`: the shell around the simulator. It reads arguments, prints, keeps files and uses the machine's cores; what
//! happens in a run is none of its business.

use std::process::ExitCode;

use clap::Parser;

mod tool;

fn main() -> ExitCode {
    tool::main(tool::Args::parse())
}
