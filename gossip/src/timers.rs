//! A table of named deadlines, so that a machine with many waits shows its caller only the nearest one.

use std::collections::{BTreeMap, BTreeSet};

use crate::Instant;

/// Deadlines by name. Setting a name again moves its deadline.
///
/// Due names come out in the order of their deadlines, equal deadlines in the order of the names, so that two runs with
/// the same inputs fire alike.
#[derive(Debug, Clone)]
pub struct Timers<K> {
    by_name: BTreeMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), by_time: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Sets or moves a deadline.
    pub fn set(&mut self, name: K, at: Instant) {
        if let Some(old) = self.by_name.insert(name.clone(), at) {
            self.by_time.remove(&(old, name.clone()));
        }
        self.by_time.insert((at, name));
    }

    /// Forgets a deadline; nothing happens if there is none.
    pub fn clear(&mut self, name: &K) {
        if let Some(old) = self.by_name.remove(name) {
            self.by_time.remove(&(old, name.clone()));
        }
    }

    /// When `name` is due, if it waits.
    #[must_use]
    pub fn get(&self, name: &K) -> Option<Instant> {
        self.by_name.get(name).copied()
    }

    /// The nearest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes out one name whose deadline has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, _) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, name) = self.by_time.pop_first()?;
        self.by_name.remove(&name);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_moved_fires_once_and_at_its_new_time() {
        let mut timers = Timers::default();
        timers.set("a", Instant(5));
        timers.set("b", Instant(6));
        timers.set("a", Instant(7));
        assert_eq!(timers.next(), Some(Instant(6)));
        assert_eq!(timers.pop_due(Instant(5)), None);
        assert_eq!(timers.pop_due(Instant(9)), Some("b"));
        assert_eq!(timers.pop_due(Instant(9)), Some("a"));
        assert_eq!(timers.pop_due(Instant(9)), None);
    }
}
