//! A report has one writer, and no author says two things under one number: what it says is ordered by its boot and its
//! sequence, which nobody uses twice (DESIGN section 4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_crdt_state::store::tables;
use skein_crdt_state::{Envelope, Record, Sequence};
use skein_gossip::NodeId;

/// The most words that are remembered; then the older boots' are forgotten.
const MAX_WORDS: usize = 1_000_000;

/// Everything that was said, by author and number.
#[derive(Debug, Default)]
pub(crate) struct Words {
    said: BTreeMap<(NodeId, Sequence), [u8; 32]>,
    /// Removed nodes whose disk has gone back: they number again as they did, and nobody who has heard of it listens.
    gone_back: BTreeSet<NodeId>,
}

impl Words {
    /// Records that have come to a disk; what is broken by them. What is on none and was not sent was never said.
    pub(crate) fn seen(&mut self, records: &[Record]) -> Option<String> {
        let said = records
            .iter()
            .filter(|record| tables::ALL.contains(&record.table))
            .filter_map(|record| record.value.as_ref());
        said.filter_map(|value| Envelope::decode(value).ok()).find_map(|envelope| self.heard(&envelope))
    }

    /// News that a node sends; what is broken by them.
    pub(crate) fn sent(&mut self, envelopes: &[Arc<Envelope>]) -> Option<String> {
        envelopes.iter().find_map(|envelope| self.heard(envelope))
    }

    /// A removed node comes with an old backup of its disk.
    pub(crate) fn goes_back(&mut self, node: NodeId) {
        self.gone_back.insert(node);
    }

    fn heard(&mut self, envelope: &Envelope) -> Option<String> {
        if self.said.len() >= MAX_WORDS {
            self.said.clear();
        }
        let (author, number) = (envelope.author(), envelope.sequence());
        let before = self.said.insert((author, number), envelope.digest())?;
        let is_excused = self.gone_back.contains(&author);
        (before != envelope.digest() && !is_excused).then(|| format!("{author} has said two things under {number:?}"))
    }
}
