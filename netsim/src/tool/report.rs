//! What is printed of a run that failed, and its exit code.

use std::cell::RefCell;

use skein_netsim::run::End;
use skein_netsim::{Knobs, Outcome, overrides};

use super::{BROKEN, CRASHED, HELD, LATE, say};

/// How many of the last lines of the trace are shown.
const SHOWN_LINES: usize = 30;

thread_local! {
    /// Where this thread last panicked.
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps where a panic was, rather than printing it at once: the merge library's panics are contained, and those that
/// are not are reported with their run.
pub(super) fn note_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        PANICKED_AT.with_borrow_mut(|known| *known = at);
    }));
}

/// Where the panic was that ended a run, if one did. To be asked on the thread of the run, right after it.
pub(super) fn panicked_at(outcome: &Outcome) -> Option<String> {
    matches!(outcome.end, End::Crashed(_)).then(|| PANICKED_AT.take()).flatten()
}

/// The exit code that says how a run ended.
pub(super) fn code(end: &End) -> u8 {
    match end {
        End::Clean => HELD,
        End::Broken(_) => BROKEN,
        End::Late(_) => LATE,
        End::Crashed(_) => CRASHED,
    }
}

/// The worse of two exit codes of runs: a panic, then a broken promise, then a missed deadline.
pub(super) fn worse(one: u8, other: u8) -> u8 {
    let weight = |code| match code {
        HELD => 0,
        LATE => 1,
        BROKEN => 2,
        _ => 3,
    };
    if weight(other) > weight(one) { other } else { one }
}

/// The last lines of a run's trace.
pub(super) fn last_lines(outcome: &Outcome) -> &[String] {
    &outcome.last[outcome.last.len().saturating_sub(SHOWN_LINES)..]
}

/// Prints what went wrong, if anything did: what happened last unless the whole trace was printed, the check and what
/// it found, the knobs, and the command that replays the run.
pub(super) fn failure(knobs: &Knobs, outcome: &Outcome, panicked_at: Option<&str>, traced: bool) {
    let Some(violation) = outcome.end.violation() else { return };
    if !traced {
        say("what happened last:");
        last_lines(outcome).iter().for_each(|line| say(line));
    }
    let at = panicked_at.map(|at| format!(", at {at}")).unwrap_or_default();
    let seconds = violation.at_us as f64 / 1e6;
    let (seed, word) = (knobs.seed, outcome.end.word());
    say(&format!("seed {seed}: {word}: {}: {} (at {seconds:.6} s{at})", violation.check, violation.what));
    let values: Vec<String> = overrides::values(knobs).iter().map(|(name, value)| format!("{name}={value}")).collect();
    say(&format!("knobs: {}", values.join(" ")));
    say(&format!("replay: {}", replay(knobs)));
}

/// The command that runs these knobs again.
pub(super) fn replay(knobs: &Knobs) -> String {
    format!("cargo run -p skein-netsim -- run {} --trace", overrides::arguments(knobs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_outweighs_a_broken_promise_and_that_a_missed_deadline() {
        assert_eq!([HELD, LATE, BROKEN, LATE].into_iter().fold(HELD, worse), BROKEN);
        assert_eq!([CRASHED, BROKEN].into_iter().fold(HELD, worse), CRASHED);
        assert_eq!([HELD, HELD].into_iter().fold(HELD, worse), HELD);
        assert_eq!([LATE, HELD].into_iter().fold(HELD, worse), LATE);
    }
}
