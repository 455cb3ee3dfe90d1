//! Bringing the store back from what a disk holds.

use std::collections::BTreeMap;

use super::{Arc, Body, Envelope, Now, ObjectKey, Received, Store, gate, tables};
use crate::gate::GateError;

/// A record that could not be used: the disk lost or changed some of it. It is set aside; peers give it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its table.
    pub table: String,
    /// Its key, as far as it is text.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A record's key, what it holds, and what that says.
type Said = (Vec<u8>, Arc<Envelope>, Body);
/// A record's key, a change, and its chunk.
type Waiting = (Vec<u8>, Arc<Envelope>, Vec<u8>);

impl Store {
    /// Takes in what a disk holds: (table, key, value). Must be called once, before anything else becomes known.
    pub fn restore(&mut self, now: Now, records: impl IntoIterator<Item = (String, Vec<u8>, Vec<u8>)>) -> Vec<Damaged> {
        let mut damaged = Vec::new();
        let mut by_table: BTreeMap<String, Vec<Said>> = BTreeMap::new();
        for (table, key, value) in records {
            let opened = Envelope::decode(&value).and_then(|envelope| {
                let body = envelope.open(&self.identity.cluster)?;
                Ok((Arc::new(envelope), body))
            });
            match opened {
                Ok((envelope, body)) => by_table.entry(table).or_default().push((key, envelope, body)),
                Err(error) => damaged.push(damage(&table, &key, error.to_string())),
            }
        }
        // Members first, since whoever is not known says nothing; deletions before objects, so that the dead stay dead.
        for table in [tables::MEMBERS, tables::DELETIONS, tables::REPORTS] {
            let mut said = by_table.remove(table).unwrap_or_default();
            said.sort_by_key(|(_, envelope, _)| envelope.sequence());
            for (key, envelope, _) in said {
                if let Received::Refused(reason) = self.receive(now, &envelope) {
                    damaged.push(damage(table, &key, reason));
                }
            }
        }
        self.restore_objects(now, by_table.remove(tables::CHANGES).unwrap_or_default(), &mut damaged);
        self.records.clear();
        damaged
    }

    fn restore_objects(&mut self, now: Now, changes: Vec<(Vec<u8>, Arc<Envelope>, Body)>, damaged: &mut Vec<Damaged>) {
        let mut by_object: BTreeMap<ObjectKey, Vec<Waiting>> = BTreeMap::new();
        for (record, envelope, body) in changes {
            match body {
                Body::Change { key, chunk, .. } => by_object.entry(key).or_default().push((record, envelope, chunk)),
                _ => damaged.push(damage(tables::CHANGES, &record, "it is no change".into())),
            }
        }
        for (key, mut waiting) in by_object {
            if !self.lives.is_live(&key) {
                continue;
            }
            // Each round applies what has all it was built on, so the rounds end when one brings nothing.
            loop {
                let before = waiting.len();
                waiting.retain(|(_, envelope, chunk)| {
                    let state = self.state_of(&key);
                    match gate::admit_own(&self.memo, &state, envelope.clone(), chunk.clone()) {
                        Ok(merged) => {
                            self.observe(now, merged.newest());
                            self.put_object(merged, envelope);
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
            for (record, _, _) in waiting {
                damaged.push(damage(tables::CHANGES, &record, "what it was built on is not there".into()));
            }
        }
    }
}

fn damage(table: &str, key: &[u8], reason: String) -> Damaged {
    let text = key.split(|byte| *byte == 0).next().unwrap_or_default();
    Damaged { table: table.to_owned(), key: String::from_utf8_lossy(text).into_owned(), reason }
}
