//! Delete and evict. Deleting ends a life; what it owned ends with it, since children are named by their owner.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::json;
use skein_core::model::closing::{FOREGROUND, set_finalizers};
use skein_core::model::{DEPLOYMENT_KIND, REPLICA_SET_KIND};
use skein_core::request::WriteOp;
use skein_core::slot::{Placement, SLOT_KIND};
use skein_core::view::place;
use skein_crdt_state::{Edit, ObjectKey, Scalar, WriteId};

use skein_kube::admission::{DeleteOptions, Prepared, Propagation, check_update, delete_options, read_delete_options};
use skein_kube::body;
use skein_kube::resource::{self, Resource};
use skein_kube::status::{self, Problem, Status};
use skein_kube::structure::FieldValidation;
use skein_kube::time::rfc3339;

use super::answer::{Answer, add_warnings, json_answer};
use super::backend::{ApiRef, Rendered};
use super::read::{self, object_answer};
use super::routes::{Asked, Target};
use super::shell::{Shell, now_ms};
use super::write::{Change, is_derived, lock, send, update};

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
    if !resource.allows("deletecollection") {
        return Err(Status::method_not_allowed(asked.call.method.as_str()));
    }
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
            let why = "nobody wrote it: it is built in, or follows from its namespace";
            return Err(Status::method_not_allowed(why));
        }
        let message = format!("{} are reported by nodes and fall out by themselves", target.resource.plural);
        return Err(Status::method_not_allowed(&message));
    };
    if options.dry_run {
        return Ok(deleted(target, current, &[]));
    }
    let dependents = match options.propagation {
        Propagation::Background => Vec::new(),
        Propagation::Foreground | Propagation::Orphan => dependents(shell, current, &key).await?,
    };
    let mut warnings = Vec::new();
    if options.propagation == Propagation::Orphan {
        for dependent in &dependents {
            disown(shell, asked, dependent, current).await?;
        }
    } else if !dependents.is_empty() && key.namespace().is_none() {
        let count = dependents.len();
        warnings.push(format!(
            "propagationPolicy: the {count} objects that name this one as their owner go after it, not before"
        ));
    }
    let is_slot = key.kind().as_str() == SLOT_KIND;
    let goes_last = options.propagation == Propagation::Foreground
        && key.namespace().is_some()
        && (!dependents.is_empty() || is_workload(&key));
    let finalizers = finalizers_for(current, goes_last, options.propagation);
    if !finalizers.is_empty() && !is_slot {
        return mark_deleted(shell, asked, target, current, (key, finalizers), if_heads).await;
    }
    let op = if is_slot {
        // The slot stays and is filled anew: that is what deleting a pod of a workload means.
        WriteOp::Edit { key, edits: vec![place(&Placement::default())], if_heads }
    } else {
        WriteOp::Delete { key, if_heads }
    };
    let reply = send(shell, asked, target, op).await?;
    warnings.extend(reply.warnings);
    Ok(deleted(target, current, &warnings))
}

/// Whether an object owns pods by its key, and nothing else owns it: then its controller can end them before it.
fn is_workload(key: &ObjectKey) -> bool {
    matches!(key.kind().as_str(), DEPLOYMENT_KIND | REPLICA_SET_KIND) && key.segments().len() == 2
}

/// The finalizers that an object waits for once it is deleted. Whoever does not care any more what goes first takes away the one
/// that an earlier deletion left.
fn finalizers_for(current: &Rendered, goes_last: bool, propagation: Propagation) -> Vec<String> {
    let known = current.value["metadata"]["finalizers"].as_array().into_iter().flatten();
    let mut finalizers: Vec<String> = known.filter_map(|text| text.as_str().map(str::to_owned)).collect();
    if propagation != Propagation::Foreground {
        finalizers.retain(|finalizer| finalizer != FOREGROUND);
    } else if goes_last && !finalizers.iter().any(|finalizer| finalizer == FOREGROUND) {
        finalizers.push(FOREGROUND.to_owned());
    }
    finalizers
}

/// The objects that name another as their owner in `metadata.ownerReferences`, but for those that end with it by their keys.
async fn dependents(shell: &Shell, owner: &Rendered, key: &ObjectKey) -> Result<Vec<(Target, Arc<Rendered>)>, Status> {
    let metadata = &owner.value["metadata"];
    let namespace: Option<Arc<str>> = metadata["namespace"].as_str().map(Into::into);
    let names_it = |object: &Rendered| {
        if object.key.as_ref().is_none_or(|dependent| dependent.is_within(key)) {
            return false;
        }
        let owners = object.value["metadata"]["ownerReferences"].as_array();
        owners.is_some_and(|owners| owners.iter().any(|reference| reference["uid"] == metadata["uid"]))
    };
    let mut found = Vec::new();
    for resource in resource::all().filter(|resource| resource.namespaced && resource.allows("update")) {
        for object in shell.backend.list(resource.kind(), namespace.clone()).await? {
            let text = |field: &str| object.value["metadata"][field].as_str().unwrap_or_default().into();
            if names_it(&object) {
                let reference = ApiRef { kind: resource.kind(), namespace: text("namespace"), name: text("name") };
                found.push((Target { resource, object: reference }, object));
            }
        }
    }
    Ok(found)
}

/// Takes an object out of the owners of one that names it, so that this one outlives it.
async fn disown(
    shell: &Arc<Shell>,
    asked: &Asked<'_>,
    (target, dependent): &(Target, Arc<Rendered>),
    owner: &Rendered,
) -> Result<(), Status> {
    let mut new = (*dependent.value).clone();
    if let Some(owners) = new["metadata"]["ownerReferences"].as_array_mut() {
        owners.retain(|reference| reference["uid"] != owner.value["metadata"]["uid"]);
    }
    let checked = check_update(target.resource, &dependent.value, new, FieldValidation::Ignore)?;
    let prepared = Prepared {
        name: target.name().to_owned(),
        namespace: target.object.namespace.to_string(),
        object: checked.object,
        warnings: Vec::new(),
        resource_version: None,
        uid: None,
        dry_run: false,
        managed_fields: None,
    };
    update(shell, asked, target, dependent, prepared, Change::default()).await.map(drop)
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
    (key, finalizers): (ObjectKey, Vec<String>),
    if_heads: Option<Vec<WriteId>>,
) -> Result<Answer, Status> {
    let metadata = &current.value["metadata"];
    let mut edits = Vec::new();
    if !metadata["deletionTimestamp"].is_string() {
        edits.push(Edit::set("metadata.deletionTimestamp", Scalar::str(&rfc3339(now_ms()))));
        edits.push(Edit::set("metadata.deletionGracePeriodSeconds", Scalar::Int(0)));
    }
    if metadata["finalizers"] != json!(finalizers) {
        edits.push(set_finalizers(&finalizers));
    }
    if edits.is_empty() {
        return Ok(object_answer(shell, target.resource, StatusCode::OK, current));
    }
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
