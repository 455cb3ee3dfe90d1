//! Signs the tokens of accounts that this node's pods are given. Every member has the key, so a pod gets its token whatever its
//! node can reach. Tokens that clients ask for are made by the API.

use std::sync::Arc;

use skein_core::runtime::TokenSpec;

use crate::api::shell::now_ms;
use crate::pki::ServerIdentity;
use crate::pki::token::{API_AUDIENCE, AccountClaims, Claims, Life};
use crate::runtime::TokenSigner;

/// What signs them: the key that is the cluster's at that time.
#[derive(Debug)]
pub(crate) struct AccountTokens {
    identity: Arc<ServerIdentity>,
}

impl AccountTokens {
    pub(crate) fn new(identity: Arc<ServerIdentity>) -> Self {
        AccountTokens { identity }
    }
}

impl TokenSigner for AccountTokens {
    fn sign(&self, token: &TokenSpec) -> Result<String, String> {
        let claims = claims(token, now_ms() / 1000);
        self.identity.tokens().sign(claims).map_err(|error| format!("no randomness from the operating system: {error}"))
    }
}

fn claims(token: &TokenSpec, now_s: u64) -> Claims {
    let user = format!("system:serviceaccount:{}:{}", token.namespace, token.account);
    let life = |name: &str, uid: &str| Life { name: name.to_owned(), uid: uid.to_owned() };
    Claims {
        aud: vec![if token.audience.is_empty() { API_AUDIENCE } else { &token.audience }.to_owned()],
        account: Some(AccountClaims {
            namespace: token.namespace.clone(),
            serviceaccount: life(&token.account, &token.account_uid),
            pod: Some(life(&token.pod, &token.pod_uid)),
            secret: None,
        }),
        ..Claims::of_user(&user, Vec::new(), now_s, token.seconds)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pki::ClusterSecrets;
    use crate::pki::epochs::{Epochs, Turn};
    use crate::pki::token::TokenKey;

    fn token(audience: &str) -> TokenSpec {
        TokenSpec {
            namespace: "shop".into(),
            account: "robot".into(),
            account_uid: "u1".into(),
            pod: "web-1".into(),
            pod_uid: "u2".into(),
            audience: audience.into(),
            seconds: 3607,
        }
    }

    #[test]
    fn a_pods_token_says_whose_it_is_and_ends_with_the_pod() {
        let secrets = ClusterSecrets::found("home").unwrap();
        let identity = Arc::new(ServerIdentity::new(Epochs::founded(secrets.clone()), [], []).unwrap());
        let signed = AccountTokens::new(identity.clone()).sign(&token("")).unwrap();
        let claims = TokenKey::of(&secrets).verify(&signed, now_ms() / 1000).unwrap();
        assert_eq!((claims.sub.as_str(), claims.exp - claims.iat), ("system:serviceaccount:shop:robot", 3607));
        assert_eq!(claims.aud, [API_AUDIENCE]);
        // After a rotation the next one is of the new key.
        let new = ClusterSecrets::found("home").unwrap();
        let turn = Turn { epoch: new.epoch(), lapse_ms: 0 };
        identity
            .change(|epochs| {
                epochs.insert(new.clone());
                epochs.set_turns(vec![turn]);
            })
            .unwrap();
        let signed = AccountTokens::new(identity).sign(&token("")).unwrap();
        assert!(TokenKey::of(&new).verify(&signed, now_ms() / 1000).is_ok());
        let account = claims.account.unwrap();
        assert_eq!(account.pod, Some(Life { name: "web-1".into(), uid: "u2".into() }));
        assert_eq!(account.serviceaccount, Life { name: "robot".into(), uid: "u1".into() });
    }

    #[test]
    fn a_token_for_somebody_else_is_not_for_the_api() {
        assert_eq!(super::claims(&token("vault"), 0).aud, ["vault"]);
    }
}
