//! The watch log: what changed for clients, in the order in which this daemon learned it, and who waits for it.
//!
//! A client's place in the log is a resourceVersion: the stamp of the entry (the same at all peers) and the tag of this
//! log, drawn when it began. Another peer's tag, or a place that fell out of the log, is answered with "expired", and the
//! client lists again. How a watch is written to its client does not live here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skein_crdt_state::{Kind, WriteId};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::backend::{ApiRef, ProjectedChange, Rendered};
use crate::metrics::Metrics;

/// How many changes the log remembers; a client that was away for longer lists again.
pub const LOG_LIMIT: usize = 4096;
/// How many changes may wait for one watch; a client that reads no faster is cut off and lists again.
pub const WATCH_QUEUE_LIMIT: usize = 1024;

const TAG_BITS: u32 = 16;
const STAMP_BITS: u32 = 47;

/// One change in the log.
#[derive(Debug)]
pub struct Entry {
    /// Its place, counted from 1.
    pub position: u64,
    /// The place as a resourceVersion: the one that the object has now, or that its deletion got.
    pub version: u64,
    /// A stamp that this entry alone has: its own, or where that came before, a new one. Lists stand there.
    cursor: u64,
    /// Which object.
    pub object: ApiRef,
    /// Before.
    pub old: Option<Arc<Rendered>>,
    /// After.
    pub new: Option<Arc<Rendered>>,
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what comes from now on.
    Now,
    /// After the change that a client saw with this resourceVersion.
    After(u64),
}

/// Why a watch could not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// This log does not know the place (any more).
    Expired,
}

/// A watch's end of the log.
#[derive(Debug)]
pub struct Subscription {
    /// What had happened since the place the client named, the oldest first.
    pub backlog: VecDeque<Arc<Entry>>,
    /// What happens from now on. Ends when the watch is cut off or the daemon stops.
    pub queue: mpsc::Receiver<Arc<Entry>>,
    /// The log's end when the watch began.
    pub version: u64,
}

/// The log and the watches that wait for it.
#[derive(Debug)]
pub struct Hub {
    metrics: Arc<Metrics>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    tag: u16,
    log: VecDeque<Arc<Entry>>,
    /// The position of the next entry.
    next: u64,
    /// The cursor of the last entry: where a list stands.
    last_cursor: u64,
    /// The greatest stamp ever given out.
    highest_stamp: u64,
    /// For each stamp in the log: the position where it was first seen, and how many entries have it. The first, so that
    /// a client which resumes there may see a change twice but never misses one.
    places: BTreeMap<u64, (u64, usize)>,
    watchers: BTreeMap<Kind, Vec<Watcher>>,
    closed: bool,
}

#[derive(Debug)]
struct Watcher {
    namespace: Option<Arc<str>>,
    queue: mpsc::Sender<Arc<Entry>>,
    /// Cancelled when the watch's place was given to another, also if its client reads nothing and does not notice.
    out: CancellationToken,
}

impl Watcher {
    fn is_there(&self) -> bool {
        !self.queue.is_closed() && !self.out.is_cancelled()
    }
}

impl Hub {
    /// An empty log. `stamp` is where it begins: no older than anything that can be listed now, if clocks allow.
    #[must_use]
    pub fn new(tag: u16, stamp: u64, metrics: Arc<Metrics>) -> Self {
        let stamp = stamp & ((1 << STAMP_BITS) - 1);
        let inner = Inner {
            tag,
            log: VecDeque::new(),
            next: 1,
            last_cursor: stamp,
            highest_stamp: stamp,
            places: BTreeMap::from([(stamp, (0, 1))]),
            watchers: BTreeMap::new(),
            closed: false,
        };
        Hub { metrics, inner: Mutex::new(inner) }
    }

    /// Feeds the log until the changes end.
    pub async fn run(&self, mut changes: broadcast::Receiver<Arc<Vec<ProjectedChange>>>) {
        loop {
            match changes.recv().await {
                Ok(batch) => self.append(&batch),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "the watch log fell behind; all watches start anew");
                    self.reset(random_tag());
                }
                Err(RecvError::Closed) => return self.close(),
            }
        }
    }

    /// The resourceVersion of an object with this stamp.
    #[must_use]
    pub fn version_of(&self, stamp: u64) -> u64 {
        version(stamp, self.lock().tag)
    }

    /// The resourceVersion of a list that is read after this call: it holds all that the log holds now.
    #[must_use]
    pub fn version(&self) -> u64 {
        let inner = self.lock();
        version(inner.last_cursor, inner.tag)
    }

    /// Adds changes, and hands them to the watches of their kinds.
    pub fn append(&self, batch: &[ProjectedChange]) {
        let mut inner = self.lock();
        for change in batch {
            inner.append(change, &self.metrics);
        }
    }

    /// Begins a watch.
    ///
    /// # Errors
    /// When the place is not in this log, or too many watches are open; then nothing was changed.
    pub fn subscribe(
        &self,
        kind: &Kind,
        namespace: Option<Arc<str>>,
        start: Start,
        out: CancellationToken,
    ) -> Result<Subscription, Refused> {
        let mut inner = self.lock();
        let backlog = match start {
            Start::Now => VecDeque::new(),
            Start::After(version) => inner.since(version, kind, namespace.as_deref()).ok_or(Refused::Expired)?,
        };
        inner.watchers.values_mut().for_each(|watchers| watchers.retain(Watcher::is_there));
        let (sender, queue) = mpsc::channel(WATCH_QUEUE_LIMIT);
        if !inner.closed {
            inner.watchers.entry(kind.clone()).or_default().push(Watcher { namespace, queue: sender, out });
        }
        let version = version(inner.last_cursor, inner.tag);
        Ok(Subscription { backlog, queue, version })
    }

    /// The heads that an object had when a client saw it with this stamp, as far as the log remembers.
    #[must_use]
    pub fn heads_at(&self, object: &ApiRef, stamp: u64) -> Option<Vec<WriteId>> {
        let inner = self.lock();
        let seen = |entry: &Arc<Entry>| {
            let versions = [&entry.new, &entry.old].into_iter().flatten();
            let rendered = versions.into_iter().find(|rendered| rendered.stamp == stamp)?;
            Some(rendered.heads.clone())
        };
        inner.log.iter().rev().filter(|entry| entry.object == *object).find_map(seen)
    }

    /// Whether the watches ended because the daemon stops.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Ends all watches, and begins no more.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.watchers.clear();
    }

    /// Forgets the log under a new tag: all watches are cut off and their clients list again.
    fn reset(&self, tag: u16) {
        self.metrics.watch_resets.increment();
        let mut inner = self.lock();
        // A tag that has just been in use must not be believed.
        inner.tag = if tag == inner.tag { tag.wrapping_add(1) } else { tag };
        inner.log.clear();
        inner.watchers.clear();
        let (cursor, position) = (inner.last_cursor, inner.next - 1);
        inner.places = BTreeMap::from([(cursor, (position, 1))]);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stamp in a resourceVersion: what an optimistic lock compares, the same at all peers.
#[must_use]
pub fn stamp_of(version: u64) -> u64 {
    version >> TAG_BITS
}

/// A tag for a log that begins.
#[must_use]
pub fn random_tag() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness the tag is 0: a client of another peer may then be believed by chance, never harmed for sure.
    let _ = getrandom::fill(&mut bytes);
    u16::from_le_bytes(bytes)
}

fn version(stamp: u64, tag: u16) -> u64 {
    (stamp << TAG_BITS) | u64::from(tag)
}

impl Inner {
    fn append(&mut self, change: &ProjectedChange, metrics: &Metrics) {
        let stamp = match &change.new {
            Some(rendered) => rendered.stamp,
            // A deletion has a version of its own, so that who saw it can resume after it.
            None => self.highest_stamp + 1,
        };
        let position = self.next;
        self.next += 1;
        self.highest_stamp = self.highest_stamp.max(stamp);
        self.places.entry(stamp).or_insert((position, 0)).1 += 1;
        let mut cursor = stamp;
        if self.places.get(&stamp).is_some_and(|(first, _)| *first != position) {
            self.highest_stamp += 1;
            cursor = self.highest_stamp;
            self.places.insert(cursor, (position, 1));
        }
        self.last_cursor = cursor;
        let (object, old, new) = (change.object.clone(), change.old.clone(), change.new.clone());
        let entry = Arc::new(Entry { position, version: version(stamp, self.tag), cursor, object, old, new });
        self.log.push_back(entry.clone());
        if self.log.len() > LOG_LIMIT {
            self.forget_oldest();
        }
        self.hand_out(&entry, metrics);
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.log.pop_front() else { return };
        let stamp = stamp_of(oldest.version);
        let both = [Some(stamp), (oldest.cursor != stamp).then_some(oldest.cursor)];
        for stamp in both.into_iter().flatten() {
            if let Some((_, count)) = self.places.get_mut(&stamp) {
                *count -= 1;
                if *count == 0 {
                    self.places.remove(&stamp);
                }
            }
        }
    }

    fn hand_out(&mut self, entry: &Arc<Entry>, metrics: &Metrics) {
        let Some(watchers) = self.watchers.get_mut(&entry.object.kind) else { return };
        watchers.retain(|watcher| {
            if watcher.namespace.as_ref().is_some_and(|namespace| *namespace != entry.object.namespace) {
                return watcher.is_there();
            }
            if !watcher.is_there() {
                return false;
            }
            match watcher.queue.try_send(entry.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    metrics.watches_cut_off.increment();
                    false
                }
            }
        });
    }

    /// What came after a place, or `None` if the log cannot tell.
    fn since(&self, version: u64, kind: &Kind, namespace: Option<&str>) -> Option<VecDeque<Arc<Entry>>> {
        if version & ((1 << TAG_BITS) - 1) != u64::from(self.tag) {
            return None;
        }
        let (place, _) = *self.places.get(&stamp_of(version))?;
        let oldest = self.next - self.log.len() as u64;
        let skip = (place + 1).checked_sub(oldest)?;
        let wanted = |entry: &&Arc<Entry>| {
            entry.object.kind == *kind && namespace.is_none_or(|namespace| *entry.object.namespace == *namespace)
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Some(self.log.iter().skip(skip).filter(wanted).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn hub() -> Hub {
        Hub::new(7, 100, Arc::default())
    }

    fn no_end() -> CancellationToken {
        CancellationToken::new()
    }

    fn pods() -> Kind {
        Kind::new("Pod")
    }

    fn rendered(stamp: u64) -> Arc<Rendered> {
        let value = Arc::new(json!({"metadata": {"name": "x"}}));
        Arc::new(Rendered { value, key: None, heads: vec![WriteId([stamp as u8; 32])], stamp })
    }

    fn change(namespace: &str, old: Option<u64>, new: Option<u64>) -> ProjectedChange {
        let object = ApiRef { kind: pods(), namespace: namespace.into(), name: "x".into() };
        ProjectedChange { object, old: old.map(rendered), new: new.map(rendered) }
    }

    fn positions(subscription: &Subscription) -> Vec<u64> {
        subscription.backlog.iter().map(|entry| entry.position).collect()
    }

    #[test]
    fn a_client_resumes_where_it_was() {
        let hub = hub();
        let listed = hub.version();
        hub.append(&[change("a", None, Some(200)), change("b", None, Some(150)), change("a", Some(200), None)]);
        let all = hub.subscribe(&pods(), None, Start::After(listed), no_end()).unwrap();
        assert_eq!(positions(&all), [1, 2, 3]);
        let after_first = hub.subscribe(&pods(), None, Start::After(hub.version_of(200)), no_end()).unwrap();
        assert_eq!(positions(&after_first), [2, 3]);
        let in_a = hub.subscribe(&pods(), Some("a".into()), Start::After(listed), no_end()).unwrap();
        assert_eq!(positions(&in_a), [1, 3]);
        let deleted = all.backlog[2].version;
        assert_eq!(positions(&hub.subscribe(&pods(), None, Start::After(deleted), no_end()).unwrap()), [0u64; 0]);
        assert!(deleted > all.backlog[0].version, "a deletion has a version of its own");
    }

    #[test]
    fn a_place_that_this_log_does_not_know_is_expired() {
        let hub = hub();
        hub.append(&[change("a", None, Some(200))]);
        for wrong in [version(200, 8), version(199, 7), 0, u64::MAX] {
            assert_eq!(hub.subscribe(&pods(), None, Start::After(wrong), no_end()).err(), Some(Refused::Expired));
        }
    }

    #[test]
    fn a_place_that_fell_out_of_the_log_is_expired_even_if_its_stamp_came_again() {
        let hub = hub();
        let start = hub.version();
        hub.append(&[change("a", None, Some(200))]);
        for n in 0..LOG_LIMIT as u64 {
            hub.append(&[change("a", None, Some(1000 + n))]);
        }
        hub.append(&[change("a", None, Some(200)), change("a", None, Some(1001)), change("a", None, Some(9999))]);
        assert_eq!(hub.subscribe(&pods(), None, Start::After(start), no_end()).err(), Some(Refused::Expired));
        // 1001 was first seen early, and that entry has left the log: from there on something would be missing.
        assert_eq!(
            hub.subscribe(&pods(), None, Start::After(hub.version_of(1001)), no_end()).err(),
            Some(Refused::Expired)
        );
        assert_eq!(hub.subscribe(&pods(), None, Start::After(hub.version_of(200)), no_end()).unwrap().backlog.len(), 2);
        assert_eq!(hub.lock().log.len(), LOG_LIMIT);
        assert!(hub.lock().places.len() <= 2 * LOG_LIMIT + 1);
    }

    #[test]
    fn a_list_always_stands_at_a_place_of_its_own() {
        let hub = hub();
        for _ in 0..2 * LOG_LIMIT {
            hub.append(&[change("a", None, Some(200))]);
        }
        let listed = hub.version();
        assert_eq!(positions(&hub.subscribe(&pods(), None, Start::After(listed), no_end()).unwrap()), [0u64; 0]);
        hub.append(&[change("a", None, Some(200))]);
        assert_eq!(hub.subscribe(&pods(), None, Start::After(listed), no_end()).unwrap().backlog.len(), 1);
    }

    #[test]
    fn a_watch_hears_what_comes_and_only_of_its_kind_and_namespace() {
        let hub = hub();
        let mut watch = hub.subscribe(&pods(), Some("a".into()), Start::Now, no_end()).unwrap();
        let mut other = hub.subscribe(&Kind::new("Node"), None, Start::Now, no_end()).unwrap();
        hub.append(&[change("b", None, Some(200)), change("a", None, Some(201))]);
        assert_eq!(watch.queue.try_recv().unwrap().position, 2);
        assert!(watch.queue.try_recv().is_err());
        assert!(other.queue.try_recv().is_err());
    }

    #[test]
    fn who_does_not_read_is_cut_off_and_nobody_else() {
        let hub = hub();
        let mut slow = hub.subscribe(&pods(), None, Start::Now, no_end()).unwrap();
        for n in 0..=WATCH_QUEUE_LIMIT as u64 {
            hub.append(&[change("a", None, Some(200 + n))]);
        }
        assert_eq!(hub.metrics.watches_cut_off.get(), 1);
        let mut received = 0;
        while slow.queue.try_recv().is_ok() {
            received += 1;
        }
        assert_eq!(received, WATCH_QUEUE_LIMIT);
        assert!(matches!(slow.queue.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
    }

    #[test]
    fn a_watch_whose_place_was_taken_is_forgotten_although_nobody_reads_it() {
        let (hub, out) = (hub(), CancellationToken::new());
        let mut unread = hub.subscribe(&pods(), None, Start::Now, out.clone()).unwrap();
        hub.append(&[change("a", None, Some(200))]);
        out.cancel();
        hub.append(&[change("a", None, Some(201))]);
        assert_eq!(unread.queue.try_recv().unwrap().position, 1);
        assert!(matches!(unread.queue.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
        assert_eq!(hub.metrics.watches_cut_off.get(), 0);
    }

    #[tokio::test]
    async fn a_log_that_fell_behind_begins_anew_and_cuts_off_its_watches() {
        let hub = Arc::new(hub());
        let (sender, receiver) = broadcast::channel(1);
        let before = hub.version();
        let mut watch = hub.subscribe(&pods(), None, Start::Now, no_end()).unwrap();
        sender.send(Arc::new(vec![change("a", None, Some(200))])).unwrap();
        sender.send(Arc::new(vec![change("a", None, Some(201))])).unwrap();
        drop(sender);
        hub.run(receiver).await;
        assert_eq!(hub.metrics.watch_resets.get(), 1);
        assert!(watch.queue.recv().await.is_none());
        assert_eq!(hub.subscribe(&pods(), None, Start::After(before), no_end()).err(), Some(Refused::Expired));
    }

    #[test]
    fn the_log_remembers_which_heads_a_version_meant() {
        let hub = hub();
        hub.append(&[change("a", None, Some(200)), change("a", Some(200), Some(201))]);
        let object = change("a", None, None).object;
        assert_eq!(hub.heads_at(&object, 200), Some(vec![WriteId([200; 32])]));
        assert_eq!(hub.heads_at(&object, 202), None);
    }
}
