//! The keys that values are sealed with, one for each epoch of the cluster's secrets, as far as they are here.
//!
//! An epoch is everything that members hold in common at a time: it begins with the founding or with a rotation. What else is in
//! such a set, how it is kept and how it reaches a node does not live here, nor which epoch is the current one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// The most epochs that a keyring holds, and that the cluster remembers to have begun.
pub const MAX_EPOCHS: usize = 64;

/// Names a set of secrets: the beginning of a hash of all that is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EpochId(pub [u8; 16]);

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The key by which the values of one epoch are sealed. Forgotten in memory once it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey([u8; 32]);

impl DataKey {
    /// A key from its bytes, which must be drawn at random or derived from what nobody outside the cluster knows.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        DataKey(bytes)
    }

    /// The key itself.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Keys never show in a log.
impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}

impl Drop for DataKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The keyring holds as many epochs as it may; nothing was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the keys of {MAX_EPOCHS} epochs are kept already")]
pub struct KeyringFull;

/// The keys that are here, by epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    keys: BTreeMap<EpochId, DataKey>,
    founding: EpochId,
}

impl Keyring {
    /// A keyring that holds the key of the cluster's founding, the epoch that nobody has to begin.
    #[must_use]
    pub fn new(founding: EpochId, key: DataKey) -> Self {
        Keyring { keys: BTreeMap::from([(founding, key)]), founding }
    }

    /// The epoch that holds before any rotation.
    #[must_use]
    pub fn founding(&self) -> EpochId {
        self.founding
    }

    /// Puts a key in. One that is there already stays: the id follows from the set that the key is from.
    ///
    /// # Errors
    /// When [`MAX_EPOCHS`] are held.
    pub fn insert(&mut self, epoch: EpochId, key: DataKey) -> Result<(), KeyringFull> {
        if self.holds(&epoch) {
            return Ok(());
        }
        if self.keys.len() >= MAX_EPOCHS {
            return Err(KeyringFull);
        }
        self.keys.insert(epoch, key);
        Ok(())
    }

    /// An epoch's key.
    #[must_use]
    pub fn get(&self, epoch: &EpochId) -> Option<&DataKey> {
        self.keys.get(epoch)
    }

    /// Whether an epoch's key is here.
    #[must_use]
    pub fn holds(&self, epoch: &EpochId) -> bool {
        self.keys.contains_key(epoch)
    }

    /// The epochs whose keys are here.
    pub fn epochs(&self) -> impl Iterator<Item = &EpochId> {
        self.keys.keys()
    }
}

/// The keyring of a cluster in which no epoch was begun, for tests.
#[cfg(test)]
pub(crate) fn founding() -> Keyring {
    Keyring::new(EpochId([1; 16]), DataKey::new([1; 32]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyring_holds_so_many_epochs_and_shows_no_key() {
        let mut keyring = Keyring::new(EpochId([0; 16]), DataKey::new([0xab; 32]));
        for n in 1..MAX_EPOCHS as u8 {
            assert_eq!(keyring.insert(EpochId([n; 16]), DataKey::new([n; 32])), Ok(()));
        }
        assert_eq!(keyring.insert(EpochId([200; 16]), DataKey::new([1; 32])), Err(KeyringFull));
        assert_eq!(keyring.insert(EpochId([0; 16]), DataKey::new([1; 32])), Ok(()));
        assert_eq!(keyring.get(&EpochId([0; 16])), Some(&DataKey::new([0xab; 32])));
        let shown = format!("{keyring:?}");
        assert!(!shown.contains("171") && !shown.to_lowercase().contains("abab"), "{shown}");
    }
}
