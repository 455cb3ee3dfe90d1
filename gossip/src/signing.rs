//! Signatures: who said it. Ed25519 (RFC 8032), the key that is also the node's name.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::NodeId;

/// A node's secret key. Neither displayed nor serialised; the daemon alone reads and writes it as bytes.
#[derive(Clone)]
pub struct Keypair(SigningKey);

impl Keypair {
    /// The key from its 32 secret bytes; every value is a valid key.
    #[must_use]
    pub fn from_secret(secret: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&secret))
    }

    /// The secret bytes, for the key file and for the transport's handshake.
    #[must_use]
    pub fn secret(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The node that holds this key.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// Signs a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        let bytes = self.0.sign(message).to_bytes();
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&bytes[..32]);
        s.copy_from_slice(&bytes[32..]);
        Signature(r, s)
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keypair({:?})", self.node_id())
    }
}

/// An Ed25519 signature, in its two halves since serde knows arrays up to 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signature(pub [u8; 32], pub [u8; 32]);

impl Signature {
    /// Whether `author` signed `message`. A name that is no point of the curve signed nothing.
    #[must_use]
    pub fn is_by(&self, author: &NodeId, message: &[u8]) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(author.as_bytes()) else { return false };
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..].copy_from_slice(&self.1);
        key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&bytes)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_author_and_message_alone() {
        let (a, b) = (Keypair::from_secret([1; 32]), Keypair::from_secret([2; 32]));
        let signature = a.sign(b"hello");
        assert!(signature.is_by(&a.node_id(), b"hello"));
        assert!(!signature.is_by(&b.node_id(), b"hello"));
        assert!(!signature.is_by(&a.node_id(), b"hellp"));
        assert!(!signature.is_by(&NodeId([0xff; 32]), b"hello"));
    }
}
