//! Who somebody is, as their certificate or their token says. What they may do does not live here.

use axum::http::{HeaderMap, header};
use skein_kube::authorize::{MASTERS, User, account_of};
use skein_kube::resource::{PODS, Resource, SECRETS, SERVICE_ACCOUNTS};
use skein_kube::status::Status;

use super::super::backend::ApiRef;
use super::super::shell::{Shell, now_ms};
use crate::pki::client::Shown;
use crate::pki::token::{API_AUDIENCE, Claims, Life};

/// The administrator's name: the user of the one token that never ends.
pub const ADMIN: &str = "admin";
/// Who asks through the socket, which only the owner of the data directory can open.
pub const ROOT: &str = "root";

/// Somebody whose token was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who.
    pub user: User,
    /// Whom the token may be shown to.
    pub audiences: Vec<String>,
}

/// Somebody who may do everything.
#[must_use]
pub fn master(name: &str) -> User {
    User::new(name, [MASTERS.to_owned()])
}

/// Who sends a request over the network: whom the certificate of the connection names, or whom the token does.
///
/// # Errors
/// 401 when neither names anybody, and 503 when the daemon stops.
pub async fn caller(shell: &Shell, certificate: Option<&Shown>, headers: &HeaderMap) -> Result<User, Status> {
    // A connection may be older than a rotation: what its certificate is worth is asked each time.
    let counts = |shown: &&Shown| shell.identity.counts(&shown.epoch, now_ms());
    if let Some(Shown { subject, .. }) = certificate.filter(counts) {
        let known = shell.known.now(&*shell.backend).await?;
        if !known.is_revoked(&subject.user, subject.since_s) {
            return Ok(User::new(subject.user.as_str(), subject.groups.iter().cloned()));
        }
    }
    let Some(token) = bearer(headers) else { return Err(Status::unauthorized()) };
    if shell.identity.is_admin(token.as_bytes(), now_ms()) {
        return Ok(master(ADMIN));
    }
    let verified = verify(shell, token, &[API_AUDIENCE]).await?;
    verified.map(|verified| verified.user).map_err(|why| {
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
    if shell.identity.is_admin(token.as_bytes(), now_ms()) {
        let audiences = vec![API_AUDIENCE.to_owned()];
        return Ok(Ok(Verified { user: master(ADMIN), audiences }));
    }
    let claims = match shell.identity.verify_token(token, now_ms()) {
        Ok(claims) => claims,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let meant: Vec<String> = claims.aud.iter().filter(|one| audiences.contains(&one.as_str())).cloned().collect();
    if meant.is_empty() {
        return Ok(Err(format!("the token is for {}, not for {}", claims.aud.join(", "), audiences.join(", "))));
    }
    let user = match user_of(shell, claims).await? {
        Ok(user) => user,
        Err(why) => return Ok(Err(why)),
    };
    Ok(Ok(Verified { user, audiences: meant }))
}

async fn user_of(shell: &Shell, claims: Claims) -> Result<Result<User, String>, Status> {
    let Some(account) = claims.account else {
        // An account's name without an account in it was made by nobody here.
        if account_of(&claims.sub).is_some() {
            return Ok(Err("the token names an account and is not one's".to_owned()));
        }
        let known = shell.known.now(&*shell.backend).await?;
        if known.is_revoked(&claims.sub, claims.iat) {
            return Ok(Err(format!("what was issued to {} before has been revoked", claims.sub)));
        }
        return Ok(Ok(User::new(claims.sub, claims.groups)));
    };
    let lives: [(&Resource, Option<&Life>); 3] = [
        (&SERVICE_ACCOUNTS, Some(&account.serviceaccount)),
        (&PODS, account.pod.as_ref()),
        (&SECRETS, account.secret.as_ref()),
    ];
    for (resource, life) in lives {
        let Some(life) = life else { continue };
        if !is_alive(shell, resource, &account.namespace, life).await? {
            return Ok(Err(format!("{} {}/{} is there no more", resource.singular, account.namespace, life.name)));
        }
    }
    let mut user = User::account(&account.namespace, &account.serviceaccount.name);
    user.uid = account.serviceaccount.uid;
    Ok(Ok(user))
}

/// Whether this life of an object still goes on, as far as this peer knows.
async fn is_alive(shell: &Shell, resource: &Resource, namespace: &str, life: &Life) -> Result<bool, Status> {
    let object = ApiRef { kind: resource.kind(), namespace: namespace.into(), name: life.name.as_str().into() };
    let found = shell.backend.get(object).await?;
    Ok(found.is_some_and(|object| object.value["metadata"]["uid"] == *life.uid))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_at_checked(7)?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer ") && !token.is_empty())
}
