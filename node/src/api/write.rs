//! Create, replace and patch: what a client wants, checked, turned into the leaves that change, and written.
//!
//! Edits of leaves merge, so most writes need no retry: two clients that patch different fields both win. Only a client
//! that names a resourceVersion, or whose patch tests what it replaces, is held to what it saw.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, header};
use serde_json::{Value, json};
use skein_core::request::{Durability, WriteOp, WriteReply, WriteRequest};
use skein_core::slot::SLOT_KIND;
use skein_crdt_state::{Edit, Kind, LeafPath, NameKey, ObjectKey, Operation, Scalar, WriteId};

use skein_kube::admission::{Prepared, prepare_create, prepare_patch, prepare_update, storable};
use skein_kube::apply::{is_apply, only_for_apply, owners};
use skein_kube::convert;
use skein_kube::patch::Patch;
use skein_kube::resource::{
    self, CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, CONFIG_MAPS, NAMESPACES, Resource, SERVICE_ACCOUNTS,
};
use skein_kube::status::{Problem, Status};
use skein_kube::time::rfc3339;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::timeout;

use super::access::{escalate, pod_account};
use super::answer::{Answer, Versioned, add_warnings, json_answer, refused};
use super::apply;
use super::backend::{ApiRef, Authored, ProjectedChange, Rendered};
use super::hub::stamp_of;
use super::read::{self, object_answer};
use super::routes::{Asked, Target};
use super::shell::{Call, Shell, now_ms};

/// What changes for clients, as it is told.
type Changes = broadcast::Receiver<Arc<Vec<ProjectedChange>>>;

/// The header that says how safe a write must be before it is answered: `local`, `one` or `majority`.
pub const DURABILITY_HEADER: &str = "skein-durability";
/// The header that names a request: a retry with the same name gets the first answer.
pub const REQUEST_ID_HEADER: &str = "skein-request-id";
/// How often a patch that tests what it replaces is applied anew when somebody else was faster.
pub(super) const RACES_LIMIT: usize = 5;
/// How long a write waits that names a version which another peer gave out: news takes a second at most where peers are connected.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
/// The kinds of objects that are there without being written: what every namespace is given, and roles that are built in.
const DERIVED: [&Resource; 4] = [&SERVICE_ACCOUNTS, &CONFIG_MAPS, &CLUSTER_ROLES, &CLUSTER_ROLE_BINDINGS];
/// How long it may take until what a peer wrote is shown: a second more than the node waits for all of it to come.
const SHOWN_WAIT: Duration = Duration::from_secs(6);
/// How often another name is drawn for `generateName`, and how many letters are drawn.
const NAMES_LIMIT: usize = 8;
const NAME_LETTERS: usize = 5;
/// The longest manager and request id that are kept.
const LABEL_LIMIT: usize = 128;

/// Answers a create.
///
/// # Errors
/// When the object is not valid, its name is taken, or its namespace does not exist.
pub async fn create(
    shell: &Arc<Shell>,
    asked: &Asked<'_>,
    resource: &'static Resource,
    namespace: Option<Arc<str>>,
) -> Result<Answer, Status> {
    if resource.namespaced && namespace.is_none() {
        return Err(Status::bad_request("an object of this kind is created in a namespace (/namespaces/NAME/...)"));
    }
    let namespace = namespace.unwrap_or_default();
    let options = asked.write_options()?;
    for draw in 1.. {
        let (suffix, body) = (random_letters()?, &asked.call.body);
        let prepared = prepare_create(resource, &namespace, body, asked.content_type(), &options, &suffix)?;
        let owner = owner(shell, resource, &namespace).await?;
        let drawn = prepared.object["metadata"]["generateName"].is_string() && prepared.name.ends_with(&suffix);
        match create_prepared(shell, asked, resource, owner, prepared, Change::default()).await {
            Err(status) if status.reason == "AlreadyExists" && drawn && draw < NAMES_LIMIT => {}
            other => return other,
        }
    }
    Err(Status::internal("no free name was found"))
}

/// Creates an object that may be stored, in the present life of the namespace that owns it.
///
/// # Errors
/// When its name is taken, or the write was not taken.
pub async fn create_prepared(
    shell: &Arc<Shell>,
    asked: &Asked<'_>,
    resource: &'static Resource,
    owner: Option<ObjectKey>,
    prepared: Prepared,
    change: Change,
) -> Result<Answer, Status> {
    let kind = resource.kind();
    let name = match owner {
        Some(owner) => owner.name_of_child(&kind, &prepared.name),
        None => NameKey::root(&kind, &prepared.name),
    };
    let object = ApiRef {
        kind: kind.clone(),
        namespace: prepared.namespace.as_str().into(),
        name: prepared.name.as_str().into(),
    };
    let target = Target { resource, object };
    escalate::may_store(shell, &asked.call.caller.user, &target, None, &prepared.object).await?;
    pod_account::is_there(shell, &target, &prepared.object).await?;
    if prepared.dry_run {
        return match shell.backend.get(target.object.clone()).await? {
            Some(_) => Err(Status::already_exists(resource, target.name())),
            None => Ok(dry_create(&target, prepared)),
        };
    }
    // What every namespace is given, and the roles that are built in, are there before anybody writes them.
    if DERIVED.contains(&resource) && shell.backend.get(target.object.clone()).await?.is_some() {
        return Err(Status::already_exists(resource, target.name()));
    }
    let mut edits = edits(shell, &target, None, kind, json!({}), prepared.object).await?;
    edits.extend(change.notes);
    if edits.is_empty() {
        // What has no field is an object all the same.
        edits.push(Edit::set("metadata", Scalar::Json("{}".into())));
    }
    let mut changes = shell.backend.changes();
    let reply = send_as(shell, asked, &target, WriteOp::Create { name, edits }, change.operation).await?;
    let now = shell.backend.authored(target.object.clone()).await?;
    let now = now.filter(|(object, _)| object.key.as_ref() == Some(&reply.key));
    let now = now.map(|(object, authored)| read::with_managed_fields(resource, &object, &authored));
    // While a peer wrote it down, somebody else may have deleted it: what was created is answered all the same.
    let object = now.or_else(|| first_of(&mut changes, &reply.key).map(|object| (*object).clone()));
    let object = object.ok_or_else(|| Status::not_found(resource, target.name()))?;
    let mut answer = object_answer(shell, resource, StatusCode::CREATED, &object);
    add_warnings(answer.headers_mut(), prepared.warnings.iter().chain(&reply.warnings));
    Ok(answer)
}

/// The first form of an object's life among changes that were waiting.
fn first_of(changes: &mut Changes, life: &ObjectKey) -> Option<Arc<Rendered>> {
    loop {
        match changes.try_recv() {
            Ok(batch) => {
                let forms = batch.iter().filter_map(|change| change.new.as_ref());
                if let Some(form) = forms.into_iter().find(|form| form.key.as_ref() == Some(life)) {
                    return Some(form.clone());
                }
            }
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
        }
    }
}

/// Answers a replace (PUT).
///
/// # Errors
/// When the object is not valid, does not exist, or is not the one that the client saw.
pub async fn replace(shell: &Arc<Shell>, asked: &Asked<'_>, target: &Target) -> Result<Answer, Status> {
    let (body, options) = (&asked.call.body, asked.write_options()?);
    let prepare =
        |current: &Rendered| prepare_update(target.resource, &current.value, body, asked.content_type(), &options);
    let (mut current, mut authored) = read::managed(shell, target).await?;
    let mut prepared = prepare(&current)?;
    if wait_to_see(shell, target, &current, prepared.resource_version.as_deref()).await? {
        (current, authored) = read::managed(shell, target).await?;
        prepared = prepare(&current)?;
    }
    let if_heads = lock(shell, target, &current, prepared.resource_version.as_deref())?;
    // Who names no version may send back what was true long ago; only to take all owners away needs no knowledge.
    if if_heads.is_none() && prepared.managed_fields != Some(json!([{}])) {
        prepared.managed_fields = None;
    }
    let notes = owners_notes(target, &current, &authored, &mut prepared)?;
    let change = Change { if_heads, notes, ..Change::default() };
    let after = update(shell, asked, target, &current, prepared, change).await?;
    Ok(after.into_answer(shell, target))
}

/// Answers a patch.
///
/// # Errors
/// When it cannot be applied, the result is not valid, the object does not exist or is not the one that the client saw.
pub async fn patch(shell: &Arc<Shell>, asked: &Asked<'_>, target: &Target) -> Result<Answer, Status> {
    if is_apply(asked.content_type()) {
        return apply::apply(shell, asked, target).await;
    }
    only_for_apply(asked.query.iter())?;
    let (body, options) = (&asked.call.body, asked.write_options()?);
    // Its tests and positions hold for what was read and for nothing else.
    let patch = Patch::read(asked.content_type(), body)?;
    let (is_json_patch, named_fields) = (matches!(patch, Patch::Json(_)), patch.named_fields(target.resource));
    for race in 1.. {
        let (current, authored) = read::managed(shell, target).await?;
        let value = Versioned { value: &current.value, version: shell.hub.version_of(current.stamp) }.to_value();
        let mut prepared = prepare_patch(target.resource, &value, body, asked.content_type(), &options)?;
        if race == 1 && wait_to_see(shell, target, &current, prepared.resource_version.as_deref()).await? {
            continue;
        }
        let named = lock(shell, target, &current, prepared.resource_version.as_deref())?;
        let retry = is_json_patch && named.is_none() && race < RACES_LIMIT;
        let if_heads = if is_json_patch { Some(current.heads.clone()) } else { named };
        let mut notes = owners_notes(target, &current, &authored, &mut prepared)?;
        notes.extend(owners::confirmations(target.resource, &authored, &named_fields));
        let change = Change { if_heads, notes, ..Change::default() };
        match update(shell, asked, target, &current, prepared, change).await {
            Err(status) if status.reason == "Conflict" && retry => {
                until_shown_anew(shell, target, Some(&current.heads)).await?;
            }
            other => return Ok(other?.into_answer(shell, target)),
        }
    }
    Err(Status::conflict(target.resource, target.name()))
}

/// An object after a write.
#[derive(Debug)]
pub struct After {
    /// What it is now; after its end or a dry run, what it was or would be.
    pub object: Rendered,
    /// For the client.
    pub warnings: Vec<String>,
}

/// What belongs to a write beside the object's new form.
#[derive(Debug, Default)]
pub struct Change {
    /// Only if these are the object's heads still.
    pub if_heads: Option<Vec<WriteId>>,
    /// Edits of the notes beside the fields, and confirmations of fields that do not change.
    pub notes: Vec<Edit>,
    /// How the tool writes.
    pub operation: Operation,
}

impl After {
    /// The answer to whoever asked for the write.
    #[must_use]
    pub fn into_answer(self, shell: &Shell, target: &Target) -> Answer {
        let mut answer = object_answer(shell, target.resource, StatusCode::OK, &self.object);
        add_warnings(answer.headers_mut(), &self.warnings);
        answer
    }
}

/// Writes a new form of an object, as far as it differs from what the client saw.
///
/// # Errors
/// When somebody else was faster and the client named what it saw, or the write was not taken.
pub async fn update(
    shell: &Arc<Shell>,
    asked: &Asked<'_>,
    target: &Target,
    current: &Rendered,
    prepared: Prepared,
    change: Change,
) -> Result<After, Status> {
    let resource = target.resource;
    let Prepared { object: mut new, mut warnings, dry_run, .. } = prepared;
    let Change { if_heads, notes, operation } = change;
    escalate::may_store(shell, &asked.call.caller.user, target, Some(&current.value), &new).await?;
    let Some(key) = current.key.clone() else {
        if *resource == CONFIG_MAPS {
            let why = "it holds the certificate that clients trust this cluster by, and follows from it";
            return Err(Status::forbidden(resource, target.name(), why));
        }
        if is_derived(resource, current) {
            let prepared = Prepared { object: new, warnings, ..prepared };
            return write_derived(shell, asked, target, current, prepared, (notes, operation)).await;
        }
        return Err(Status::method_not_allowed(&format!("{} are reported, not written", resource.plural)));
    };
    let mut old = storable(resource, &current.value);
    if key.kind().as_str() == SLOT_KIND {
        only_metadata(target, &mut old, &mut new)?;
    }
    if dry_run {
        return Ok(After { object: dry_update(current, new), warnings });
    }
    let finished = current.value["metadata"]["deletionTimestamp"].is_string()
        && new["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    let mut edits = edits(shell, target, Some(key.clone()), resource.kind(), old, new).await?;
    drop_derived(&key, &mut edits, &mut warnings);
    let changed: BTreeSet<LeafPath> = edits.iter().map(|edit| edit.path.clone()).collect();
    edits.extend(notes.into_iter().filter(|note| !changed.contains(&note.path)));
    let op = match (finished, edits.is_empty()) {
        (true, _) => WriteOp::Delete { key, if_heads },
        (false, true) => return Ok(After { object: current.clone(), warnings }),
        (false, false) => WriteOp::Edit { key, edits, if_heads },
    };
    let reply = send_as(shell, asked, target, op, operation).await?;
    warnings.extend(reply.warnings);
    let after = if finished { None } else { shell.backend.authored(target.object.clone()).await? };
    // Meanwhile somebody else's deletion may have arrived, and the name's next life with it: that one was not edited.
    let after = after.filter(|(after, _)| after.key.as_ref() == Some(&reply.key));
    let after = after.map(|(after, authored)| read::with_managed_fields(resource, &after, &authored));
    Ok(After { object: after.unwrap_or_else(|| current.clone()), warnings })
}

/// What it takes to do to the owners of fields what a client asks for.
fn owners_notes(
    target: &Target,
    current: &Rendered,
    authored: &Authored,
    prepared: &mut Prepared,
) -> Result<Vec<Edit>, Status> {
    let Some(wanted) = prepared.managed_fields.take() else { return Ok(Vec::new()) };
    // What comes back as it was shown asks for nothing.
    if wanted == current.value["metadata"]["managedFields"] {
        return Ok(Vec::new());
    }
    let (notes, warning) = owners::rewrite(target.resource, authored, &wanted)?;
    prepared.warnings.extend(warning);
    Ok(notes)
}

/// Whether an object follows from another one and is there without being written, as what every namespace is given.
#[must_use]
pub fn is_derived(resource: &Resource, object: &Rendered) -> bool {
    DERIVED.contains(&resource) && object.key.is_none()
}

/// Writes an object for the first time that was there without being written.
async fn write_derived(
    shell: &Arc<Shell>,
    asked: &Asked<'_>,
    target: &Target,
    current: &Rendered,
    prepared: Prepared,
    (notes, operation): (Vec<Edit>, Operation),
) -> Result<After, Status> {
    let Prepared { object, mut warnings, dry_run, .. } = prepared;
    if dry_run {
        return Ok(After { object: dry_update(current, object), warnings });
    }
    let kind = target.resource.kind();
    let owner = owner(shell, target.resource, &target.object.namespace).await?;
    let name =
        owner.map_or_else(|| NameKey::root(&kind, target.name()), |owner| owner.name_of_child(&kind, target.name()));
    let mut edits = edits(shell, target, None, kind, json!({}), object).await?;
    edits.extend(notes);
    let reply = send_as(shell, asked, target, WriteOp::Create { name, edits }, operation).await?;
    warnings.extend(reply.warnings);
    let after = shell.backend.get(target.object.clone()).await?;
    Ok(After { object: after.as_deref().unwrap_or(current).clone(), warnings })
}

/// Waits until an object is shown as something else than what `seen` are the heads of. What a peer wrote is shown once all of it
/// has come, and until then a write onto what is shown would be refused again.
///
/// # Errors
/// When the node stops.
pub(super) async fn until_shown_anew(shell: &Shell, target: &Target, seen: Option<&[WriteId]>) -> Result<(), Status> {
    until_shown(shell, target, SHOWN_WAIT, |now| now.map(|now| &*now.heads) != seen).await.map(drop)
}

/// Waits until an object is shown as it is wanted, but no longer than `within`; whether it is.
async fn until_shown(
    shell: &Shell,
    target: &Target,
    within: Duration,
    is_wanted: impl Fn(Option<&Rendered>) -> bool,
) -> Result<bool, Status> {
    let mut changes = shell.backend.changes();
    let shown = async {
        loop {
            if is_wanted(shell.backend.get(target.object.clone()).await?.as_deref()) {
                return Ok(true);
            }
            // Any change is reason to look, also one of which only is known that there were too many.
            if let Err(RecvError::Closed) = changes.recv().await {
                return Ok(false);
            }
        }
    };
    timeout(within, shown).await.unwrap_or(Ok(false))
}

/// Sends a write to the node, and tells its failures in the words of the resource.
///
/// # Errors
/// When it was not taken.
pub async fn send(shell: &Shell, asked: &Asked<'_>, target: &Target, op: WriteOp) -> Result<WriteReply, Status> {
    send_as(shell, asked, target, op, Operation::Update).await
}

async fn send_as(
    shell: &Shell,
    asked: &Asked<'_>,
    target: &Target,
    op: WriteOp,
    operation: Operation,
) -> Result<WriteReply, Status> {
    let request = WriteRequest {
        op,
        durability: durability(asked.call)?,
        user: asked.call.user(),
        manager: manager(asked),
        operation,
        request_id: request_id(asked.call)?,
    };
    let reply = shell.backend.write(request).await?;
    let reply = reply.map_err(|error| refused(target.resource, target.name(), &error))?;
    shell.metrics.writes.increment();
    if !reply.warnings.is_empty() {
        shell.metrics.writes_warned.increment();
    }
    Ok(reply)
}

/// The heads that a client's resourceVersion meant, if it named one.
///
/// # Errors
/// 409 when the object has other heads now, 400 when it is no version.
pub fn lock(
    shell: &Shell,
    target: &Target,
    current: &Rendered,
    version: Option<&str>,
) -> Result<Option<Vec<WriteId>>, Status> {
    let Some(text) = version.filter(|text| !text.is_empty() && *text != "0") else { return Ok(None) };
    let wrong = |_| Status::bad_request(format!("metadata.resourceVersion: \"{text}\" is not a whole number"));
    let stamp = stamp_of(text.parse().map_err(wrong)?);
    // A status that changed since does not break the lock: what counts is whether anybody wrote.
    let same =
        stamp == current.stamp || shell.hub.heads_at(&target.object, stamp).is_some_and(|heads| heads == current.heads);
    if same { Ok(Some(current.heads.clone())) } else { Err(Status::conflict(target.resource, target.name())) }
}

/// Waits for a version that a client saw at another peer and that this one has not heard of; whether anything came.
async fn wait_to_see(
    shell: &Shell,
    target: &Target,
    current: &Rendered,
    version: Option<&str>,
) -> Result<bool, Status> {
    let Some(seen) = version.and_then(|text| text.parse().ok()).map(stamp_of) else { return Ok(false) };
    let is_behind = |stamp: u64| stamp < seen;
    if !is_behind(current.stamp) || shell.hub.heads_at(&target.object, seen).is_some() {
        return Ok(false);
    }
    until_shown(shell, target, HEARD_WITHIN, |now| now.is_none_or(|now| !is_behind(now.stamp))).await
}

async fn edits(
    shell: &Shell,
    target: &Target,
    key: Option<ObjectKey>,
    kind: Kind,
    old: Value,
    new: Value,
) -> Result<Vec<Edit>, Status> {
    let refused = |why: String| {
        let message = format!("{} \"{}\" is invalid: {why}", target.resource.kind_name, target.name());
        Status::new(422, "Invalid", message)
    };
    shell.backend.edits(key, kind, old, new).await?.map_err(refused)
}

/// A pod of a slot takes its spec from the template: only its labels and annotations are its own.
fn only_metadata(target: &Target, old: &mut Value, new: &mut Value) -> Result<(), Status> {
    let (before, after) = (old["metadata"].take(), new["metadata"].take());
    if old != new {
        let why = "it is the template's: change the Deployment or ReplicaSet that owns the pod";
        let resource = target.resource;
        return Err(Status::invalid(
            resource.group,
            resource.kind_name,
            target.name(),
            &[Problem::forbidden("spec", why)],
        ));
    }
    *old = json!({"metadata": before});
    *new = json!({"metadata": after});
    Ok(())
}

/// How many replicas a ReplicaSet of a Deployment has follows from the Deployment.
fn drop_derived(key: &ObjectKey, edits: &mut Vec<Edit>, warnings: &mut Vec<String>) {
    let Some(owner) = key.owner().filter(|owner| owner.kind().as_str() == "Deployment.apps") else { return };
    let before = edits.len();
    edits.retain(|edit| &*edit.path != "spec.replicas");
    if edits.len() < before {
        warnings.push(format!(
            "spec.replicas was not changed: it follows from the Deployment {}; scale that instead",
            owner.name()
        ));
    }
}

/// The namespace that owns a new object, in its present life.
///
/// # Errors
/// When there is none.
pub async fn owner(shell: &Shell, resource: &Resource, namespace: &Arc<str>) -> Result<Option<ObjectKey>, Status> {
    if !resource.namespaced {
        return Ok(None);
    }
    let object = ApiRef { kind: Kind::new("Namespace"), namespace: "".into(), name: namespace.clone() };
    let found = shell.backend.get(object).await?;
    let missing = || Status::not_found(&NAMESPACES, namespace);
    let found = found.ok_or_else(missing)?;
    if found.value["metadata"]["deletionTimestamp"].is_string() {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        return Err(Status::forbidden(resource, "", &why));
    }
    found.key.clone().map(Some).ok_or_else(missing)
}

fn random_bytes<const N: usize>() -> Result<[u8; N], Status> {
    let mut bytes = [0; N];
    let failed = |error| Status::new(500, "InternalError", format!("no randomness from the operating system: {error}"));
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn random_letters() -> Result<String, Status> {
    // Kubernetes' alphabet for suffixes: no vowels, so that no words come out.
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let bytes = random_bytes::<NAME_LETTERS>()?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect())
}

fn durability(call: &Call) -> Result<Durability, Status> {
    match call.header(DURABILITY_HEADER) {
        None => Ok(Durability::One),
        Some(text) if text.eq_ignore_ascii_case("one") => Ok(Durability::One),
        Some(text) if text.eq_ignore_ascii_case("local") => Ok(Durability::Local),
        Some(text) if text.eq_ignore_ascii_case("majority") => Ok(Durability::Majority),
        Some(other) => {
            Err(Status::bad_request(format!("Skein-Durability: \"{other}\" is not one of local, one, majority")))
        }
    }
}

/// Who keeps the fields: what the client calls itself, else the first word of its user agent.
fn manager(asked: &Asked<'_>) -> String {
    let agent = asked.call.header(header::USER_AGENT.as_str()).unwrap_or("unknown");
    let named = asked.query.get("fieldManager").filter(|name| !name.is_empty());
    let name = named.unwrap_or_else(|| agent.split(['/', ' ']).next().unwrap_or(agent));
    name.chars().take(LABEL_LIMIT).collect()
}

fn request_id(call: &Call) -> Result<String, Status> {
    if let Some(id) = call.header(REQUEST_ID_HEADER).filter(|id| !id.is_empty()) {
        return Ok(id.chars().take(LABEL_LIMIT).collect());
    }
    Ok(random_bytes::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What a create would have made.
fn dry_create(target: &Target, prepared: Prepared) -> Answer {
    let mut object = prepared.object;
    let stored = resource::of_kind(&target.resource.kind()).unwrap_or(target.resource);
    object["apiVersion"] = json!(stored.api_version());
    object["kind"] = json!(target.resource.kind_name);
    object["metadata"]["name"] = json!(target.name());
    if target.resource.namespaced {
        object["metadata"]["namespace"] = json!(&*target.object.namespace);
    }
    object["metadata"]["creationTimestamp"] = json!(rfc3339(now_ms()));
    object["metadata"]["generation"] = json!(1);
    // No object has this uid: nothing was made.
    object["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    let shown = convert::from_stored(target.resource, &object);
    let mut answer = json_answer(StatusCode::CREATED, shown.as_ref().unwrap_or(&object));
    add_warnings(answer.headers_mut(), &prepared.warnings);
    answer
}

/// What an update would have made: the new form with what the system keeps of the old one.
fn dry_update(current: &Rendered, mut object: Value) -> Rendered {
    let fields = current.value.as_object().into_iter().flatten();
    for (field, value) in fields.filter(|(field, _)| matches!(field.as_str(), "apiVersion" | "kind" | "status")) {
        object[field] = value.clone();
    }
    for (field, value) in current.value["metadata"].as_object().into_iter().flatten() {
        let set_by_clients = matches!(field.as_str(), "labels" | "annotations" | "finalizers" | "ownerReferences");
        if !set_by_clients && object["metadata"].get(field).is_none() {
            object["metadata"][field] = value.clone();
        }
    }
    Rendered { value: Arc::new(object), ..current.clone() }
}
