//! The program `skein-planted`: `skein`, built so that the environment can make its daemon break a rule. It exists for the tests
//! of the judge alone.

use std::process::ExitCode;

fn main() -> ExitCode {
    skein_cli::main()
}
