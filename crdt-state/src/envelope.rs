//! The envelope: the one signed, versioned form in which everything is stored and sent.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use skein_gossip::{Keypair, NodeId, Signature};

use crate::keyring::EpochId;
use crate::sealed::Sealed;
use crate::{ClusterId, Hlc, NameKey, ObjectKey, WriteId};

/// The format that this daemon writes. It also reads the previous one, once there is one.
pub const FORMAT_VERSION: u8 = 1;
/// The longest body, in bytes, before it is even looked at: a change of 64 KB and its key.
pub const MAX_BODY_BYTES: usize = 72 * 1024;
/// The longest body of a blob.
pub const MAX_BLOB_BODY_BYTES: usize = crate::blob::MAX_BLOB_BYTES + 8 * 1024;
/// The longest body of a removal, which names all that was seen of the removed node.
pub const MAX_REMOVAL_BODY_BYTES: usize = 512 * 1024;
/// How the body of a removal begins: its place in [`Body`].
const REMOVAL_TAG: u8 = 6;
/// How the body of a blob begins: its place in [`Body`].
const BLOB_TAG: u8 = 7;

/// An author's place in its own sequence: which start of the daemon, then a number that rises by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Sequence {
    /// The boot incarnation: greater for each start on a data directory.
    pub boot: u64,
    /// Rises by one with each envelope of this boot.
    pub number: u64,
}

/// Something that one node said, and proof of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    version: u8,
    author: NodeId,
    sequence: Sequence,
    signature: Signature,
    body: Arc<[u8]>,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// An Automerge change of one object.
    Change {
        /// The object.
        key: ObjectKey,
        /// The layout's version that its paths follow.
        layout: u16,
        /// The uncompressed change chunk.
        chunk: Vec<u8>,
    },
    /// One section of what the author says of itself.
    Report {
        /// Which section.
        section: Arc<str>,
        /// When.
        stamp: Hlc,
        /// Opaque here; empty retracts the section.
        body: Arc<[u8]>,
    },
    /// All lives of a name up to this one are over.
    Deletion {
        /// The name.
        name: NameKey,
        /// The highest life that is over.
        incarnation: u32,
        /// When.
        stamp: Hlc,
        /// The heads and the births that the deleter saw, so that an edit that it had not seen can be reported, and a
        /// creation made again.
        seen: Vec<WriteId>,
    },
    /// The founding of a cluster; its id is the hash of founder and nonce.
    Founding {
        /// Drawn once.
        nonce: [u8; 32],
        /// What the founder is called.
        name: String,
        /// When.
        stamp: Hlc,
    },
    /// The author admits a node.
    Admission {
        /// Who.
        node: NodeId,
        /// What it is called.
        name: String,
        /// The hash of the token that it showed.
        token: [u8; 32],
        /// When.
        stamp: Hlc,
        /// As what.
        role: crate::members::Role,
    },
    /// The author leaves the cluster for good.
    Departure {
        /// When.
        stamp: Hlc,
    },
    /// The author removes a node for good.
    Removal {
        /// Whom.
        node: NodeId,
        /// When.
        stamp: Hlc,
        /// What the removed node had said as far as the author had seen, so that it stays: whom it has admitted, and which epochs it
        /// has begun.
        seen: Vec<crate::members::Seen>,
    },
    /// A text that is kept beside an object's document.
    Blob {
        /// The object.
        key: ObjectKey,
        /// The text, and the salt that makes its id hard to guess from a short one.
        sealed: Sealed,
    },
    /// The cluster's secrets are those of this epoch from now on.
    Rotation {
        /// Which.
        epoch: EpochId,
        /// When.
        stamp: Hlc,
        /// What earlier epochs gave out counts until then, milliseconds since the Unix epoch by the wall clock.
        lapse_ms: u64,
    },
}

/// Why an envelope was not opened; nothing of it was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes are no envelope.
    #[error("not an envelope")]
    Malformed,
    /// A format that this daemon does not read.
    #[error("format version {0}; this daemon reads version {FORMAT_VERSION}: upgrade it")]
    Version(u8),
    /// The signature is not the author's.
    #[error("not signed by its author {0}")]
    Signature(NodeId),
    /// The body is too long.
    #[error(
        "a body of {0} bytes; at most {MAX_BODY_BYTES} are taken, of a value beside a document {MAX_BLOB_BODY_BYTES}, of a \
         removal {MAX_REMOVAL_BODY_BYTES}"
    )]
    TooLong(usize),
}

impl Envelope {
    /// Signs a body.
    #[must_use]
    pub fn seal(keys: &Keypair, cluster: &ClusterId, sequence: Sequence, body: &Body) -> Self {
        // Serialising into memory fails for no value of `Body`: it has no maps with unknown length and no custom code.
        let body: Arc<[u8]> = postcard::to_stdvec(body).unwrap_or_default().into();
        let author = keys.node_id();
        let signature = keys.sign(&signed_bytes(cluster, FORMAT_VERSION, &author, sequence, &body));
        Envelope { version: FORMAT_VERSION, author, sequence, signature, body }
    }

    /// Checks version, length and signature, and reads the body.
    ///
    /// # Errors
    /// When any of them does not hold.
    pub fn open(&self, cluster: &ClusterId) -> Result<Body, EnvelopeError> {
        let signed = signed_bytes(cluster, self.version, &self.author, self.sequence, &self.body);
        let body = self.open_verified()?;
        if !self.signature.is_by(&self.author, &signed) {
            return Err(EnvelopeError::Signature(self.author));
        }
        Ok(body)
    }

    /// Reads the body of an envelope whose signature is known to be good.
    ///
    /// # Errors
    /// When version or length do not hold or the body is malformed.
    pub fn open_verified(&self) -> Result<Body, EnvelopeError> {
        if self.version != FORMAT_VERSION {
            return Err(EnvelopeError::Version(self.version));
        }
        let limit = match self.body.first() {
            Some(&BLOB_TAG) => MAX_BLOB_BODY_BYTES,
            Some(&REMOVAL_TAG) => MAX_REMOVAL_BODY_BYTES,
            _ => MAX_BODY_BYTES,
        };
        if self.body.len() > limit {
            return Err(EnvelopeError::TooLong(self.body.len()));
        }
        let (body, rest) = postcard::take_from_bytes(&self.body).map_err(|_| EnvelopeError::Malformed)?;
        if rest.is_empty() { Ok(body) } else { Err(EnvelopeError::Malformed) }
    }

    /// The bytes that are stored and sent.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Reads an envelope; its signature is checked by [`Envelope::open`].
    ///
    /// # Errors
    /// When the bytes are no envelope.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        match postcard::take_from_bytes(bytes) {
            Ok((envelope, [])) => Ok(envelope),
            _ => Err(EnvelopeError::Malformed),
        }
    }

    /// Who says it.
    #[must_use]
    pub fn author(&self) -> NodeId {
        self.author
    }

    /// Its place in the author's sequence.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// About how much memory and wire it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len() + 128
    }

    /// The last bytes of its body: of a change the chunk, which comes last in it.
    pub(crate) fn end_of_body(&self, bytes: usize) -> &[u8] {
        &self.body[self.body.len().saturating_sub(bytes)..]
    }

    /// The hash of all of it, signature included.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update([self.version]);
        hash.update(self.author.0);
        hash.update(self.sequence.boot.to_be_bytes());
        hash.update(self.sequence.number.to_be_bytes());
        hash.update(self.signature.0);
        hash.update(self.signature.1);
        hash.update(&self.body);
        hash.finalize().into()
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Envelope({:?} {}.{}, {} bytes)",
            self.author,
            self.sequence.boot,
            self.sequence.number,
            self.body.len()
        )
    }
}

/// What the signature covers: everything, and the cluster, so that nothing said in one can be replayed in another.
fn signed_bytes(cluster: &ClusterId, version: u8, author: &NodeId, sequence: Sequence, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96 + body.len());
    bytes.extend_from_slice(b"skein envelope\0");
    bytes.push(version);
    bytes.extend_from_slice(&cluster.0);
    bytes.extend_from_slice(&author.0);
    bytes.extend_from_slice(&sequence.boot.to_be_bytes());
    bytes.extend_from_slice(&sequence.number.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::members::Seen;
    use crate::sealed::Place;
    use proptest::prelude::*;

    fn sealed() -> (ClusterId, Envelope, Body) {
        let (keys, cluster) = (Keypair::from_secret([1; 32]), ClusterId([7; 16]));
        let body = Body::Report { section: "node".into(), stamp: Hlc(5), body: [1, 2, 3].into() };
        (cluster, Envelope::seal(&keys, &cluster, Sequence { boot: 1, number: 2 }, &body), body)
    }

    #[test]
    fn what_was_sealed_is_opened_in_its_own_cluster_alone() {
        let (cluster, envelope, body) = sealed();
        let again = Envelope::decode(&envelope.encode()).unwrap();
        assert_eq!(again.open(&cluster), Ok(body));
        assert!(matches!(again.open(&ClusterId([8; 16])), Err(EnvelopeError::Signature(_))));
    }

    #[test]
    fn an_unknown_version_says_so() {
        let (cluster, envelope, _) = sealed();
        let newer = Envelope { version: 9, ..envelope };
        assert_eq!(newer.open(&cluster), Err(EnvelopeError::Version(9)));
    }

    #[test]
    fn only_a_blob_may_be_long() {
        let (cluster, _, _) = sealed();
        let keys = Keypair::from_secret([1; 32]);
        let key = ObjectKey::root(&crate::Kind::new("Secret"), "s", 1);
        let seal = |body: &Body| Envelope::seal(&keys, &cluster, Sequence { boot: 1, number: 3 }, body);
        let keyring = crate::Keyring::new(EpochId([1; 16]), crate::DataKey::new([1; 32]));
        let (place, longest) = (Place { cluster: &cluster, key: &key }, "x".repeat(crate::blob::MAX_BLOB_BYTES));
        let sealed = Sealed::seal(&keyring, keyring.founding(), place, &keys.node_id(), &[2; 16], &longest).unwrap();
        let blob = Body::Blob { key, sealed };
        assert_eq!(seal(&blob).open(&cluster), Ok(blob));
        let sequence = Sequence { boot: u64::MAX, number: u64::from(u32::MAX) };
        let seen = vec![Seen { said: [7; 20], sequence }; crate::members::MAX_SEEN];
        let removal = Body::Removal { node: keys.node_id(), stamp: Hlc(u64::MAX), seen };
        assert_eq!(seal(&removal).open(&cluster), Ok(removal));
        let report = Body::Report { section: "node".into(), stamp: Hlc(5), body: vec![0; MAX_BODY_BYTES].into() };
        assert!(matches!(seal(&report).open(&cluster), Err(EnvelopeError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn no_bit_of_an_envelope_can_be_changed(at in 0usize..200, bit in 0u8..8) {
            let (cluster, envelope, _) = sealed();
            let mut bytes = envelope.encode();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(Envelope::decode(&bytes).and_then(|envelope| envelope.open(&cluster)).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Envelope::decode(&bytes).and_then(|envelope| envelope.open(&ClusterId([7; 16])));
        }
    }
}
