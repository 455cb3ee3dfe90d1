//! What somebody showed, and until when it counts: asked at each request, and again and again while an answer goes on (a watch,
//! a log, a session with a pod). This is the one place that knows what ends a credential.

use std::sync::Arc;
use std::time::Duration;

use skein_crdt_state::keyring::EpochId;
use skein_kube::resource::{PODS, Resource, SECRETS, SERVICE_ACCOUNTS};
use skein_kube::status::Status;

use super::super::backend::ApiRef;
use super::super::shell::{Shell, now_ms};
use crate::pki::client::Shown;
use crate::pki::token::{AccountClaims, Claims, Life, TokenError};

/// How often it is looked whether what somebody showed counts still, while an answer to them goes on. Ends that are known before,
/// and rotations, are noticed at once.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What somebody showed.
#[derive(Debug, Clone)]
pub enum Credential {
    /// That they can open the node's own socket.
    Socket,
    /// A certificate of one of the cluster's authorities.
    Certificate(Shown),
    /// The administrator's token of a set.
    Admin(EpochId),
    /// A token that was signed with a set's key.
    Token(Box<Claims>, EpochId),
}

impl Credential {
    /// Whether it counts now, as far as this peer knows; otherwise why not.
    ///
    /// # Errors
    /// 503 when the daemon stops.
    pub async fn check(&self, shell: &Shell) -> Result<Result<(), String>, Status> {
        let now = now_ms();
        if self.epoch().is_some_and(|epoch| !shell.identity.counts(epoch, now)) {
            return Ok(Err(TokenError::Lapsed.to_string()));
        }
        if self.end_ms().is_some_and(|end_ms| end_ms <= now) {
            return Ok(Err(TokenError::Expired.to_string()));
        }
        let (user, issued_s) = match self {
            Credential::Socket | Credential::Admin(_) => return Ok(Ok(())),
            Credential::Certificate(Shown { subject, .. }) => (&subject.user, subject.issued_s()),
            Credential::Token(claims, _) => match &claims.account {
                Some(account) => return is_anybody_s(shell, account).await,
                None => (&claims.sub, claims.iat),
            },
        };
        let known = shell.known.now(&*shell.backend).await?;
        let revoked = known.is_revoked(user, issued_s);
        Ok(if revoked { Err(format!("what was issued to {user} before has been revoked")) } else { Ok(()) })
    }

    /// Waits until it counts no more, or the daemon stops.
    pub async fn over(self: Arc<Self>, shell: Arc<Shell>) {
        let mut rotations = shell.identity.changes();
        loop {
            rotations.mark_unchanged();
            match self.check(&shell).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => return tracing::debug!(%why, "an answer that went on was ended"),
                Err(_) => return,
            }
            tokio::select! {
                () = tokio::time::sleep(self.pause(&shell)) => {}
                // Without a sender the daemon stops, which the answer notices by itself.
                _ = rotations.changed() => {}
            }
        }
    }

    /// How long it may be believed without another look.
    fn pause(&self, shell: &Shell) -> Duration {
        let lapse_ms = self.epoch().and_then(|epoch| shell.identity.lapse_ms(epoch));
        let end_ms = [lapse_ms, self.end_ms()].into_iter().flatten().min();
        end_ms.map_or(LOOK_EVERY, |end_ms| LOOK_EVERY.min(Duration::from_millis(end_ms.saturating_sub(now_ms()))))
    }

    fn epoch(&self) -> Option<&EpochId> {
        match self {
            Credential::Socket => None,
            Credential::Certificate(Shown { epoch, .. }) | Credential::Admin(epoch) | Credential::Token(_, epoch) => {
                Some(epoch)
            }
        }
    }

    /// When it ends by itself: the first millisecond in which it counts no more.
    fn end_ms(&self) -> Option<u64> {
        match self {
            Credential::Socket | Credential::Admin(_) => None,
            Credential::Certificate(Shown { subject, .. }) => Some(subject.until_s.saturating_add(1)),
            Credential::Token(claims, _) => Some(claims.exp),
        }
        .map(|end_s| end_s.saturating_mul(1000))
    }
}

/// Whether the account of a token and what the token is bound to are there still, in the lives that it names.
async fn is_anybody_s(shell: &Shell, account: &AccountClaims) -> Result<Result<(), String>, Status> {
    let lives: [(&Resource, Option<&Life>); 3] = [
        (&SERVICE_ACCOUNTS, Some(&account.serviceaccount)),
        (&PODS, account.pod.as_ref()),
        (&SECRETS, account.secret.as_ref()),
    ];
    for (resource, life) in lives {
        let Some(life) = life else { continue };
        let (namespace, name) = (account.namespace.as_str().into(), life.name.as_str().into());
        let found = shell.backend.get(ApiRef { kind: resource.kind(), namespace, name }).await?;
        if found.is_none_or(|object| object.value["metadata"]["uid"] != *life.uid) {
            return Ok(Err(format!("{} {}/{} is there no more", resource.singular, account.namespace, life.name)));
        }
    }
    Ok(Ok(()))
}
