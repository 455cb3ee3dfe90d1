//! The program `skein`. All of it lives in the library beside this file.

use std::process::ExitCode;

fn main() -> ExitCode {
    skein_cli::main()
}
