//! Delete and evict. Deleting ends a life; what it owned ends with it, since children are named by their owner.

use std::sync::Arc;

use axum::http::StatusCode;
use skein_core::request::WriteOp;
use skein_core::slot::{Placement, SLOT_KIND};
use skein_core::view::place;
use skein_crdt_state::{Edit, ObjectKey, Scalar, WriteId};

use skein_kube::admission::{DeleteOptions, Propagation, delete_options, read_delete_options};
use skein_kube::body;
use skein_kube::resource::{self, Resource};
use skein_kube::status::{self, Problem, Status};
use skein_kube::time::rfc3339;

use super::answer::{Answer, add_warnings, json_answer};
use super::backend::{ApiRef, Rendered};
use super::read::{self, object_answer};
use super::routes::{Asked, Target};
use super::shell::{Shell, now_ms};
use super::write::{is_derived, lock, send};

/// Namespaces that a cluster cannot be without.
const IMMORTAL: [&str; 2] = ["default", "kube-system"];

/// Answers a delete.
///
/// # Errors
/// When the object does not exist, is not the one that is meant, or may not be deleted in this way.
pub async fn one(shell: &Arc<Shell>, asked: &Asked<'_>, target: &Target) -> Result<Answer, Status> {
    let options = options(asked)?;
    let current = read::object(shell, target).await?;
    remove(shell, asked, target, &current, &options).await
}

/// Answers an eviction: a delete of a pod that asks nicely. There are no budgets that could refuse it yet.
///
/// # Errors
/// As [`one`].
pub async fn evict(shell: &Arc<Shell>, asked: &Asked<'_>, target: &Target) -> Result<Answer, Status> {
    let mut body = body::decode(asked.content_type(), &asked.call.body)?;
    let mut options = read_delete_options(body["deleteOptions"].take())?;
    options.dry_run |= asked.write_options()?.dry_run;
    let current = read::object(shell, target).await?;
    let mut answer = remove(shell, asked, target, &current, &options).await?;
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

/// Answers a delete of all objects that a selector selects.
///
/// # Errors
/// When one of them could not be deleted; those before it are gone.
pub async fn collection(
    shell: &Arc<Shell>,
    asked: &Asked<'_>,
    resource: &'static Resource,
    namespace: Option<Arc<str>>,
) -> Result<Answer, Status> {
    let options = options(asked)?;
    let selected = read::selected(shell, asked, resource, namespace).await?;
    for object in selected.into_iter().filter(|object| !is_derived(resource, object)) {
        let text = |field: &str| object.value["metadata"][field].as_str().unwrap_or_default().into();
        let (namespace, name) = (text("namespace"), text("name"));
        let reference = ApiRef { kind: resource.kind(), namespace, name };
        let target = Target { resource, object: reference };
        match remove(shell, asked, &target, &object, &options).await {
            // Somebody else was faster: it is gone, as was asked.
            Err(failure) if failure.code == 404 => {}
            other => drop(other?),
        }
    }
    Ok(json_answer(StatusCode::OK, &status::deleted(resource, "", "")))
}

async fn remove(
    shell: &Arc<Shell>,
    asked: &Asked<'_>,
    target: &Target,
    current: &Rendered,
    options: &DeleteOptions,
) -> Result<Answer, Status> {
    if !target.resource.allows("delete") {
        return Err(Status::method_not_allowed(&format!("{} are not deleted by clients", target.resource.plural)));
    }
    let if_heads = allowed(shell, target, current, options)?;
    let Some(key) = current.key.clone() else {
        // A pod that nothing wants any more is only shown until its node has stopped it.
        if current.value["metadata"]["deletionTimestamp"].is_string() {
            return Ok(object_answer(shell, target.resource, StatusCode::OK, current));
        }
        if is_derived(target.resource, current) {
            let why = "it follows from its namespace and is there as long as that is";
            return Err(Status::method_not_allowed(why));
        }
        let message = format!("{} are reported by nodes and fall out by themselves", target.resource.plural);
        return Err(Status::method_not_allowed(&message));
    };
    if options.dry_run {
        return Ok(deleted(target, current, &[]));
    }
    let metadata = &current.value["metadata"];
    let waits = metadata["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
    let is_slot = key.kind().as_str() == SLOT_KIND;
    if waits && !is_slot {
        return mark_deleted(shell, asked, target, current, key, if_heads).await;
    }
    let op = if is_slot {
        // The slot stays and is filled anew: that is what deleting a pod of a workload means.
        WriteOp::Edit { key, edits: vec![place(&Placement::default())], if_heads }
    } else {
        WriteOp::Delete { key, if_heads }
    };
    let reply = send(shell, asked, target, op).await?;
    Ok(deleted(target, current, &reply.warnings))
}

/// Whether a deletion may go on, and which heads it is held to.
fn allowed(
    shell: &Shell,
    target: &Target,
    current: &Rendered,
    options: &DeleteOptions,
) -> Result<Option<Vec<WriteId>>, Status> {
    let (resource, name) = (target.resource, target.name());
    let has = current.value["metadata"]["uid"].as_str().unwrap_or_default();
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != has) {
        return Err(Status::uid_conflict(resource, name, uid, has));
    }
    if options.propagation == Propagation::Orphan
        && [&resource::DEPLOYMENTS, &resource::REPLICA_SETS].contains(&resource)
    {
        let why =
            "what an object owns is named by it and cannot outlive it; to keep the pods, scale or change it instead";
        let problem = Problem::forbidden("propagationPolicy", &format!("Orphan: {why}"));
        return Err(Status::invalid(resource.group, resource.kind_name, name, &[problem]));
    }
    if *resource == resource::NAMESPACES && IMMORTAL.contains(&name) {
        return Err(Status::forbidden(resource, name, "this namespace may not be deleted"));
    }
    lock(shell, target, current, options.resource_version.as_deref())
}

/// An object with finalizers stays readable until the last of them is removed.
async fn mark_deleted(
    shell: &Arc<Shell>,
    asked: &Asked<'_>,
    target: &Target,
    current: &Rendered,
    key: ObjectKey,
    if_heads: Option<Vec<WriteId>>,
) -> Result<Answer, Status> {
    if current.value["metadata"]["deletionTimestamp"].is_string() {
        return Ok(object_answer(shell, target.resource, StatusCode::OK, current));
    }
    let edits = vec![
        Edit::set("metadata.deletionTimestamp", Scalar::str(&rfc3339(now_ms()))),
        Edit::set("metadata.deletionGracePeriodSeconds", Scalar::Int(0)),
    ];
    let reply = send(shell, asked, target, WriteOp::Edit { key, edits, if_heads }).await?;
    let after = shell.backend.get(target.object.clone()).await?;
    let mut answer = object_answer(shell, target.resource, StatusCode::OK, after.as_deref().unwrap_or(current));
    add_warnings(answer.headers_mut(), &reply.warnings);
    Ok(answer)
}

fn deleted(target: &Target, current: &Rendered, warnings: &[String]) -> Answer {
    let uid = current.value["metadata"]["uid"].as_str().unwrap_or_default();
    let mut answer = json_answer(StatusCode::OK, &status::deleted(target.resource, target.name(), uid));
    add_warnings(answer.headers_mut(), warnings);
    answer
}

fn options(asked: &Asked<'_>) -> Result<DeleteOptions, Status> {
    delete_options(&asked.call.body, asked.content_type(), asked.query.iter())
}
