//! How far a node trusts its own perception: Lifeguard's local health.
//!
//! A node that handles its timers late, or hears nobody at all, is more likely the one that is unwell than all the
//! others are. It then gives the others more time before it accuses them.

/// The worst score. At the worst every wait is three times as long.
const MAX_SCORE: u32 = 4;

/// How far hearing nobody can push the score. It is kept small because a node that is cut off hears nobody either, and
/// must come to know in a few seconds that it is alone.
const MAX_SCORE_BY_SILENCE: u32 = 1;

/// Local health. Zero is well.
#[derive(Debug, Clone, Copy)]
pub(super) struct Health {
    score: u32,
    /// The worst that the score may become: 0 for a node that never doubts itself.
    worst: u32,
}

impl Health {
    /// The health of a node that is well. One that does not doubt itself stays so whatever happens.
    pub(super) fn new(doubts_itself: bool) -> Self {
        Self { score: 0, worst: if doubts_itself { MAX_SCORE } else { 0 } }
    }

    /// Whether the node ever doubts itself.
    pub(super) fn doubts_itself(self) -> bool {
        self.worst > 0
    }

    /// A probe was answered in time.
    pub(super) fn probe_was_answered(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// A probe went unanswered while nobody else was heard either.
    pub(super) fn heard_nobody(&mut self) {
        if self.score < MAX_SCORE_BY_SILENCE.min(self.worst) {
            self.score += 1;
        }
    }

    /// Others suspected this node, which was well enough to learn of it.
    pub(super) fn was_suspected(&mut self) {
        self.score = (self.score + 1).min(self.worst);
    }

    /// Own deadlines were missed by so many times the expected round trip.
    pub(super) fn was_late(&mut self, round_trips: u32) {
        self.score = self.score.saturating_add(round_trips.max(1)).min(self.worst);
    }

    /// A wait of this length, stretched by the doubt.
    pub(super) fn stretch(self, wait: std::time::Duration) -> std::time::Duration {
        wait * (2 + self.score) / 2
    }

    /// The score: 0 is well, 4 is the worst.
    pub(super) fn score(self) -> u32 {
        self.score
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn doubt_grows_to_a_bound_and_fades_with_answers() {
        let mut health = Health::new(true);
        health.was_late(1000);
        assert_eq!(health.stretch(Duration::from_secs(1)), Duration::from_secs(3));
        for _ in 0..MAX_SCORE {
            health.probe_was_answered();
        }
        assert_eq!(health.stretch(Duration::from_secs(1)), Duration::from_secs(1));
    }

    #[test]
    fn a_node_that_does_not_doubt_itself_stretches_nothing() {
        let mut health = Health::new(false);
        health.was_late(1000);
        health.was_suspected();
        health.heard_nobody();
        assert_eq!((health.score(), health.stretch(Duration::from_secs(1))), (0, Duration::from_secs(1)));
        assert!(!health.doubts_itself() && Health::new(true).doubts_itself());
    }

    #[test]
    fn silence_alone_delays_a_verdict_by_half() {
        let mut health = Health::new(true);
        for _ in 0..10 {
            health.heard_nobody();
        }
        assert_eq!(health.stretch(Duration::from_secs(2)), Duration::from_secs(3));
    }
}
