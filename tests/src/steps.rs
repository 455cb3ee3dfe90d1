//! Named steps of one test that share a lab, since forming one is dear: each says its name, how long it took and whether
//! it held; a step that fails does not keep the later ones from being tried, and the test fails at the end with the names
//! of all that did.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::failure::{Failure, Outcome};

/// The steps of one test, and which of them failed.
pub struct Steps {
    theme: &'static str,
    begun: Instant,
    done: usize,
    failed: Vec<String>,
}

impl Steps {
    /// Begins a test about `theme`.
    pub fn of(theme: &'static str) -> Self {
        say(&format!("== {theme}"));
        Self { theme, begun: Instant::now(), done: 0, failed: Vec::new() }
    }

    /// Runs one step. A step that fails or panics is reported with `evidence()`, and the next one runs all the same.
    pub fn run(&mut self, name: &str, step: impl FnOnce() -> Outcome<String>, evidence: impl FnOnce() -> String) {
        let begun = Instant::now();
        say(&format!("-- {name}"));
        let outcome = catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| Err(Failure::new("the step panicked")));
        let seconds = begun.elapsed().as_secs_f64();
        self.done += 1;
        match outcome {
            Ok(said) if said.is_empty() => say(&format!("   held, {seconds:.1} s")),
            Ok(said) => say(&format!("   held, {seconds:.1} s: {said}")),
            Err(failure) => {
                say(&format!("   FAILED after {seconds:.1} s: {name}\n   {failure}\n{}", evidence()));
                self.failed.push(format!("{name}: {failure}"));
            }
        }
    }

    /// Ends the test.
    ///
    /// # Errors
    /// Names every step that failed, and why.
    pub fn end(self) -> Outcome<()> {
        let seconds = self.begun.elapsed().as_secs_f64();
        let held = self.done - self.failed.len();
        say(&format!("== {}: {held} of {} steps held, {seconds:.1} s", self.theme, self.done));
        if self.failed.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("{} of {} steps failed:\n{}", self.failed.len(), self.done, self.failed.join("\n"))))
    }
}

/// Prints a line that is seen even when the test runner keeps the output of tests that hold to itself: how long things took
/// is wanted then, too.
pub fn say(text: &str) {
    // When nobody reads it any more, the test goes on, and cleaning up above all.
    let _ = writeln!(std::io::stderr(), "{text}");
}
