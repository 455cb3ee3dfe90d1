//! The store: everything this node knows, in one place with one door in for each way something becomes known.
//!
//! It holds no disk and no network: what must be written is drained as [`Record`]s, what changed as [`StoreChange`]s, and
//! what peers should hear is what the authoring calls return.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_gossip::{Keypair, NodeId, Now};

use crate::blob::{BlobTable, MAX_BLOB_BYTES};
use crate::digest::{DigestTable, Item};
use crate::envelope::{Body, Envelope, EnvelopeError, Sequence};
use crate::gate::{self, GateError};
use crate::keyring::Keyring;
use crate::lives::LifeTable;
use crate::members::{self, Members, Role};
use crate::memo::Memo;
use crate::object::{self, Authorship, ObjectState};
use crate::opened::Opened;
use crate::rotations::Rotations;
use crate::{ClusterId, Edit, Hlc, Kind, NameKey, ObjectKey, WriteId, rotations};

mod aside;
mod clock;
mod decided;
#[cfg(test)]
pub(crate) mod desk;
mod epochs;
mod receive;
mod restore;
mod unseen;

pub use clock::MAX_CLOCK_AHEAD_MS;
pub use receive::Received;
pub use restore::Damaged;
pub use unseen::Unseen;

/// The longest section of a report, in bytes.
pub const MAX_REPORT_BYTES: usize = 64 * 1024;
/// The longest name of a section.
pub const MAX_SECTION_BYTES: usize = 128;

/// Who this node is in the store's eyes.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The node's key.
    pub keys: Keypair,
    /// The cluster.
    pub cluster: ClusterId,
    /// This start's boot incarnation: greater than that of every earlier start.
    pub boot: u64,
    /// Drawn for this start, so that no actor ever comes back.
    pub nonce: u64,
    /// The layout's version that local edits follow.
    pub layout_version: u16,
    /// The keys that values are sealed with, as far as they are here.
    pub keyring: Keyring,
}

/// One section of what a node says of itself.
#[derive(Debug, Clone)]
pub struct Report {
    /// Who says it.
    pub node: NodeId,
    /// The section's name.
    pub section: Arc<str>,
    /// Its place in the author's sequence.
    pub sequence: Sequence,
    /// When.
    pub stamp: Hlc,
    /// What; empty: the section is retracted.
    pub body: Arc<[u8]>,
    /// As it was signed.
    pub envelope: Arc<Envelope>,
}

/// Something to write to disk: a key in a table, and its value or its removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which table: one of [`tables`].
    pub table: &'static str,
    /// The key.
    pub key: Arc<[u8]>,
    /// The value, or `None` to remove it.
    pub value: Option<Arc<[u8]>>,
}

/// The tables that the store writes.
pub mod tables {
    /// Object's key, a zero byte, the change's hash -> envelope.
    pub const CHANGES: &str = "changes";
    /// Name -> envelope.
    pub const DELETIONS: &str = "deletions";
    /// Statement -> envelope.
    pub const MEMBERS: &str = "members";
    /// The same once more.
    pub const MEMBERS_COPY: &str = "members-copy";
    /// Section of this node's own reports -> envelope.
    pub const REPORTS: &str = "reports";
    /// What was found damaged: its table, a zero byte, its key -> what was found. For people; the store never reads it.
    pub const DAMAGED: &str = "damaged";
    /// Object's key, a zero byte, the blob's id -> envelope.
    pub const BLOBS: &str = "blobs";
    /// Statement -> envelope: which epochs of the cluster's secrets were begun.
    pub const ROTATIONS: &str = "rotations";
    /// All that the store reads.
    pub const ALL: [&str; 7] = [CHANGES, BLOBS, DELETIONS, MEMBERS, MEMBERS_COPY, REPORTS, ROTATIONS];
}

/// What became different.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreChange {
    /// An object was created, edited or is over; one that is over need not have been here.
    Object(ObjectKey),
    /// A section of a node's reports.
    Report(NodeId, Arc<str>),
    /// Somebody was admitted or left.
    Members,
    /// An epoch of the cluster's secrets was begun, one counts no more, or other keys are here.
    Epochs,
    /// An edit was lost to a deletion that had not seen it: the object, and who deleted it.
    EditLost(ObjectKey, NodeId),
}

/// Why a local write was refused; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The object or one of its owners is over.
    #[error("{0} is over: it or one of its owners was deleted")]
    Over(ObjectKey),
    /// The edit does not pass the gate that peers would put it through.
    #[error("{key}: {reason}")]
    Refused {
        /// The object.
        key: ObjectKey,
        /// Why.
        reason: GateError,
    },
    /// The name is not one that a key may hold.
    #[error("\"{0}\" cannot be a name: at most 253 bytes without white space, /, @ and :")]
    BadName(String),
    /// A value is too long.
    #[error("a value of {0} bytes; at most {MAX_BLOB_BYTES} are taken")]
    ValueTooLong(usize),
    /// A report's section is too long.
    #[error("a report of {0} bytes; at most {MAX_REPORT_BYTES} are taken")]
    ReportTooLong(usize),
}

/// Everything this node knows of what the cluster wants and of what its nodes say.
pub struct Store {
    identity: Identity,
    actor: Vec<u8>,
    next_number: u64,
    clock: Hlc,
    memo: Memo,
    objects: BTreeMap<ObjectKey, Arc<ObjectState>>,
    blobs: BlobTable,
    by_kind: BTreeMap<Kind, BTreeSet<ObjectKey>>,
    lives: LifeTable,
    reports: BTreeMap<(NodeId, Arc<str>), Arc<Report>>,
    members: Members,
    rotations: Rotations,
    locked: epochs::Locked,
    wanted: DigestTable,
    reported: DigestTable,
    changed: BTreeSet<StoreChange>,
    /// How many changes were drained so far.
    drained: u64,
    unseen: Vec<Unseen>,
    hurt: restore::Hurt,
    ended: BTreeMap<ObjectKey, unseen::Last>,
    awaited: unseen::Awaited,
    records: Vec<Record>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(identity: Identity, memo: Memo) -> Self {
        Store {
            actor: object::actor(&identity.keys.node_id(), identity.nonce),
            identity,
            next_number: 1,
            clock: Hlc::default(),
            memo,
            objects: BTreeMap::new(),
            blobs: BlobTable::default(),
            by_kind: BTreeMap::new(),
            lives: LifeTable::default(),
            reports: BTreeMap::new(),
            members: Members::default(),
            rotations: Rotations::default(),
            locked: epochs::Locked::default(),
            wanted: DigestTable::default(),
            reported: DigestTable::default(),
            changed: BTreeSet::new(),
            drained: 0,
            unseen: Vec::new(),
            hurt: restore::Hurt::default(),
            awaited: unseen::Awaited::default(),
            ended: BTreeMap::new(),
            records: Vec::new(),
        }
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.identity.cluster
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.identity.keys.node_id()
    }

    /// The number of this start; greater than that of every earlier one that is known of.
    #[must_use]
    pub fn boot(&self) -> u64 {
        self.identity.boot
    }

    /// An object, live or not.
    #[must_use]
    pub fn object(&self, key: &ObjectKey) -> Option<&Arc<ObjectState>> {
        self.objects.get(key)
    }

    /// Whether an object exists and neither it nor an owner of it is over.
    #[must_use]
    pub fn is_live(&self, key: &ObjectKey) -> bool {
        self.objects.contains_key(key) && self.lives.is_live(key)
    }

    /// Whether a life, or one of its owners', has ended; a key that no node makes never began.
    #[must_use]
    pub fn is_over(&self, key: &ObjectKey) -> bool {
        !key.check() || !self.lives.is_live(key)
    }

    /// All live objects, in the order of their keys.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<ObjectState>> {
        self.objects.iter().filter(|(key, _)| self.lives.is_live(key)).map(|(_, object)| object)
    }

    /// How many live objects of a kind there are.
    #[must_use]
    pub fn count(&self, kind: &Kind) -> usize {
        self.by_kind.get(kind).map_or(0, BTreeSet::len)
    }

    /// All live objects of a kind, in the order of their keys.
    pub fn live(&self, kind: &Kind) -> impl Iterator<Item = &Arc<ObjectState>> {
        self.by_kind.get(kind).into_iter().flatten().filter_map(|key| self.objects.get(key))
    }

    /// The live objects below an owner, direct and indirect, in the order of their keys.
    pub fn children(&self, owner: &ObjectKey) -> impl Iterator<Item = &Arc<ObjectState>> {
        let owner = owner.clone();
        let below = self.objects.range(owner.clone()..).skip_while({
            let owner = owner.clone();
            move |(key, _)| **key == owner
        });
        below.take_while(move |(key, _)| key.is_within(&owner)).map(|(_, object)| object)
    }

    /// The key that a creation of this name takes now.
    #[must_use]
    pub fn next_life(&self, name: &NameKey) -> ObjectKey {
        name.life(self.lives.next(name))
    }

    /// The live object of this name, if there is one.
    #[must_use]
    pub fn current_life(&self, name: &NameKey) -> Option<ObjectKey> {
        Some(self.next_life(name)).filter(|key| self.is_live(key))
    }

    /// A section of a node's reports.
    #[must_use]
    pub fn report(&self, node: &NodeId, section: &str) -> Option<&Arc<Report>> {
        self.reports.get(&(*node, section.into())).filter(|report| !report.body.is_empty())
    }

    /// All sections of all reports that are not retracted.
    pub fn reports(&self) -> impl Iterator<Item = (&NodeId, &str, &Arc<Report>)> {
        let present = self.reports.iter().filter(|(_, report)| !report.body.is_empty());
        present.map(|((node, section), report)| (node, &**section, report))
    }

    /// Who belongs to the cluster.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// A hash of all that is wanted: equal at two peers exactly if their objects, deletions and members are.
    #[must_use]
    pub fn state_hash(&self) -> [u8; 32] {
        self.wanted.root()
    }

    /// The digest of what is wanted.
    #[must_use]
    pub fn wanted(&self) -> &DigestTable {
        &self.wanted
    }

    /// The digest of what is reported.
    #[must_use]
    pub fn reported(&self) -> &DigestTable {
        &self.reported
    }

    /// The names of which a life was deleted, each with the highest such life. Those below a dead owner are not among them.
    pub fn deletions(&self) -> impl Iterator<Item = (&NameKey, u32)> {
        self.lives.deletions()
    }

    /// The statement that holds a name's deletion number.
    pub(crate) fn deletion(&self, name: &NameKey) -> Option<Arc<Envelope>> {
        self.lives.deletion(name).map(|(_, envelope)| envelope.clone())
    }

    /// Whether neither a key's life nor an owner's is known to be over; the object itself need not be here.
    pub(crate) fn could_live(&self, key: &ObjectKey) -> bool {
        self.lives.is_live(key)
    }

    pub(crate) fn report_envelope(&self, node: &NodeId, section: &str) -> Option<Arc<Envelope>> {
        self.reports.get(&(*node, section.into())).map(|report| report.envelope.clone())
    }

    /// What became different since the last call, each once, in a fixed order.
    pub fn drain_changes(&mut self) -> BTreeSet<StoreChange> {
        self.drained += self.changed.len() as u64;
        std::mem::take(&mut self.changed)
    }

    /// What the next call of [`Store::drain_changes`] gives.
    #[must_use]
    pub fn pending_changes(&self) -> &BTreeSet<StoreChange> {
        &self.changed
    }

    /// How many changes were drained so far: whoever was told of fewer has missed some.
    #[must_use]
    pub fn drained(&self) -> u64 {
        self.drained
    }

    /// Whether anything must be written to disk.
    #[must_use]
    pub fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// What must be written to disk since the last call, in order.
    pub fn drain_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// Founds a cluster: the identity's cluster must be [`members::cluster_id`] of this node and `nonce`.
    pub fn found(&mut self, now: Now, nonce: [u8; 32], name: &str) -> Arc<Envelope> {
        let stamp = self.tick(now);
        self.say(now, Body::Founding { nonce, name: name.to_owned(), stamp })
    }

    /// Admits a node as a member.
    pub fn admit(&mut self, now: Now, node: NodeId, name: &str, token: [u8; 32]) -> Arc<Envelope> {
        self.admit_as(now, node, name, token, Role::Member)
    }

    /// Admits a node.
    pub fn admit_as(&mut self, now: Now, node: NodeId, name: &str, token: [u8; 32], role: Role) -> Arc<Envelope> {
        let stamp = self.tick_on_member(now, &node);
        self.say(now, Body::Admission { node, name: name.to_owned(), token, stamp, role })
    }

    /// Leaves the cluster for good.
    pub fn depart(&mut self, now: Now) -> Arc<Envelope> {
        let stamp = self.tick_on_member(now, &self.me());
        self.say(now, Body::Departure { stamp })
    }

    /// Removes a node for good. `None`: it was never admitted, was removed already, or is this node.
    pub fn remove(&mut self, now: Now, node: NodeId) -> Option<Arc<Envelope>> {
        let may_go = self.members.get(&node).is_some_and(|member| !member.is_removed()) && node != self.me();
        if !may_go {
            return None;
        }
        let stamp = self.tick_on_member(now, &node);
        let mut seen = self.members.admitted_by(&node);
        seen.extend(self.rotations.by(&node));
        Some(self.say(now, Body::Removal { node, stamp, seen }))
    }

    /// Edits an object, or creates it. `message` says who asked for it, with which tool. Returns what was said, the change last;
    /// nothing: nothing changes.
    ///
    /// # Errors
    /// When the object is over or the edit is too large; nothing is changed then.
    pub fn edit(
        &mut self,
        now: Now,
        key: &ObjectKey,
        edits: &[Edit],
        message: &str,
    ) -> Result<Vec<Arc<Envelope>>, EditError> {
        self.edit_as_of(now, None, key, edits, message)
    }

    /// The same; the edits count as written at `as_of`, if it is given.
    fn edit_as_of(
        &mut self,
        now: Now,
        as_of: Option<Hlc>,
        key: &ObjectKey,
        edits: &[Edit],
        message: &str,
    ) -> Result<Vec<Arc<Envelope>>, EditError> {
        if !key.check() {
            return Err(EditError::BadName(key.name().chars().take(64).collect()));
        }
        if !self.lives.is_live(key) {
            return Err(EditError::Over(key.clone()));
        }
        let state = self.state_of(key);
        let ticked = self.tick(now);
        let stamp = as_of.unwrap_or(ticked);
        let by = Authorship { actor: self.actor.clone(), stamp, message: message.chars().take(256).collect() };
        let mut edits = Cow::Borrowed(edits);
        let mut said = self.texts_mentioned(key, &mut edits);
        let aside = self.set_aside(&state, &edits, stamp);
        let (edits, texts) = aside.map_or((edits, Vec::new()), |set| (Cow::Owned(set.edits), set.texts));
        if let Some((_, text)) = texts.iter().find(|(_, text)| text.len() > MAX_BLOB_BYTES) {
            return Err(EditError::ValueTooLong(text.len()));
        }
        let Some(chunk) = state.edit(&edits, &by) else { return Ok(Vec::new()) };
        let body = Body::Change { key: key.clone(), layout: self.identity.layout_version, chunk: chunk.clone() };
        let opened = Opened::new(self.seal(&body), body);
        let merged = gate::admit_own(&self.memo, &state, opened.envelope(), &chunk)
            .map_err(|reason| EditError::Refused { key: key.clone(), reason })?;
        self.memo.keep_verified(opened.envelope().digest(), &opened);
        self.put_object(&merged, &opened);
        said.extend(self.say_texts(key, texts));
        said.push(opened.envelope().clone());
        Ok(said)
    }

    /// Ends an object's life, and with it all that it owns. `None`: it is over already.
    pub fn delete(&mut self, now: Now, key: &ObjectKey) -> Option<Arc<Envelope>> {
        if !self.lives.is_live(key) {
            return None;
        }
        let stamp = self.tick(now);
        let seen = self.objects.get(key).map(|object| object.heads().iter().copied().chain(object.births()).collect());
        let seen = seen.unwrap_or_default();
        let body = Body::Deletion { name: key.name_key(), incarnation: key.incarnation(), stamp, seen };
        Some(self.say(now, body))
    }

    /// Says something about this node; an empty body retracts the section. `None`: that is what it says already.
    ///
    /// # Errors
    /// When the section is too long; the one before stays.
    pub fn set_report(&mut self, now: Now, section: &str, body: &[u8]) -> Result<Option<Arc<Envelope>>, EditError> {
        if body.len() > MAX_REPORT_BYTES || section.len() > MAX_SECTION_BYTES {
            return Err(EditError::ReportTooLong(body.len()));
        }
        let known = self.reports.get(&(self.me(), section.into()));
        let same =
            known.map_or(body.is_empty(), |report| *report.body == *body && report.sequence.boot == self.identity.boot);
        if same {
            return Ok(None);
        }
        let stamp = self.tick(now);
        Ok(Some(self.say(now, Body::Report { section: section.into(), stamp, body: body.into() })))
    }

    fn say(&mut self, now: Now, body: Body) -> Arc<Envelope> {
        let opened = Opened::new(self.seal(&body), body);
        self.memo.keep_verified(opened.envelope().digest(), &opened);
        self.take_in(now, &opened);
        self.settle_members();
        opened.envelope().clone()
    }

    fn seal(&mut self, body: &Body) -> Arc<Envelope> {
        let sequence = Sequence { boot: self.identity.boot, number: self.next_number };
        self.next_number += 1;
        Arc::new(Envelope::seal(&self.identity.keys, &self.identity.cluster, sequence, body))
    }

    fn state_of(&self, key: &ObjectKey) -> Arc<ObjectState> {
        self.objects.get(key).cloned().unwrap_or_else(|| Arc::new(ObjectState::empty(key.clone())))
    }

    /// Puts an object's new state in its place; `said` is the change that made it.
    fn put_object(&mut self, object: &Arc<ObjectState>, said: &Opened) {
        let envelope = said.envelope();
        let key = object.key().clone();
        let id = object
            .heads()
            .iter()
            .find(|id| object.changes().get(id).is_some_and(|change| Arc::ptr_eq(&change.envelope, envelope)));
        let id = id.copied().or_else(|| {
            object.changes().values().find(|change| *change.envelope == **envelope).map(|change| change.id)
        });
        if let Some(id) = id {
            let row = said.row_key(|| change_row(&key, &id));
            self.records.push(Record { table: tables::CHANGES, key: row, value: Some(said.encoded()) });
        }
        self.wanted.set(Item::Object(key.clone()), Some(object.version()));
        self.objects.insert(key.clone(), object.clone());
        self.settle_blobs(object);
        for name in self.lives.learn(&key) {
            self.sweep(&name, None);
        }
        if self.lives.is_live(&key) {
            self.by_kind.entry(key.kind().clone()).or_default().insert(key.clone());
        }
        self.changed.insert(StoreChange::Object(key));
    }

    /// Lets go of everything within the lives of `name` that are over. The deleter, if it is known, with the life that it
    /// deleted and what it had seen of that.
    fn sweep(&mut self, name: &NameKey, deleter: Option<(u32, NodeId, &[WriteId])>) {
        let first = name.life(1);
        let within = |key: &ObjectKey| {
            let link = key.segments().get(first.segments().len() - 1);
            let same_owner = key.segments().starts_with(&first.segments()[..first.segments().len() - 1]);
            same_owner && link.is_some_and(|link| link.kind == *name.kind() && *link.name == *name.name())
        };
        let candidates = self.objects.range(first.clone()..).take_while(|(key, _)| within(key));
        let over: Vec<ObjectKey> =
            candidates.map(|(key, _)| key).filter(|key| !self.lives.is_live(key)).cloned().collect();
        for key in &over {
            let Some(object) = self.objects.remove(key) else { continue };
            let last = unseen::Last { texts: self.let_go(key, &BTreeSet::new()), object: object.clone() };
            if let Some(kind) = self.by_kind.get_mut(key.kind()) {
                kind.remove(key);
            }
            self.records.extend(object.changes().keys().map(|id| Record {
                table: tables::CHANGES,
                key: change_row(key, id).into(),
                value: None,
            }));
            self.wanted.set(Item::Object(key.clone()), None);
            self.changed.insert(StoreChange::Object(key.clone()));
            match deleter {
                _ if key.name_key() != *name => {}
                Some((incarnation, by, seen)) if key.incarnation() == incarnation => self.ended_by(last, by, seen),
                Some((_, by, _)) => drop(self.changed.insert(StoreChange::EditLost(key.clone(), by))),
                None => self.ended_before_its_deletion(last),
            }
        }
        for name in self.lives.forget_within(name) {
            self.wanted.set(Item::Deletion(name.clone()), None);
            self.records.push(deletion_record(&name, None));
        }
    }
}

fn change_row(key: &ObjectKey, id: &WriteId) -> Vec<u8> {
    let mut row = key.to_string().into_bytes();
    row.push(0);
    row.extend_from_slice(&id.0);
    row
}

/// A statement about a member, twice.
fn member_records((node, kind, author): &members::StatementName, said: &Envelope) -> [Record; 2] {
    let key: Arc<[u8]> = [&node.0[..], &[*kind], &author.0[..]].concat().into();
    let value: Arc<[u8]> = said.encode().into();
    [tables::MEMBERS, tables::MEMBERS_COPY].map(|table| Record { table, key: key.clone(), value: Some(value.clone()) })
}

fn deletion_record(name: &NameKey, value: Option<Arc<[u8]>>) -> Record {
    Record { table: tables::DELETIONS, key: name.to_string().into_bytes().into(), value }
}

/// Derives a new cluster's id; see [`members::cluster_id`].
#[must_use]
pub fn new_cluster(keys: &Keypair, nonce: &[u8; 32]) -> ClusterId {
    members::cluster_id(&keys.node_id(), nonce)
}
