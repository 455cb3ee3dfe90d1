//! Which epochs of the cluster's secrets were begun, when and by whom: signed statements, each a thing of its own.
//!
//! The secrets themselves do not live here, nor the keys: see [`keyring`](crate::keyring). Whether a statement's author could make
//! it is for [`Members`](crate::Members) to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use skein_gossip::NodeId;

use crate::keyring::{EpochId, MAX_EPOCHS};
use crate::members::{Seen, tag_of_rotation};
use crate::{Envelope, Hlc};

/// An epoch that a member has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Which.
    pub epoch: EpochId,
    /// When.
    pub stamp: Hlc,
    /// Who.
    pub by: NodeId,
    /// What earlier epochs gave out counts until then, milliseconds since the Unix epoch by the wall clock.
    pub lapse_ms: u64,
}

/// Names a statement: the beginning of its envelope's hash, so that nobody can put another in its place.
pub type RotationName = [u8; 16];

/// The name of a statement.
#[must_use]
pub fn name_of(envelope: &Envelope) -> RotationName {
    let mut name = [0; 16];
    name.copy_from_slice(&envelope.digest()[..16]);
    name
}

/// The statements that count, at most [`MAX_EPOCHS`]: the latest.
///
/// A statement counts if its author was ever admitted, and if each member that removed its author had seen it; not while nobody
/// but a removed node vouches for its author. What does not count any more is let go, so that nobody who was removed can crowd
/// others' out.
#[derive(Debug, Clone, Default)]
pub struct Rotations {
    said: BTreeMap<RotationName, (Rotation, Arc<Envelope>)>,
}

impl Rotations {
    /// All, in their order. The current epoch is the last whose key is here.
    #[must_use]
    pub fn in_order(&self) -> Vec<Rotation> {
        let mut all: Vec<(Hlc, EpochId, RotationName)> = self.said.iter().map(place).collect();
        all.sort_unstable();
        all.iter().filter_map(|(_, _, name)| self.said.get(name)).map(|(rotation, _)| *rotation).collect()
    }

    /// When an epoch was begun last, if it was.
    #[must_use]
    pub fn begun(&self, epoch: &EpochId) -> Option<Hlc> {
        self.said.values().filter(|(rotation, _)| rotation.epoch == *epoch).map(|(rotation, _)| rotation.stamp).max()
    }

    /// A statement as it was signed.
    #[must_use]
    pub fn envelope(&self, name: &RotationName) -> Option<&Arc<Envelope>> {
        self.said.get(name).map(|(_, envelope)| envelope)
    }

    /// The statements of one author: what its removal says was seen.
    pub fn by<'a>(&'a self, author: &NodeId) -> impl Iterator<Item = Seen> + use<'a> {
        let author = *author;
        let by_author = self.said.iter().filter(move |(_, (rotation, _))| rotation.by == author);
        by_author.map(|(name, (_, envelope))| Seen { said: tag_of_rotation(name), sequence: envelope.sequence() })
    }

    /// Takes a statement in. `None`: it is known, or there are [`MAX_EPOCHS`] later ones. Otherwise what had to go for it.
    pub fn insert(&mut self, rotation: Rotation, envelope: &Arc<Envelope>) -> Option<Option<RotationName>> {
        let name = name_of(envelope);
        if self.said.contains_key(&name) {
            return None;
        }
        self.said.insert(name, (rotation, envelope.clone()));
        if self.said.len() <= MAX_EPOCHS {
            return Some(None);
        }
        let (_, _, earliest) = self.said.iter().map(place).min()?;
        self.said.remove(&earliest);
        (earliest != name).then_some(Some(earliest))
    }

    /// Lets go of what does not count; which these were.
    pub fn retain(&mut self, counts: impl Fn(&RotationName, &Rotation) -> bool) -> Vec<RotationName> {
        let gone = self.said.iter().filter(|(name, (rotation, _))| !counts(name, rotation));
        let gone: Vec<RotationName> = gone.map(|(name, _)| *name).collect();
        gone.iter().for_each(|name| drop(self.said.remove(name)));
        gone
    }
}

/// A statement's place in the order of all.
fn place((name, (rotation, _)): (&RotationName, &(Rotation, Arc<Envelope>))) -> (Hlc, EpochId, RotationName) {
    (rotation.stamp, rotation.epoch, *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, ClusterId, Sequence};
    use proptest::prelude::*;
    use skein_gossip::Keypair;

    fn said(stamp: u64) -> (Rotation, Arc<Envelope>) {
        let (keys, epoch) = (Keypair::from_secret([1; 32]), EpochId([stamp as u8; 16]));
        let body = Body::Rotation { epoch, stamp: Hlc(stamp), lapse_ms: 0 };
        let sequence = Sequence { boot: 1, number: stamp };
        let envelope = Envelope::seal(&keys, &ClusterId([7; 16]), sequence, &body);
        (Rotation { epoch, stamp: Hlc(stamp), by: keys.node_id(), lapse_ms: 0 }, Arc::new(envelope))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn in_whatever_order_statements_come_the_latest_stay(
            order in Just((0..100u64).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut rotations = Rotations::default();
            for stamp in order {
                let (rotation, envelope) = said(stamp);
                rotations.insert(rotation, &envelope);
                prop_assert_eq!(rotations.insert(rotation, &envelope), None);
            }
            let stamps: Vec<u64> = rotations.in_order().iter().map(|rotation| rotation.stamp.0).collect();
            prop_assert_eq!(stamps, (36..100).collect::<Vec<_>>());
        }
    }
}
