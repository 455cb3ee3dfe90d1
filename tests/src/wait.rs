//! Waiting for something to become true, with a limit and with the last reason why it was not.

use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

/// How long to rest between two looks.
const REST_MS: u64 = 50;

/// Looks again and again until `look` succeeds. Returns what it found and how long that took.
///
/// # Errors
/// After `within`: what was waited for, and what the last look said.
pub fn eventually<T>(what: &str, within: Duration, mut look: impl FnMut() -> Outcome<T>) -> Outcome<(T, Duration)> {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return Ok((found, start.elapsed())),
            Err(reason) if start.elapsed() >= within => {
                let text = format!("{what}: not within {:.1} s; last look: {reason}", within.as_secs_f64());
                return Err(Failure::new(text));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(REST_MS)),
        }
    }
}

/// Looks until `look` has succeeded at every look for `steady` without a break. Returns how long it took until the
/// beginning of that stretch.
///
/// # Errors
/// When no such stretch has begun after `within`: the last reason.
pub fn settles(
    what: &str,
    within: Duration,
    steady: Duration,
    mut look: impl FnMut() -> Outcome<()>,
) -> Outcome<Duration> {
    let start = Instant::now();
    let mut since: Option<Instant> = None;
    let mut reason = Failure::new("never looked");
    loop {
        match look() {
            Ok(()) => {
                let begun = *since.get_or_insert_with(Instant::now);
                if begun.elapsed() >= steady {
                    return Ok(begun.duration_since(start));
                }
            }
            Err(why) => {
                reason = why;
                since = None;
            }
        }
        if since.is_none() && start.elapsed() >= within {
            let text = format!("{what}: not within {:.1} s; last look: {reason}", within.as_secs_f64());
            return Err(Failure::new(text));
        }
        std::thread::sleep(Duration::from_millis(REST_MS));
    }
}

/// The median and the greatest of some durations, in seconds. Zero for none.
pub fn median_and_worst(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let median = times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64);
    (median, times.last().map_or(0.0, Duration::as_secs_f64))
}
