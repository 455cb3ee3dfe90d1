//! Tokens: what their objects say, and whether one may be used. Whom one lets in is decided in `admission`.

use serde::{Deserialize, Serialize};
use skein_crdt_state::members::{Ended, Role};
use skein_crdt_state::{Kind, NameKey, ObjectKey, ObjectState, Scalar, WriteId};
use skein_gossip::{NodeId, Now};

use super::Node;
use super::admission::hex;
use crate::request::{AdmissionError, LOST_STATE, WriteOp};

/// The kind of a join token's object: its name is the hash of the secret, in hexadecimal.
pub const TOKEN_KIND: &str = "Token.skein.dev";

/// What a token lets somebody be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenRole {
    /// A node that does all that nodes do.
    #[default]
    Member,
    /// A node that runs nothing and does not vote.
    Observer,
    /// No node: somebody with a kubeconfig.
    Client,
}

impl TokenRole {
    /// How people write it, and how it stands in a token's object.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TokenRole::Member => "member",
            TokenRole::Observer => "observer",
            TokenRole::Client => "client",
        }
    }

    /// As what a node comes in; a client is no node.
    pub(super) fn of_node(self) -> Option<Role> {
        match self {
            TokenRole::Member => Some(Role::Member),
            TokenRole::Observer => Some(Role::Observer),
            TokenRole::Client => None,
        }
    }
}

/// What a token's object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenSpec {
    /// When it ends, milliseconds since the Unix epoch.
    pub expires_ms: i64,
    /// How many nodes or clients it admits.
    pub uses: i64,
    /// For what.
    #[serde(default)]
    pub role: TokenRole,
    /// How many clients it has admitted; who it let in as nodes is known from the admissions.
    #[serde(default)]
    pub clients: i64,
    /// The role in Kubernetes' sense that a client is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
}

/// A token as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownToken {
    /// Its object.
    pub key: ObjectKey,
    /// The state of its object, for a write that depends on it.
    pub heads: Vec<WriteId>,
    /// What it says.
    pub spec: TokenSpec,
    /// How often it was used, as far as is known here.
    pub used: i64,
}

impl Node {
    /// A token for clients that is neither over nor used up.
    ///
    /// # Errors
    /// When there is no such token, or it is for nodes.
    pub fn client_token(&self, now: Now, hash: &[u8; 32]) -> Result<KnownToken, AdmissionError> {
        let token = self.valid_token(now, hash)?;
        self.check_that_it_admits()?;
        if token.spec.role != TokenRole::Client {
            let text = format!("the token is for nodes (role {}), not for clients", token.spec.role.as_str());
            return Err(AdmissionError::Role(text));
        }
        if token.used >= token.spec.uses {
            return Err(AdmissionError::UsedUp(token.spec.uses));
        }
        Ok(token)
    }

    /// A token that is known here and not over.
    pub(super) fn valid_token(&self, now: Now, hash: &[u8; 32]) -> Result<KnownToken, AdmissionError> {
        if !self.has_state() {
            return Err(AdmissionError::Unavailable(LOST_STATE.to_owned()));
        }
        let name = NameKey::root(&Kind::new(TOKEN_KIND), &hex(hash));
        let key = self.store.current_life(&name).ok_or(AdmissionError::UnknownToken)?;
        let token = self.store.object(&key).and_then(|object| self.known_token(object));
        let token = token.ok_or(AdmissionError::UnknownToken)?;
        let late_ms = i64::try_from(now.wall_ms).unwrap_or(i64::MAX).saturating_sub(token.spec.expires_ms);
        if late_ms >= 0 {
            return Err(AdmissionError::Expired(duration_words(late_ms.unsigned_abs() / 1000)));
        }
        Ok(token)
    }

    /// All tokens that somebody may have let others in with, those that are over or used up included, in the order of their names.
    #[must_use]
    pub fn tokens(&self) -> Vec<KnownToken> {
        self.store.live(&Kind::new(TOKEN_KIND)).filter_map(|object| self.known_token(object)).collect()
    }

    /// Whether all that was ever said of a token was said by nodes that may let others in. Its secret lets in whoever knows it, so a token
    /// counts as its authors' word on who belongs to the cluster, and ends with them as their admissions do.
    fn is_vouched_for(&self, object: &ObjectState) -> bool {
        let members = self.store.members();
        let may = |author: NodeId| {
            let member = members.get(&author);
            let is_in = member.is_some_and(|member| matches!(member.ended, None | Some(Ended::Left(_))));
            is_in && !members.is_observer(&author)
        };
        object.changes().values().all(|change| may(change.envelope.author()))
    }

    /// Whether a write of a token says of it what this node knows already, or less: nobody gives uses back. Of a state of the token that is
    /// not the present one nothing is said here: such a write conflicts.
    pub(super) fn gives_uses_back(&self, op: &WriteOp) -> bool {
        let WriteOp::Edit { key, if_heads, .. } = op else { return false };
        let token = self.store.object(key).filter(|_| *key.kind() == Kind::new(TOKEN_KIND));
        let Some(token) = token.filter(|token| if_heads.as_deref() == Some(token.heads())) else { return false };
        let known = token.get("spec.clients").and_then(count).unwrap_or(0);
        uses_said(op).is_some_and(|said| said <= known)
    }

    fn known_token(&self, object: &ObjectState) -> Option<KnownToken> {
        if !self.is_vouched_for(object) {
            return None;
        }
        let spec: TokenSpec = serde_json::from_value(object.to_json().get("spec")?.clone()).ok()?;
        let hash = unhex(object.key().name())?;
        let nodes = i64::try_from(self.store.members().admitted_with(&hash)).unwrap_or(i64::MAX);
        let used = nodes.saturating_add(spec.clients.max(0));
        Some(KnownToken { key: object.key().clone(), heads: object.heads().to_vec(), spec, used })
    }
}

/// Whether a peer may have this write decided. Of a join token it may only say how often it was used: whoever decides signs the write, so
/// that anything else would count as made by a member.
pub(super) fn is_fit_to_decide(op: &WriteOp) -> bool {
    op.name().is_none_or(|name| *name.kind() != Kind::new(TOKEN_KIND)) || uses_said(op).is_some()
}

/// How often a token was used, if that is all that a write says.
fn uses_said(op: &WriteOp) -> Option<i64> {
    let WriteOp::Edit { edits, .. } = op else { return None };
    let [edit] = &edits[..] else { return None };
    let said = edit.value.as_ref().and_then(count)?;
    (*edit.path == *"spec.clients").then_some(said)
}

fn count(value: &Scalar) -> Option<i64> {
    match value {
        Scalar::Int(count) => Some(*count),
        _ => None,
    }
}

/// Thirty-two bytes out of hexadecimal.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn duration_words(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
