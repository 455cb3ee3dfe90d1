//! Blobs: values that are kept beside an object's document, so that its history keeps no secret and a change stays small. The
//! document holds a blob's id and length; the value goes once its last mention in the object's fields has gone.
//!
//! Which fields are kept aside whatever their length is the layout's to say. When a blob may be taken in does not live here but
//! in the store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::keyring::EpochId;
use crate::leaf::{Edit, LeafPath, Scalar};
use crate::object::{Leaf, ObjectState};
use crate::{Envelope, ObjectKey};

/// The longest text that a blob may hold, in bytes: a MiB of binary data in base64, and some more.
pub const MAX_BLOB_BYTES: usize = 1_500_000;
/// The longest text that is kept in the document itself, in bytes.
pub const MAX_INLINE_BYTES: usize = 32 * 1024;
/// What controllers read and copy is part of the document whatever its length, as far as a change may be long.
const READ_BY_CONTROLLERS: &str = "spec";
/// If the texts of one write are longer than this together, in bytes, the longest are kept aside too: so the change stays within
/// [`MAX_CHANGE_BYTES`](crate::gate::MAX_CHANGE_BYTES).
const MAX_INLINE_BYTES_OF_A_WRITE: usize = 48 * 1024;
/// The most blobs, and the most bytes of them, that are kept of objects that do not mention them yet. The oldest go first; a
/// peer gives them again.
const MAX_EARLY: usize = 4096;
const MAX_EARLY_BYTES: usize = 16 * 1024 * 1024;

/// Names a blob: the hash of its salt and its text.
pub type BlobId = [u8; 32];

/// What a field holds of a blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlobRef {
    /// Which.
    pub id: BlobId,
    /// How long its text is, in bytes.
    pub bytes: u32,
}

impl fmt::Debug for BlobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes kept aside>", self.bytes)
    }
}

/// The first byte of a mention in a document; no text begins with it.
const MENTION: u8 = 0xff;

impl BlobRef {
    /// Names a text. Without the salt, whoever sees a mention could find out a short secret by trying.
    #[must_use]
    pub fn of(salt: &[u8; 16], text: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"skein blob\0");
        hash.update(salt);
        hash.update(text);
        BlobRef { id: hash.finalize().into(), bytes: u32::try_from(text.len()).unwrap_or(u32::MAX) }
    }

    /// As it stands in a document.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [&[MENTION][..], &self.id, &self.bytes.to_be_bytes()].concat()
    }

    /// Reads what stands in a document. `None`: it is no mention of a blob.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, length) = bytes.strip_prefix(&[MENTION])?.split_at_checked(32)?;
        Some(BlobRef { id: id.try_into().ok()?, bytes: u32::from_be_bytes(length.try_into().ok()?) })
    }
}

/// A blob that is here.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) text: Arc<str>,
    pub(crate) salt: [u8; 16],
    /// Under which epoch it is sealed.
    pub(crate) epoch: EpochId,
    /// As it was signed.
    pub(crate) envelope: Arc<Envelope>,
}

/// The blobs that are here.
#[derive(Debug, Default)]
pub(crate) struct BlobTable {
    /// Those that an object mentions.
    held: BTreeMap<(ObjectKey, BlobId), Blob>,
    /// The same by the epoch under which they are sealed. An epoch without any has no entry.
    by_epoch: BTreeMap<EpochId, BTreeSet<(ObjectKey, BlobId)>>,
    /// Those that came before the change that mentions them.
    early: BTreeMap<(ObjectKey, BlobId), Blob>,
    early_order: VecDeque<(ObjectKey, BlobId)>,
    early_bytes: usize,
}

impl BlobTable {
    pub(crate) fn get(&self, key: &ObjectKey, id: &BlobId) -> Option<&Blob> {
        // Nearly all objects have none, and so have nearly all clusters.
        if self.held.is_empty() { None } else { self.held.get(&(key.clone(), *id)) }
    }

    pub(crate) fn hold(&mut self, key: ObjectKey, id: BlobId, blob: Blob) {
        self.let_go_of(&(key.clone(), id));
        self.by_epoch.entry(blob.epoch).or_default().insert((key.clone(), id));
        self.held.insert((key, id), blob);
    }

    /// How many are sealed under each epoch.
    pub(crate) fn count_by_epoch(&self) -> BTreeMap<EpochId, usize> {
        self.by_epoch.iter().map(|(epoch, names)| (*epoch, names.len())).collect()
    }

    /// Whether all are sealed under this epoch.
    pub(crate) fn all_are_under(&self, epoch: &EpochId) -> bool {
        self.by_epoch.keys().all(|other| other == epoch)
    }

    /// Those that are sealed under other epochs.
    pub(crate) fn not_under<'a>(
        &'a self,
        epoch: &EpochId,
    ) -> impl Iterator<Item = (&'a (ObjectKey, BlobId), &'a Blob)> {
        let epoch = *epoch;
        let names = self.by_epoch.iter().filter(move |(other, _)| **other != epoch).flat_map(|(_, names)| names);
        names.filter_map(|name| Some((name, self.held.get(name)?)))
    }

    fn let_go_of(&mut self, name: &(ObjectKey, BlobId)) -> Option<Blob> {
        let blob = self.held.remove(name)?;
        if let Some(names) = self.by_epoch.get_mut(&blob.epoch) {
            names.remove(name);
            if names.is_empty() {
                self.by_epoch.remove(&blob.epoch);
            }
        }
        Some(blob)
    }

    pub(crate) fn keep_early(&mut self, key: ObjectKey, id: BlobId, blob: Blob) {
        let name = (key, id);
        self.early_bytes += blob.text.len();
        if let Some(before) = self.early.insert(name.clone(), blob) {
            self.early_bytes -= before.text.len();
        } else {
            self.early_order.push_back(name);
        }
        while self.early_order.len() > MAX_EARLY || self.early_bytes > MAX_EARLY_BYTES {
            let Some(oldest) = self.early_order.pop_front() else { break };
            self.early_bytes -= self.early.remove(&oldest).map_or(0, |blob| blob.text.len());
        }
    }

    /// What came early and is mentioned now.
    pub(crate) fn take_early(&mut self, key: &ObjectKey, id: &BlobId) -> Option<Blob> {
        if self.early.is_empty() {
            return None;
        }
        let name = (key.clone(), *id);
        let blob = self.early.remove(&name)?;
        self.early_order.retain(|other| *other != name);
        self.early_bytes -= blob.text.len();
        Some(blob)
    }

    /// Lets go of all of an object's blobs but those in `mentioned`.
    pub(crate) fn retain(&mut self, key: &ObjectKey, mentioned: &BTreeSet<BlobId>) -> Vec<(BlobId, Blob)> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let of_it = self.held.range((key.clone(), [0; 32])..=(key.clone(), [0xff; 32])).map(|((_, id), _)| *id);
        let gone: Vec<BlobId> = of_it.filter(|id| !mentioned.contains(id)).collect();
        gone.into_iter().filter_map(|id| Some((id, self.let_go_of(&(key.clone(), id))?))).collect()
    }
}

/// The blobs that an object's fields mention, those of values that lost included.
pub(crate) fn mentioned(leaves: &BTreeMap<LeafPath, Leaf>) -> BTreeSet<BlobId> {
    let values = leaves
        .values()
        .flat_map(|leaf| std::iter::once(&leaf.value).chain(leaf.others.iter().map(|other| &other.value)));
    values.filter_map(|value| if let Scalar::Blob(blob) = value { Some(blob.id) } else { None }).collect()
}

/// Edits whose long or secret texts are kept aside, and these texts with their salts.
pub(crate) struct SetAside {
    pub(crate) edits: Vec<Edit>,
    pub(crate) texts: Vec<([u8; 16], Arc<str>)>,
}

/// Takes out of edits what is not for the document. `None`: there is nothing of the kind. A text that a field holds already, as
/// `held` tells, is no edit; `salt` draws one for a field.
pub(crate) fn set_aside(
    state: &ObjectState,
    edits: &[Edit],
    held: impl Fn(&BlobRef) -> Option<Arc<str>>,
    salt: impl Fn(&LeafPath) -> [u8; 16],
) -> Option<SetAside> {
    let aside = which_go_aside(edits);
    if aside.is_empty() {
        return None;
    }
    let mut set = SetAside { edits: Vec::with_capacity(edits.len()), texts: Vec::new() };
    for (number, edit) in edits.iter().enumerate() {
        let text = match &edit.value {
            Some(Scalar::Aside(text) | Scalar::Str(text)) if aside.contains(&number) => text,
            _ => {
                set.edits.push(edit.clone());
                continue;
            }
        };
        let leaf = state.leaf(&edit.path).filter(|leaf| leaf.others.is_empty()).map(|leaf| &leaf.value);
        if let Some(Scalar::Blob(blob)) = leaf
            && held(blob).is_some_and(|known| known == *text)
        {
            continue;
        }
        let salt = salt(&edit.path);
        set.edits.push(Edit { path: edit.path.clone(), value: Some(Scalar::Blob(BlobRef::of(&salt, text))) });
        set.texts.push((salt, text.clone()));
    }
    Some(set)
}

fn which_go_aside(edits: &[Edit]) -> BTreeSet<usize> {
    let mut aside = BTreeSet::new();
    let mut inline: Vec<(usize, usize)> = Vec::new();
    for (number, edit) in edits.iter().enumerate() {
        match &edit.value {
            Some(Scalar::Aside(_)) => drop(aside.insert(number)),
            Some(Scalar::Str(_)) if edit.path.starts_with(READ_BY_CONTROLLERS) => {}
            Some(Scalar::Str(text)) if text.len() > MAX_INLINE_BYTES => drop(aside.insert(number)),
            Some(Scalar::Str(text)) => inline.push((text.len(), number)),
            _ => {}
        }
    }
    let mut total: usize = inline.iter().map(|(bytes, _)| bytes).sum();
    inline.sort_unstable();
    while total > MAX_INLINE_BYTES_OF_A_WRITE {
        let Some((bytes, number)) = inline.pop() else { break };
        total -= bytes;
        aside.insert(number);
    }
    aside
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn edit(path: &str, value: Scalar) -> Edit {
        Edit::set(path, value)
    }

    #[test]
    fn a_mention_is_read_back_and_no_text_is_one() {
        let blob = BlobRef::of(&[3; 16], "hunter2");
        assert_eq!(BlobRef::from_bytes(&blob.to_bytes()), Some(blob));
        assert_ne!(BlobRef::of(&[4; 16], "hunter2").id, blob.id);
        assert_eq!(BlobRef::from_bytes(b"[1]"), None);
        assert_eq!(BlobRef::from_bytes(&blob.to_bytes()[..36]), None);
        assert!(std::str::from_utf8(&blob.to_bytes()).is_err());
    }

    #[test]
    fn long_and_secret_texts_go_aside_and_of_many_the_longest() {
        let long = "x".repeat(MAX_INLINE_BYTES + 1);
        let edits = [
            edit("data.secret", Scalar::Aside("s".into())),
            edit("data.long", Scalar::str(&long)),
            edit("data.short", Scalar::str("y")),
            edit("spec.template.spec.containers[name=\"a\"].command", Scalar::str(&long)),
        ];
        assert_eq!(which_go_aside(&edits), [0, 1].into());
        let many: Vec<Edit> =
            (1..=20).map(|n| edit(&format!("data.k{n}"), Scalar::str(&"z".repeat(n * 500)))).collect();
        let aside = which_go_aside(&many);
        let left: usize = (0..20).filter(|n| !aside.contains(n)).map(|n| (n + 1) * 500).sum();
        assert!(left <= MAX_INLINE_BYTES_OF_A_WRITE && aside.contains(&19) && !aside.contains(&0), "{aside:?}");
    }

    #[test]
    fn what_comes_early_is_bounded() {
        let mut table = BlobTable::default();
        let key = ObjectKey::root(&crate::Kind::new("Namespace"), "shop", 1);
        let keys = skein_gossip::Keypair::from_secret([1; 32]);
        let body = crate::Body::Departure { stamp: crate::Hlc(1) };
        let envelope = Arc::new(Envelope::seal(&keys, &crate::ClusterId([1; 16]), crate::Sequence::default(), &body));
        for n in 0..40u8 {
            let text: Arc<str> = "t".repeat(1_000_000).into();
            let blob = Blob { text, salt: [0; 16], epoch: EpochId([1; 16]), envelope: envelope.clone() };
            table.keep_early(key.clone(), [n; 32], blob);
        }
        assert!(table.early_bytes <= MAX_EARLY_BYTES && table.early.len() == table.early_order.len());
        assert!(table.take_early(&key, &[39; 32]).is_some() && table.take_early(&key, &[0; 32]).is_none());
    }
}
