//! The epochs of the cluster's secrets in the store: which one holds, what is sealed under it, and sealing anew what is not.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use skein_gossip::Now;

use super::{
    Body, Envelope, Hlc, Item, Keyring, ObjectKey, Opened, Received, Record, Store, StoreChange, rotations, tables,
};
use crate::blob::{Blob, BlobId};
use crate::keyring::EpochId;
use crate::members::tag_of_rotation;
use crate::rotations::{Rotation, RotationName};

/// A rotation whose stamp is further ahead than this is not taken in yet: no later one could take its place while clocks are
/// right. A day is longer than honest clocks err.
const MAX_ROTATION_AHEAD_MS: u64 = 24 * 3600 * 1000;

/// Values from this disk that cannot be read yet, by their row: the keys of their epochs are not here. They stay on the disk.
#[derive(Debug, Default)]
pub(super) struct Locked(BTreeMap<Vec<u8>, Opened>);

impl Locked {
    pub(super) fn put(&mut self, row: Vec<u8>, said: Opened) {
        self.0.insert(row, said);
    }
}

/// Where an epoch stands among all: one that nobody has begun comes first, then the founding one, then by when it was begun.
pub(super) type Rank = (Option<Hlc>, EpochId);

impl Store {
    /// The epoch under which values are sealed now: the latest that was begun and whose key is here.
    #[must_use]
    pub fn current_epoch(&self) -> EpochId {
        let begun = self.rotations.in_order().into_iter().rev().map(|rotation| rotation.epoch);
        let mut known = begun.filter(|epoch| self.identity.keyring.holds(epoch));
        known.next().unwrap_or(self.identity.keyring.founding())
    }

    /// The epochs that were begun, in their order, whether or not their keys are here. The founding one is not among them.
    #[must_use]
    pub fn rotations(&self) -> Vec<Rotation> {
        self.rotations.in_order()
    }

    /// The keys that are here.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.identity.keyring
    }

    /// How many values are sealed under each epoch.
    #[must_use]
    pub fn sealed_under(&self) -> BTreeMap<EpochId, usize> {
        self.blobs.count_by_epoch()
    }

    /// Takes other keys: what could not be read for want of them is read now.
    pub fn hold_keys(&mut self, now: Now, keyring: Keyring) {
        if self.identity.keyring == keyring {
            return;
        }
        self.identity.keyring = keyring;
        self.changed.insert(StoreChange::Epochs);
        for (row, said) in std::mem::take(&mut self.locked.0) {
            let outcome = self.take_in(now, &said);
            let Body::Blob { key, sealed } = said.body() else { continue };
            match outcome {
                Received::NoKey(_) => self.locked.put(row, said),
                // What a peer gave meanwhile has taken its place; what the object does without goes.
                Received::Known => {
                    let id = sealed.open(&self.identity.keyring, self.place(key)).map(|unsealed| unsealed.id);
                    let is_held = id.is_ok_and(|id| self.blobs.get(key, &id).is_some());
                    if !(is_held || self.hurt.holds(&row) && self.lives.is_live(key)) {
                        self.records.push(Record { table: tables::BLOBS, key: row.into(), value: None });
                    }
                }
                // One that cannot be used is found and named at the next start.
                _ => {}
            }
        }
    }

    /// Begins an epoch. `None`: its key is not here, or it holds already, or it did and another has begun since.
    pub fn rotate(&mut self, now: Now, epoch: EpochId, lapse_ms: u64) -> Option<Arc<Envelope>> {
        let is_new = epoch != self.identity.keyring.founding() && self.rotations.begun(&epoch).is_none();
        if !is_new || !self.identity.keyring.holds(&epoch) {
            return None;
        }
        // After all that were begun, whatever clocks say.
        let latest = self.rotations.in_order().last().map(|rotation| rotation.stamp.next(0)).unwrap_or_default();
        let stamp = self.tick(now).max(latest);
        Some(self.say(now, Body::Rotation { epoch, stamp, lapse_ms }))
    }

    /// Whether values are sealed under another epoch than the current one.
    #[must_use]
    pub fn has_outdated_seals(&self) -> bool {
        !self.blobs.all_are_under(&self.current_epoch())
    }

    /// Seals values anew that are not under the current epoch: of so many bytes together, but at least one. Returns what was said.
    pub fn reseal(&mut self, bytes: usize) -> Vec<Arc<Envelope>> {
        let epoch = self.current_epoch();
        let mut total = 0;
        let mut fits = |blob: &Blob| {
            let is_first = total == 0;
            total += blob.envelope.size();
            is_first || total <= bytes
        };
        let outdated = self.blobs.not_under(&epoch).take_while(|(_, blob)| fits(blob));
        let outdated: Vec<_> = outdated.map(|((key, _), blob)| (key.clone(), blob.salt, blob.text.clone())).collect();
        outdated.into_iter().filter_map(|(key, salt, text)| self.say_text(&key, salt, &text, epoch)).collect()
    }

    pub(super) fn receive_rotation(&mut self, now: Now, stamp: Hlc, said: &Opened) -> Received {
        let is_mine = said.envelope().author() == self.me();
        if !is_mine && stamp.millis() > now.wall_ms.saturating_add(MAX_ROTATION_AHEAD_MS) {
            return Received::Known;
        }
        self.observe(now, stamp);
        if self.put_rotation(said) { Received::Applied } else { Received::Known }
    }

    /// Puts a statement among those that count, if it does; one that does not leaves the disk.
    pub(super) fn put_rotation(&mut self, said: &Opened) -> bool {
        let Body::Rotation { epoch, stamp, lapse_ms } = *said.body() else { return false };
        let (name, by) = (rotations::name_of(said.envelope()), said.envelope().author());
        if self.rotations.envelope(&name).is_some() {
            return false;
        }
        let inserted = if self.members.stands(&by, &tag_of_rotation(&name)) {
            self.rotations.insert(Rotation { epoch, stamp, by, lapse_ms }, said.envelope())
        } else {
            None
        };
        let Some(gone) = inserted else {
            self.records.push(rotation_record(&name, None));
            return false;
        };
        self.records.push(rotation_record(&name, Some(said.encoded())));
        self.wanted.set(Item::Rotation(name), Some(1));
        self.let_rotations_go(gone);
        self.changed.insert(StoreChange::Epochs);
        true
    }

    /// The members changed: what they said may not count any more.
    pub(super) fn recount_rotations(&mut self) {
        let members = &self.members;
        let gone = self.rotations.retain(|name, rotation| members.stands(&rotation.by, &tag_of_rotation(name)));
        self.let_rotations_go(gone);
    }

    fn let_rotations_go(&mut self, gone: impl IntoIterator<Item = RotationName>) {
        for name in gone {
            self.wanted.set(Item::Rotation(name), None);
            self.records.push(rotation_record(&name, None));
            self.changed.insert(StoreChange::Epochs);
        }
    }

    pub(crate) fn rotation_envelope(&self, name: &RotationName) -> Option<Arc<Envelope>> {
        self.rotations.envelope(name).cloned()
    }

    pub(super) fn rank(&self, epoch: &EpochId) -> Rank {
        let founded = (*epoch == self.identity.keyring.founding()).then(Hlc::default);
        (self.rotations.begun(epoch).max(founded), *epoch)
    }

    /// How a value here stands to a peer's of this version: `Less`, it is missing or under an earlier epoch here. `None`: nothing
    /// follows, since the object does without it here, or the key of the peer's epoch is not here.
    pub(crate) fn compare_blob(&self, key: &ObjectKey, id: &BlobId, version: u64) -> Option<Ordering> {
        // What the object does without here, it does without there as soon as both know the same changes of it.
        if !self.mentions(key, id) {
            return None;
        }
        let theirs = self.identity.keyring.epochs().find(|epoch| version_of(epoch) == version)?;
        let mine = self.blobs.get(key, id).map(|blob| blob.epoch);
        Some(mine.map_or(Ordering::Less, |mine| self.rank(&mine).cmp(&self.rank(theirs))))
    }
}

/// The version of a value in the digest: under which epoch it is sealed. Which of two is later, the digest does not know.
pub(super) fn version_of(epoch: &EpochId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = epoch.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn rotation_record(name: &RotationName, value: Option<Arc<[u8]>>) -> Record {
    Record { table: tables::ROTATIONS, key: name.as_slice().into(), value }
}

#[cfg(test)]
mod tests;
