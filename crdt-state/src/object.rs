//! One object's state: immutable, named by its heads, shared by whoever holds it.
//!
//! Made by [`crate::gate`] from what a peer sent, or by `ObjectState::edit` from what was asked here. Who wins a leaf is
//! decided here: among concurrent values the latest term of those that were decided, then the greatest hybrid logical clock, ties
//! by hash (Automerge's own pick is the greater operation counter, by which 200 old edits beat a newer one).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use automerge::{Automerge, ObjId as ExId, ROOT, ReadDoc, ScalarValue, Value};
use sha2::{Digest, Sha256};
use skein_gossip::NodeId;

use crate::blob::{self, BlobId, BlobRef};
use crate::envelope::Envelope;
use crate::leaf::{Edit, LeafPath, Scalar};
use crate::{Hlc, ObjectKey, WriteId, layout, linear, path};

/// A field's value, who wrote it when, and what was written apart from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaf {
    /// The value that is in force.
    pub value: Scalar,
    /// When it was written.
    pub stamp: Hlc,
    /// By which node.
    pub author: NodeId,
    /// The change that wrote it.
    pub write: WriteId,
    /// The number of the operation that wrote it; with the change's actor it names that operation in Automerge.
    pub counter: u64,
    /// Concurrent values that lost, the one that would win without the others first.
    pub others: Vec<Contender>,
}

/// A value that lost against a concurrent one, kept so that it can be reported.
#[derive(Debug, Clone, PartialEq)]
pub struct Contender {
    /// The value.
    pub value: Scalar,
    /// When it was written.
    pub stamp: Hlc,
    /// By which node.
    pub author: NodeId,
    /// The change that wrote it.
    pub write: WriteId,
    /// The number of the operation that wrote it; with the change's actor it names that operation in Automerge.
    pub counter: u64,
}

/// A change that is part of an object's history.
#[derive(Debug)]
pub struct StoredChange {
    /// Its hash.
    pub id: WriteId,
    /// As it was signed.
    pub envelope: Arc<Envelope>,
    /// How long the Automerge chunk is, see [`StoredChange::chunk`].
    pub chunk_bytes: usize,
    /// What it was built on.
    pub deps: Vec<WriteId>,
    /// The actor that made it.
    pub actor: Vec<u8>,
    /// Its number among the actor's changes.
    pub sequence: u64,
    /// Its last operation's counter.
    pub max_op: u64,
    /// When it was made.
    pub stamp: Hlc,
    /// Whether it touches `spec`.
    pub touches_spec: bool,
    /// What the change's message says: who asked for it, with which tool.
    pub message: String,
    /// Whether it was decided, and in which term: see [`Message::decided`](crate::Message::decided).
    pub decided: Option<u64>,
}

impl StoredChange {
    /// The Automerge chunk: the end of what was signed, so that a history is in memory once.
    #[must_use]
    pub fn chunk(&self) -> &[u8] {
        self.envelope.end_of_body(self.chunk_bytes)
    }
}

/// One object, with its history. Immutable.
#[derive(Debug)]
pub struct ObjectState {
    key: ObjectKey,
    heads: Vec<WriteId>,
    version: u64,
    leaves: BTreeMap<LeafPath, Leaf>,
    blobs: BTreeSet<BlobId>,
    changes: BTreeMap<WriteId, Arc<StoredChange>>,
    born: Hlc,
    newest: Hlc,
    generation: u64,
}

/// What a local edit needs besides the edits.
#[derive(Debug, Clone)]
pub struct Authorship {
    /// The Automerge actor of this start of this node.
    pub actor: Vec<u8>,
    /// The stamp.
    pub stamp: Hlc,
    /// Who asked for it, with which tool.
    pub message: String,
}

impl ObjectState {
    /// An object of which nothing is known yet.
    #[must_use]
    pub fn empty(key: ObjectKey) -> Self {
        let (changes, leaves) = (BTreeMap::new(), BTreeMap::new());
        let (born, newest) = (Hlc::default(), Hlc::default());
        let blobs = BTreeSet::new();
        ObjectState { key, heads: Vec::new(), version: 0, leaves, blobs, changes, born, newest, generation: 0 }
    }

    /// Which object.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// The changes that no other change was built on, sorted. Two replicas with equal heads are equal.
    #[must_use]
    pub fn heads(&self) -> &[WriteId] {
        &self.heads
    }

    /// A hash of key and heads.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All fields.
    #[must_use]
    pub fn leaves(&self) -> &BTreeMap<LeafPath, Leaf> {
        &self.leaves
    }

    /// A field with its history.
    #[must_use]
    pub fn leaf(&self, path: &str) -> Option<&Leaf> {
        self.leaves.get(path)
    }

    /// A field's value that is in force.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Scalar> {
        self.leaves.get(path).map(|leaf| &leaf.value)
    }

    /// The blobs that its fields mention, those of values that lost included.
    #[must_use]
    pub fn blobs(&self) -> &BTreeSet<BlobId> {
        &self.blobs
    }

    /// The object as Kubernetes would store it, without name and status, and without what is kept beside the document: that
    /// [`Store::json_of`](crate::Store::json_of) adds.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        layout::unflatten(self.leaves.iter().map(|(path, leaf)| (path, &leaf.value)))
    }

    /// The stamp of its oldest change.
    #[must_use]
    pub fn born(&self) -> Hlc {
        self.born
    }

    /// The stamp of its newest change.
    #[must_use]
    pub fn newest(&self) -> Hlc {
        self.newest
    }

    /// How many changes touched `spec`; 1 after the creation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The history, by hash.
    #[must_use]
    pub fn changes(&self) -> &BTreeMap<WriteId, Arc<StoredChange>> {
        &self.changes
    }

    /// The changes that created it: more than one if it was created apart.
    pub fn births(&self) -> impl Iterator<Item = WriteId> {
        self.changes.values().filter(|change| change.deps.is_empty()).map(|change| change.id)
    }

    /// The changes that somebody with `heads` lacks, in an order in which they can be applied. Heads that are unknown here
    /// are passed over.
    #[must_use]
    pub fn changes_since(&self, heads: &[WriteId]) -> Vec<&Arc<StoredChange>> {
        let mut known: BTreeSet<WriteId> = BTreeSet::new();
        let mut open: Vec<WriteId> = heads.iter().filter(|head| self.changes.contains_key(head)).copied().collect();
        while let Some(id) = open.pop() {
            if known.insert(id) {
                open.extend(self.changes.get(&id).into_iter().flat_map(|change| change.deps.iter().copied()));
            }
        }
        let mut missing: Vec<_> = self.changes.values().filter(|change| !known.contains(&change.id)).collect();
        // A change's operations count on from those it was built on, so this order is a causal one.
        missing.sort_by_key(|change| (change.max_op, change.id));
        missing
    }

    /// Authors a change: the chunk, or `None` when the edits change nothing.
    pub(crate) fn edit(&self, edits: &[Edit], by: &Authorship) -> Option<Vec<u8>> {
        linear::author(self, edits, by)
    }

    /// The greatest counter of an operation; 0 of an object of which nothing is known.
    pub(crate) fn max_op(&self) -> u64 {
        // What a change was built on has lesser counters.
        self.heads.iter().filter_map(|head| self.changes.get(head)).map(|head| head.max_op).max().unwrap_or(0)
    }

    /// An actor's last change.
    pub(crate) fn last_change(&self, actor: &[u8]) -> Option<&Arc<StoredChange>> {
        self.changes.values().filter(|known| known.actor == actor).max_by_key(|known| known.sequence)
    }

    /// This object with one more change that was built on all it has, and the leaves that come of it.
    pub(crate) fn followed_by(&self, leaves: BTreeMap<LeafPath, Leaf>, change: &Arc<StoredChange>) -> Self {
        let mut changes = self.changes.clone();
        changes.insert(change.id, change.clone());
        let heads = vec![change.id];
        ObjectState {
            key: self.key.clone(),
            version: version_of(&self.key, &heads),
            born: if self.changes.is_empty() { change.stamp } else { self.born.min(change.stamp) },
            newest: self.newest.max(change.stamp),
            generation: self.generation + u64::from(change.touches_spec),
            blobs: blob::mentioned(&leaves),
            leaves,
            heads,
            changes,
        }
    }

    /// This object with one more change: `doc` is the merged document, which has the change.
    pub(crate) fn with_change(&self, doc: &Automerge, change: Arc<StoredChange>) -> Self {
        let mut changes = self.changes.clone();
        changes.insert(change.id, change);
        let mut heads: Vec<WriteId> = doc.get_heads().iter().map(|head| WriteId(head.0)).collect();
        heads.sort_unstable();
        let stamps = || changes.values().map(|change| change.stamp);
        let leaves = leaves_of(doc, &changes);
        let generation = changes.values().filter(|change| change.touches_spec).count() as u64;
        ObjectState {
            key: self.key.clone(),
            version: version_of(&self.key, &heads),
            born: stamps().min().unwrap_or_default(),
            newest: stamps().max().unwrap_or_default(),
            blobs: blob::mentioned(&leaves),
            leaves,
            heads,
            changes,
            generation,
        }
    }
}

/// The actor of one start of a node: the author's first bytes, by which the gate knows it, and a nonce, since an actor that
/// comes back after a restored backup would repeat its numbers for ever.
#[must_use]
pub fn actor(author: &NodeId, nonce: u64) -> Vec<u8> {
    [&author.0[..8], &nonce.to_be_bytes()[..]].concat()
}

fn version_of(key: &ObjectKey, heads: &[WriteId]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(key.to_string());
    for head in heads {
        hash.update(head.0);
    }
    let digest = hash.finalize();
    u64::from_be_bytes([digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]])
}

fn leaves_of(doc: &Automerge, changes: &BTreeMap<WriteId, Arc<StoredChange>>) -> BTreeMap<LeafPath, Leaf> {
    let mut leaves = BTreeMap::new();
    for item in doc.map_range(ROOT, ..) {
        let all = doc.get_all(ROOT, &*item.key).unwrap_or_default();
        let mut contenders: Vec<Contender> = all
            .iter()
            .filter_map(|(value, id)| {
                let change = changes.get(&WriteId(doc.hash_for_opid(id)?.0))?;
                let (value, ExId::Id(counter, ..)) = (from_automerge(value)?, id) else { return None };
                let (stamp, author) = (change.stamp, change.envelope.author());
                Some(Contender { value, stamp, author, write: change.id, counter: *counter })
            })
            .collect();
        let term = |write: &WriteId| changes.get(write).and_then(|change| change.decided).unwrap_or_default();
        contenders.sort_by_key(|one| std::cmp::Reverse((term(&one.write), one.stamp, one.write)));
        let mut contenders = contenders.into_iter();
        if let Some(first) = contenders.next() {
            let Contender { value, stamp, author, write, counter } = first;
            let leaf = Leaf { value, stamp, author, write, counter, others: contenders.collect() };
            leaves.insert(item.key.as_ref().into(), leaf);
        }
    }
    leaves
}

pub(crate) fn to_automerge(value: &Scalar) -> ScalarValue {
    match value {
        Scalar::Null => ScalarValue::Null,
        Scalar::Bool(flag) => ScalarValue::Boolean(*flag),
        Scalar::Int(number) => ScalarValue::Int(*number),
        Scalar::Float(number) => ScalarValue::F64(*number),
        Scalar::Str(text) => ScalarValue::Str((&**text).into()),
        // Texts are taken, so the values that are replaced as a whole go as bytes.
        Scalar::Json(text) => ScalarValue::Bytes(text.as_bytes().to_vec()),
        Scalar::Blob(blob) => ScalarValue::Bytes(blob.to_bytes()),
        // The store has put a mention in its place; were it forgotten, a secret must not get into the history.
        Scalar::Aside(_) => ScalarValue::Null,
    }
}

fn from_automerge(value: &Value<'_>) -> Option<Scalar> {
    from_scalar(value.as_scalar()?)
}

/// The leaf value that an Automerge scalar stands for, or `None` for one that this layout does not use.
pub(crate) fn from_scalar(value: &ScalarValue) -> Option<Scalar> {
    Some(match value {
        ScalarValue::Null => Scalar::Null,
        ScalarValue::Boolean(flag) => Scalar::Bool(*flag),
        ScalarValue::Int(number) => Scalar::Int(*number),
        ScalarValue::F64(number) if number.is_finite() => Scalar::Float(*number),
        ScalarValue::Str(text) => Scalar::Str(text.as_str().into()),
        ScalarValue::Bytes(bytes) => {
            if let Some(blob) = BlobRef::from_bytes(bytes) {
                return Some(Scalar::Blob(blob));
            }
            let text = std::str::from_utf8(bytes).ok()?;
            serde_json::from_str::<serde_json::Value>(text).ok()?;
            Scalar::Json(text.into())
        }
        _ => return None,
    })
}

/// Whether a path is one that this layout could have written.
pub(crate) fn is_leaf_path(text: &str) -> bool {
    path::parse(text).is_some()
}
