//! A bar on standard error that says how far a sweep is, where somebody sits in front of it.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How wide the bar is, in characters.
const WIDTH: u64 = 28;

/// The bar.
pub(super) struct Progress {
    shown: bool,
    begun: Instant,
    /// How many seeds were known before.
    before: u64,
    all: u64,
}

impl Progress {
    /// A bar for so many seeds, of which some were run before.
    #[expect(clippy::disallowed_methods, reason = "how long the user still has to wait is no matter of virtual time")]
    pub(super) fn new(before: u64, all: u64) -> Self {
        Progress { shown: std::io::stderr().is_terminal(), begun: Instant::now(), before, all }
    }

    /// Draws the bar.
    pub(super) fn show(&self, done: u64, failed: usize) {
        if self.shown {
            let text = line(self.begun.elapsed(), self.before, done, self.all, failed);
            let _ = write!(std::io::stderr().lock(), "\r{text}\x1b[K");
        }
    }

    /// Takes the bar away, so that other lines can be printed.
    pub(super) fn hide(&self) {
        if self.shown {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn line(passed: Duration, before: u64, done: u64, all: u64, failed: usize) -> String {
    let full = done * WIDTH / all.max(1);
    let bar: String = (0..WIDTH).map(|at| if at < full { '█' } else { '░' }).collect();
    let rate = (done - before) as f64 / passed.as_secs_f64().max(0.001);
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    let left = if done > before && done < all { left((all - done) as f64 / rate) } else { String::new() };
    format!("{bar} {done} of {all} seeds{failed}, {rate:.1} a second{left}")
}

fn left(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    if seconds < 60 { format!(", {seconds} s left") } else { format!(", {} min left", seconds.div_ceil(60)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_what_this_sweep_has_run_itself() {
        let text = line(Duration::from_secs(10), 100, 120, 400, 0);
        assert!(text.ends_with("120 of 400 seeds, 2.0 a second, 3 min left"), "{text}");
        assert_eq!(text.matches('█').count(), 8);
    }

    #[test]
    fn nothing_is_left_at_the_end_and_failures_are_counted() {
        let text = line(Duration::from_secs(4), 0, 4, 4, 2);
        assert!(text.ends_with("4 of 4 seeds, 2 failed, 1.0 a second"), "{text}");
        assert_eq!(text.matches('░').count(), 0);
    }
}
