//! Places that somebody unknown may take: so many for each source and so many in all. A newcomer always gets one; who has
//! had its place for the longest time goes, first of the newcomer's own source, and else of the source that has most. So who
//! holds all that it can get keeps out nobody but itself. What a place is does not live here.

use std::collections::BTreeMap;

/// Why somebody has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Its source has as many places as one may have.
    Source,
    /// All places are taken.
    All,
}

/// Who has a place, by the order in which they came.
#[derive(Debug, Clone)]
pub struct Places<S, I> {
    per_source: usize,
    overall: usize,
    next: u64,
    held: BTreeMap<u64, (S, I)>,
    number_of: BTreeMap<I, u64>,
    count_of: BTreeMap<S, usize>,
}

impl<S: Ord + Clone, I: Ord + Clone> Places<S, I> {
    /// So many for each source, and so many in all.
    #[must_use]
    pub fn new(per_source: usize, overall: usize) -> Self {
        let (held, number_of, count_of) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { per_source, overall, next: 0, held, number_of, count_of }
    }

    /// Somebody takes a place; who has to go for it, if anybody.
    pub fn take(&mut self, id: I, source: S) -> Option<(I, Full)> {
        self.free(&id);
        let gone = if self.count(&source) >= self.per_source {
            Some((self.oldest_of(&source), Full::Source))
        } else if self.held.len() >= self.overall {
            let fullest = self.count_of.iter().max_by_key(|(_, count)| **count).map(|(source, _)| source.clone());
            let single = self.count_of.values().all(|count| *count <= 1);
            // Where nobody has more than one, the one that came first of all goes.
            let oldest = if single { self.held.first_key_value().map(|(_, (_, id))| id.clone()) } else { None };
            Some((oldest.or_else(|| self.oldest_of(&fullest?)), Full::All))
        } else {
            None
        };
        let gone = gone.and_then(|(id, why)| Some((id?, why)));
        if let Some((id, _)) = &gone {
            self.free(id);
        }
        self.held.insert(self.next, (source.clone(), id.clone()));
        self.number_of.insert(id, self.next);
        *self.count_of.entry(source).or_default() += 1;
        self.next += 1;
        gone
    }

    /// Somebody's place is free again; nothing happens if it had none.
    pub fn free(&mut self, id: &I) {
        let Some((source, _)) = self.number_of.remove(id).and_then(|number| self.held.remove(&number)) else { return };
        if let Some(count) = self.count_of.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.count_of.remove(&source);
            }
        }
    }

    /// How many places a source has.
    #[must_use]
    pub fn count(&self, source: &S) -> usize {
        self.count_of.get(source).copied().unwrap_or(0)
    }

    /// How many places are taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether somebody has a place.
    #[must_use]
    pub fn holds(&self, id: &I) -> bool {
        self.number_of.contains_key(id)
    }

    fn oldest_of(&self, source: &S) -> Option<I> {
        self.held.values().find(|(of, _)| of == source).map(|(_, id)| id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_source_that_is_full_makes_room_with_its_own_oldest() {
        let mut places = Places::new(2, 10);
        assert_eq!(places.take(1, "a"), None);
        assert_eq!(places.take(2, "b"), None);
        assert_eq!(places.take(3, "a"), None);
        assert_eq!(places.take(4, "a"), Some((1, Full::Source)));
        assert_eq!((places.count(&"a"), places.count(&"b"), places.len()), (2, 1, 3));
        places.free(&4);
        assert_eq!(places.take(5, "a"), None, "a place that is free again is one");
    }

    #[test]
    fn when_all_are_taken_the_source_that_has_most_gives_one() {
        let mut places = Places::new(3, 5);
        for (id, source) in [(1, "b"), (2, "a"), (3, "a"), (4, "a"), (5, "c")] {
            assert_eq!(places.take(id, source), None);
        }
        assert_eq!(places.take(6, "d"), Some((2, Full::All)));
        assert!(places.holds(&1) && places.holds(&5) && places.holds(&6));
    }

    #[test]
    fn where_each_source_has_one_the_first_goes() {
        let mut places = Places::new(2, 3);
        assert!([(1, 30), (2, 20), (3, 10)].into_iter().all(|(id, source)| places.take(id, source).is_none()));
        assert_eq!(places.take(4, 40), Some((1, Full::All)));
    }

    proptest! {
        #[test]
        fn a_newcomer_has_a_place_and_no_limit_is_passed(steps in prop::collection::vec((0u8..6, 0u8..40, any::<bool>()), 0..300)) {
            let mut places = Places::new(4, 10);
            for (source, id, takes) in steps {
                if takes {
                    places.take(id, source);
                    prop_assert!(places.holds(&id));
                } else {
                    places.free(&id);
                    prop_assert!(!places.holds(&id));
                }
                prop_assert!(places.len() <= 10 && (0..6).all(|source| places.count(&source) <= 4));
                prop_assert_eq!((0..6).map(|source| places.count(&source)).sum::<usize>(), places.len());
                prop_assert_eq!(places.number_of.len(), places.len());
            }
        }
    }
}
