//! The way to the disk: what waits to be written, what is on its way, and what to do when the disk refuses. Nothing that was
//! refused is forgotten: it is written again, in one batch with all that came meanwhile, until the disk takes it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use skein_crdt_state::Record;
use skein_crdt_state::store::Damaged;
use skein_gossip::Now;
use skein_gossip::planted::{self, Bug};

use super::catch_up::HEARS_AGAIN;
use super::{Effect, Node, Wait};
use crate::status::Event;

/// How long after a refusal the disk is asked again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The first batch of a start: it holds the start's number.
const FIRST_BATCH: u64 = 1;

/// A key or a value.
type Bytes = Arc<[u8]>;

/// What is between the state and the disk.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The last batch that was handed over.
    batch: u64,
    /// The last batch that is on disk.
    on_disk: u64,
    /// What waits for the next batch.
    waiting: Vec<Record>,
    /// Batches that were handed over and of which nothing was heard.
    under_way: VecDeque<(u64, Arc<[Record]>)>,
    /// While the disk refuses.
    refusal: Option<Refusal>,
}

/// The disk refuses.
#[derive(Debug)]
struct Refusal {
    reason: String,
    /// What must be written when it takes something again: each record as it was meant last.
    owed: BTreeMap<(&'static str, Bytes), Option<Bytes>>,
    /// The batch that asks again, while it is under way.
    asked: Option<u64>,
}

impl Outbox {
    /// The last batch that is on disk.
    pub(crate) fn on_disk(&self) -> u64 {
        self.on_disk
    }

    /// The last batch that was handed over.
    pub(crate) fn last_batch(&self) -> u64 {
        self.batch
    }

    /// The batch that holds the number of this start, until it is on disk. Nothing that is ordered by that number may leave
    /// before: a start that is cut short would be followed by another of the same number.
    pub(crate) fn unnumbered(&self) -> Option<u64> {
        (self.on_disk < FIRST_BATCH).then_some(FIRST_BATCH)
    }

    /// Why the disk takes nothing, while it does not.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.refusal.as_ref().map(|refusal| refusal.reason.as_str())
    }

    /// Whether nothing waits to be put into the next batch.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.refusal.as_ref().is_none_or(|refusal| refusal.owed.is_empty())
    }

    pub(crate) fn add(&mut self, records: impl IntoIterator<Item = Record>) {
        self.waiting.extend(records);
    }

    /// The next batch, if there is something to write and the disk takes it.
    fn next(&mut self) -> Option<Effect> {
        if self.waiting.is_empty() {
            return None;
        }
        let waiting = std::mem::take(&mut self.waiting);
        match &mut self.refusal {
            Some(refusal) => refusal.owe(&waiting),
            None => return Some(self.hand_over(waiting.into(), false)),
        }
        None
    }

    fn hand_over(&mut self, records: Arc<[Record]>, again: bool) -> Effect {
        self.batch += 1;
        self.under_way.push_back((self.batch, records.clone()));
        Effect::Persist { batch: self.batch, records, again }
    }

    /// The batch that asks a disk which refused whether it takes something again.
    fn ask_again(&mut self) -> Option<Effect> {
        let refusal = self.refusal.as_mut().filter(|refusal| refusal.asked.is_none())?;
        let owed = std::mem::take(&mut refusal.owed);
        refusal.asked = Some(self.batch + 1);
        let records: Arc<[Record]> =
            owed.into_iter().map(|((table, key), value)| Record { table, key, value }).collect();
        Some(self.hand_over(records, true))
    }

    /// A batch is on disk; whether the disk had refused before.
    fn written(&mut self, batch: u64) -> bool {
        self.on_disk = self.on_disk.max(batch);
        while self.under_way.front().is_some_and(|(of, _)| *of <= batch) {
            self.under_way.pop_front();
        }
        let Some(refusal) = self.refusal.take_if(|refusal| refusal.asked.is_some_and(|asked| asked <= batch)) else {
            return false;
        };
        let owed = refusal.owed.into_iter().map(|((table, key), value)| Record { table, key, value });
        self.waiting.splice(0..0, owed);
        true
    }

    /// The disk has refused a batch, and all that were handed over after it. `false`: that is no news.
    fn refused(&mut self, batch: u64, reason: &str) -> bool {
        let is_old = self.refusal.as_ref().is_some_and(|refusal| refusal.asked != Some(batch));
        if is_old || batch <= self.on_disk {
            return false;
        }
        let before = self.refusal.take();
        let mut refusal = Refusal { reason: reason.to_owned(), owed: BTreeMap::new(), asked: None };
        for (_, records) in self.under_way.drain(..) {
            refusal.owe(&records);
        }
        refusal.owed.extend(before.into_iter().flat_map(|before| before.owed));
        self.refusal = Some(refusal);
        true
    }
}

impl Refusal {
    fn owe(&mut self, records: &[Record]) {
        for record in records {
            self.owed.insert((record.table, record.key.clone()), record.value.clone());
        }
    }
}

impl Node {
    /// The batch that what was said until now will be written in.
    pub(super) fn coming_batch(&self) -> u64 {
        // The batch that asks again was made before what was said since.
        self.outbox.last_batch() + 1
    }

    /// Hands over what waits for the disk.
    pub(super) fn persist(&mut self, now: Now) {
        // The mistake keeps everything in memory but for the first fifth of a second in each eight.
        let is_put_off = planted::is(Bug::AckBeforeDisk) && now.mono.0 % 8_000_000 > 200_000;
        if !is_put_off {
            self.outbox.add(self.store.drain_records());
        }
        self.effects.extend(self.outbox.next());
    }

    pub(super) fn ask_disk_again(&mut self) {
        self.effects.extend(self.outbox.ask_again());
    }

    pub(super) fn persisted(&mut self, now: Now, batch: u64) {
        if self.outbox.written(batch) {
            self.status.disk = if self.has_state() { String::new() } else { HEARS_AGAIN.to_owned() };
            self.say_status(now);
            self.election.handle(now, crate::election::Input::DiskRefuses(false));
            self.disk_event(now, false, "DiskTakesWrites", "the disk takes writes again; nothing was lost".into());
        }
        let until = self.election_batches.iter().filter(|(_, of)| **of <= batch).map(|(seq, _)| *seq).max();
        if let Some(seq) = until {
            self.election_batches.retain(|of, _| *of > seq);
            self.election.handle(now, crate::election::Input::Persisted(seq));
        }
        self.own_is_written(now);
        self.finish_writes(now);
    }

    /// The disk refuses: writes are refused with it, and all else goes on.
    pub(super) fn persist_failed(&mut self, now: Now, batch: u64, reason: &str) {
        let is_new = self.outbox.refusal().is_none();
        if !self.outbox.refused(batch, reason) {
            return;
        }
        self.timers.set(Wait::Disk, now.mono + TRY_AGAIN);
        self.refuse_writes_since(now, batch, reason);
        if is_new {
            reason.clone_into(&mut self.status.disk);
            self.say_status(now);
            self.election.handle(now, crate::election::Input::DiskRefuses(true));
            self.disk_event(now, true, "DiskRefusesWrites", format!("{reason}; running pods stay, writes are refused"));
        }
    }

    /// What on the disk could not be used is set aside there for people.
    pub(super) fn set_aside(&mut self, damaged: &[Damaged]) {
        self.outbox.add(damaged.iter().flat_map(Damaged::set_aside));
    }

    /// It is named as well.
    pub(super) fn name_damage(&mut self, now: Now, damaged: &[Damaged]) {
        for record in damaged {
            let message =
                format!("{}: {}; it is set aside and taken from the peers again", record.name(), record.reason);
            self.disk_event(now, true, "DamagedRecord", message);
        }
    }

    fn disk_event(&mut self, now: Now, warning: bool, reason: &str, message: String) {
        let name = self.config.name.clone();
        self.event(Event {
            kind: "Node".into(),
            namespace: String::new(),
            uid: String::new(),
            name,
            warning,
            reason: reason.into(),
            message,
            source: "disk".into(),
            first_ms: now.wall_ms,
            last_ms: now.wall_ms,
            count: 1,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> Record {
        Record { table: "t", key: key.as_bytes().into(), value: Some(value.as_bytes().into()) }
    }

    fn batch(effect: Option<Effect>) -> Option<(u64, Vec<String>, bool)> {
        let Some(Effect::Persist { batch, records, again }) = effect else { return None };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said =
            |record: &Record| format!("{}={}", text(&record.key), text(record.value.as_deref().unwrap_or_default()));
        Some((batch, records.iter().map(said).collect(), again))
    }

    #[test]
    fn what_was_refused_is_written_again_with_all_that_came_since() {
        let mut outbox = Outbox::default();
        for (key, value) in [("a", "1"), ("b", "1"), ("c", "1")] {
            outbox.add([record(key, value)]);
            assert!(batch(outbox.next()).is_some());
        }
        assert!(!outbox.written(1));
        assert!(outbox.refused(2, "full"));
        assert!(!outbox.refused(3, "full"), "the later batch was under way too: that is no news");
        outbox.add([record("b", "2")]);
        assert_eq!(batch(outbox.next()), None);
        assert_eq!(batch(outbox.ask_again()), Some((4, vec!["b=2".into(), "c=1".into()], true)));
        outbox.add([record("d", "1")]);
        assert_eq!(batch(outbox.next()), None);
        assert_eq!((outbox.on_disk(), outbox.refusal()), (1, Some("full")));
        assert!(outbox.written(4));
        assert_eq!(outbox.refusal(), None);
        outbox.add([record("e", "1")]);
        assert_eq!(batch(outbox.next()), Some((5, vec!["d=1".into(), "e=1".into()], false)));
    }

    #[test]
    fn a_disk_that_refuses_again_is_asked_again_for_all_of_it() {
        let mut outbox = Outbox::default();
        outbox.add([record("a", "1")]);
        assert!(batch(outbox.next()).is_some());
        assert!(outbox.refused(1, "full"));
        assert!(batch(outbox.ask_again()).is_some());
        assert_eq!(batch(outbox.ask_again()), None, "it was asked already");
        outbox.add([record("a", "2")]);
        assert_eq!(batch(outbox.next()), None);
        assert!(outbox.refused(2, "still full"));
        assert_eq!(batch(outbox.ask_again()), Some((3, vec!["a=2".into()], true)));
        assert_eq!(outbox.refusal(), Some("still full"));
    }
}
