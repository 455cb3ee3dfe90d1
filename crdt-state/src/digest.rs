//! Digests: a table of items and their versions, summed up so that two peers find out in a few bytes whether and where
//! they differ.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use skein_gossip::NodeId;

use crate::blob::BlobId;
use crate::rotations::RotationName;
use crate::{NameKey, ObjectKey};

/// How many buckets a table is summed up in.
pub const BUCKETS: usize = 256;

/// Names one replicated thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Item {
    /// A statement about membership.
    Member(NodeId, u8, NodeId),
    /// A name's deletion number.
    Deletion(NameKey),
    /// An object.
    Object(ObjectKey),
    /// A section of a node's reports.
    Report(NodeId, Arc<str>),
    /// A text that is kept beside an object's document.
    Blob(ObjectKey, BlobId),
    /// That an epoch of the cluster's secrets was begun.
    Rotation(RotationName),
}

/// Items with their versions. The sum of a bucket does not depend on the order in which items came.
#[derive(Debug, Clone)]
pub struct DigestTable {
    buckets: Vec<BTreeMap<Item, u64>>,
    sums: Vec<u64>,
}

impl Default for DigestTable {
    fn default() -> Self {
        DigestTable { buckets: vec![BTreeMap::new(); BUCKETS], sums: vec![0; BUCKETS] }
    }
}

impl DigestTable {
    /// Sets an item's version, or takes it out.
    pub fn set(&mut self, item: Item, version: Option<u64>) {
        let (bytes, bucket) = place_of(&item);
        let old = match version {
            Some(version) => self.buckets[bucket].insert(item, version),
            None => self.buckets[bucket].remove(&item),
        };
        for version in [old, version].into_iter().flatten() {
            self.sums[bucket] ^= hash(&bytes, version);
        }
    }

    /// The sum of each bucket.
    #[must_use]
    pub fn sums(&self) -> &[u64] {
        &self.sums
    }

    /// An item's version.
    #[must_use]
    pub fn version_of(&self, item: &Item) -> Option<u64> {
        self.buckets[place_of(item).1].get(item).copied()
    }

    /// The items of a bucket.
    #[must_use]
    pub fn bucket(&self, bucket: u8) -> &BTreeMap<Item, u64> {
        &self.buckets[usize::from(bucket)]
    }

    /// A hash of everything.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for sum in &self.sums {
            hash.update(sum.to_be_bytes());
        }
        hash.finalize().into()
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.iter().map(BTreeMap::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.iter().all(BTreeMap::is_empty)
    }
}

/// An item as it is hashed, and its bucket.
fn place_of(item: &Item) -> (Vec<u8>, usize) {
    let bytes = postcard::to_stdvec(item).unwrap_or_default();
    let bucket = usize::from(hash(&bytes, 0) as u8);
    (bytes, bucket)
}

fn hash(bytes: &[u8], version: u64) -> u64 {
    let mut hash = Sha256::new();
    hash.update(version.to_be_bytes());
    hash.update(bytes);
    let digest = hash.finalize();
    u64::from_be_bytes([digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn a_digest_depends_on_what_is_in_it_and_not_on_the_way_there() {
        let item = |n: u32| Item::Object(ObjectKey::root(&Kind::new("Pod"), "a", n));
        let (mut a, mut b) = (DigestTable::default(), DigestTable::default());
        a.set(item(1), Some(5));
        a.set(item(2), Some(6));
        b.set(item(2), Some(1));
        b.set(item(3), Some(1));
        assert_ne!(a.root(), b.root());
        b.set(item(3), None);
        b.set(item(2), Some(6));
        b.set(item(1), Some(5));
        assert_eq!(a.root(), b.root());
        assert_eq!(a.len(), 2);
    }
}
