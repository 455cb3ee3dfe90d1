//! Signed tokens: who somebody is, until when, and what ends the token sooner. They have the shape of a JSON Web Token
//! (RFC 7519, signed as RFC 8037 says), so that clients that look into theirs find what they expect.
//!
//! The key follows from that of the authority, which all members share: every peer makes them and every peer verifies
//! them, whoever else it can reach. A rotation brings another key. Nothing is stored, so there is no list of them. Whether an account or a user that a
//! token speaks of is still there is asked by the API.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use skein_gossip::{Keypair, Signature};

use super::ClusterSecrets;

/// Who makes tokens, and for whom when nothing is said: this API, by the name that pods know it by.
pub const API_AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";
/// The longest that a token is valid, in seconds: a year. Whoever asks for longer gets this.
pub const MAX_TTL_S: u64 = 365 * 24 * 3600;
/// The longest token that is read, in bytes.
const MAX_TOKEN_BYTES: usize = 8 << 10;
/// What a key is made for: others may be made from the same secret.
const PURPOSE: &[u8] = b"skein api tokens 1\0";

/// Signs and verifies tokens.
pub struct TokenKey(Keypair);

/// What a token says. Times are in seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made it.
    pub iss: String,
    /// Who it is of: a user's name.
    pub sub: String,
    /// Whom it may be shown to.
    pub aud: Vec<String>,
    /// When it ends.
    pub exp: u64,
    /// When it was made.
    pub iat: u64,
    /// Since when it is valid. Not looked at: the clocks of peers differ, and nothing is lost by a token that is early.
    pub nbf: u64,
    /// What tells it from others.
    pub jti: String,
    /// The user's groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The account that it is of, if it is one's.
    #[serde(rename = "kubernetes.io", default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountClaims>,
}

/// What the token of an account ends with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountClaims {
    /// The namespace of all of it.
    pub namespace: String,
    /// The account.
    pub serviceaccount: Life,
    /// The pod that it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Life>,
    /// The Secret that it was bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Life>,
}

/// One life of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// Why a text is no token that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token, or somebody else signed it.
    #[error("the token is not one of this cluster's")]
    Foreign,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// It was signed before a rotation of the cluster's keys whose grace is over.
    #[error("the token was issued before the cluster's keys were rotated, and counts no more")]
    Lapsed,
}

impl Claims {
    /// The claims of a user, made now and valid for so many seconds, at most [`MAX_TTL_S`].
    #[must_use]
    pub fn of_user(name: &str, groups: Vec<String>, now_s: u64, ttl_s: u64) -> Self {
        let iss = API_AUDIENCE.to_owned();
        Claims {
            aud: vec![iss.clone()],
            iss,
            sub: name.to_owned(),
            exp: now_s.saturating_add(ttl_s.min(MAX_TTL_S)),
            iat: now_s,
            nbf: now_s,
            jti: String::new(),
            groups,
            account: None,
        }
    }
}

impl TokenKey {
    /// The key of a cluster.
    #[must_use]
    pub fn of(secrets: &ClusterSecrets) -> Self {
        let mut hash = Sha256::new();
        hash.update(PURPOSE);
        hash.update(secrets.ca_key.as_bytes());
        TokenKey(Keypair::from_secret(hash.finalize().into()))
    }

    /// Makes a token. Its `jti` is drawn here.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn sign(&self, mut claims: Claims) -> Result<String, getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        claims.jti = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let payload = serde_json::to_vec(&claims).unwrap_or_default();
        let signed = format!("{}.{}", BASE64.encode(self.header()), BASE64.encode(payload));
        let Signature(r, s) = self.0.sign(signed.as_bytes());
        Ok(format!("{signed}.{}", BASE64.encode([r, s].concat())))
    }

    /// Reads a token of this cluster that has not ended.
    ///
    /// # Errors
    /// When it is another text, or has ended.
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Foreign);
        }
        let claims = self.read(token).ok_or(TokenError::Foreign)?;
        if claims.exp <= now_s { Err(TokenError::Expired) } else { Ok(claims) }
    }

    fn read(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let signature: [u8; 64] = BASE64.decode(signature).ok()?.try_into().ok()?;
        let (r, s) = signature.split_at(32);
        let signature = Signature(r.try_into().ok()?, s.try_into().ok()?);
        // The key decides how it is verified, never what the token says of itself.
        if BASE64.decode(header).ok()? != self.header().as_bytes()
            || !signature.is_by(&self.0.node_id(), signed.as_bytes())
        {
            return None;
        }
        serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()
    }

    fn header(&self) -> String {
        let key: String = self.0.node_id().0.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!(r#"{{"alg":"EdDSA","kid":"{key}","typ":"JWT"}}"#)
    }
}

/// The key never shows in a log.
impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_800_000_000;

    fn key() -> TokenKey {
        static SECRETS: std::sync::OnceLock<ClusterSecrets> = std::sync::OnceLock::new();
        TokenKey::of(SECRETS.get_or_init(|| ClusterSecrets::found("home").unwrap()))
    }

    fn token() -> String {
        key().sign(Claims::of_user("alice", vec!["dev".into()], NOW, 60)).unwrap()
    }

    #[test]
    fn a_token_is_read_by_every_peer_until_it_ends() {
        let claims = key().verify(&token(), NOW + 59).unwrap();
        assert_eq!((claims.sub.as_str(), claims.groups), ("alice", vec!["dev".to_owned()]));
        assert_eq!(key().verify(&token(), NOW + 60), Err(TokenError::Expired));
        assert_ne!(token(), token(), "each has an id of its own");
        let long = key().sign(Claims::of_user("alice", Vec::new(), NOW, u64::MAX)).unwrap();
        assert_eq!(key().verify(&long, NOW).unwrap().exp, NOW + MAX_TTL_S);
    }

    #[test]
    fn another_clusters_token_is_none() {
        let other = TokenKey::of(&ClusterSecrets::found("away").unwrap());
        assert_eq!(other.verify(&token(), NOW), Err(TokenError::Foreign));
        let unsigned = format!("{}.{}.", BASE64.encode(r#"{"alg":"none"}"#), token().split('.').nth(1).unwrap());
        assert_eq!(key().verify(&unsigned, NOW), Err(TokenError::Foreign));
        assert!(!format!("{:?}", key()).contains(&format!("{:?}", key().0.secret())));
    }

    proptest! {
        #[test]
        fn a_token_with_any_other_letter_in_it_is_none(at in 0usize..200, by in 1u8..64) {
            let mut bytes = token().into_bytes();
            let at = at % bytes.len();
            bytes[at] = bytes[at].wrapping_add(by);
            if let Ok(text) = String::from_utf8(bytes) {
                // The last letter of a part has bits that say nothing; those that say something are all signed.
                let read = key().verify(&text, NOW);
                prop_assert!(read.is_err() || read.unwrap().sub == "alice");
            }
        }

        #[test]
        fn reading_is_total(text in ".{0,300}") {
            prop_assert_eq!(key().verify(&text, NOW), Err(TokenError::Foreign));
        }
    }
}
