//! The account of a pod that is created. What a pod gets by it follows where pods are shown and run; it is not stored.

use serde_json::Value;
use skein_core::model::account::{DEFAULT_ACCOUNT, name_of};
use skein_kube::resource::{PODS, SERVICE_ACCOUNTS};
use skein_kube::status::Status;

use super::super::backend::ApiRef;
use super::super::routes::Target;
use super::super::shell::Shell;

/// Refuses a pod whose account is not there, as far as this peer knows.
///
/// # Errors
/// 403 in the words of a real server.
pub async fn is_there(shell: &Shell, target: &Target, object: &Value) -> Result<(), Status> {
    let name = name_of(&object["spec"]);
    // Every namespace has that one.
    if *target.resource != PODS || name == DEFAULT_ACCOUNT {
        return Ok(());
    }
    let namespace = target.object.namespace.clone();
    let account = ApiRef { kind: SERVICE_ACCOUNTS.kind(), namespace: namespace.clone(), name: name.into() };
    if shell.backend.get(account).await?.is_some() {
        return Ok(());
    }
    let why = format!("error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found");
    Err(Status::forbidden(&PODS, target.name(), &why))
}
