//! Clients that come with a token: a user of the name that they ask for, a role for them, and their kubeconfig. Whether the
//! token counts is decided before.

use std::sync::Arc;

use axum::http::{HeaderMap, Method, Uri};
use bytes::Bytes;
use skein_kube::resource::{CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS};
use skein_kube::status::Status;

use super::access::Caller;
use super::access::authenticate::{ROOT, master};
use super::access::credential::Credential;
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

/// Gives a role to a user; their kubeconfig. Others may have taken the same name since it was looked at: then nothing is given.
///
/// # Errors
/// When there is no such role, the binding could not be written, or somebody else has the name.
pub async fn admit(shell: &Arc<Shell>, user: &str, role: &str) -> Result<String, Status> {
    let request = UserRequest::with_role(user, role);
    let call = Call {
        method: Method::POST,
        uri: Uri::from_static("/skein/v1/users"),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        origin: Origin::Socket,
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
