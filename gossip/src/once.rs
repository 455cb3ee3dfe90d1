//! What is said once for each source and reason within a while, however often it happens: a log that an attacker cannot
//! fill. Where it is said does not live here.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Instant;

/// How often the same is said.
pub const SAID_EVERY: Duration = Duration::from_secs(60);
/// How many sources and reasons are remembered. Beyond it nothing is said of further ones until a minute has passed for
/// some: who has many addresses would fill the log otherwise. All are counted in any case.
pub const SAID_AT_MOST: usize = 256;

/// What was said, and when.
#[derive(Debug, Clone)]
pub struct Once<K> {
    said: BTreeMap<K, (Instant, u64)>,
}

impl<K> Default for Once<K> {
    fn default() -> Self {
        Self { said: BTreeMap::new() }
    }
}

impl<K: Ord> Once<K> {
    /// Something happened. Whether it is to be said now, and how often it happened unsaid since it was said last.
    pub fn say(&mut self, now: Instant, key: K) -> Option<u64> {
        if let Some((at, unsaid)) = self.said.get_mut(&key) {
            if now.since(*at) < SAID_EVERY {
                *unsaid += 1;
                return None;
            }
            *at = now;
            return Some(std::mem::take(unsaid));
        }
        if self.said.len() >= SAID_AT_MOST {
            self.said.retain(|_, (at, _)| now.since(*at) < SAID_EVERY);
        }
        if self.said.len() >= SAID_AT_MOST {
            return None;
        }
        self.said.insert(key, (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    #[test]
    fn the_same_is_said_once_in_a_minute_and_then_with_how_often_it_was() {
        let mut once = Once::default();
        assert_eq!(once.say(at(0), ("10.0.0.1", "token")), Some(0));
        assert!((1..50).all(|second| once.say(at(second), ("10.0.0.1", "token")).is_none()));
        assert_eq!(once.say(at(50), ("10.0.0.1", "stream")), Some(0), "another reason");
        assert_eq!(once.say(at(50), ("10.0.0.2", "token")), Some(0), "another source");
        assert_eq!(once.say(at(61), ("10.0.0.1", "token")), Some(49));
    }

    #[test]
    fn many_sources_are_not_all_said() {
        let mut once = Once::default();
        let said = (0..10_000).filter(|source| once.say(at(0), *source).is_some()).count();
        assert_eq!((said, once.said.len()), (SAID_AT_MOST, SAID_AT_MOST));
        assert_eq!(once.say(at(60), 0), Some(0));
        assert_eq!(once.say(at(60), 20_000), Some(0), "a minute later there is room again");
    }
}
