//! Members that come back from suspicions again and again: their machines stand still now and then, and each time they turn
//! out to live. They are given more time; who was never suspected, or once by bad luck, is not.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Instant, NodeId};

/// How many comebacks in a row make a member one that is given more time.
const ENOUGH: u32 = 2;
/// After how long without a suspicion the comebacks of a member are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

/// How often each member came back lately.
#[derive(Debug, Default)]
pub(super) struct Comebacks {
    by_member: BTreeMap<NodeId, (u32, Instant)>,
}

impl Comebacks {
    /// A member that was suspected has spoken up.
    pub(super) fn note(&mut self, now: Instant, member: NodeId) {
        let count = self.lately(now, member);
        self.by_member.insert(member, (count.saturating_add(1), now));
    }

    /// What is added to the time that a suspect has: half of it, for one that came back often enough.
    pub(super) fn more_for(&self, now: Instant, member: NodeId, wait: Duration) -> Duration {
        if self.lately(now, member) >= ENOUGH { wait / 2 } else { Duration::ZERO }
    }

    /// Forgets all but some members.
    pub(super) fn retain(&mut self, keep: impl Fn(&NodeId) -> bool) {
        self.by_member.retain(|member, _| keep(member));
    }

    fn lately(&self, now: Instant, member: NodeId) -> u32 {
        let recent = self.by_member.get(&member).filter(|(_, at)| now.since(*at) < FORGOTTEN_AFTER);
        recent.map_or(0, |(count, _)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_again_and_again_is_given_half_as_much_time_more_and_loses_it_by_being_well() {
        let (member, other, wait) = (NodeId([1; 32]), NodeId([2; 32]), Duration::from_secs(4));
        let mut comebacks = Comebacks::default();
        comebacks.note(Instant::from_millis(0), member);
        assert_eq!(comebacks.more_for(Instant::from_millis(1), member, wait), Duration::ZERO);
        comebacks.note(Instant::from_millis(60_000), member);
        assert_eq!(comebacks.more_for(Instant::from_millis(60_001), member, wait), Duration::from_secs(2));
        assert_eq!(comebacks.more_for(Instant::from_millis(60_001), other, wait), Duration::ZERO);
        assert_eq!(comebacks.more_for(Instant::from_millis(180_000), member, wait), Duration::ZERO);
        comebacks.note(Instant::from_millis(180_000), member);
        assert_eq!(comebacks.more_for(Instant::from_millis(180_001), member, wait), Duration::ZERO);
    }
}
