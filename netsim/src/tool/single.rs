//! `netsim run`: one seed, in as much detail as wanted.

use std::io::{BufWriter, Stdout, Write};

use skein_netsim::trace::Line;
use skein_netsim::{Observer, run, run_watched};

use super::report;
use super::{AMISS, Failure, Which, say};

/// Runs one seed and prints how it went. The last line is the hash of its trace.
pub(super) fn run_one(which: &Which, trace: bool) -> Result<u8, Failure> {
    let knobs = which.knobs()?;
    let outcome = if trace {
        let mut printer = Printer(BufWriter::new(std::io::stdout()));
        let outcome = run_watched(&knobs, &mut printer);
        printer.flush();
        outcome
    } else {
        run(&knobs)
    };
    report::failure(&knobs, &outcome, report::panicked_at(&outcome).as_deref(), trace);
    say(&outcome.hash);
    Ok(report::code(&outcome.end))
}

/// Prints the trace as it grows.
struct Printer(BufWriter<Stdout>);

impl Printer {
    fn flush(&mut self) {
        if self.0.flush().is_err() {
            std::process::exit(AMISS.into());
        }
    }
}

impl Observer for Printer {
    fn line(&mut self, line: &Line) {
        if writeln!(self.0, "{line}").is_err() {
            std::process::exit(AMISS.into());
        }
    }
}
