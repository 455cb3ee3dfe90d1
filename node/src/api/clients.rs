//! Clients that come with a token: a user of the name that they ask for, a role for them, and their kubeconfig. Whether the
//! token counts is decided before.

use std::sync::Arc;
use std::time::Instant;

use axum::http::{HeaderMap, Method, Uri};
use bytes::Bytes;
use skein_gossip::NodeId;
use skein_kube::resource::{CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS};
use skein_kube::status::Status;

use super::access::Caller;
use super::access::authenticate::{ROOT, master};
use super::access::credential::Credential;
use super::audit::Entry;
use super::shell::{Call, Origin, Shell};
use super::users::{UserRequest, bind, binding_name, check_new_user, issue, unbind};

/// Whether somebody may become a user of this name: the name can be one, and nobody has given it a role yet, who would then
/// share it with a stranger.
///
/// # Errors
/// When not, or the daemon stops.
pub async fn check(shell: &Shell, user: &str) -> Result<(), Status> {
    check_new_user(user)?;
    check_that_nobody_has(shell, user, None).await
}

/// Whether no binding gives anything to a user of this name, but for this one in the cluster.
async fn check_that_nobody_has(shell: &Shell, user: &str, own: Option<&str>) -> Result<(), Status> {
    for (resource, own) in [(&CLUSTER_ROLE_BINDINGS, own), (&ROLE_BINDINGS, None)] {
        for binding in shell.backend.list(resource.kind(), None).await? {
            let subjects = binding.value["subjects"].as_array().into_iter().flatten();
            let mut users = subjects.filter(|subject| subject["kind"] == "User");
            let is_own = own.is_some_and(|own| binding.value["metadata"]["name"] == own);
            if !is_own && users.any(|subject| subject["name"] == user) {
                return Err(taken(user));
            }
        }
    }
    Ok(())
}

fn taken(user: &str) -> Status {
    let message = format!("there is a user {user:?} already, whom a role is given to; choose another name with --user");
    Status::bad_request(message)
}

/// Who wants to become a client.
#[derive(Debug, Clone, Copy)]
pub struct Guest<'a> {
    /// The key that it came with.
    pub node: NodeId,
    /// What `skein token list` shows of its token.
    pub token: &'a str,
    /// What it wants to be called.
    pub user: &'a str,
}

/// Gives a role to a user; their kubeconfig. Others may have taken the same name since it was looked at: then nothing is given. The audit
/// log says whom who let in.
///
/// # Errors
/// When there is no such role, the binding could not be written, or somebody else has the name.
pub async fn admit(shell: &Arc<Shell>, guest: Guest<'_>, role: &str) -> Result<String, Status> {
    let (began, entry) = (Instant::now(), Entry::of_client(guest.node, guest.token, guest.user, role));
    let made = give(shell, guest, role).await;
    if let Some(audit) = shell.audit.get() {
        audit.write(entry.end(made.as_ref().map_or_else(|status| status.code, |_| 201), began.elapsed()));
    }
    made
}

async fn give(shell: &Arc<Shell>, Guest { node, user, .. }: Guest<'_>, role: &str) -> Result<String, Status> {
    let request = UserRequest::with_role(user, role);
    let call = Call {
        method: Method::POST,
        uri: Uri::from_static("/skein/v1/users"),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        origin: Origin::Peer(node),
        caller: Caller::of(master(ROOT)),
        credential: Arc::new(Credential::Socket),
        upgrade: None,
    };
    if !bind(shell, &call, &request).await? {
        return Err(taken(user));
    }
    if let Err(status) = check_that_nobody_has(shell, user, Some(&binding_name(user, role))).await {
        // It would be a gift to whoever has the name.
        unbind(shell, &call, &request).await?;
        return Err(status);
    }
    issue(shell, &request).await
}
