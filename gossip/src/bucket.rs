//! How much of something may come in a second: a bucket that fills with time, and one for each of many sources. What is
//! counted, and what happens when a bucket is empty, does not live here.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Instant;

/// What one thing counts in a bucket: a millionth of it flows in each microsecond at a rate of one a second.
const ONE: i64 = 1_000_000;

/// How much may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many in a second.
    pub per_second: u32,
    /// So many at once after a while in which nothing came.
    pub burst: u32,
}

/// A bucket that is full at first, and fills with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    rate: Rate,
    /// In millionths; below nothing after [`Bucket::pay`] took more than there was.
    left: i64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, left: i64::from(rate.burst) * ONE, at: now }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let some = self.left >= ONE;
        if some {
            self.left -= ONE;
        }
        some
    }

    /// Takes so many whether they are there or not; how long it takes until the debt is paid.
    pub fn pay(&mut self, now: Instant, count: usize) -> Duration {
        self.fill(now);
        let count = i64::try_from(count).unwrap_or(i64::MAX / ONE).min(i64::MAX / ONE);
        self.left = self.left.saturating_sub(count * ONE);
        // What is missing in millionths is missing for so many microseconds times the rate.
        let missing = self.left.min(0).unsigned_abs();
        Duration::from_micros(missing.div_ceil(u64::from(self.rate.per_second.max(1))))
    }

    /// Whether at least half of it is there.
    pub fn is_half_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.left >= i64::from(self.rate.burst) * ONE / 2
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.left >= i64::from(self.rate.burst) * ONE
    }

    fn fill(&mut self, now: Instant) {
        let micros = i64::try_from(now.since(self.at).as_micros()).unwrap_or(i64::MAX);
        self.at = self.at.max(now);
        let more = micros.saturating_mul(i64::from(self.rate.per_second));
        self.left = self.left.saturating_add(more).min(i64::from(self.rate.burst) * ONE);
    }
}

/// A bucket for each source. Full ones are forgotten when there are too many, and then the one that was used longest ago.
#[derive(Debug, Clone)]
pub struct Buckets<S> {
    rate: Rate,
    most: usize,
    of: BTreeMap<S, Bucket>,
}

impl<S: Ord + Clone> Buckets<S> {
    /// None yet; at most `most` sources are remembered.
    #[must_use]
    pub fn new(rate: Rate, most: usize) -> Self {
        Self { rate, most, of: BTreeMap::new() }
    }

    /// Takes one from this source's bucket, if there is one.
    pub fn take(&mut self, now: Instant, source: &S) -> bool {
        if !self.of.contains_key(source) && self.of.len() >= self.most {
            self.make_room(now);
        }
        self.of.entry(source.clone()).or_insert_with(|| Bucket::new(self.rate, now)).take(now)
    }

    fn make_room(&mut self, now: Instant) {
        self.of.retain(|_, bucket| !bucket.is_full(now));
        if self.of.len() >= self.most
            && let Some(oldest) = self.of.iter().min_by_key(|(_, bucket)| bucket.left).map(|(source, _)| source.clone())
        {
            self.of.remove(&oldest);
        }
    }
}

/// How much one peer says on one lane: frames and bytes. Above either it has to wait; who goes on all the same is told apart
/// from who had much to say once.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    frames: Bucket,
    bytes: Bucket,
    patience: Option<Duration>,
    over_since: Option<Instant>,
}

/// What to do after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Read on.
    Go,
    /// Read on after so long.
    Pause(Duration),
    /// It has gone on above the rate for longer than is put up with.
    Flood,
}

impl Flow {
    /// A flow that may be so wide, and is a flood when it was wider for `patience`; never without one.
    #[must_use]
    pub fn new(frames: Rate, bytes: Rate, patience: Option<Duration>, now: Instant) -> Self {
        Self { frames: Bucket::new(frames, now), bytes: Bucket::new(bytes, now), patience, over_since: None }
    }

    /// One frame came.
    pub fn frame(&mut self, now: Instant, bytes: usize) -> Pace {
        let pause = self.frames.pay(now, 1).max(self.bytes.pay(now, bytes));
        if pause.is_zero() {
            if self.frames.is_half_full(now) && self.bytes.is_half_full(now) {
                self.over_since = None;
            }
            return Pace::Go;
        }
        let since = *self.over_since.get_or_insert(now);
        match self.patience {
            Some(patience) if now.since(since) >= patience => Pace::Flood,
            _ => Pace::Pause(pause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 20 };

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn a_burst_is_served_and_then_so_many_each_second() {
        let mut bucket = Bucket::new(RATE, at(0));
        assert_eq!((0..100).filter(|_| bucket.take(at(0))).count(), 20);
        assert_eq!((0..100).filter(|_| bucket.take(at(1000))).count(), 10);
        assert_eq!((0..100).filter(|_| bucket.take(at(900))).count(), 0, "time does not go back");
    }

    #[test]
    fn who_takes_more_than_there_is_waits_until_it_is_paid() {
        let mut bucket = Bucket::new(RATE, at(0));
        assert_eq!(bucket.pay(at(0), 20), Duration::ZERO);
        assert_eq!(bucket.pay(at(0), 5), Duration::from_millis(500));
        assert!(!bucket.take(at(500)));
        assert!(bucket.take(at(600)));
        assert!(bucket.pay(at(600), usize::MAX) > Duration::from_secs(3600), "no sum overflows");
    }

    #[test]
    fn one_source_does_not_use_up_what_another_may_take() {
        let mut buckets = Buckets::new(RATE, 3);
        assert_eq!((0..100).filter(|_| buckets.take(at(0), &1)).count(), 20);
        assert!(buckets.take(at(0), &2));
    }

    #[test]
    fn many_sources_do_not_make_the_table_grow_and_one_that_is_at_its_limit_is_not_set_free_by_two_others() {
        let mut buckets = Buckets::new(RATE, 3);
        for source in 0..1000 {
            buckets.take(at(0), &source);
            assert!(buckets.of.len() <= 3);
        }
    }

    #[test]
    fn a_flood_is_who_goes_on_and_not_who_had_much_to_say_once() {
        let flow = || Flow::new(RATE, Rate { per_second: 1000, burst: 2000 }, Some(Duration::from_secs(5)), at(0));
        let mut once = flow();
        assert!((0..20).all(|_| once.frame(at(0), 1) == Pace::Go));
        assert_eq!(once.frame(at(0), 1), Pace::Pause(Duration::from_millis(100)));
        assert_eq!(once.frame(at(4000), 1), Pace::Go);
        assert!((0..40).all(|_| once.frame(at(6000), 1) != Pace::Flood), "it was quiet in between");

        let mut long = flow();
        assert_eq!(long.frame(at(0), 3000), Pace::Pause(Duration::from_secs(1)), "bytes count as well");
        let mut now = at(1000);
        let flood = (0..1000).find_map(|_| match long.frame(now, 100) {
            Pace::Go => None,
            Pace::Pause(pause) => {
                now += pause;
                None
            }
            Pace::Flood => Some(now),
        });
        let flood = flood.map(|at| at.since(Instant::ZERO).as_secs());
        assert!(flood.is_some_and(|after| (5..=7).contains(&after)), "{flood:?}");
    }

    #[test]
    fn a_flow_without_patience_only_pauses() {
        let mut flow = Flow::new(RATE, RATE, None, at(0));
        assert!((0..1000).all(|n| flow.frame(at(n * 10), 1) != Pace::Flood));
    }
}
