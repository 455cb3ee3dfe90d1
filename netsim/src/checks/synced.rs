//! What was synced is there after a crash: a node that starts holds everything that its disk holds, or knows that it is over.
//! What the disk has changed is named by it, and nothing else is.

use std::collections::BTreeSet;
use std::sync::Arc;

use skein_core::node::Node;
use skein_crdt_state::Envelope;
use skein_crdt_state::store::{Damaged, tables};

use crate::disk::RowKey;

/// A record as it was read: its table, key and value.
type Row = (String, Vec<u8>, Vec<u8>);

/// Compares a node that has just started with its disk; what it has forgotten, or what damage it passes over in silence.
pub(crate) fn check(node: &Node, rows: &[Row], corrupted: &BTreeSet<RowKey>, damaged: &[Damaged]) -> Option<String> {
    let is_named = |table: &str, key: &[u8]| damaged.iter().any(|found| found.table == table && found.record.0 == key);
    if let Some((table, key)) = corrupted.iter().find(|(table, key)| !is_named(table, key)) {
        return Some(format!("{} says nothing of the damage to its {table} {}", node.name(), name_of(key)));
    }
    if let Some(found) = damaged.iter().find(|_| corrupted.is_empty()) {
        return Some(format!("{} finds damage on a sound disk: {}, {}", node.name(), found.name(), found.reason));
    }
    let kept = [tables::CHANGES, tables::DELETIONS, tables::MEMBERS];
    let sound = rows.iter().filter(|(table, key, _)| kept.contains(&table.as_str()) && !is_named(table, key));
    sound.into_iter().find_map(|(table, key, value)| {
        let envelope = Arc::new(Envelope::decode(value).ok()?);
        let forgotten = !node.store().includes(&[envelope]);
        forgotten.then(|| format!("{} has forgotten of its {table} {}", node.name(), name_of(key)))
    })
}

/// The part of a record's key that people read.
fn name_of(key: &[u8]) -> String {
    String::from_utf8_lossy(key.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}
