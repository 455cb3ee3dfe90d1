//! `netsim story`: a run as one page for people.

use std::path::Path;

use skein_netsim::run_watched;
use skein_netsim::story::{Recorder, Run, page};

use super::report;
use super::{Failure, Which, say};

/// Runs one seed and writes the page. The exit code is that of the run.
pub(super) fn story(which: &Which, file: &Path) -> Result<u8, Failure> {
    let knobs = which.knobs()?;
    let mut recorder = Recorder::default();
    let outcome = run_watched(&knobs, &mut recorder);
    let panicked_at = report::panicked_at(&outcome);
    let story = recorder.finish();
    let replay = report::replay(&knobs);
    let text = page(&Run { knobs: &knobs, outcome: &outcome, story: &story, replay: &replay });
    #[expect(clippy::disallowed_methods, reason = "the shell of the simulator may write files")]
    std::fs::write(file, text).map_err(|error| Failure::file("write", file, &error))?;
    report::failure(&knobs, &outcome, panicked_at.as_deref(), false);
    say(&format!("{} is written", file.display()));
    Ok(report::code(&outcome.end))
}
