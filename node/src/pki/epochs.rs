//! Which sets of common secrets there are, which one is the current one, and until when what the others gave out counts.
//! No clock and no disk: times are told, in milliseconds since the Unix epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skein_crdt_state::keyring::{DataKey, EpochId, Keyring, MAX_EPOCHS};

use tracing::warn;

use super::{ClusterSecrets, MAX_VOUCHING, PkiError};

/// The largest document of sets that is read, in bytes: that many sets of the largest size.
pub const MAX_SETS_BYTES: usize = MAX_EPOCHS * super::MAX_SECRETS_BYTES;

/// How many of the last rotations lead to sets that are kept, besides the founding one and one that no rotation names yet.
/// Earlier ones ended long ago, and what was sealed under them is sealed anew.
const MAX_KEPT: usize = MAX_EPOCHS - 2;
/// How many sets the admission reply has, besides the founding one; further ones are asked for later. It has to be short.
const MAX_FOR_STRANGERS: usize = 8;

/// One rotation: from then on the cluster's secrets are those of `epoch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The set that it leads to.
    pub epoch: EpochId,
    /// When what all earlier sets gave out ends.
    pub lapse_ms: u64,
}

/// The sets that this member holds, and the rotations that it has heard of.
#[derive(Debug, Clone)]
pub struct Epochs {
    founding: EpochId,
    sets: BTreeMap<EpochId, Arc<ClusterSecrets>>,
    turns: Vec<Turn>,
}

/// The form in which sets are kept and travel.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    founding: String,
    sets: Vec<ClusterSecrets>,
    /// The rotations that were known of: until the core has read its own disk or heard from a peer these are all there is.
    #[serde(default)]
    turns: Vec<(EpochId, u64)>,
}

impl Epochs {
    /// A cluster's first set, before any rotation.
    #[must_use]
    pub fn founded(secrets: ClusterSecrets) -> Self {
        let founding = secrets.epoch();
        Epochs { founding, sets: BTreeMap::from([(founding, Arc::new(secrets))]), turns: Vec::new() }
    }

    /// The form that is kept on disk.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let sets = self.sets.values().map(|set| (**set).clone()).collect();
        let turns = self.turns.iter().map(|turn| (turn.epoch, turn.lapse_ms)).collect();
        // Texts and numbers always have a JSON form.
        serde_json::to_vec(&Document { founding: self.founding.to_string(), sets, turns }).unwrap_or_default()
    }

    /// The form that the admission reply has, with the latest sets and rotations alone.
    #[must_use]
    pub fn to_short_bytes(&self) -> Vec<u8> {
        let mut short = self.clone();
        let latest: BTreeSet<EpochId> = self.newest_first().into_iter().take(MAX_FOR_STRANGERS).collect();
        short.sets.retain(|id, _| latest.contains(id) || *id == self.founding);
        short.turns.retain(|turn| latest.contains(&turn.epoch));
        short.to_bytes()
    }

    /// Reads what [`Epochs::to_bytes`] wrote, or the one set that versions before it kept.
    ///
    /// # Errors
    /// When it is too long, is neither, has a set that cannot be used, or lacks the founding set.
    pub fn from_bytes(bytes: &[u8], from: &str) -> Result<Self, PkiError> {
        Self::read(bytes, from, Err)
    }

    /// The same from this node's own disk: a set that cannot be used is named and left out, so that the others can be.
    ///
    /// # Errors
    /// When it is too long, is neither, or lacks the founding set, or that one cannot be used.
    pub fn from_disk(bytes: &[u8], from: &str) -> Result<Self, PkiError> {
        Self::read(bytes, from, |_| Ok(()))
    }

    /// `unusable` says whether a set that cannot be used is an error.
    fn read(bytes: &[u8], from: &str, unusable: impl Fn(PkiError) -> Result<(), PkiError>) -> Result<Self, PkiError> {
        let malformed = |why: String| PkiError::Malformed { from: from.to_owned(), why };
        if bytes.len() > MAX_SETS_BYTES {
            return Err(malformed(format!("{} bytes are more than {MAX_SETS_BYTES}", bytes.len())));
        }
        let Document { founding, sets, turns } = match serde_json::from_slice(bytes) {
            Ok(document) => document,
            Err(error) => {
                let one = ClusterSecrets::from_bytes(bytes, from);
                return one.map(Self::founded).map_err(|_| malformed(error.to_string()));
            }
        };
        if sets.len() > MAX_EPOCHS || turns.len() > MAX_EPOCHS {
            return Err(malformed(format!(
                "{} sets or rotations are more than {MAX_EPOCHS}",
                sets.len().max(turns.len())
            )));
        }
        let mut usable = BTreeMap::new();
        for set in sets {
            let epoch = set.epoch();
            match ClusterSecrets::from_bytes(&set.to_bytes(), from) {
                Ok(set) => drop(usable.insert(set.epoch(), Arc::new(set))),
                Err(error) => {
                    warn!(%epoch, %error, "a set of the cluster's keys cannot be used and is left out");
                    unusable(error)?;
                }
            }
        }
        let sets = usable;
        let founding = sets.keys().find(|id| id.to_string() == founding).copied();
        let founding = founding.ok_or_else(|| malformed("the founder's set is not among them".to_owned()))?;
        let turns = turns.into_iter().map(|(epoch, lapse_ms)| Turn { epoch, lapse_ms }).collect();
        Ok(Epochs { founding, sets, turns })
    }

    /// Takes a set in. `false`: it is here already. Of more than [`MAX_EPOCHS`] sets one goes that no rotation names, or the
    /// one of an early rotation.
    pub fn insert(&mut self, secrets: ClusterSecrets) -> bool {
        let id = secrets.epoch();
        if self.sets.contains_key(&id) {
            return false;
        }
        if self.sets.len() >= MAX_EPOCHS {
            let kept: BTreeSet<EpochId> = self.kept_turns().map(|turn| turn.epoch).chain([self.founding]).collect();
            let Some(spare) = self.sets.keys().find(|id| !kept.contains(id)).copied() else { return false };
            self.sets.remove(&spare);
        }
        self.sets.insert(id, Arc::new(secrets)).is_none()
    }

    /// The rotations that are known of, the earliest first.
    #[must_use]
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// Takes over what rotations there are, the earliest first.
    pub fn set_turns(&mut self, turns: Vec<Turn>) {
        self.turns = turns;
    }

    /// A set that is here.
    #[must_use]
    pub fn get(&self, id: &EpochId) -> Option<&Arc<ClusterSecrets>> {
        self.sets.get(id)
    }

    /// The set that is the cluster's now, as far as this member holds it.
    #[must_use]
    pub fn current(&self) -> EpochId {
        let held = self.turns.iter().rev().find(|turn| self.sets.contains_key(&turn.epoch));
        held.map_or(self.founding, |turn| turn.epoch)
    }

    /// When what a set gave out ends: never (`u64::MAX`) unless a later rotation says so. `None`: no rotation led to
    /// it, so it gave out nothing that counts. A rotation whose set is not here yet ends what is before it all the same.
    #[must_use]
    pub fn lapse_ms(&self, id: &EpochId) -> Option<u64> {
        let last = self.turns.iter().rposition(|turn| turn.epoch == *id);
        let later = match last {
            Some(at) => self.turns.get(at + 1..)?,
            None if *id == self.founding => &self.turns[..],
            None => return None,
        };
        Some(later.iter().map(|turn| turn.lapse_ms).min().unwrap_or(u64::MAX))
    }

    /// Whether what a set gave out counts at a time.
    #[must_use]
    pub fn counts(&self, id: &EpochId, now_ms: u64) -> bool {
        self.lapse_ms(id).is_some_and(|lapse_ms| now_ms < lapse_ms)
    }

    /// The sets that are here and that a rotation or the founder made the cluster's, the current one first, then back in
    /// time.
    #[must_use]
    pub fn newest_first(&self) -> Vec<EpochId> {
        let mut ids: Vec<EpochId> = Vec::new();
        for id in self.turns.iter().rev().map(|turn| turn.epoch).chain([self.founding]) {
            if self.sets.contains_key(&id) && !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    /// The sets whose authorities vouch for the next one each until the current one: the current one first.
    #[must_use]
    pub(super) fn vouching(&self) -> Vec<&Arc<ClusterSecrets>> {
        self.newest_first().iter().take(usize::from(MAX_VOUCHING) + 1).filter_map(|id| self.sets.get(id)).collect()
    }

    /// The certificates by which the cluster is known at a time, PEM: the current authority's, then those of earlier ones
    /// whose credentials count still. A member that has not heard of a rotation shows one of those.
    #[must_use]
    pub fn authorities(&self, now_ms: u64) -> String {
        let (current, mut all) = (self.current(), String::new());
        for id in self.newest_first() {
            if let Some(set) = self.sets.get(&id).filter(|_| id == current || self.counts(&id, now_ms)) {
                all.push_str(set.ca_certificate.trim_end());
                all.push('\n');
            }
        }
        all
    }

    /// The next time at which something that counts now ends.
    #[must_use]
    pub fn next_lapse_ms(&self, now_ms: u64) -> Option<u64> {
        let ends = self.sets.keys().filter_map(|id| self.lapse_ms(id));
        ends.filter(|end| (now_ms..u64::MAX).contains(end)).min()
    }

    /// Sets that rotations name and that are not here, but for those that are not kept any more.
    #[must_use]
    pub fn lacking(&self) -> BTreeSet<EpochId> {
        self.kept_turns().map(|turn| turn.epoch).filter(|id| !self.sets.contains_key(id)).collect()
    }

    fn kept_turns(&self) -> impl Iterator<Item = &Turn> {
        self.turns.iter().rev().take(MAX_KEPT)
    }

    /// The keys of the data, for the core.
    #[must_use]
    pub fn keyring(&self) -> Keyring {
        let key = |id: &EpochId| self.sets.get(id).map(|set| set.data_key());
        // The founding set is always here.
        let mut keyring = Keyring::new(self.founding, key(&self.founding).unwrap_or_else(|| DataKey::new([0; 32])));
        for (id, set) in &self.sets {
            // Both have the same limit.
            let _ = keyring.insert(*id, set.data_key());
        }
        keyring
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn sets(count: usize) -> (Epochs, Vec<ClusterSecrets>) {
        static MADE: std::sync::OnceLock<Vec<ClusterSecrets>> = std::sync::OnceLock::new();
        let made = MADE.get_or_init(|| (0..6).map(|_| ClusterSecrets::found("home").unwrap()).collect());
        let mut epochs = Epochs::founded(made[0].clone());
        for set in &made[1..count] {
            assert!(epochs.insert(set.clone()));
        }
        (epochs, made.clone())
    }

    fn turn(set: &ClusterSecrets, lapse_ms: u64) -> Turn {
        Turn { epoch: set.epoch(), lapse_ms }
    }

    #[test]
    fn what_an_earlier_set_gave_out_counts_until_the_first_later_rotation_says_so() {
        let (mut epochs, made) = sets(4);
        let ids: Vec<EpochId> = made.iter().map(ClusterSecrets::epoch).collect();
        assert!(epochs.counts(&ids[0], u64::MAX - 1), "nothing ends before a rotation");
        assert!(!epochs.counts(&ids[1], 0), "a set that no rotation led to gave out nothing");
        epochs.set_turns(vec![turn(&made[1], 500), turn(&made[2], 100)]);
        assert_eq!(epochs.current(), ids[2]);
        assert_eq!(
            ids[..4].iter().map(|id| epochs.lapse_ms(id)).collect::<Vec<_>>(),
            [Some(100), Some(100), Some(u64::MAX), None]
        );
        assert!(epochs.counts(&ids[1], 99) && !epochs.counts(&ids[1], 100));
        assert_eq!((epochs.next_lapse_ms(50), epochs.next_lapse_ms(101)), (Some(100), None));
    }

    #[test]
    fn a_rotation_whose_set_is_not_here_ends_what_is_before_it_all_the_same() {
        let (mut epochs, made) = sets(2);
        epochs.set_turns(vec![turn(&made[1], 10), turn(&made[2], 20)]);
        assert_eq!(epochs.current(), made[1].epoch(), "the last one that is here");
        assert_eq!(epochs.lacking(), BTreeSet::from([made[2].epoch()]));
        assert!(epochs.counts(&made[1].epoch(), 19) && !epochs.counts(&made[1].epoch(), 20));
        epochs.insert(made[2].clone());
        assert_eq!((epochs.current(), epochs.lacking().len()), (made[2].epoch(), 0));
    }

    #[test]
    fn the_cluster_is_known_by_the_current_authority_first_and_by_those_that_have_not_ended() {
        let (mut epochs, made) = sets(3);
        epochs.set_turns(vec![turn(&made[1], 10), turn(&made[2], 20)]);
        let bundle =
            |count: usize| -> String { made[..count].iter().rev().map(|set| set.ca_certificate.clone()).collect() };
        assert_eq!(epochs.authorities(5), bundle(3));
        assert_eq!(epochs.authorities(15), made[2].ca_certificate.clone() + &made[1].ca_certificate);
        assert_eq!(epochs.authorities(25), made[2].ca_certificate);
    }

    #[test]
    fn sets_come_back_as_they_were_kept_and_a_lone_one_of_an_earlier_version_is_the_founders() {
        let (epochs, made) = sets(3);
        let read = Epochs::from_bytes(&epochs.to_bytes(), "a test").unwrap();
        assert_eq!((read.founding, read.sets), (epochs.founding, epochs.sets));
        let lone = Epochs::from_bytes(&made[0].to_bytes(), "a test").unwrap();
        assert_eq!(lone.current(), made[0].epoch());
        let foreign =
            Document { founding: made[3].epoch().to_string(), sets: vec![made[0].clone()], turns: Vec::new() };
        assert!(Epochs::from_bytes(&serde_json::to_vec(&foreign).unwrap(), "a test").is_err());
    }

    #[test]
    fn a_set_that_cannot_be_used_is_left_out_at_a_start_and_refused_from_others() {
        let (mut epochs, made) = sets(2);
        let nameless = crate::pki::nameless();
        epochs.insert(nameless.clone());
        epochs.set_turns(vec![turn(&made[1], 10), turn(&nameless, 20)]);
        assert!(Epochs::from_bytes(&epochs.to_bytes(), "a test").is_err());
        let read = Epochs::from_disk(&epochs.to_bytes(), "a test").unwrap();
        assert_eq!((read.current(), read.lacking()), (made[1].epoch(), BTreeSet::from([nameless.epoch()])));
        assert!(crate::pki::ServerIdentity::new(read, [], []).is_ok());
        let founded = Epochs::founded(nameless);
        assert!(Epochs::from_disk(&founded.to_bytes(), "a test").is_err(), "without the founder's there is none");
    }

    #[test]
    fn however_many_rotations_there_were_the_latest_sets_and_the_founders_are_kept() {
        let (mut epochs, made) = sets(1);
        let mut turns = Vec::new();
        for n in 0..2 * MAX_EPOCHS {
            let next = ClusterSecrets { admin_token: format!("{n:064x}"), ..made[0].clone() };
            assert!(epochs.insert(next.clone()), "{n}");
            turns.push(turn(&next, n as u64));
            epochs.set_turns(turns[turns.len().saturating_sub(MAX_EPOCHS)..].to_vec());
            assert_eq!(epochs.current(), next.epoch());
            assert_eq!(epochs.lacking(), BTreeSet::new(), "what was given up is not asked for again");
        }
        assert_eq!(epochs.sets.len(), MAX_EPOCHS);
        assert!(epochs.get(&made[0].epoch()).is_some());
    }

    #[test]
    fn a_stranger_is_told_the_latest_sets_and_rotations_in_short() {
        let (mut epochs, made) = sets(6);
        let (mut turns, mut last) = (Vec::new(), made[0].clone());
        for n in 0..20u64 {
            last = ClusterSecrets { admin_token: format!("{n:064x}"), ..made[0].clone() };
            epochs.insert(last.clone());
            turns.push(turn(&last, n));
        }
        epochs.set_turns(turns);
        let bytes = epochs.to_short_bytes();
        assert!(bytes.len() < 16 << 10, "{}", bytes.len());
        let told = Epochs::from_bytes(&bytes, "a test").unwrap();
        assert_eq!(told.current(), last.epoch());
        assert!(!told.counts(&made[0].epoch(), 19) && told.get(&made[0].epoch()).is_some());
    }

    proptest! {
        #[test]
        fn reading_sets_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Epochs::from_bytes(&bytes, "a test").is_err());
        }

        #[test]
        fn the_current_set_counts_unless_a_later_rotation_is_known(order in proptest::collection::vec((0usize..6, 0u64..50), 0..10), now in 0u64..60) {
            let (mut epochs, made) = sets(6);
            epochs.set_turns(order.iter().map(|(at, lapse)| turn(&made[*at], *lapse)).collect());
            prop_assert!(epochs.counts(&epochs.current(), now), "all sets are here");
            prop_assert_eq!(epochs.newest_first()[0], epochs.current());
        }
    }
}
