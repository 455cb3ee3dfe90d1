//! What the store keeps beside documents: when a blob is taken in, when it is let go, and objects with their texts in place.
//!
//! A blob is part of the state while its object lives and mentions it. One that comes before the change that mentions it waits
//! in memory; one that is missing is found by the exchange, since the digest of whoever holds it differs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    Body, Envelope, Item, ObjectKey, Opened, Received, Record, Store, StoreChange, change_row, epochs, tables,
};
use crate::blob::{self, Blob, BlobId, BlobRef, SetAside};
use crate::keyring::EpochId;
use crate::leaf::{Edit, LeafPath, Scalar};
use crate::object::ObjectState;
use crate::sealed::{Place, SealError, Sealed, Unsealed};
use crate::{Hlc, WriteId, layout};

impl Store {
    /// An object as Kubernetes would store it, without name and status, with the texts that are kept beside its document. Where
    /// one of them has not arrived, see [`Store::is_complete`], its field is not there.
    #[must_use]
    pub fn json_of(&self, object: &ObjectState) -> Value {
        if object.blobs().is_empty() {
            return object.to_json();
        }
        let in_place =
            |(path, leaf): (&LeafPath, &crate::Leaf)| (path.clone(), self.in_place(object.key(), &leaf.value));
        let leaves: BTreeMap<LeafPath, Scalar> = object.leaves().iter().map(in_place).collect();
        layout::unflatten(leaves.iter())
    }

    /// Whether all texts that an object's values in force mention are here. One that is not here is on its way.
    #[must_use]
    pub fn is_complete(&self, object: &ObjectState) -> bool {
        let is_here = |leaf: &crate::Leaf| match &leaf.value {
            Scalar::Blob(blob) => self.text_of(object.key(), blob).is_some(),
            _ => true,
        };
        object.blobs().is_empty() || object.leaves().values().all(is_here)
    }

    /// What is said beside a change whose edits mention texts that are here: who stores the change must have them. An edit that
    /// mentions another would bring back what nobody has.
    pub(super) fn texts_mentioned(&self, key: &ObjectKey, edits: &mut Cow<'_, [Edit]>) -> Vec<Arc<Envelope>> {
        let mention = |edit: &Edit| if let Some(Scalar::Blob(blob)) = &edit.value { Some(blob.id) } else { None };
        let mentioned: Vec<BlobId> = edits.iter().filter_map(mention).collect();
        if mentioned.iter().any(|id| self.blobs.get(key, id).is_none()) {
            edits.to_mut().retain(|edit| mention(edit).is_none_or(|id| self.blobs.get(key, &id).is_some()));
        }
        mentioned.iter().filter_map(|id| self.blob_envelope(key, id)).collect()
    }

    /// A text that an object mentions, if it is here.
    #[must_use]
    pub fn text_of(&self, key: &ObjectKey, blob: &BlobRef) -> Option<&Arc<str>> {
        self.blobs.get(key, &blob.id).map(|blob| &blob.text)
    }

    /// A field's value with the text that it mentions as one to keep aside.
    #[must_use]
    pub fn in_place(&self, key: &ObjectKey, value: &Scalar) -> Scalar {
        match value {
            Scalar::Blob(blob) => {
                self.text_of(key, blob).map_or_else(|| value.clone(), |text| Scalar::Aside(text.clone()))
            }
            value => value.clone(),
        }
    }

    /// Takes texts out of edits that are not for the document.
    pub(super) fn set_aside(&self, state: &ObjectState, edits: &[Edit], stamp: Hlc) -> Option<SetAside> {
        let key = state.key();
        // Nobody else can sign this, so nobody else knows the salt before it is told with the text; and no randomness is needed.
        let salt = |path: &LeafPath| {
            let signed = self.identity.keys.sign(format!("skein blob salt\0{key}\0{path}\0{}", stamp.0).as_bytes());
            let digest: [u8; 32] = Sha256::new().chain_update(signed.0).chain_update(signed.1).finalize().into();
            let mut salt = [0; 16];
            salt.copy_from_slice(&digest[..16]);
            salt
        };
        blob::set_aside(state, edits, |blob| self.text_of(key, blob).cloned(), salt)
    }

    /// Says the texts of an edit that was taken in.
    pub(super) fn say_texts(&mut self, key: &ObjectKey, texts: Vec<([u8; 16], Arc<str>)>) -> Vec<Arc<Envelope>> {
        let mut said = Vec::with_capacity(texts.len());
        for (salt, text) in texts {
            let epoch = self.current_epoch();
            said.extend(self.say_text(key, salt, &text, epoch));
        }
        said
    }

    /// Says a text, sealed under an epoch. `None`: its key is not here, which that of the current one always is.
    pub(super) fn say_text(
        &mut self,
        key: &ObjectKey,
        salt: [u8; 16],
        text: &Arc<str>,
        epoch: EpochId,
    ) -> Option<Arc<Envelope>> {
        let id = BlobRef::of(&salt, text).id;
        let place = Place { cluster: &self.identity.cluster, key };
        let sealed = Sealed::seal(&self.identity.keyring, epoch, place, &self.me(), &salt, text)?;
        let body = Body::Blob { key: key.clone(), sealed };
        let opened = Opened::new(self.seal(&body), body);
        let envelope = opened.envelope().clone();
        self.memo.keep_verified(envelope.digest(), &opened);
        self.hold(key, id, Blob { text: text.clone(), salt, epoch, envelope: envelope.clone() });
        Some(envelope)
    }

    pub(super) fn receive_blob(&mut self, key: &ObjectKey, sealed: &Sealed, said: &Opened) -> Received {
        if !key.check() {
            return Received::Refused("a value beside a document of a key that no node makes".into());
        }
        let is_live = self.lives.is_live(key);
        if !is_live && !self.awaited.waits_for(key) {
            return Received::Over;
        }
        let Unsealed { id, salt, text } = match sealed.open(&self.identity.keyring, self.place(key)) {
            Ok(unsealed) => unsealed,
            Err(SealError::NoKey(epoch)) => return Received::NoKey(epoch),
            Err(error) => return Received::Refused(error.to_string()),
        };
        if !is_live {
            self.awaited.take(key, &id, &text);
            return Received::Known;
        }
        let held = self.blobs.get(key, &id).map(|held| held.epoch);
        let epoch = sealed.epoch();
        if held.is_some_and(|held| self.rank(&epoch) <= self.rank(&held)) {
            return Received::Known;
        }
        let blob = Blob { text, salt, epoch, envelope: said.envelope().clone() };
        if !self.mentions(key, &id) {
            self.blobs.keep_early(key.clone(), id, blob);
            return Received::Known;
        }
        self.hold(key, id, blob);
        if held.is_none() {
            self.changed.insert(StoreChange::Object(key.clone()));
        }
        Received::Applied
    }

    pub(super) fn place<'a>(&'a self, key: &'a ObjectKey) -> Place<'a> {
        Place { cluster: &self.identity.cluster, key }
    }

    /// Whether an object that is here mentions a blob.
    pub(crate) fn mentions(&self, key: &ObjectKey, id: &BlobId) -> bool {
        self.objects.get(key).is_some_and(|object| object.blobs().contains(id))
    }

    /// Whether whoever said a blob need not wait for this node to store it: it holds it, or the object does without it.
    pub(super) fn includes_blob(&self, key: &ObjectKey, sealed: &Sealed) -> bool {
        let Ok(Unsealed { id, .. }) = sealed.open(&self.identity.keyring, self.place(key)) else { return false };
        self.blobs.get(key, &id).is_some() || !self.mentions(key, &id)
    }

    pub(crate) fn blob_envelope(&self, key: &ObjectKey, id: &BlobId) -> Option<Arc<Envelope>> {
        self.blobs.get(key, id).map(|blob| blob.envelope.clone())
    }

    /// The texts that these changes of an object mention and that still count.
    pub(crate) fn blobs_of_changes(&self, object: &ObjectState, changes: &BTreeSet<WriteId>) -> Vec<Arc<Envelope>> {
        if object.blobs().is_empty() {
            return Vec::new();
        }
        let of_leaf = |leaf: &crate::Leaf| {
            let values = std::iter::once((leaf.write, leaf.value.clone()));
            values.chain(leaf.others.iter().map(|other| (other.write, other.value.clone()))).collect::<Vec<_>>()
        };
        let values = object.leaves().values().flat_map(of_leaf).filter(|(write, _)| changes.contains(write));
        values
            .filter_map(|(_, value)| if let Scalar::Blob(blob) = value { Some(blob.id) } else { None })
            .filter_map(|id| self.blob_envelope(object.key(), &id))
            .collect()
    }

    /// An object mentions other blobs now: those that came early are taken in, those that it does without go.
    pub(super) fn settle_blobs(&mut self, object: &ObjectState) {
        let key = object.key();
        for id in object.blobs() {
            if self.blobs.get(key, id).is_none()
                && let Some(blob) = self.blobs.take_early(key, id)
            {
                self.hold(key, *id, blob);
            }
        }
        self.let_go(key, object.blobs());
    }

    /// Lets go of an object's blobs but these. Returns the texts that went.
    pub(super) fn let_go(&mut self, key: &ObjectKey, mentioned: &BTreeSet<BlobId>) -> BTreeMap<BlobId, Arc<str>> {
        let gone = self.blobs.retain(key, mentioned);
        for (id, _) in &gone {
            self.records.push(Record { table: tables::BLOBS, key: blob_row(key, id), value: None });
            self.wanted.set(Item::Blob(key.clone(), *id), None);
        }
        gone.into_iter().map(|(id, blob)| (id, blob.text)).collect()
    }

    fn hold(&mut self, key: &ObjectKey, id: BlobId, blob: Blob) {
        let value = Some(blob.envelope.encode().into());
        self.records.push(Record { table: tables::BLOBS, key: blob_row(key, &id), value });
        self.wanted.set(Item::Blob(key.clone(), id), Some(epochs::version_of(&blob.epoch)));
        self.blobs.hold(key.clone(), id, blob);
    }
}

pub(super) fn blob_row(key: &ObjectKey, id: &BlobId) -> Arc<[u8]> {
    change_row(key, &WriteId(*id)).into()
}

#[cfg(test)]
mod tests;
