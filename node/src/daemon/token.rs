//! Join tokens: what a person carries from a member to a machine that wants in.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use skein_core::node::TokenRole;
use skein_crdt_state::ClusterId;
use skein_gossip::NodeId;

/// What every token begins with: the product and the format's version.
const PREFIX: &str = "skein1-";
/// The longest token that is read, in characters.
const MAX_TOKEN: usize = 4096;
/// The most peers that a token names.
pub const MAX_TOKEN_PEERS: usize = 4;

/// A join token: the cluster, a secret, and where members are. Whoever has it may join until it ends.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// The cluster.
    pub cluster: ClusterId,
    /// The secret; members know its hash.
    pub secret: [u8; 16],
    /// What it is for, as far as whoever carries it knows: members look at what they know of it.
    pub role: TokenRole,
    /// Members to ask, with their addresses.
    pub peers: Vec<(NodeId, Vec<SocketAddr>)>,
}

/// A text that is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a join token ({0}); a token begins with {PREFIX} and comes from `skein token create`")]
pub struct ParseTokenError(&'static str);

impl JoinToken {
    /// The hash by which members know the secret.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"skein token\0");
        hash.update(self.cluster.0);
        hash.update(self.secret);
        hash.finalize().into()
    }

    /// The name by which people speak of the token: it tells nothing of the secret.
    #[must_use]
    pub fn id(&self) -> String {
        short_id(&self.hash())
    }
}

/// How many hexadecimal digits of a token's hash people are shown.
pub const ID_DIGITS: usize = 8;

/// The name of a token with this hash.
#[must_use]
pub fn short_id(hash: &[u8; 32]) -> String {
    hash.iter().take(ID_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// The token as a person carries it: this is the secret itself.
impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = postcard::to_stdvec(self).unwrap_or_default();
        let check: [u8; 32] = Sha256::digest(&bytes).into();
        bytes.extend_from_slice(&check[..4]);
        write!(f, "{PREFIX}{}", base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, bytes))
    }
}

/// The secret never shows in a log.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", self.cluster)
    }
}

impl FromStr for JoinToken {
    type Err = ParseTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.len() > MAX_TOKEN {
            return Err(ParseTokenError("it is too long"));
        }
        let body = text.strip_prefix(PREFIX).ok_or(ParseTokenError("it begins with something else"))?;
        let bytes = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, body)
            .map_err(|_| ParseTokenError("it has a character that no token has"))?;
        let at = bytes.len().checked_sub(4).ok_or(ParseTokenError("it is cut off"))?;
        let (bytes, check) = bytes.split_at(at);
        let sum: [u8; 32] = Sha256::digest(bytes).into();
        if sum[..4] != *check {
            return Err(ParseTokenError("it is cut off or has a wrong character"));
        }
        match postcard::take_from_bytes::<JoinToken>(bytes) {
            Ok((token, [])) if token.peers.len() <= MAX_TOKEN_PEERS => Ok(token),
            _ => Err(ParseTokenError("it was made by a version of skein that this one does not read")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn token() -> JoinToken {
        let peers = vec![(NodeId([1; 32]), vec!["10.0.0.1:7311".parse().unwrap()])];
        JoinToken { cluster: ClusterId([7; 16]), secret: [9; 16], role: TokenRole::Observer, peers }
    }

    #[test]
    fn a_token_is_read_back_as_it_was_written() {
        let text = token().to_string();
        assert_eq!(format!(" {text}\n").parse(), Ok(token()));
        assert!(!format!("{:?}", token()).contains("9"), "the secret shows");
    }

    #[test]
    fn a_token_with_a_mistake_in_it_says_so() {
        let text = token().to_string();
        let mut wrong = text.clone().into_bytes();
        wrong[20] ^= 1;
        for bad in ["", "hello", "skein1-", "skein1-!!", &text[..text.len() - 3], &String::from_utf8(wrong).unwrap()] {
            let error = bad.parse::<JoinToken>().unwrap_err().to_string();
            assert!(error.contains("skein token create"), "{error}");
        }
    }
}
