//! Anti-entropy: how two peers find out where they differ, and give each other what is missing.
//!
//! One hash of everything, then hashes of buckets, then versions, then what is missing. No state is kept between messages:
//! each answer follows from the message and the store alone, so that a lost, doubled or late message does no harm, and
//! this exchange alone is enough for convergence.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skein_gossip::planted::{self, Bug};
use skein_gossip::{NodeId, Now, Offence};

use crate::digest::{BUCKETS, DigestTable, Item};
use crate::{Envelope, ObjectKey, Received, Store, WriteId};

/// The most items named in one message; a table with more is walked through in several messages.
pub const MAX_ITEMS: usize = 2000;
/// About how many bytes of envelopes one message carries at most.
pub const MAX_GIVE_BYTES: usize = 256 * 1024;
/// The most heads of one object that are named.
const MAX_HEADS: usize = 256;
/// How often the envelopes of one message are gone through, so that the work grows with their number and no faster. What still waits
/// for others after that is asked for, and comes in order.
const MAX_ROUNDS: usize = 4;

/// Which of the two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Table {
    /// Objects, deletions and members.
    Wanted,
    /// Reports.
    Reported,
}

/// One message of an exchange.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Exchange {
    /// "This is the hash of all I have": opens an exchange.
    Root {
        /// Of what is wanted.
        wanted: [u8; 32],
        /// Of what is reported.
        reported: [u8; 32],
    },
    /// "Ours differ; these are the sums of my buckets."
    Buckets {
        /// Of which table.
        table: Table,
        /// One for each bucket.
        sums: Vec<u64>,
    },
    /// "In these buckets we differ; this is what I have there." Without buckets: "we do not differ."
    Items {
        /// Of which table.
        table: Table,
        /// Which buckets are complete in this message.
        buckets: Vec<u8>,
        /// What is in them, with versions.
        items: Vec<(Item, u64)>,
    },
    /// "I lack these."
    Want {
        /// Objects, with the heads that I have.
        objects: Vec<(ObjectKey, Vec<WriteId>)>,
        /// Other items.
        items: Vec<Item>,
        /// Whether it answers a `Want`: then it is not answered by another, so that two peers who refuse what the other
        /// has do not ask each other for ever.
        last: bool,
    },
    /// "Here."
    Give {
        /// What was said, as it was signed.
        envelopes: Vec<Arc<Envelope>>,
        /// Whether it answers a comparison: then what is still missing waits for the next exchange.
        answer: bool,
    },
}

/// What a message led to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What to answer.
    pub replies: Vec<Exchange>,
    /// What was news here.
    pub applied: Vec<Arc<Envelope>>,
    /// What was here already and held against the rules.
    pub known: Vec<Arc<Envelope>>,
    /// What was refused: somebody breaks a rule.
    pub refused: Vec<Refusal>,
}

/// Something that was refused; nothing of it was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose fault that is. `None`: it is that of whoever sent it, since nobody passes on what they have not looked at.
    pub by: Option<NodeId>,
    /// What they did.
    pub offence: Offence,
    /// Why it was refused.
    pub reason: String,
}

impl Store {
    /// What to send a peer to open an exchange.
    #[must_use]
    pub fn exchange_root(&self) -> Exchange {
        Exchange::Root { wanted: self.wanted().root(), reported: self.reported().root() }
    }

    /// Handles a message of an exchange.
    pub fn exchange(&mut self, now: Now, message: Exchange) -> Outcome {
        match message {
            Exchange::Root { wanted, reported } => {
                let tables = [(Table::Wanted, wanted), (Table::Reported, reported)];
                let differ = tables.into_iter().filter(|(table, root)| self.table(*table).root() != *root);
                let replies = differ
                    .map(|(table, _)| Exchange::Buckets { table, sums: self.table(table).sums().to_vec() })
                    .collect();
                Outcome { replies, ..Outcome::default() }
            }
            Exchange::Buckets { table, sums } => {
                Outcome { replies: self.items_that_differ(table, &sums), ..Outcome::default() }
            }
            Exchange::Items { table, buckets, items } => {
                Outcome { replies: self.compare(table, &buckets, items), ..Outcome::default() }
            }
            Exchange::Want { objects, items, last } => {
                Outcome { replies: self.give(&objects, &items, last), ..Outcome::default() }
            }
            Exchange::Give { envelopes, answer } => self.take(now, &envelopes, answer),
        }
    }

    /// Splits envelopes into messages of bounded size.
    #[must_use]
    pub fn gives(envelopes: Vec<Arc<Envelope>>, answer: bool) -> Vec<Exchange> {
        let mut messages = Vec::new();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for envelope in envelopes {
            if bytes + envelope.size() > MAX_GIVE_BYTES && !batch.is_empty() {
                messages.push(Exchange::Give { envelopes: std::mem::take(&mut batch), answer });
                bytes = 0;
            }
            bytes += envelope.size();
            batch.push(envelope);
        }
        if !batch.is_empty() {
            messages.push(Exchange::Give { envelopes: batch, answer });
        }
        messages
    }

    fn table(&self, table: Table) -> &DigestTable {
        match table {
            Table::Wanted => self.wanted(),
            Table::Reported => self.reported(),
        }
    }

    fn items_that_differ(&self, table: Table, sums: &[u64]) -> Vec<Exchange> {
        let mine = self.table(table);
        if sums.len() != BUCKETS {
            return Vec::new();
        }
        let mut messages = Vec::new();
        let (mut buckets, mut items) = (Vec::new(), Vec::new());
        for bucket in 0..=u8::MAX {
            if mine.sums()[usize::from(bucket)] == sums[usize::from(bucket)] {
                continue;
            }
            if items.len() + mine.bucket(bucket).len() > MAX_ITEMS && !buckets.is_empty() {
                let (buckets, items) = (std::mem::take(&mut buckets), std::mem::take(&mut items));
                messages.push(Exchange::Items { table, buckets, items });
            }
            buckets.push(bucket);
            items.extend(mine.bucket(bucket).iter().map(|(item, version)| (item.clone(), *version)));
        }
        // That there is no difference is worth an answer too: who has just started waits for it.
        if !buckets.is_empty() || messages.is_empty() {
            messages.push(Exchange::Items { table, buckets, items });
        }
        messages
    }

    /// Compares a peer's items with those here: asks for what is newer or unknown there, gives what it lacks.
    fn compare(&self, table: Table, buckets: &[u8], items: Vec<(Item, u64)>) -> Vec<Exchange> {
        let theirs: BTreeMap<Item, u64> = items.into_iter().take(2 * MAX_ITEMS).collect();
        let mine = self.table(table);
        let (mut objects, mut others, mut missing_there) = (Vec::new(), Vec::new(), Vec::new());
        for (item, version) in &theirs {
            match item {
                _ if mine.version_of(item) == Some(*version) => {}
                Item::Object(key) if !self.is_over(key) => objects.push((key.clone(), self.heads_for_want(key))),
                Item::Object(_) => {}
                Item::Blob(key, id) => match self.compare_blob(key, id, *version) {
                    Some(Ordering::Less) => others.push(item.clone()),
                    Some(Ordering::Greater) => missing_there.push(item),
                    Some(Ordering::Equal) | None => {}
                },
                item => others.push(item.clone()),
            }
        }
        for bucket in buckets {
            let here = mine.bucket(*bucket).iter();
            missing_there.extend(here.filter(|(item, _)| !theirs.contains_key(item)).map(|(item, _)| item));
        }
        // A report or deletion that is newer here than there is in both lists, so it is given as well as asked for.
        let newer = others.iter().filter(|item| !matches!(item, Item::Object(_) | Item::Blob(..)));
        let give = missing_there.into_iter().chain(newer).flat_map(|item| self.envelopes_of(item)).collect();
        let mut messages = Store::gives(give, true);
        if !objects.is_empty() || !others.is_empty() {
            messages.push(Exchange::Want { objects, items: others, last: false });
        }
        messages
    }

    fn heads_for_want(&self, key: &ObjectKey) -> Vec<WriteId> {
        self.object(key).map(|object| object.heads().iter().take(MAX_HEADS).copied().collect()).unwrap_or_default()
    }

    fn envelopes_of(&self, item: &Item) -> Vec<Arc<Envelope>> {
        match item {
            Item::Object(key) => self.changes_since(key, &[]),
            Item::Blob(key, id) => self.blob_envelope(key, id).into_iter().collect(),
            Item::Deletion(_) if planted::is(Bug::DeletionNotSpread) => Vec::new(),
            Item::Deletion(name) => self.deletion(name).into_iter().collect(),
            Item::Member(node, kind, author) => {
                self.members().envelope(&(*node, *kind, *author)).cloned().into_iter().collect()
            }
            Item::Report(node, section) => self.report_envelope(node, section).into_iter().collect(),
            Item::Rotation(name) => self.rotation_envelope(name).into_iter().collect(),
        }
    }

    fn changes_since(&self, key: &ObjectKey, heads: &[WriteId]) -> Vec<Arc<Envelope>> {
        let object = self.object(key).filter(|_| self.could_live(key));
        object.map(|object| object.changes_since(heads)).into_iter().flatten().map(|c| c.envelope.clone()).collect()
    }

    /// The changes of an object that somebody lacks, and before them the texts that they mention.
    fn news_since(&self, key: &ObjectKey, heads: &[WriteId]) -> Vec<Arc<Envelope>> {
        let Some(object) = self.object(key).filter(|_| self.could_live(key)) else { return Vec::new() };
        let changes = object.changes_since(heads);
        let ids = changes.iter().map(|change| change.id).collect();
        let texts = self.blobs_of_changes(object, &ids).into_iter();
        texts.chain(changes.into_iter().map(|change| change.envelope.clone())).collect()
    }

    fn give(&self, objects: &[(ObjectKey, Vec<WriteId>)], items: &[Item], last: bool) -> Vec<Exchange> {
        let mut envelopes = Vec::new();
        let mut back = Vec::new();
        for (key, heads) in objects.iter().take(2 * MAX_ITEMS) {
            envelopes.extend(self.news_since(key, heads));
            let unknown = |head: &WriteId| self.object(key).is_none_or(|object| !object.changes().contains_key(head));
            if !last && heads.iter().any(unknown) && !self.is_over(key) {
                back.push((key.clone(), self.heads_for_want(key)));
            }
        }
        envelopes.extend(items.iter().take(2 * MAX_ITEMS).flat_map(|item| self.envelopes_of(item)));
        let mut messages = Store::gives(envelopes, true);
        if !back.is_empty() {
            messages.push(Exchange::Want { objects: back, items: Vec::new(), last: true });
        }
        messages
    }

    fn take(&mut self, now: Now, envelopes: &[Arc<Envelope>], answer: bool) -> Outcome {
        let mut outcome = Outcome::default();
        let mut missing: BTreeMap<ObjectKey, Vec<WriteId>> = BTreeMap::new();
        let mut waiting = Vec::with_capacity(envelopes.len());
        for envelope in envelopes {
            match self.open(envelope) {
                Ok(opened) => waiting.push(opened),
                Err(error) => {
                    let (offence, reason) = (self.offence_in(envelope), error.to_string());
                    outcome.refused.push(Refusal { by: None, offence, reason });
                }
            }
        }
        // Within one message what others were built on may come later.
        for _ in 0..MAX_ROUNDS {
            let before = waiting.len();
            missing.clear();
            waiting.retain(|said| match self.take_in(now, said) {
                Received::Applied => {
                    outcome.applied.push(said.envelope().clone());
                    false
                }
                Received::Known => {
                    outcome.known.push(said.envelope().clone());
                    false
                }
                Received::Over => false,
                Received::Missing(key, _) => {
                    let heads = self.heads_for_want(&key);
                    missing.insert(key, heads);
                    true
                }
                Received::UnknownAuthor(_) | Received::NoKey(_) => true,
                Received::Refused(reason) => {
                    outcome.refused.push(Refusal { by: None, offence: Offence::Invalid, reason });
                    false
                }
                Received::Contradicts(reason) => {
                    let by = Some(said.envelope().author());
                    outcome.refused.push(Refusal { by, offence: Offence::Invalid, reason });
                    false
                }
            });
            if waiting.is_empty() || waiting.len() == before {
                break;
            }
            // What comes in the very opposite order is there after two rounds too.
            waiting.reverse();
        }
        self.settle_members();
        if !missing.is_empty() && !answer {
            outcome.replies.push(Exchange::Want {
                objects: missing.into_iter().collect(),
                items: Vec::new(),
                last: false,
            });
        }
        outcome
    }

    /// Whether this node holds everything that was said in `envelopes`, or knows that it is over: what an acknowledgement
    /// promises once it is on disk.
    #[must_use]
    pub fn includes(&self, envelopes: &[Arc<Envelope>]) -> bool {
        envelopes.iter().all(|envelope| self.includes_one(envelope))
    }
}

#[cfg(test)]
mod tests;
