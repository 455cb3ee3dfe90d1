//! What was computed once and is worth keeping: loaded documents, merges and checked signatures.
//!
//! Merging is a pure function of (state, change), so in the simulator hundreds of nodes share one memo and each merge is
//! done once. A memo never changes a result, only how long it takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use automerge::{Automerge, Change};

use crate::object::ObjectState;
use crate::opened::Opened;
use crate::{ObjectKey, WriteId};

/// How much a memo keeps; the oldest falls out.
#[derive(Debug, Clone, Copy)]
pub struct MemoLimits {
    /// Loaded documents, about 20 KB each.
    pub documents: usize,
    /// Results of merges.
    pub merges: usize,
    /// Signatures known to be good, 32 bytes each.
    pub signatures: usize,
    /// Whether envelopes with good signatures are kept as they were read, for others to share.
    pub shares_envelopes: bool,
}

impl MemoLimits {
    /// For a daemon: documents of objects that were edited apart lately, no merges (each comes once).
    pub const DAEMON: MemoLimits = MemoLimits { documents: 256, merges: 0, signatures: 4096, shares_envelopes: false };
    /// For a simulator that many nodes share.
    pub const SIMULATOR: MemoLimits =
        MemoLimits { documents: 20_000, merges: 200_000, signatures: 400_000, shares_envelopes: true };
}

/// A shared, bounded memory of pure results. Clones share it.
#[derive(Clone)]
pub struct Memo(Arc<Mutex<Inner>>);

/// What it holds is nobody's business in a log, and much.
impl std::fmt::Debug for Memo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memo(..)")
    }
}

type MergeName = (ObjectKey, u64, WriteId);

struct Inner {
    limits: MemoLimits,
    documents: Bounded<(ObjectKey, u64), Automerge>,
    merges: Bounded<MergeName, Arc<ObjectState>>,
    signatures: Bounded<[u8; 32], Option<Opened>>,
}

impl Memo {
    /// An empty memo.
    #[must_use]
    pub fn new(limits: MemoLimits) -> Self {
        let (documents, merges, signatures) = (Bounded::default(), Bounded::default(), Bounded::default());
        Memo(Arc::new(Mutex::new(Inner { limits, documents, merges, signatures })))
    }

    /// The loaded document of a state, a copy.
    pub(crate) fn document(&self, state: &ObjectState) -> Automerge {
        let name = (state.key().clone(), state.version());
        if let Some(doc) = self.lock().documents.get(&name) {
            return doc.clone();
        }
        let mut doc = Automerge::new();
        let changes = state.changes_since(&[]).into_iter();
        // They were admitted before, one by one and in this order, so they load again; if one did not, the object would
        // keep the leaves it has and the next comparison of heads would show the difference.
        let _ = doc.apply_changes(changes.filter_map(|change| Change::from_bytes(change.chunk().to_vec()).ok()));
        self.keep_document(state, doc.clone());
        doc
    }

    pub(crate) fn keep_document(&self, state: &ObjectState, doc: Automerge) {
        let mut inner = self.lock();
        let limit = inner.limits.documents;
        inner.documents.put((state.key().clone(), state.version()), doc, limit);
    }

    pub(crate) fn merged(&self, state: &ObjectState, change: &WriteId) -> Option<Arc<ObjectState>> {
        self.lock().merges.get(&(state.key().clone(), state.version(), *change)).cloned()
    }

    pub(crate) fn keep_merged(&self, state: &ObjectState, change: &WriteId, merged: Arc<ObjectState>) {
        let mut inner = self.lock();
        let limit = inner.limits.merges;
        inner.merges.put((state.key().clone(), state.version(), *change), merged, limit);
    }

    /// Whether a signature is known to be good, by the envelope's digest; with the envelope as it was read, if it was kept.
    pub(crate) fn verified(&self, digest: &[u8; 32]) -> Option<Option<Opened>> {
        self.lock().signatures.get(digest).cloned()
    }

    pub(crate) fn keep_verified(&self, digest: [u8; 32], opened: &Opened) {
        let mut inner = self.lock();
        let (limit, shares) = (inner.limits.signatures, inner.limits.shares_envelopes);
        inner.signatures.put(digest, shares.then(|| opened.clone()), limit);
    }

    /// How many documents are kept.
    #[cfg(test)]
    pub(crate) fn documents(&self) -> usize {
        self.lock().documents.entries.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it is held, and what it holds is only ever a copy of a pure result.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A map that forgets what was put in longest ago.
struct Bounded<K, V> {
    entries: BTreeMap<K, (u64, V)>,
    ages: BTreeMap<u64, K>,
    tick: u64,
}

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Bounded { entries: BTreeMap::new(), ages: BTreeMap::new(), tick: 0 }
    }
}

impl<K: Ord + Clone, V> Bounded<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    fn put(&mut self, key: K, value: V, limit: usize) {
        if limit == 0 {
            return;
        }
        self.tick += 1;
        if let Some((age, _)) = self.entries.insert(key.clone(), (self.tick, value)) {
            self.ages.remove(&age);
        }
        self.ages.insert(self.tick, key);
        while self.entries.len() > limit {
            let Some((_, oldest)) = self.ages.pop_first() else { return };
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_map_forgets_the_oldest() {
        let mut map = Bounded::default();
        for n in 0..5 {
            map.put(n, n, 3);
        }
        map.put(2, 20, 3);
        assert_eq!((map.get(&1), map.get(&2), map.get(&4)), (None, Some(&20), Some(&4)));
        map.put(9, 9, 3);
        assert_eq!((map.get(&3), map.entries.len(), map.ages.len()), (None, 3, 3));
    }
}
