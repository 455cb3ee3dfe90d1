//! `pods/NAME/ephemeralcontainers`: containers that are added to a pod while it runs, as `kubectl debug` does.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use skein_core::ephemeral::{EPHEMERAL_FIELD, stored};
use skein_core::request::WriteOp;
use skein_crdt_state::{Edit, ObjectKey};
use skein_kube::admission::ephemeral_containers;
use skein_kube::body;
use skein_kube::patch::Patch;
use skein_kube::status::Status;

use super::answer::{Answer, Versioned, add_warnings};
use super::backend::Rendered;
use super::read::{self, object_answer};
use super::routes::{Asked, Target};
use super::shell::Shell;
use super::write::{lock, send};

/// Answers a patch or a replace: of the pod that it makes only the added containers count.
///
/// # Errors
/// When one is not valid or would be taken away, the pod does not exist, is being stopped, or is not the one that was seen.
pub async fn change(shell: &Arc<Shell>, asked: &Asked<'_>, target: &Target) -> Result<Answer, Status> {
    let options = asked.write_options()?;
    let current = read::object(shell, target).await?;
    let Some(key) = current.key.clone() else {
        return Err(Status::forbidden(target.resource, target.name(), "the pod is being stopped"));
    };
    let shown = Versioned { value: &current.value, version: shell.hub.version_of(current.stamp) }.to_value();
    let (new, version) = if asked.call.method == Method::PUT {
        let new = body::decode(asked.content_type(), &asked.call.body)?;
        let version = new["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        (new, version)
    } else {
        let patch = Patch::read(asked.content_type(), &asked.call.body)?;
        (patch.apply(target.resource, &shown)?, patch.resource_version())
    };
    if let Some(other) = new["metadata"]["name"].as_str().filter(|name| *name != target.name()) {
        let name = target.name();
        let message = format!("the name of the object ({other}) does not match the name on the URL ({name})");
        return Err(Status::bad_request(message));
    }
    let if_heads = lock(shell, target, &current, version.as_deref())?;
    let (all, mut warnings) = ephemeral_containers(target.resource, &current.value, &new, options.field_validation)?;
    if options.dry_run {
        let mut value = (*current.value).clone();
        value["spec"]["ephemeralContainers"] = all.into();
        let object = Rendered { value: Arc::new(value), ..(*current).clone() };
        return Ok(object_answer(shell, target.resource, StatusCode::OK, &object));
    }
    let edits = edits(shell, target, &current, &key, &all).await?;
    if !edits.is_empty() {
        let reply = send(shell, asked, target, WriteOp::Edit { key, edits, if_heads }).await?;
        warnings.extend(reply.warnings);
    }
    let (after, _) = read::managed(shell, target).await?;
    let mut answer = object_answer(shell, target.resource, StatusCode::OK, &after);
    add_warnings(answer.headers_mut(), &warnings);
    Ok(answer)
}

/// The fields to write: what is new, and the end of what earlier pods of the same slot had.
async fn edits(
    shell: &Shell,
    target: &Target,
    current: &Rendered,
    key: &ObjectKey,
    all: &[Value],
) -> Result<Vec<Edit>, Status> {
    let uid = current.value["metadata"]["uid"].as_str().unwrap_or_default();
    let before = current.value["spec"]["ephemeralContainers"].as_array().cloned().unwrap_or_default();
    if before == all {
        return Ok(Vec::new());
    }
    // What is not there yet has no fields, not even empty ones.
    let old = if before.is_empty() { json!({}) } else { stored(uid, &before) };
    let new = stored(uid, all);
    let kind = target.resource.kind();
    let edits = shell.backend.edits(Some(key.clone()), kind, old, new).await?;
    let mut edits = edits.map_err(Status::bad_request)?;
    let known = shell.backend.authored(target.object.clone()).await?;
    let leaves = known.iter().flat_map(|(_, authored)| authored.leaves.keys());
    let stale = leaves.filter(|path| path.starts_with(EPHEMERAL_FIELD) && !path.contains(uid));
    if !edits.is_empty() {
        edits.extend(stale.map(|path| Edit { path: path.clone(), value: None }));
    }
    Ok(edits)
}
