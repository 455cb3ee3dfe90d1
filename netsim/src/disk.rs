//! A disk that keeps what was synced and loses the rest with the power, refuses for a while, and changes what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngExt;
use rand::seq::IteratorRandom;
use skein_crdt_state::Record;
use skein_crdt_state::store::tables;
use skein_gossip::Rng;

/// A row's table and key.
pub type RowKey = (&'static str, Arc<[u8]>);
/// Rows by table and key.
pub type Rows = BTreeMap<RowKey, Arc<[u8]>>;

/// One host's disk.
#[derive(Debug, Default, Clone)]
pub struct Disk {
    rows: Rows,
    waiting: BTreeMap<u64, (Arc<[Record]>, bool)>,
    /// Why it takes nothing, while it does not.
    failure: Option<&'static str>,
    /// Whether it has refused and was not asked again.
    refuses: bool,
    /// What it has changed and nobody has written since.
    corrupted: BTreeSet<RowKey>,
}

impl Disk {
    /// A batch begins its way to the platter.
    pub fn begin(&mut self, batch: u64, records: Arc<[Record]>, again: bool) {
        self.waiting.insert(batch, (records, again));
    }

    /// A batch is to be synced, and with it those before it; what is there now. As the daemon's disk does, it refuses all that
    /// come after a refusal until one asks again.
    ///
    /// # Errors
    /// The first batch that was refused, and why; nothing of it or of later ones is there.
    pub fn sync(&mut self, batch: u64) -> Result<Vec<Arc<[Record]>>, (u64, String)> {
        let mut synced = Vec::new();
        let later = self.waiting.split_off(&(batch + 1));
        for (number, (records, again)) in std::mem::replace(&mut self.waiting, later) {
            if self.refuses && !again {
                continue;
            }
            if let Some(failure) = self.failure {
                self.refuses = true;
                return Err((number, failure.to_owned()));
            }
            self.refuses = false;
            records.iter().for_each(|record| self.write(record));
            synced.push(records);
        }
        if self.refuses { Err((batch, "it has refused before".into())) } else { Ok(synced) }
    }

    fn write(&mut self, record: &Record) {
        let key = (record.table, record.key.clone());
        self.corrupted.remove(&key);
        match &record.value {
            Some(value) => drop(self.rows.insert(key, value.clone())),
            None => drop(self.rows.remove(&key)),
        }
    }

    /// From now on it takes nothing, or everything again.
    pub fn fail(&mut self, failure: Option<&'static str>) {
        self.failure = failure;
    }

    /// Changes a bit of a record; which one.
    pub fn corrupt(&mut self, rng: &mut Rng) -> Option<RowKey> {
        let sound = self.rows.keys().filter(|key| key.0 != tables::DAMAGED && !self.corrupted.contains(*key));
        let key = sound.choose(rng)?.clone();
        let value = self.rows.get_mut(&key).filter(|value| !value.is_empty())?;
        let at = rng.random_range(0..value.len());
        let mut changed = value.to_vec();
        changed[at] ^= 1 << rng.random_range(0..8);
        *value = changed.into();
        self.corrupted.insert(key.clone());
        Some(key)
    }

    /// Cuts off all records of which that is asked, by table and key.
    pub fn corrupt_rows(&mut self, is_meant: impl Fn(&str, &[u8]) -> bool) {
        for (key, value) in self.rows.iter_mut().filter(|(key, _)| is_meant(key.0, &key.1)) {
            *value = value[..value.len() / 2].into();
            self.corrupted.insert(key.clone());
        }
    }

    /// What was changed and nobody has written since.
    #[must_use]
    pub fn corrupted(&self) -> &BTreeSet<RowKey> {
        &self.corrupted
    }

    /// The daemon or the machine ends: what was on its way is gone.
    pub fn crash(&mut self) {
        self.waiting.clear();
        self.refuses = false;
    }

    /// Everything that is there.
    #[must_use]
    pub fn read(&self) -> Vec<(String, Vec<u8>, Vec<u8>)> {
        self.rows.iter().map(|((table, key), value)| ((*table).to_owned(), key.to_vec(), value.to_vec())).collect()
    }

    /// The names of all rows.
    pub(crate) fn into_rows(self) -> impl Iterator<Item = RowKey> {
        self.rows.into_keys()
    }

    /// Whether there is a row of which that is so, by table and key.
    pub(crate) fn has(&self, is_meant: impl Fn(&str, &[u8]) -> bool) -> bool {
        self.rows.keys().any(|(table, key)| is_meant(table, key))
    }

    /// One row.
    #[must_use]
    pub fn row(&self, table: &'static str, key: &[u8]) -> Option<&Arc<[u8]>> {
        self.rows.get(&(table, key.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(key: &str) -> Arc<[Record]> {
        [Record { table: "t", key: key.as_bytes().into(), value: Some([1].into()) }].into()
    }

    #[test]
    fn what_was_not_synced_is_lost_with_the_power() {
        let mut disk = Disk::default();
        disk.begin(1, records("a"), false);
        disk.begin(2, records("b"), false);
        assert_eq!(disk.sync(1).map(|synced| synced.len()), Ok(1));
        disk.crash();
        assert!(disk.row("t", b"a").is_some() && disk.row("t", b"b").is_none());
    }

    #[test]
    fn after_a_refusal_nothing_is_taken_until_a_batch_asks_again() {
        let mut disk = Disk::default();
        disk.begin(1, records("a"), false);
        disk.fail(Some("full"));
        assert_eq!(disk.sync(1), Err((1, "full".into())));
        disk.fail(None);
        disk.begin(2, records("b"), false);
        assert!(disk.sync(2).is_err() && disk.row("t", b"b").is_none());
        disk.begin(3, records("c"), true);
        assert_eq!(disk.sync(3).map(|synced| synced.len()), Ok(1));
        assert!(disk.row("t", b"c").is_some());
    }
}
