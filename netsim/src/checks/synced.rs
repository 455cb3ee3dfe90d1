//! What was synced is there after a crash: a node that starts holds everything that its disk holds, or knows that it is over.

use std::sync::Arc;

use skein_core::node::Node;
use skein_crdt_state::Envelope;
use skein_crdt_state::store::tables;

/// Compares a node that has just started with its disk; what it has forgotten.
pub(crate) fn check(node: &Node, rows: &[(String, Vec<u8>, Vec<u8>)]) -> Option<String> {
    let kept = [tables::CHANGES, tables::DELETIONS, tables::MEMBERS];
    rows.iter().filter(|(table, _, _)| kept.contains(&table.as_str())).find_map(|(table, key, value)| {
        // What cannot be read is damage, and is named by the node itself.
        let envelope = Arc::new(Envelope::decode(value).ok()?);
        let forgotten = !node.store().includes(&[envelope]);
        forgotten.then(|| {
            let key = key.split(|byte| *byte == 0).next().unwrap_or_default();
            format!("{} has forgotten of its {table} {}", node.name(), String::from_utf8_lossy(key))
        })
    })
}
