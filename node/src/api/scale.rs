//! The scale subresource: how many replicas an object wants and has.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::WARNING;
use serde_json::Value;
use skein_crdt_state::WriteId;
use skein_kube::admission::{Prepared, applied_scale, check_update, scale_of, with_scale};
use skein_kube::apply::{Applied, ApplyOptions, is_apply, only_for_apply};
use skein_kube::body;
use skein_kube::patch::Patch;
use skein_kube::resource::Subresource;
use skein_kube::schema::workload::SCALE;
use skein_kube::status::Status;

use super::answer::{Answer, Versioned, add_warnings, json_answer};
use super::backend::Rendered;
use super::routes::{Asked, Target};
use super::shell::Shell;
use super::write::{Change, lock, update};
use super::{apply, read};

/// Answers a get of a scale.
///
/// # Errors
/// When the object does not exist or has no scale.
pub async fn get(shell: &Shell, target: &Target) -> Result<Answer, Status> {
    let current = read::object(shell, target).await?;
    answer(shell, target, &current, &[])
}

/// Answers a replace of a scale.
///
/// # Errors
/// When the number is not valid, or the object is not the one that the client saw.
pub async fn replace(shell: &Arc<Shell>, asked: &Asked<'_>, target: &Target) -> Result<Answer, Status> {
    let scale = body::decode(asked.content_type(), &asked.call.body)?;
    let current = read::object(shell, target).await?;
    let lock = lock(shell, target, &current, scale["metadata"]["resourceVersion"].as_str())?;
    set(shell, asked, target, &current, scale, lock).await
}

/// Answers a patch of a scale.
///
/// # Errors
/// When the patch cannot be applied, or as [`replace`].
pub async fn patch(shell: &Arc<Shell>, asked: &Asked<'_>, target: &Target) -> Result<Answer, Status> {
    if is_apply(asked.content_type()) {
        return applied(shell, asked, target).await;
    }
    only_for_apply(asked.query.iter())?;
    let patch = Patch::read(asked.content_type(), &asked.call.body)?;
    let current = read::object(shell, target).await?;
    let scale = scale_of(target.resource, &current.value)?;
    let scale = Versioned { value: &scale, version: shell.hub.version_of(current.stamp) }.to_value();
    let scale = patch.apply_to(&SCALE, &scale)?;
    let lock = lock(shell, target, &current, patch.resource_version().as_deref())?;
    set(shell, asked, target, &current, scale, lock).await
}

/// Answers an apply of a scale: the tool owns how many replicas the object has, beside what it applied of the rest.
async fn applied(shell: &Arc<Shell>, asked: &Asked<'_>, target: &Target) -> Result<Answer, Status> {
    let options = ApplyOptions::of_query(asked.query.iter())?.of_part(Subresource::Scale);
    // What has no scale, or does not exist, cannot be scaled into being.
    let current = read::object(shell, target).await?;
    let body = applied_scale(target.resource, &current.value, &asked.call.body)?;
    let (namespace, name) = (&*target.object.namespace, target.name());
    let applied = Applied::read(target.resource, namespace, name, body.to_string().as_bytes(), &options)?;
    let written = apply::apply_read(shell, asked, target, &applied, &options).await?;
    let current = read::object(shell, target).await?;
    let mut shown = (*current.value).clone();
    if options.write.dry_run {
        shown["spec"]["replicas"] = body["spec"]["replicas"].clone();
    }
    let current = Rendered { value: Arc::new(shown), ..(*current).clone() };
    let mut answer = answer(shell, target, &current, &[])?;
    for warning in written.headers().get_all(WARNING) {
        answer.headers_mut().append(WARNING, warning.clone());
    }
    Ok(answer)
}

async fn set(
    shell: &Arc<Shell>,
    asked: &Asked<'_>,
    target: &Target,
    current: &Rendered,
    scale: Value,
    lock: Option<Vec<WriteId>>,
) -> Result<Answer, Status> {
    let options = asked.write_options()?;
    let scaled = with_scale(target.resource, &current.value, scale)?;
    let checked = check_update(target.resource, &current.value, scaled, options.field_validation)?;
    let prepared = Prepared {
        name: target.name().to_owned(),
        namespace: target.object.namespace.to_string(),
        object: checked.object,
        warnings: checked.warnings,
        resource_version: None,
        uid: None,
        dry_run: options.dry_run,
        managed_fields: None,
    };
    let change = Change { if_heads: lock, ..Change::default() };
    let after = update(shell, asked, target, current, prepared, change).await?;
    answer(shell, target, &after.object, &after.warnings)
}

fn answer(shell: &Shell, target: &Target, current: &Rendered, warnings: &[String]) -> Result<Answer, Status> {
    let scale = scale_of(target.resource, &current.value)?;
    let version = shell.hub.version_of(current.stamp);
    let mut answer = json_answer(StatusCode::OK, &Versioned { value: &scale, version });
    add_warnings(answer.headers_mut(), warnings);
    Ok(answer)
}
