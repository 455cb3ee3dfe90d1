//! Where a time is on the page. A long wait at the end is drawn denser, so that what led to it can still be seen.

/// Where the end of a run is, in percent of the width: what is marked there needs room.
const END: f64 = 99.3;
/// How much of the width the time after everything was mended gets at most, in percent.
const MAX_SETTLING: f64 = 30.0;
/// How far apart ticks are at least, in percent of the width.
const MIN_TICK: f64 = 4.5;
/// How many seconds may be between two ticks.
const STEPS_S: [u64; 9] = [1, 2, 5, 10, 20, 30, 60, 120, 300];
const S: u64 = 1_000_000;

/// A scale from virtual microseconds to percent of the width.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    /// When everything was mended, or the end.
    pub(super) mended_us: u64,
    /// The end of the run.
    pub(super) end_us: u64,
    /// Where it is mended, in percent.
    pub(super) mended_at: f64,
}

impl Scale {
    /// A scale for a run of this length.
    pub(super) fn new(mended_us: Option<u64>, end_us: u64) -> Self {
        let end_us = end_us.max(1);
        let mended_us = mended_us.unwrap_or(end_us).min(end_us);
        let even = mended_us as f64 / end_us as f64 * END;
        Scale { mended_us, end_us, mended_at: even.max(END - MAX_SETTLING) }
    }

    /// Where a time is.
    pub(super) fn at(&self, us: u64) -> f64 {
        if us <= self.mended_us {
            return us as f64 / self.mended_us.max(1) as f64 * self.mended_at;
        }
        let after = (us.min(self.end_us) - self.mended_us) as f64 / (self.end_us - self.mended_us) as f64;
        self.mended_at + after * (END - self.mended_at)
    }

    /// How wide a stretch of time is; what is very short can still be seen.
    pub(super) fn width(&self, from_us: u64, to_us: u64) -> f64 {
        (self.at(to_us) - self.at(from_us)).max(0.12)
    }

    /// How many times as dense the time after the mending is drawn as the time before it.
    pub(super) fn density(&self) -> f64 {
        let before = self.mended_us as f64 / self.mended_at;
        let after = (self.end_us - self.mended_us) as f64 / (END - self.mended_at).max(f64::EPSILON);
        if self.end_us == self.mended_us { 1.0 } else { after / before }
    }

    /// The times that are named on the axis.
    pub(super) fn ticks(&self) -> Vec<u64> {
        let mut ticks = Vec::new();
        for (from_us, to_us) in [(0, self.mended_us), (self.mended_us, self.end_us)] {
            let percent_per_s = (self.at(to_us) - self.at(from_us)) / (to_us - from_us).max(1) as f64 * S as f64;
            let wide_enough = |step: &&u64| **step as f64 * percent_per_s >= MIN_TICK;
            let step = STEPS_S.iter().find(wide_enough).unwrap_or(&STEPS_S[STEPS_S.len() - 1]) * S;
            let first = if from_us == 0 { 0 } else { (from_us / step + 1) * step };
            // Two ticks must not touch where the density changes.
            let clear = |us: &u64| ticks.last().is_none_or(|last| self.at(*us) - self.at(*last) >= MIN_TICK);
            let more: Vec<u64> = (first..=to_us)
                .step_by(usize::try_from(step).unwrap_or(usize::MAX))
                .skip_while(|us| !clear(us))
                .collect();
            ticks.extend(more);
        }
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_end_is_drawn_as_dense_as_the_rest() {
        let scale = Scale::new(Some(30 * S), 40 * S);
        assert!((scale.at(20 * S) - END / 2.0).abs() < 0.01 && (scale.density() - 1.0).abs() < 0.01);
        assert!((scale.at(40 * S) - END).abs() < 0.01);
    }

    #[test]
    fn a_long_end_is_drawn_denser_and_in_order() {
        let scale = Scale::new(Some(30 * S), 210 * S);
        assert!((scale.at(30 * S) - (END - MAX_SETTLING)).abs() < 0.01, "{}", scale.at(30 * S));
        assert!((scale.density() - 13.86).abs() < 0.01, "{}", scale.density());
        let places: Vec<f64> = (0..=210).map(|s| scale.at(s * S)).collect();
        assert!(places.is_sorted() && (places[210] - END).abs() < 0.01);
    }

    #[test]
    fn ticks_are_apart_enough_to_be_read() {
        for (mended_s, end_s) in [(30, 40), (30, 210), (7, 12), (45, 46), (3000, 3100)] {
            let scale = Scale::new(Some(mended_s * S), end_s * S);
            let ticks: Vec<f64> = scale.ticks().into_iter().map(|us| scale.at(us)).collect();
            assert!(ticks.len() >= 5, "{mended_s} {end_s}: {ticks:?}");
            assert!(ticks.windows(2).all(|pair| pair[1] - pair[0] >= MIN_TICK - 0.01), "{mended_s} {end_s}: {ticks:?}");
        }
    }

    #[test]
    fn a_run_that_was_over_at_once_has_a_scale() {
        let scale = Scale::new(None, 0);
        assert!(scale.at(0) >= 0.0 && scale.at(1) <= 100.0 && scale.density() == 1.0);
        assert!(!scale.ticks().is_empty());
    }
}
