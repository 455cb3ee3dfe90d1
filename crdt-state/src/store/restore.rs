//! Bringing the store back from what a disk holds.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Arc, Body, Envelope, Now, ObjectKey, Opened, Received, Record, Store, WriteId, gate, member_records, tables,
};
use crate::gate::GateError;
use skein_gossip::planted::{self, Bug};

/// A record that could not be used: the disk lost or changed some of it. It is set aside; peers give it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its table.
    pub table: String,
    /// Its key, as far as it is text.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
    /// The record's key and value, as they were found.
    pub record: (Vec<u8>, Vec<u8>),
}

impl Damaged {
    /// The record in words.
    #[must_use]
    pub fn name(&self) -> String {
        format!("the record {} of {}", self.key, self.table)
    }

    /// What must be written to set it aside: it moves to a table of its own, where people find it.
    #[must_use]
    pub fn set_aside(&self) -> Vec<Record> {
        let (key, value) = self.record.clone();
        let aside = [self.table.as_bytes(), &[0], &key].concat();
        let kept = Record { table: tables::DAMAGED, key: aside.into(), value: Some(value.into()) };
        let table = tables::ALL.into_iter().find(|table| *table == self.table);
        table.map(|table| Record { table, key: key.into(), value: None }).into_iter().chain([kept]).collect()
    }
}

/// How many boots a start goes beyond the last word that is known, where its clock is behind that: about an hour, by the rate at
/// which clocks give boots, and by chance up to another one. No disk remembers what was said in between, nor what an earlier start said
/// that knew as little.
const LEAP: u64 = 1 << 32;

/// A boot well beyond one that is known to have been, by the nonce of a start.
pub(super) fn leap(last: u64, nonce: u64) -> u64 {
    last.saturating_add(LEAP + nonce % LEAP)
}

/// A record's key and value.
type Raw = (Vec<u8>, Vec<u8>);
/// A record, and what it holds.
type Said = (Raw, Opened);

impl Store {
    /// Takes in what a disk holds: (table, key, value). Must be called once, before anything else becomes known.
    pub fn restore(&mut self, now: Now, records: impl IntoIterator<Item = (String, Vec<u8>, Vec<u8>)>) -> Vec<Damaged> {
        let mut damaged = Vec::new();
        let mut by_table: BTreeMap<String, Vec<Said>> = BTreeMap::new();
        let mut hurt = Hurt::default();
        for (table, key, value) in records {
            if table == tables::DAMAGED {
                hurt.note_aside(&key);
                continue;
            }
            match Envelope::decode(&value).and_then(|envelope| self.open(&Arc::new(envelope))) {
                Ok(opened) => by_table.entry(table).or_default().push(((key, value), opened)),
                Err(error) => damaged.push(damage(&table, (key, value), error.to_string())),
            }
        }
        let kept = [tables::MEMBERS, tables::MEMBERS_COPY].map(|table| by_table.get(table).map_or(0, Vec::len));
        self.outlive_earlier_words(by_table.values().flatten().map(|(_, said)| &**said.envelope()));
        // Members first, since whoever is not known says nothing; deletions before objects, so that the dead stay dead.
        for table in [tables::MEMBERS, tables::MEMBERS_COPY, tables::DELETIONS, tables::REPORTS] {
            let mut said = by_table.remove(table).unwrap_or_default();
            said.retain(|_| table != tables::DELETIONS || !planted::is(Bug::DeletionForgotten));
            said.sort_by_key(|(_, said)| said.envelope().sequence());
            for (record, said) in said {
                if let Received::Refused(reason) | Received::Contradicts(reason) = self.take_in(now, &said) {
                    damaged.push(damage(table, record, reason));
                }
            }
        }
        self.settle_members();
        self.restore_objects(now, by_table.remove(tables::CHANGES).unwrap_or_default(), &mut damaged);
        self.records.clear();
        self.restore_rotations(by_table.remove(tables::ROTATIONS).unwrap_or_default(), &mut damaged);
        damaged.iter().for_each(|record| hurt.note(&record.table, &record.record.0));
        self.restore_blobs(now, by_table.remove(tables::BLOBS).unwrap_or_default(), &hurt, &mut damaged);
        self.hurt = hurt;
        self.keep_members_twice(kept, &damaged);
        damaged
    }

    /// Whoever was let in again with an empty disk may have said things under a later boot than its clock now gives it. What is
    /// known of it here need not be its last word: starts that came after may have said nothing about members.
    fn outlive_earlier_words<'a>(&mut self, said: impl Iterator<Item = &'a Envelope>) {
        let own = said.filter(|envelope| envelope.author() == self.me()).map(|envelope| envelope.sequence().boot);
        if let Some(last) = own.max() {
            if self.identity.boot <= last {
                self.identity.boot = leap(last, self.identity.nonce);
            }
            self.identity.boot = if planted::is(Bug::TwoWriters) { last } else { self.identity.boot };
        }
    }

    /// What counts no more goes. How far ahead a clock was is not asked again: it was when the statement came.
    fn restore_rotations(&mut self, rotations: Vec<Said>, damaged: &mut Vec<Damaged>) {
        for (record, said) in rotations {
            if matches!(said.body(), Body::Rotation { .. }) {
                self.put_rotation(&said);
            } else {
                damaged.push(damage(tables::ROTATIONS, record, "it is no beginning of an epoch".into()));
            }
        }
        self.records.retain(|record| record.value.is_none());
    }

    /// Without the statements about its members a node reaches nobody who could give them again, so each is on disk twice. `kept`: how
    /// many each table holds.
    fn keep_members_twice(&mut self, kept: [usize; 2], damaged: &[Damaged]) {
        let is_hurt = damaged.iter().any(|record| [tables::MEMBERS, tables::MEMBERS_COPY].contains(&&*record.table));
        let count = self.members.envelopes().count();
        if is_hurt || kept.iter().any(|kept| *kept < count) {
            let all: Vec<Record> =
                self.members.envelopes().flat_map(|(item, said)| member_records(item, said)).collect();
            self.records.extend(all);
        }
    }

    /// What an object does without, a disk may still hold: it went in the same moment as the power. What is mentioned by a change
    /// that was damaged stays: peers that give the change again need not have it.
    fn restore_blobs(&mut self, now: Now, blobs: Vec<Said>, hurt: &Hurt, damaged: &mut Vec<Damaged>) {
        for (record, said) in blobs {
            if !matches!(said.body(), Body::Blob { .. }) {
                damaged.push(damage(tables::BLOBS, record, "it is no value beside a document".into()));
                continue;
            }
            let key = record.0.clone();
            match self.take_in(now, &said) {
                Received::Applied => drop(self.records.pop()),
                Received::Refused(reason) => damaged.push(damage(tables::BLOBS, record, reason)),
                Received::NoKey(_) if self.is_live_subject(said.body()) => self.locked.put(key, said),
                _ if hurt.holds(&key) && self.is_live_subject(said.body()) => {}
                _ => self.records.push(Record { table: tables::BLOBS, key: key.into(), value: None }),
            }
        }
    }

    /// Whether what is said is about an object that is not over.
    fn is_live_subject(&self, body: &Body) -> bool {
        matches!(body, Body::Blob { key, .. } if self.lives.is_live(key))
    }

    fn restore_objects(&mut self, now: Now, changes: Vec<Said>, damaged: &mut Vec<Damaged>) {
        let mut by_object: BTreeMap<ObjectKey, Vec<Said>> = BTreeMap::new();
        for (record, said) in changes {
            match said.body() {
                Body::Change { key, .. } => by_object.entry(key.clone()).or_default().push((record, said)),
                _ => damaged.push(damage(tables::CHANGES, record, "it is no change".into())),
            }
        }
        for (key, mut waiting) in by_object {
            if !self.lives.is_live(&key) {
                continue;
            }
            // Each round applies what has all it was built on, so the rounds end when one brings nothing.
            loop {
                let before = waiting.len();
                waiting.retain(|(_, said)| {
                    let Body::Change { chunk, .. } = said.body() else { return true };
                    let state = self.state_of(&key);
                    match gate::admit_own(&self.memo, &state, said.envelope(), chunk) {
                        Ok(merged) => {
                            self.observe(now, merged.newest());
                            self.put_object(&merged, said);
                            false
                        }
                        Err(GateError::Known) => false,
                        Err(_) => true,
                    }
                });
                if waiting.is_empty() || waiting.len() == before {
                    break;
                }
            }
            for (record, _) in waiting {
                damaged.push(damage(tables::CHANGES, record, "what it was built on is not there".into()));
            }
        }
    }
}

/// The objects of which a change was damaged, now or at an earlier start, by the text of their keys, and which changes.
#[derive(Debug, Default)]
pub(super) struct Hurt(BTreeMap<Vec<u8>, BTreeSet<WriteId>>);

impl Hurt {
    fn note(&mut self, table: &str, row: &[u8]) {
        let mut parts = row.splitn(2, |byte| *byte == 0);
        if let (tables::CHANGES, Some(object), id) = (table, parts.next(), parts.next()) {
            // A name that cannot be read is one that no change ever has, so that it stays missing.
            let id = id.and_then(|id| id.try_into().ok()).unwrap_or_default();
            self.0.entry(object.to_vec()).or_default().insert(WriteId(id));
        }
    }

    /// The objects of which changes were damaged, whether or not these have come again, as far as their keys can be read.
    pub(super) fn objects(&self) -> impl Iterator<Item = ObjectKey> {
        self.0.keys().filter_map(|key| std::str::from_utf8(key).ok()?.parse().ok())
    }

    /// The changes of an object that were damaged, whether or not they have come again.
    pub(super) fn changes(&self, key: &ObjectKey) -> impl Iterator<Item = &WriteId> {
        self.0.get(key.to_string().as_bytes()).into_iter().flatten()
    }

    /// Of a record that was set aside: its table comes first.
    fn note_aside(&mut self, row: &[u8]) {
        let mut parts = row.splitn(2, |byte| *byte == 0);
        if let (Some(table), Some(row)) = (parts.next(), parts.next()) {
            self.note(std::str::from_utf8(table).unwrap_or_default(), row);
        }
    }

    pub(super) fn holds(&self, row: &[u8]) -> bool {
        object_of_row(row).is_some_and(|object| self.0.contains_key(object))
    }
}

/// Which object the row of a change or of a blob is of; see [`change_row`](super::change_row).
fn object_of_row(row: &[u8]) -> Option<&[u8]> {
    row.split(|byte| *byte == 0).next()
}

fn damage(table: &str, record: Raw, reason: String) -> Damaged {
    // What is no text is a statement's key: the node that it is about comes first.
    let text = record.0.split(|byte| *byte == 0).next().and_then(|key| std::str::from_utf8(key).ok());
    let text = text.filter(|key| !key.chars().any(char::is_control)).map(str::to_owned);
    let key = text.unwrap_or_else(|| record.0.iter().take(8).map(|byte| format!("{byte:02x}")).collect());
    Damaged { table: table.to_owned(), key, reason, record }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::{Identity, new_cluster};
    use crate::{ClusterId, Edit, Kind, Memo, Scalar};
    use skein_gossip::{Instant, Keypair};

    const NOW: Now = Now { mono: Instant::ZERO, wall_ms: 1_000_000 };

    fn store(boot: u64) -> (ClusterId, Store) {
        let keys = Keypair::from_secret([1; 32]);
        let cluster = new_cluster(&keys, &[7; 32]);
        let identity =
            Identity { keys, cluster, boot, nonce: boot, layout_version: 1, keyring: crate::keyring::founding() };
        (cluster, Store::new(identity, Memo::new(crate::memo::MemoLimits::SIMULATOR)))
    }

    /// What the disk of a founder holds that has created and edited an object: (table, key, value).
    fn rows() -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let (_, mut store) = store(5);
        store.found(NOW, [7; 32], "n1");
        let key = ObjectKey::root(&Kind::new("Namespace"), "shop", 1);
        for value in 0..3 {
            store.edit(NOW, &key, &[Edit::set("spec.value", Scalar::Int(value))], "test").unwrap();
        }
        store.delete(NOW, &ObjectKey::root(&Kind::new("Namespace"), "old", 1));
        store.set_report(NOW, "node", b"says this").unwrap();
        let records = store.drain_records().into_iter();
        records
            .filter_map(|record| Some((record.table.to_owned(), record.key.to_vec(), record.value?.to_vec())))
            .collect()
    }

    #[test]
    fn a_record_that_the_disk_has_changed_is_named_and_moved_aside_and_all_else_is_there() {
        for row in 0..rows().len() {
            for byte in [0, 1, 40, 80] {
                let mut rows = rows();
                let at = byte.min(rows[row].2.len() - 1);
                rows[row].2[at] ^= 0x10;
                let changed = rows[row].clone();
                let damaged = store(6).1.restore(NOW, rows);
                let found = damaged.iter().find(|found| found.table == changed.0 && found.record.0 == changed.1);
                let found = found.unwrap_or_else(|| panic!("row {row} byte {byte}: {damaged:?}"));
                let [gone, kept] = &found.set_aside()[..] else { panic!("{:?}", found.set_aside()) };
                assert_eq!((gone.table, &gone.key[..], &gone.value), (&*changed.0, &changed.1[..], &None));
                assert_eq!((kept.table, kept.value.as_deref()), (tables::DAMAGED, Some(&changed.2[..])));
            }
        }
    }

    #[test]
    fn one_damaged_copy_of_a_membership_costs_nothing() {
        for table in [tables::MEMBERS, tables::MEMBERS_COPY] {
            let mut rows = rows();
            rows.iter_mut().filter(|(of, _, _)| of == table).for_each(|(_, _, value)| value.truncate(20));
            let (_, mut store) = store(6);
            assert_eq!(store.restore(NOW, rows).len(), 1);
            assert!(store.members().is_active(&store.me()));
            assert!(store.drain_records().iter().any(|record| record.table == table), "both copies are written anew");
        }
    }

    #[test]
    fn a_copy_of_a_membership_that_is_missing_is_written_anew() {
        for table in [tables::MEMBERS, tables::MEMBERS_COPY] {
            let (_, mut store) = store(6);
            let rows = rows().into_iter().filter(|(of, _, _)| of != table);
            assert_eq!(store.restore(NOW, rows), []);
            assert!(store.drain_records().iter().any(|record| record.table == table), "{table}");
        }
    }

    #[test]
    fn two_starts_that_hear_of_the_same_earlier_one_take_boots_of_their_own() {
        let (_, mut earlier) = store(9);
        earlier.found(NOW, [7; 32], "n1");
        let said = earlier.set_report(NOW, "node", b"said by an earlier start").unwrap().unwrap();
        let boots = [1, 2].map(|nonce| {
            let (_, mut store) = store(nonce);
            store.found(NOW, [7; 32], "n1");
            store.receive(NOW, &said);
            store.boot()
        });
        assert!(boots.iter().all(|boot| *boot > 9) && boots[0] != boots[1], "{boots:?}");
    }

    #[test]
    fn a_start_outlives_what_was_said_under_a_later_boot() {
        let (_, mut store) = store(2);
        assert_eq!(store.restore(NOW, rows()), []);
        assert_eq!(store.boot(), 5 + LEAP + 2, "by the start's nonce");
    }
}
