//! Texts under seal: encrypted with an epoch's key for one object of one cluster, and read again by whoever holds that key.
//!
//! Which epoch holds, and when a text is sealed anew, does not live here.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use skein_gossip::NodeId;

use crate::blob::{BlobId, BlobRef, MAX_BLOB_BYTES};
use crate::keyring::{EpochId, Keyring};
use crate::{ClusterId, ObjectKey};

/// How many bytes a salt is long.
const SALT: usize = 16;
/// How much longer what is sealed is than its text: a salt before it, and a tag that proves it behind.
const OVERHEAD: usize = SALT + 16;

/// A text and its salt, encrypted and authenticated (XChaCha20-Poly1305). Belongs to one object of one cluster: elsewhere it
/// cannot be opened, and neither can it under another epoch than the one that it names.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    epoch: EpochId,
    nonce: [u8; 24],
    bytes: Arc<[u8]>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes under {})", self.bytes.len(), self.epoch)
    }
}

/// Whose text it is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The cluster.
    pub cluster: &'a ClusterId,
    /// The object.
    pub key: &'a ObjectKey,
}

/// What was under seal.
#[derive(Clone, PartialEq, Eq)]
pub struct Unsealed {
    /// Names it.
    pub id: BlobId,
    /// Its salt.
    pub salt: [u8; SALT],
    /// The text.
    pub text: Arc<str>,
}

/// Secrets never show in a log.
impl fmt::Debug for Unsealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unsealed({} bytes)", self.text.len())
    }
}

/// Why a text cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key is not here. It may come.
    #[error("a value is sealed under epoch {0}, whose key is not here")]
    NoKey(EpochId),
    /// It was not sealed with that key, or for another object, or was changed on its way.
    #[error("a value that its epoch's key does not open for this object")]
    Broken,
    /// It is too long.
    #[error("a value of more than {MAX_BLOB_BYTES} bytes")]
    TooLong,
}

impl Sealed {
    /// Seals a text. `None`: the epoch's key is not here.
    #[must_use]
    pub fn seal(
        keyring: &Keyring,
        epoch: EpochId,
        place: Place<'_>,
        author: &NodeId,
        salt: &[u8; SALT],
        text: &str,
    ) -> Option<Self> {
        let cipher = cipher(keyring, &epoch)?;
        let nonce = nonce(&epoch, place, author, &BlobRef::of(salt, text).id);
        let clear = [&salt[..], text.as_bytes()].concat();
        let payload = Payload { msg: &clear, aad: &about(&epoch, place) };
        // It fails for nothing that is shorter than 256 GB.
        let bytes = cipher.encrypt(XNonce::from_slice(&nonce), payload).ok()?;
        Some(Sealed { epoch, nonce, bytes: bytes.into() })
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is too long, the key is not here, or what is sealed is not what it says to be.
    pub fn open(&self, keyring: &Keyring, place: Place<'_>) -> Result<Unsealed, SealError> {
        if self.bytes.len() > MAX_BLOB_BYTES + OVERHEAD {
            return Err(SealError::TooLong);
        }
        let cipher = cipher(keyring, &self.epoch).ok_or(SealError::NoKey(self.epoch))?;
        let payload = Payload { msg: &self.bytes, aad: &about(&self.epoch, place) };
        let clear = cipher.decrypt(XNonce::from_slice(&self.nonce), payload).map_err(|_| SealError::Broken)?;
        let (salt, text) = clear.split_first_chunk::<SALT>().ok_or(SealError::Broken)?;
        let text: Arc<str> = std::str::from_utf8(text).map_err(|_| SealError::Broken)?.into();
        Ok(Unsealed { id: BlobRef::of(salt, &text).id, salt: *salt, text })
    }

    /// Seals other bytes than a value, such as a question that holds one. `about` says what they are and for whom: it must be the
    /// same when they are opened. `None`: the epoch's key is not here.
    #[must_use]
    pub fn seal_bytes(keyring: &Keyring, epoch: EpochId, about: &[u8], clear: &[u8]) -> Option<Self> {
        let aad = about_bytes(&epoch, about);
        // A hash with the key before it: nobody else can tell from it what is sealed, and the same comes of the same bytes alone.
        let hash = Sha256::new().chain_update(b"skein nonce of bytes\0").chain_update(keyring.get(&epoch)?.bytes());
        let hash = hash.chain_update((aad.len() as u64).to_be_bytes()).chain_update(&aad).chain_update(clear);
        let digest: [u8; 32] = hash.finalize().into();
        let mut nonce = [0; 24];
        nonce.copy_from_slice(&digest[..24]);
        let payload = Payload { msg: clear, aad: &aad };
        let bytes = cipher(keyring, &epoch)?.encrypt(XNonce::from_slice(&nonce), payload).ok()?;
        Some(Sealed { epoch, nonce, bytes: bytes.into() })
    }

    /// Reads other bytes than a value.
    ///
    /// # Errors
    /// When the key is not here, or what is sealed is not what it says to be.
    pub fn open_bytes(&self, keyring: &Keyring, about: &[u8]) -> Result<Vec<u8>, SealError> {
        let cipher = cipher(keyring, &self.epoch).ok_or(SealError::NoKey(self.epoch))?;
        let payload = Payload { msg: &self.bytes, aad: &about_bytes(&self.epoch, about) };
        cipher.decrypt(XNonce::from_slice(&self.nonce), payload).map_err(|_| SealError::Broken)
    }

    /// Under which epoch.
    #[must_use]
    pub fn epoch(&self) -> EpochId {
        self.epoch
    }
}

fn cipher(keyring: &Keyring, epoch: &EpochId) -> Option<XChaCha20Poly1305> {
    Some(XChaCha20Poly1305::new(keyring.get(epoch)?.bytes().into()))
}

/// What is authenticated with the text: an envelope that names another object or epoch opens nothing.
fn about(epoch: &EpochId, place: Place<'_>) -> Vec<u8> {
    let key = postcard::to_stdvec(place.key).unwrap_or_default();
    [&b"skein sealed value\0"[..], &epoch.0, &place.cluster.0, &key].concat()
}

fn about_bytes(epoch: &EpochId, about: &[u8]) -> Vec<u8> {
    [&b"skein sealed bytes\0"[..], &epoch.0, about].concat()
}

/// No two texts ever share one: it follows from the id, which is a hash of salt and text. That the same author makes the same
/// again of the same text, key and object tells nobody anything, and needs no randomness and no count that a disk could forget.
fn nonce(epoch: &EpochId, place: Place<'_>, author: &NodeId, id: &BlobId) -> [u8; 24] {
    let hash = Sha256::new().chain_update(b"skein nonce\0").chain_update(author.0).chain_update(id);
    let digest: [u8; 32] = hash.chain_update(about(epoch, place)).finalize().into();
    let mut nonce = [0; 24];
    nonce.copy_from_slice(&digest[..24]);
    nonce
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Kind;
    use crate::keyring::DataKey;
    use proptest::prelude::*;

    const OLD: EpochId = EpochId([1; 16]);
    const NEW: EpochId = EpochId([2; 16]);
    const AUTHOR: NodeId = NodeId([9; 32]);

    fn keyring() -> Keyring {
        let mut keyring = Keyring::new(OLD, DataKey::new([1; 32]));
        keyring.insert(NEW, DataKey::new([2; 32])).unwrap();
        keyring
    }

    fn secret(name: &str) -> ObjectKey {
        ObjectKey::root(&Kind::new("Secret"), name, 1)
    }

    fn seal(epoch: EpochId, key: &ObjectKey, text: &str) -> Sealed {
        let place = Place { cluster: &ClusterId([7; 16]), key };
        Sealed::seal(&keyring(), epoch, place, &AUTHOR, &[3; 16], text).unwrap()
    }

    #[test]
    fn a_text_is_read_by_its_own_key_for_its_own_object_in_its_own_cluster_alone() {
        let key = secret("login");
        let sealed = seal(OLD, &key, "hunter2");
        let open = |keyring: &Keyring, cluster: u8, key: &ObjectKey| {
            sealed.open(keyring, Place { cluster: &ClusterId([cluster; 16]), key })
        };
        assert_eq!(&*open(&keyring(), 7, &key).unwrap().text, "hunter2");
        assert_eq!(open(&Keyring::new(OLD, DataKey::new([8; 32])), 7, &key), Err(SealError::Broken));
        assert_eq!(open(&keyring(), 8, &key), Err(SealError::Broken));
        assert_eq!(open(&keyring(), 7, &secret("other")), Err(SealError::Broken));
        assert_eq!(open(&keyring(), 7, &key.name_key().life(2)), Err(SealError::Broken));
        assert_eq!(open(&Keyring::new(NEW, DataKey::new([2; 32])), 7, &key), Err(SealError::NoKey(OLD)));
        // Not even if both epochs had the same key.
        let renamed = Sealed { epoch: NEW, ..sealed.clone() };
        let mut same = Keyring::new(OLD, DataKey::new([1; 32]));
        same.insert(NEW, DataKey::new([1; 32])).unwrap();
        let place = Place { cluster: &ClusterId([7; 16]), key: &key };
        assert_eq!(renamed.open(&same, place), Err(SealError::Broken));
    }

    #[test]
    fn a_text_that_is_sealed_anew_keeps_its_name_and_shares_no_nonce() {
        let key = secret("login");
        let place = Place { cluster: &ClusterId([7; 16]), key: &key };
        let (old, new) = (seal(OLD, &key, "hunter2"), seal(NEW, &key, "hunter2"));
        assert_eq!(old.open(&keyring(), place).unwrap().id, new.open(&keyring(), place).unwrap().id);
        let other = seal(OLD, &secret("other"), "hunter2");
        let longer = seal(OLD, &key, "hunter22");
        let by_another = Sealed::seal(&keyring(), OLD, place, &NodeId([8; 32]), &[3; 16], "hunter2").unwrap();
        let nonces: std::collections::BTreeSet<_> =
            [&old, &new, &other, &longer, &by_another].iter().map(|sealed| sealed.nonce).collect();
        assert_eq!(nonces.len(), 5);
    }

    #[test]
    fn other_bytes_are_read_for_what_they_were_sealed_for_alone_and_are_no_value() {
        let sealed = Sealed::seal_bytes(&keyring(), OLD, b"question 1", b"hunter2").unwrap();
        assert_eq!(sealed.open_bytes(&keyring(), b"question 1").unwrap(), b"hunter2");
        assert_eq!(sealed.open_bytes(&keyring(), b"question 2"), Err(SealError::Broken));
        assert_eq!(
            sealed.open_bytes(&Keyring::new(NEW, DataKey::new([2; 32])), b"question 1"),
            Err(SealError::NoKey(OLD))
        );
        let (key, cluster) = (secret("login"), ClusterId([7; 16]));
        assert_eq!(sealed.open(&keyring(), Place { cluster: &cluster, key: &key }), Err(SealError::Broken));
        let other = Sealed::seal_bytes(&keyring(), OLD, b"question 1", b"hunter3").unwrap();
        assert_ne!(sealed.nonce, other.nonce);
    }

    proptest! {
        #[test]
        fn neither_text_nor_salt_stands_in_what_is_sealed(
            text in "[a-z]{8,200}",
            salt in prop::array::uniform16(any::<u8>()),
        ) {
            let (key, cluster) = (secret("login"), ClusterId([7; 16]));
            let place = Place { cluster: &cluster, key: &key };
            let sealed = Sealed::seal(&keyring(), OLD, place, &AUTHOR, &salt, &text).unwrap();
            let bytes = postcard::to_stdvec(&sealed).unwrap();
            prop_assert!(!bytes.windows(8).any(|found| found == &text.as_bytes()[..8]));
            prop_assert!(!bytes.windows(8).any(|found| found == &salt[..8]));
            let opened = sealed.open(&keyring(), place).unwrap();
            prop_assert_eq!((&*opened.text, opened.salt), (&*text, salt));
        }

        #[test]
        fn no_bit_of_what_is_sealed_can_be_changed(at in 0usize..64, bit in 0u8..8) {
            let (key, cluster) = (secret("login"), ClusterId([7; 16]));
            let mut bytes = postcard::to_stdvec(&seal(OLD, &key, "hunter2")).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let Ok(changed) = postcard::from_bytes::<Sealed>(&bytes) else { return Ok(()) };
            let place = Place { cluster: &cluster, key: &key };
            prop_assert!(changed.open(&keyring(), place).is_err());
        }

        #[test]
        fn any_bytes_are_opened_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            nonce in prop::array::uniform24(any::<u8>()),
        ) {
            let (key, cluster) = (secret("login"), ClusterId([7; 16]));
            let sealed = Sealed { epoch: OLD, nonce, bytes: bytes.into() };
            let place = Place { cluster: &cluster, key: &key };
            prop_assert!(sealed.open(&keyring(), place).is_err());
        }
    }
}
