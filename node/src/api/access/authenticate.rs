//! Who somebody is, as their certificate or their token says. What they may do does not live here.

use axum::http::{HeaderMap, header};
use skein_kube::authorize::{MASTERS, User, account_of};
use skein_kube::status::Status;

use super::super::shell::{Shell, now_ms};
use super::credential::Credential;
use crate::pki::client::{Shown, Subject};
use crate::pki::token::{API_AUDIENCE, Claims};

/// The administrator's name: the user of the one token that never ends.
pub const ADMIN: &str = "admin";
/// Who asks through the socket, which only the owner of the data directory can open.
pub const ROOT: &str = "root";

/// Somebody whose token was verified.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Who.
    pub user: User,
    /// Whom the token may be shown to.
    pub audiences: Vec<String>,
    /// What was verified, for who is to be asked again.
    pub credential: Credential,
}

/// Somebody who may do everything.
#[must_use]
pub fn master(name: &str) -> User {
    User::new(name, [MASTERS.to_owned()])
}

/// Who sends a request over the network, whom the certificate of the connection names or whom the token does; and which of
/// them it was.
///
/// # Errors
/// 401 when neither names anybody, and 503 when the daemon stops.
pub async fn caller(
    shell: &Shell,
    certificate: Option<&Shown>,
    headers: &HeaderMap,
) -> Result<(User, Credential), Status> {
    if let Some(shown) = certificate {
        let Subject { user, groups, .. } = &shown.subject;
        let credential = Credential::Certificate(shown.clone());
        // A connection may be older than a rotation, and than the certificate's end: what it is worth is asked each time.
        match credential.check(shell).await? {
            Ok(()) => return Ok((User::new(user.as_str(), groups.iter().cloned()), credential)),
            Err(why) => tracing::debug!(%why, "a certificate was refused"),
        }
    }
    let Some(token) = bearer(headers) else { return Err(Status::unauthorized()) };
    let verified = verify(shell, token, &[API_AUDIENCE]).await?;
    verified.map(|verified| (verified.user, verified.credential)).map_err(|why| {
        // The client learns no more than a real server says; the daemon's log says why.
        tracing::debug!(%why, "a token was refused");
        Status::unauthorized()
    })
}

/// Whose a token is, if it may be shown to one of these audiences; otherwise why it counts for nothing.
///
/// # Errors
/// 503 when the daemon stops.
pub async fn verify(shell: &Shell, token: &str, audiences: &[&str]) -> Result<Result<Verified, String>, Status> {
    if let Some(epoch) = shell.identity.admin_of(token.as_bytes(), now_ms()) {
        let audiences = vec![API_AUDIENCE.to_owned()];
        return Ok(Ok(Verified { user: master(ADMIN), audiences, credential: Credential::Admin(epoch) }));
    }
    let (claims, epoch) = match shell.identity.verify_token(token, now_ms()) {
        Ok(verified) => verified,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let meant: Vec<String> = claims.aud.iter().filter(|one| audiences.contains(&one.as_str())).cloned().collect();
    if meant.is_empty() {
        return Ok(Err(format!("the token is for {}, not for {}", claims.aud.join(", "), audiences.join(", "))));
    }
    let user = match user_of(&claims) {
        Ok(user) => user,
        Err(why) => return Ok(Err(why)),
    };
    let credential = Credential::Token(Box::new(claims), epoch);
    let counts = credential.check(shell).await?;
    Ok(counts.map(|()| Verified { user, audiences: meant, credential }))
}

fn user_of(claims: &Claims) -> Result<User, String> {
    match &claims.account {
        // An account's name without an account in it was made by nobody here.
        None if account_of(&claims.sub).is_some() => Err("the token names an account and is not one's".to_owned()),
        None => Ok(User::new(claims.sub.as_str(), claims.groups.iter().cloned())),
        Some(account) => {
            let mut user = User::account(&account.namespace, &account.serviceaccount.name);
            user.uid.clone_from(&account.serviceaccount.uid);
            Ok(user)
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_at_checked(7)?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer ") && !token.is_empty())
}
