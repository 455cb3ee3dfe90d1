//! A disk that keeps what was synced and loses the rest with the power.

use std::collections::BTreeMap;

use skein_crdt_state::Record;

/// Rows by table and key.
pub type Rows = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// One host's disk.
#[derive(Debug, Default, Clone)]
pub struct Disk {
    rows: Rows,
    waiting: BTreeMap<u64, Vec<Record>>,
}

impl Disk {
    /// A batch begins its way to the platter.
    pub fn begin(&mut self, batch: u64, records: Vec<Record>) {
        self.waiting.insert(batch, records);
    }

    /// A batch is synced, and with it those before it.
    pub fn sync(&mut self, batch: u64) {
        let later = self.waiting.split_off(&(batch + 1));
        for record in std::mem::replace(&mut self.waiting, later).into_values().flatten() {
            let key = (record.table.to_owned(), record.key);
            match record.value {
                Some(value) => drop(self.rows.insert(key, value)),
                None => drop(self.rows.remove(&key)),
            }
        }
    }

    /// The daemon or the machine ends: what was on its way is gone.
    pub fn crash(&mut self) {
        self.waiting.clear();
    }

    /// Everything that is there.
    #[must_use]
    pub fn read(&self) -> Vec<(String, Vec<u8>, Vec<u8>)> {
        self.rows.iter().map(|((table, key), value)| (table.clone(), key.clone(), value.clone())).collect()
    }

    /// One row.
    #[must_use]
    pub fn row(&self, table: &str, key: &[u8]) -> Option<&Vec<u8>> {
        self.rows.get(&(table.to_owned(), key.to_vec()))
    }
}
