//! `netsim minimise`: a smaller run that fails in the same way.

use skein_netsim::minimise::minimise;
use skein_netsim::run;

use super::report;
use super::{Failure, HELD, Which, say};

/// Looks for a smaller run that fails by the same check, says what was tried, and how to replay what was found. The
/// exit code is that of the failure.
pub(super) fn minimise_one(which: &Which) -> Result<u8, Failure> {
    let knobs = which.knobs()?;
    let outcome = run(&knobs);
    let Some(violation) = outcome.end.violation() else {
        say(&format!("seed {} holds: there is nothing to make smaller", knobs.seed));
        return Ok(HELD);
    };
    say(&format!("seed {}: {}: {}: {}", knobs.seed, outcome.end.word(), violation.check, violation.what));
    let mut fails = |smaller: &_| run(smaller).end.fails_like(&outcome.end);
    let least = minimise(&knobs, &mut fails, &mut |attempt| {
        say(&format!("  {:<40} {}", attempt.what, if attempt.fails { "still fails" } else { "does not fail so" }));
    });
    let outcome = run(&least);
    report::failure(&least, &outcome, report::panicked_at(&outcome).as_deref(), false);
    Ok(report::code(&outcome.end))
}
