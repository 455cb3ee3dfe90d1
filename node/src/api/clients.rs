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
use super::users::{UserRequest, bind, check_name, issue};

/// Whether somebody may become a user of this name: the name can be one, and nobody has given it a role yet, who would then
/// share it with a stranger.
///
/// # Errors
/// When not, or the daemon stops.
pub async fn check(shell: &Shell, user: &str) -> Result<(), Status> {
    check_name("user", user)?;
    for resource in [&CLUSTER_ROLE_BINDINGS, &ROLE_BINDINGS] {
        for binding in shell.backend.list(resource.kind(), None).await? {
            let subjects = binding.value["subjects"].as_array().into_iter().flatten();
            let mut users = subjects.filter(|subject| subject["kind"] == "User");
            if users.any(|subject| subject["name"] == user) {
                let message = format!(
                    "there is a user {user:?} already, whom a role is given to; choose another name with --user"
                );
                return Err(Status::bad_request(message));
            }
        }
    }
    Ok(())
}

/// Gives a role to a user; their kubeconfig.
///
/// # Errors
/// When there is no such role, or the binding could not be written.
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
    bind(shell, &call, &request).await?;
    issue(shell, &request).await
}
