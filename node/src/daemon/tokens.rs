//! Tokens and invitations as people make, list and revoke them. How a token looks lives in `token`, what happens with a code in
//! `joining`.

use std::time::Duration;

use skein_core::node::{KnownToken, TOKEN_KIND};
use skein_core::request::{Durability, WriteError, WriteOp, WriteRequest};
use skein_crdt_state::{Edit, Kind, NameKey, ObjectKey, Operation, Scalar};

use super::backend::{Daemon, stopped, token_peers};
use super::token::{ID_DIGITS, JoinToken};
use crate::api::backend::{AdminError, TokenAsk, TokenInfo};
use crate::core_handle::CoreHandle;
use crate::joining::invitations::Offer;

/// The longest that a token may be valid.
const MAX_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

impl Daemon {
    /// Makes a token.
    pub(super) async fn mint(&self, ask: &TokenAsk) -> Result<JoinToken, AdminError> {
        if ask.uses == 0 || ask.ttl.is_zero() || ask.ttl > MAX_TTL {
            let text = "a token may be used at least once and is valid for more than no time and at most a year";
            return Err(AdminError(text.into()));
        }
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| AdminError(format!("no random bytes: {error}")))?;
        let (me, own) = (self.me, self.addresses.clone());
        let known = self.ask(move |node, now| {
            node.check_that_it_admits()?;
            Ok((token_peers(node, me, own), now.wall_ms))
        });
        let known = known.await.map_err(stopped)?;
        let (peers, wall_ms) =
            known.map_err(|error: skein_core::request::AdmissionError| AdminError(error.to_string()))?;
        let token = JoinToken { cluster: self.cluster, secret, role: ask.role, peers };
        let expires_ms = i64::try_from(u128::from(wall_ms) + ask.ttl.as_millis()).unwrap_or(i64::MAX);
        let mut edits = vec![
            Edit::set("spec.expiresMs", Scalar::Int(expires_ms)),
            Edit::set("spec.uses", Scalar::Int(i64::from(ask.uses))),
            Edit::set("spec.role", Scalar::str(ask.role.as_str())),
        ];
        edits.extend(ask.grant.as_deref().map(|grant| Edit::set("spec.grant", Scalar::str(grant))));
        let hash: String = token.hash().iter().map(|byte| format!("{byte:02x}")).collect();
        let name = NameKey::root(&Kind::new(TOKEN_KIND), &hash);
        write(&self.core, WriteOp::Create { name, edits }, hash).await?;
        Ok(token)
    }

    /// All tokens that are known here.
    pub(super) async fn list_tokens(&self) -> Result<Vec<TokenInfo>, AdminError> {
        let (tokens, wall_ms) = self.ask(|node, now| (node.tokens(), now.wall_ms)).await.map_err(stopped)?;
        let now_ms = i64::try_from(wall_ms).unwrap_or(i64::MAX);
        Ok(tokens.iter().map(|token| info(token, now_ms)).collect())
    }

    /// Deletes the one token whose id begins like this.
    pub(super) async fn revoke(&self, id: &str) -> Result<String, AdminError> {
        let tokens = self.ask(|node, _| node.tokens()).await.map_err(stopped)?;
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = id.to_lowercase();
        let found: Vec<&KnownToken> =
            tokens.iter().filter(|token| is_id && token.key.name().starts_with(&id)).collect();
        match found[..] {
            // What was given may be the token itself, which belongs in no message.
            [] => Err(AdminError("there is no token of this id; skein token list shows all, each with its id".into())),
            [token] => {
                delete(&self.core, token.key.clone()).await?;
                Ok(shown(&token.key))
            }
            _ => Err(AdminError(format!("the ids of {} tokens begin so; give more of it", found.len()))),
        }
    }

    /// Opens an invitation.
    pub(super) async fn open_invitation(&self, ask: &TokenAsk) -> Result<String, AdminError> {
        let token = self.mint(ask).await?;
        let offer = Offer { token, uses: ask.uses };
        let code = self.host.open(offer, ask.ttl).map_err(|refusal| AdminError(refusal.to_string()))?;
        Ok(code.to_string())
    }
}

/// Revokes the token of an invitation that wrong codes have ended.
///
/// # Errors
/// When it could not be written.
pub(super) async fn revoke_guessed(core: &CoreHandle, token: &JoinToken) -> Result<(), AdminError> {
    let hash: String = token.hash().iter().map(|byte| format!("{byte:02x}")).collect();
    let name = NameKey::root(&Kind::new(TOKEN_KIND), &hash);
    let key = core.query(move |node, _| node.store().current_life(&name)).await;
    match key.map_err(|_| AdminError("the daemon stops".into()))? {
        Some(key) => delete(core, key).await,
        None => Ok(()),
    }
}

async fn delete(core: &CoreHandle, key: ObjectKey) -> Result<(), AdminError> {
    let id = format!("revoke {}", key.name());
    write(core, WriteOp::Delete { key, if_heads: None }, id).await
}

async fn write(core: &CoreHandle, op: WriteOp, request_id: String) -> Result<(), AdminError> {
    let request = WriteRequest {
        op,
        durability: Durability::One,
        user: "root".into(),
        manager: "skein-token".into(),
        operation: Operation::Update,
        request_id,
    };
    let written = core.write(request).await.map_err(|_| AdminError("the daemon stops".into()))?;
    written.map(drop).map_err(|error: WriteError| AdminError(error.to_string()))
}

fn info(token: &KnownToken, now_ms: i64) -> TokenInfo {
    TokenInfo {
        id: shown(&token.key),
        role: token.spec.role.as_str().to_owned(),
        used: token.used,
        uses: token.spec.uses,
        seconds_left: token.spec.expires_ms.saturating_sub(now_ms) / 1000,
    }
}

/// A token's id: the beginning of its object's name, which is a hash of the secret.
fn shown(key: &ObjectKey) -> String {
    key.name().chars().take(ID_DIGITS).collect()
}

/// The id of a token, which tells nothing of its secret.
pub(super) fn id_of(hash: &[u8; 32]) -> String {
    hash.iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .take(ID_DIGITS)
        .collect()
}
